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
    old one in a policy. Retire the old device: two that go on with one key look like one that lies. If its key was
    exchanged or revoked after the backup, this one cannot know: `verity device know` the file that says so.
    """
    from verity.backup import restore as restore_backup
    from verity.store.home import find
    from verity.store.key_events import events_in
    from verity.verify.key_events import known
    from verity.verify.standing import standing

    folder = find(home)
    notes, origin = restore_backup(Path(file), folder, read_passphrase(passphrase, passphrase_file, confirm=False))
    word = standing(notes.device, [known(kept).dated((), 0.0) for kept in events_in(folder)]).word
    if word != "current":
        click.echo(f"warning: the backup knows that this key is {word}: what it signs now is not believed", err=True)
    if as_json:
        said = {"home": str(folder), "device": notes.device, "log": origin, "previous_log": notes.origin}
        print_json({**said, "standing": word})
    else:
        click.echo(f"{folder} is device {notes.device}\nits log goes on as {origin}")
