"""``verity log publish``, ``log witness`` and ``log evidence``: heads that others cosign, and proofs of a fork."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import hinting, home_option, json_option, print_json
from verity.errors import FetchError, FormatError, LogError, ProofError, VerityError

if TYPE_CHECKING:
    from verity.log.witnesses import Asked, Witnesses


@click.command()
@click.option("--epoch", type=click.IntRange(0, 10**15 - 1), metavar="N", help="The last head of an earlier epoch.")
@click.option("--require", type=click.IntRange(min=1), metavar="K", help="Fail unless K witnesses have cosigned it.")
@home_option
@json_option
def publish(epoch: int | None, require: int | None, home: str | None, as_json: bool) -> None:
    """Publish the log's present head, and ask the witnesses (`verity log witness add`) to cosign it.

    A witness that does not is a warning; one that knows another history of this log is not: then the exit code is 1.
    Receipts go out under the published head that most witnesses cosigned.
    """
    from verity.log import note
    from verity.node import Node

    failed: list[dict[str, str]] = []
    contradicted: list[str] = []

    def told(asked: Asked, outcome: Any) -> None:
        if isinstance(outcome, VerityError):
            failed.append({"witness": asked.key.name, "error": str(outcome), "hint": outcome.hint})
            if isinstance(outcome, LogError):
                contradicted.append(asked.key.name)
            if not as_json:
                click.echo(f"warning: {outcome}; {outcome.hint}", err=True)

    with Node(home) as node:
        publisher = node.publisher if epoch is None else node.publisher_of(epoch)
        published = publisher.publish(told=told)
        asked = node.publisher.witnesses.all()
    lines = note.parse(published.checkpoint).lines
    cosigned = [each.key.name for each in asked if any(map(each.key.made, lines))]
    if as_json:
        said = {"size": published.size, "checkpoint": published.checkpoint, "cosigned": cosigned, "failed": failed}
        print_json(said)
    else:
        click.echo(
            f"{published.size} entries published, cosigned by {len(cosigned)} of {len(asked)} witnesses", err=True
        )
        click.echo(published.checkpoint, nl=False)
    short = require is not None and len(cosigned) < require
    if as_json:
        sys.exit(FetchError.exit_code if short or contradicted else 0)
    if contradicted:
        raise LogError(
            f"{', '.join(contradicted)} cosigned another history of this log",
            "do not go on before you know why: see above",
        )
    if short:
        raise FetchError(
            f"{len(cosigned)} witnesses cosigned the head, and {require} are required",
            "see the warnings above; the head is published, and asking again adds to it",
        )


@click.group()
def witness() -> None:
    """Whom this device asks to cosign its published heads."""


@contextmanager
def _witnesses(home: str | None) -> Iterator[Witnesses]:
    from verity.log.witnesses import Witnesses
    from verity.store.database import Database
    from verity.store.home import locate

    with Database.open(locate(home)) as database:
        yield Witnesses(database)


@witness.command()
@click.argument("url")
@click.argument("vkey")
@home_option
@json_option
def add(url: str, vkey: str, home: str | None, as_json: bool) -> None:
    """Ask the witness at URL, whose key is VKEY, from now on; its operator tells both."""
    from verity.log.note import parse_key

    with _witnesses(home) as witnesses:
        _say(witnesses.add(url, parse_key(vkey)), "is asked from now on", as_json)


@witness.command()
@click.argument("name")
@home_option
@json_option
def remove(name: str, home: str | None, as_json: bool) -> None:
    """Ask a witness no more: NAME is its name, key or address. What it cosigned stays."""
    with _witnesses(home) as witnesses:
        _say(witnesses.remove(name), "is not asked any more", as_json)


@witness.command(name="list")
@home_option
@json_option
def list_witnesses(home: str | None, as_json: bool) -> None:
    """List whom this device asks."""
    with _witnesses(home) as witnesses:
        found = witnesses.all()
    if as_json:
        print_json({"witnesses": [{"url": asked.url, "vkey": str(asked.key)} for asked in found]})
    else:
        for asked in found:
            click.echo(f"{asked.url}  {asked.key}")


@witness.command()
@home_option
@json_option
def key(home: str | None, as_json: bool) -> None:
    """Print the key of this device's log as one word, for witnesses (`verity witness add`)."""
    from verity.log.heads import key_of
    from verity.node import Node

    with Node(home) as node:
        vkey = str(key_of(node.log.origin))
    if as_json:
        print_json({"vkey": vkey})
    else:
        click.echo(vkey)


def _say(asked: Asked, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"url": asked.url, "vkey": str(asked.key)})
    else:
        click.echo(f"{asked.key.name} at {asked.url} {what}")


@click.command()
@click.argument("file", type=click.Path())
@click.option("--key", "vkey", metavar="VKEY", help="The log's key; a device's log has its own in its name.")
@json_option
def evidence(file: str, vkey: str | None, as_json: bool) -> None:
    """Judge evidence (*.fork.json) that a log signed two histories. Exit code: 0 it proves that, 1 it does not."""
    from verity.log.evidence import check_fork
    from verity.log.note import parse_key
    from verity.verify.report import printable

    fork = read_fork(file)
    with hinting("evidence that does not hold convicts nobody: ask whoever gave it to you for both heads"):
        sentence = check_fork(fork, parse_key(vkey) if vkey is not None else None)
    if as_json:
        print_json({"fork": True, "sentence": sentence})
    else:
        click.echo(printable(f"proven: {sentence}"))


def read_fork(path: str) -> Any:
    """Evidence from a file. Raises FormatError."""
    from verity.log.evidence import MAX_BYTES, decode_fork

    hint = "`verity witness evidence --out` and `verity log compare --evidence` write it"
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}", hint) from error
    with hinting(hint):
        return decode_fork(data)


def write_fork(path: str, smaller: str, larger: str, hashes: list[str], root: str | None) -> str | None:
    """Write the evidence in two heads and the proof between them; the path, or None, and a warning, if there is none:
    a proof that does not hold may be a false proof of an honest log. Raises StoreError, FormatError."""
    from verity.log.evidence import check_fork, fork_by_proof, fork_of
    from verity.statements.strict import decode_hex
    from verity.store.home import guarded, write_atomically

    proof = [decode_hex(digest, 32, "hash in a consistency proof") for digest in hashes]
    told = decode_hex(root, 32, "root of the proof") if root is not None else None
    try:
        fork = fork_by_proof(smaller, larger, proof, told) if proof else fork_of(smaller, larger)
        check_fork(fork)
    except ProofError as error:
        click.echo(f"warning: these heads and the proof are no evidence of a fork: {error}", err=True)
        return None
    with guarded(Path(path)):
        write_atomically(Path(path), fork.encode(), 0o644)
    return path
