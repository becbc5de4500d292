"""``verity embed``: texts as vectors, with a receipt."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from verity.cli.options import check_folder, release_option, scripted
from verity.cli.terminal import ProgressBars, home_option, json_option, print_json, read_stdin
from verity.errors import Interrupted


@click.command()
@click.argument("texts", nargs=-1)
@click.option("--model", default=None, metavar="M", help="A model's name or digest.  [default: the catalogue's]")
@click.option("--pooling", type=click.Choice(["mean", "last"]), default="mean", show_default=True)
@click.option("--normalisation", type=click.Choice(["l2", "none"]), default="l2", show_default=True)
@click.option("--context", "context_size", type=click.IntRange(min=1), metavar="N", help="Tokens that a text may have.")
@click.option("--show", multiple=True, metavar="FIELD", help="Show FIELD in the public receipt, in clear.")
@release_option
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores but one]")
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Write the bundle, disclosure included.")
@home_option
@json_option
def embed(texts: tuple[str, ...], save: str | None, home: str | None, as_json: bool, **options: Any) -> None:
    """Turn TEXTS, or without any each line of stdin, into vectors with a model on this device.

    Each vector goes to stdout as one line, a JSON list; then one line on stderr names the receipt of all.
    """
    from verity.node import Node

    check_folder(save, "the vectors are")
    given = list(texts) or [line for line in read_stdin().splitlines() if line.strip()]
    model = {"model": options["model"]} if options["model"] else {}
    device = {name: options[name] for name in ("threads", "context_size", "require_release")}
    asked = {name: options[name] for name in ("pooling", "normalisation", "show")}
    with ProgressBars() as bars, Node(home, engine=scripted(options["model"]), progress=bars, **device) as node:
        try:
            embedded = node.embed(given, **model, **asked)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; the vectors so far are on record") from None
        bars.stop()
        _tell(embedded, save, as_json)


def _tell(embedded: Any, save: str | None, as_json: bool) -> None:
    if save:
        embedded.save(save)
    if as_json:
        print_json({
            "embeddings": embedded.vectors.tolist(),
            "tokens": embedded.tokens,
            "receipt": embedded.receipt,
            "device": embedded.bundle.receipt.intent.device(),
            "grade": embedded.grade,
            "numerics": embedded.numerics.fingerprint,
            "bundle": save,
        })  # fmt: skip
        return
    for vector in embedded.vectors.tolist():
        sys.stdout.write(json.dumps(vector) + "\n")
    where = f"; bundle in {save}" if save else ""
    click.echo(f"receipt {embedded.receipt}: {embedded.grade}{where}", err=True)
