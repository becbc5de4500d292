"""Many receipts at once: replays that share an engine, and compute once what several of them begin with.

Answers of one device often begin alike: the same instructions, the turns before, several answers to one question. In
the exact profile what is computed of a token depends on the tokens before it alone, to the last bit, so that it may be
kept. To compute several claims in one step gains nothing on a CPU: docs/concepts/replay-time.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from verity.engines.engine import Engine, Logits
from verity.engines.scores import shared
from verity.errors import VerityError
from verity.verify.kinds import AnyClaim, replay_claim
from verity.verify.replay import CannotReplay, Claim, Outcome

_CHANGING = frozenset({"advance", "copy", "keep", "restore", "state", "step", "use_adapters"})
"""What is done with an engine's sequences, or asked of them, beside running one from its beginning."""


def replay_many(engine: Engine, claims: Sequence[AnyClaim]) -> list[Outcome | CannotReplay | VerityError]:
    """Replay claims of the engine's model, numerics and adapters, one after the other, in the order in which most is
    shared. What comes out stands in the order of ``claims``: an outcome, or why there is none."""
    auditor, found = Auditor(engine), dict[int, Outcome | CannotReplay | VerityError]()
    for place in sorted(range(len(claims)), key=lambda place: _sequence(claims[place])):
        try:
            found[place] = auditor.replay(claims[place])
        except (CannotReplay, VerityError) as reason:
            found[place] = reason
    return [found[place] for place in range(len(claims))]


def _sequence(claim: AnyClaim) -> list[int]:
    return [*claim.prompt_tokens, *claim.tokens] if isinstance(claim, Claim) else []


class Auditor:
    """Replays claims on one engine. ``engine`` is that engine, but that after a reset a sequence goes on from what it
    shares with the one before."""

    def __init__(self, engine: Engine) -> None:
        self._keeping = _Keeping(engine)
        self.engine = cast(Engine, self._keeping)

    def replay(self, claim: AnyClaim, progress: Callable[[int, int], None] | None = None) -> Outcome:
        """As ``replay_claim``. What does not come out again on what was kept is run anew: the verdict is that one's."""
        self._keeping.reused = False
        try:
            outcome = replay_claim(self.engine, claim, progress)
        except VerityError:
            if not self._keeping.reused:
                raise
        else:
            if outcome.matches or not self._keeping.reused:
                return outcome
        self._keeping.forget()
        return replay_claim(self.engine, claim, progress)


class _Keeping:
    """``held`` is what sequence 0 was given, of which ``length`` tokens are known to be computed; ``fresh``: it was
    reset, and not yet used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: Sequence[int] = []
        self._length = 0
        self._fresh = False
        self.reused = False

    def __getattr__(self, name: str) -> Any:
        if name in _CHANGING:
            self.forget()
        return getattr(self._engine, name)

    def reset(self) -> None:
        self._fresh = True

    def advance_all(self, tokens: Sequence[int], skip: int = 0, at_least: int = 1) -> Iterator[Logits]:
        if not self._fresh:
            self.forget()
            yield from self._engine.advance_all(tokens, skip, at_least)
            return
        common = min(shared(self._held, tokens), self._length, skip)
        self._fresh, self._held, self._length = False, tokens, common
        if common:
            self.reused = True
            self._engine.keep(0, common)
        else:
            self._engine.reset()
        rows = self._engine.advance_all(tokens[common:], skip - common, at_least)
        for position, row in enumerate(rows, start=skip):
            self._length = position + 1  # not before: the rest may never be asked for
            yield row

    def forget(self) -> None:
        """Something else is done: what the sequences hold is not known until they are reset."""
        if self._fresh:
            self._engine.reset()
        self._fresh, self._held, self._length = False, [], 0
