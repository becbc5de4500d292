"""What the verbs share: options, progress bars on stderr, the final JSON object, the device's models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from verity.errors import FormatError, UsageError, VerityError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from verity.store.blobs import Blobs

json_option = click.option("--json", "as_json", is_flag=True, help="Print one final JSON object.")
home_option = click.option("--home", type=click.Path(), help="The device's folder, instead of $VERITY_HOME.")


_MAX_PROMPT = 16 << 20
_MAX_PASSPHRASE = 1024


def read_stdin() -> str:
    """A prompt from stdin. Raises UsageError when it is too large or not UTF-8."""
    data = sys.stdin.buffer.read(_MAX_PROMPT + 1)
    if len(data) > _MAX_PROMPT:
        raise UsageError(f"the prompt on stdin is larger than {_MAX_PROMPT:,} bytes", "no context holds that much")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("the prompt on stdin is not UTF-8", "save it as UTF-8") from error


def read_checkpoint(path: str) -> str:
    """A checkpoint that somebody kept in a file; whose it is, and who signed it, is not checked. Raises FormatError."""
    from verity.log.checkpoint import MAX_BYTES, parse_note

    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{path} cannot be read as a checkpoint: {error}", "`verity log checkpoint` prints one"
        ) from error
    with hinting("give a checkpoint as `verity log checkpoint` prints it, with nothing before or after"):
        parse_note(text)
    return text


@contextmanager
def hinting(hint: str) -> Iterator[None]:
    """Give errors the hint, unless they have one of their own."""
    try:
        yield
    except VerityError as error:
        error.hint = error.hint or hint
        raise


def read_schema(path: str) -> str:
    """A JSON Schema from a file; whether an answer can be held to it is not checked. Raises FormatError."""
    from verity.engines.schemas import MAX_SCHEMA

    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_SCHEMA + 1)
        if len(data) > MAX_SCHEMA:
            raise FormatError(f"{path} is larger than {MAX_SCHEMA:,} bytes", "use a smaller schema")
        return data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read as a schema: {error}", "see docs/typed-output.md") from error


def passphrase_options(command: Any) -> Any:
    """--passphrase and --passphrase-file."""
    command = click.option("--passphrase-file", type=click.Path(), metavar="FILE", help="Read it from FILE.")(command)
    return click.option("--passphrase", is_flag=True, help="Ask for a passphrase.")(command)


def read_passphrase(ask: bool, path: str | None, *, confirm: bool) -> str | None:
    """The passphrase, asked for or from a file (without the line's end), or None. Raises UsageError."""
    if path is not None:
        try:
            with Path(path).open("rb") as file:
                text = file.read(_MAX_PASSPHRASE + 1).decode("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read as a passphrase: {error}", "put it into a text file") from error
    elif ask:
        text = str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
    else:
        return None
    if not 0 < len(text) <= _MAX_PASSPHRASE:
        raise UsageError(f"a passphrase has 1 to {_MAX_PASSPHRASE} characters", "choose another")
    return text


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
