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
        with node.conversation(tools=[birthday], temperature=0.7, max_tokens=120) as chat:
            stream = chat.stream("Invent a person.", returns=Person)
            for so_far in stream.partial():
                print(so_far)
            print(chat.answers[-1].receipt, chat.messages[-1].content)
            try:
                print(chat.ask("When were they born?").text)
            except verity.AnswerError as error:  # a small model may call the function for ever
                print(error)
            files = chat.save(folder)
        reports = [
            verity.verify(file, key=node.key.id, previous=before, home=home)
            for before, file in zip([None, *files], files, strict=False)
        ]
    for report in reports:
        print(f"\n{report}")
    return max(report.exit_code for report in reports)


if __name__ == "__main__":
    sys.exit(main())
