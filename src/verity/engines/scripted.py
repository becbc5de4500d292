"""A deterministic fake engine: bytes as tokens, a scripted reply, logits that are a pure function of the tokens before.

It ships so that programs on top of Verity can be tested without a model or a compiler. Its receipts say
``engine: scripted``, and no verification accepts them as a model's output.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from verity.engines import SCRIPTED
from verity.engines.engine import OTHER_ADAPTERS, AdapterFile, Logits, Message, Part, State
from verity.engines.grammar import Constraint, Grammar, Vocabulary
from verity.engines.pooling import Hidden
from verity.errors import ContextOverflow, EngineError
from verity.sampling.noise import all_words, gumbel

END = 256
TURN = 257
_VOCABULARY = 258
_BOOST = 24.0
_ROWS = {"kind": "scripted", "row": 2}
_BOOST_WITH_ADAPTERS = 6.0


class ScriptedEngine:
    """Answers every prompt with ``reply``; at higher temperatures it errs now and then, as a model does. Adapters (any
    file will do) make it err often, each set of them in its own way.

    ``delay_s`` is waited before each token, so that a test can interrupt an answer.
    """

    vocabulary = _VOCABULARY
    template_clock = False
    dimensions = 16
    widest = 128
    memory_bytes = 1 << 20

    def __init__(
        self,
        reply: str = "This is the scripted reply.",
        *,
        context_size: int = 4096,
        delay_s: float = 0.0,
        sequences: int = 1,
    ) -> None:
        self.context_size = context_size
        self.sequences = sequences
        self._reply = [*reply.encode(), END]
        self._delay_s = delay_s
        self._tokens: list[list[int]] = [[] for _ in range(sequences)]
        self._adapters: list[AdapterFile] = []
        self._under = [self._adapters] * sequences

    @property
    def model(self) -> dict[str, Any]:
        """What stands in field ``model``: the script, named by its digest."""
        script = bytes(self._reply[:-1])
        digest = hashlib.sha256(script).hexdigest()
        return {"name": SCRIPTED, "blake3": digest, "sha256": digest, "size": len(script)}

    @property
    def description(self) -> dict[str, Any]:
        return {"name": SCRIPTED, "version": "1", "library": "0" * 64}

    @property
    def tokenizer(self) -> dict[str, Any]:
        return {"sha256": hashlib.sha256(b"verity scripted bytes").hexdigest()}

    @property
    def context(self) -> dict[str, Any]:
        return {"size": self.context_size}

    @property
    def template_digest(self) -> str:
        return hashlib.sha256(b"verity scripted turns").hexdigest()

    def render(self, messages: Sequence[Message], clock: str | None) -> str:  # noqa: ARG002 - the protocol's
        return "".join(f"{m.role}: {m.content}\n" for m in messages)

    def tokenize(self, text: str) -> list[int]:
        return [*text.encode("utf-8", "surrogatepass"), TURN]

    def piece(self, token: int) -> bytes:
        return bytes([token]) if 0 <= token < 256 else b""

    def is_end(self, token: int) -> bool:
        return token == END

    @property
    def adapters(self) -> Sequence[AdapterFile]:
        return self._adapters

    def use_adapters(self, adapters: Sequence[AdapterFile]) -> None:
        self._adapters = list(adapters)

    def constrain(self, grammar: Grammar) -> Constraint:
        return Constraint(self._constrained, grammar)

    @functools.cached_property
    def _constrained(self) -> Vocabulary:
        return Vocabulary(self)

    def reset(self) -> None:
        self._tokens = [[] for _ in range(self.sequences)]

    def keep(self, sequence: int, length: int) -> None:
        del self._tokens[sequence][length:]

    def copy(self, source: int, target: int, length: int) -> None:
        self._tokens[target] = self._tokens[source][:length]
        self._under[target] = self._under[source]

    def state(self, sequence: int, bounds: Sequence[tuple[int, int]]) -> State | None:
        """Its memory is its tokens, two bytes each."""
        rows = np.array(self._tokens[sequence], dtype=">u2")
        return State(_ROWS, [rows[start:end].tobytes() for start, end in bounds])

    def restore(self, sequence: int, state: State) -> None:
        rows = b"".join(state.chunks)
        if state.encoding != _ROWS or any(len(chunk) % 2 or not chunk for chunk in state.chunks):
            raise EngineError("this state is in another form than this model's")
        self._tokens[sequence] = [int(token) for token in np.frombuffer(rows, dtype=">u2")]
        self._under[sequence] = self._adapters

    def step(self, parts: Sequence[Part]) -> list[Logits]:
        for sequence, tokens in parts:
            for token in tokens:
                self._append(sequence, token)
        time.sleep(self._delay_s)
        return [self._logits(part.sequence) for part in parts]

    def advance(self, tokens: Sequence[int]) -> Logits:
        return self.step([Part(0, tokens)])[0]

    def advance_all(self, tokens: Sequence[int], skip: int = 0, at_least: int = 1) -> Iterator[Logits]:  # noqa: ARG002
        for index, token in enumerate(tokens):
            self._append(0, token)
            if index >= skip:
                yield self._logits(0)

    def hidden(self, tokens: Sequence[int]) -> Iterator[Hidden]:
        """Noise that the tokens so far decide: a fake, that says nothing of a text's meaning."""
        if len(tokens) > self.context_size:
            raise ContextOverflow(f"a text of {len(tokens)} tokens does not fit a context of {self.context_size}")
        hasher = hashlib.sha256(b"hidden")
        for token in tokens:
            hasher.update(token.to_bytes(2, "big"))
            key = np.uint64(int.from_bytes(hasher.digest()[:8], "little"))
            yield gumbel(all_words(key, self.dimensions)).astype(np.float32)

    def close(self) -> None:
        self.reset()

    def _append(self, sequence: int, token: int) -> None:
        if not 0 <= token < _VOCABULARY:
            raise EngineError(f"token {token} is not in the vocabulary")
        if len(self._tokens[sequence]) >= self.context_size:
            raise ContextOverflow(f"the context of {self.context_size} tokens is full")
        if self._tokens[sequence] and self._under[sequence] != self._adapters:
            raise EngineError(OTHER_ADAPTERS)
        self._under[sequence] = self._adapters
        self._tokens[sequence].append(token)

    def _logits(self, sequence: int) -> Logits:
        tokens = self._tokens[sequence]
        changed = b"".join(b"%s %r\n" % (a.blake3.encode(), float(a.scale)) for a in self._adapters)
        digest = hashlib.sha256(changed + np.array(tokens, dtype=">u2").tobytes()).digest()
        logits = gumbel(all_words(np.uint64(int.from_bytes(digest[:8], "little")), _VOCABULARY))
        logits[TURN] = -100.0
        if TURN in tokens:
            written = len(tokens) - 1 - tokens.index(TURN)
            logits[self._reply[min(written, len(self._reply) - 1)]] += _BOOST_WITH_ADAPTERS if changed else _BOOST
        return logits.astype(np.float32)
