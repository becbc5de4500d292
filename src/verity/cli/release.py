"""``verity release``: the releases on this device, whose word counts here; and, for publishers, publishing.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli import publishing
from verity.cli.publishing import called, open_key
from verity.cli.terminal import ProgressBars, home_option, json_option, open_blobs, print_json

if TYPE_CHECKING:
    from verity.statements.publishers import PublisherKey
    from verity.statements.release import Known
    from verity.store.blobs import Blobs


@click.group()
def release() -> None:
    """Signed releases of models, adapters and datasets (docs/releases.md)."""


for _command in (publishing.key, publishing.sign, publishing.verify, publishing.revoke):
    release.add_command(_command)


@release.command()
@click.argument("place", type=click.Path())
@click.option("--key", type=click.Path(), metavar="FILE", help="Its publisher's public key.  [default: one known here]")
@click.option("--signature", type=click.Path(), metavar="FILE", help="The signature.  [default: model.sig in PLACE]")
@click.option("--name", metavar="NAME", help="What its model or adapter is called here.  [default: the release's name]")
@home_option
@json_option
def add(place: str, key: str | None, signature: str | None, name: str | None, home: str | None, as_json: bool) -> None:
    """Keep the release in the folder PLACE, its files checked and its model or adapter named; or a revocation.

    The signature must hold under --key, or under the key of a publisher that this device knows. Only a publisher whom
    you trust (`verity release trust`) counts when models are loaded.
    """
    from verity.store.importing import add_release

    given = open_key(key) if key is not None else None
    with open_blobs(home) as blobs, ProgressBars() as bars:
        if Path(place).is_file() and signature is None and _is_revocation(Path(place)):
            _add_revocation(blobs, Path(place), given, as_json)
            return
        where = Path(signature) if signature is not None else None
        known = add_release(blobs, Path(place), given, signature=where, name=name, progress=bars)
        shown = _shown(known, blobs)
    if as_json:
        print_json(shown)
        return
    click.echo(f"{called(known)}: {known.kind}, {len(known.files)} files\n  root       {known.root}")
    click.echo(f"  publisher  {known.publisher}{'' if shown['trusted'] else '  (not trusted here)'}")
    if known.revoked is not None:
        click.echo(f"  REVOKED    {_printable(f'{known.revoked.at}: {known.revoked.reason}')}")


@release.command(name="list")
@home_option
@json_option
def list_releases(home: str | None, as_json: bool) -> None:
    """List the releases and the publishers that this device knows."""
    from verity.store.config import read_config
    from verity.store.releases import Releases

    with open_blobs(home) as blobs:
        releases = Releases(blobs.database)
        here = [_shown(known, blobs) for known in releases.all()]
        rules = read_config(blobs.folder.parent).models
        names = {publisher.id: publisher.name for publisher in releases.publishers()}
    if as_json:
        publishers = [
            {"id": each, "name": names.get(each, ""), "trusted": each in rules.publishers}
            for each in dict.fromkeys([*rules.publishers, *names])
        ]
        print_json({"releases": here, "publishers": publishers, "require_release": rules.require_release})
        return
    for row in here:
        by = f"by {names[row['publisher']]}{'' if row['trusted'] else ' (not trusted)'}"
        state = f"  REVOKED {row['revoked']['at']}" if row["revoked"] else ""
        click.echo(_printable(f"{row['name']} {row['version']}  {row['kind']}  {row['root'][:16]}…  {by}{state}"))
    for each in rules.publishers:
        click.echo(_printable(f"trusted: {names.get(each, 'a publisher whose key is not here')}  {each}"))
    if rules.require_release:
        click.echo("only what a trusted publisher released is loaded")


@release.command()
@click.argument("name")
@home_option
@json_option
def show(name: str, home: str | None, as_json: bool) -> None:
    """Show the release NAME (or NAME@VERSION, or digits of its root) and what its publisher says of it."""
    import json

    from verity.store.releases import Releases

    with open_blobs(home) as blobs:
        releases = Releases(blobs.database)
        known = releases.resolve(name)
        kept = releases.kept(known)
        shown = _shown(known, blobs)
    shown["files"] = [file._asdict() for file in known.files]
    shown["release"] = json.loads(kept.metadata) if kept.metadata is not None else None
    if as_json:
        print_json(shown)
        return
    said = {"by" if field == "publisher" else field: value for field, value in (shown["release"] or {}).items()}
    for field, value in {**said, **shown}.items():
        if field not in ("release", "files", "format"):
            click.echo(_printable(f"{field:<12} {value if isinstance(value, str) else json.dumps(value)}"))
    for file in known.files:
        click.echo(_printable(f"  {file.sha256}  {file.path}"))


@release.command()
@click.argument("name")
@click.option("--out", type=click.Path(), required=True, metavar="FOLDER", help="A folder that is not there yet.")
@home_option
@json_option
def export(name: str, out: str, home: str | None, as_json: bool) -> None:
    """Write the release NAME as a folder again, so that others can check and use it."""
    from verity.store.importing import export_release
    from verity.store.releases import Releases

    with open_blobs(home) as blobs, ProgressBars() as bars:
        known = Releases(blobs.database).resolve(name)
        export_release(blobs, known, Path(out), bars)
    if as_json:
        print_json({"folder": out, "root": known.root, "files": len(known.files)})
    else:
        click.echo(f"{called(known)}: {len(known.files)} files in {out}")


@release.command()
@click.argument("name")
@home_option
@json_option
def remove(name: str, home: str | None, as_json: bool) -> None:
    """Forget the release NAME, and free its files unless a model's or an adapter's name means them."""
    from verity.store.gc import remove_release
    from verity.store.releases import Releases

    with open_blobs(home) as blobs:
        known = Releases(blobs.database).resolve(name)
        freed = remove_release(blobs, known)
    if as_json:
        print_json({"root": known.root, "freed": freed})
    else:
        click.echo(f"{called(known)} is forgotten, {freed:,} bytes freed")


@release.command()
@click.argument("key", type=click.Path())
@click.option("--name", metavar="NAME", help="What the publisher is called here.")
@home_option
@json_option
def trust(key: str, name: str | None, home: str | None, as_json: bool) -> None:
    """Trust the publisher whose public key is in the file KEY: it is written into config.toml.

    Make sure that the key is the publisher's: by a way that nobody else could have taken.
    """
    from verity.store.config import read_config, write_publishers
    from verity.store.releases import Releases

    public = open_key(key)
    with open_blobs(home) as blobs:
        publisher = Releases(blobs.database).keep_publisher(public, publishing.plain_name(name))
        folder = blobs.folder.parent
        trusted = read_config(folder).models.publishers
        if public.id not in trusted:
            write_publishers(folder, [*trusted, public.id])
    if as_json:
        print_json({"id": public.id, "name": publisher.name, "trusted": True})
    else:
        click.echo(f"{publisher.name} is trusted: {public.id}")


@release.command()
@click.argument("publisher")
@home_option
@json_option
def distrust(publisher: str, home: str | None, as_json: bool) -> None:
    """Trust PUBLISHER (a name here, an id or its beginning) no more. What it released or revoked has no effect then."""
    from verity.errors import UsageError
    from verity.store.config import read_config, write_publishers
    from verity.store.releases import Releases

    with open_blobs(home) as blobs:
        folder = blobs.folder.parent
        trusted = read_config(folder).models.publishers
        named = {known.id for known in Releases(blobs.database).publishers() if known.name == publisher}
        begun = {each for each in trusted if len(publisher) >= 8 and each.startswith(publisher.lower())}
        found = [each for each in trusted if each in named or each in begun]
        if len(found) != 1:
            said = "no trusted publisher is" if not found else "several trusted publishers are"
            raise UsageError(f"{said} called {publisher[:80]!r}", "`verity release list` lists them with their ids")
        write_publishers(folder, [each for each in trusted if each not in found])
    if as_json:
        print_json({"id": found[0], "trusted": False})
    else:
        click.echo(f"{found[0]} is not trusted any more")


def _is_revocation(path: Path) -> bool:
    """Told by its top: an envelope, where a signature file is a bundle."""
    from verity.errors import FormatError
    from verity.statements.revocation import MAX_REVOCATION, publisher_of
    from verity.store.release_folders import read_bounded

    try:
        publisher_of(read_bounded(path, MAX_REVOCATION, "revocation"))
    except FormatError:
        return path.name.endswith(".revocation.json")
    return True


def _add_revocation(blobs: Blobs, path: Path, key: PublisherKey | None, as_json: bool) -> None:
    from verity.statements.revocation import MAX_REVOCATION
    from verity.store.importing import add_revocation
    from verity.store.release_folders import read_bounded

    revocation = add_revocation(blobs, read_bounded(path, MAX_REVOCATION, "revocation"), key)
    if as_json:
        print_json({"root": revocation.root, "name": revocation.name, "revoked": revocation.revoked._asdict()})
    else:
        said = f"{revocation.name} ({revocation.root[:16]}…) is revoked since {revocation.revoked.at}"
        click.echo(_printable(f"{said}: {revocation.revoked.reason}"))


def _shown(known: Known, blobs: Blobs) -> dict[str, Any]:
    from verity.store.config import read_config

    trusted = known.publisher in read_config(blobs.folder.parent).models.publishers
    revoked = known.revoked._asdict() if known.revoked is not None else None
    plain = {name: value for name, value in known._asdict().items() if name != "files"}
    return {**plain, "revoked": revoked, "trusted": trusted}


def _printable(text: str) -> str:
    from verity.verify.report import printable

    return printable(text)
