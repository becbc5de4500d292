"""Asks in a loop until it is killed: ``python asking.py HOME FOLDER [SECONDS PER TOKEN]``.

Says "ready", then a line of receipt id and bundle file for every answer whose bundle is saved.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from verity.engines.scripted import ScriptedEngine
from verity.node import Node


def main() -> None:
    home, folder, *delay = sys.argv[1:]
    engine = ScriptedEngine(delay_s=0.0)
    with Node(home, engine=engine) as node:
        node.load()
        engine._delay_s = float(delay[0]) if delay else 0.0
        print("ready", flush=True)
        for number in itertools.count():
            answer = node.ask("Why?", temperature=0.0, max_tokens=6)
            path = answer.save(Path(folder) / f"{node.log.size()}-{number}.verity.json")
            print(answer.receipt, path, flush=True)


if __name__ == "__main__":
    main()
