"""``verity infer``: a network in the ONNX format, run on tensors from files, with a receipt."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from verity.cli.options import release_option
from verity.cli.terminal import ProgressBars, home_option, json_option, print_json, read_stdin
from verity.errors import Interrupted, UsageError


@click.command()
@click.argument("model")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="A step: *.npy, *.npz or JSON; repeat it.",
)
@click.option("--show", multiple=True, metavar="FIELD", help="Show FIELD in the public receipt, in clear.")
@release_option
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Write the bundle, disclosure included.")
@home_option
@json_option
def infer(
    model: str,
    inputs: tuple[str, ...],
    show: tuple[str, ...],
    require_release: bool | None,
    save: str | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Run MODEL (its name or digest; `verity pull FILE.onnx` stores one) on each --input, or on each line of stdin.

    A file, or a line of JSON, is one step. JSON is an object with nested lists of numbers for every input, or the lists
    alone where the network has one. The outputs go to stdout, a line of JSON for each step; then one line on stderr
    names the receipt of all.
    """
    from verity.node import Node

    if save is not None and not Path(save).absolute().parent.is_dir():
        raise UsageError(f"there is no folder to save {save} in", "make it first: the steps are logged either way")
    with ProgressBars() as bars, Node(home, require_release=require_release, progress=bars) as node:
        given = list(_given(inputs, node.network(model).network.inputs))
        if not given:
            raise UsageError("there is nothing to run the network on", "name files with --input, or write to stdin")
        bars.stop()
        try:
            with node.session(model, show=show) as session:
                outputs = [_step(session, step, as_json) for step in given]
        except KeyboardInterrupt:
            raise Interrupted("interrupted; the steps so far are on record") from None
        _tell(session, outputs, node.key.id, save, as_json)


def _given(paths: tuple[str, ...], forms: Any) -> Any:
    """The inputs of every step."""
    from verity.tensor_files import parse_inputs, read_inputs

    if paths:
        for path in paths:
            yield read_inputs(Path(path), forms)
        return
    for number, line in enumerate(read_stdin().splitlines(), 1):
        if line.strip():
            yield parse_inputs(line.encode(), forms, f"line {number}")


def _step(session: Any, given: Any, as_json: bool) -> dict[str, Any]:
    from verity.tensor_files import plain

    made = {name: plain(array) for name, array in session.run(given).items()}
    if not as_json:
        sys.stdout.write(json.dumps(made) + "\n")
    return made


def _tell(session: Any, outputs: list[dict[str, Any]], device: str, save: str | None, as_json: bool) -> None:
    from verity.store import bundles

    if save:
        bundles.save(session.bundle(), Path(save))
    if as_json:
        print_json({
            "outputs": outputs,
            "steps": session.steps,
            "receipt": session.receipt,
            "device": device,
            "grade": session.grade,
            "numerics": session.numerics.fingerprint,
            "bundle": save,
        })  # fmt: skip
        return
    where = f"; bundle in {save}" if save else ""
    steps = "1 step" if session.steps == 1 else f"{session.steps} steps"
    click.echo(f"receipt {session.receipt} of {steps}: {session.grade}{where}", err=True)
