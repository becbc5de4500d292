"""``verity log`` for what others see: publish, copy and derive logs again, compare heads, check proofs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli import log_witness
from verity.cli.terminal import ProgressBars, hinting, home_option, json_option, print_json, read_checkpoint
from verity.errors import FormatError, LogError, UsageError

if TYPE_CHECKING:
    from verity.log.fsck import Checked
    from verity.statements.bundle import Consistency

_MAX_PROOF = 1 << 20
key_option = click.option(
    "--key", required=True, metavar="K", help="The device (64 digits), or the key of one log (NAME+KEYID+BASE64)."
)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--publish", is_flag=True, help="Publish the present head first.")
@home_option
@json_option
def export(folder: str, publish: bool, home: str | None, as_json: bool) -> None:
    """Write the published log to FOLDER as static files, to be served by any web server (docs/log.md).

    A log that has no published head yet has its present one published. Only what is missing is written.
    """
    from verity.identity.device_key import DeviceKey
    from verity.published_log import PublishedLog
    from verity.store.database import Database
    from verity.store.home import locate

    place = locate(home)
    with Database.open(place) as database, ProgressBars() as bars:
        log = PublishedLog(database, DeviceKey.load(place))
        exported = log.export(Path(folder).absolute(), publish=publish, progress=bars)
    if as_json:
        rows = [
            {"origin": e.head.origin, "epoch": e.epoch, "size": e.head.size, "written": e.written, "kept": e.kept}
            for e in exported
        ]
        print_json({"folder": folder, "logs": rows})
        return
    for each in exported:
        click.echo(f"{each.head.origin}: {each.head.size} entries; {each.written} files written, {each.kept} kept")


@click.command()
@click.argument("source", metavar="URL|FOLDER")
@click.argument("folder", metavar="DEST", type=click.Path(file_okay=False))
@key_option
@json_option
def mirror(source: str, folder: str, key: str, as_json: bool) -> None:
    """Keep a copy of a published log in DEST, checked up to its signed head. Run it again and again.

    With a device for the key, all epochs of its log are copied, as `index.json` lists them; with a log's key, the one
    log whose checkpoint is there. Exit code 1 when the log was set back, or signed two histories: the evidence is kept.
    """
    from verity.log import device_copies
    from verity.log.log_index import parse_trusted
    from verity.log.source import opened
    from verity.log.tile_folder import TileFolder

    trusted = parse_trusted(key)
    with opened(source) as given, ProgressBars() as bars:
        copied = device_copies.mirror(given, TileFolder(Path(folder).absolute()), trusted, bars)
    if as_json:
        rows = [{"origin": o, "size": m.head.size, "before": m.before, "fetched": m.fetched} for o, m in copied.items()]
        print_json({"folder": folder, "logs": rows})
        return
    for origin, one in copied.items():
        new = one.head.size - one.before
        click.echo(f"{origin}: {one.head.size} entries, " + (f"{new} of them new, all checked" if new else "none new"))


@click.command()
@click.argument("source", metavar="FOLDER|URL")
@key_option
@json_option
def fsck(source: str, key: str, as_json: bool) -> None:
    """Derive a published log again: every entry, leaf and hash up to the signed root; nothing missing, nothing more."""
    from verity.log import device_copies
    from verity.log.log_index import parse_trusted
    from verity.log.source import opened
    from verity.verify.report import printable

    trusted = parse_trusted(key)
    with opened(source) as given, ProgressBars() as bars:
        checked = device_copies.fsck(given, trusted, bars)
    sound = not any(one.total for one in checked.values())
    if as_json:
        print_json({"sound": sound, "logs": [_found(origin, one) for origin, one in checked.items()]})
        sys.exit(0 if sound else 1)
    for origin, one in checked.items():
        for problem in one.problems:
            click.echo(printable(f"{origin}: {problem}"), err=True)
        if not one.total and one.head is not None:
            click.echo(f"{origin}: {one.head.size} entries, every one under the signed head")
    if not sound:
        total = sum(one.total for one in checked.values())
        found = "1 problem" if total == 1 else f"{total} problems"
        raise LogError(f"the log is not sound: {found}", "keep it as evidence, and copy it anew elsewhere")


def _found(origin: str, checked: Checked) -> dict[str, Any]:
    size = checked.head.size if checked.head is not None else None
    return {"origin": origin, "entries": size, "problems": checked.problems, "total": checked.total}


@click.command(name="verify-proof")
@click.argument("file", type=click.Path())
@key_option
@click.option("--entry", metavar="HEX", help="What stands in the log: the leaf's data.")
@click.option(
    "--envelope", type=click.Path(), metavar="FILE", help="The statement: a DSSE envelope, or a bundle that has it."
)
@json_option
def verify_proof(file: str, key: str, entry: str | None, envelope: str | None, as_json: bool) -> None:
    """Check offline that FILE (*.tlog-proof) proves an entry to be in a log. Exit code 1 when it does not."""
    from verity.log import tlog_proof
    from verity.log.log_index import parse_trusted

    if (entry is None) == (envelope is None):
        raise UsageError("say what should be in the log", "give --entry HEX or --envelope FILE")
    trusted = parse_trusted(key)
    with hinting("give a file that `verity export --tlog-proof` wrote, as its owner sent it"):
        proof = tlog_proof.parse(_read(file, tlog_proof.MAX_BYTES))
    data = _hex(entry) if entry is not None else _entry_of(str(envelope), proof.extra, proof.index)
    with hinting("check that key, proof and statement belong together; else the log does not hold the statement"):
        if isinstance(trusted, str):
            head = tlog_proof.check_device(proof, data, trusted)
        else:
            head = tlog_proof.check(proof, data, trusted)
    if as_json:
        print_json({"origin": head.origin, "index": proof.index, "size": head.size, "entry": data.hex()})
    else:
        click.echo(f"entry {proof.index} of the {head.size} in {head.origin}: {data.hex()}")


def _entry_of(path: str, salt: bytes | None, index: int) -> bytes:
    """The entry that the statement of this index makes with the proof's salt."""
    from verity.statements.bundle import MAX_BUNDLE_BYTES, decode_bundle
    from verity.statements.dsse import Envelope
    from verity.statements.strict import load

    if salt is None:
        raise FormatError("the proof carries no salt, so no entry can be made of the envelope", "give --entry HEX")
    data = _read(path, MAX_BUNDLE_BYTES)
    try:
        envelope = load(data, Envelope, limit=MAX_BUNDLE_BYTES, what="DSSE envelope")
    except FormatError:
        bundle = decode_bundle(data)
        placed = {bundle.log.intent.index: bundle.receipt.intent, bundle.log.result.index: bundle.receipt.result}
        if index not in placed:
            raise FormatError(f"{path} has no statement that says it is entry {index}", "give its envelope") from None
        envelope = placed[index]
    return envelope.log_entry(salt)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise UsageError(
            "--entry is not hexadecimal", "give the leaf's data, as `verity log prove` prints it"
        ) from error


def _read(path: str, limit: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    if len(data) > limit:
        raise FormatError(f"{path} is larger than {limit:,} bytes", "a real one is far smaller")
    return data


@click.command()
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
        if told.get("evidence") is not None:
            click.echo(f"the evidence is in {told['evidence']}")
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


COMMANDS = (export, mirror, fsck, verify_proof, compare)
