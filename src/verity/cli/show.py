"""``verity show``: what a bundle opens and what it withholds; or the receipts of this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import home_option, json_option, print_json
from verity.verify.report import printable

if TYPE_CHECKING:
    from verity.node import Node
    from verity.statements.bundle import Bundle
    from verity.statements.request import Issued


@click.command()
@click.argument("what", default="")
@click.option("--tokens", is_flag=True, help="List the opened tokens of the output, numbered as for `verity export`.")
@click.option("--steps", is_flag=True, help="List a network's opened steps: what went in, and what came out.")
@home_option
@json_option
def show(what: str, tokens: bool, steps: bool, home: str | None, as_json: bool) -> None:
    """Show WHAT: the file of a bundle or a *.request.json, or a receipt of this device (its id, or 6 digits).

    Without WHAT it lists this device's receipts. What is shown of a stranger's file is what the file says: whether it
    holds, `verity verify` finds out.
    """
    from verity.node import Node
    from verity.statements.receipt import GENERATION
    from verity.store.bundles import read_bundle, read_request

    if _is_file(what):
        if what.endswith(".request.json"):
            _show_request(read_request(what), as_json)
        else:
            _show_bundle(read_bundle(what), tokens, steps, as_json)
        return
    with Node(home) as node:
        if what:
            _show_bundle(_own_bundle(node, what, steps), tokens, steps, as_json)
            return
        rows = [kept._asdict() for kept in node.exporter.receipts.all()]
    if as_json:
        print_json({"receipts": rows})
        return
    for row in rows:
        state = f"forgotten {row['forgotten_at']}" if row["forgotten_at"] else row["state"]
        if row["state"] == "done" and row["result_position"] is None and not row["forgotten_at"]:
            state = "never finished"
        kind = "" if row["kind"] == GENERATION else f"  {row['kind']}"
        click.echo(f"{row['id']}  {row['started_at']}  {state}{kind}")


def _own_bundle(node: Node, receipt: str, steps: bool) -> Bundle:
    """Everything opened; of a session, which may have a million, the steps only if they are asked for."""
    from verity.exporter import EVERYTHING, Selection
    from verity.statements.receipt import INFERENCE

    whole = steps or node.exporter.receipts.get(receipt).kind != INFERENCE
    return node.exporter.bundle(receipt, EVERYTHING if whole else Selection(fields=["*"]))


def _is_file(what: str) -> bool:
    try:
        return Path(what).is_file()
    except OSError:  # too long for a name
        return False


def _show_request(issued: Issued, as_json: bool) -> None:
    import msgspec

    asked = msgspec.to_builtins(issued.request)
    nonce = issued.nonce.hex() if issued.nonce is not None else None
    if as_json:
        print_json({"request": issued.id, "issuer": issued.issuer, "nonce": nonce, **asked})
        return
    _print(f"request {issued.id} by {issued.issuer}, whose signature holds")
    for message in issued.request.messages:
        _print(f"{message.role}: {message.content}")
    for name, value in asked.items():
        if name != "messages":
            _print(f"{name:<28} {value}")
    _print(f"{'nonce':<28} {nonce or 'not yet: it wants a signed intent first'}")


def _show_bundle(bundle: Bundle, tokens: bool, steps: bool, as_json: bool) -> None:
    from verity.statements.receipt import INTENT, RESULT, read_statement

    disclosure: Any = bundle.disclosure
    lines = [*disclosure.intent, *disclosure.result] if hasattr(disclosure, "intent") else []
    opened = {line.field: line.value for line in lines if line.opened}
    withheld = [line.field for line in lines if not line.opened]
    pieces = _pieces(disclosure.tokens if lines else [])
    opened_steps = disclosure.steps if lines else []
    intent = read_statement(bundle.receipt.intent.payload_bytes(), INTENT)
    result = read_statement(bundle.receipt.result.payload_bytes(), RESULT)
    shown = {o.field: o.value for o in (*intent.predicate.shown, *result.predicate.shown)}
    for line in lines:
        line.commit(intent.predicate.id_bytes())  # raises FormatError for a line that is neither opened nor withheld
    if as_json:
        print_json({
            "receipt": intent.predicate.id, "device": bundle.receipt.intent.device(), "shown": shown, "opened": opened,
            "withheld": withheld, "tokens": [{"index": i, "text": text} for i, text in pieces],
            "steps": [_step(opening) for opening in opened_steps],
        })  # fmt: skip
        return
    _print(f"receipt {intent.predicate.id} by device {bundle.receipt.intent.device()}")
    _print("  what the file says; `verity verify` checks it")
    if not lines:
        _print("nothing is opened: the public receipt alone")
    for field, value in {**shown, **opened}.items():
        if field != "prompt_tokens" or tokens:
            _print(f"{printable(field):<28} {_said(field, value)}")
    if pieces and ("output/text" not in opened or tokens):
        said = opened.get("output/tokens")
        count = said.get("count", "?") if isinstance(said, dict) else "?"
        rest = "" if pieces[-1][0] + 1 == count else "…"
        _print(f"output, {len(pieces)} of {count} tokens: {_joined(pieces) + rest!r}")
    for index, text in pieces if tokens else []:
        _print(f"{index:>6} {text!r}")
    _show_steps(opened_steps, steps)
    if withheld:
        _print(f"withheld: {', '.join(withheld)}")


def _show_steps(openings: Any, listed: bool) -> None:
    if openings:
        count = "1 step is" if len(openings) == 1 else f"{len(openings)} steps are"
        _print(f"{count} opened" + ("" if listed else ": --steps lists them"))
    for opening in openings if listed else []:
        _print(f"{opening.index:>6} {_step(opening)}")


def _pieces(tokens: Any) -> list[tuple[int, str]]:
    from verity.statements.strict import decode_base64

    return [(t.index, decode_base64(t.piece, "token's bytes").decode("utf-8", "replace")) for t in tokens]


def _step(opening: Any) -> dict[str, Any]:
    """A step's arrays as lists. Raises FormatError for what cannot be one."""
    from verity.engines.network import to_array
    from verity.statements.steps import check_step
    from verity.tensor_files import plain

    step = opening.step()
    check_step(step)
    given, gave = ({tensor.name: plain(to_array(tensor)) for tensor in part} for part in (step.inputs, step.outputs))
    return {"index": step.index, "inputs": given, "outputs": gave, "note": step.note}


def _joined(pieces: list[tuple[int, str]]) -> str:
    """The pieces, with … where tokens in between are not opened."""
    text, last = "", -1
    for index, piece in pieces:
        text += ("" if index == last + 1 else "…") + piece
        last = index
    return text


def _short(value: Any) -> str:
    """A message's or the output's text as it is, other values on one line."""
    if isinstance(value, dict) and "content" in value:
        return f"{value.get('role')}: {value['content']}"
    return str(value)


def _said(field: str, value: Any) -> str:
    if field == "output/embeddings" and isinstance(value, list):
        return f"{len(value)} vector{'s' * (len(value) != 1)}, base64 of float32"
    if field == "output/logprobs" and isinstance(value, list):
        return f"{len(value)} log-probabilities"
    return _short(value)


def _print(line: str) -> None:
    click.echo("\n    ".join(map(printable, line.split("\n"))))  # a stranger's text must not look like a line of ours
