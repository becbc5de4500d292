"""``verity device``: who this device is, and what becomes of its key."""

from __future__ import annotations

import click

from verity.cli import device_events, device_key
from verity.cli.terminal import home_option, json_option, print_json


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def device(context: click.Context, home: str | None, as_json: bool) -> None:
    """Show this device's key (made on first use), its home, its log, and what is known here about its key.

    The key is what others pass to `verity verify --key`; tell it to them yourself. The commands below exchange the key,
    name a recovery key for it, revoke it, and keep what others say about theirs.
    """
    if context.invoked_subcommand is not None:
        return
    from verity.node import Node

    with Node(home) as node:
        shown = {"key": node.key.id, "home": str(node.home), "log": node.log.origin, "entries": node.log.size()}
        known = node.keyring.standing()
        shown |= {"recovery": known.recovery, "standing": known.word}
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            click.echo(f"{name:<8} {value if value is not None else 'none'}")


for command in (*device_key.COMMANDS, *device_events.COMMANDS):
    device.add_command(command)
