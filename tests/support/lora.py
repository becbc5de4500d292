"""Small LoRA adapters in GGUF, laid out as llama.cpp's converter does: random, and strong enough to be seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from gguf import ARRAY, F32, STRING, WIDTH, Metadata, gguf

from verity.store.adapters import BASE_KEY

SMOLLM2 = {"attn_q": (576, 576), "attn_output": (576, 576), "ffn_down": (1536, 576)}
"""Inputs and outputs of some weights of a layer of SmolLM2-135M."""
TINY = {"attn_q": (WIDTH, WIDTH), "ffn_up": (WIDTH, WIDTH)}
RANK = 4


def lora_metadata(base: str | None, architecture: str = "llama") -> Metadata:
    """What an adapter says of itself; ``base`` is the BLAKE3 digest of its model, None if it does not say."""
    said: Metadata = {
        "general.type": (STRING, "adapter"),
        "general.architecture": (STRING, architecture),
        "general.tags": (ARRAY, STRING, ["lora", "test"]),
        "adapter.type": (STRING, "lora"),
        "adapter.lora.alpha": (F32, float(RANK)),
    }
    return said if base is None else {**said, BASE_KEY: (STRING, base)}


def lora_tensors(
    seed: int, shapes: Mapping[str, tuple[int, int]], strength: float, layers: int
) -> dict[str, np.ndarray]:
    """For each weight a pair A (rank, inputs) and B (outputs, rank); ``strength`` is about the size of B·A·x / x."""
    draw = np.random.Generator(np.random.PCG64(seed))
    tensors = {}
    for layer in range(layers):
        for name, (inputs, outputs) in shapes.items():
            weight = f"blk.{layer}.{name}.weight"
            tensors[f"{weight}.lora_a"] = draw.standard_normal((RANK, inputs)) / inputs**0.5
            tensors[f"{weight}.lora_b"] = draw.standard_normal((outputs, RANK)) * strength
    return tensors


def lora(
    base: str | None = None,
    *,
    seed: int = 1,
    shapes: Mapping[str, tuple[int, int]] = SMOLLM2,
    strength: float = 0.5,
    layers: int = 1,
    more: Metadata | None = None,
) -> bytes:
    """The file of one adapter. ``more`` metadata is added, or stands in the place of its own."""
    metadata = lora_metadata(base) | (more or {})
    return gguf(metadata, lora_tensors(seed, shapes, strength, layers))
