"""llama.cpp through its low-level API, in the exact profile: decoding one by one and in batches gives the same bits.

What makes it exact, each measured: flash attention on (plain attention's products depend on the batch); a q8_0 KV
cache (f16 changes to another path at 512 keys and at 64 queries); no extra buffer types (no repacked or AMX weights);
``GGML_CPU_TILED_MM=0`` before the library loads; and a portable build without llamafile (see the Makefile).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verity.engines import LLAMA
from verity.engines.embedding_context import EmbeddingContext
from verity.engines.engine import Logits, Message
from verity.engines.numerics import PROBE_BATCH, processor_flags
from verity.engines.output import MAX_PIECE_BYTES
from verity.engines.pooling import Hidden
from verity.engines.templates import CHATML, ChatTemplate
from verity.errors import ContextOverflow, EngineError

DEFAULT_CONTEXT = 4096
DEFAULT_MICRO_BATCH = 128
MAX_CONTEXT = 1 << 17
_MAX_TOKENS_A_BYTE = 16
_MAX_BYTES_A_TOKEN = 256
"""Averages that no real prompt comes near."""
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


class LlamaEngine:
    """One GGUF model with one sequence. ``threads`` defaults to all cores but one; ``micro_batch`` is how many tokens
    are evaluated at once. Neither changes a bit of the logits. Raises EngineError when the file cannot be loaded."""

    def __init__(
        self,
        path: Path,
        *,
        context_size: int | None = None,
        threads: int | None = None,
        micro_batch: int = DEFAULT_MICRO_BATCH,
    ) -> None:
        self._lib = lib = library()
        self._model: Any = None
        self._ctx: Any = None
        self._batch: Any = None
        self._micro_batch = micro_batch
        self._widest = max(micro_batch, PROBE_BATCH)
        self._position = 0
        self._pieces: dict[int, bytes] = {}
        self._model = _load_model(lib, path)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.vocabulary: int = lib.llama_vocab_n_tokens(self._vocab)
        if self.vocabulary < 1:
            raise EngineError("the model has no tokens", "it is not a model that writes text")
        self.dimensions: int = lib.llama_model_n_embd_out(self._model)
        self._open_context(context_size, threads or default_threads())
        self._template = self._read_template()

    def _open_context(self, context_size: int | None, threads: int) -> None:
        lib = self._lib
        trained = lib.llama_model_n_ctx_train(self._model)
        if not 0 < (context_size or 1) <= MAX_CONTEXT:
            raise EngineError(f"a context of {context_size} tokens is not possible (1 to {MAX_CONTEXT:,})")
        params = lib.llama_context_default_params()
        params.n_ctx = context_size or max(1, min(trained, DEFAULT_CONTEXT))
        params.n_batch = params.n_ubatch = self._widest
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = _FLASH_ATTENTION_ON
        params.type_k = params.type_v = _Q8_0
        params.offload_kqv = False
        self._ctx = lib.llama_init_from_model(self._model, params)
        if not self._ctx:
            raise EngineError(_explain("the model cannot be given a context"), "try a smaller --context")
        self.context_size: int = lib.llama_n_ctx(self._ctx)
        self._memory = lib.llama_get_memory(self._ctx)
        self._batch = lib.llama_batch_init(self._widest, 0, 1)
        for i in range(self._widest):
            self._batch.n_seq_id[i] = 1
            self._batch.seq_id[i][0] = 0

    def _read_template(self) -> ChatTemplate:
        source = self._lib.llama_model_chat_template(self._model, None)
        special = {}
        for name in ("bos", "eos"):
            token = getattr(self._lib, f"llama_vocab_{name}")(self._vocab)
            special[f"{name}_token"] = self._text(token) if token >= 0 else ""
        self._bos = special["bos_token"]
        return ChatTemplate(source.decode("utf-8", "replace") if source else CHATML, special)

    @property
    def description(self) -> dict[str, Any]:
        return describe_library()

    @functools.cached_property
    def tokenizer(self) -> dict[str, Any]:
        hasher = hashlib.sha256()
        for token in range(self.vocabulary):
            hasher.update(self._text(token).encode() + b"\x00")
            hasher.update(self._lib.llama_vocab_get_attr(self._vocab, token).to_bytes(4, "little"))
        return {"sha256": hasher.hexdigest()}

    @property
    def context(self) -> dict[str, Any]:
        return {"size": self.context_size, "flash_attention": True, "kv_cache": "q8_0", "rope": "as in the model"}

    @property
    def template_digest(self) -> str:
        return self._template.digest

    @property
    def template_clock(self) -> bool:
        return self._template.uses_clock

    def render(self, messages: Sequence[Message], clock: str | None) -> str:
        return self._template.render(messages, clock)

    def tokenize(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")
        add_special = not (self._bos and text.startswith(self._bos))
        if len(data) > _MAX_BYTES_A_TOKEN * self.context_size:  # the tokenizer would take minutes to say so
            raise ContextOverflow(
                f"a prompt of {len(data):,} bytes does not fit a context of {self.context_size:,} tokens",
                "shorten the prompt, or use a larger --context",
            )
        room = len(data) + 8
        for _ in range(2):
            buffer = (self._lib.llama_token * room)()
            count = self._lib.llama_tokenize(self._vocab, data, len(data), buffer, room, add_special, True)
            if count >= 0:
                return list(buffer[:count])
            room = min(-count, _MAX_TOKENS_A_BYTE * room)  # some write a space as three byte tokens
        raise EngineError("the prompt cannot be turned into tokens")

    def piece(self, token: int) -> bytes:
        known = self._pieces.get(token)
        if known is None:
            if not 0 <= token < self.vocabulary:
                raise EngineError(f"token {token} is not in the model's vocabulary of {self.vocabulary:,}")
            buffer = ctypes.create_string_buffer(MAX_PIECE_BYTES)
            length = self._lib.llama_token_to_piece(self._vocab, token, buffer, MAX_PIECE_BYTES, 0, False)
            known = self._pieces[token] = buffer.raw[: max(length, 0)]
        return known

    def is_end(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def _text(self, token: int) -> str:
        return (self._lib.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace")

    def reset(self) -> None:
        self._lib.llama_memory_clear(self._memory, False)
        self._position = 0

    def advance(self, tokens: Sequence[int]) -> Logits:
        for start in range(0, len(tokens), self._micro_batch):
            self._decode(tokens[start : start + self._micro_batch], first_output=None)
        return self._row(-1)

    def advance_all(self, tokens: Sequence[int], skip: int = 0, at_least: int = 1) -> Iterator[Logits]:
        size = min(max(self._micro_batch, at_least), self._widest)
        for start in range(0, len(tokens), size):
            chunk = tokens[start : start + size]
            first = max(0, skip - start)
            self._decode(chunk, first_output=first)
            for index in range(first, len(chunk)):
                yield self._row(index)

    def _decode(self, tokens: Sequence[int], first_output: int | None) -> None:
        """Evaluate one micro-batch; logits from index ``first_output`` on, or for the last token alone."""
        batch, count = self._batch, len(tokens)
        if self._position + count > self.context_size:
            raise ContextOverflow(f"the context of {self.context_size:,} tokens is full", "use a larger --context")
        first_output = count - 1 if first_output is None else first_output
        batch.n_tokens = count
        for i, token in enumerate(tokens):
            if not 0 <= token < self.vocabulary:
                raise EngineError(f"token {token} is not in the model's vocabulary of {self.vocabulary:,}")
            batch.token[i] = token
            batch.pos[i] = self._position + i
            batch.logits[i] = i >= first_output
        status = self._lib.llama_decode(self._ctx, batch)
        if status != 0:
            raise EngineError(_explain(f"llama.cpp could not evaluate the tokens (status {status})"))
        self._position += count

    def _row(self, index: int) -> Logits:
        logits = self._lib.llama_get_logits_ith(self._ctx, index)
        if not logits:
            raise EngineError("the model gives no logits", "it is not a model that writes text")
        return np.ctypeslib.as_array(logits, shape=(self.vocabulary,))

    def hidden(self, tokens: Sequence[int]) -> Iterator[Hidden]:
        if len(tokens) > self.context_size:
            raise ContextOverflow(
                f"a text of {len(tokens):,} tokens does not fit a context of {self.context_size:,}",
                "shorten it, or use a larger --context",
            )
        if not all(0 <= token < self.vocabulary for token in tokens):
            raise EngineError(f"a token is not in the model's vocabulary of {self.vocabulary:,}")
        return self._embeddings.hidden(tokens)

    @functools.cached_property
    def _embeddings(self) -> EmbeddingContext:
        threads = self._lib.llama_n_threads(self._ctx)
        return EmbeddingContext(self._lib, self._model, threads=threads, micro_batch=self._micro_batch)

    def close(self) -> None:
        if (embeddings := self.__dict__.pop("_embeddings", None)) is not None:
            embeddings.close()
        if self._batch is not None:
            self._lib.llama_batch_free(self._batch)
        if self._ctx:
            self._lib.llama_free(self._ctx)
        if self._model:
            self._lib.llama_model_free(self._model)
        self._batch = self._ctx = self._model = None

    def __del__(self) -> None:
        if getattr(self, "_lib", None) is not None:
            self.close()


def default_threads() -> int:
    """All the cores this process may use but one."""
    return max(1, len(os.sched_getaffinity(0)) - 1) if hasattr(os, "sched_getaffinity") else 1


def _load_model(lib: Any, path: Path) -> Any:
    hint = f"pull it again: `verity pull`, or check {path.name} with `verity models check`"
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise EngineError(f"{path} is not a GGUF model file", hint)
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}", hint) from error
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = False
    model = lib.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise EngineError(_explain("the model file is damaged, cut short or of an unknown kind"), hint)
    return model


def _explain(message: str) -> str:
    told = next((line for line in reversed(_last_errors) if "error" in line.lower() or "fail" in line.lower()), "")
    return f"{message}: {told}" if told else message
