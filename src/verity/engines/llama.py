"""llama.cpp through its low-level API, in the exact profile: decoding one by one and in batches gives the same bits.

What makes it exact, each measured: flash attention on (plain attention's products depend on the batch); a q8_0 KV
cache (f16 changes to another path at 512 keys and at 64 queries); no extra buffer types (no repacked or AMX weights);
``GGML_CPU_TILED_MM=0`` before the library loads; and a portable build without llamafile (see the Makefile).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verity.engines import kv_state
from verity.engines.embedding_context import EmbeddingContext
from verity.engines.engine import OTHER_ADAPTERS, AdapterFile, Logits, Message, Part, State
from verity.engines.grammar import Constraint, Grammar, Vocabulary
from verity.engines.library import default_threads, describe_library, exact_profile, explain, library, load_model
from verity.engines.lora import LoraAdapters
from verity.engines.numerics import PROBE_BATCH
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
_Q8_0_BYTES = 34 / 32


class LlamaEngine:
    """One GGUF model with ``sequences`` sequences of ``context_size`` tokens each. ``threads`` defaults to all cores
    but one; ``micro_batch`` is how many tokens are evaluated at once. None of these changes a bit of the logits: every
    sequence has cells of its own, in the order of its tokens. Raises EngineError when the file cannot be loaded."""

    def __init__(
        self,
        path: Path,
        *,
        context_size: int | None = None,
        threads: int | None = None,
        micro_batch: int = DEFAULT_MICRO_BATCH,
        sequences: int = 1,
    ) -> None:
        self._lib = lib = library()
        self._model: Any = None
        self._ctx: Any = None
        self._batch: Any = None
        self._micro_batch = micro_batch
        self.widest = max(micro_batch, PROBE_BATCH, sequences)
        self.sequences = sequences
        self._positions = [0] * sequences
        self._under: list[Sequence[AdapterFile]] = [[]] * sequences
        self._pieces: dict[int, bytes] = {}
        self._lora: LoraAdapters | None = None
        self._layout: kv_state.Layout | None = None
        self._model = load_model(lib, path)
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
        params = exact_profile(lib, threads)
        params.n_ctx = (context_size or max(1, min(trained, DEFAULT_CONTEXT))) * self.sequences
        params.n_batch = params.n_ubatch = self.widest
        params.n_seq_max = self.sequences
        params.kv_unified = False
        self._ctx = lib.llama_init_from_model(self._model, params)
        if not self._ctx:
            raise EngineError(explain("the model cannot be given a context"), "try a smaller --context")
        self.context_size: int = lib.llama_n_ctx_seq(self._ctx)
        self._memory = lib.llama_get_memory(self._ctx)
        self._batch = lib.llama_batch_init(self.widest, 0, 1)
        for i in range(self.widest):
            self._batch.n_seq_id[i] = 1

    def _read_template(self) -> ChatTemplate:
        source = self._lib.llama_model_chat_template(self._model, None)
        special = {}
        for name in ("bos", "eos"):
            token = getattr(self._lib, f"llama_vocab_{name}")(self._vocab)
            special[f"{name}_token"] = self._text(token) if token >= 0 else ""
        self._bos = special["bos_token"]
        return ChatTemplate(source.decode("utf-8", "replace") if source else CHATML, special)

    @property
    def memory_bytes(self) -> int:
        lib, model = self._lib, self._model
        width = (
            lib.llama_model_n_embd(model) * lib.llama_model_n_head_kv(model) // max(1, lib.llama_model_n_head(model))
        )
        a_token = 2 * lib.llama_model_n_layer(model) * width * _Q8_0_BYTES
        logits = 4 * self.vocabulary * self.widest
        return int(lib.llama_model_size(model) + a_token * self.context_size * self.sequences + logits)

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

    def constrain(self, grammar: Grammar) -> Constraint:
        return Constraint(self._constrained, grammar)

    @functools.cached_property
    def _constrained(self) -> Vocabulary:
        return Vocabulary(self)

    @property
    def adapters(self) -> Sequence[AdapterFile]:
        return self._lora.in_use if self._lora is not None else []

    def use_adapters(self, adapters: Sequence[AdapterFile]) -> None:
        if self._lora is None:
            self._lora = LoraAdapters(self._lib, self._model, self._ctx)
        self._lora.use(adapters)

    def reset(self) -> None:
        self._lib.llama_memory_clear(self._memory, False)
        self._positions = [0] * self.sequences

    def keep(self, sequence: int, length: int) -> None:
        if length < self._positions[sequence]:
            if not self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1):
                raise EngineError("llama.cpp cannot forget part of a sequence", "this kind of model is not served")
            self._positions[sequence] = length

    def copy(self, source: int, target: int, length: int) -> None:
        self.keep(target, 0)
        kv_state.load(self._lib, self._ctx, target, kv_state.save(self._lib, self._ctx, source))
        self._positions[target], self._under[target] = self._positions[source], self._under[source]
        self.keep(target, length)

    def state(self, sequence: int, bounds: Sequence[tuple[int, int]]) -> State | None:
        rows = kv_state.read_rows(kv_state.save(self._lib, self._ctx, sequence), self._positions[sequence])
        return State(rows.layout.encoding, [rows.chunk(*bound) for bound in bounds]) if rows is not None else None

    def restore(self, sequence: int, state: State) -> None:
        self.keep(sequence, 0)
        layout = self._layout_by(sequence)
        if layout is None or layout.encoding != state.encoding:
            raise EngineError("this state is in another form than this model's")
        data = kv_state.write_rows(layout, state.chunks, streams=self.sequences, sequence=sequence)
        length = sum(map(len, state.chunks)) // layout.row
        if length > self.context_size:
            raise ContextOverflow("this state does not fit the context", "use a larger --context")
        if length:
            kv_state.load(self._lib, self._ctx, sequence, data)
        self._positions[sequence], self._under[sequence] = length, self.adapters

    def _layout_by(self, sequence: int) -> kv_state.Layout | None:
        """That of a state of one token, made once in a sequence that is empty: what restoring needs, and no stranger's
        word."""
        if self._layout is None:
            self._decode([Part(sequence, [0])], first_output=None)
            rows = kv_state.read_rows(kv_state.save(self._lib, self._ctx, sequence), 1)
            self._layout = rows.layout if rows is not None else None
            self.keep(sequence, 0)
        return self._layout

    def step(self, parts: Sequence[Part]) -> list[Logits]:
        if sum(len(part.tokens) for part in parts) > self.widest:
            raise EngineError(f"a step has at most {self.widest} tokens")
        rows = self._decode(parts, first_output=None)
        return [self._row(row) for row in rows]

    def advance(self, tokens: Sequence[int]) -> Logits:
        for start in range(0, len(tokens), self._micro_batch):
            self._decode([Part(0, tokens[start : start + self._micro_batch])], first_output=None)
        return self._row(-1)

    def advance_all(self, tokens: Sequence[int], skip: int = 0, at_least: int = 1) -> Iterator[Logits]:
        size = min(max(self._micro_batch, at_least), self.widest)
        for start in range(0, len(tokens), size):
            chunk = tokens[start : start + size]
            first = max(0, skip - start)
            self._decode([Part(0, chunk)], first_output=first)
            for index in range(first, len(chunk)):
                yield self._row(index)

    def _decode(self, parts: Sequence[Part], first_output: int | None) -> list[int]:
        """Evaluate one batch; returns where each part's last logits are. Logits come from each part's index
        ``first_output`` on, or for its last token alone."""
        batch, at, rows = self._batch, 0, []
        for sequence, tokens in parts:
            position, last = self._positions[sequence], len(tokens) - 1
            if position and self._under[sequence] != self.adapters:
                raise EngineError(OTHER_ADAPTERS)
            if position + len(tokens) > self.context_size:
                raise ContextOverflow(f"the context of {self.context_size:,} tokens is full", "use a larger --context")
            for i, token in enumerate(tokens):
                if not 0 <= token < self.vocabulary:
                    raise EngineError(f"token {token} is not in the model's vocabulary of {self.vocabulary:,}")
                batch.token[at] = token
                batch.pos[at] = position + i
                batch.seq_id[at][0] = sequence
                batch.logits[at] = i >= (last if first_output is None else first_output)
                at += 1
            rows.append(at - 1)
        batch.n_tokens = at
        status = self._lib.llama_decode(self._ctx, batch)
        if status != 0:
            raise EngineError(explain(f"llama.cpp could not evaluate the tokens (status {status})"))
        for sequence, tokens in parts:
            self._positions[sequence] += len(tokens)
            self._under[sequence] = self.adapters
        return rows

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
        self._batch = self._ctx = self._model = self._lora = None

    def __del__(self) -> None:
        if getattr(self, "_lib", None) is not None:
            self.close()
