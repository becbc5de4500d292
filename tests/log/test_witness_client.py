"""A device asks witnesses: honest ones, and such as say whatever they like."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from logs_of_others import KEY, ORIGIN, SomeLog
from memory_signer import MemorySigner

from verity.errors import FetchError, FormatError, LogError, SignatureError, UsageError, VerityError
from verity.log import witness_client
from verity.log.checkpoint import split
from verity.log.cosignature import check_cosignature, cosign
from verity.log.device_log import DeviceLog
from verity.log.note import COSIGNATURE, ED25519, Line, VerifierKey
from verity.log.published import PublishedHeads
from verity.log.submission import decode
from verity.log.witness import SIZE_TYPE, Witness
from verity.log.witness_client import MAX_ANSWER, ask, ask_all
from verity.log.witnesses import MAX_WITNESSES, Asked, Witnesses
from verity.publisher import Publisher
from verity.store.database import Database

SIGNER = MemorySigner(b"\x21" * 32)
NAME = "witness.example/w1"
VKEY = VerifierKey(NAME, COSIGNATURE, SIGNER.public)
LOG = SomeLog()
HEAD = LOG.head(9)
BODY = split(HEAD)[1].body

Told = tuple[int, dict[str, str], bytes]
Answering = Callable[[bytes], Told]


@contextlib.contextmanager
def answering(answer: Answering) -> Iterator[str]:
    """A server that answers whatever ``answer`` says to a request's body; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/w/add-checkpoint"
            status, headers, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/w"
        finally:
            server.shutdown()


def size_told(size: int) -> Told:
    return 409, {"Content-Type": SIZE_TYPE}, f"{size}\n".encode()


def asked_of(answer: Answering, old: int = 0, timeout_s: float = 5.0) -> Line:
    with answering(answer) as url:
        return ask(url, HEAD, LOG.proof, VKEY, old, timeout_s)


def honest(folder: Path) -> Answering:
    def answer(body: bytes) -> Told:
        with Database.open(folder) as database:
            said = Witness(database, SIGNER, NAME, any_device=True).add_checkpoint(body)
        return said.status, {"Content-Type": said.content_type}, said.body.encode()

    return answer


# --- an honest witness ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("known", "believed"), [(0, 0), (5, 5), (5, 0), (0, 5), (9, 9), (9, 0), (5, 40)])
def test_a_witness_that_knows_another_size_is_asked_again(tmp_path: Path, known: int, believed: int) -> None:
    answer = honest(tmp_path)
    if known:
        assert answer(LOG.submission(0, known))[0] == 200
    line = asked_of(answer, believed)
    assert abs(check_cosignature(line, VKEY, BODY) - time.time()) < 60


def test_a_witness_that_was_shown_another_history(tmp_path: Path) -> None:
    answer = honest(tmp_path)
    fork = SomeLog("forked", since=2)
    answer(fork.submission(0, 5))
    with pytest.raises(LogError, match="does not go on from the head"):
        asked_of(answer)
    answer(fork.submission(5, 9))
    with pytest.raises(LogError, match="knows another log of 9 entries"):
        asked_of(answer)


def test_a_log_that_was_cut_back(tmp_path: Path) -> None:
    answer = honest(tmp_path)
    answer(LOG.submission(0, 20))

    def prove(old: int, new: int) -> list[bytes]:
        if new > 9:
            raise UsageError("the log has 9 entries")
        return LOG.proof(old, new)

    with answering(answer) as url:
        with pytest.raises(LogError, match="cosigned 20 entries of this log, which has 9") as caught:
            ask(url, HEAD, prove, VKEY, 0)
        assert "verity restore" in caught.value.hint
        with pytest.raises(FetchError, match="a later head meanwhile"):  # another process of the device published it
            ask(url, HEAD, LOG.proof, VKEY, 0)


# --- such as say whatever they like -----------------------------------------------------------------------------------


def _line(**changed: object) -> bytes:
    return str(cosign(BODY, NAME, SIGNER, 1_800_000_000)._replace(**changed)).encode()  # type: ignore[arg-type]


GOOD = cosign(BODY, NAME, SIGNER, 1_800_000_000)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ((200, {}, b""), FormatError),
        ((200, {}, b"\xff"), FormatError),
        ((200, {}, b"ok\n"), FormatError),
        ((200, {}, _line(name="another")), FormatError),
        ((200, {}, _line(signature=GOOD.signature[:-1])), FormatError),
        ((200, {}, _line(signature=GOOD.signature[:8] + bytes(64))), SignatureError),
        ((200, {}, str(cosign(BODY + "x\n", NAME, SIGNER, 1)).encode()), SignatureError),
        ((200, {}, _line() * 17), FormatError),
        ((200, {}, b"x" * (MAX_ANSWER + 1)), FetchError),
        ((200, {"Content-Length": "1000"}, b"x"), FetchError),
        ((204, {}, b""), FetchError),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), FetchError),
        ((403, {}, b"no"), FetchError),
        ((404, {}, b"no"), FetchError),
        ((409, {}, b"5\n"), FetchError),
        ((409, {"Content-Type": SIZE_TYPE}, b"05\n"), FetchError),
        ((409, {"Content-Type": SIZE_TYPE}, b"5"), FetchError),
        (size_told(0), LogError),
        (size_told(5), LogError),
        ((422, {}, b"no"), LogError),
        ((500, {}, b"\x1b[2J\nno cosignature of another: it is down"), FetchError),
        ((503, {"Retry-After": "9"}, b"later"), FetchError),
    ],
)
def test_a_hostile_witness(told: Told, error: type[VerityError]) -> None:
    with pytest.raises(error) as caught:
        asked_of(lambda _: told)
    assert type(caught.value) is error
    assert caught.value.hint or error in (FormatError, SignatureError)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_sizes_that_change_with_every_answer_are_asked_about_twice() -> None:
    sizes = iter(range(1, 9))
    asked: list[int] = []

    def answer(body: bytes) -> Told:
        asked.append(decode(body).old)
        return size_told(next(sizes))

    with pytest.raises(LogError):
        asked_of(answer)
    assert asked == [0, 1]


def test_lines_of_other_keys_are_ignored() -> None:
    other = str(cosign(BODY, "another", MemorySigner(b"\x05" * 32), 1)).encode()
    assert asked_of(lambda _: (200, {}, other + _line())) == GOOD


def test_one_that_answers_a_byte_now_and_then_does_not_hold_the_others_up() -> None:
    def slow(body: bytes) -> Told:
        time.sleep(3)
        return 200, {}, b""

    with answering(slow) as first, answering(lambda _: (200, {}, _line())) as second:
        witnesses = [(Asked(first, VKEY), 0), (Asked(second, VKEY), 0)]
        begun = time.monotonic()
        outcomes = list(ask_all(witnesses, HEAD, LOG.proof, timeout_s=0.5))
    assert time.monotonic() - begun < 2.5
    assert [asked.url for asked, _ in outcomes] == [second, first]
    assert outcomes[0][1] == GOOD
    assert isinstance(outcomes[1][1], FetchError)


def test_nobody_there() -> None:
    with pytest.raises(FetchError, match="cannot be asked"):
        ask("http://127.0.0.1:9", HEAD, LOG.proof, VKEY, 0)


# --- publishing -------------------------------------------------------------------------------------------------------


def test_publishing_keeps_what_comes_and_asks_no_one_twice(log: DeviceLog, database: Database, tmp_path: Path) -> None:
    publisher = Publisher(database, log)
    assert len(split(publisher.publish().checkpoint)[1].lines) == 1
    calls: list[bytes] = []
    answer = honest(tmp_path / "w")
    (tmp_path / "w").mkdir()

    def counted(body: bytes) -> Told:
        calls.append(body)
        return answer(body)

    failed: list[str] = []

    def told(asked: Asked, outcome: Line | VerityError) -> None:
        if isinstance(outcome, VerityError):
            failed.append(asked.key.name)

    with answering(counted) as url:
        publisher.witnesses.add(url, VKEY)
        publisher.witnesses.add("http://127.0.0.1:9", VerifierKey("dead", COSIGNATURE, KEY.public))
        first = publisher.publish(told=told)
        assert publisher.publish(told=told) == first
        assert [line.name for line in split(first.checkpoint)[1].lines] == [log.origin, NAME]
        assert (len(calls), failed) == (1, ["dead", "dead"])
        assert publisher.witnesses.size(VKEY, log.origin) == 7
        assert publisher.publish(ask=None) == first


def test_a_line_that_is_there_stays(log: DeviceLog, database: Database) -> None:
    publisher = Publisher(database, log)
    head = publisher.publish()
    body = split(head.checkpoint)[1].body
    heads = PublishedHeads(database)
    for time_s in (50, 40, 60):
        heads.cosign(0, 7, cosign(body, NAME, SIGNER, time_s))
    [line] = split(heads.all(0)[0].checkpoint)[1].lines[1:]
    assert check_cosignature(line, VKEY, body) == 50
    with pytest.raises(LogError):
        heads.cosign(0, 8, cosign(body, NAME, SIGNER, 1))


def test_a_head_takes_no_more_lines_than_readers_do(log: DeviceLog, database: Database) -> None:
    """Witnesses that are asked no more leave their lines."""
    head = Publisher(database, log).publish()
    body, heads = split(head.checkpoint)[1].body, PublishedHeads(database)
    for number in range(MAX_WITNESSES):
        heads.cosign(0, 7, cosign(body, f"w{number}", SIGNER, 50))
    with pytest.raises(LogError, match="no more"):
        heads.cosign(0, 7, cosign(body, "one-more", SIGNER, 50))
    assert len(split(heads.all(0)[0].checkpoint)[1].lines) == MAX_WITNESSES + 1


def test_whom_one_can_ask(database: Database) -> None:
    witnesses = Witnesses(database)
    for url in (
        "http://w.example",
        "ftp://w.example",
        "https://",
        "w.example",
        "https://a:b@w.example",
        "https://w.example/?q",
    ):
        with pytest.raises(UsageError):
            witnesses.add(url, VKEY)
    with pytest.raises(UsageError, match="not the key of a witness"):
        witnesses.add("https://w.example", VerifierKey(ORIGIN, ED25519, KEY.public))
    assert witnesses.add("https://w.example/a/", VKEY) == Asked("https://w.example/a", VKEY)
    assert witnesses.add("https://w.example/b", VKEY) == witnesses.all()[0]
    for number in range(MAX_WITNESSES - 1):
        public = MemorySigner(bytes([number]) * 32).public
        witnesses.add("https://w.example", VerifierKey(f"n{number}", COSIGNATURE, public))
    with pytest.raises(UsageError, match="are asked already"):
        witnesses.add("https://w.example", VerifierKey("more", COSIGNATURE, KEY.public))
    assert witnesses.remove(NAME).key == VKEY
    with pytest.raises(UsageError):
        witnesses.remove("https://w.example")


def test_the_limit_is_that_of_the_specification() -> None:
    page = (Path(__file__).parents[2] / "spec/witness.md").read_text()
    assert f"{MAX_ANSWER >> 10} KiB and {witness_client.TIMEOUT_S:.0f} s" in page
