"""``verity ask``: the main job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from verity.cli.options import adapter_option, check_folder, given, read_adapter, release_option, request_options
from verity.cli.terminal import ProgressBars, home_option, json_option, print_json, read_schema, read_stdin
from verity.engines import SCRIPTED
from verity.errors import AnswerError, Interrupted, UsageError

if TYPE_CHECKING:
    from verity.answer import Stream
    from verity.node import Node
    from verity.statements.request import Issued


@click.command()
@click.argument("prompt", default="")
@request_options
@click.option(
    "--request", type=click.Path(), metavar="FILE", help="Answer this request (`verity nonce`); it fixes all."
)
@click.option("--schema", type=click.Path(), metavar="FILE", help="Answer with JSON by this JSON Schema.")
@click.option("--seed-nonce", metavar="HEX", help="The nonce of whoever will verify, 16 to 64 bytes.")
@click.option("--show", multiple=True, metavar="FIELD", help="Show FIELD in the public receipt, in clear.")
@adapter_option
@release_option
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores but one]")
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Write the bundle, disclosure included.")
@home_option
@json_option
def ask(prompt: str, request: str | None, save: str | None, home: str | None, as_json: bool, **options: Any) -> None:
    """Answer PROMPT ('-' reads it from stdin) with a model on this device.

    The answer goes to stdout as it is written; then one line on stderr names its receipt. Ctrl-C cuts the answer off;
    what was written so far is on record. A request without a nonce is answered with a signed intent, written to --save,
    for its issuer, who then reveals the nonce.
    """
    from verity.node import Node
    from verity.store.bundles import read_request

    prompt = read_stdin() if prompt == "-" else prompt
    check_folder(save, "the answer is")
    issued = read_request(request) if request is not None else None
    nonce = _nonce(options.pop("seed_nonce"))
    show, schema = options.pop("show"), options.pop("schema")
    device = {name: options.pop(name) for name in ("threads", "context_size", "require_release")}
    returns = read_schema(schema) if schema is not None else None
    options["adapters"] = tuple(map(read_adapter, options["adapters"]))
    chosen = given(options)
    engine = _scripted(issued) if chosen.get("model") == SCRIPTED else None
    with ProgressBars() as bars, Node(home, engine=engine, progress=bars, **device) as node:
        if issued is not None and engine is not None:
            chosen.pop("model")
        if issued is not None and issued.nonce is None:
            _promise(node, issued, show, save, as_json)
            return
        stream = node.stream(prompt, nonce=nonce, request=issued, show=show, returns=returns, **chosen)
        bars.stop()
        _write(stream, save, as_json)


def _promise(node: Node, issued: Issued, show: tuple[str, ...], save: str | None, as_json: bool) -> None:
    from verity.store import bundles

    if save is None:
        hint = "give --save FILE.intent.json, then send that file to the issuer"
        raise UsageError("the request has no nonce: its issuer wants a signed intent first", hint)
    signed = node.promise(issued, show)
    bundles.save(signed, save)
    if as_json:
        print_json({"intent": save, "device": node.key.id})
    else:
        click.echo(f"signed intent in {save}: send it to the issuer, who reveals the nonce", err=True)


def _write(stream: Stream, save: str | None, as_json: bool) -> None:
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
    except AnswerError as error:
        if save:
            error.answer.save(save)
        click.echo("", nl=not as_json)
        error.hint += f"; receipt {error.answer.receipt}"
        raise
    _tell(stream.answer, save, as_json)


def _shown(text: str) -> str:
    """A model may write what a terminal obeys; a pipe or a file gets the text as it is."""
    if not sys.stdout.isatty():
        return text
    from verity.verify.report import printable

    return "".join(c if c in "\n\t" else printable(c) for c in text)


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


def _scripted(issued: Issued | None) -> Any:
    """``--model scripted``: the deterministic fake, for trying out programs. No verification accepts its receipts."""
    from verity.engines.llama import DEFAULT_CONTEXT
    from verity.engines.scripted import ScriptedEngine

    return ScriptedEngine(delay_s=0.01, context_size=issued.request.context_size if issued else DEFAULT_CONTEXT)
