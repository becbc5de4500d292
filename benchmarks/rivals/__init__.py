"""Other ways to check an output, and Verity's, on the same honest and dishonest outputs (docs/concepts/head-to-head.md)."""
