"""A conversation: turns whose receipts name the one before, typed answers, and the loop in which a model uses tools.

A turn is one question. It takes one round, or several when the model calls tools: each round is an answer with a
receipt of its own, the calls are run, and their results are the next round's input. So what a tool said is on record,
in the inputs of the round that read it. Every round's receipt names the result of the round before it (field
``previous_turn``), across turns too, and its inputs begin with that round's inputs and output.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from verity.answer import Answer, Stream, TypedAnswer, complete, typed
from verity.engines.tool_calls import BEGIN, parse_calls
from verity.errors import AnswerError, UsageError
from verity.functions import Functions
from verity.statements.bundle import SUFFIX
from verity.statements.receipt import Message, PreviousTurn
from verity.store.home import guarded
from verity.tools import Turn, fold, grammar_for
from verity.typed import Schema

MAX_ROUNDS = 8
_WHOLE = ("end", "stop")
_T = TypeVar("_T")


class Conversation:
    """Made by ``Node.conversation``; ``answers`` are those of every round, in order."""

    def __init__(
        self,
        stream: Callable[..., Stream],
        *,
        system: str | None = None,
        tools: Sequence[Callable[..., Any]] = (),
        max_rounds: int = MAX_ROUNDS,
        previous: PreviousTurn | None = None,
        **options: Any,
    ) -> None:
        if max_rounds < 1:
            raise UsageError("max_rounds must be at least 1", "leave it out for the default")
        self.answers: list[Answer] = []
        self._turns = [Turn(role="system", content=system)] if system is not None else []
        self._previous = previous
        self._functions = Functions(tools)
        grammar_for(self._functions.texts)  # refuses now what could not be offered later
        self._open = stream
        self._options = options
        self._max_rounds = max_rounds
        self._reply: Stream | None = None

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reply is not None:
            self._reply.close()

    @property
    def messages(self) -> list[Message]:
        """All that was said so far, as a model is told it."""
        return fold(self._turns, self._functions.texts)

    @overload
    def ask(self, prompt: str | Sequence[Message], *, returns: type[_T], **options: Any) -> TypedAnswer[_T]: ...
    @overload
    def ask(self, prompt: str | Sequence[Message], *, returns: None = None, **options: Any) -> Answer: ...
    @overload
    def ask(self, prompt: str | Sequence[Message], *, returns: Any, **options: Any) -> TypedAnswer[Any]: ...
    def ask(self, prompt: str | Sequence[Message], *, returns: Any = None, **options: Any) -> Answer:
        """The answer of the turn's last round; its ``rounds`` are those before. The options are those of ``stream``.

        Raises TypedOutputError when the answer is no value of ``returns``, AnswerError when the model goes on calling
        tools; both carry the answer. Otherwise as ``Node.stream``.
        """
        return complete(self.stream(prompt, returns=returns, **options))

    def stream(self, prompt: str | Sequence[Message], *, returns: Any = None, **options: Any) -> Stream:
        """The next turn, piece by piece.

        ``returns`` is a type or a JSON Schema (verity/typed.py). The options are those of ``Node.stream``, and stand
        over those that the conversation was opened with. What is on record stays in the conversation, an answer that
        was cut off too. Raises as ``ask``.
        """
        schema = returns if isinstance(returns, Schema) or returns is None else Schema(returns)
        options = {**self._options, **options}
        asked = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        turns = [*self._turns, *(Turn(role=message.role, content=message.content) for message in asked)]
        first = self._round(turns, schema, options)
        self._reply = Stream(lambda reply: self._run(reply, first, turns, schema, options))
        return self._reply

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write every round's bundle, ``001.verity.json`` and so on, disclosures included (0600). Returns the files.

        Raises StoreError.
        """
        with guarded(Path(folder)):
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        return [answer.save(Path(folder, f"{n:03}{SUFFIX}")) for n, answer in enumerate(self.answers, 1)]

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _round(self, turns: list[Turn], schema: Schema | None, options: dict[str, Any]) -> Stream:
        texts = self._functions.texts
        return self._open(
            fold(turns, texts),
            tools=texts,
            grammar=grammar_for(texts, schema=schema.text if schema else None),
            previous=self._previous,
            **options,
        )

    def _run(
        self, reply: Stream, stream: Stream, turns: list[Turn], schema: Schema | None, options: dict[str, Any]
    ) -> Generator[str, None, None]:
        rounds: list[Answer] = []
        while True:
            try:
                yield from self._show(reply, stream)
            finally:
                self._keep(reply, stream, turns)
            if (answer := stream.answer) is None:
                return  # the node was asked something else before this began
            calls = answer.tool_calls if answer.finish in _WHOLE else []
            if not calls:
                reply.answer = _last(answer, rounds, schema)
                return
            rounds.append(answer)
            if len(rounds) == self._max_rounds:
                raise _went_on(rounds)
            turns = [*self._turns, *(Turn(role="tool", content=self._functions.run(call)) for call in calls)]
            stream = self._round(turns, schema, options)

    def _show(self, reply: Stream, stream: Stream) -> Iterator[str]:
        reply.text = ""
        with contextlib.closing(stream):
            yield from _without_calls(stream) if self._functions else stream

    def _keep(self, reply: Stream, stream: Stream, turns: list[Turn]) -> None:
        """What was answered is part of the conversation from now on, however it ended."""
        if stream.answer is not None:
            reply.answer = stream.answer
            self.answers.append(stream.answer)
            self._previous = stream.answer.turn
            self._turns = [*turns, Turn(role="assistant", content=stream.answer.text)]


def _without_calls(pieces: Iterable[str]) -> Iterator[str]:
    """An answer is calls from its beginning, or not at all: the text, once it is known to be none."""
    held, plain = "", False
    for piece in pieces:
        held += piece
        plain = plain or not BEGIN.startswith(held[: len(BEGIN)])
        if plain:
            yield held
            held = ""
    if held and not parse_calls(held):
        yield held


def _last(answer: Answer, rounds: list[Answer], schema: Schema | None) -> Answer:
    whole = msgspec.structs.replace(answer, rounds=rounds)
    if schema is None:
        return whole
    try:
        return typed(whole, schema.read(whole.text, finish=whole.finish))
    except AnswerError as error:
        error.answer = whole
        raise


def _went_on(rounds: list[Answer]) -> AnswerError:
    said = f"the model called tools in {len(rounds)} rounds and gave no answer"
    error = AnswerError(said, "raise max_rounds, or offer fewer tools; the rounds are on record")
    error.answer = msgspec.structs.replace(rounds[-1], rounds=rounds[:-1])
    return error
