"""``verity device``: recovery-key, rotate, revoke and recover. See docs/keys.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.device_events import hand_out, out_option, tell
from verity.cli.terminal import (
    home_option,
    json_option,
    passphrase_options,
    read_checkpoint,
    read_passphrase,
)
from verity.errors import UsageError

if TYPE_CHECKING:
    from verity.identity.device_key import DeviceKey

_FILE = click.Path(dir_okay=False)
recovery_option = click.option("--recovery", type=_FILE, metavar="FILE", help="The recovery key signs.")


def _load(path: str | None, ask: bool, passphrase_file: str | None) -> DeviceKey | None:
    from verity.identity.recovery_key import load_recovery_key

    if path is None:
        return None
    return load_recovery_key(Path(path), read_passphrase(ask, passphrase_file, confirm=False))


@click.command(name="recovery-key")
@click.option("--out", type=_FILE, required=True, metavar="FILE", help="Where the key goes: then take it elsewhere.")
@click.option("--replaces", type=_FILE, metavar="FILE", help="The recovery key until now, which must agree.")
@passphrase_options
@home_option
@json_option
def recovery_key(
    out: str, replaces: str | None, passphrase: bool, passphrase_file: str | None, home: str | None, as_json: bool
) -> None:
    """Make a recovery key, in FILE, and name it in the log: it can revoke this device's key and choose its successor.

    Do it before you need it: the first one named counts. A key that is in FILE already is named as it is, so that one
    can serve several devices. FILE.key-event.json is what others need to know; keep a copy with the key. A passphrase
    encrypts FILE, in the age format; it is the one of the key that it replaces, too.
    """
    from verity.identity.recovery_key import load_recovery_key, make_recovery_key
    from verity.node import Node

    secret = read_passphrase(passphrase, passphrase_file, confirm=not Path(out).exists())
    earlier = load_recovery_key(Path(replaces), secret) if replaces is not None else None
    with Node(home) as node:
        key = make_recovery_key(Path(out), secret)
        event = node.keyring.name_recovery(key, earlier)
        hand_out(node, f"{out}.key-event.json", node.key.id)
    said = {"recovery": key.id, "file": out, "event": event.digest, "event_file": f"{out}.key-event.json"}
    tell(as_json, said, [f"recovery key {key.id}", f"{out}: keep it away from this device, with {out}.key-event.json"])


@click.command()
@recovery_option
@passphrase_options
@click.option("--keep-old", is_flag=True, help="Keep the old key beside the new, instead of destroying it.")
@out_option
@home_option
@json_option
def rotate(
    recovery: str | None,
    passphrase: bool,
    passphrase_file: str | None,
    keep_old: bool,
    out: str | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Give this device a new key, to which the old passes its trust on; the old one's log takes no more.

    Receipts stay, with their proofs in the old log. Promised answers and requests whose nonce was not revealed are
    given up. Stop `verity serve` first. Hand the file (--out) to those who know the old key. With --recovery the same
    recovery key is named for the new key.
    """
    from verity.node import Node

    signer = _load(recovery, passphrase, passphrase_file)
    with Node(home) as node:
        rotated = node.rotate(signer, keep_old=keep_old)
    with Node(home) as node:
        if signer is not None:
            node.keyring.name_recovery(signer)
        hand_out(node, out, None)
        witnesses = node.publisher.witnesses.all()
    said = {**rotated._asdict(), "kept": str(rotated.kept) if rotated.kept else None, "event_file": out}
    lines = [f"{rotated.old} passed its trust on to {rotated.new}", f"the log goes on as {rotated.log}"]
    lines += [f"{rotated.given_up} promised answers were given up"] if rotated.given_up else []
    lines += [f"the old key is kept: {rotated.kept}"] if rotated.kept else []
    if witnesses:
        lines += [
            "give your witnesses the new log's key: `verity log witness key`",
            f"let them see both logs: `verity log publish --epoch {rotated.closed}`, then `verity log publish`",
            "then write the file once more, with their dates: `verity device events --out FILE`",
        ]
    lines.append(f"tell others: {out}" if out else "tell others: `verity device events --out FILE`")
    tell(as_json, said, lines)


@click.command()
@click.option("--since", required=True, metavar="TIME", help="The time of compromise, in UTC: 2026-11-27T12:00:00Z.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; everybody will read it.")
@click.option("--key", metavar="K", help="The key to revoke.  [default: this device's]")
@recovery_option
@passphrase_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@out_option
@home_option
@json_option
def revoke(
    since: str,
    reason: str,
    key: str | None,
    recovery: str | None,
    passphrase: bool,
    passphrase_file: str | None,
    yes: bool,
    out: str | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Say, for ever, that a key is not to be trusted since a time: receipts that no witness saw before then fail.

    Signed by this device's key, or by the recovery key of the one that is revoked. It counts where it is known: hand
    the file (--out) to everybody who knows the key.
    """
    from verity.node import Node
    from verity.statements.key_events import seconds

    signer = _load(recovery, passphrase, passphrase_file)
    with Node(home) as node:
        about = key or node.key.id
        if not yes:
            seconds(since)
            if not sys.stdin.isatty():
                raise UsageError("a revocation cannot be undone", "say so with --yes")
            click.confirm(f"Revoke {about[:16]}… since {since}? It cannot be undone", abort=True, err=True)
        event = node.keyring.revoke(since, reason, signer, key)
        hand_out(node, out, about)
    told = out or "`verity device events --out FILE`"
    tell(as_json, {"revoked": about, "since": since, "event": event.digest, "event_file": out},
          [f"{about} is revoked since {since}", f"tell others: {told}"])  # fmt: skip


@click.command()
@click.option("--key", required=True, metavar="K", help="The key that was lost.")
@click.option("--recovery", type=_FILE, required=True, metavar="FILE", help="Its recovery key.")
@click.option("--checkpoint", type=_FILE, metavar="FILE", help="The last head of its log that somebody kept.")
@passphrase_options
@out_option
@home_option
@json_option
def recover(
    key: str,
    recovery: str,
    checkpoint: str | None,
    passphrase: bool,
    passphrase_file: str | None,
    out: str | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Make this device, in a home of its own, the successor of one whose key was lost, on the word of its recovery key.

    First `verity device know` the file that was written beside the recovery key.
    """
    from verity.node import Node
    from verity.statements.keys import parse_key

    public = parse_key(key)
    signer = _load(recovery, passphrase, passphrase_file)
    assert signer is not None
    with Node(home) as node:
        last = _own_head(checkpoint, public) if checkpoint is not None else None
        event = node.keyring.recover(key, signer, last)
        hand_out(node, out, key)
        own = node.key.id
    told = out or "`verity device events --out FILE`"
    tell(as_json, {"old": key, "new": own, "event": event.digest, "event_file": out},
          [f"{key} passed its trust on to {own}", f"tell others: {told}"])  # fmt: skip


def _own_head(path: str, public: bytes) -> Any:
    from verity.log.checkpoint import open_checkpoint

    head = open_checkpoint(read_checkpoint(path), public)
    if head.origin.split("/")[:2] != ["verity", public.hex()]:
        raise UsageError(f"{path} is of another log, {head.origin}", "give a head of the lost key's own log")
    return head


COMMANDS = (recovery_key, rotate, revoke, recover)
