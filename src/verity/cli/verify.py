"""``verity verify``: check a bundle and print the report."""

from __future__ import annotations

import sys
from typing import Any

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, print_json, read_checkpoint


@click.command()
@click.argument("file", type=click.Path())
@click.option("--replay/--no-replay", default=None, help="Run the model again and compare every token.  [default: on]")
@click.option("--spot", type=click.IntRange(min=1), metavar="K", help="Replay only K segments, drawn at random now.")
@click.option("--states", metavar="FILE|URL", help="The prover's states for --spot.  [default: the file beside FILE]")
@click.option("--key", metavar="K", help="The device key that you expect (its owner's `verity device`).")
@click.option("--model", metavar="M", help="The model that you expect: a digest or a name.")
@click.option("--adapter", "adapters", multiple=True, metavar="A", help="An adapter that you expect; all, in order.")
@click.option("--nonce", metavar="HEX", help="The nonce that you gave out.")
@click.option("--prompt", metavar="TEXT", help="The prompt that you expect.")
@click.option("--system", metavar="TEXT", help="The system message that you expect before it.")
@click.option("--request", type=click.Path(), metavar="FILE", help="The request that you issued (`verity nonce`).")
@click.option("--checkpoint", type=click.Path(), metavar="FILE", help="A checkpoint of its log that you kept.")
@click.option("--previous", type=click.Path(), metavar="FILE", help="The bundle of the turn before.")
@click.option("--policy", type=click.Path(), metavar="FILE", help="A policy (TOML): whom to trust, what must pass.")
@click.option("--calibration", type=click.Path(), metavar="FILE", help="Honest margins of a model, as measured.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For the replay.")
@click.option("--limit-s", type=click.FloatRange(min=0.1), default=900.0, metavar="S", help="End the replay after S s.")
@home_option
@json_option
def verify(file: str, checkpoint: str | None, as_json: bool, **options: Any) -> None:
    """Check FILE, a *.verity.json bundle.

    Exit code: 0 every required check passed, 1 a check failed, 2 FILE cannot be read, 3 a required check could not be
    made. FILE '-' reads the bundle from stdin.
    """
    from verity.api import verify as verify_bundle

    with ProgressBars() as bars:
        source: Any = sys.stdin.buffer.read(1 << 26) if file == "-" else file
        kept = read_checkpoint(checkpoint) if checkpoint is not None else None
        report = verify_bundle(source, progress=bars, checkpoint=kept, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(str(report))
        click.echo(_conclusion(report), err=True)
    sys.exit(report.exit_code)


def _conclusion(report: Any) -> str:
    if report.failed:
        return f"refused: {', '.join(c.name for c in report.failed)} failed"
    if report.unmade:
        return f"not enough: {', '.join(c.name for c in report.unmade)} is required and could not be made"
    return f"every required check passed: {', '.join(report.required)}"
