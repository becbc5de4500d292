"""``verity log``: list, prove, check and compact this device's log. What others read and keep: log_public.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from verity.cli import log_public, log_witness
from verity.cli.terminal import home_option, json_option, print_json, read_checkpoint
from verity.errors import LogError

if TYPE_CHECKING:
    from verity.log.device_log import DeviceLog
    from verity.log.rows import Stored

_EPOCHS = click.IntRange(0, 10**15 - 1)
epoch_option = click.option("--epoch", type=_EPOCHS, metavar="N", help="An epoch before the present one.")


@click.group()
def log() -> None:
    """This device's append-only log: list, prove, check, publish it; copy and judge those of others."""


for command in (*log_public.COMMANDS, log_witness.publish, log_witness.witness, log_witness.evidence):
    log.add_command(command)


@contextmanager
def _open(home: str | None, epoch: int | None) -> Iterator[DeviceLog]:
    from verity.node import Node

    with Node(home) as node:
        yield node.log if epoch is None else node.log_of(epoch)


@log.command(name="list")
@epoch_option
@home_option
@json_option
def list_entries(epoch: int | None, home: str | None, as_json: bool) -> None:
    """List the entries: position, kind of statement, receipt id."""
    with _open(home, epoch) as opened:
        for stored in opened.entries():
            row = _describe(stored)
            if as_json:
                print_json(row)
            else:
                click.echo(f"{row['index']:>6}  {row['statement']:<20}  {row['receipt'] or ''}")


@log.command()
@epoch_option
@home_option
@json_option
def checkpoint(epoch: int | None, home: str | None, as_json: bool) -> None:
    """Print the log's signed head, to give to whoever will check later that the log only grew."""
    with _open(home, epoch) as opened:
        signed = opened.checkpoint()
    if as_json:
        print_json({"checkpoint": signed})
    else:
        click.echo(signed, nl=False)


@log.command()
@click.argument("index", type=click.IntRange(min=0))
@click.option("--from-size", type=click.IntRange(min=1), metavar="N", help="Also prove that the log grew from size N.")
@epoch_option
@home_option
@json_option
def prove(index: int, from_size: int | None, epoch: int | None, home: str | None, as_json: bool) -> None:
    """Print the proof that entry INDEX is in the log, under the log's present checkpoint."""
    with _open(home, epoch) as opened:
        signed, paths = opened.proofs([index])
        shown: dict[str, Any] = {
            "index": index,
            "entry": opened.entry(index).entry.hex(),
            "path": [h.hex() for h in paths[index]],
            "checkpoint": signed,
        }
        if from_size is not None:
            size = int(signed.splitlines()[1])
            shown["consistency"] = [h.hex() for h in opened.prove_consistency(from_size, size)]
            shown["from_root"] = _root_at(opened, from_size).hex()
    if as_json:
        print_json(shown)
    else:
        click.echo(f"entry {index}: {shown['entry']}")
        for name in ("path", "consistency"):
            for digest in shown.get(name, []):
                click.echo(f"  {name} {digest}")
        click.echo(signed, nl=False)


def _root_at(opened: DeviceLog, size: int) -> bytes:
    from verity.log.tree import hash_leaf, root_from_inclusion

    last = size - 1
    return root_from_inclusion(last, size, hash_leaf(opened.entry(last).entry), opened.prove(last, size))


@log.command()
@click.option("--checkpoint", type=click.Path(), metavar="FILE", help="A checkpoint kept from before: is it a prefix?")
@epoch_option
@home_option
@json_option
def check(checkpoint: str | None, epoch: int | None, home: str | None, as_json: bool) -> None:
    """Re-derive the whole log from its entries and compare: nothing dropped, put in, edited or rewritten."""
    from verity.log.rows import HINT
    from verity.recorder import inspect

    old = read_checkpoint(checkpoint) if checkpoint is not None else None
    with _open(home, epoch) as opened:
        problems = opened.check(old, inspect)
        size = opened.size() if not problems else None
    if as_json:
        print_json({"problems": problems, "entries": size})
        sys.exit(1 if problems else 0)
    if problems:
        raise LogError("the log is not sound: " + "; ".join(problems), HINT)
    click.echo(f"{size} entries, every one in its place")


@log.command()
@home_option
@json_option
def compact(home: str | None, as_json: bool) -> None:
    """Drop the statements of forgotten receipts (`verity forget`). Every leaf and every proof stays."""
    from verity.node import Node

    with Node(home) as node:
        count = node.recorder.compact()
    if as_json:
        print_json({"compacted": count})
    else:
        click.echo(f"{count} statements dropped; the log is as long as before and proves as much")


def _describe(stored: Stored) -> dict[str, Any]:
    from verity.recorder import read_entry

    row: dict[str, Any] = {"index": stored.index, "entry": stored.entry.hex()}
    if stored.envelope is None:
        return {**row, "statement": "compacted", "receipt": None, "previous": None}
    statement = read_entry(stored)[1]
    predicate = statement.predicate
    return {**row, "statement": statement.predicateType, "receipt": predicate.id, "previous": predicate.log.previous}
