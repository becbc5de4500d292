"""A TPM 2.0 beside the device's key: the chip itself, challenges for one, certificates of one. docs/hardware.md."""
