"""Load llama.cpp, once, with the environment that exactness needs; say which library it is; open a model's file."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

from verity.engines import LLAMA
from verity.engines.numerics import processor_flags
from verity.errors import EngineError

_FLASH_ATTENTION_ON = 1
_Q8_0 = 8
_last_errors: list[str] = []


@functools.cache
def library() -> Any:
    """The ctypes module of llama.cpp, loaded once with the environment it needs. Raises EngineError."""
    _require_avx2()
    os.environ["GGML_CPU_TILED_MM"] = "0"
    # OpenMP threads spin while they wait: two busy processes on two cores then starve each other (0.3 tokens/s).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import llama_cpp.llama_cpp as lib
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(
            f"llama.cpp is not installed here ({error})", "run `make setup`, or install verity-ai[llama]"
        ) from error
    lib.llama_log_set(_log_callback(lib), ctypes.c_void_p(0))
    lib.llama_backend_init()
    return lib


@functools.cache
def _log_callback(lib: Any) -> Any:
    """Keep llama.cpp's last warnings for error messages instead of letting it write to stderr."""

    def remember(_level: int, text: bytes, _data: Any) -> None:
        line = text.decode("utf-8", "replace").strip()
        if line:
            _last_errors.append(line[:300])
            del _last_errors[:-8]

    return lib.llama_log_callback(remember)


def _require_avx2() -> None:
    flags = processor_flags()
    if platform.machine() in ("x86_64", "AMD64") and flags and "avx2" not in flags:
        raise EngineError(
            "this processor has no AVX2, which the portable build of llama.cpp needs",
            "x86-64 processors since 2013 have it; other commands, such as `verity verify --no-replay`, work here",
        )


def describe_library() -> dict[str, Any]:
    """Name, version and digest of the library that computes (SHA-256 over its files, by name)."""
    version, digest = _library_digest()
    return {"name": LLAMA, "version": f"llama-cpp-python {version}", "library": digest}


@functools.cache
def _library_digest() -> tuple[str, str]:
    loaded = library()  # first: it sets what the library reads from the environment
    import llama_cpp

    hasher = hashlib.sha256()
    folder = Path(loaded._lib._name).parent  # where it was loaded from: LLAMA_CPP_LIB_PATH may name another build
    for path in sorted(p for p in folder.iterdir() if ".so" in p.suffixes or p.suffix in (".dylib", ".dll")):
        hasher.update(path.name.encode() + b"\x00" + path.read_bytes())
    return llama_cpp.__version__, hasher.hexdigest()


def default_threads() -> int:
    """All the cores this process may use but one."""
    return max(1, len(os.sched_getaffinity(0)) - 1) if hasattr(os, "sched_getaffinity") else 1


def load_model(lib: Any, path: Path) -> Any:
    """The model in this file. Raises EngineError."""
    hint = f"pull it again: `verity pull`, or check {path.name} with `verity models check`"
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise EngineError(f"{path} is not a GGUF model file", f"{hint}; `verity infer` runs a network in ONNX")
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}", hint) from error
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = False
    model = lib.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise EngineError(explain("the model file is damaged, cut short or of an unknown kind"), hint)
    return model


def exact_profile(lib: Any, threads: int) -> Any:
    """The parameters of a context whose results have the same bits in any batch (llama.py says why); its sizes are
    still to be set."""
    params = lib.llama_context_default_params()
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type = _FLASH_ATTENTION_ON
    params.type_k = params.type_v = _Q8_0
    params.offload_kqv = False
    return params


def explain(message: str) -> str:
    """The message with what llama.cpp last said of an error."""
    told = next((line for line in reversed(_last_errors) if "error" in line.lower() or "fail" in line.lower()), "")
    return f"{message}: {told}" if told else message
