"""Who a device is: its Ed25519 key."""
