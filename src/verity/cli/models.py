"""``verity models``: what is here, and whether it is still intact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, print_json
from verity.errors import DigestMismatch

if TYPE_CHECKING:
    from verity.store.blobs import Blobs


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def models(ctx: click.Context, home: str | None, as_json: bool) -> None:
    """List the models on this device and in the catalogue."""
    if ctx.invoked_subcommand is not None:
        return
    from verity.store import catalogue

    with _blobs(home) as blobs:
        here = blobs.models()
    offered = [entry for entry in catalogue.entries() if entry.name not in {m.name for m in here}]
    if as_json:
        print_json({"models": [m._asdict() for m in here], "catalogue": [e._asdict() for e in catalogue.entries()]})
        return
    for model in here:
        click.echo(f"{model.name}  {model.size:,} bytes  blake3 {model.blake3[:16]}…  from {model.source}")
    for entry in offered:
        click.echo(f"{entry.name}  {entry.size:,} bytes  not here yet: verity pull {entry.name}")


@models.command()
@click.argument("name", default="")
@home_option
@json_option
def check(name: str, home: str | None, as_json: bool) -> None:
    """Read every byte of the model NAME (default: of all) and compare with its digest."""
    with _blobs(home) as blobs, ProgressBars() as bars:
        chosen = [blobs.resolve(name)[1]] if name else blobs.models()
        damaged = []
        for model in chosen:
            try:
                blobs.check(model.blake3, bars)
            except DigestMismatch as error:
                damaged.append({"name": model.name, "problem": str(error)})
    if as_json:
        print_json({"checked": [m.name for m in chosen], "damaged": damaged})
    elif not damaged:
        click.echo(f"{len(chosen)} checked, every byte as it was")
    if damaged:
        hint = f"move it away and fetch it again: verity pull {damaged[0]['name']}"
        raise DigestMismatch("; ".join(d["problem"] for d in damaged), hint)


@contextmanager
def _blobs(home: str | None) -> Iterator[Blobs]:
    from verity.store.blobs import Blobs
    from verity.store.database import Database
    from verity.store.home import locate

    folder = locate(home)
    database = Database.open(folder)
    try:
        yield Blobs(folder, database)
    finally:
        database.close()
