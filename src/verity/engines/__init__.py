"""Run a model: llama.cpp in the exact profile, a scripted fake, and the measured fingerprint of how a host computes."""
