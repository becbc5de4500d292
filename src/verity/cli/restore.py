"""``verity restore``: make a device of a backup."""

from __future__ import annotations

from pathlib import Path

import click

from verity.cli.terminal import home_option, json_option, passphrase_options, print_json, read_passphrase


@click.command()
@click.argument("file", type=click.Path())
@passphrase_options
@home_option
@json_option
def restore(file: str, passphrase: bool, passphrase_file: str | None, home: str | None, as_json: bool) -> None:
    """Make the home folder, which must be new or empty, the device of the backup FILE.

    What was logged after the backup is lost, so the log goes on in a new epoch: tell its name to those who list the
    old one in a policy. Retire the old device: two that go on with one key look like one that lies.
    """
    from verity.backup import restore as restore_backup
    from verity.store.home import find

    folder = find(home)
    notes, origin = restore_backup(Path(file), folder, read_passphrase(passphrase, passphrase_file, confirm=False))
    if as_json:
        print_json({"home": str(folder), "device": notes.device, "log": origin, "previous_log": notes.origin})
    else:
        click.echo(f"{folder} is device {notes.device}\nits log goes on as {origin}")
