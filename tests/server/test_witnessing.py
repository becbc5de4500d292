"""A witness over HTTP, in this process (its application) and in processes of its own."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from crashing import DEAD
from crashing import __file__ as crashing
from logs_of_others import ORIGIN, SomeLog
from witness_command import Running, witnessing

from verity.log.checkpoint import split
from verity.log.cosignature import check_cosignature
from verity.log.note import parse_key, parse_lines
from verity.log.submission import MAX_BYTES
from verity.server import witnessing as module
from verity.server.traffic import Traffic
from verity.server.witnessing import Desk, WitnessApp

LOG, FORK = SomeLog(), SomeLog("forked", since=2)
HEADS = f"/heads/{hashlib.sha256(ORIGIN.encode()).hexdigest()}"


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    home.mkdir()
    opened = Desk(home, "witness.example/w1", any_device=True)
    yield opened
    opened.close()


def send(
    desk: Desk, *requests: httpx.Request, prefix: str = "", traffic: Traffic | None = None
) -> list[httpx.Response]:
    """The answers to requests that are all made at once."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(WitnessApp(desk, traffic or Traffic(), prefix))
        async with httpx.AsyncClient(transport=transport, base_url="http://w") as client:
            return await asyncio.gather(*map(client.send, requests))

    return asyncio.run(run())


def post(body: bytes, path: str = "/add-checkpoint", **headers: str) -> httpx.Request:
    return httpx.Request("POST", f"http://w{path}", content=body, headers=headers)


def get(path: str, method: str = "GET") -> httpx.Request:
    return httpx.Request(method, f"http://w{path}")


def test_what_is_answered(desk: Desk) -> None:
    cosigned, again, conflict = (send(desk, post(LOG.submission(*sizes)))[0] for sizes in ((0, 5), (5, 5), (0, 5)))
    assert (cosigned.status_code, cosigned.text) == (200, again.text)
    assert cosigned.headers["content-type"] == "text/plain; charset=utf-8"
    [line] = parse_lines(cosigned.text)
    check_cosignature(line, desk.key, split(LOG.head(5))[1].body)
    assert (conflict.status_code, conflict.text, conflict.headers["content-type"]) == (409, "5\n", "text/x.tlog.size")
    head, key, health = send(desk, get(HEADS), get("/key"), get("/health"))
    assert head.text == LOG.head(5) + cosigned.text
    assert parse_key(key.text.strip()) == desk.key
    assert (health.status_code, health.text) == (200, "ok\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/add-checkpoint"), 405), (post(b"", "/health"), 405), (get("/nothing"), 404),
        (get("/heads/" + "0" * 64), 404),
        (get("/heads/xyz"), 404), (get("/w/health"), 404), (post(b"x" * (MAX_BYTES + 1)), 413), (post(b""), 400),
        (post(LOG.submission(0, 5), Origin="https://page.example"), 403), (get("/health", "HEAD"), 200),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_refused(desk: Desk, request_: httpx.Request, status: int) -> None:
    [answer] = send(desk, request_)
    assert answer.status_code == status
    assert send(desk, get(HEADS))[0].status_code == 404


def test_a_prefix(desk: Desk) -> None:
    inside, outside = send(desk, get("/w/health"), get("/health"), prefix="/w/")
    assert (inside.status_code, outside.status_code) == (200, 404)


def test_a_server_that_ends_takes_nothing_new(desk: Desk) -> None:
    traffic = Traffic()
    traffic.closing = True
    [answer] = send(desk, post(LOG.submission(0, 5)), traffic=traffic)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_when_too_much_waits_the_rest_is_told_to_come_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    answers = send(desk, *(post(LOG.submission(0, 5)) for _ in range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 409, 409, 503, 503, 503]
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)


def test_a_body_that_does_not_come(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_TIME_S", 0.05)

    async def body() -> object:
        yield b"old 0\n"
        await asyncio.sleep(5)

    [answer] = send(desk, httpx.Request("POST", "http://w/add-checkpoint", content=body()))  # type: ignore[arg-type]
    assert answer.status_code == 408


# --- in processes of their own ----------------------------------------------------------------------------------------


def submit(running: Running, body: bytes) -> tuple[int, str]:
    answer = httpx.post(f"{running.url}/add-checkpoint", content=body, trust_env=False, verify=False)
    return answer.status_code, answer.text


def test_two_processes_of_one_witness_never_cosign_two_histories(tmp_path: Path) -> None:
    told: list[tuple[int, bytes]] = []
    with witnessing(tmp_path, "--any-device") as first, witnessing(tmp_path, "--any-device") as second:
        assert first.vkey == second.vkey

        def offer(running: Running, log: SomeLog) -> None:
            for new in range(3, 15):
                _, size = submit(running, log.submission(1, new))  # tells the size, or is lucky
                old = int(size) if size.strip().isdecimal() else 0
                if old <= new and submit(running, log.submission(old, new))[0] == 200:
                    told.append((new, log.root(new)))

        pairs = [(running, log) for running in (first, second) for log in (LOG, FORK)]
        threads = [threading.Thread(target=offer, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    histories = [{log.root(size) for size in range(3, 15)} for log in (LOG, FORK)]
    assert told
    assert any({root for _, root in told} <= history for history in histories)


@pytest.mark.parametrize("when", [pytest.param("before", marks=pytest.mark.slow), "after"])
def test_killed_at_the_commit_it_has_told_nobody_and_goes_on_with_one_history(tmp_path: Path, when: str) -> None:
    """Between keeping a head and answering: who asked heard nothing, and what was kept binds."""
    dying = (crashing, f"witness.add_checkpoint/commit/{when}", "--")
    with witnessing(tmp_path, "--any-device", command=dying) as running:
        with pytest.raises(httpx.TransportError):
            submit(running, LOG.submission(0, 5))
        assert running.process.wait(timeout=30) == DEAD
    with witnessing(tmp_path, "--any-device") as running:
        if when == "after":
            assert submit(running, FORK.submission(0, 5)) == (409, "5\n")
            assert submit(running, FORK.submission(5, 5)) == (409, "5\n")
            status, line = submit(running, LOG.submission(5, 5))
        else:
            status, line = submit(running, LOG.submission(0, 5))
        assert status == 200
        check_cosignature(parse_lines(line)[0], parse_key(running.vkey), split(LOG.head(5))[1].body)


def test_a_connection_that_asks_nothing_holds_nobody_up(tmp_path: Path) -> None:
    with witnessing(tmp_path, "--any-device", "--prefix", "/w") as running:
        address = httpx.URL(running.url)
        assert address.port is not None
        with socket.create_connection((address.host, address.port)):
            assert submit(running, LOG.submission(0, 5))[0] == 200


def test_wrong_usage(tmp_path: Path) -> None:
    from command import verity

    assert verity("witness", "serve", "--prefix", "w", "--name", "a", home=tmp_path).returncode == 2
