"""``verity device``: who this device is."""

from __future__ import annotations

import click

from verity.cli.terminal import home_option, json_option, print_json


@click.command()
@home_option
@json_option
def device(home: str | None, as_json: bool) -> None:
    """Show this device's key (made on first use), its home and its log.

    The key is what others pass to `verity verify --key`; tell it to them yourself.
    """
    from verity.node import Node

    with Node(home) as node:
        shown = {"key": node.key.id, "home": str(node.home), "log": node.log.origin, "entries": node.log.size()}
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            click.echo(f"{name:<8} {value}")
