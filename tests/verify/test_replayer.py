"""The replay process, from outside: whatever happens in it, the verifier lives on and says what could not be made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge
from gguf import tiny
from in_process import in_process
from processes import ends

import verity
from verity.engines.grammar import compiler
from verity.engines.numerics import Numerics
from verity.errors import FormatError, UsageError
from verity.node import Node
from verity.replayer import ProcessReplayer, default_memory
from verity.store.pull import pull
from verity.verify.claims import Fields
from verity.verify.replay import CannotReplay, Claim, ModelName

LLAMA = {"name": "llama.cpp", "version": "1", "library": "0" * 64}


def claim_of(answer: verity.Answer, **changes: Any) -> Claim:
    disclosure: Any = answer.bundle.disclosure
    opened = {line.field: line.value for line in (*disclosure.intent, *disclosure.result)}
    pieces = [bytes([t]) if t < 256 else b"" for t in answer.tokens]
    return msgspec.structs.replace(Fields(opened).claim(answer.tokens, pieces), **changes)


@pytest.fixture
def garbage(scripted: Node, tmp_path: Path) -> Claim:
    """A claim about a model file that is GGUF by its first four bytes only."""
    path = tmp_path / "garbage.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(range(256)) * 64)
    model = pull(str(path), scripted.blobs)
    named = ModelName(name=model.name, blake3=model.blake3, sha256=model.sha256, size=model.size)
    return claim_of(scripted.ask("Why?", max_tokens=4), engine=LLAMA, model=named)


def refusal(node: Node, claim: Claim, **options: Any) -> str:
    with pytest.raises(CannotReplay) as caught:
        ProcessReplayer(node.blobs, node.numerics, **options)(claim)
    return str(caught.value)


def test_a_hostile_model_file_is_only_a_replay_that_cannot_be_made(scripted: Node, garbage: Claim) -> None:
    assert "damaged, cut short or of an unknown kind" in refusal(scripted, garbage)


def test_a_model_that_nobody_vouches_for_is_run_only_when_it_is_named(
    scripted: Node, garbage: Claim, tmp_path: Path
) -> None:
    named = msgspec.to_builtins(garbage.model)
    bundle = forge(scripted, intent=lambda f: f.update(model=named, engine=LLAMA))
    home = tmp_path / "stranger"  # not the device that ran it
    with verity.open(home) as other:
        pull(str(scripted.blobs.open(garbage.model.blake3).path), other.blobs, name="garbage")

    def said(**options: Any) -> str:
        report = verity.verify(bundle, key=scripted.key.id, home=home, **options)
        check = report.check("replayed-exact")
        assert check.status == "not made"
        return check.sentence

    assert f"--model {garbage.model.blake3}" in said()
    policy = msgspec.convert({"trust": {"models": [garbage.model.sha256]}}, verity.Policy)
    for consent in ({"model": garbage.model.blake3}, {"policy": policy}):
        assert "damaged" in said(**consent)


def test_a_replay_that_takes_too_long_is_ended(scripted: Node, garbage: Claim) -> None:
    assert "ended after the 0.01 seconds" in refusal(scripted, garbage, limit_s=0.01)


def test_without_llama_cpp_only_the_replay_is_missing(
    scripted: Node, garbage: Claim, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    with pytest.raises(CannotReplay, match=r"llama\.cpp is not installed here") as caught:
        ProcessReplayer(scripted.blobs, scripted.numerics)(garbage)
    assert "make setup" in caught.value.hint


def test_what_is_refused_before_a_process_is_started(scripted: Node, garbage: Claim) -> None:
    assert "scripted" in refusal(scripted, msgspec.structs.replace(garbage, engine={"name": "scripted"}))
    missing = msgspec.structs.replace(garbage.model, blake3="ab" * 32)
    assert "is not here" in refusal(scripted, msgspec.structs.replace(garbage, model=missing))
    outside = msgspec.structs.replace(garbage.model, blake3="../../device.key")
    assert "digest" in refusal(scripted, msgspec.structs.replace(garbage, model=outside))
    for lie in ({"sha256": "ab" * 32}, {"size": 1 << 52}, {"size": -1}):
        mixed = msgspec.structs.replace(garbage.model, **lie)
        with pytest.raises(FormatError, match="different files"):
            ProcessReplayer(scripted.blobs, scripted.numerics)(msgspec.structs.replace(garbage, model=mixed))


def test_a_context_out_of_bounds(scripted: Node, garbage: Claim) -> None:
    for size in (0, -1, 1 << 40, "big", None):
        assert "context size" in refusal(scripted, msgspec.structs.replace(garbage, context={"size": size}))


def test_more_tokens_than_any_context_has(scripted: Node, garbage: Claim) -> None:
    assert "more than the 131,072" in refusal(scripted, msgspec.structs.replace(garbage, tokens=[1] * 140_000))


def test_limits_that_leave_nothing(scripted: Node) -> None:
    for options in ({"limit_s": 0.0}, {"memory_bytes": 0}):
        with pytest.raises(UsageError, match="some time and memory"):
            ProcessReplayer(scripted.blobs, scripted.numerics, **options)


def test_memory_by_default() -> None:
    assert 1 << 28 < default_memory() <= 8 << 30


IMPOSTORS = {
    "silence": ("sys.exit(3)", "died before it could answer (status 3)"),
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "died before it could answer (SIGSEGV)"),
    "progress without end": (
        "while True: say({'progress': [1, 2, 0]})",
        "talks without an end",
    ),
    "a line without end": ("while True: os.write(1, b'x' * 65536)", "answered with nonsense"),
    "not JSON": ("os.write(1, bytes(range(256)) + b'\\n')", "answered with nonsense"),
    "deep JSON": ("os.write(1, b'[' * 100000 + b'\\n')", "answered with nonsense"),
    "an unknown step": ("say({'progress': [1, 2, 9]})", "names a step that there is not"),
    "a step back": ("say({'progress': [-1, 2, 0]})", "names a step that there is not"),
    "more than all": ("say({'progress': [3, 2, 0]})", "names a step that there is not"),
    "no answer": ("say({})", "gave no answer"),
    "an empty finding": (
        "say({'replayed': {'numerics': {'exact': True, 'fingerprint': 'x'}, 'engine': {}, 'outcome': "
        "{'matches': True, 'sentence': 'All tokens came out again.'}}})",
        "contradicts itself",
    ),
    "a measurement that is none": (
        "say({'setting': 'x', 'replayed': {'numerics': {'exact': True, 'fingerprint': 'x'}, 'engine': {}, "
        "'outcome': None}})",
        "answered with nonsense",
    ),
    "margins of other tokens": (
        "say({'replayed': {'numerics': {'exact': True, 'fingerprint': 'x'}, 'engine': {}, 'outcome': None, "
        "'measured': {'margins': [0.5]}}})",
        "not the margins of this output",
    ),
    "margins that are no numbers": (
        'os.write(1, b\'{"replayed":{"numerics":{"exact":true,"fingerprint":"x"},"engine":{},'
        '"outcome":null,"measured":{"margins":[NaN,0,0,0]}}}\\n\')',
        "answered with nonsense",
    ),
    "a long excuse": ("say({'problem': 'x' * 100000})", "x" * 1000),
    "a process of its own": (
        "os.fork() or time.sleep(60)",  # the first is gone, the second holds its end of the pipe
        "ended after the 2 seconds",
    ),
    "deaf, and silent": ("signal.signal(signal.SIGTERM, signal.SIG_IGN); os.close(1); time.sleep(60)", "died before"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_a_child_that_was_taken_over(
    name: str, scripted: Node, garbage: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program stands in for one that a hostile model took over, with more rights than that would have."""
    script, why = IMPOSTORS[name]
    say = "say = lambda line: os.write(1, json.dumps(line).encode() + b'\\n')\n"
    command = [sys.executable, "-c", "import json, os, signal, sys, time\n" + say + script]
    start, started = subprocess.Popen, []

    def instead(_: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(start(command, **options))
        return started[0]

    monkeypatch.setattr("verity.replay_process.subprocess.Popen", instead)
    seen: list[str] = []
    told = refusal(scripted, garbage, limit_s=2.0, progress=lambda *step: seen.append(step[2]))
    assert why in told
    assert len(told) <= 1000
    assert set(seen) <= {"measuring numerics"}
    assert ends(started[0].pid)


def test_the_childs_measurement_is_kept_for_its_own_model_only(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny())
    with verity.open(tmp_path / "owner", threads=1) as owner:
        digest = pull(str(path), owner.blobs).blake3
        answer = owner.ask("Hi", model="tiny", max_tokens=2)
        fingerprint = answer.numerics
    with verity.open(tmp_path / "other") as other:
        model = pull(str(path), other.blobs, name="mine")
        report = verity.verify(answer.bundle, key=owner.key.id, home=other.home, threads=1, model=digest)
        assert report.check("replayed-exact").status == "passed", str(report)
        assert list(other.numerics.known(model.blake3).values()) == [fingerprint]
        assert other.numerics.known("ab" * 32) == {}


@pytest.mark.model
def test_context_options_that_this_engine_lacks(model_node: Node) -> None:
    """Those that change only the rounding make a replay statistical, and its margins are honest ones."""
    answer = model_node.ask("Hi", max_tokens=2)
    disclosure: Any = answer.bundle.disclosure
    opened = {line.field: line.value for line in (*disclosure.intent, *disclosure.result)}
    claim = Fields(opened).claim(answer.tokens, [model_node.load().engine.piece(t) for t in answer.tokens])
    replayer = ProcessReplayer(model_node.blobs, model_node.numerics, threads=1)
    other = msgspec.structs.replace(claim, context={**claim.context, "rope": "longer"})
    with pytest.raises(CannotReplay, match="context options"):
        replayer(other)
    replayed = replayer(msgspec.structs.replace(claim, context={**claim.context, "kv_cache": "f16"}))
    assert replayed.outcome is None
    assert replayed.measured is not None
    assert len(replayed.measured.margins) == 2
    assert max(replayed.measured.margins) <= 0.0  # this engine did make it


def test_numerics_are_remembered_by_model(scripted: Node) -> None:
    measured = Numerics(exact=True, fingerprint="01" * 32)
    scripted.numerics.keep("aa" * 32, "02" * 32, measured)
    assert scripted.numerics.known("aa" * 32) == {"02" * 32: measured}
    assert scripted.numerics.known("bb" * 32) == scripted.numerics.declared("aa" * 32) == {}
    for setting, fingerprint in (("setting", "01" * 32), ("02" * 32, "my secret key")):
        with pytest.raises(FormatError):
            scripted.numerics.keep("aa" * 32, setting, Numerics(exact=True, fingerprint=fingerprint))


def test_a_replayer_of_ones_own_that_cannot_follow_makes_no_replay(scripted: Node) -> None:
    nonsense = {"compiler": compiler(), "kind": "lark", "source": "start: nothing"}
    bundle = forge(scripted, intent=lambda fields: fields.update(grammar=nonsense))
    check = verity.verify(bundle, home=scripted.home, replayer=in_process).check("replayed-exact")
    assert (check.status, "cannot be enforced" in check.sentence) == ("not made", True), check.sentence
