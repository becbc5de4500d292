"""Other ways to check an output, and Verity's, on the same outputs, honest and dishonest."""
