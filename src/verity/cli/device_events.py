"""``verity device``: know and events, and how what is known is handed out. See docs/keys.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import hinting, home_option, json_option, print_json

if TYPE_CHECKING:
    from verity.node import Node
    from verity.statements.key_events import Event

_FILE = click.Path(dir_okay=False)
out_option = click.option("--out", type=_FILE, metavar="FILE", help="Write what others need to know here.")


def hand_out(node: Node, out: str | None, key: str | None) -> None:
    """Write what is known, about one key or all, if there is a file to write it to."""
    from verity.store import bundles

    if out is not None:
        bundles.save(node.keyring.file(key), Path(out))


def tell(as_json: bool, said: dict[str, Any], lines: Sequence[str]) -> None:
    """One object, or lines."""
    if as_json:
        print_json(said)
    else:
        click.echo("\n".join(lines))


@click.command()
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE…")
@home_option
@json_option
def know(files: tuple[str, ...], home: str | None, as_json: bool) -> None:
    """Keep what FILES (*.key-event.json) say about keys: `verity verify` heeds it from now on.

    The time counts at which you learn of something: a recovery key or a successor that you know before a theft cannot
    be put in question by the thief.
    """
    from verity.node import Node
    from verity.store.bundles import read_key_events

    with Node(home) as node, hinting("give a file that `verity device … --out` wrote, as its owner sent it"):
        learned = [pair for file in files for pair in node.keyring.know(read_key_events(file))]
    tell(as_json, {"events": [{**_plain(event), "new": new} for event, new in learned]},
          [f"{'new  ' if new else 'known'} {_line(event)}" for event, new in learned])  # fmt: skip


@click.command()
@click.option("--key", metavar="K", help="About this key only.")
@out_option
@home_option
@json_option
def events(key: str | None, out: str | None, home: str | None, as_json: bool) -> None:
    """List what is known here about keys, this device's and others'; --out hands it on, with its proofs."""
    from verity.node import Node
    from verity.statements.key_events import read_event

    with Node(home) as node:
        kept = [each for each in node.keyring.events() if key in (None, each.key)]
        hand_out(node, out, key)
    read = [(each, read_event(each.signed.event)) for each in kept]
    # Of several copies the first: the earliest date counts.
    listed = list({(event.digest, event.signers): (each, event) for each, event in reversed(read)}.values())[::-1]
    tell(as_json, {"events": [{**_plain(event), "known_at": each.known_at} for each, event in listed], "file": out},
          [f"{each.known_at}  {_line(event)}" for each, event in listed] or ["no key event is known here"])  # fmt: skip


def _plain(event: Event) -> dict[str, Any]:
    import msgspec

    from verity.statements.key_events import KINDS

    body = msgspec.to_builtins(event.body)
    return {"kind": KINDS[event.type], "key": event.key, "signers": list(event.signers), "event": event.digest, **body}


def _line(event: Event) -> str:
    from verity.statements.key_events import Recovery, Revocation
    from verity.verify.report import printable

    body, key = event.body, f"{event.key[:16]}…"
    if isinstance(body, Revocation):
        return printable(f"revocation  {key} since {body.since}: {body.reason}")
    if isinstance(body, Recovery):
        return f"recovery    {key} by {body.recovery}"
    return f"succession  {key} to {body.successor}"


COMMANDS = (know, events)
