"""Attacks on what a spot check rests on: states, segments, the answer to a challenge, and the draw."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any
from unittest import mock

import msgspec
from forger import evaluate, forge

from tamper import BUNDLE, KEY_HOLDER, LIMIT, OUTSIDER, Result, World, edited, row
from verity import recorder
from verity.elements import segmented
from verity.errors import FetchError
from verity.statements.bundle import Bundle
from verity.statements.request import IntentName
from verity.statements.segments import Evaluated, pack
from verity.statements.states import encode_states
from verity.verify.report import Report

STATES = "bundle and states"
LONG = "Why is the sky blue, and why is the evening sky red, and what of the green flash at sunset?"
ALL = 1000
"""More segments than any answer here has: K = M."""


def honest(evaluated: Evaluated) -> Evaluated:
    return evaluated


def forged(world: World, evaluated: Callable[[Evaluated], Evaluated] = honest, **lies: Any) -> Bundle:
    return forge(world.node, LONG, model="scripted", evaluated=evaluated, temperature=0.9, **lies)


def spot(world: World, bundle: Bundle | bytes, states: Any = None, checked: int = ALL, **options: Any) -> Result:
    return world.verify(bundle, spot=checked, states=states or world.node.states, **options)


def changed(chunk: bytes) -> bytes:
    return bytes([chunk[0], chunk[1] ^ 1]) + chunk[2:]


def in_segment(number: int, edit: Callable[[bytes], bytes]) -> Callable[[Evaluated], Evaluated]:
    def lie(evaluated: Evaluated) -> Evaluated:
        chunks = [edit(chunk) if at == number else chunk for at, chunk in enumerate(evaluated.chunks)]
        return msgspec.structs.replace(evaluated, chunks=chunks)

    return lie


def another_token(tokens: list[int], rows: list[Any]) -> list[int]:
    """One token that was not drawn, in the middle; what follows it is edited back to what would follow honestly."""
    tokens[20] = ord("x") if tokens[20] != ord("x") else ord("y")
    return tokens


def opened(edit: Callable[[list[bytes]], list[bytes]], world: World) -> Callable[[str, Sequence[int]], list[bytes]]:
    """A prover, or somebody on the way, who answers a challenge with what ``edit`` makes of the states."""
    return lambda receipt, segments: edit(world.node.states(receipt))


def lying_about(field: Callable[[dict[str, Any]], None], **named: str) -> Any:
    """The recorder of a device that commits to another ``output/segments`` than it should, or under another intent."""
    honestly = segmented

    def lied(intent: IntentName, *given: Any) -> Any:
        value, kept = honestly(msgspec.structs.replace(intent, **named), *given)
        field(value)
        return value, kept

    return mock.patch.object(recorder, "segmented", lied)


# --- what is committed ------------------------------------------------------------------------------------------------


@row("states-forged", KEY_HOLDER, STATES,
     "commits to another state than the model's, with chain, leaves and root to fit", "spot-checked")  # fmt: skip
def _(world: World) -> Result:
    return spot(world, forged(world, in_segment(1, changed)))


@row("last-state-forged", KEY_HOLDER, STATES, "the same with the state at the very end, from which nothing follows",
     "spot-checked")  # fmt: skip
def _(world: World) -> Result:
    last: Callable[[Evaluated], Evaluated] = lambda e: in_segment(len(e.chunks) - 1, changed)(e)  # noqa: E731
    return spot(world, forged(world, last))


@row(
    "token-edited", KEY_HOLDER, STATES, "edits one token, and commits to honest states for all of them", "spot-checked"
)
def _(world: World) -> Result:
    return spot(world, forged(world, tokens=another_token))


@row("token-edited-real", KEY_HOLDER, STATES, "the same with a real model, in the sandbox", "spot-checked", real=True)
def _(world: World) -> Result:
    real = world.real
    assert real is not None

    def lie(tokens: list[int], rows: list[Any]) -> list[int]:
        tokens[11] = int(rows[11].argsort()[-3])
        return tokens

    bundle = forge(real, tokens=lie, evaluated=honest, temperature=0.8)
    return world.verify_real(bundle, spot=ALL, states=real.states)


@row("states-forged-real", KEY_HOLDER, STATES, "commits to rows of a real model that are not its own", "spot-checked",
     real=True, slow=True)  # fmt: skip
def _(world: World) -> Result:
    assert world.real is not None
    bundle = forge(world.real, evaluated=in_segment(0, changed), temperature=0.8)
    return world.verify_real(bundle, spot=ALL, states=world.real.states)


@row(
    "segments-swapped",
    KEY_HOLDER,
    STATES,
    "commits to the states of two segments in each other's place",
    "spot-checked",
)
def _(world: World) -> Result:
    def swap(evaluated: Evaluated) -> Evaluated:
        first, second, *rest = evaluated.chunks
        return msgspec.structs.replace(evaluated, chunks=[second, first, *rest])

    return spot(world, forged(world, swap))


@row("states-of-another-answer", KEY_HOLDER, STATES, "commits to the states of another answer of the same length",
     "spot-checked")  # fmt: skip
def _(world: World) -> Result:
    engine = world.node.load("scripted").engine

    def other(evaluated: Evaluated) -> Evaluated:
        length = sum(map(len, evaluated.chunks)) // 2
        return evaluate(engine, [ord("a")] * length, [0])

    return spot(world, forged(world, other))


@row("encoding-forged", KEY_HOLDER, STATES, "commits to states in a form that the engine does not have", "spot-checked")
def _(world: World) -> Result:
    def other(evaluated: Evaluated) -> Evaluated:
        return msgspec.structs.replace(evaluated, encoding={"kind": "scripted", "row": 2, "rounded": True})

    return spot(world, forged(world, other))


@row(
    "grammar-state-forged",
    KEY_HOLDER,
    STATES,
    "says that a grammar allowed something at a segment's end",
    "spot-checked",
)
def _(world: World) -> Result:
    def other(evaluated: Evaluated) -> Evaluated:
        return msgspec.structs.replace(evaluated, grammar=[*evaluated.grammar[:-1], b"\1" * 32])

    return spot(world, forged(world, other))


@row("leaves-of-another-intent", KEY_HOLDER, BUNDLE, "binds the leaves to another intent", "disclosure")
def _(world: World) -> Result:
    with lying_about(lambda field: None, sha256="ab" * 32):
        return spot(world, forged(world))


@row("segments-fewer", KEY_HOLDER, BUNDLE, "says that there are fewer segments, to raise the odds of a check",
     "disclosure")  # fmt: skip
def _(world: World) -> Result:
    with lying_about(lambda field: field.update(count=field["count"] - 1)):
        return spot(world, forged(world))


@row("segments-more", KEY_HOLDER, BUNDLE, "says that there are more segments, to lower the odds of being caught",
     "disclosure")  # fmt: skip
def _(world: World) -> Result:
    with lying_about(lambda field: field.update(count=field["count"] + 1)):
        return spot(world, forged(world))


@row("segments-longer", KEY_HOLDER, BUNDLE, "says that a segment is longer than it is", "disclosure")
def _(world: World) -> Result:
    with lying_about(lambda field: field.update(size=field["size"] + 1)):
        return spot(world, forged(world))


@row("segments-bomb", KEY_HOLDER, STATES, "names rows of 16 MB, and opens states that inflate a thousandfold",
     "spot-checked")  # fmt: skip
def _(world: World) -> Result:
    with lying_about(lambda field: field.update(encoding={"kind": "scripted", "row": 1 << 24})):
        bundle = forged(world, lambda e: msgspec.structs.replace(e, encoding={"kind": "scripted", "row": 1 << 24}))
    return spot(world, bundle, opened(lambda chunks: [pack(bytes(1 << 26))] * len(chunks), world))


@row("prompt-without-tokens", KEY_HOLDER, STATES, "names a prompt without tokens, so that the first token is free",
     "spot-checked not made", real=True, slow=True)  # fmt: skip
def _(world: World) -> Result:
    real = world.real
    assert real is not None
    engine, claimed = real.load().engine, [504]

    def write(tokens: list[int], rows: list[Any]) -> list[int]:
        """Honest from a first token on that nobody drew."""
        engine.reset()
        while len(claimed) < 12:
            claimed.append(int(engine.advance(claimed[-1:]).argmax()))
        return list(claimed)

    def empty(fields: dict[str, Any]) -> None:
        nobody = {"type": "text", "role": "user", "content": ""}
        fields.update({"prompt_tokens": [], "template": None, "inputs/0000": nobody, "sampling/temperature": 0})

    bundle = forge(real, intent=empty, tokens=write, evaluated=lambda _: evaluate(engine, [], claimed))
    return world.verify_real(bundle, spot=ALL, states=real.states)


# --- the answer to a challenge ----------------------------------------------------------------------------------------


@row("states-edited", OUTSIDER, STATES, "changes a state on its way", "spot-checked")
def _(world: World) -> Result:
    bundle = world.honest(LONG)

    def edit(chunks: list[bytes]) -> list[bytes]:
        rows = zlib.decompress(chunks[1], -15)
        return [chunks[0], pack(changed(rows)), *chunks[2:]]

    return spot(world, bundle, opened(edit, world))


@row("states-exchanged", OUTSIDER, STATES, "exchanges two states on their way", "spot-checked")
def _(world: World) -> Result:
    return spot(world, world.honest(LONG), opened(lambda chunks: [chunks[1], chunks[0], *chunks[2:]], world))


@row("states-of-another-receipt", OUTSIDER, STATES, "hands in the states of another receipt, under this one's name",
     "spot-checked")  # fmt: skip
def _(world: World) -> Result:
    other = world.node.ask(LONG.replace("sky", "sea"), temperature=0.9, max_tokens=24)
    return spot(world, world.honest(LONG), lambda receipt, segments: world.node.states(other.receipt, segments))


@row("state-file-of-another-receipt", OUTSIDER, STATES, "hands in the file of another receipt's states", "spot-checked")
def _(world: World) -> Result:
    other = world.node.ask(LONG, temperature=0.9, max_tokens=24)
    path = world.node.states.export(other.receipt, world.folder / "other.verity.states")
    return spot(world, world.honest(LONG), path)


@row("states-truncated", OUTSIDER, STATES, "cuts the file of states short", "spot-checked")
def _(world: World) -> Result:
    answer = world.node.ask(LONG, temperature=0.9, max_tokens=24)
    path = world.node.states.export(answer.receipt, world.folder / "short.verity.states")
    path.write_bytes(path.read_bytes()[:-1])
    return spot(world, answer.bundle, path)


@row("chunk-truncated", OUTSIDER, STATES, "cuts a chunk short, in a file that is in order", "spot-checked")
def _(world: World) -> Result:
    answer = world.node.ask(LONG, temperature=0.9, max_tokens=24)
    chunks = world.node.states(answer.receipt)
    path = world.folder / "short.verity.states"
    path.write_bytes(encode_states(answer.receipt, [chunks[0], chunks[1][:-1], *chunks[2:]]))
    return spot(world, answer.bundle, path)


@row("decompression-bomb", OUTSIDER, STATES, "hands in a chunk that inflates to a thousand times its size, and on",
     "spot-checked")  # fmt: skip
def _(world: World) -> Result:
    return spot(world, world.honest(LONG), opened(lambda chunks: [pack(bytes(1 << 26))] * len(chunks), world))


@row("openings-exchanged", OUTSIDER, BUNDLE, "exchanges the openings of two segments", "disclosure")
def _(world: World) -> Result:
    def exchange(plain: Any) -> None:
        first, second, *rest = plain["disclosure"]["segments"]
        plain["disclosure"]["segments"] = [second, first, *rest]

    return spot(world, edited(world.honest(LONG), exchange))


@row(
    "openings-dropped",
    OUTSIDER,
    BUNDLE,
    "leaves the segments out, so that none can be checked",
    "spot-checked not made",
)
def _(world: World) -> Result:
    return spot(world, edited(world.honest(LONG), lambda plain: plain["disclosure"].pop("segments")))


@row("opening-withheld", KEY_HOLDER, STATES, "opens only some of the segments that he is asked for", "spot-checked")
def _(world: World) -> Result:
    return spot(world, world.honest(LONG), opened(lambda chunks: chunks[:1], world))


@row("opening-withheld-late", KEY_HOLDER, STATES, "opens none, after the time for which he promised to",
     "spot-checked not made")  # fmt: skip
def _(world: World) -> Result:
    past = {"time/finished": "2026-01-02T03:04:05Z"}
    bundle = forged(world, result=lambda fields: fields.update(past))
    return spot(world, bundle, opened(lambda chunks: [], world))


@row("promise-left-out", KEY_HOLDER, STATES, "promises nothing, and opens none", "spot-checked not made")
def _(world: World) -> Result:
    bundle = forged(world, intent=lambda fields: fields.update(retention=None))
    return spot(world, bundle, opened(lambda chunks: [], world))


# --- the draw ---------------------------------------------------------------------------------------------------------


@row("not-drawn", KEY_HOLDER, STATES, "forges one state, and the verifier draws another segment",
     f"{LIMIT}: one false transition of M is found with probability K/M; K = M finds it")  # fmt: skip
def _(world: World) -> Result:
    bundle = forged(world, in_segment(1, changed))
    return _until_it_passes(lambda: spot(world, bundle, checked=1))


@row("asked-again", KEY_HOLDER, STATES, "cannot be reached whenever the draw would find him out, and is asked anew",
     f"{LIMIT}: a draw that was not answered counts as one, or the same segments are asked for again")  # fmt: skip
def _(world: World) -> Result:
    bundle = forged(world, in_segment(1, changed))

    def when_it_suits(receipt: str, segments: Sequence[int]) -> list[bytes]:
        if 1 in segments:
            raise FetchError("no route to host")
        return world.node.states(receipt, segments)

    return _until_it_passes(lambda: spot(world, bundle, when_it_suits, checked=2))


def _until_it_passes(check: Callable[[], Result]) -> Result:
    for _ in count():
        result = check()
        assert isinstance(result, Report)
        if result.check("spot-checked").status == "passed":
            break
    return result
