"""Many receipts at once: the same verdicts as one by one, in fewer processes and with less computed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from command import last_json
from command import verity as run
from forger import forge, forge_scoring
from gguf import tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_process import REPLY

import verity
from verity.engines.engine import Engine
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import probe_tokens
from verity.engines.scripted import ScriptedEngine
from verity.errors import EngineError, FormatError, UsageError, VerityError
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.statements.bundle import Bundle
from verity.store.pull import pull
from verity.verify.audit import Auditor, replay_many
from verity.verify.claims import Fields
from verity.verify.replay import CannotReplay, Outcome

LONG = "You are a robot in a kitchen. Say in one word what to take. "


class Counting(ScriptedEngine):
    """Counts the tokens that it evaluates."""

    evaluated = 0

    def _append(self, sequence: int, token: int) -> None:
        self.evaluated += 1
        super()._append(sequence, token)


def claim_of(bundle: Bundle) -> Any:
    disclosure: Any = bundle.disclosure
    opened = {line.field: line.value for line in (*disclosure.intent, *disclosure.result)}
    tokens = [t.id for t in disclosure.tokens]
    return Fields(opened).claim(tokens, [bytes([t]) if t < 256 else b"" for t in tokens])


# --- what several claims begin with -----------------------------------------------------------------------------------


MOSTLY_ALIKE = st.builds(lambda same, end: [0] * same + end, st.integers(1, 8), st.lists(st.integers(0, 2), max_size=3))
RUNS = st.lists(st.tuples(MOSTLY_ALIKE, st.integers(0, 7), st.integers(1, 8), st.booleans()), max_size=8)


@settings(max_examples=150)
@example([([0] * 8, 0, 1, False), ([0] * 8, 1, 2, False)])
@example([([0] * 8, 0, 1, False), ([0] * 8, 5, 2, False)])
@given(RUNS)
def test_whatever_is_run_each_row_is_what_it_would_be_alone(runs: list[tuple[list[int], int, int, bool]]) -> None:
    """Sequences from their beginning, read to their end or not, with and without something else in between."""
    plain, keeping = ScriptedEngine(REPLY), Auditor(ScriptedEngine(REPLY)).engine
    for tokens, skip, read, between in runs:
        rows = []
        for engine in (plain, keeping):
            engine.reset()
            made = engine.advance_all(tokens, min(skip, len(tokens) - 1))
            rows.append([row.tobytes() for row in itertools.islice(made, read)])
            if between:
                rows[-1].append(engine.advance([1]).tobytes() if read == 8 else b"")
                engine.reset()
                rows[-1].append(engine.advance(tokens).tobytes())
        assert rows[0] == rows[1]


@pytest.mark.model
def test_what_is_kept_changes_no_bit(model_path: Path) -> None:
    """Beyond a batch, and cut off within one."""
    engine: Engine = LlamaEngine(model_path, threads=1, context_size=512, micro_batch=32)
    start, *others = probe_tokens(160, engine.vocabulary)
    lines = [[start, *others[:90]], [start, *others[:71], 5, 6, 7], [start, *others[:120]]]
    alone, keeping = [], Auditor(engine).engine
    for line in lines:
        engine.reset()
        alone.append([row.tobytes() for row in engine.advance_all(line, skip=len(line) - 3)])
    engine.reset()
    for line, wanted in zip(lines, alone, strict=True):
        keeping.reset()
        assert [row.tobytes() for row in keeping.advance_all(line, skip=len(line) - 3)] == wanted
    engine.close()


def test_verdicts_are_those_of_one_by_one(scripted: Node) -> None:
    lie = forge(scripted, LONG + "Soup?", tokens=lambda t, _: [*t[:4], 65, *t[5:]])
    honest = [scripted.ask(LONG + end, max_tokens=8).bundle for end in ("Soup?", "Salt?", "Soup? Or salt?")]
    claims = [claim_of(bundle) for bundle in (honest[0], lie, *honest[1:])]
    claims.append(claim_of(forge(scripted, tokens=lambda t, _: [])))
    engine = Counting(REPLY)
    found = replay_many(engine, claims)
    assert [isinstance(each, Outcome) and each.matches for each in found] == [True, False, True, True, False]
    assert isinstance(found[1], Outcome)
    assert found[1].evidence["position"] == 4
    assert isinstance(found[4], CannotReplay)
    together = engine.evaluated
    one_by_one = Counting(REPLY)
    assert [replay_many(one_by_one, [claim])[0] for claim in claims[:4]] == found[:4]
    assert one_by_one.evaluated > 1.5 * together  # the lie was run anew


class Careless(ScriptedEngine):
    """Cannot forget part of what it holds, and says so, or not: as models whose memory is not one row a token."""

    kept = 0

    def keep(self, sequence: int, length: int) -> None:
        self.kept += 1
        if self.kept == 2:
            raise EngineError("this cannot be done")


def test_what_was_kept_wrongly_accuses_nobody(scripted: Node) -> None:
    claims = [claim_of(scripted.ask(LONG + end, max_tokens=8).bundle) for end in ("Soup?", "Salt?", "Sugar?")]
    engine = Careless(REPLY)
    found = replay_many(engine, claims)
    assert engine.kept == 2
    assert all(isinstance(each, Outcome) and each.matches for each in found)


def test_other_kinds_are_replayed_among_them(scripted: Node) -> None:
    from verity.verify import scoring

    scored: Any = forge_scoring(scripted, "Why?", " No.").disclosure
    claim = scoring.claim(Fields({line.field: line.value for line in (*scored.intent, *scored.result)}))
    answers = [claim_of(scripted.ask("Why?", max_tokens=8).bundle) for _ in range(2)]
    found = replay_many(ScriptedEngine(REPLY), [answers[0], claim, answers[1]])
    assert all(isinstance(each, Outcome) and each.matches for each in found)


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The replay processes that were started."""
    start, started = subprocess.Popen, list[Any]()

    def watched(*args: Any, **options: Any) -> Any:
        started.append(start(*args, **options))
        return started[-1]

    monkeypatch.setattr("verity.replay_process.subprocess.Popen", watched)
    return started


@pytest.fixture
def kitchen(tmp_path: Path) -> Iterator[Node]:
    with _device(tmp_path / "kitchen") as node:
        yield node


def _device(home: Path) -> Node:
    """A device with the tiny model."""
    node = verity.open(home, threads=1)
    path = home / "tiny.gguf"
    path.write_bytes(tiny())
    pull(str(path), node.blobs)
    return node


def ask(node: Node, prompt: str, **options: Any) -> Bundle:
    answer: verity.Answer = node.ask(LONG[:40] + prompt, model="tiny", max_tokens=6, **options)
    return answer.bundle


def digest(node: Node) -> str:
    return node.blobs.resolve("tiny")[1].blake3


def statuses(found: Sequence[verity.Report | VerityError]) -> list[str]:
    return [each.check("replayed-exact").status if isinstance(each, verity.Report) else "error" for each in found]


def test_bundles_of_one_device_share_a_process_and_others_do_not(
    kitchen: Node, tmp_path: Path, processes: list[Any]
) -> None:
    with _device(tmp_path / "garden") as garden:
        theirs = ask(garden, "d")
    given: list[Any] = [ask(kitchen, "a"), theirs, ask(kitchen, "b"), b"no bundle", ask(kitchen, "c")]
    options: dict[str, Any] = {"home": kitchen.home, "model": digest(kitchen), "threads": 1}
    found = verity.verify_many(given, **options)
    assert statuses(found) == ["passed", "passed", "passed", "error", "passed"], list(map(str, found))
    assert isinstance(found[3], FormatError)
    assert len(processes) == 2
    assert all(process.poll() is not None for process in processes)
    alone = verity.verify(given[0], **options)
    assert isinstance(found[0], verity.Report)
    assert found[0].to_dict() == alone.to_dict()
    assert verity.verify_many([], **options) == []
    assert statuses(verity.verify_many(given[:1], replay=False, **options)) == ["not made"]
    assert len(processes) == 3


def test_whoever_only_names_a_device_shares_nothing_with_it(kitchen: Node, processes: list[Any]) -> None:
    honest = [ask(kitchen, "a"), ask(kitchen, "b")]
    intent = msgspec.structs.replace(honest[0].receipt.intent, signatures=honest[1].receipt.intent.signatures)
    forged = msgspec.structs.replace(honest[0], receipt=msgspec.structs.replace(honest[0].receipt, intent=intent))
    found = verity.verify_many([honest[0], forged, honest[1]], home=kitchen.home, model=digest(kitchen), threads=1)
    signed = [each.check("signed").status for each in found if isinstance(each, verity.Report)]
    assert signed == ["passed", "failed", "passed"]
    assert len(processes) == 2


def test_a_lie_among_honest_ones_is_the_only_one_refused(kitchen: Node, processes: list[Any]) -> None:
    lie = forge(kitchen, LONG[:40] + "b", model="tiny", max_tokens=6, tokens=lambda t, _: [*t[:2], 7, *t[3:]])
    given = [ask(kitchen, "a"), lie, ask(kitchen, "c")]
    found = verity.verify_many(given, home=kitchen.home, model=digest(kitchen), threads=1, key=kitchen.key.id)
    assert statuses(found) == ["passed", "failed", "passed"], list(map(str, found))
    assert len(processes) == 1


def test_segments_of_several(kitchen: Node, processes: list[Any]) -> None:
    given = [ask(kitchen, "a"), ask(kitchen, "b")]
    options: dict[str, Any] = {"home": kitchen.home, "model": digest(kitchen), "threads": 1, "spot": 1}
    found = verity.verify_many(given, states=kitchen.states, replay=True, **options)
    assert statuses(found) == ["passed"] * 2
    assert [each.check("spot-checked").status for each in found if isinstance(each, verity.Report)] == ["passed"] * 2
    assert len(processes) == 1
    assert all(isinstance(each, UsageError) for each in verity.verify_many(given, **options))  # where are the states?


def test_what_nobody_consented_to_is_not_run(kitchen: Node, tmp_path: Path, processes: list[Any]) -> None:
    bundles = [ask(kitchen, "a"), ask(kitchen, "b")]
    with _device(tmp_path / "stranger") as stranger:
        assert statuses(verity.verify_many(bundles, home=stranger.home)) == ["not made"] * 2
    assert processes == []


def test_other_options_need_another_process(kitchen: Node, processes: list[Any]) -> None:
    claims = [claim_of(ask(kitchen, "a")), claim_of(ask(kitchen, "b"))]
    for claim in claims:
        claim.context["size"] = 256
    claims.append(claim_of(ask(kitchen, "c")))
    with ProcessReplayer(kitchen.blobs, kitchen.numerics, threads=1).together(3) as replayer:
        for claim in claims:
            replayer(claim)
        assert len(processes) == 2
        with pytest.raises(UsageError, match="for 3 claims"):
            replayer(claims[0])


ANSWERS_ONCE = """
import json, os, sys, time
def message(): return sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8), "big"))
message(); message()
os.write(1, json.dumps({"problem": "the first"}).encode() + b"\\n")
message()
END
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(3)", "died before it could answer (status 3)"),
        ("time.sleep(60)", "ended after the 2 seconds"),
        ("os.write(1, b'?\\n'); time.sleep(60)", "answered with nonsense"),
        ('os.write(1, b\'{"problem": "enough", "over": true}\\n\'); time.sleep(60)', "enough"),
    ],
)
def test_a_process_that_gives_up_costs_one_claim(
    end: str, said: str, kitchen: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, start, started = claim_of(ask(kitchen, "a")), subprocess.Popen, list[Any]()

    def instead(_: list[str], **options: Any) -> Any:
        command = [sys.executable, "-c", ANSWERS_ONCE.replace("END", end)]
        started.append(start(command, **options))
        return started[-1]

    monkeypatch.setattr("verity.replay_process.subprocess.Popen", instead)
    heard = []
    with ProcessReplayer(kitchen.blobs, kitchen.numerics, limit_s=2.0).together(3) as replayer:
        for _ in range(3):
            with pytest.raises(CannotReplay) as caught:
                replayer(claim)
            heard.append(str(caught.value))
    assert [heard[0], heard[2]] == ["the first"] * 2
    assert said in heard[1]
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


# --- the command line -------------------------------------------------------------------------------------------------


def test_several_files_and_the_worst_of_them(kitchen: Node, tmp_path: Path) -> None:
    files = []
    for name in "ab":
        files.append(tmp_path / f"{name}.verity.json")
        kitchen.ask(name, model="tiny", max_tokens=3).save(files[-1])
    options = ("--key", kitchen.key.id, "--model", digest(kitchen), "--threads", "1")
    whole = run("verify", *files, *options, "--json", home=kitchen.home)
    said = last_json(whole)
    assert (whole.returncode, said["exit_code"], said["passed"]) == (0, 0, True), whole.stdout
    assert [report["file"] for report in said["reports"]] == [str(file) for file in files]
    assert last_json(run("verify", files[0], *options, "--json", home=kitchen.home))["passed"] is True
    broken = tmp_path / "broken.verity.json"
    broken.write_text("{}")
    for unread, code in (((files[0], broken), 2), ((broken, tmp_path / "none", files[0]), 2)):
        assert run("verify", *unread, *options, home=kitchen.home).returncode == code
    other = run("verify", broken, *files, "--key", "ab" * 32, "--no-replay", home=kitchen.home)
    assert other.returncode == 1
    lines = other.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["unreadable", "FAILED", "FAILED"]
    unknown = run("verify", *files, "--no-replay", "--model", digest(kitchen), home=tmp_path / "elsewhere")
    assert unknown.returncode == 3
