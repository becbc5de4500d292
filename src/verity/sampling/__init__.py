"""From logits to a token: penalties, filters, counter-based noise; nothing else. Specified in spec/sampling.md."""
