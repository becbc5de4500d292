"""Run a model: llama.cpp in the exact profile, networks on ONNX Runtime, a scripted fake, and the measured
fingerprint of how a host computes."""

from __future__ import annotations

LLAMA = "llama.cpp"
ONNX = "onnxruntime"
SCRIPTED = "scripted"
"""The names of the engines in field ``engine``: here, so that they can be known without importing a model library."""

ENGINES = (LLAMA, ONNX)
"""Those that run a model: a receipt of another is believed by no verifier."""
