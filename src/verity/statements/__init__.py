"""Pure bytes, no I/O: canonical JSON, DSSE envelopes, keys, commitments, the receipt and bundle formats."""
