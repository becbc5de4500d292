"""``verity tpm``: a TPM vouches for this device's key and its checkpoints, on the word of a registrar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import home_option, json_option, print_json
from verity.errors import FormatError, UsageError

if TYPE_CHECKING:
    from verity.hardware import Adopted
    from verity.identity.device_key import DeviceKey
    from verity.registrar import Trusted
    from verity.store.database import Database

tcti_option = click.option(
    "--tcti", metavar="T", help="How the TPM is reached.  [default: $VERITY_TCTI, or device:/dev/tpmrm0]"
)
out_option = click.option(
    "--out", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Write it here."
)
_FILE = click.Path()


@click.group()
def tpm() -> None:
    """Have a TPM vouch for this device's key and checkpoints, or vouch for another device's TPM.

    In this order: the device `enrol`s, a registrar `challenge`s, the device `answer`s, the registrar `certify`s, the
    device `adopt`s. See docs/hardware.md for what it proves, and what not.
    """


@contextmanager
def _opened(home: str | None) -> Iterator[tuple[Database, DeviceKey]]:
    from verity.identity.device_key import DeviceKey
    from verity.store.database import Database
    from verity.store.home import locate

    folder = locate(home)
    with Database.open(folder) as database:
        yield database, DeviceKey.load(folder)


def _save(what: Any, out: str, as_json: bool, told: str, **shown: Any) -> None:
    from verity.store import bundles

    path = bundles.save(what, Path(out))
    if as_json:
        print_json({"file": str(path), **shown})
    else:
        click.echo(f"{told}: {path}")


@tpm.command()
@out_option
@click.option("--ek", type=click.Choice(["rsa", "ecc"]), help="Which endorsement key.  [default: the certified one]")
@click.option("--ek-certificate", type=_FILE, metavar="FILE", help="Its certificate (DER), if the TPM carries none.")
@tcti_option
@home_option
@json_option
def enrol(
    out: str, ek: str | None, ek_certificate: str | None, tcti: str | None, home: str | None, as_json: bool
) -> None:
    """Make an attestation key in the TPM, and show it with the TPM's endorsement key to a registrar."""
    from verity import hardware
    from verity.statements.enrolment import MAX_CERTIFICATE

    certificate = None if ek_certificate is None else _read(ek_certificate, MAX_CERTIFICATE)
    with _opened(home) as (database, key):
        envelope = hardware.enrol(database, key, address=tcti, kind=ek, certificate=certificate)
    _save(envelope, out, as_json, "for the registrar's `verity tpm challenge`", device=key.id)


@tpm.command()
@click.argument("enrolment", type=_FILE)
@out_option
@home_option
@json_option
def challenge(enrolment: str, out: str, home: str | None, as_json: bool) -> None:
    """As registrar: challenge the TPM of an ENROLMENT. The secret stays here, for 24 hours."""
    from verity.node import Node
    from verity.store.bundles import read_message

    message = read_message(enrolment)
    with Node(home) as node:
        envelope = node.registrar.challenge(message)
    _save(envelope, out, as_json, "for the device's `verity tpm answer`", device=message.device())


@tpm.command()
@click.argument("challenge", type=_FILE)
@out_option
@tcti_option
@home_option
@json_option
def answer(challenge: str, out: str, tcti: str | None, home: str | None, as_json: bool) -> None:
    """Have the TPM open a registrar's CHALLENGE, and answer it."""
    from verity import hardware
    from verity.store.bundles import read_message

    message = read_message(challenge)
    with _opened(home) as (database, key):
        envelope = hardware.answer(database, key, message, address=tcti)
    _save(envelope, out, as_json, "for the registrar's `verity tpm certify`", registrar=message.device())


@tpm.command()
@click.argument("answer", type=_FILE)
@out_option
@click.option("--roots", multiple=True, type=_FILE, metavar="PEM", help="Vendors' roots that you believe.")
@click.option("--intermediates", multiple=True, type=_FILE, metavar="PEM", help="Authorities between them and a TPM.")
@click.option(
    "--accept-unverified", is_flag=True, help="Vouch without a certificate: you know that TPM by other means."
)
@home_option
@json_option
def certify(
    answer: str,
    out: str,
    roots: tuple[str, ...],
    intermediates: tuple[str, ...],
    accept_unverified: bool,
    home: str | None,
    as_json: bool,
) -> None:
    """As registrar: if the ANSWER is right, sign and log that a TPM holds the device's attestation key.

    Level `tpm-vendor-ek` with a certificate that chains to --roots, `tpm-unverified-ek` with --accept-unverified,
    otherwise `swtpm`: without a certificate nobody can tell a TPM from a simulator.
    """
    from verity.node import Node
    from verity.store.bundles import read_message

    trusted = _trusted(roots, intermediates, accept_unverified)
    message = read_message(answer)
    with Node(home) as node:
        record, signed = node.registrar.certify(message, trusted)
        registrar = node.key.id
    shown = {"level": record.level, "device": record.device, "issuer": record.issuer, "registrar": registrar}
    _save(signed, out, as_json, f"level {record.level}; for the device's `verity tpm adopt`", **shown)


@tpm.command()
@click.argument("record", type=_FILE)
@click.option("--event-log", is_flag=True, help="Show the firmware's event log in every bundle with a quote.")
@click.option("--event-log-file", type=_FILE, metavar="FILE", help="Where it is, if not where the kernel has it.")
@tcti_option
@home_option
@json_option
def adopt(
    record: str, event_log: bool, event_log_file: str | None, tcti: str | None, home: str | None, as_json: bool
) -> None:
    """Keep a registrar's RECORD: from now on the TPM quotes the checkpoints that are published."""
    from verity import hardware
    from verity.store.bundles import read_hardware_record

    signed = read_hardware_record(record)
    shown = Path(event_log_file) if event_log_file else hardware.EVENT_LOG if event_log else None
    with _opened(home) as (database, key):
        adopted = hardware.adopt(database, key.id, signed, address=tcti, event_log=shown)
    _tell(adopted, as_json)


@tpm.command()
@tcti_option
@home_option
@json_option
def status(tcti: str | None, home: str | None, as_json: bool) -> None:
    """Show the record in use, and try the TPM: one quote."""
    from verity import hardware
    from verity.errors import HardwareError
    from verity.identity.tpm.chip import Tpm

    with _opened(home) as (database, key):
        adopted = hardware.adopted(database)
        problem: str | None = None
        try:
            if adopted is not None:
                hardware.quote(database, adopted, key.public, "", address=tcti)
            with Tpm(tcti or (adopted.tcti if adopted else None)) as chip:
                found: dict[str, Any] = {"tpm": chip.describe()}
        except HardwareError as error:
            found, problem = {"tpm": None}, f"{error}; {error.hint}" if error.hint else str(error)
    _tell(adopted, as_json, **found, problem=problem)


def _tell(adopted: Adopted | None, as_json: bool, **more: Any) -> None:
    shown: dict[str, Any] = {"level": "software"}
    if adopted is not None:
        record = adopted.record
        shown = {"level": record.level, "registrar": adopted.registrar, "issuer": record.issuer}
        shown |= {"certified": record.started, "adopted": adopted.since, "tcti": adopted.tcti}
        shown["event_log"] = None if adopted.event_log is None else str(adopted.event_log)
    shown |= more
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        if value is not None:
            told = ", ".join(map(" ".join, value.items())) if isinstance(value, dict) else str(value)
            click.echo(f"{name:<12} {_printable(told)}")


def _printable(text: str) -> str:
    from verity.verify.report import printable

    return printable(text)


def _trusted(roots: tuple[str, ...], between: tuple[str, ...], unverified: bool) -> Trusted:
    from verity.identity.tpm.certificates import MAX_ROOTS, read_certificates
    from verity.registrar import Trusted

    if between and not roots:
        raise UsageError("--intermediates lead nowhere without --roots", "name the vendor's root as well")
    files = [[c for path in paths for c in read_certificates(_read(path, MAX_ROOTS))] for paths in (roots, between)]
    return Trusted(files[0], files[1], unverified)


def _read(path: str, limit: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {error}", "give the path of a certificate's file") from error
    if len(data) > limit:
        raise FormatError(f"{path} is larger than {limit:,} bytes", "give the path of a certificate's file")
    return data
