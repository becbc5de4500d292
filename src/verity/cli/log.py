"""``verity log``: list, prove and check this device's log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import home_option, json_option, print_json
from verity.errors import FormatError, LogError

if TYPE_CHECKING:
    from verity.log.rows import Stored

_MAX_CHECKPOINT = 1 << 16


@click.group()
def log() -> None:
    """List, prove and check this device's append-only log."""


@log.command(name="list")
@home_option
@json_option
def list_entries(home: str | None, as_json: bool) -> None:
    """List the entries: position, kind of statement, receipt id."""
    from verity.node import Node

    with Node(home) as node:
        for stored in node.log.entries():
            row = _describe(stored)
            if as_json:
                print_json(row)
            else:
                click.echo(f"{row['index']:>6}  {row['statement']:<20}  {row['receipt']}")


@log.command()
@click.argument("index", type=click.IntRange(min=0))
@click.option("--from-size", type=click.IntRange(min=1), metavar="N", help="Also prove that the log grew from size N.")
@home_option
@json_option
def prove(index: int, from_size: int | None, home: str | None, as_json: bool) -> None:
    """Print the proof that entry INDEX is in the log, under the log's present checkpoint."""
    from verity.node import Node

    with Node(home) as node:
        checkpoint, paths = node.log.proofs([index])
        shown: dict[str, Any] = {
            "index": index,
            "entry": node.log.entry(index).entry.hex(),
            "path": [h.hex() for h in paths[index]],
            "checkpoint": checkpoint,
        }
        if from_size is not None:
            size = int(checkpoint.splitlines()[1])
            shown["consistency"] = [h.hex() for h in node.log.prove_consistency(from_size, size)]
    if as_json:
        print_json(shown)
    else:
        click.echo(f"entry {index}: {shown['entry']}")
        for name in ("path", "consistency"):
            for digest in shown.get(name, []):
                click.echo(f"  {name} {digest}")
        click.echo(checkpoint, nl=False)


@log.command()
@click.option("--checkpoint", type=click.Path(), metavar="FILE", help="A checkpoint kept from before: is it a prefix?")
@home_option
@json_option
def check(checkpoint: str | None, home: str | None, as_json: bool) -> None:
    """Re-derive the whole log from its entries and compare: nothing dropped, put in, edited or rewritten."""
    from verity.log.rows import HINT
    from verity.node import Node

    old = _read_checkpoint(checkpoint) if checkpoint is not None else None
    with Node(home) as node:
        problems = node.check_log(old)
        size = node.log.size() if not problems else None
    if as_json:
        print_json({"problems": problems, "entries": size})
        sys.exit(1 if problems else 0)
    if problems:
        raise LogError("the log is not sound: " + "; ".join(problems), HINT)
    click.echo(f"{size} entries, every one in its place")


def _read_checkpoint(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_CHECKPOINT + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read as a checkpoint: {error}", "`verity log prove` prints one") from error


def _describe(stored: Stored) -> dict[str, Any]:
    from verity.recorder import read_entry

    _, statement = read_entry(stored)
    return {
        "index": stored.index,
        "statement": statement.predicateType,
        "receipt": statement.predicate.id,
        "entry": stored.entry.hex(),
        "previous": statement.predicate.log.previous,
    }
