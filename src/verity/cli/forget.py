"""``verity forget``: destroy what opens a receipt."""

from __future__ import annotations

import datetime
import sys

import click

from verity.cli.terminal import home_option, json_option, print_json
from verity.errors import UsageError


@click.command()
@click.argument("receipts", nargs=-1)
@click.option("--older-than", type=click.IntRange(0, 36_500), metavar="DAYS", help="Every receipt begun longer ago.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
@json_option
def forget(receipts: tuple[str, ...], older_than: int | None, yes: bool, home: str | None, as_json: bool) -> None:
    """Destroy secrets, prompts and outputs of RECEIPTS (ids, or beginnings of ids).

    Their commitments stay in the log and can never be opened again, by anybody: there is no way back. Bundles that you
    handed out, backups and file-system snapshots are not reached. `verity log compact` then drops their statements.
    """
    from verity.node import Node
    from verity.store.clock import written

    if bool(receipts) == (older_than is not None):
        raise UsageError("name receipts, or give --older-than DAYS", "`verity show` lists what is here")
    with Node(home) as node:
        kept = node.exporter.receipts
        if older_than is not None:
            limit = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=older_than)
            before = written(limit)
            chosen = [r.id for r in kept.all() if r.started_at <= before and r.forgotten_at is None]
        else:
            chosen = [kept.get(receipt).id for receipt in receipts]
        if chosen and not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"this would destroy {len(chosen)} receipts for ever", "say so with --yes")
            click.confirm(f"Destroy {len(chosen)} receipts for ever?", abort=True, err=True)
        count = node.recorder.forget(chosen)
    if as_json:
        print_json({"forgotten": count, "receipts": chosen})
    else:
        click.echo(f"{count} forgotten: nothing opens them any more")
