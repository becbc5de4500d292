"""Believe an output, or not: numbered steps make a report; a policy says which of them must pass."""
