"""``verity verify``: check bundles and print the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, print_json, read_checkpoint


@click.command()
@click.argument("files", type=click.Path(), nargs=-1, required=True)
@click.option(
    "--replay/--no-replay",
    default=None,
    help="Run the model again and compare every token.  [default: on, without --spot]",
)
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
@click.option(
    "--key-event", "key_events", type=click.Path(), multiple=True, metavar="FILE",
    help="What is known about keys: recovery keys, successors, revocations; may be repeated.",
)  # fmt: skip
@click.option("--witness", "witnesses", multiple=True, metavar="OPERATOR=KEY", help="A witness whose word counts.")
@click.option(
    "--witnesses",
    "threshold",
    type=click.IntRange(min=1),
    metavar="K",
    help="So many operators.  [default: more than half, 3 of 4, 5 of 7]",
)
@click.option("--policy", type=click.Path(), metavar="FILE", help="A policy (TOML): whom to trust, what must pass.")
@click.option(
    "--calibration",
    type=click.Path(),
    metavar="FILE",
    help="What honest rounding does to another model than the default one, as measured (docs/concepts/statistical.md).",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For the replay.")
@click.option("--limit-s", type=click.FloatRange(min=0.1), default=900.0, metavar="S", help="End the replay after S s.")
@home_option
@json_option
def verify(files: tuple[str, ...], checkpoint: str | None, as_json: bool, **options: Any) -> None:
    """Check FILES, *.verity.json bundles. FILE '-' reads one from stdin.

    Exit code: 0 every required check passed, 1 a check failed, 2 FILE cannot be read, 3 a required check could not be
    made. Of several there is a line for each, and the code of the worst; what the options name is expected of all.
    """
    from verity.api import verify as verify_bundle

    options["checkpoint"] = read_checkpoint(checkpoint) if checkpoint is not None else None
    with ProgressBars() as bars:
        sources = [sys.stdin.buffer.read(1 << 26) if file == "-" else file for file in files]
        if len(files) > 1:
            sys.exit(_many(files, sources, as_json, progress=bars, **options))
        report = verify_bundle(sources[0], progress=bars, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(str(report))
        click.echo(_conclusion(report), err=True)
    sys.exit(report.exit_code)


def _many(files: Sequence[str], sources: Sequence[Any], as_json: bool, **options: Any) -> int:
    """A line for each, or one object; the worst exit code."""
    from verity.auditing import verify_many
    from verity.errors import VerityError
    from verity.verify.report import printable

    found = verify_many(sources, **options)
    worst = min((each.exit_code for each in found), key=_WORST_FIRST.index)
    if as_json:
        said = [{"file": file, **_to_dict(each)} for file, each in zip(files, found, strict=True)]
        print_json({"reports": said, "passed": worst == 0, "exit_code": worst})
        return worst
    for file, each in zip(files, found, strict=True):
        mark = {0: "✓ passed    ", 1: "✗ FAILED    ", 2: "? unreadable", 3: "· not enough"}[each.exit_code]
        sentence = str(each) if isinstance(each, VerityError) else _in_short(each)
        click.echo(printable(f"{mark}  {file}: {sentence}"))
    return worst


_WORST_FIRST = (1, 2, 3, 0)


def _to_dict(each: Any) -> dict[str, Any]:
    from verity.errors import VerityError

    if isinstance(each, VerityError):
        return {"error": str(each), "hint": each.hint, "exit_code": each.exit_code}
    said: dict[str, Any] = each.to_dict()
    return said


def _in_short(report: Any) -> str:
    """What decides, in one line: the reasons, if it is not that all is well."""
    decisive = report.failed or report.unmade
    return " ".join(f"{check.name}: {check.sentence}" for check in decisive) if decisive else _conclusion(report)


def _conclusion(report: Any) -> str:
    if report.failed:
        return f"refused: {', '.join(c.name for c in report.failed)} failed"
    if report.unmade:
        return f"not enough: {', '.join(c.name for c in report.unmade)} is required and could not be made"
    return f"every required check passed: {', '.join(report.required)}"
