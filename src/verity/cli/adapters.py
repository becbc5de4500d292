"""``verity adapters``: what is here, and how one is added and goes away again."""

from __future__ import annotations

from pathlib import Path

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, open_blobs, print_json


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def adapters(ctx: click.Context, home: str | None, as_json: bool) -> None:
    """List the adapters on this device; add and remove them. An adapter fits exactly one model, its base."""
    if ctx.invoked_subcommand is not None:
        return
    from verity.store.adapters import Adapters

    with open_blobs(home) as blobs:
        here = Adapters(blobs).all()
        names = {model.blake3: model.name for model in blobs.models()}
    if as_json:
        print_json({"adapters": [adapter._asdict() for adapter in here]})
        return
    for adapter in here:
        base = names.get(adapter.base, f"blake3 {adapter.base[:16]}… (not here)")
        click.echo(f"{adapter.name}  {adapter.size:,} bytes  blake3 {adapter.blake3[:16]}…  for {base}")


@adapters.command()
@click.argument("file", type=click.Path())
@click.option("--name", metavar="NAME", help="The name to give the adapter here.  [default: the file's]")
@click.option("--base", metavar="MODEL", help="The model that it was trained on, if the file does not say so itself.")
@home_option
@json_option
def add(file: str, name: str | None, base: str | None, home: str | None, as_json: bool) -> None:
    """Keep the LoRA adapter FILE (GGUF) by its digest."""
    from verity.store.adapters import Adapters

    with open_blobs(home) as blobs, ProgressBars() as bars:
        adapter = Adapters(blobs).add(Path(file), name=name, base=base, progress=bars)
    if as_json:
        print_json(adapter._asdict())
    else:
        click.echo(f"{adapter.name}: {adapter.size:,} bytes\n  blake3 {adapter.blake3}\n  base   {adapter.base}")


@adapters.command()
@click.argument("name")
@home_option
@json_option
def remove(name: str, home: str | None, as_json: bool) -> None:
    """Take the name NAME away, and free the file unless another name means it.

    Receipts that name it can be replayed again once the same bytes are added again: the digest decides.
    """
    from verity.store.gc import remove_adapter

    with open_blobs(home) as blobs:
        removal = remove_adapter(blobs, name)
    if as_json:
        print_json(removal._asdict())
    elif removal.kept_by:
        click.echo(f"{removal.name} is no name any more; the file stays, for {', '.join(removal.kept_by)} means it too")
    else:
        click.echo(f"{removal.name} is gone, {removal.freed:,} bytes freed (blake3 {removal.blake3})")
