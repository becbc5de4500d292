"""Attacks with what a receipt says beside prompt and parameters: grammars, tools, raw prompts, choices, turns."""

from __future__ import annotations

from typing import Any

import msgspec
from forger import forge

from tamper import BUNDLE, KEY_HOLDER, LIMIT, OWN_NONCE, PROMPT, Result, World, row
from verity.engines.grammar import json_schema

YES = json_schema({"const": "Yes, certainly."})
TOOL = '{"type": "function", "function": {"name": "weather"}}'
CALL = {"name": "weather", "arguments": "{}"}


@row("grammar-hidden", KEY_HOLDER, BUNDLE, "holds the model to a grammar and says that there was none",
     "replayed-exact")  # fmt: skip
def _(world: World) -> Result:
    held: Any = world.node.ask(PROMPT, grammar=YES, max_tokens=24, nonce=b"f" * 32).bundle.disclosure
    return world.verify(forge(world.node, tokens=lambda _t, _r: [t.id for t in held.tokens]))


@row("grammar-added", KEY_HOLDER, BUNDLE, "says that an answer was held to a form that it was not", "replayed-exact")
def _(world: World) -> Result:
    return world.verify(forge(world.node, intent=lambda f: f.update(grammar=msgspec.to_builtins(YES))))


@row("grammar-forced", KEY_HOLDER, BUNDLE, "holds the model to a grammar that leaves it one answer",
     f"{LIMIT}: the model gave that answer under that grammar, and `replayed-exact` says that there was one; "
     "pin `grammar`")  # fmt: skip
def _(world: World) -> Result:
    report: Any = world.verify(world.honest(grammar=YES))
    assert "held to a grammar" in report.check("replayed-exact").sentence
    return report  # type: ignore[no-any-return]


@row("grammar-forced-pinned", KEY_HOLDER, BUNDLE, "the same, under a policy that pins `grammar` to none", "pinned")
def _(world: World) -> Result:
    return world.verify(world.honest(grammar=YES), policy={"pin": {"grammar": {}}})


@row("grammar-ground", KEY_HOLDER, OWN_NONCE, "answers the request under a grammar that it does not have", "request")
def _(world: World) -> Result:
    issued = world.request()
    lie = {"grammar": msgspec.to_builtins(YES)}
    return world.verify(forge(world.node, issued=issued, intent=lambda f: f.update(lie)), request=issued)


@row("template-ground", KEY_HOLDER, OWN_NONCE, "puts the request's prompt to the model without the template", "request")
def _(world: World) -> Result:
    issued = world.request()

    def raw(fields: dict[str, Any]) -> None:
        fields.update(template=None, prompt_tokens=world.node.load().engine.tokenize(PROMPT))

    return world.verify(forge(world.node, issued=issued, intent=raw), request=issued)


@row("choice-ground", KEY_HOLDER, OWN_NONCE, "answers the request many times and hands over the answer he likes",
     "request")  # fmt: skip
def _(world: World) -> Result:
    from verity.sampling.noise import derive_seed

    issued = world.request()
    assert issued.nonce is not None
    second = {"choice": {"index": 1, "of": 2}, "seed": derive_seed(issued.nonce, 1).hex()}
    return world.verify(forge(world.node, issued=issued, intent=lambda f: f.update(second)), request=issued)


@row("tool-untold", KEY_HOLDER, BUNDLE, "says that the model was offered a tool of which it was not told",
     "replayed-exact")  # fmt: skip
def _(world: World) -> Result:
    return world.verify(forge(world.node, intent=lambda f: f.update(tools=[TOOL])))


@row("call-invented", KEY_HOLDER, BUNDLE, "shows a call of a tool that is not in the answer's text", "output")
def _(world: World) -> Result:
    bundle = forge(world.node, f"{TOOL} {PROMPT}", intent=lambda f: f.update(tools=[TOOL]),
                   result=lambda f: f.update({"output/tool_calls": [CALL]}))  # fmt: skip
    return world.verify(bundle, replay=False)


@row("turn-other-words", KEY_HOLDER, BUNDLE, "goes on from a turn before in which he changed a word", "previous-turn")
def _(world: World) -> Result:
    from verity.statements.receipt import Message, statement_digest

    before = world.honest()
    payload = before.receipt.result.payload_bytes()
    name = {"id": msgspec.json.decode(payload)["predicate"]["id"], "result": statement_digest(payload)}
    messages: Any = [Message("user", PROMPT), Message("assistant", "Red light."), Message("user", "And the grass?")]
    bundle = forge(world.node, messages, intent=lambda f: f.update(previous_turn=name))
    return world.verify(bundle, previous=before)


@row("choice-malformed", KEY_HOLDER, BUNDLE, "calls an answer the sixth of one and withholds the nonce",
     "replayed-exact")  # fmt: skip
def _(world: World) -> Result:
    from verity.exporter import Selection

    forged = forge(world.node, intent=lambda f: f.update(choice={"index": 5, "of": 1}))
    payload = msgspec.json.decode(forged.receipt.intent.payload_bytes())
    open_all_but = Selection(fields=["[!n]*", "numerics", "normalisation"], messages=(0,), output=True)
    return world.verify(world.node.exporter.bundle(payload["predicate"]["id"], open_all_but))
