"""LoRA adapters in llama.cpp: loaded once per file, swapped between requests, always summed in the order asked for.

The order matters: floating-point sums differ in their last bits by it, and llama.cpp keeps the adapters in use in a
hash table keyed by address (``std::unordered_map``), takes them in the table's order, and ignores a change of order. In
libstdc++ that order is the reverse of insertion as long as no two fall into one of the first 13 buckets. So the table
is emptied before every change, filled from the last to the first, and an adapter whose address falls into a taken
bucket is loaded a second time.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verity.engines.engine import AdapterFile
from verity.engines.library import explain
from verity.errors import EngineError

_BUCKETS = 13
_TRIES = 64
_KEPT = 16
"""Files that stay loaded while others are in use: a server may be asked for very many in turn."""


class LoraAdapters:
    """The adapters of one loaded model and its context, ``lib`` being the ctypes module of llama.cpp. Those that are
    still loaded are freed with the model."""

    def __init__(self, lib: Any, model: Any, context: Any) -> None:
        self._lib = lib
        self._model = model
        self._context = context
        self._loaded: dict[Path, list[Any]] = {}
        self.in_use: list[AdapterFile] = []

    def use(self, adapters: Sequence[AdapterFile]) -> None:
        """Compute with these from now on, and no others. Raises EngineError, and then none is in use."""
        wanted = list(adapters)
        if wanted == self.in_use:
            return
        self._set([], [])
        self.in_use = []
        taken: set[int] = set()
        handles = []
        for adapter in wanted:
            handle = self._in_free_bucket(adapter.path, taken)
            taken.add(_bucket(handle))
            handles.append(handle)
        self._set(handles[::-1], [adapter.scale for adapter in wanted[::-1]])
        self.in_use = wanted
        self._forget({adapter.path for adapter in wanted})

    def _set(self, handles: list[Any], scales: list[float]) -> None:
        count = len(handles)
        pointers = (self._lib.llama_adapter_lora_p_ctypes * count)(*handles)
        if self._lib.llama_set_adapters_lora(self._context, pointers, count, (ctypes.c_float * count)(*scales)) != 0:
            raise EngineError(explain("llama.cpp does not take the adapters"))

    def _forget(self, used: set[Path]) -> None:
        """Free the files that were not used for longest, beyond those that are kept."""
        for path in used:
            self._loaded[path] = self._loaded.pop(path)
        for path in list(self._loaded)[: -max(_KEPT, len(used))]:
            for handle in self._loaded.pop(path):
                self._lib.llama_adapter_lora_free(handle)

    def _in_free_bucket(self, path: Path, taken: set[int]) -> Any:
        loaded = self._loaded.setdefault(path, [])
        for _ in range(_TRIES):
            for handle in loaded:
                if _bucket(handle) not in taken:
                    return handle
            loaded.append(self._load(path))
        raise EngineError("the adapters cannot be put in order", "use fewer adapters at once")

    def _load(self, path: Path) -> Any:
        handle = self._lib.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not handle:
            hint = "use it with the model that it was trained on; `verity adapters` lists what fits what"
            raise EngineError(explain("the adapter is damaged, or does not fit this model"), hint)
        return handle


def _bucket(handle: Any) -> int:
    address = ctypes.cast(handle, ctypes.c_void_p).value or 0
    return address % _BUCKETS
