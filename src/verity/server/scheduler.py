"""Many answers from one engine: a step evaluates the next tokens of all of them in one batch (continuous batching).

Every answer has a slot, which is a sequence of the engine. A step takes one token of each answer that is being written
and fills up with the prompts of those that begin. What a slot keeps of an answer that is over is used again: a new
prompt goes to the slot that begins most like it, or gets that beginning copied. No bit of any answer depends on what
else runs (tests/engines/test_sequences.py), so that each is replayed alone.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence

from verity.engines.engine import AdapterFile, Engine, Logits, Part
from verity.errors import TimedOut, VerityError
from verity.generation import Generation
from verity.request import Request
from verity.server.answering import Piece, TokenLogprob
from verity.server.logprobs import logprobs_of

PROMPT_SHARE = 64
"""Tokens of prompts in one step while answers are being written: those do not wait long for their next token."""
_WORTH_COPYING = 16
"""Tokens: fewer are as quickly evaluated as copied."""


class Job:
    """One answer that is wanted. ``tell`` is called in the engine's thread with a Piece, and at last with None or the
    error that ended it; ``generation`` then holds what was written. ``cancel`` may be set from any thread."""

    def __init__(
        self,
        request: Request,
        tell: Callable[[Piece | VerityError | None], None],
        *,
        adapters: Sequence[AdapterFile] = (),
        top_logprobs: int | None = None,
        deadline: float = float("inf"),
    ) -> None:
        self.request = request
        self.tell = tell
        self.adapters = list(adapters)
        self.top_logprobs = top_logprobs
        self.deadline = deadline
        self.generation: Generation | None = None
        self.cached = 0
        self.cancelled = False


class _Slot:
    """One sequence: the tokens in it, the adapters that they were computed with, and whose they are."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tokens: list[int] = []
        self.adapters: list[AdapterFile] = []
        self.ahead: list[int] = []
        self.job: Job | None = None

    def common(self, job: Job) -> int:
        """How many tokens of the job's prompt stand here already; the last one's logits are always computed."""
        if self.adapters != job.adapters:
            return 0
        pairs = zip(self.tokens, job.request.prompt_tokens[:-1], strict=False)
        return next((at for at, (here, wanted) in enumerate(pairs) if here != wanted), self._shorter(job))

    def _shorter(self, job: Job) -> int:
        return min(len(self.tokens), len(job.request.prompt_tokens) - 1)


class Scheduler:
    """The answers of one engine, which nobody else may use meanwhile. Not to be shared between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._slots = [_Slot(number) for number in range(engine.sequences)]
        self._waiting: deque[Job] = deque()
        self._turn = 0
        engine.reset()

    def add(self, job: Job) -> None:
        """Take a job; it begins when a slot is free, in the order of adding."""
        self._waiting.append(job)

    @property
    def busy(self) -> bool:
        return bool(self._waiting) or any(slot.job for slot in self._slots)

    def step(self) -> None:
        """Begin what can begin, and evaluate one batch. Whatever goes wrong ends the answers that it concerns."""
        self._drop()
        while self._waiting and (free := [slot for slot in self._slots if slot.job is None]):
            self._begin(self._waiting.popleft(), free)
        group = self._group()
        parts = self._parts(group)
        if not parts:
            return
        try:
            self._engine.use_adapters(group[0].adapters)
            rows = self._engine.step(parts)
        except VerityError as error:
            for slot in group:
                self._end(slot, error)
                slot.tokens = []
                self._engine.keep(slot.number, 0)
            return
        for part, logits in zip(parts, rows, strict=True):
            self._evaluated(self._slots[part.sequence], len(part.tokens), logits)

    def drain(self, error: VerityError) -> None:
        """End everything with this error."""
        while self._waiting:
            self._waiting.popleft().tell(error)
        for slot in self._slots:
            self._end(slot, error)

    def forget(self) -> None:
        """The engine was used for something else: what its sequences held is evaluated again."""
        self._engine.reset()
        for slot in self._slots:
            if slot.job is not None:
                slot.ahead = [*slot.tokens, *slot.ahead]
            slot.tokens = []

    # --- steps --------------------------------------------------------------------------------------------------------

    def _drop(self) -> None:
        """End what nobody waits for any more."""
        now = time.monotonic()
        for job in [job for job in self._waiting if job.cancelled or now > job.deadline]:
            self._waiting.remove(job)
            job.tell(None if job.cancelled else _late())
        for slot in self._slots:
            if slot.job is not None and (slot.job.cancelled or now > slot.job.deadline):
                self._end(slot, None if slot.job.cancelled else _late())

    def _begin(self, job: Job, free: Sequence[_Slot]) -> None:
        slot = max(free, key=lambda s: (s.common(job), -len(s.tokens), -s.number))
        try:
            job.generation = Generation(self._engine, job.request)
            job.cached = self._reuse(slot, job)
        except VerityError as error:
            slot.tokens = []  # a copy may have failed half-way: what stands there is not known
            job.tell(error)
            return
        slot.ahead = job.request.prompt_tokens[job.cached :]
        slot.adapters, slot.job = job.adapters, job

    def _reuse(self, slot: _Slot, job: Job) -> int:
        """Leave in the slot the beginning of the job's prompt, as much as is there or elsewhere; returns its length."""
        here = slot.common(job)
        best = max(self._slots, key=lambda s: s.common(job))
        if (there := best.common(job)) >= here + _WORTH_COPYING:
            self._engine.copy(best.number, slot.number, there)
            here = there
        else:
            self._engine.keep(slot.number, here)
        slot.tokens = job.request.prompt_tokens[:here]
        return here

    def _group(self) -> list[_Slot]:
        """The slots that may share a step: those with the same adapters. The sets in use take turns."""
        active = [slot for slot in self._slots if slot.job is not None]
        sets: list[list[AdapterFile]] = []
        for slot in active:
            if slot.adapters not in sets:
                sets.append(slot.adapters)
        self._turn += 1
        return [slot for slot in active if slot.adapters == sets[self._turn % len(sets)]]

    def _parts(self, group: Sequence[_Slot]) -> list[Part]:
        writing = [slot for slot in group if len(slot.ahead) == 1]
        room = self._engine.widest - len(writing)
        room = min(room, PROMPT_SHARE) if writing else room
        parts = []
        for slot in group:
            if len(slot.ahead) == 1:
                parts.append(Part(slot.number, slot.ahead))
            elif room > 0:
                parts.append(Part(slot.number, slot.ahead[:room]))
                room -= len(parts[-1].tokens)
        return parts

    def _evaluated(self, slot: _Slot, count: int, logits: Logits) -> None:
        job = slot.job
        assert job is not None
        assert job.generation is not None
        slot.tokens += slot.ahead[:count]
        slot.ahead = slot.ahead[count:]
        if slot.ahead:
            return
        output = job.generation.output
        try:
            token = job.generation.draw(logits)
        except VerityError as error:
            self._end(slot, error)
            return
        found: list[TokenLogprob] = []
        if job.top_logprobs is not None:
            found = [logprobs_of(self._engine, logits, token, job.top_logprobs)]
        if (text := output.fresh()) or found:
            job.tell(Piece(text, found))
        slot.ahead = [token]
        if output.finish is not None:
            self._end(slot, None)

    @staticmethod
    def _end(slot: _Slot, error: VerityError | None) -> None:
        if (job := slot.job) is not None:
            if job.generation is not None:
                with contextlib.suppress(VerityError):  # without its states the answer is on record all the same
                    job.generation.close(slot.number)
            slot.job, slot.ahead = None, []
            job.tell(error)


def _late() -> VerityError:
    return TimedOut(
        "the answer took longer than it may", "ask for fewer tokens, or start the server with more --timeout"
    )
