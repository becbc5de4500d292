"""A hostile model and a receipt that names it, through ``verity.verify`` under limits; and the tiny model, changed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from forger import forge
from gguf import gguf, tiny_metadata, tiny_tensors

import verity
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import setting_of
from verity.engines.templates import CHATML
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.store.pull import pull
from verity.verify.report import Check

MEMORY = 2 << 30
SECONDS = 20.0
GROWTH = 48 << 20
"""How much the verifier may grow while it verifies, in bytes: its libraries are loaded by then."""

Edit = Callable[[dict[str, Any]], None]


class Device(LlamaEngine):
    """The tiny honest model, as an engine that says which model it is."""

    model: dict[str, Any]


def verdict(
    device: Node,
    model: bytes | Path,
    folder: Path,
    template: str = CHATML,
    lie: Edit = lambda _: None,
    measured: bool = False,
    **limits: Any,
) -> Check:
    """Verify a receipt that names ``model`` instead of the honest one, under limits of memory and time. Its numerics
    are measured in the replay, unless they are said to be ``measured``: those of the honest one then."""
    path = model if isinstance(model, Path) else folder / "hostile.gguf"
    if isinstance(model, bytes):
        path.write_bytes(model)
    pulled = pull(str(path), device.blobs, name="hostile")
    if measured:
        device.numerics.keep(pulled.blake3, setting_of(device.load().engine), device.load().numerics)

    def edit(fields: dict[str, Any]) -> None:
        named = {"name": "hostile", "blake3": pulled.blake3, "sha256": pulled.sha256, "size": pulled.size}
        fields["model"] = named
        fields["template"]["sha256"] = hashlib.sha256(template.encode()).hexdigest()
        lie(fields)

    bundle = forge(device, max_tokens=4, intent=edit)
    options = {"threads": 1, "limit_s": SECONDS, "memory_bytes": MEMORY, **limits}
    replayer = ProcessReplayer(device.blobs, device.numerics, **options)
    verity.verify(bundle, key=device.key.id, home=device.home, replay=False)
    threads, before, began = threading.active_count(), peak(forget=True), time.monotonic()
    report = verity.verify(bundle, key=device.key.id, home=device.home, replayer=replayer)
    assert time.monotonic() - began < options["limit_s"] + 5
    assert peak() - before < GROWTH
    assert threading.active_count() == threads
    return report.check("replayed-exact")


def peak(forget: bool = False) -> int:
    """The most memory that this process has held, in bytes; since now, after the kernel was asked to forget."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def says(**changes: tuple[Any, ...] | None) -> bytes:
    """The tiny model with other metadata: ``tokens_…`` for the tokenizer's, ``general_…``, or the llama's own."""
    metadata = tiny_metadata(CHATML)
    for name, value in changes.items():
        prefix, _, rest = name.partition("_")
        key = {"tokens": "tokenizer.ggml.", "general": "general."}.get(prefix, f"llama.{prefix}_") + rest
        key = key.replace("attention_", "attention.").replace("rope_", "rope.")
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value
    return gguf(metadata, tiny_tensors())


def header(**claims: Any) -> bytes:
    return gguf(tiny_metadata(CHATML), tiny_tensors(), **claims)


def weights(**changes: float) -> bytes:
    """The tiny model, with a tensor times a factor."""
    tensors = {**tiny_tensors()}
    for name, factor in changes.items():
        with np.errstate(all="ignore"):
            tensors[f"{name}.weight"] = (tensors[f"{name}.weight"] * factor).astype(np.float32)
    return gguf(tiny_metadata(CHATML), tensors)
