"""A network in the ONNX format on ONNX Runtime, on the processor, so that any step can be run again bit for bit.

What makes a step exact was found by measurement. *The number of threads changes bits*: Log, Softplus, Mish and LRN are
cut into as many parts, and the ends of a part are computed without vector registers. *Where inputs lie in memory does*,
too: sums over an input begin at the first address that a register can be loaded from. So one thread computes, and
inputs are copied to addresses that are multiples of 64.

A file is a stranger's: nothing outside it is read (store/onnx_header.py), and no library of operators is ever loaded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verity.engines import ONNX
from verity.engines.network import Array
from verity.errors import EngineError, FormatError, StoreError, UsageError
from verity.statements.steps import DTYPES, MAX_STEP_BYTES, Form, check_forms
from verity.store.onnx_header import check_onnx

_ALIGNMENT = 64
_PROVIDERS = ["CPUExecutionProvider"]
_SAID = 300
_TYPES = {f"tensor({name})": name for name in DTYPES} | {
    "tensor(float)": "float32", "tensor(double)": "float64",
}  # fmt: skip
CONTEXT = {"execution_mode": "sequential", "graph_optimization": "all", "providers": _PROVIDERS, "threads": 1}
"""Options that may change a bit."""


@functools.cache
def library() -> Any:
    """The module of ONNX Runtime, quiet. Raises EngineError when it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("ONNX Runtime is not installed", "install it: pip install 'verity-ai[onnx]'") from error
    onnxruntime.set_default_logger_severity(4)
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def describe_library() -> dict[str, Any]:
    """Name, version and digest of the library that computes (SHA-256 over its files, by name)."""
    return {"name": ONNX, "version": str(library().__version__), "library": _library_digest()}


@functools.cache
def _library_digest() -> str:
    module = library()
    hasher = hashlib.sha256()
    folder = Path(module.__file__).parent / "capi"
    for path in sorted(p for p in folder.iterdir() if ".so" in p.suffixes or p.suffix in (".dylib", ".dll", ".pyd")):
        hasher.update(path.name.encode() + b"\x00" + path.read_bytes())
    return hasher.hexdigest()


class OnnxNetwork:
    """One model, loaded from its file's bytes. Not to be shared between threads.

    Raises EngineError for a file that is no model, keeps tensors in other files, or takes or gives what are no tensors
    of numbers.
    """

    def __init__(self, path: Path) -> None:
        module = library()
        data = _read(path)
        options = module.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = module.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")  # the one that was looked at
        try:
            self._session = module.InferenceSession(data, options, providers=_PROVIDERS)
        except Exception as error:  # the library's errors have no common class
            raise EngineError(f"ONNX Runtime does not take the model: {str(error)[:_SAID]}", _hint(path)) from error
        self.inputs = _forms(self._session.get_inputs(), path)
        self.outputs = _forms(self._session.get_outputs(), path)
        self._inputs = [form.name for form in self.inputs]
        self._names = [form.name for form in self.outputs]
        self._feeds: dict[str, Array] = {form.name: _aligned((0,), np.dtype(form.dtype)) for form in self.inputs}
        self.description = describe_library()
        self.context: dict[str, Any] = dict(CONTEXT)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One step: an array for every output. Raises UsageError for inputs that it does not take, EngineError."""
        feeds = self._feeds
        if len(inputs) != len(feeds):
            raise self._refused(inputs)
        try:
            for name in self._inputs:
                given = inputs[name]
                if not isinstance(given, np.ndarray):
                    raise self._refused(inputs)
                if given.shape != feeds[name].shape:
                    feeds[name] = self._resized(name, given.shape)
                np.copyto(feeds[name], given, casting="no")
        except (KeyError, TypeError, AttributeError) as error:
            raise self._refused(inputs) from error
        try:
            outputs = self._session.run(self._names, feeds)
        except Exception as error:
            raise EngineError(f"the model failed: {str(error)[:_SAID]}", "check the shapes of its inputs") from error
        return dict(zip(self._names, outputs, strict=True))

    def _resized(self, name: str, shape: Sequence[int]) -> Array:
        form = next(form for form in self.inputs if form.name == name)
        kind = np.dtype(form.dtype)
        fits = len(shape) == len(form.shape) and all(
            said == wanted for said, wanted in zip(shape, form.shape, strict=True) if isinstance(wanted, int)
        )
        if form.shape and not fits:
            raise UsageError(
                f"{name!r} has the shape {tuple(shape)}, the model takes {_written(form.shape)}", "reshape it"
            )
        if np.prod(shape, dtype=np.float64) * kind.itemsize > MAX_STEP_BYTES:
            raise UsageError(f"{name!r} is larger than the {MAX_STEP_BYTES:,} bytes of a step", "give it in parts")
        return _aligned(tuple(shape), kind)

    def _refused(self, inputs: Mapping[str, Array]) -> UsageError:
        """What is wrong with the inputs, said slowly."""
        wanted = ", ".join(f"{form.name} ({form.dtype}, {_written(form.shape)})" for form in self.inputs)
        hint = f"the model takes {wanted}"[:1000]
        for form in self.inputs:
            if form.name not in inputs:
                return UsageError(f"there is no input {form.name!r}", hint)
            given: Any = inputs[form.name]
            if not isinstance(given, np.ndarray):
                return UsageError(f"the input {form.name!r} is no numpy array", hint)
            if given.dtype != np.dtype(form.dtype):
                return UsageError(f"the input {form.name!r} is of {given.dtype}", hint)
        return UsageError("there are inputs that the model does not take", hint)

    def close(self) -> None:
        """Free it."""
        with contextlib.suppress(AttributeError):
            del self._session


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data[:4] == b"GGUF":
            raise EngineError("this is a language model, no network in the ONNX format", "`verity ask` runs it")
        check_onnx(data)
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}", _hint(path)) from error
    except (FormatError, StoreError) as error:
        raise EngineError(str(error), error.hint) from error
    return data


def _forms(arguments: Sequence[Any], path: Path) -> list[Form]:
    """What the library says of inputs or outputs. Raises EngineError for what is no tensor of numbers."""
    forms = []
    for argument in arguments:
        if argument.type not in _TYPES:
            raise EngineError(
                f"{argument.name[:80]!r} is a {argument.type[:80]}: only tensors of numbers can be committed",
                "export it so that it gives tensors (for a classifier: without ZipMap)",
            )
        shape = [d if isinstance(d, str) or (isinstance(d, int) and d >= 0) else None for d in argument.shape]
        forms.append(Form(name=argument.name, dtype=_TYPES[argument.type], shape=shape))
    try:
        check_forms(forms)
    except FormatError as error:
        raise EngineError(f"the model cannot be put on record: {error}", _hint(path)) from error
    return forms


def _aligned(shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
    """An array that begins at a multiple of 64."""
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    memory = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(kind).reshape(shape)


def _written(shape: Sequence[int | str | None]) -> str:
    return "any shape" if not shape else "×".join("?" if d is None else str(d) for d in shape)


def _hint(path: Path) -> str:
    return f"check {path.name} with `verity models check`, or export the model again"
