"""What the verbs share: options, progress bars on stderr, the final JSON object, the device's models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from verity.store.blobs import Blobs

json_option = click.option("--json", "as_json", is_flag=True, help="Print one final JSON object.")
home_option = click.option("--home", type=click.Path(), help="The device's folder, instead of $VERITY_HOME.")


@contextmanager
def open_blobs(home: str | None) -> Iterator[Blobs]:
    """The models of the device whose home this is."""
    from verity.store.blobs import Blobs
    from verity.store.database import Database
    from verity.store.home import locate

    folder = locate(home)
    with Database.open(folder) as database:
        yield Blobs(folder, database)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value))


class ProgressBars:
    """``progress(done, total, label)`` as rich bars on stderr; silent when stderr is not a terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, done: int, total: int | None, label: str) -> None:
        if not sys.stderr.isatty():
            return
        if self._progress is None:
            self._progress = _start()
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[label], completed=done, total=total)

    def stop(self) -> None:
        """Take the bars away, so that an answer can be streamed."""
        if self._progress is not None:
            self._progress.stop()
            self._progress, self._tasks = None, {}

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _start() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.start()
    return progress
