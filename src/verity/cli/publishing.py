"""The part of ``verity release`` that needs no device: keys, signing, verifying, revoking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, open_blobs, print_json
from verity.errors import FormatError, UsageError

if TYPE_CHECKING:
    from verity.statements.publishers import PublisherKey, PublisherSigner
    from verity.statements.release import Known

_MAX_RECORD = 1 << 20
_KEY = click.option(
    "--key", type=click.Path(), required=True, metavar="FILE", help="The publisher's private key (PEM)."
)


@click.command()
@click.option("--out", type=click.Path(), required=True, metavar="FILE", help="Where the private key goes, mode 0600.")
@json_option
def key(out: str, as_json: bool) -> None:
    """Make a publisher's key (ECDSA on P-256). Its public half goes beside it: publisher.pub.pem for publisher.pem.

    Keep the private key off the devices that use your models, and a copy of it in a safe place: it alone can revoke.
    """
    from verity.statements.publishers import new_signer
    from verity.store.home import guarded, write_atomically

    signer = new_signer()
    private, public = Path(out), Path(out.removesuffix(".pem") + ".pub.pem")
    with guarded(private):
        for path, data, mode in ((public, signer.public.pem, 0o644), (private, signer.pem(), 0o600)):
            try:
                write_atomically(path, data, mode, replace=False)
            except FileExistsError as error:
                raise UsageError(f"{path} is there already", "keys are never written over") from error
    if as_json:
        print_json({"id": signer.public.id, "private": str(private), "public": str(public)})
    else:
        click.echo(f"{signer.public.id}\n  private  {private}  keep it to yourself\n  public   {public}  hand it out")


@click.command()
@click.argument("name")
@click.argument("files", type=click.Path(), nargs=-1, required=True)
@_KEY
@click.option("--out", type=click.Path(), required=True, metavar="FOLDER", help="A folder that is not there yet.")
@click.option("--kind", type=click.Choice(["model", "adapter", "dataset"]), default="model", show_default=True)
@click.option("--version", default="1.0", show_default=True, metavar="V")
@click.option("--licence", required=True, metavar="SPDX", help="Under which it may be used, as in Apache-2.0.")
@click.option("--base", metavar="M", help="The model that it was made of: its BLAKE3 digest, or a name known here.")
@click.option("--publisher", required=True, metavar="WHO", help="Your name, for people.")
@click.option("--training", type=click.Path(), metavar="FILE", help="A JSON object: data, recipe.")
@click.option("--evaluations", type=click.Path(), metavar="FILE", help="A JSON list of {name, metric, value, of}.")
@home_option
@json_option
def sign(name: str, files: tuple[str, ...], key: str, out: str, home: str | None, as_json: bool, **said: Any) -> None:
    """Make a signed release NAME of FILES (files, or folders for what is in them) in a new folder.

    The signature is in the format of OpenSSF Model Signing, so that `model_signing verify key` checks it too.
    """
    from verity.statements.release import Evaluation, Release
    from verity.store.clock import now
    from verity.store.release_folders import sign_release

    signer = _open_signer(key)
    release = Release(
        name=name,
        kind=said["kind"],
        version=said["version"],
        licence=said["licence"],
        base=_base(said["base"], home),
        training=_record(said["training"], dict[str, Any]) if said["training"] is not None else {},
        evaluations=_record(said["evaluations"], list[Evaluation]) if said["evaluations"] is not None else [],
        made_at=now(),
        publisher=said["publisher"],
    )
    with ProgressBars() as bars:
        manifest = sign_release(release, [Path(file) for file in files], Path(out), signer, bars)
    if as_json:
        print_json({"folder": out, "root": manifest.root, "publisher": signer.public.id, "files": len(manifest.files)})
    else:
        click.echo(f"{name} {release.version}: {len(manifest.files)} files in {out}\n  root       {manifest.root}")
        click.echo(f"  publisher  {signer.public.id}")


@click.command()
@click.argument("place", type=click.Path())
@click.option("--key", type=click.Path(), required=True, metavar="FILE", help="The publisher's public key (PEM).")
@click.option("--signature", type=click.Path(), metavar="FILE", help="The signature.  [default: model.sig in PLACE]")
@json_option
def verify(place: str, key: str, signature: str | None, as_json: bool) -> None:
    """Check the release in the folder PLACE (or PLACE, its signature file), every byte of it. No network, no device.

    Releases that `model_signing sign key` made are checked as well.
    """
    from verity.store.release_folders import check_files, open_release
    from verity.verify.report import printable

    public = open_key(key)
    with ProgressBars() as bars:
        opened = open_release(Path(place), public, Path(signature) if signature is not None else None)
        check_files(opened, bars)
    manifest, release = opened.manifest, opened.release
    if as_json:
        import msgspec

        about = msgspec.to_builtins(release) if release is not None else None
        shown = {"root": manifest.root, "name": manifest.name, "publisher": public.id, "release": about}
        print_json({**shown, "files": [f._asdict() for f in manifest.files], "unsigned": opened.unsigned})
        return
    what = f"{release.name} {release.version}, {release.kind}" if release is not None else manifest.name
    click.echo(printable(f"{what}: {len(manifest.files)} files are as {public.id[:16]}… signed them"))
    click.echo(f"  root  {manifest.root}")
    for path in opened.unsigned:
        click.echo(printable(f"  not signed, and ignored by the signer's choice: {path}"))


@click.command()
@click.argument("what")
@_KEY
@click.option("--reason", required=True, metavar="TEXT", help="Why it must not be used any more.")
@click.option("--out", type=click.Path(), required=True, metavar="FILE", help="As in x.revocation.json.")
@home_option
@json_option
def revoke(what: str, key: str, reason: str, out: str, home: str | None, as_json: bool) -> None:
    """Say that the release WHAT (its folder, or its name here) must not be used any more. It cannot be taken back.

    Hand FILE to everybody who has the release: `verity release add FILE`.
    """
    from verity.statements.revocation import revoke as make
    from verity.store.clock import now
    from verity.store.home import guarded, write_atomically

    signer = _open_signer(key)
    root, name = _named(what, signer, home)
    data = make(root, name, reason, at := now(), signer)
    with guarded(Path(out)):
        try:
            write_atomically(Path(out), data, 0o644, replace=False)
        except FileExistsError as error:
            raise UsageError(f"{out} is there already", "choose another name") from error
    if as_json:
        print_json({"file": out, "root": root, "name": name, "revoked": {"reason": reason, "at": at}})
    else:
        click.echo(f"{name} ({root[:16]}…) is revoked: hand out {out}")


def open_key(path: str) -> PublisherKey:
    """A publisher's public key from its file. Raises FormatError."""
    from verity.statements.publishers import MAX_PEM, read_public
    from verity.store.release_folders import read_bounded

    return read_public(read_bounded(Path(path), MAX_PEM, "publisher's key"))


def called(known: Known) -> str:
    return f"{known.name} {known.version}".rstrip()


def plain_name(name: str | None) -> str | None:
    """What people call a publisher. Raises UsageError."""
    if name is not None and (not 0 < len(name) <= 100 or not name.isprintable()):
        raise UsageError("a publisher's name has 1 to 100 printable characters", "choose another")
    return name


def _open_signer(path: str) -> PublisherSigner:
    from verity.statements.publishers import MAX_PEM, read_signer
    from verity.store.release_folders import read_bounded

    return read_signer(read_bounded(Path(path), MAX_PEM, "publisher's key"))


def _base(model: str | None, home: str | None) -> str | None:
    import re

    from verity.store.adapters import Adapters

    if model is None or re.fullmatch("[0-9a-f]{64}", model):
        return model
    with open_blobs(home) as blobs:
        return Adapters(blobs).digest_of(model)


def _record(path: str, kind: Any) -> Any:
    from verity.statements.strict import load
    from verity.store.release_folders import read_bounded

    data = read_bounded(Path(path), _MAX_RECORD, "record")
    try:
        return load(data, kind, limit=_MAX_RECORD, what="record of a release")
    except FormatError as error:
        raise FormatError(f"{path}: {error}", "docs/releases.md has an example of each record") from error


def _named(what: str, signer: PublisherSigner, home: str | None) -> tuple[str, str]:
    """Root and name of the signer's own release: in a folder, or known here."""
    from verity.statements.manifests import MAX_SIGNATURE, read_manifest
    from verity.store.release_folders import place_of, read_bounded
    from verity.store.releases import Releases

    if Path(what).exists():
        data = read_bounded(place_of(Path(what))[1], MAX_SIGNATURE, "signature file")
        manifest = read_manifest(data, signer.public)
        return manifest.root, manifest.name
    with open_blobs(home) as blobs:
        known = Releases(blobs.database).resolve(what)
    if known.publisher != signer.public.id:
        raise FormatError(f"{called(known)} is not this publisher's release", "only who signed it can revoke it")
    return known.root, known.name
