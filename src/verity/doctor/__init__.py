"""Whether this computer and this device can do what Verity promises, check by check. `examination.py` lists them."""
