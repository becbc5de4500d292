"""A device's append-only Merkle log: the tree (pure), checkpoints (pure), and the log in the device's database."""
