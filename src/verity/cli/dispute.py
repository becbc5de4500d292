"""``verity dispute``: two answers to one request differ; find out whose is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, print_json
from verity.errors import UsageError


@click.command()
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path(), default="")
@click.option("--states-a", metavar="FILE|URL", help="A's states.  [default: the file beside A]")
@click.option("--states-b", metavar="FILE|URL", help="B's states.  [default: the file beside B]")
@click.option("--model", metavar="M", help="Consent to run this model, which nobody here knows: a digest or a name.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For the replay.")
@click.option("--limit-s", type=click.FloatRange(min=0.1), default=900.0, metavar="S", help="End a replay after S s.")
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Write the signed verdict here.")
@click.option("--referee", metavar="K", help="Read the verdict in file A, by the referee of this key.")
@home_option
@json_option
def dispute(a: str, b: str, save: str | None, referee: str | None, as_json: bool, **options: Any) -> None:
    """Settle which of two bundles, A and B, answers their request wrongly, by replaying the segment where they part.

    Both must be opened (`verity export --everything --states`). The verdict is signed by this device and logged.
    Exit code: 0 settled, 3 not settled; 2 the two are not comparable.
    """
    from verity.api import dispute as settle

    if referee is not None:
        _read(a, referee, as_json)
        return
    if not b:
        raise UsageError("a dispute is between two bundles", "give A and B; or --referee K to read a verdict")
    with ProgressBars() as bars:
        verdict, signed = settle(a, b, progress=bars, **options)
    if save is not None:
        from verity.store import bundles

        bundles.save(signed, Path(save))
    if as_json:
        print_json({**_plain(verdict), "settled": verdict.settled, "verdict": save})
    else:
        place = f" (they part in segment {verdict.segment} of {verdict.segments})"
        where = place if verdict.segment is not None else ""
        click.echo(f"A {verdict.a.finding}: {_printable(verdict.a.sentence)}")
        click.echo(f"B {verdict.b.finding}: {_printable(verdict.b.sentence)}")
        click.echo(f"settled{where}" if verdict.settled else f"not settled{where}", err=True)
    sys.exit(0 if verdict.settled else 3)


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def _printable(text: str) -> str:
    from verity.verify.report import printable

    return printable(text)


def _read(path: str, referee: str, as_json: bool) -> None:
    from verity.referee import check_verdict
    from verity.store.bundles import read_signed_verdict

    verdict = check_verdict(read_signed_verdict(path), referee)
    if as_json:
        print_json(_plain(verdict))
        return
    for name, party, finding, sentence in zip("AB", verdict.parties, verdict.findings, verdict.sentences, strict=True):
        click.echo(f"{name} {finding}: receipt {party.receipt} of {party.device[:16]}…: {_printable(sentence)}")
