"""``verity backup``: key, log and receipts in one file."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from verity.cli.terminal import home_option, json_option, passphrase_options, print_json, read_passphrase


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@passphrase_options
@home_option
@json_option
def backup(file: str, passphrase: bool, passphrase_file: str | None, home: str | None, as_json: bool) -> None:
    """Write the device's key, log and receipts to FILE, which must not be there yet. Models are not in it.

    Whoever has FILE can sign as this device and read every prompt: keep it safe, or give it a passphrase (the file is
    then encrypted as by `age -p`). `verity restore` makes a device of it, in a new epoch of the log.
    """
    from verity.node import Node

    secret = read_passphrase(passphrase, passphrase_file, confirm=True)
    with Node(home) as node:
        notes = node.back_up(Path(file), secret)
    if as_json:
        print_json({"file": file, "encrypted": secret is not None, **msgspec.to_builtins(notes)})
    else:
        how = "encrypted" if secret is not None else "not encrypted: it holds the device's key"
        click.echo(f"{file}: device {notes.device[:16]}…, {notes.size} log entries, {how}")
