"""Verification as a whole: bundles that somebody edited, and bundles of a device that commits to whatever it likes."""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import msgspec

import verity
from fuzz import device
from fuzz.target import Target, dump, vectors
from verity.cli.show import _show_bundle
from verity.errors import FormatError, SignatureError, VerityError
from verity.statements.bundle import Bundle, decode_bundle
from verity.statements.receipt import EMBEDDING, SCORING, statement_digest
from verity.statements.request import IntentName, Issued, read_request
from verity.statements.strict import parse_json
from verity.verify import embedding, scoring
from verity.verify.claims import Fields, Withheld
from verity.verify.kinds import AnyClaim
from verity.verify.policy import Policy
from verity.verify.replay import CannotReplay
from verity.verify.report import Report

_LIMIT = 1 << 20
_HOLDS = ("signed", "logged", "intent", "disclosure")


def _replayer(claim: AnyClaim) -> NoReturn:
    """Stands where the replay's process would: the claim must be one that can be handed over."""
    assert msgspec.json.decode(msgspec.json.encode(claim), type=AnyClaim) == claim
    raise CannotReplay("no model is run here")


@functools.cache
def _policies() -> list[Policy]:
    fields = device.plan()["intent"]
    pins = {
        "context/size": 4096,
        "template": {"sha256": "0" * 64},
        "sampling/temperature": 0.8,
        "inputs/0000/role": "a",
    }
    strict = {"trust": {"devices": [device.key().id], "models": [fields["model"]["blake3"]],
                        "issuers": [device.issuer().id], "origins": [f"verity/{device.key().id}/0"]},
              "accept": {"numerics": [fields["numerics"]["fingerprint"]], "finishes": ["end", "stop"]},
              "require": {"checks": ["signed", "witnessed", "request", "pinned", "seed-origin"]},
              "pin": pins}  # fmt: skip
    return [Policy(), msgspec.convert(strict, Policy)]


@functools.cache
def _issued() -> Issued:
    named = IntentName("a0" * 16, statement_digest(b""))
    return read_request(device.request(named=named))


def _reports(bundle: Bundle) -> list[Report]:
    """Under several expectations; each must print."""
    nonce, kept = "40" * 32, vectors("receipt")["bundle"]["log"]["checkpoint"]
    own: dict[str, Any] = {"key": device.key().id, "nonce": nonce, "prompt": "Why is the sky blue?", "system": "a"}
    options = [
        {"policy": _policies()[0]},
        {"policy": _policies()[1]},
        {"checkpoint": kept, **own},
        {"request": _issued()},
        {"spot": 2, "states": lambda receipt, segments: [b"rows"] * max(segments), **own},
    ]
    reports = [verity.verify(bundle, home="/nonexistent", replayer=_replayer, **given) for given in options]
    for report in reports:
        assert json.loads(json.dumps(report.to_dict()))["exit_code"] in (0, 1, 3)
        assert all(line.isprintable() for line in str(report).split("\n"))
        assert not report.passed, "no replay was made, and yet everything passed"
    return reports


class _Signed(NamedTuple):
    """What the device committed to in one receipt: fields, tokens by index, states and grammars of its segments."""

    fields: dict[str, bytes]
    tokens: dict[int, tuple[int, str]]
    segments: list[tuple[str, str]]


@functools.cache
def _published() -> dict[tuple[bytes, bytes], _Signed]:
    """All that the key of the vectors ever signed, by intent and result."""
    found: dict[tuple[bytes, bytes], _Signed] = {}
    for seed in _bundles():
        bundle = decode_bundle(seed)
        disclosure: Any = bundle.disclosure
        signed = found.setdefault(_payloads(bundle), _Signed({}, {}, []))
        if opened := getattr(disclosure, "tokens", []):
            lines = (*disclosure.intent, *disclosure.result)
            signed.fields.update({line.field: dump(line.value) for line in lines if line.opened})
            signed.tokens.update({token.index: (token.id, token.piece) for token in opened})
            signed.segments[:] = [(segment.state, segment.grammar) for segment in disclosure.segments]
    return found


def _payloads(bundle: Bundle) -> tuple[bytes, bytes]:
    return bundle.receipt.intent.payload_bytes(), bundle.receipt.result.payload_bytes()


def _edited(data: bytes) -> None:
    bundle = decode_bundle(data)
    report = _reports(bundle)[2]
    if all(report.check(name).status == "passed" for name in _HOLDS):
        _compare(bundle)


def _compare(bundle: Bundle) -> None:
    """What holds under the device's key is what the device signed, to the last value."""
    signed = _published().get(_payloads(bundle))
    assert signed is not None, "a receipt was forged"
    disclosure: Any = bundle.disclosure
    for line in (*disclosure.intent, *disclosure.result):
        assert not line.opened or dump(line.value) == signed.fields[line.field], f"{line.field} was forged"
    for token in disclosure.tokens:
        assert signed.tokens[token.index] == (token.id, token.piece), f"token {token.index} was forged"
    opened = [(segment.state, segment.grammar.strip("0")) for segment in disclosure.segments]
    assert opened in ([], signed.segments), "a segment was forged"


def _plan(data: bytes) -> device.Plan | None:
    try:
        made_up = parse_json(data, limit=_LIMIT, what="plan")
        shape = {"intent": dict, "result": dict, "tokens": list, "shown": list, "kind": str, "critical": list}
        sound = all(isinstance(made_up[name], kind) for name, kind in shape.items())
        pairs = all(type(t[0]) is int and type(t[1]) is str and len(t) == 2 for t in made_up["tokens"])
        named = all(isinstance(name, str) for name in made_up["critical"])
        return made_up if sound and pairs and named else None
    except (FormatError, LookupError, TypeError):
        return None


def _lied(data: bytes) -> None:
    made_up = _plan(data)
    if made_up is None:
        return
    try:
        bundle = device.lie(made_up)
    except VerityError:
        return
    bundle = decode_bundle(bundle.encode())
    report = _reports(bundle)[2]
    assert [report.check(name).status for name in ("signed", "logged", "intent")] == ["passed"] * 3
    _shown(bundle)


def _claimed(data: bytes) -> None:
    made_up = _plan(data)
    if made_up is None:
        return
    withheld = frozenset(made_up["critical"])
    opened = {**made_up["intent"], **made_up["result"]}
    fields = Fields({name: value for name, value in opened.items() if name not in withheld}, withheld)
    tokens = [token[0] for token in made_up["tokens"]]
    others: dict[str, Callable[[Fields], AnyClaim]] = {EMBEDDING: embedding.claim, SCORING: scoring.claim}
    other = others.get(made_up["kind"])
    claim = other(fields) if other else fields.claim(tokens, [b"a"] * len(tokens))
    assert msgspec.json.decode(msgspec.json.encode(claim), type=AnyClaim) == claim


def _display(data: bytes) -> None:
    _shown(decode_bundle(data))


def _shown(bundle: Bundle) -> None:
    """``verity show`` of a stranger's bundle: one JSON object, or lines that steer no terminal."""
    for as_json in (True, False):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            _show_bundle(bundle, True, True, as_json)
        if as_json:
            assert json.loads(out.getvalue())["device"]
        assert all(line.isprintable() for line in out.getvalue().split("\n"))


def _bundles() -> list[bytes]:
    published = [*(vectors("receipt")[name] for name in ("bundle", "redacted")), vectors("segments")["bundle"]]
    carried = json.loads(dump(published[0]))
    carried["disclosure"]["request"] = msgspec.to_builtins(device.request())
    return [*map(dump, [*published, carried]), *(dump(case["bundle"]) for case in vectors("receipt")["liar_cases"])]


def _plans() -> list[bytes]:
    plain = device.plan()
    answer = json.loads(dump(plain))
    answer["intent"]["request"] = _issued().name
    late = json.loads(dump(plain))
    for name in ("nonce", "seed"):
        late["result"][name] = late["intent"].pop(name)
    cut = json.loads(dump(plain)) | {"tokens": []}
    cut["result"] |= {"output/text": "", "output/finish": "aborted"}
    return [*map(dump, (plain, answer, late, cut, device.embedding_plan(), device.scoring_plan()))]


TARGETS = [
    Target("verify", "whole verifications of edited bundles", _edited, _bundles, (FormatError, SignatureError), True,
           1 << 15, 10),
    Target("liar", "whole verifications of bundles soundly signed over edited content", _lied, _plans,
           (FormatError, SignatureError), True, timeout_s=10),
    Target("claim", "disclosed fields as a replay's claim", _claimed, _plans,
           (FormatError, Withheld, CannotReplay), True),
    Target("show", "`verity show` of edited bundles", _display, _bundles, (FormatError,), True, 1 << 15),
]  # fmt: skip
