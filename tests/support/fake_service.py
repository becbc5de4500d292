"""A service without an engine, for tests of the HTTP layer: what it was asked, and answers that a test chooses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

from made_logs import entries, published

from verity.engines.tool_calls import parse_calls
from verity.errors import ModelNotFound, UsageError, VerityError
from verity.log.log_index import Index
from verity.log.tile_folder import CHECKPOINT
from verity.server.answering import Answering, Asking, Embedded, Ended, ModelInfo, Piece, TokenLogprob
from verity.server.public_log import PublicLog
from verity.statements.states import encode_states

MODEL = "smollm2-135m-instruct"
DIGEST = "5f" * 32
DEVICE = "3c" * 32
REPLY = "Blue light is scattered more than red light."
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLING = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


class FakeAnswering:
    """Writes ``text`` a word at a time; stops for ever before word ``hang_at``, raises ``error`` after the last."""

    def __init__(self, asking: Asking, text: str, *, hang_at: int | None = None, error: VerityError | None = None):
        self.asking, self.text, self.hang_at, self.error = asking, text, hang_at, error
        self.receipt = hashlib.sha256(f"{asking.choice} {asking.messages}".encode()).hexdigest()[:32]
        self.nonce = (asking.nonce or bytes(32)).hex()
        self.parameters: Mapping[str, Any] = {**asking.sampling, "max_tokens": asking.max_tokens or 256}
        self.numerics: Mapping[str, Any] = {"fingerprint": "ab" * 32, "exact": True}
        self.model: Mapping[str, Any] = {"name": MODEL, "blake3": DIGEST}
        self.device = DEVICE
        self.ended: Ended | None = None
        self.cancelled = asyncio.Event()
        self.cut_off = threading.Event()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        words = [word for word in self.text.split(" ") if word]
        for index, word in enumerate(words):
            if index == self.hang_at:
                await self.cancelled.wait()
                self.ended = self._end("cancelled", words[:index])
                return
            piece = f" {word}" if index else word
            yield Piece(piece, self._logprobs(piece))
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        limit = self.asking.max_tokens
        self.ended = self._end("length" if limit is not None and limit <= len(words) else "end", words)

    def _logprobs(self, piece: str) -> list[TokenLogprob]:
        if self.asking.top_logprobs is None:
            return []
        top = [(piece, piece.encode(), -0.5), ("other", b"other", float("-inf"))][: self.asking.top_logprobs]
        return [TokenLogprob(piece, list(piece.encode()), -0.5, top)]

    def _end(self, finish: Any, words: list[str]) -> Ended:
        text = " ".join(words)
        calls = parse_calls(text) if self.asking.tools else []
        return Ended(
            finish=finish, text=text, prompt_tokens=7, completion_tokens=len(words), cached_tokens=3, tool_calls=calls
        )

    async def cancel(self) -> None:
        self.cancelled.set()
        self.cut_off.set()


class FakePublicLog(PublicLog):
    """A log of three entries."""

    def __init__(self) -> None:
        self._files = published(entries(3))

    async def index(self) -> bytes:
        return Index([]).encode()

    async def checkpoint(self, epoch: int) -> bytes | None:
        return self._files[CHECKPOINT] if epoch == 0 else None

    async def tile(self, epoch: int, path: str) -> bytes | None:
        return self._files.get(path) if epoch == 0 else None


class FakeService:
    """``asked`` is what came. ``text``, ``hang_at``, ``error`` make the next answers; ``refusal`` is raised instead."""

    def __init__(self) -> None:
        self.asked: list[Asking] = []
        self.answers: list[FakeAnswering] = []
        self.text = REPLY
        self.hang_at: int | None = None
        self.error: VerityError | None = None
        self.refusal: Exception | None = None
        self.verified: list[tuple[Any, Mapping[str, Any]]] = []
        self.stopped: float | None = None

    async def start(self) -> None:
        pass

    async def preload(self, model: str) -> None:
        self._check(model)

    async def stop(self, grace_s: float) -> None:
        self.stopped = grace_s
        for answer in self.answers:
            await answer.cancel()

    async def answer(self, asking: Asking) -> Answering:
        self._check(asking.model)
        self.asked.append(asking)
        answer = FakeAnswering(asking, self.text, hang_at=self.hang_at, error=self.error)
        self.answers.append(answer)
        return answer

    async def embed(self, model: str, texts: list[str]) -> Embedded:
        self._check(model)
        return Embedded(vectors=[[0.5, float(len(text))] for text in texts], receipt="ee" * 16, tokens=len(texts))

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo(id=MODEL, created=1_700_000_000, blake3=DIGEST, loaded=True)]

    async def states(self, receipt_id: str, segments: list[int], key: str | None) -> bytes:
        if receipt_id != "ab" * 16:
            raise UsageError(f"there is no receipt {receipt_id}", "`verity show` lists them")
        return encode_states(receipt_id, [b"rows"] * max(segments))

    async def bundle(self, receipt_id: str, disclose: bool) -> bytes:
        if receipt_id != "ab" * 16:
            raise UsageError(f"there is no receipt {receipt_id}", "`verity show` lists them")
        bundle: dict[str, Any] = {"receipt": {}, "log": {}}
        return json.dumps({**bundle, **({"disclosure": {"intent": []}} if disclose else {})}).encode()

    async def verify(self, bundle: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
        self._check(MODEL)
        self.verified.append((json.loads(bundle), options))
        return {"receipt": "", "device": DEVICE, "passed": True, "exit_code": 0, "required": [], "checks": []}

    def _check(self, model: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        if model != MODEL:
            raise ModelNotFound(f"no model {model!r} is here", f"run `verity pull {model}`")
