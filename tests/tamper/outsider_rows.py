"""Attacks by somebody without the device's key: on the way, in a store, on a bundle that was passed on."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

import verity
from tamper import BUNDLE, HEADS, LIMIT, OUTSIDER, OWN_NONCE, PUBLIC, Result, World, edited, line, row
from verity.errors import VerityError
from verity.exporter import Selection
from verity.statements.bundle import MAX_BUNDLE_BYTES
from verity.statements.commitments import Opening, commit
from verity.verify.logged import compare


def flip64(text: str, at: int = 8) -> str:
    """Base64 with one bit of one byte flipped."""
    data = bytearray(base64.b64decode(text))
    data[at % len(data)] ^= 1
    return base64.b64encode(data).decode()


def flip16(text: str) -> str:
    return ("0" if text[0] != "0" else "1") + text[1:]


def _zeros(text: str) -> str:
    return base64.b64encode(bytes(len(base64.b64decode(text)))).decode()


def _swap(one: Any, other: Any) -> None:
    for member in ("value", "salt"):
        one[member], other[member] = other[member], one[member]


def _withhold(entry: Any, commitment: str) -> None:
    entry.pop("value")
    entry.pop("salt")
    entry["commitment"] = commitment


def _exchange(plain: Any) -> None:
    receipt_id = bytes.fromhex(
        base64.b64decode(plain["receipt"]["intent"]["payload"]).split(b'"id":"')[1][:32].decode()
    )
    entries = [line(plain, "model"), line(plain, "numerics")]
    lines = [msgspec.convert(dict(entry), Opening).commit(receipt_id).hex() for entry in entries]
    for entry, commitment in zip(entries, reversed(lines), strict=True):
        _withhold(entry, commitment)


def _signature(plain: Any, part: str) -> None:
    signature = plain["receipt"][part]["signatures"][0]
    signature["sig"] = flip64(signature["sig"])


def _digest(plain: Any) -> None:
    payload = base64.b64decode(plain["receipt"]["intent"]["payload"])
    at = payload.index(b'"sha256":"') + 10
    changed = payload[:at] + flip16(payload[at : at + 64].decode()).encode() + payload[at + 64 :]
    plain["receipt"]["intent"]["payload"] = base64.b64encode(changed).decode()


def _note(plain: Any, at: int) -> None:
    """Change one base64 word of the checkpoint, keeping its form."""
    lines = plain["log"]["checkpoint"].splitlines()
    head, _, word = lines[at].rpartition(" ")
    lines[at] = f"{head} {flip64(word)}".strip()
    plain["log"]["checkpoint"] = "\n".join(lines) + "\n"


HIS_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, section 7.1, TEST 1
EDITS: list[tuple[str, str, str, Callable[[Any], None]]] = [
    ("output-edited", "changes a word of the output's text", "disclosure",
     lambda p: line(p, "output/text").update(value="Red light.")),
    ("prompt-edited", "changes the prompt", "disclosure",
     lambda p: line(p, "inputs/0000")["value"].update(content="Why?")),
    ("parameter-edited", "changes a parameter", "disclosure",
     lambda p: line(p, "sampling/temperature").update(value=0.1)),
    ("field-salt", "changes a field's salt", "disclosure",
     lambda p: line(p, "seed").update(salt=flip64(line(p, "seed")["salt"]))),
    ("field-dropped", "leaves a field out", "disclosure", lambda p: p["disclosure"]["intent"].pop(3)),
    ("fields-swapped", "exchanges the values and salts of two fields", "disclosure",
     lambda p: _swap(line(p, "sampling/top_p"), line(p, "sampling/min_p"))),
    ("commitment-changed", "withholds a field under another commitment", "disclosure",
     lambda p: _withhold(line(p, "model"), "ab" * 32)),
    ("commitments-swapped", "withholds two fields under each other's commitments",
        "disclosure",
        _exchange,
    ),
    ("token-changed", "changes a token", "disclosure", lambda p: p["disclosure"]["tokens"][3].update(id=65)),
    ("token-bytes", "changes a token's bytes", "disclosure",
     lambda p: p["disclosure"]["tokens"][3].update(piece="QQ==")),
    ("token-salt", "changes a token's salt", "disclosure",
     lambda p: p["disclosure"]["tokens"][3].update(salt=flip64(p["disclosure"]["tokens"][3]["salt"]))),
    ("tokens-exchanged", "reverses the tokens", "disclosure", lambda p: p["disclosure"]["tokens"].reverse()),
    ("field-twice", "writes a field twice", "disclosure",
     lambda p: p["disclosure"]["intent"].insert(0, p["disclosure"]["intent"][0])),
    ("proofs-swapped", "proves the result in the place of the intent", "logged",
     lambda p: p["log"].update(intent=p["log"]["result"])),
    ("token-dropped", "cuts the last token off", "disclosure", lambda p: p["disclosure"]["tokens"].pop()),
    ("intent-signature", "flips a bit of the intent's signature", "signed", lambda p: _signature(p, "intent")),
    ("result-signature", "flips a bit of the result's signature", "signed", lambda p: _signature(p, "result")),
    ("payload", "flips a bit in a signed payload", "FormatError",
     lambda p: p["receipt"]["intent"].update(payload=flip64(p["receipt"]["intent"]["payload"], 0))),
    ("digest", "changes the digest in a signed payload, still well-formed", "signed", _digest),
    ("key-id", "puts his own key in the place of the device's", "signed",
     lambda p: p["receipt"]["intent"]["signatures"][0].update(keyid=HIS_KEY)),
    ("log-salt", "changes the salt of a log entry", "logged",
     lambda p: p["log"]["result"].update(salt=_zeros(p["log"]["result"]["salt"]))),
    ("log-path", "changes a hash in a log proof", "logged",
     lambda p: p["log"]["intent"]["path"].__setitem__(0, flip16(p["log"]["intent"]["path"][0]))),
    ("log-path-short", "shortens a log proof", "logged", lambda p: p["log"]["result"]["path"].pop()),
    ("log-index", "says that the intent stands elsewhere", "logged", lambda p: p["log"]["intent"].update(index=0)),
    ("checkpoint-size", "changes the checkpoint's size", "logged",
     lambda p: p["log"].update(checkpoint=p["log"]["checkpoint"].replace("\n3\n", "\n4\n"))),
    ("checkpoint-signature", "flips a bit of the checkpoint's signature", "logged", lambda p: _note(p, -1)),
    ("checkpoint-root", "changes the checkpoint's root", "logged", lambda p: _note(p, 2)),
]  # fmt: skip


def _enter(name: str, attack: str, caught: str, edit: Callable[[Any], None]) -> None:
    @row(name, OUTSIDER, BUNDLE, attack, caught)
    def _(world: World) -> Result:
        return world.verify(edited(world.honest(), edit))


for _each in EDITS:
    _enter(*_each)


@row("duplicate-key", OUTSIDER, BUNDLE, "writes a key twice, so that two readers see two documents", "FormatError")
def _(world: World) -> Result:
    data = world.honest().encode()
    return world.verify(data.replace(b'"value":0.9', b'"value":0.1,"value":0.9', 1))


@row("huge-number", OUTSIDER, BUNDLE, "writes numbers that readers round differently", "FormatError")
def _(world: World) -> Result:
    return world.verify(world.honest().encode().replace(b'"value":24', b'"value":' + b"9" * 400, 1))


@row("deep-nesting", OUTSIDER, BUNDLE, "nests lists until a parser's stack is full", "FormatError")
def _(world: World) -> Result:
    return world.verify(b'{"receipt":' + b"[" * 200_000 + b"]" * 200_000 + b"}")


@row("huge-file", OUTSIDER, BUNDLE, "hands in a file of 100 MB", "FormatError")
def _(world: World) -> Result:
    return world.verify(b'{"receipt":"' + b"x" * 100_000_000 + b'"}')


@row("many-objects", OUTSIDER, BUNDLE, "fills a file within the size limit with a million empty lists", "FormatError")
def _(world: World) -> Result:
    return world.verify(b"[" + b"[]," * (MAX_BUNDLE_BYTES // 3 - 2) + b"[]]")


@row("wrong-types", OUTSIDER, BUNDLE, "puts a list where a text must stand, and an unknown member", "FormatError")
def _(world: World) -> Result:
    return world.verify(edited(world.honest(), lambda p: p["log"].update(checkpoint=[], surprise=1)))


@row("receipts-mixed", OUTSIDER, BUNDLE, "pairs the intent of one receipt with the result of another", "intent")
def _(world: World) -> Result:
    one, two = world.honest(), world.honest("Why is grass green?")
    one = world.node.exporter.bundle(one.receipt.intent.payload_bytes().split(b'"id":"')[1][:32].decode())
    receipt = msgspec.structs.replace(two.receipt, intent=one.receipt.intent)
    return world.verify(
        msgspec.structs.replace(two, receipt=receipt, log=msgspec.structs.replace(two.log, intent=one.log.intent))
    )


@row("other-device", OUTSIDER, BUNDLE, "hands in the receipt of a device of his own", "signed")
def _(world: World) -> Result:
    with world.other("mallory") as mallory:
        return world.verify(mallory.ask("Why is the sky blue?").bundle)


@row("old-nonce", OUTSIDER, OWN_NONCE, "hands in an old, honest answer to the same prompt", "request")
def _(world: World) -> Result:
    return world.verify(world.honest(), request=world.request())


@row(
    "request-forged",
    OUTSIDER,
    OWN_NONCE,
    "changes the request on its way, and the device answers that",
    "SignatureError",
)
def _(world: World) -> Result:
    issued = world.request()
    payload = issued.envelope.payload_bytes().replace(b"sky", b"sea")
    changed = msgspec.structs.replace(issued.envelope, payload=base64.b64encode(payload).decode())
    try:
        verity.read_request(msgspec.json.encode(changed))
    except VerityError as error:
        return error
    raise AssertionError("a changed request was read")


@row("guessed-prompt", OUTSIDER, PUBLIC, "tests guesses of a short prompt, the right one among them, against the "
     "public receipt and every salt that he can see or choose", "disclosure not made")  # fmt: skip
def _(world: World) -> Result:
    bundle = world.node.ask("yes", max_tokens=3).bundle
    receipt_id = bundle.receipt.intent.payload_bytes().split(b'"id":"')[1][:32]
    public = msgspec.structs.replace(bundle, disclosure=msgspec.UNSET)
    seen = public.encode() + bundle.receipt.intent.payload_bytes() + bundle.receipt.result.payload_bytes()
    salts = [bytes(16), base64.b64decode(bundle.log.intent.salt), base64.b64decode(bundle.log.result.salt)]
    for guess in ("no", "yes", "maybe"):
        value = {"type": "text", "role": "user", "content": guess}
        for salt in salts:
            assert commit(bytes.fromhex(receipt_id.decode()), "inputs/0000", salt, value).hex().encode() not in seen
    again = world.node.ask("yes", max_tokens=3).bundle  # nor do two receipts of one prompt look alike
    subjects = [b.receipt.intent.payload_bytes().split(b'"sha256":"')[1][:64] for b in (bundle, again)]
    assert subjects[0] != subjects[1]
    return world.verify(public)


@row("guessed-withheld", OUTSIDER, BUNDLE, "tests guesses of a withheld prompt against the parameters that he was "
     "shown", "prompt not made")  # fmt: skip
def _(world: World) -> Result:
    answer = world.node.ask("yes", max_tokens=3)
    partial = world.node.exporter.bundle(answer.receipt, Selection(fields=["sampling/*"]))
    disclosure: Any = partial.disclosure
    shown = [base64.b64decode(x.salt) for x in disclosure.intent if x.opened]
    hidden = next(x.commitment for x in disclosure.intent if x.field == "inputs/0000")
    value = {"type": "text", "role": "user", "content": "yes"}
    assert all(commit(bytes.fromhex(answer.receipt), "inputs/0000", salt, value).hex() != hidden for salt in shown)
    return world.verify(partial, prompt="yes", replay=False)


@row("prompt-from-nonce", OUTSIDER, BUNDLE, "replays guesses of a withheld prompt with the output and the nonce, which "
     "he was shown",
     f"{LIMIT}: whoever holds both can confirm a guess; withhold the nonce (`verity export` warns)")  # fmt: skip
def _(world: World) -> Result:
    from in_process import in_process

    from verity.verify.claims import Fields

    bundle = world.node.ask(
        "Why is the sky blue?", temperature=9.0, top_k=0, top_p=1.0, max_tokens=24, nonce=b"n" * 32
    ).bundle
    disclosure: Any = bundle.disclosure
    values = {x.field: x.value for x in (*disclosure.intent, *disclosure.result)}
    tokens, pieces = [t.id for t in disclosure.tokens], [base64.b64decode(t.piece) for t in disclosure.tokens]
    found = []
    for guess in ("Why?", "Why is the sky blue?"):
        values["inputs/0000"] = {"type": "text", "role": "user", "content": guess}
        values["prompt_tokens"] = [*f"user: {guess}\n".encode(), 257]
        outcome = in_process(Fields(values).claim(tokens, pieces)).outcome
        found += [guess] if outcome is not None and outcome.matches else []
    assert found == ["Why is the sky blue?"]
    return world.verify(bundle)


@row("growth-forged", OUTSIDER, HEADS, "changes the proof that a log only grew", "consistent")
def _(world: World) -> Result:
    world.honest()
    kept = world.node.log.checkpoint()
    answer = world.node.ask("And?", max_tokens=3)
    bundle = world.node.exporter.bundle(answer.receipt, since=kept)
    proof: Any = bundle.log.consistency
    forged = msgspec.structs.replace(proof, path=[flip16(proof.path[0]), *proof.path[1:]])
    return compare(kept, bundle.log.checkpoint, world.node.key.id, forged)
