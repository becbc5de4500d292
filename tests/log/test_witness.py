"""The table of C2SP tlog-witness, line by line; then what must hold whatever comes, and whoever else is at work."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs_of_others import KEY, ORIGIN, SomeLog, signed_under
from memory_signer import MemorySigner

from verity.errors import FormatError, UsageError
from verity.log import witness as module
from verity.log.checkpoint import Checkpoint, split
from verity.log.cosignature import check_cosignature
from verity.log.evidence import check_fork
from verity.log.note import COSIGNATURE, ED25519, VerifierKey, parse_lines
from verity.log.submission import MAX_BYTES, encode
from verity.log.witness import Answer, Witness, read_heads
from verity.log.witness_logs import MAX_FORKS, KnownLogs, choose_name, kept_forks
from verity.store.database import Database

SIGNER = MemorySigner(b"\x21" * 32)
NAME = "witness.example/w1"
VKEY = VerifierKey(NAME, COSIGNATURE, SIGNER.public)
LOG = SomeLog()
FORK = SomeLog("forked", since=2)
NOW = 1_800_000_000


class Clock:
    def __init__(self) -> None:
        self.time = float(NOW)

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def witness(database: Database, clock: Clock) -> Witness:
    KnownLogs(database).add(VerifierKey(ORIGIN, ED25519, KEY.public))
    return Witness(database, SIGNER, NAME, clock=clock)


def time_of(answer: Answer, head: str) -> int:
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8"), answer
    [line] = parse_lines(answer.body)
    return check_cosignature(line, VKEY, split(head, extensions=True)[1].body)


def conflict(size: int) -> Answer:
    return Answer(409, f"{size}\n", "text/x.tlog.size")


# --- 200 --------------------------------------------------------------------------------------------------------------


def test_a_log_that_grows(witness: Witness, clock: Clock, database: Database) -> None:
    old = 0
    for size in (1, 2, 3, 8, 8, 13, 32, 40):
        clock.time += 1.5
        assert time_of(witness.add_checkpoint(LOG.submission(old, size)), LOG.head(size)) == int(clock.time)
        [head] = read_heads(database)
        assert (head.size, head.root) == (size, LOG.root(size))
        old = size


def test_a_head_of_no_entries_can_be_cosigned(witness: Witness) -> None:
    assert time_of(witness.add_checkpoint(LOG.submission(0, 0)), LOG.head(0)) == NOW
    assert witness.add_checkpoint(LOG.submission(0, 5)).status == 200


def test_what_was_cosigned_is_cosigned_again_with_the_time_that_it_is(witness: Witness, clock: Clock) -> None:
    first = witness.add_checkpoint(LOG.submission(0, 5))
    assert witness.add_checkpoint(LOG.submission(5, 5)) == first
    clock.time += 60
    assert time_of(witness.add_checkpoint(LOG.submission(5, 5)), LOG.head(5)) == NOW + 60


def test_lines_of_unknown_keys_are_ignored_and_not_kept(witness: Witness, database: Database) -> None:
    stranger = MemorySigner(b"\x05" * 32)
    bogus = f"— {ORIGIN} {base64.b64encode(b'abcd' + bytes(64)).decode()}\n"
    note = signed_under(Checkpoint(ORIGIN, 5, LOG.root(5)), [("stranger", stranger), (ORIGIN, KEY)]) + bogus
    assert witness.add_checkpoint(encode(0, [], note)).status == 200
    [head] = read_heads(database)
    assert [line.name for line in split(head.note)[1].lines] == [ORIGIN, NAME]


def test_a_log_with_other_names_more_keys_and_extension_lines(witness: Witness, database: Database) -> None:
    keys = [("log.example/2025", MemorySigner(b"\x31" * 32)), ("log.example/2026", MemorySigner(b"\x32" * 32))]
    for name, signer in keys:
        assert KnownLogs(database).add(VerifierKey(name, ED25519, signer.public), "log.example") == "log.example"
    head = Checkpoint("log.example", 5, LOG.root(5), ("an extension", "another"))
    for signers in (keys, keys[:1], keys[1:]):
        note = signed_under(head, signers)
        size = read_heads(database)[0].size if read_heads(database) else 0
        assert time_of(witness.add_checkpoint(encode(size, [], note)), note) == NOW


# --- 404, 403, 400 ----------------------------------------------------------------------------------------------------


def test_404_for_an_unknown_log(witness: Witness, database: Database) -> None:
    other = SomeLog(origin=f"verity/{KEY.public.hex()}/1")
    assert witness.add_checkpoint(other.submission(0, 5)).status == 404
    KnownLogs(database).remove(ORIGIN)
    assert witness.add_checkpoint(LOG.submission(0, 5)).status == 404


def test_403_without_a_signature_that_holds(witness: Witness, database: Database) -> None:
    head = Checkpoint(ORIGIN, 5, LOG.root(5))
    stranger = MemorySigner(b"\x05" * 32)
    for signers in ([("stranger", KEY)], [(ORIGIN, stranger)]):
        assert witness.add_checkpoint(encode(0, [], signed_under(head, signers))).status == 403
    forged = LOG.head(5).replace("\n5\n", "\n6\n")
    assert witness.add_checkpoint(encode(0, [], forged)).status == 403
    assert read_heads(database) == []


def test_one_false_line_of_a_known_key_spoils_the_head(witness: Witness, database: Database) -> None:
    second = MemorySigner(b"\x32" * 32)
    KnownLogs(database).add(VerifierKey("second", ED25519, KEY.public), "log.example")
    KnownLogs(database).add(VerifierKey("third", ED25519, second.public), "log.example")
    head = Checkpoint("log.example", 5, LOG.root(5))
    good = signed_under(head, [("second", KEY)])
    false = signed_under(Checkpoint("log.example", 6, LOG.root(5)), [("third", second)]).splitlines(True)[-1]
    assert witness.add_checkpoint(encode(0, [], good + false)).status == 403
    assert witness.add_checkpoint(encode(0, [], good)).status == 200


def test_400_when_the_old_size_is_above_the_checkpoints(witness: Witness) -> None:
    assert witness.add_checkpoint(encode(6, [], LOG.head(5))).status == 400


HASH = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"old 0", b"old 0\n", b"old 0\n\n", b"\n\n", b"\xff\n\n",
        *(f"{first}\n\n{LOG.head(5)}".encode() for first in (
            "old 00", "old 01", "old -1", "old  0", " old 0", "old 0 ", "old 0\r", "Old 0", "old ٣", "old", "0",
            f"old {2**63}", f"old {10**19}", f"old 0\n{HASH[:-4]}", f"old 0\n{HASH[:-1]}", f"old 0\n{HASH}\n{HASH[4:]}",
            "old 0" + f"\n{HASH}" * 64,
        )),
        f"old 0\n{LOG.head(5)}".encode(), f"old 0\n\n{LOG.head(5)[:-1]}".encode(), f"old 0\n\n\n{LOG.head(5)}".encode(),
        b"old 0\n\n" + LOG.head(5).encode() + b"\n" * MAX_BYTES,
    ],
    ids=range(27),
)  # fmt: skip
def test_400_for_what_is_no_request(witness: Witness, database: Database, body: bytes) -> None:
    assert witness.add_checkpoint(body).status == 400
    assert read_heads(database) == []


# --- 409, 422 ---------------------------------------------------------------------------------------------------------


def test_409_tells_the_size(witness: Witness) -> None:
    assert witness.add_checkpoint(LOG.submission(3, 5)) == conflict(0)
    witness.add_checkpoint(LOG.submission(0, 5))
    for old, new in ((0, 9), (4, 9), (6, 9), (0, 5), (3, 3)):
        assert witness.add_checkpoint(LOG.submission(old, new)) == conflict(5)


def test_409_for_equal_sizes_with_two_roots(witness: Witness, database: Database) -> None:
    witness.add_checkpoint(LOG.submission(0, 5))
    assert witness.add_checkpoint(FORK.submission(5, 5)) == conflict(5)
    assert witness.add_checkpoint(LOG.submission(5, 5)).status == 200
    empty = signed_under(Checkpoint(ORIGIN, 0, bytes(32)), [(ORIGIN, KEY)])
    fresh = SomeLog(origin="log.example")
    KnownLogs(database).add(VerifierKey("log.example", ED25519, KEY.public))
    assert witness.add_checkpoint(encode(0, [], empty.replace(ORIGIN, "log.example"))).status == 403
    empty = signed_under(Checkpoint("log.example", 0, bytes(32)), [("log.example", KEY)])
    assert witness.add_checkpoint(encode(0, [], empty)) == conflict(0)
    assert witness.add_checkpoint(fresh.submission(0, 1)).status == 200


def test_422_for_a_proof_that_does_not_hold(witness: Witness, database: Database) -> None:
    witness.add_checkpoint(LOG.submission(0, 5))
    good = LOG.proof(5, 9)
    for proof in ([], good[:-1], [*good, bytes(32)], good[::-1], FORK.proof(5, 9), [bytes(32)] * 63):
        assert witness.add_checkpoint(encode(5, proof, LOG.head(9))).status == 422
    assert witness.add_checkpoint(encode(5, [bytes(32)], LOG.head(5))).status == 422
    assert read_heads(database)[0].size == 5
    assert witness.add_checkpoint(encode(5, good, LOG.head(9))).status == 200


def test_422_for_a_proof_from_nothing(witness: Witness) -> None:
    assert witness.add_checkpoint(encode(0, [bytes(32)], LOG.head(5))).status == 422


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_clock_that_went_back_signs_no_earlier_time(witness: Witness, clock: Clock, database: Database) -> None:
    witness.add_checkpoint(LOG.submission(0, 5))
    clock.time -= 30
    for body in (LOG.submission(5, 5), LOG.submission(5, 9)):
        answer = witness.add_checkpoint(body)
        assert (answer.status, answer.retry_after_s) == (503, 30)
    assert read_heads(database)[0].size == 5
    clock.time += 30
    assert witness.add_checkpoint(LOG.submission(5, 9)).status == 200


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_two_roots_of_one_size_are_kept_once_whatever_the_old_size(witness: Witness, database: Database) -> None:
    witness.add_checkpoint(LOG.submission(0, 5))
    for old in (0, 5, 5):
        assert witness.add_checkpoint(FORK.submission(old, 5)).status == 409
    [kept] = kept_forks(database)
    assert kept.origin == ORIGIN
    assert "signed two logs of 5 entries" in check_fork(kept.fork)


def test_a_rewritten_log_convicts_itself_by_its_own_proof(witness: Witness, database: Database) -> None:
    witness.add_checkpoint(LOG.submission(0, 5))
    assert witness.add_checkpoint(FORK.submission(5, 9)).status == 422
    [kept] = kept_forks(database)
    assert "of 5 entries and one of 9 that does not begin with it" in check_fork(kept.fork)


def test_a_false_proof_is_no_evidence_and_neither_is_one_from_a_power_of_two(
    witness: Witness, database: Database
) -> None:
    witness.add_checkpoint(LOG.submission(0, 4))
    assert witness.add_checkpoint(encode(4, [bytes(32)] * 3, LOG.head(9))).status == 422
    assert witness.add_checkpoint(FORK.submission(4, 9)).status == 422  # the old root starts the path, and is not in it
    assert list(kept_forks(database)) == []


def test_so_much_evidence_of_one_log_is_kept(witness: Witness, database: Database) -> None:
    witness.add_checkpoint(LOG.submission(0, 5))
    for number in range(MAX_FORKS + 3):
        witness.add_checkpoint(SomeLog(str(number), largest=5).submission(5, 5))
    assert len(list(kept_forks(database))) == MAX_FORKS


# --- names and devices that nobody told of ----------------------------------------------------------------------------


def test_a_key_keeps_its_name(database: Database) -> None:
    assert choose_name(database, SIGNER, NAME) == choose_name(database, SIGNER) == VKEY
    with pytest.raises(UsageError, match=r"is named witness\.example/w1"):
        Witness(database, SIGNER, "another")
    with pytest.raises(FormatError):
        choose_name(database, SIGNER, "a name with spaces")


def test_a_device_that_exchanged_its_key_may_be_one(database: Database) -> None:
    """Its new key has cosigned nothing yet. Restored after that, it may not."""
    old, new = (f"verity/{key}/" for key in (KEY.public.hex(), SIGNER.public.hex()))
    with database.transaction() as connection:
        for epoch, origin in enumerate((old, new)):
            connection.execute("INSERT INTO log_heads VALUES (?, ?, 1, x'', '')", (epoch, f"{origin}{epoch}"))
    assert Witness(database, SIGNER, NAME).key == VKEY
    with database.transaction() as connection:
        connection.execute("INSERT INTO log_heads VALUES (1700000000000, ?, 1, x'', '')", (f"{new}1700000000000",))
    with pytest.raises(UsageError, match="restored from a backup"):
        Witness(database, SIGNER, NAME)


@pytest.mark.parametrize("epoch", [1, 1_700_000_000_000])
def test_a_restored_device_is_no_witness(database: Database, epoch: int) -> None:
    """Even if it had logged nothing before."""
    with database.transaction() as connection:
        origin = f"verity/{SIGNER.public.hex()}/{epoch}"
        connection.execute("INSERT INTO log_heads VALUES (?, ?, 1, x'', '')", (epoch, origin))
    with pytest.raises(UsageError, match="restored from a backup"):
        Witness(database, SIGNER, NAME)


def test_any_device_is_known_by_the_key_in_its_origin(database: Database) -> None:
    witness = Witness(database, SIGNER, any_device=True, most=3)
    assert witness.add_checkpoint(LOG.submission(0, 5)).status == 200
    thief = SomeLog(signer=MemorySigner(b"\x05" * 32))
    assert witness.add_checkpoint(thief.submission(0, 5)).status == 403
    weak = SomeLog(origin=f"verity/{'01' + '00' * 31}/0")
    assert witness.add_checkpoint(weak.submission(0, 5)).status == 400
    assert witness.add_checkpoint(SomeLog(origin="log.example").submission(0, 5)).status == 404
    for seed, status in ((2, 200), (3, 200), (4, 404)):
        signer = MemorySigner(bytes([seed]) * 32)
        log = SomeLog(origin=f"verity/{signer.public.hex()}/0", signer=signer)
        assert witness.add_checkpoint(log.submission(0, 5)).status == status
    assert witness.add_checkpoint(LOG.submission(5, 6)).status == 200


def test_one_device_cannot_take_all_places(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EPOCHS", 2)
    witness = Witness(database, SIGNER, any_device=True)
    logs = [SomeLog(origin=f"verity/{KEY.public.hex()}/{epoch}") for epoch in range(3)]
    assert [witness.add_checkpoint(log.submission(0, 5)).status for log in logs] == [200, 200, 404]


def test_keys_that_sign_no_such_log_are_refused(database: Database) -> None:
    for key, origin in ((VKEY, None), (VerifierKey("x", ED25519, SIGNER.public), ORIGIN)):
        with pytest.raises(UsageError):
            KnownLogs(database).add(key, origin)
    with pytest.raises(UsageError):
        KnownLogs(database).remove("log.example")


def test_a_log_that_is_removed_and_added_again_does_not_start_anew(witness: Witness, database: Database) -> None:
    witness.add_checkpoint(LOG.submission(0, 5))
    KnownLogs(database).remove(ORIGIN)
    KnownLogs(database).add(VerifierKey(ORIGIN, ED25519, KEY.public))
    assert witness.add_checkpoint(FORK.submission(0, 9)) == conflict(5)


# --- whatever comes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    database = Database.open(tmp_path_factory.mktemp("witness"))
    witness = Witness(database, SIGNER, NAME, any_device=True)
    witness.add_checkpoint(LOG.submission(0, 7))
    yield witness
    database.close()


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(lasting: Witness, data: bytes) -> None:
    assert lasting.add_checkpoint(data).status == 400


PIECES = [
    *LOG.submission(7, 13).decode().splitlines(True),
    "\n",
    "old 7\n",
    "old 0\n",
    f"{HASH}\n",
    "7\n",
    "—",
    "\u2028",
]


@given(st.lists(st.sampled_from(PIECES), max_size=16))
def test_pieces_of_requests_are_refused_or_are_the_honest_one(lasting: Witness, pieces: list[str]) -> None:
    data = "".join(pieces).encode()
    assert lasting.add_checkpoint(data).status in (400, 403, 404, 409, 422) or data == LOG.submission(7, 13)


@given(st.integers(0, len(LOG.submission(7, 13)) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(lasting: Witness, at: int, bits: int) -> None:
    data = bytearray(LOG.submission(7, 13))
    data[at] ^= bits
    assert lasting.add_checkpoint(bytes(data)).status in (400, 403, 404, 409, 422)


# --- whoever else is at work ------------------------------------------------------------------------------------------


def test_threads_that_offer_two_histories(tmp_path: Path) -> None:
    """Eight connections to one database: every two heads that were cosigned are of one history."""
    told: list[tuple[int, bytes]] = []
    barrier = threading.Barrier(8)

    def submit(number: int) -> None:
        log = LOG if number % 2 else FORK
        with Database.open(tmp_path) as database:
            witness = Witness(database, SIGNER, NAME, any_device=True)
            barrier.wait()
            for new in range(3, 12):
                old = read_heads(database)[0].size if read_heads(database) else 0
                if old <= new and witness.add_checkpoint(log.submission(old, new)).status == 200:
                    told.append((new, log.root(new)))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told
    histories = [{log.root(size) for size in range(3, 12)} for log in (LOG, FORK)]
    assert any({root for _, root in told} <= history for history in histories)


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    for old, new in ((0, 5), (5, 9)):
        with Database.open(tmp_path) as database:
            assert (
                Witness(database, SIGNER, NAME, any_device=True).add_checkpoint(LOG.submission(old, new)).status == 200
            )
    with Database.open(tmp_path) as database:
        assert Witness(database, SIGNER, NAME, any_device=True).add_checkpoint(FORK.submission(5, 9)) == conflict(9)
