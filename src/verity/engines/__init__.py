"""Run a model: llama.cpp in the exact profile, a scripted fake, and the measured fingerprint of how a host computes."""

from __future__ import annotations

LLAMA = "llama.cpp"
SCRIPTED = "scripted"
"""The names of the engines in field ``engine``: here, so that they can be known without importing a model library."""

ENGINES = (LLAMA,)
"""Those that run a model: a receipt of another is believed by no verifier."""
