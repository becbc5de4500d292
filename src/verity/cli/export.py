"""``verity export``: hand out a receipt with as much of it opened as you choose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from verity.cli.terminal import home_option, json_option, print_json, read_checkpoint
from verity.errors import UsageError

_NUMBER = re.compile(r"\d{1,8}", re.ASCII)
_RANGE = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)


@click.command()
@click.argument("receipt")
@click.option("--everything", is_flag=True, help="Open all: prompt, output, parameters, nonce.")
@click.option("--nothing", is_flag=True, help="The public receipt alone.")
@click.option(
    "--message", "messages", multiple=True, type=click.IntRange(min=0), metavar="N", help="Open message N (from 0)."
)
@click.option("--output", metavar="A:B|all", help="Open the output: tokens A up to B (`verity show --tokens`), or all.")
@click.option(
    "--steps", metavar="N|A:B", help="Of a network's steps: N, or A up to B, with every field of the receipt."
)
@click.option("--field", "fields", multiple=True, metavar="NAME", help="Open a field; patterns as in 'sampling/*'.")
@click.option(
    "--since", type=click.Path(), metavar="FILE", help="A checkpoint that the reader holds: prove growth since."
)
@click.option(
    "--states", is_flag=True, help="Also write the model's states, for offline spot checks: a file beside it."
)
@click.option("--save", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Write the bundle here.")
@home_option
@json_option
def export(
    receipt: str, since: str | None, states: bool, save: str, home: str | None, as_json: bool, **chosen: Any
) -> None:
    """Write a bundle of RECEIPT (its id, or 6 digits of it or more; `verity show` lists them).

    Say what to open: --everything, --nothing, --steps, or any of --message, --output and --field. What you do not name
    is withheld: the reader sees that it was, and can be sure that the rest is what the receipt committed to.
    """
    from verity.challenge import beside
    from verity.exporter import warnings
    from verity.node import Node
    from verity.store import bundles

    selection = _selection(**chosen)
    if states and not selection.everything:
        raise UsageError("a state tells everything before it", "export --everything with --states")
    with Node(home) as node:
        bundle = node.exporter.bundle(receipt, selection, read_checkpoint(since) if since is not None else None)
        written = str(node.states.export(receipt, beside(save))) if states else None
        path = bundles.save(bundle, Path(save))
    told = warnings(bundle)
    disclosure: Any = bundle.disclosure
    lines = [*disclosure.intent, *disclosure.result] if selection != type(selection)() else []
    opened = [line.field for line in lines if line.opened]
    withheld = [line.field for line in lines if not line.opened]
    if as_json:
        counts = {"tokens": len(disclosure.tokens) if lines else 0, "steps": len(disclosure.steps) if lines else 0}
        opening = {"opened": opened, "withheld": withheld, **counts, "warnings": told}
        print_json({"bundle": str(path), "states": written, **opening})
        return
    click.echo(f"{path}: {len(opened)} fields opened, {len(withheld)} withheld" if lines else f"{path}: nothing opened")
    if written is not None:
        click.echo(f"{written}: the states of every segment")
    for warning in told:
        click.echo(f"note: {warning}", err=True)


def _selection(
    everything: bool, nothing: bool, steps: str | None, messages: Any, output: str | None, fields: Any
) -> Any:
    from verity.exporter import EVERYTHING, NOTHING, Selection

    chosen = bool(messages or output is not None or fields)
    if everything + nothing + (steps is not None) + chosen != 1:
        hint = "one of --everything, --nothing, --steps, or any of --message, --output, --field"
        raise UsageError("say what to open", hint)
    if steps is not None:
        match = _RANGE.fullmatch(f"{steps}:{int(steps) + 1}" if _NUMBER.fullmatch(steps) else steps)
        if match is None or int(match[1]) >= int(match[2]):
            raise UsageError(f"{steps!r} names no steps", "write N, or A:B, as in 0:12")
        return Selection(steps=(int(match[1]), int(match[2])))
    if everything or nothing:
        return EVERYTHING if everything else NOTHING
    match = _RANGE.fullmatch(output or "")
    if output not in (None, "all") and match is None:
        raise UsageError(f"{output!r} is not a range of tokens", "write A:B, as in 0:12, or all")
    part = (int(match[1]), int(match[2])) if match else output == "all"
    return Selection(messages=messages, output=part, fields=fields)
