"""``verity doctor``: what works on this computer and this device, what does not, and what to do."""

from __future__ import annotations

import sys

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, print_json


@click.command()
@click.option("--full", is_flag=True, help="Also read every byte of every model.")
@home_option
@json_option
def doctor(full: bool, home: str | None, as_json: bool) -> None:
    """Examine this computer and this device: one line per check.

    Nothing is made or changed, and no model is loaded. Exit code: 0 everything that `ask` and `verify` need works, 1
    something does not.
    """
    from verity.doctor.examination import examine

    with ProgressBars() as bars:
        diagnosis = examine(home, full=full, progress=bars)
    if as_json:
        print_json(diagnosis.to_dict())
    else:
        click.echo(str(diagnosis))
        broken = ", ".join(finding.name for finding in diagnosis.broken)
        said = f"`ask` and `verify` need: {broken}" if broken else "everything that `ask` and `verify` need works"
        click.echo(said, err=True)
    sys.exit(diagnosis.exit_code)
