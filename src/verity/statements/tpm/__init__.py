"""What a TPM 2.0 writes, read without a TPM or its library: public areas, quotes, event logs. spec/hardware.md."""
