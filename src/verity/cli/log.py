"""``verity log``: list, prove, check and compact this device's log; compare two heads of anybody's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli import log_witness
from verity.cli.terminal import home_option, json_option, print_json, read_checkpoint
from verity.errors import FormatError, LogError

if TYPE_CHECKING:
    from verity.log.device_log import DeviceLog
    from verity.log.rows import Stored
    from verity.statements.bundle import Consistency

_MAX_PROOF = 1 << 20
_EPOCHS = click.IntRange(0, 10**15 - 1)
epoch_option = click.option("--epoch", type=_EPOCHS, metavar="N", help="An epoch before the present one.")


@click.group()
def log() -> None:
    """List, prove, check, publish and compact this device's append-only log; judge heads of anybody's."""


for _command in (log_witness.publish, log_witness.witness, log_witness.evidence):
    log.add_command(_command)


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
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@click.option("--key", required=True, metavar="K", help="The device whose log it is.")
@click.option(
    "--proof", type=click.Path(), metavar="FILE", help="What `verity log prove --from-size N --json` printed."
)
@click.option("--evidence", type=click.Path(), metavar="OUT", help="If they prove a fork, write that here.")
@json_option
def compare(old: str, new: str, key: str, proof: str | None, evidence: str | None, as_json: bool) -> None:
    """Compare two checkpoints of one log, kept by anybody: did it only grow?

    Two heads of one size that differ prove that the device forked its log. Exit code: 0 one log that only grew, 1 not,
    3 cannot be told without a proof.
    """
    from verity.verify.logged import compare as compare_heads

    heads = read_checkpoint(old), read_checkpoint(new)
    said, root = _read_proof(proof, heads) if proof else (None, None)
    result = compare_heads(*heads, key, said)
    told: dict[str, Any] = {"status": result.status, "sentence": result.sentence, **result.evidence}
    if evidence is not None and result.status == "failed":
        smaller, larger = sorted(heads, key=_size)
        told["evidence"] = log_witness.write_fork(evidence, smaller, larger, said.path if said else [], root)
    if as_json:
        print_json(told)
    else:
        click.echo(f"{result.status}: {result.sentence}")
    sys.exit({"passed": 0, "failed": 1}.get(result.status, 3))


def _size(note: str) -> int:
    from verity.log.checkpoint import parse_note

    return parse_note(note).size


def _read_proof(path: str, heads: tuple[str, str]) -> tuple[Consistency, str | None]:
    from verity.statements.bundle import Consistency
    from verity.statements.strict import parse_json

    hint = "give what `verity log prove INDEX --from-size N --json` printed"
    try:
        with Path(path).open("rb") as file:
            said = parse_json(file.read(_MAX_PROOF + 1), limit=_MAX_PROOF, what="proof")
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}", hint) from error
    hashes = said.get("consistency") if isinstance(said, dict) else None
    if not isinstance(hashes, list) or not all(isinstance(digest, str) for digest in hashes):
        raise FormatError(f"{path} holds no consistency proof", hint)
    root = said.get("from_root")
    return Consistency(size=min(map(_size, heads)), path=hashes), root if isinstance(root, str) else None


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
