"""``verity models``: what is here, and whether it is still intact."""

from __future__ import annotations

import sys

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, open_blobs, print_json
from verity.errors import DigestMismatch


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def models(ctx: click.Context, home: str | None, as_json: bool) -> None:
    """List the models on this device and in the catalogue."""
    if ctx.invoked_subcommand is not None:
        return
    from verity.store import catalogue

    with open_blobs(home) as blobs:
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
    with open_blobs(home) as blobs, ProgressBars() as bars:
        chosen = [blobs.resolve(name)[1]] if name else blobs.models()
        damaged = []
        for model in chosen:
            try:
                blobs.check(model.blake3, bars)
            except DigestMismatch as error:
                damaged.append({"name": model.name, "problem": str(error)})
    if as_json:
        print_json({"checked": [m.name for m in chosen], "damaged": damaged})
        sys.exit(1 if damaged else 0)
    if damaged:
        hint = f"move it away and fetch it again: verity pull {damaged[0]['name']}"
        raise DigestMismatch("; ".join(d["problem"] for d in damaged), hint)
    click.echo(f"{len(chosen)} checked, every byte as it was")
