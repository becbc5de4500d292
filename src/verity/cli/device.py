"""``verity device``: who this device is, and what becomes of its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from verity.cli.device_key import COMMANDS
from verity.cli.terminal import home_option, json_option, print_json

if TYPE_CHECKING:
    from verity.node import Node


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
        shown |= _standing(node)
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            click.echo(f"{name:<8} {value if value is not None else 'none'}")


def _standing(node: Node) -> dict[str, Any]:
    now = node.keyring.standing()
    said = "current"
    if now.revocation is not None:
        said = "revoked"
    elif now.successions:
        said = "passed on" if now.successor is not None else "disputed"
    return {"recovery": now.recovery, "standing": said}


for command in COMMANDS:
    device.add_command(command)
