"""GGUF files, written byte by byte: a tiny honest model, and whatever a hostile one may say instead.

The layout is that of ggml's docs/gguf.md, version 3, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

U32, I32, F32, STRING, ARRAY, U64 = 4, 5, 6, 8, 9, 10
ALIGNMENT = 32
WIDTH = 32
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
_PACKED = {U32: "<I", I32: "<i", F32: "<f", U64: "<Q"}

Metadata = dict[str, tuple[Any, ...]]
"""By key: (type, value), or for an array (ARRAY, type of its elements, list)."""


def text(value: str | bytes, said: int | None = None) -> bytes:
    """A string with its length, or with the length that it is ``said`` to have."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data) if said is None else said) + data


def scalar(kind: int, value: Any) -> bytes:
    return text(value) if kind == STRING else struct.pack(_PACKED[kind], value)


def entry(key: str, kind: int, value: Any, *more: Any) -> bytes:
    """One key with its value; a value of type ``bytes`` stands as it is, whatever it says."""
    head = text(key) + struct.pack("<I", kind)
    if isinstance(value, bytes) and kind != STRING:
        return head + value
    if kind == ARRAY:
        (items,) = more
        return head + struct.pack("<IQ", value, len(items)) + b"".join(scalar(value, item) for item in items)
    return head + scalar(kind, value)


def gguf(
    metadata: Metadata,
    tensors: Mapping[str, np.ndarray],
    *,
    counts: tuple[int | None, int | None] = (None, None),
    dims: Mapping[str, list[int]] | None = None,
    offsets: Mapping[str, int] | None = None,
) -> bytes:
    """A file of F32 tensors. ``counts`` (tensors, keys), ``dims`` and ``offsets`` are what the header says instead."""
    n_tensors = len(tensors) if counts[0] is None else counts[0]
    n_keys = len(metadata) if counts[1] is None else counts[1]
    infos, data = b"", b""
    for name, tensor in tensors.items():
        shape = (dims or {}).get(name, [*tensor.shape[::-1]])
        offset = (offsets or {}).get(name, len(data))
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        data += tensor.astype("<f4").tobytes()
        data += bytes(-len(data) % ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_keys)
    head += b"".join(entry(key, *value) for key, value in metadata.items()) + infos
    return head + bytes(-len(head) % ALIGNMENT) + data


def tiny_metadata(template: str | None = None) -> Metadata:
    """What a llama of one layer, 32 dimensions and a token for every byte says of itself."""
    tokens = ["<unk>", "<s>", "</s>", *BYTE_TOKENS]
    metadata: Metadata = {
        "general.architecture": (STRING, "llama"),
        "llama.block_count": (U32, 1),
        "llama.context_length": (U32, 512),
        "llama.embedding_length": (U32, WIDTH),
        "llama.feed_forward_length": (U32, WIDTH),
        "llama.attention.head_count": (U32, 1),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.tokens": (ARRAY, STRING, tokens),
        "tokenizer.ggml.scores": (ARRAY, F32, [0.0] * len(tokens)),
        "tokenizer.ggml.token_type": (ARRAY, I32, [2, 3, 3] + [6] * len(BYTE_TOKENS)),
        "tokenizer.ggml.bos_token_id": (U32, 1),
        "tokenizer.ggml.eos_token_id": (U32, 2),
    }
    if template is not None:
        metadata["tokenizer.chat_template"] = (STRING, template)
    return metadata


def tiny_tensors() -> dict[str, np.ndarray]:
    """Its weights: the same for everybody."""
    draw = np.random.Generator(np.random.PCG64(7))
    vocabulary = 3 + len(BYTE_TOKENS)
    square = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}
    tensors = {
        "token_embd.weight": draw.standard_normal((vocabulary, WIDTH)),
        "output_norm.weight": np.ones(WIDTH),
        "output.weight": draw.standard_normal((vocabulary, WIDTH)),
        "blk.0.attn_norm.weight": np.ones(WIDTH),
        "blk.0.ffn_norm.weight": np.ones(WIDTH),
    }
    return tensors | {f"blk.0.{name}.weight": draw.standard_normal((WIDTH, WIDTH)) / 6 for name in sorted(square)}


def tiny(template: str | None = None) -> bytes:
    """An honest little model, which llama.cpp loads and runs in milliseconds."""
    return gguf(tiny_metadata(template), tiny_tensors())
