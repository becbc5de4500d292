"""One process of the head to head: writes outputs, or verifies them, and appends a line for each to a file.

    python -m rivals.worker <<< '{"task": "write", "group": "honest", ...}'

Its environment decides how it computes: LLAMA_CPP_LIB_PATH names another build. It says on stdout how far it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from rivals import lies
from rivals.outputs import Compared, Line, Output, Replay, Seen, append, missing, read_lines
from rivals.seeing import compared, replayed, see
from rivals.watched import WatchedEngine
from rivals.writing import write
from verity.engines.engine import AdapterFile

SEQUENCES = 8
CONTEXT = 384


Kind = Literal["write", "see", "replay", "compare"]
LINES: dict[Kind, type[Line]] = {"write": Output, "see": Seen, "replay": Replay, "compare": Compared}


class Task(msgspec.Struct, frozen=True):
    """What to do: ``write`` a group's outputs, ``see`` them under other numerics, ``replay`` them exactly, or
    ``compare`` each of their pieces exactly.
    ``written`` is the file of outputs, ``into`` the file to append to, ``count`` how many outputs there are to be."""

    kind: Kind
    group: str
    weights: str
    adapter: str
    written: str
    into: str
    count: int


def run(task: Task, tell: Callable[[int], None]) -> None:
    """Do what is not done yet; ``tell`` is given how many outputs are."""
    into = Path(task.into)
    numbers = missing(into, LINES[task.kind], range(task.count))
    done = task.count - len(numbers)
    tell(done)
    if not numbers:
        return
    sequences = SEQUENCES if task.kind == "write" else 1
    engine = WatchedEngine(Path(task.weights), context_size=CONTEXT, threads=1, sequences=sequences)
    for line in _lines(task, engine, numbers):
        append(into, line)
        done += 1
        tell(done)
    engine.close()


def _lines(task: Task, engine: WatchedEngine, numbers: list[int]) -> Iterator[Line]:
    if task.kind == "write":
        way = lies.way_of(task.group)
        assert way is not None
        if way.adapter:
            engine.use_adapters([AdapterFile("0" * 64, Path(task.adapter), 1)])
        yield from write(engine, way, task.group, numbers)
        return
    outputs = read_lines(Path(task.written), Output)
    looks = {"see": see, "replay": replayed, "compare": compared}
    for number in numbers:
        yield looks[task.kind](engine, task.group, outputs[number])


def main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    run(task, lambda done: print(done, flush=True))


if __name__ == "__main__":
    main()
