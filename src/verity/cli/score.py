"""``verity score``: how likely a model finds a text, with a receipt."""

from __future__ import annotations

from typing import Any

import click

from verity.cli.options import adapter_option, check_folder, given, read_adapter, release_option, scripted
from verity.cli.terminal import ProgressBars, home_option, json_option, print_json, read_stdin
from verity.errors import Interrupted


@click.command()
@click.argument("text")
@click.option("--answer", "continuation", metavar="TEXT", help="A given answer to score: what comes after TEXT.")
@click.option("--chat/--raw", default=None, help="Put TEXT into the chat template.  [default: with --system]")
@click.option("--system", metavar="S", help="A system message.")
@click.option("--top", type=click.IntRange(0, 256), default=5, show_default=True, help="Candidates for the next token.")
@click.option("--model", default=None, metavar="M", help="A model's name or digest.  [default: the catalogue's]")
@adapter_option
@click.option("--context", "context_size", type=click.IntRange(min=1), metavar="N", help="Tokens that it may have.")
@click.option("--show", multiple=True, metavar="FIELD", help="Show FIELD in the public receipt, in clear.")
@release_option
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores but one]")
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Write the bundle, disclosure included.")
@home_option
@json_option
def score(text: str, chat: bool | None, save: str | None, home: str | None, as_json: bool, **options: Any) -> None:
    """Say how likely a model on this device finds TEXT ('-' reads it from stdin), and what could come next.

    Each token goes to stdout with its log-probability (the first has none), then the candidates; then two lines on
    stderr sum up, and name the receipt.
    """
    from verity.node import Node

    check_folder(save, "the scores are")
    text = read_stdin() if text == "-" else text
    device = {name: options.pop(name) for name in ("threads", "context_size", "require_release")}
    options["adapters"] = tuple(map(read_adapter, options["adapters"]))
    raw = None if chat is None else not chat
    with ProgressBars() as bars, Node(home, engine=scripted(options["model"]), progress=bars, **device) as node:
        try:
            scored = node.score(text, raw=raw, **given(options))
        except KeyboardInterrupt:
            raise Interrupted("interrupted; that it was is on record") from None
        bars.stop()
        _tell(scored, save, as_json)


def _tell(scored: Any, save: str | None, as_json: bool) -> None:
    from verity.statements.strict import decode_base64

    if save:
        scored.save(save)
    pieces = [piece.decode("utf-8", "replace") for piece in scored.pieces]
    following = [(c.logprob, decode_base64(c.piece, "piece").decode("utf-8", "replace")) for c in scored.candidates]
    if as_json:
        count = len(scored.tokens) - scored.start
        print_json({
            "tokens": [{"token": t, "text": p} for t, p in zip(scored.tokens, pieces, strict=True)],
            "logprobs": scored.logprobs,
            "start": scored.start,
            "logprob": scored.logprob,
            "perplexity": scored.perplexity if count else None,
            "candidates": [{"token": c.token, "text": f[1], "logprob": f[0]}
                           for c, f in zip(scored.candidates, following, strict=True)],
            "receipt": scored.receipt,
            "device": scored.bundle.receipt.intent.device(),
            "grade": scored.grade,
            "numerics": scored.numerics.fingerprint,
            "bundle": save,
        })  # fmt: skip
        return
    for place, piece in enumerate(pieces):
        said = f"{scored.logprobs[place - 1]:10.4f}" if place else " " * 10
        click.echo(f"{said}  {piece!r}{'  *' if 1 < scored.start == place else ''}")
    for logprob, piece in following:
        click.echo(f"next {logprob:10.4f}  {piece!r}")
    what = "the answer, from * on" if scored.start > 1 else "the tokens after the first"
    click.echo(f"{what}: log-probability {scored.logprob:.4f}, perplexity {scored.perplexity:.4g}", err=True)
    where = f"; bundle in {save}" if save else ""
    click.echo(f"receipt {scored.receipt}: {scored.grade}{where}", err=True)
