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
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Write the bundle here.")
@click.option(
    "--tlog-proof",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Write intent.tlog-proof and result.tlog-proof here: that both statements are in the log.",
)
@home_option
@json_option
def export(
    receipt: str,
    since: str | None,
    states: bool,
    save: str | None,
    tlog_proof: str | None,
    home: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Write a bundle of RECEIPT (its id, or 6 digits of it or more; `verity show` lists them).

    Say what to open: --everything, --nothing, --steps, or any of --message, --output and --field. What you do not name
    is withheld: the reader sees that it was, and can be sure that the rest is what the receipt committed to.
    """
    if save is None and tlog_proof is None:
        raise UsageError("say where to write it", "--save FILE for the bundle, --tlog-proof FOLDER for proofs")
    if save is None and (
        since is not None or states or any(value not in (None, False, ()) for value in chosen.values())
    ):
        raise UsageError("a proof opens nothing", "give --save FILE too, for the bundle")
    selection = _selection(**chosen) if save is not None else None
    if states and selection is not None and not selection.everything:
        raise UsageError("a state tells everything before it", "export --everything with --states")
    written = {"proofs": _write_proofs(receipt, Path(tlog_proof), home)} if tlog_proof is not None else {}
    if save is not None:
        written |= _write_bundle(receipt, selection, since, states, save, home)
    if as_json:
        print_json(written)
    else:
        _tell(written)


def _write_bundle(
    receipt: str, selection: Any, since: str | None, states: bool, save: str, home: str | None
) -> dict[str, Any]:
    from verity.challenge import beside
    from verity.exporter import warnings
    from verity.node import Node
    from verity.store import bundles

    with Node(home) as node:
        bundle = node.exporter.bundle(receipt, selection, read_checkpoint(since) if since is not None else None)
        written = str(node.states.export(receipt, beside(save))) if states else None
        path = bundles.save(bundle, Path(save))
    disclosure: Any = bundle.disclosure
    lines = [*disclosure.intent, *disclosure.result] if selection != type(selection)() else []
    return {
        "bundle": str(path),
        "states": written,
        "opened": [line.field for line in lines if line.opened],
        "withheld": [line.field for line in lines if not line.opened],
        "tokens": len(disclosure.tokens) if lines else 0,
        "steps": len(disclosure.steps) if lines else 0,
        "warnings": warnings(bundle),
    }


def _tell(written: dict[str, Any]) -> None:
    for proof in written.get("proofs", []):
        click.echo(proof)
    if "bundle" not in written:
        return
    path, opened, withheld = written["bundle"], len(written["opened"]), len(written["withheld"])
    click.echo(
        f"{path}: {opened} fields opened, {withheld} withheld" if opened + withheld else f"{path}: nothing opened"
    )
    if written["states"] is not None:
        click.echo(f"{written['states']}: the states of every segment")
    for warning in written["warnings"]:
        click.echo(f"note: {warning}", err=True)


def _write_proofs(receipt: str, folder: Path, home: str | None) -> list[str]:
    from verity.exporter import NOTHING
    from verity.log.tlog_proof import SUFFIX, of_bundle
    from verity.node import Node
    from verity.store.home import guarded, write_atomically

    with Node(home) as node:
        proofs = of_bundle(node.exporter.bundle(receipt, NOTHING).log)
    paths = [folder / f"{name}{SUFFIX}" for name in ("intent", "result")]
    with guarded(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path, proof in zip(paths, proofs, strict=True):
            write_atomically(path, str(proof).encode(), 0o644)
    return [str(path) for path in paths]


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
