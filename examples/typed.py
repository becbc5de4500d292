"""An answer as a value of a type, a function that the model may call, a conversation whose receipts name each other.

python examples/typed.py
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

import verity


@dataclass
class Person:
    name: Annotated[str, Meta(max_length=16)]
    age: Annotated[int, Meta(ge=0, le=120)]
    mood: Literal["calm", "cross"]


def birthday(name: Annotated[str, Meta(max_length=16)]) -> str:
    """The day on which somebody was born."""
    return f"{name} was born on the first of May."


def main(home: str | None = None) -> int:
    with tempfile.TemporaryDirectory() as folder, verity.open(home) as node:
        with node.conversation(temperature=0.7, max_tokens=80) as chat:
            for so_far in chat.stream("Invent a person.", returns=Person).partial():
                print(so_far)
            print(chat.ask("Is that person grown up?", returns=bool).value)
            files = chat.save(folder)
        reports = [verity.verify(files[0], key=node.key.id, home=home)]
        reports.append(verity.verify(files[1], key=node.key.id, home=home, previous=files[0]))

        with node.conversation(tools=[birthday], max_rounds=2, max_tokens=60) as chat:
            try:
                print(chat.ask("Call birthday for Ada, then tell me the day.").text)
            except verity.AnswerError as error:  # a small model may call for ever; every round is on record
                print(error, [call.arguments for answer in chat.answers for call in answer.tool_calls])
    for report in reports:
        print(f"\n{report}")
    return max(report.exit_code for report in reports)


if __name__ == "__main__":
    sys.exit(main())
