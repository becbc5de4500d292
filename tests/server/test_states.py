"""States over HTTP: opened to the owner's key alone, kept or computed again; and that answers which share steps commit
to what each would have committed to alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from calling import BASE, CHAT
from in_process import REPLY, on
from served import OWNER

import verity
from verity import challenge
from verity.challenge import API_KEY_VARIABLE, KEY_HEADER, ServerStates
from verity.engines.scripted import ScriptedEngine
from verity.errors import FetchError, FormatError, UsageError
from verity.node import Node
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.serving import Serving, Settings
from verity.statements.bundle import Disclosure, decode_bundle, disclosure_key
from verity.statements.states import decode_states, encode_states

API_KEY = "the-key-of-programs"
LONG = "Why is the sky blue, and why is the evening sky red, and what of the green flash?"
NONCE = "5a" * 32


def with_server(home: Path, work: Callable[[httpx.AsyncClient], Awaitable[None]], engine: Any = None) -> None:
    engine = engine or ScriptedEngine(REPLY, sequences=4)
    serving = Serving(home, Settings(parallel=engine.sequences), engine=engine)

    async def main() -> None:
        await serving.start()
        try:
            transport = httpx.ASGITransport(make_app(serving, Rules(Keys(OWNER, API_KEY))))
            headers = {"Authorization": f"Bearer {OWNER}"}
            async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=60) as client:
                await work(client)
        finally:
            await serving.stop(0.0)

    asyncio.run(main())


async def asked(client: httpx.AsyncClient, text: str = LONG, **options: Any) -> list[str]:
    """The receipts of one request."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}], "temperature": 0.9, **options}
    reply = await client.post(CHAT, json=body, headers={"x-verity-nonce": NONCE})
    return list(reply.json()["verity"]["receipts"])


async def states_of(client: httpx.AsyncClient, receipt: str, segments: str, **headers: str) -> httpx.Response:
    return await client.get(f"/v1/receipts/{receipt}/states", params={"segments": segments}, headers=headers)


def test_states_are_opened_from_the_first_to_the_last_that_is_needed(home: Path) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        (receipt,) = await asked(client)
        for segments, count in (("0", 0), ("2", 2), ("1,3", 3), ("3,1,1", 3), ("0000", 0)):
            reply = await states_of(client, receipt, segments)
            assert reply.status_code == 200
            assert reply.headers["content-type"] == "application/octet-stream"
            assert reply.headers["cache-control"] == "no-store"
            assert len(decode_states(reply.content, receipt)) == count

    with_server(home, work)


def test_whoever_holds_the_full_disclosure_is_shown_them(home: Path) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        receipt, other = (await asked(client))[0], (await asked(client, "Another?"))[0]
        keys = {}
        for each in (receipt, other):
            bundle = decode_bundle((await client.get(f"/v1/receipts/{each}")).content)
            assert isinstance(bundle.disclosure, Disclosure)
            keys[each] = disclosure_key(bytes.fromhex(each), bundle.disclosure)
        caller = {"Authorization": f"Bearer {API_KEY}"}
        shown = await states_of(client, receipt, "1", **caller, **{KEY_HEADER: keys[receipt]})
        assert len(decode_states(shown.content, receipt)) == 1
        for wrong in (keys[other], "", "ab" * 32, "é" * 4):
            headers = {**caller, KEY_HEADER: wrong.encode("latin-1").decode("latin-1")}
            refused = await client.get(
                f"/v1/receipts/{receipt}/states",
                params={"segments": "1"},
                headers=[(n.encode(), v.encode("latin-1")) for n, v in headers.items()],
            )
            assert refused.status_code == 404
        unknown = await states_of(client, "f" * 32, "1", **caller, **{KEY_HEADER: keys[receipt]})
        assert unknown.status_code == 404

    with_server(home, work)


def test_a_disclosure_that_withholds_something_has_no_key(home: Path) -> None:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        receipt = node.ask("Why?", max_tokens=4).receipt
        part = node.exporter.bundle(receipt, verity.Selection(output=True))
    with pytest.raises(FormatError, match="withheld"):
        ServerStates("http://localhost:1", part)
    with pytest.raises(UsageError, match="opens nothing"):
        ServerStates("http://localhost:1", msgspec.structs.replace(part, disclosure=msgspec.UNSET))


def test_only_the_owners_key_opens_them_without_it(home: Path) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        (receipt,) = await asked(client)
        for key, status in ((API_KEY, 403), ("another-key-that-is-none", 401), (OWNER, 200)):
            reply = await states_of(client, receipt, "1", Authorization=f"Bearer {key}")
            assert reply.status_code == status
            assert (b"verity-states" in reply.content) == (status == 200)
        missing = await states_of(client, "f" * 32, "1", Authorization=f"Bearer {API_KEY}")
        assert missing.status_code == 403  # whether there is one is not told

    with_server(home, work)


@pytest.mark.parametrize(
    "segments",
    [
        "",
        ",",
        "1,",
        ",1",
        "1,,2",
        "-1",
        "+1",
        "1.5",
        " 1",
        "1 2",
        "x",
        "0x1",
        "1e3",
        "\u0661",
        "1;2",
        "1" * 9,
        "1," * 5000 + "1",
    ],
)
def test_numbers_that_are_none(segments: str, home: Path) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        reply = await states_of(client, "a" * 32, segments)
        assert reply.status_code == 400, reply.text
        assert "error" in reply.json()

    with_server(home, work)


def test_receipts_that_have_none(home: Path) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        for receipt, status in (("a" * 32, 404), ("A" * 32, 400), ("a" * 31, 400)):
            assert (await states_of(client, receipt, "1")).status_code == status
        (receipt,) = await asked(client)
        assert (await client.get(f"/v1/receipts/{receipt}/states")).status_code == 400
        with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
            node.recorder.forget([receipt])
        assert (await states_of(client, receipt, "1")).status_code == 404

    with_server(home, work)


# --- what is committed ------------------------------------------------------------------------------------------------


def committed(bundle: Any) -> tuple[Any, ...]:
    """What does not depend on the receipt's own salts and id."""
    plain = json.loads(bundle) if isinstance(bundle, bytes) else bundle
    field = next(line["value"] for line in plain["disclosure"]["result"] if line["field"] == "output/segments")
    tokens = [token["id"] for token in plain["disclosure"]["tokens"]]
    opened = [(segment["state"], segment.get("grammar", "")) for segment in plain["disclosure"]["segments"]]
    return field["count"], field["encoding"], field["size"], tokens, opened


def alone(node: Node, text: str, **options: Any) -> tuple[Any, ...]:
    given: dict[str, Any] = {"model": "scripted", "temperature": 0.9, "nonce": bytes.fromhex(NONCE), **options}
    return committed(node.ask(text, **given).bundle.encode())


TEXTS = [LONG, LONG + " And why?", LONG[:50], LONG.replace("sky", "sea"), "Why?", LONG]


def test_answers_that_share_steps_commit_to_what_each_would_alone(home: Path, tmp_path: Path) -> None:
    """More requests than slots, with a common beginning: it is copied, kept, and cut back."""
    served: list[tuple[Any, ...]] = []

    async def work(client: httpx.AsyncClient) -> None:
        receipts = await asyncio.gather(*[asked(client, text) for text in TEXTS])
        again = await asked(client, LONG)  # its prompt is in memory already
        for (receipt,) in [*receipts, again]:
            served.append(committed((await client.get(f"/v1/receipts/{receipt}")).content))

    with_server(home, work)
    with verity.open(tmp_path / "alone", engine=ScriptedEngine(REPLY)) as node:
        assert served == [alone(node, text) for text in [*TEXTS, LONG]]


def test_several_choices_and_cut_answers_pass_a_spot_check(home: Path) -> None:
    receipts: list[str] = []

    async def work(client: httpx.AsyncClient) -> None:
        receipts.extend(await asked(client, n=3))
        receipts.extend(await asked(client, max_tokens=1))
        receipts.extend(await asked(client, stop=["more"]))

    with_server(home, work)
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        for receipt in receipts:
            report = verity.verify(
                node.exporter.bundle(receipt),
                spot=99,
                states=node.states,
                home=home,
                replayer=on(ScriptedEngine(REPLY)),
            )
            assert report.check("spot-checked").status == "passed", str(report)


@pytest.mark.slow
@pytest.mark.model
def test_the_real_model_commits_to_the_same_in_a_batch_and_alone(model_home: Path, model_node: Node) -> None:
    """What was evicted is computed again, apart from the answers, and is the same."""
    served: list[tuple[Any, ...]] = []
    model = {"model": "smollm2-135m-instruct", "max_tokens": 20}

    async def main() -> None:
        serving = Serving(model_home, Settings(parallel=3, threads=1))
        await serving.start()
        try:
            transport = httpx.ASGITransport(make_app(serving, Rules(Keys(OWNER))))
            headers = {"Authorization": f"Bearer {OWNER}"}
            async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=300) as client:
                receipts = await asyncio.gather(*[asked(client, text, **model) for text in TEXTS[:4]])
                for (receipt,) in receipts:
                    served.append(committed((await client.get(f"/v1/receipts/{receipt}")).content))
                kept = await states_of(client, receipt, "2")
                (model_home / "states" / receipt).unlink()
                again = await states_of(client, receipt, "2")
                assert again.status_code == 200
                assert again.content == kept.content
        finally:
            await serving.stop(0.0)

    asyncio.run(main())
    assert served == [alone(model_node, text, **model) for text in TEXTS[:4]]


# --- asking for them --------------------------------------------------------------------------------------------------


class Replies(httpx.BaseTransport):
    """A server that answers as it is told to."""

    def __init__(self, status: int, content: bytes = b"") -> None:
        self.reply = httpx.Response(status, content=content)
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.reply


def asking(monkeypatch: pytest.MonkeyPatch, replies: Replies, address: str = BASE) -> ServerStates:
    monkeypatch.setattr(httpx, "stream", lambda *a, **k: httpx.Client(transport=replies).stream(*a, **k))
    with verity.open(engine=ScriptedEngine(REPLY)) as node:
        return ServerStates(f"{address}/", node.ask("Why?", max_tokens=4).bundle)


def test_a_challenge_names_the_segments_and_shows_the_disclosure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "k" * 20)
    replies = Replies(200, encode_states("a" * 32, [b"one", b"two"]))
    assert asking(monkeypatch, replies)("a" * 32, [0, 2]) == [b"one", b"two"]
    (request,) = replies.seen
    assert str(request.url) == f"{BASE}/v1/receipts/{'a' * 32}/states?segments=0%2C2"
    assert request.headers["authorization"] == "Bearer " + "k" * 20
    assert len(bytes.fromhex(request.headers[KEY_HEADER])) == 32


def test_the_address_may_be_as_the_server_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = Replies(410)
    asking(monkeypatch, replies, f"{BASE}/v1")("a" * 32, [1])
    assert replies.seen[0].url.path == f"/v1/receipts/{'a' * 32}/states"


def test_states_do_not_travel_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="in clear"):
        asking(monkeypatch, Replies(200), "http://example.org")
    asking(monkeypatch, Replies(200), "https://example.org")


def test_a_server_that_opens_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asking(monkeypatch, Replies(410))("a" * 32, [1]) == []


@pytest.mark.parametrize("status", [204, 301, 401, 403, 404, 429, 500, 503])
def test_a_server_that_says_something_else_was_not_asked(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError) as caught:
        asking(monkeypatch, Replies(status))("a" * 32, [1])
    assert caught.value.hint


def test_a_server_that_drips_or_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = Replies(200, encode_states("a" * 32, [b"one" * 100]))
    monkeypatch.setattr(challenge, "_LIMIT_S", -1.0)
    with pytest.raises(FetchError, match="takes more than"):
        asking(monkeypatch, replies)("a" * 32, [1])
    monkeypatch.setattr(challenge, "_LIMIT_S", 60.0)
    monkeypatch.setattr(challenge, "MAX_STATES_BYTES", 100)
    with pytest.raises(FormatError, match="more than 100 bytes"):
        asking(monkeypatch, Replies(200, b"x" * 101))("a" * 32, [1])
