"""``verity ask``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, print_json
from verity.engines import SCRIPTED
from verity.errors import Interrupted, UsageError

_MAX_PROMPT = 16 << 20


@click.command()
@click.argument("prompt")
@click.option("--model", default=None, metavar="M", help="A pulled model's name or digest.  [default: the catalogue's]")
@click.option("--max-tokens", type=int, metavar="N", help="The most tokens to write.")
@click.option("--temperature", type=float, metavar="T", help="0 is greedy.  [default: 0.8]")
@click.option("--top-k", type=int, metavar="K", help="Keep the K most likely tokens, 0 for all.  [default: 40]")
@click.option("--top-p", type=float, metavar="P", help="Keep the most likely tokens up to P.  [default: 0.95]")
@click.option("--min-p", type=float, metavar="P", help="Drop tokens below P of the most likely.  [default: 0]")
@click.option("--repetition-penalty", type=float, metavar="R", help="1 is none.")
@click.option("--presence-penalty", type=float, metavar="X", help="0 is none.")
@click.option("--frequency-penalty", type=float, metavar="X", help="0 is none.")
@click.option("--stop", "stops", multiple=True, metavar="TEXT", help="End the answer before TEXT; may be repeated.")
@click.option("--seed-nonce", metavar="HEX", help="The nonce of whoever will verify, 16 to 64 bytes.")
@click.option("--system", metavar="S", help="A system message.")
@click.option("--show", multiple=True, metavar="FIELD", help="Show FIELD in the public receipt, in clear.")
@click.option("--context", "context_size", type=click.IntRange(min=1), metavar="N", help="Tokens of context.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores but one]")
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Write the bundle, disclosure included.")
@home_option
@json_option
def ask(prompt: str, save: str | None, home: str | None, as_json: bool, **options: Any) -> None:
    """Answer PROMPT ('-' reads it from stdin) with a model on this device.

    The answer goes to stdout as it is written; then one line on stderr names its receipt. Ctrl-C cuts the answer off;
    what was written so far is on record.
    """
    from verity.node import Node

    prompt = _read_stdin() if prompt == "-" else prompt
    if save is not None and not Path(save).absolute().parent.is_dir():
        raise UsageError(f"there is no folder to save {save} in", "make it first: the answer is logged either way")
    nonce = _nonce(options.pop("seed_nonce"))
    node_options = {name: options.pop(name) for name in ("context_size", "threads")}
    chosen = {name: value for name, value in options.items() if value not in (None, ())}
    engine = _scripted() if chosen.get("model") == SCRIPTED else None
    with ProgressBars() as bars, Node(home, engine=engine, progress=bars, **node_options) as node:
        stream = node.stream(prompt, nonce=nonce, **chosen)
        bars.stop()
        try:
            for text in stream:
                if not as_json:
                    click.echo(_shown(text), nl=False)
        except KeyboardInterrupt:
            stream.close()
            _tell(stream.answer, save, as_json)
            if as_json:
                sys.exit(Interrupted.exit_code)  # the object that was printed says so: cancelled
            raise Interrupted("interrupted; what was written so far is on record") from None
        _tell(stream.answer, save, as_json)


def _shown(text: str) -> str:
    """A model may write what a terminal obeys; a pipe or a file gets the text as it is."""
    if not sys.stdout.isatty():
        return text
    from verity.verify.report import printable

    return "".join(c if c in "\n\t" else printable(c) for c in text)


def _read_stdin() -> str:
    data = sys.stdin.buffer.read(_MAX_PROMPT + 1)
    if len(data) > _MAX_PROMPT:
        raise UsageError(f"the prompt on stdin is larger than {_MAX_PROMPT:,} bytes", "no context holds that much")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("the prompt on stdin is not UTF-8", "save it as UTF-8") from error


def _tell(answer: Any, save: str | None, as_json: bool) -> None:
    if answer is None:
        return
    if save:
        answer.save(save)
    if as_json:
        print_json(
            {
                "text": answer.text,
                "finish": answer.finish,
                "tokens": len(answer.tokens),
                "receipt": answer.receipt,
                "device": answer.bundle.receipt.intent.device(),
                "grade": answer.grade,
                "numerics": answer.numerics.fingerprint,
                "bundle": save,
            }
        )
        return
    click.echo("", nl=not answer.text.endswith("\n"))
    where = f"; bundle in {save}" if save else ""
    click.echo(f"receipt {answer.receipt}: {answer.grade}{where}", err=True)


def _nonce(text: str | None) -> bytes | None:
    from verity.sampling.noise import read_nonce

    return None if text is None else read_nonce(text.lower())


def _scripted() -> Any:
    """``--model scripted``: the deterministic fake, for trying out programs. No verification accepts its receipts."""
    from verity.engines.scripted import ScriptedEngine

    return ScriptedEngine(delay_s=0.01)
