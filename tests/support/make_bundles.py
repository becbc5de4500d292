"""Make one bundle of each kind: `python tests/support/make_bundles.py tests/forever/vN`, once per format.

What is here already is never written again: these files stand for bundles that people keep. A new format gets a new
folder beside the old ones (``v1``, ``v2`` …), and all of them must verify for ever.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from chips import Chip, proof, record, with_proof
from lora import lora
from memory_signer import MemorySigner

import verity
from onnx_policy import policy
from verity.backup import restore
from verity.engines.scripted import ScriptedEngine
from verity.exporter import NOTHING
from verity.log.cosignature import cosign
from verity.log.note import COSIGNATURE, VerifierKey, parse
from verity.log.published import PublishedHeads
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.receipt import INTENT, Choice, Statement, read_statement
from verity.statements.states import encode_states
from verity.store import bundles
from verity.store.adapters import Adapters
from verity.store.clock import now
from verity.store.pull import pull
from verity.tools import Turn, fold, grammar_for

Kind = Callable[[Node, Node, Path], dict[str, Any]]
PROMPT = "Why is the sky blue?"
KINDS: dict[str, dict[str, Kind]] = {"v1": {}, "v2": {}, "v3": {}, "v4": {}}


def kind(make: Kind, version: str = "v1") -> Kind:
    """A kind of bundle: what it returns are the bundle and, beside it, what a verifier holds."""
    KINDS[version][make.__name__.strip("_").replace("_", "-")] = make
    return make


def second(make: Kind) -> Kind:
    """A kind that the first version did not have."""
    return kind(make, "v2")


def third(make: Kind) -> Kind:
    """A kind that came with segments, scores and networks."""
    return kind(make, "v3")


def fourth(make: Kind) -> Kind:
    """A kind that came with witnesses, TPMs and what becomes of keys."""
    return kind(make, "v4")


@kind
def everything(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.ask(PROMPT, system="Answer briefly.", max_tokens=24).bundle, "prompt": PROMPT,
            "system": "Answer briefly."}  # fmt: skip


@kind
def greedy_with_penalties(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    options: dict[str, Any] = {"temperature": 0.0, "repetition_penalty": 1.2, "frequency_penalty": 0.3}
    return {"bundle": device.ask("Name three rivers.", max_tokens=24, **options).bundle}


@kind
def stopped(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.ask("Écris une phrase sur la mer. 🌊", stops=[".", ","], max_tokens=40).bundle}


@kind
def shown(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.ask(PROMPT, max_tokens=8, show=["model", "sampling/temperature"]).bundle}


@kind
def cancelled(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    stream = device.stream("Tell me a long story.", max_tokens=200)
    for _ in range(5):
        next(stream)
    stream.close()
    assert stream.answer is not None
    return {"bundle": stream.answer.bundle}


@kind
def aborted(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    from verity.request import check_asked, intent_fields, make_request

    loaded = device.load()
    request = make_request(loaded.engine, check_asked(PROMPT, sampling={}))
    begun = device.recorder.begin(intent_fields(request, loaded.engine, loaded.model, loaded.numerics))
    begun.hold.release()  # as a process that died leaves it
    device.recorder.close_orphans()
    return {"bundle": device.exporter.bundle(begun.id)}


@kind
def part(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    receipt = device.ask(PROMPT, max_tokens=16).receipt
    selection = verity.Selection(messages=[0], output=(3, 9), fields=["sampling/*", "model", "output/finish"])
    return {"bundle": device.exporter.bundle(receipt, selection)}


@kind
def nothing(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.exporter.bundle(device.ask(PROMPT, max_tokens=4).receipt, NOTHING)}


@kind
def own_nonce(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.ask(PROMPT, nonce=b"n" * 32, max_tokens=12).bundle, "nonce": (b"n" * 32).hex()}


@kind
def requested(device: Node, verifier: Node, _folder: Path) -> dict[str, Any]:
    issued = verifier.issuer.issue(PROMPT, max_tokens=16, clock="2026-11-24T12:00:00Z", temperature=0.7)
    return {"bundle": device.ask(request=issued).bundle, "request": issued}


@kind
def intent_first(device: Node, verifier: Node, _folder: Path) -> dict[str, Any]:
    late = verifier.issuer.issue(PROMPT, max_tokens=16, late=True, stops=["\n"])
    signed = device.promise(late)
    issued = verifier.issuer.reveal(late, signed, device.key.id)
    return {"bundle": device.ask(request=issued).bundle, "request": issued, "signed_intent": signed}


@kind
def grown(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    kept = device.log.checkpoint()
    receipt = device.ask(PROMPT, max_tokens=4).receipt
    return {"bundle": device.exporter.bundle(receipt, since=kept), "checkpoint": kept}


@kind
def new_epoch(device: Node, _verifier: Node, folder: Path) -> dict[str, Any]:
    device.back_up(folder / "backup")
    restore(folder / "backup", folder / "restored")
    with verity.open(folder / "restored", threads=1) as again:
        pull("smollm2-135m-instruct", again.blobs)
        return {"bundle": again.ask(PROMPT, max_tokens=8).bundle}


@kind
def scripted(_device: Node, _verifier: Node, folder: Path) -> dict[str, Any]:
    with verity.open(folder / "scripted", engine=ScriptedEngine()) as fake:
        return {"bundle": fake.ask(PROMPT).bundle}


@second
def typed(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    properties = {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}}
    schema = {"type": "object", "properties": properties, "required": ["name", "age"], "additionalProperties": False}
    return {"bundle": device.ask("Invent a person.", returns=schema, max_tokens=40).bundle}


@second
def called(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"town": {"enum": ["Oslo", "Rome"]}}, "required": ["town"]}
    function = {"name": "weather", "description": "The weather in a town", "parameters": parameters}
    tool = json.dumps({"type": "function", "function": function})
    asked = fold([Turn(role="user", content="What is the weather in Rome?")], [tool])
    answer = device.ask(asked, tools=[tool], grammar=grammar_for([tool], "required", parallel=False), max_tokens=60)
    assert [call.name for call in answer.tool_calls] == ["weather"]
    return {"bundle": answer.bundle}


@second
def raw(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.ask("Once upon a time", raw=True, max_tokens=12).bundle, "prompt": "Once upon a time"}


@second
def turn(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    chat = device.conversation(system="Answer briefly.")
    chat.ask("Name a river.", max_tokens=12)
    return {"bundle": chat.ask("And a mountain?", max_tokens=12).bundle}


@second
def second_choice(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    from verity.generation import Generation, finished, write
    from verity.request import check_asked, intent_fields, make_request

    loaded = device.load()
    asked = check_asked(PROMPT, sampling={}, max_tokens=12, choice=Choice(1, 2))
    request = make_request(loaded.engine, asked, nonce=b"m" * 32)
    begun = device.recorder.begin(intent_fields(request, loaded.engine, loaded.model, loaded.numerics))
    answer = Generation(loaded.engine, request)
    list(write(loaded.engine, request, answer))
    result = finished(request, answer, str(answer.output.finish))
    device.recorder.finish(begun, result.fields, result.tokens)
    return {"bundle": device.exporter.bundle(begun.id), "nonce": (b"m" * 32).hex()}


@second
def adapted(device: Node, _verifier: Node, folder: Path) -> dict[str, Any]:
    base = str(device.load().model["blake3"])
    (folder / "style.gguf").write_bytes(lora(base))
    Adapters(device.blobs).add(folder / "style.gguf", name="style")
    return {"bundle": device.ask(PROMPT, adapters=[("style", 0.5)], max_tokens=12).bundle}


@second
def embedded(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.embed(["a lake", "a lamp"]).bundle}


@third
def segmented(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    answer = device.ask("Once", raw=True, max_tokens=36)
    return {"bundle": answer.bundle, "states": device.states(answer.receipt, [1]), "spot": 2}


@third
def segmented_typed(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    schema = {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 9, "maxItems": 9}
    return {"bundle": device.ask("List colours.", returns=schema, max_tokens=60).bundle}


@third
def scored(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    return {"bundle": device.score("What is the capital of France?", "Paris.", top=3).bundle}


@third
def inferred(device: Node, _verifier: Node, folder: Path) -> dict[str, Any]:
    (folder / "policy.onnx").write_bytes(policy((4, 8, 2)))
    pull(str(folder / "policy.onnx"), device.blobs, name="policy")
    with device.session("policy") as session:
        for step in range(5):
            session.run({"obs": np.full((1, 4), step, dtype=np.float32)})
    return {"bundle": device.exporter.bundle(session.receipt, verity.Selection(everything=True)), "replay": False}


OPERATORS = {name: MemorySigner(bytes([number]) * 32) for number, name in enumerate(("Clinic", "Mill", "School"), 1)}
WITNESSES = [
    f"{name}={VerifierKey(f'{name.lower()}.example/w', COSIGNATURE, signer.public)}"
    for name, signer in OPERATORS.items()
]


def published(device: Node) -> None:
    """Two of three operators cosign the present head."""
    head = device.publisher.publish(ask=None)
    heads, body = PublishedHeads(device.blobs.database), parse(head.checkpoint).body
    for name in ("Clinic", "School"):
        line = cosign(body, f"{name.lower()}.example/w", OPERATORS[name], int(time.time()))
        heads.cosign(head.epoch, head.size, line)


@fourth
def witnessed(device: Node, _verifier: Node, _folder: Path) -> dict[str, Any]:
    receipt = device.ask(PROMPT, max_tokens=8).receipt
    published(device)
    return {"bundle": device.exporter.bundle(receipt), "witnesses": WITNESSES}


@fourth
def quoted(device: Node, verifier: Node, _folder: Path) -> dict[str, Any]:
    bundle, chip = device.ask(PROMPT, max_tokens=8).bundle, Chip()
    signed = record(verifier, device.key.id, chip, "tpm-vendor-ek")
    shown = proof(signed, chip, device.key.public, parse(bundle.log.checkpoint).body)
    return {"bundle": with_proof(bundle, shown), "registrar": verifier.key.id}


@fourth
def succeeded(_device: Node, _verifier: Node, folder: Path) -> dict[str, Any]:
    with verity.open(folder / "rotated", threads=1) as old:
        pull("smollm2-135m-instruct", old.blobs)
        old.ask(PROMPT, max_tokens=4)
        first = old.key.id
        old.rotate()
    with verity.open(folder / "rotated", threads=1) as again:
        bundle = again.ask(PROMPT, max_tokens=8).bundle
        return {"bundle": bundle, "key": first, "key_events": again.keyring.file(first)}


@fourth
def revoked(_device: Node, _verifier: Node, folder: Path) -> dict[str, Any]:
    with verity.open(folder / "stolen", threads=1) as device:
        pull("smollm2-135m-instruct", device.blobs)
        receipt = device.ask(PROMPT, max_tokens=8).receipt
        published(device)
        time.sleep(2)
        device.keyring.revoke(now(), "sold")
        bundle = device.exporter.bundle(receipt)
        return {"bundle": bundle, "witnesses": WITNESSES, "key_events": device.keyring.file(device.key.id)}


def held(folder: Path, made: dict[str, Any]) -> dict[str, Any]:
    """What a verifier gives to ``verity.verify``: whoever issued the request is named in a policy."""
    options = {k: folder / v if k in ("request", "states") else v for k, v in made.items()}
    if "key_events" in options:
        options["key_events"] = [folder / options["key_events"]]
    if (registrar := options.pop("registrar", None)) is not None:
        options["policy"] = msgspec.convert({"hardware": {"registrars": [registrar]}}, verity.Policy)
    options.pop("issuer", None)
    if "issuer" in made:
        options["policy"] = msgspec.convert({"trust": {"issuers": [made["issuer"]]}}, verity.Policy)
    return options


def read_intent(bundle: Bundle) -> Statement:
    return read_statement(bundle.receipt.intent.payload_bytes(), INTENT)


def write(folder: Path, name: str, made: dict[str, Any], home: Path) -> dict[str, Any]:
    """Save what was made, and return what the test will ask of it: how to verify it, and what came out today."""
    bundle: Bundle = made.pop("bundle")
    bundles.save(bundle, folder / f"{name}.verity.json")
    if (issued := made.pop("request", None)) is not None:
        bundles.save(issued.envelope, folder / f"{name}.request.json")
        made |= {"request": f"{name}.request.json", "issuer": issued.issuer}
    if (signed := made.pop("signed_intent", None)) is not None:
        bundles.save(signed, folder / f"{name}.intent.json")
    if (chunks := made.pop("states", None)) is not None:
        (folder / f"{name}.verity.states").write_bytes(encode_states(read_intent(bundle).predicate.id, chunks))
        made["states"] = f"{name}.verity.states"
    if (events := made.pop("key_events", None)) is not None:
        (folder / f"{name}.key-event.json").write_bytes(events.encode())
        made["key_events"] = f"{name}.key-event.json"
    made.setdefault("key", bundle.receipt.intent.device())
    report = verity.verify(folder / f"{name}.verity.json", home=home, threads=1, **held(folder, made))
    return {"verify": made, "checks": {check.name: check.status for check in report.checks}}


def main() -> None:
    folder = Path(sys.argv[1])
    kinds = KINDS[folder.name]
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        homes = Path(place)
        with verity.open(homes / "device", threads=1) as device, verity.open(homes / "verifier") as verifier:
            pull("smollm2-135m-instruct", device.blobs)
            device.load()
            made = {}
            for name, make in kinds.items():
                (homes / name).mkdir()
                made[name] = write(folder, name, make(device, verifier, homes / name), device.home)
    (folder / "expected.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
