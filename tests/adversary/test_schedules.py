"""A simulated adversary: random schedules of attacks on a log, and what every one of them comes to.

Somebody holds the device's key: its owner who lies, or a thief from some moment on. He keeps any number of histories,
signs heads of them at any size, and has f of the n operators on his side, who cosign whatever he likes under any time.
Against him stand the package's own parts: honest witnesses, verifiers with a policy of k operators, a mirror. He

    forks         signs two histories                          rewinds      shows a head smaller than one shown before
    omits         shows an entry that the history lacks        equivocates  shows each verifier another history
    back-dates    has a colluding witness state an early time  is stale     serves old, wrong or cut-off tiles
    steals        signs with the key after it was revoked      replays      sends witnesses old requests

After every step, whatever the schedule:

    W  no honest witness has cosigned two heads that contradict each other, nor an earlier time after a later
    V  no two verifiers believe heads that contradict each other, if any two sets of k operators share an honest one:
       2k - n > f. Otherwise (the documented limit, docs/witnesses.md) they may, and whoever then lays both heads
       beside the larger log makes evidence of it that everybody can check
    T  a time that k > f operators state is never before the entry was there
    I  what is believed to be in a history is in it
    M  a mirror holds one history; one that is shown another holds evidence
    R  of a key that was revoked since S, nothing that came to be from S on is believed, if k > f
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from key_holder import DEVICE, KEY, ORIGIN, History, submission
from made_logs import Files, published
from memory_signer import MemorySigner

from verity.errors import LogError, VerityError
from verity.log import tree
from verity.log.checkpoint import split
from verity.log.cosignature import cosign
from verity.log.evidence import check_fork, decode_fork, fork_of
from verity.log.mirror import Mirror
from verity.log.note import COSIGNATURE, ED25519, Line, VerifierKey, parse_lines, with_lines
from verity.log.tile_folder import CHECKPOINT, TileFolder
from verity.log.witness import Witness
from verity.log.witness_logs import kept_forks
from verity.statements.bundle import Consistency
from verity.statements.key_events import Event, Revocation
from verity.store.clock import written
from verity.store.database import Database
from verity.verify.claims import Fields
from verity.verify.logged import compare
from verity.verify.operators import Operators
from verity.verify.standing import Said, standing
from verity.verify.timely import Receipt, judge
from verity.verify.witnessed import witnessed, witnessed_by

START = 1_800_000_000
LOG_KEY = VerifierKey(ORIGIN, ED25519, KEY.public)


class Believed(NamedTuple):
    """What a verifier came to believe: a head with its lines, of which history it is, an entry of it, and by when."""

    history: History
    size: int
    entry: int
    note: str
    by: int


class Operator:
    """One witness. A colluding one has no memory."""

    def __init__(self, number: int, home: Path, honest: bool, world: Schedule) -> None:
        self.name = f"operator {number}"
        self.honest = honest
        signer = MemorySigner(bytes([number + 1]) * 32)
        self.key = VerifierKey(f"witness.example/{number}", COSIGNATURE, signer.public)
        self.signer = signer
        self.cosigned: list[tuple[History, int, int]] = []  # which history, how much of it, when
        if honest:
            folder = home / f"witness-{number}"
            folder.mkdir()
            self.database = Database.open(folder)
            self.witness = Witness(self.database, signer, self.key.name, clock=lambda: world.now, any_device=True)

    @property
    def knows(self) -> int:
        """The size of the head that it cosigned last."""
        return self.cosigned[-1][1] if self.cosigned else 0


class Schedule(RuleBasedStateMachine):
    """One random schedule."""

    @initialize(n=st.integers(2, 5), data=st.data())
    def begin(self, n: int, data: st.DataObject) -> None:
        # Where memory is a file system, a thousand schedules need no disk.
        self.home = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.now = START
        self.n, self.k = n, data.draw(st.integers(1, n), "k")
        self.f = data.draw(st.integers(0, min(n - 1, 2)), "f")
        self.operators = [Operator(number, self.home, number >= self.f, self) for number in range(n)]
        self.policy = Operators(self.k, {each.name: [str(each.key)] for each in self.operators})
        self.histories = [History()]
        self.histories[0].add(3, self.now, "first")
        self.lines: dict[str, dict[VerifierKey, Line]] = {}  # by body: the cosignatures that he has
        self.believed: list[list[Believed]] = [[], [], []]  # by verifier
        self.mirror = TileFolder(self.home / "mirror")
        self.mirrored: tuple[History, int] | None = None
        self.since: int | None = None

    def teardown(self) -> None:
        for operator in getattr(self, "operators", []):
            if operator.honest:
                operator.database.close()
        if hasattr(self, "home"):
            shutil.rmtree(self.home)

    def pick(self, data: st.DataObject) -> tuple[History, int]:
        history = data.draw(st.sampled_from(self.histories), "history")
        return history, data.draw(st.integers(1, history.size), "size")

    # --- what the key holder does by himself --------------------------------------------------------------------------

    @rule(data=st.data(), count=st.integers(1, 6), wait=st.integers(0, 500))
    def works(self, data: st.DataObject, count: int, wait: int) -> None:
        self.now += wait
        history = data.draw(st.sampled_from(self.histories), "history")
        history.add(count, self.now, f"{self.histories.index(history)} {self.now}")

    @precondition(lambda self: len(self.histories) < 4)
    @rule(data=st.data())
    def forks(self, data: st.DataObject) -> None:
        history, size = self.pick(data)
        other = history.fork(size - 1)
        other.add(1, self.now, f"fork {len(self.histories)}")
        self.histories.append(other)

    # --- witnesses ----------------------------------------------------------------------------------------------------

    @rule(data=st.data(), lie=st.sampled_from(["old size", "another's proof"]))
    def lies_to_a_witness(self, data: st.DataObject, lie: str) -> None:
        operator = data.draw(st.sampled_from([each for each in self.operators if each.honest]), "witness")
        history, size = self.pick(data)
        old = data.draw(st.integers(0, size), "old") if lie == "old size" else operator.knows
        self._ask(operator, history, size, old, data.draw(st.sampled_from(self.histories), "proof of"))

    def _ask(self, operator: Operator, history: History, size: int, old: int, by: History) -> None:
        answer = operator.witness.add_checkpoint(submission(history, size, old, by=by))
        event(f"witness {answer.status}")
        if answer.status == 200:
            [line] = parse_lines(answer.body)
            self._keep(history, size, operator.key, line)
            operator.cosigned.append((history, size, int.from_bytes(line.signature[:8], "big")))

    @rule(data=st.data(), early=st.integers(0, 100_000))
    def gathers_cosignatures(self, data: st.DataObject, early: int) -> None:
        """Of whoever gives them: honest witnesses who know nothing against the head, and his friends, back-dated."""
        history, size = self.pick(data)
        for operator in data.draw(st.sets(st.sampled_from(self.operators), min_size=min(self.k, self.n)), "of"):
            if operator.honest:
                self._ask(operator, history, size, operator.knows, history)
            else:
                line = cosign(split(history.note(size))[1].body, operator.key.name, operator.signer, self.now - early)
                self._keep(history, size, operator.key, line)

    def _keep(self, history: History, size: int, key: VerifierKey, line: Line) -> None:
        """Of two cosignatures on one head he shows the earlier: it says more."""
        kept = self.lines.setdefault(split(history.note(size))[1].body, {})
        if key not in kept or line.signature[:8] < kept[key].signature[:8]:
            kept[key] = line

    @precondition(lambda self: len(self.histories) < 6)
    @rule(data=st.data())
    def equivocates(self, data: st.DataObject) -> None:
        """One history for some of the witnesses and a verifier, another for the rest and another verifier; his friends
        cosign both."""
        history, size = self.pick(data)
        other = history.fork(size - 1)
        other.add(1, self.now, f"for others {len(self.histories)}")
        self.histories.append(other)
        honest = [each for each in self.operators if each.honest]
        some = data.draw(st.sets(st.sampled_from(honest)), "some")
        for shown, asked in ((history, some), (other, set(honest) - some)):
            for operator in self.operators:
                if not operator.honest:
                    body = split(shown.note(size))[1].body
                    self._keep(shown, size, operator.key, cosign(body, operator.key.name, operator.signer, self.now))
                elif operator in asked:
                    self._ask(operator, shown, size, operator.knows, shown)
        for verifier, shown in zip(
            data.draw(st.permutations(self.believed), "verifiers"), (history, other), strict=False
        ):
            self._show(verifier, shown, size, size - 1, shown.entries[size - 1], shown)

    # --- verifiers ----------------------------------------------------------------------------------------------------

    @rule(data=st.data(), lie=st.sampled_from(["none", "none", "omits", "another's proof"]))
    def shows_a_verifier(self, data: st.DataObject, lie: str) -> None:
        """A head with all the cosignatures that he has for it, an entry, and how the log grew since the verifier's."""
        verifier = data.draw(st.sampled_from(self.believed), "verifier")
        history, size = self.pick(data)
        index = data.draw(st.integers(0, size - 1), "index")
        other = data.draw(st.sampled_from(self.histories), "of history")
        entry = (other if lie == "omits" and other.size > index else history).entries[index]
        proving = other if lie == "another's proof" else history
        self._show(verifier, history, size, index, entry, proving)

    def _show(
        self, verifier: list[Believed], history: History, size: int, index: int, entry: bytes, proving: History
    ) -> None:
        said = split(history.note(size))[1]
        note = str(with_lines(said, list(self.lines.get(said.body, {}).values())))
        with contextlib.suppress(VerityError):
            proof = proving.tree(size).inclusion(index)
            tree.check_inclusion(index, size, tree.hash_leaf(entry), proof, split(note)[0].root)
            if (by := self._accepts(verifier, note, history, size)) is None:
                return
            assert history.entries[index] == entry  # I
            verifier.append(Believed(history, size, index, note, by))
            event("believed")

    def _accepts(self, verifier: list[Believed], note: str, history: History, size: int) -> int | None:
        """The verifier's checks beside the inclusion: k operators, and a log that only grew since he last looked."""
        said = witnessed(note, True, Fields({}), [self.policy], DEVICE, self.now)
        if said.status != "passed":
            return None
        if verifier:
            kept = verifier[-1]
            old, new = sorted((kept.size, size))
            larger = history if size == new else kept.history
            grown = Consistency(old, [digest.hex() for digest in larger.consistency(old, new)])
            if compare(kept.note, note, DEVICE, grown).status != "passed":
                return None
        return witnessed_by(split(note)[1], [self.policy], DEVICE, self.now)

    # --- the mirror ---------------------------------------------------------------------------------------------------

    @rule(data=st.data(), lie=st.sampled_from(["none", "none", "a byte", "cut off", "missing", "stale", "another's"]))
    def serves_a_mirror(self, data: st.DataObject, lie: str) -> None:
        history, size = self.pick(data)
        files = published(history.entries[:size], KEY, ORIGIN)
        self._tamper(data, files, lie)
        before = len(list(self.mirror.root.glob("evidence-*"))) if self.mirror.root.exists() else 0
        try:
            Mirror(self.mirror, LOG_KEY).update(files)
        except VerityError as error:
            event(f"mirror: {type(error).__name__}")
            evidence = list(self.mirror.root.glob("evidence-*"))
            for path in evidence:
                check_fork(decode_fork(path.read_bytes()))
            if isinstance(error, LogError) and "two histories" in str(error):
                assert evidence
                assert not self._one_history()
            assert len(evidence) >= before
        else:
            shown, _ = split(files[CHECKPOINT])
            served = next(each for each in self.histories if each.size >= shown.size and each.head(shown.size) == shown)
            if self.mirrored is not None:
                assert served.agrees(*self.mirrored)  # M: it only ever grew
            self.mirrored = (served, shown.size)

    def _tamper(self, data: st.DataObject, files: Files, lie: str) -> None:
        path = data.draw(st.sampled_from(sorted(set(files) - {CHECKPOINT})), "tile")
        other, size = self.pick(data)
        if lie == "a byte":
            at = data.draw(st.integers(0, len(files[path]) - 1), "byte")
            files[path] = files[path][:at] + bytes([files[path][at] ^ 1]) + files[path][at + 1 :]
        elif lie == "cut off":
            files[path] = files[path][: data.draw(st.integers(0, len(files[path]) - 1), "length")]
        elif lie == "missing":
            del files[path]
        elif lie == "stale":  # a head that he signed once, over tiles of now
            files[CHECKPOINT] = other.note(size).encode()
        elif lie == "another's":
            files.update({p: d for p, d in published(other.entries[:size], KEY, ORIGIN).items() if p == path})

    def _one_history(self) -> bool:
        longest = max(self.histories, key=lambda each: each.size)
        return all(each.agrees(longest, each.size) for each in self.histories)

    # --- the thief ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.since is None)
    @rule(wait=st.integers(1, 500))
    def is_revoked(self, wait: int) -> None:
        """From now on the key is a thief's, and its owner says so."""
        self.now += wait
        self.since = self.now

    # --- after every step ---------------------------------------------------------------------------------------------

    @invariant()
    def honest_witnesses_saw_one_history(self) -> None:
        """W."""
        for operator in getattr(self, "operators", []):
            for before, after in zip(operator.cosigned, operator.cosigned[1:], strict=False):
                assert before[1] <= after[1]
                assert after[0].agrees(before[0], before[1])
                assert before[2] <= after[2] <= self.now

    @rule()
    def witnesses_show_their_evidence(self) -> None:
        """What a witness calls a fork is one, for whoever knows the log's name."""
        for operator in self.operators:
            for kept in kept_forks(operator.database) if operator.honest else ():
                event("a witness has evidence")
                check_fork(kept.fork)
                assert not self._one_history()

    @invariant()
    def what_is_believed_holds(self) -> None:
        """V, T and R."""
        believed = [each for verifier in getattr(self, "believed", []) for each in verifier]
        for each in believed[-3:]:
            if self.k > self.f:
                assert each.by >= each.history.born[each.entry]  # T
                self._check_revoked(each)  # R
        for one in believed[-1:]:
            for other in believed[:-1]:
                self._check_pair(*sorted((one, other), key=lambda each: each.size))

    def _check_revoked(self, each: Believed) -> None:
        if self.since is None:
            return
        since = written(datetime.datetime.fromtimestamp(self.since, datetime.UTC))
        revocation = Revocation("stolen", since, since)
        known = [Said(Event(DEVICE, revocation, (DEVICE,), "00" * 32), self.now)]
        receipt = Receipt(split(each.note)[0], each.entry, each.by)
        judged = judge(standing(DEVICE, known), receipt)
        assert judged.status in ("passed", "failed")
        if each.history.born[each.entry] >= self.since:
            assert judged.status == "failed"
        event(f"of a revoked key: {judged.status}")

    def _check_pair(self, smaller: Believed, larger: Believed) -> None:
        if larger.history.agrees(smaller.history, smaller.size):
            return
        assert 2 * self.k - self.n <= self.f, "two verifiers believe two histories"  # V
        event("the limit: two quorums without an honest witness in common")
        fork = fork_of(smaller.note, larger.note, larger.history.tree(larger.size).node)
        assert check_fork(fork)


def run(schedules: int, steps: int, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    machine: Any = Schedule
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=schedules,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_some_schedules() -> None:
    run(40, 20)


def test_a_careless_witness_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation can fail: here a witness takes any proof, as one that was never written."""
    monkeypatch.setattr("verity.log.witness.tree.check_consistency", lambda *_: None)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run(200, 20, (Phase.generate,))


def test_a_careless_verifier_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who takes a single operator's word for all."""
    monkeypatch.setattr(Operators, "needed", 1)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run(200, 20, (Phase.generate,))


@pytest.mark.slow
def test_a_thousand_schedules() -> None:
    run(1000, 30)
