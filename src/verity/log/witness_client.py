"""Ask witnesses to cosign a head of this device's log: the client's side of C2SP tlog-witness; see spec/witness.md.

A witness is asked with the size that it is known to have cosigned last. If it says that it is another (409), it is
asked once more from there. Nothing that it says is believed but a cosignature that holds over this very head. If it
says that it knows more of the log than there is, either the log was cut back, by an old copy of the database for
instance, or the witness lies: the device does not go on as if nothing were.
"""

from __future__ import annotations

import hashlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from verity.errors import FetchError, FormatError, LogError, VerityError
from verity.log import note
from verity.log.checkpoint import Checkpoint, split
from verity.log.cosignature import check_cosignature
from verity.log.note import Line, Note, VerifierKey
from verity.log.submission import encode
from verity.log.witness import SIZE_TYPE
from verity.log.witnesses import Asked
from verity.store.specs import is_loopback

Prove = Callable[[int, int], Sequence[bytes]]
"""The consistency proof between two sizes of the log."""

TIMEOUT_S = 10.0
MAX_ANSWER = 16 << 10
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


class Reply(NamedTuple):
    status: int
    content_type: str
    body: bytes


def ask(url: str, checkpoint: str, prove: Prove, key: VerifierKey, old: int, timeout_s: float = TIMEOUT_S) -> Line:
    """The cosignature of one witness. ``old`` is the size that it is believed to have cosigned last.

    Raises FetchError when it cannot be reached or does not do it, LogError when it knows another log than this one,
    FormatError and SignatureError for an answer that is none.
    """
    [(_, outcome)] = ask_all([(Asked(url, key), old)], checkpoint, prove, timeout_s)
    if isinstance(outcome, VerityError):
        raise outcome
    return outcome


def ask_all(
    asked: Sequence[tuple[Asked, int]], checkpoint: str, prove: Prove, timeout_s: float = TIMEOUT_S
) -> Iterator[tuple[Asked, Line | VerityError]]:
    """Ask witnesses all at once; each with its cosignature, or with what went wrong, as they answer.

    Proofs are built, and answers judged, in the caller's thread. A witness has twice ``timeout_s`` at most.
    """
    head, said = split(checkpoint)
    replies: queue.Queue[tuple[Asked, int | None, Reply | VerityError]] = queue.Queue()
    waiting: dict[Asked, float] = {}

    def send(witness: Asked, old: int, tried: int | None) -> None:
        body = encode(old, prove(old, head.size), checkpoint)

        def run() -> None:
            replies.put((witness, tried, _post(f"{witness.url}/add-checkpoint", body, timeout_s)))

        waiting[witness] = time.monotonic() + timeout_s
        # Daemons: a server that answers a byte now and then must not hold the program up when it ends.
        threading.Thread(target=run, daemon=True, name="verity-witness").start()

    for witness, size in asked:
        old = size if size <= head.size else 0
        send(witness, old, old)
    while waiting:
        try:
            witness, tried, reply = replies.get(timeout=max(0.0, min(waiting.values()) - time.monotonic()))
        except queue.Empty:
            for late in [each for each, deadline in waiting.items() if deadline <= time.monotonic()]:
                del waiting[late]
                yield late, FetchError(f"the witness {late.key.name} took too long to answer", "try again later")
            continue
        if waiting.pop(witness, None) is None:
            continue
        outcome = _judge(reply, head, said, witness, tried, prove)
        if isinstance(outcome, int):
            send(witness, outcome, None)
        else:
            yield witness, outcome


def _judge(
    reply: Reply | VerityError, head: Checkpoint, said: Note, witness: Asked, tried: int | None, prove: Prove
) -> Line | VerityError | int:
    """The cosignature, what went wrong, or the size to begin from in a second try; ``tried`` is None after that."""
    if isinstance(reply, VerityError):
        return reply
    try:
        told = _size_told(reply, head, witness, tried, prove)
        return told if told is not None else _cosignature(reply, said, witness)
    except VerityError as error:
        return error


def _size_told(reply: Reply, head: Checkpoint, witness: Asked, tried: int | None, prove: Prove) -> int | None:
    match = _SIZE.fullmatch(reply.body)
    if reply.status != 409 or reply.content_type != SIZE_TYPE or match is None:
        return None
    size = int(match[1])
    if size > head.size:
        raise _ahead(size, head, witness, prove)
    if size == tried or tried is None:
        name = hashlib.sha256(head.origin.encode()).hexdigest()
        raise LogError(
            f"the witness {witness.key.name} knows another log of {size} entries under this log's name",
            f"ask its operator for the head that it cosigned: {witness.url}/heads/{name}",
        )
    return size


def _ahead(size: int, head: Checkpoint, witness: Asked, prove: Prove) -> VerityError:
    try:
        prove(head.size, size)
    except VerityError:
        return LogError(
            f"the witness {witness.key.name} says that it cosigned {size} entries of this log, which has {head.size}",
            "if this device's folder was put back to an earlier state, `verity restore` a backup: it opens a new epoch",
        )
    return FetchError(f"the witness {witness.key.name} has cosigned a later head meanwhile", "publish again")


def _cosignature(reply: Reply, said: Note, witness: Asked) -> Line:
    if reply.status == 422:
        raise LogError(
            f"the witness {witness.key.name} says that this log does not go on from the head that it cosigned",
            "run `verity log check`, and ask its operator for that head",
        )
    if reply.status != 200:
        given = reply.body[:200].decode("utf-8", "replace").strip()
        words = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in given)
        raise FetchError(
            f"the witness {witness.key.name} answers {reply.status}: {words}", _HINTS.get(reply.status, "try later")
        )
    try:
        text = reply.body.decode()
    except UnicodeError as error:
        raise FormatError(f"the witness {witness.key.name} does not answer in UTF-8") from error
    for line in note.parse_lines(text, "witness's answer"):
        if witness.key.made(line):
            check_cosignature(line, witness.key, said.body)
            return line
    raise FormatError(
        f"the answer of the witness {witness.key.name} has no line of its key",
        "ask its operator whether this is its key",
    )


_HINTS = {
    403: "it knows this log under another key: tell its operator this device's",
    404: "it does not know this log: give its operator what `verity log witness key` prints",
}


def _post(url: str, body: bytes, timeout_s: float) -> Reply | VerityError:
    """Send, and receive no more than MAX_ANSWER bytes, following nobody elsewhere; what went wrong is returned."""
    import httpx

    deadline = time.monotonic() + timeout_s
    headers = {"User-Agent": "verity", "Accept-Encoding": "identity", "Content-Type": "text/plain; charset=utf-8"}
    try:
        # A proxy has no business with loopback.
        trust_env = not is_loopback(httpx.URL(url).host)
        client = httpx.Client(headers=headers, timeout=timeout_s, trust_env=trust_env, follow_redirects=False)
        with client, client.stream("POST", url, content=body) as response:
            received = b""
            for data in response.iter_raw():
                received += data
                if len(received) > MAX_ANSWER or time.monotonic() > deadline:
                    return FetchError(f"{url[:200]} answers at too great length", "is it the address of a witness?")
            return Reply(response.status_code, response.headers.get("Content-Type", ""), received)
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError, OSError) as error:
        return FetchError(f"{url[:200]} cannot be asked: {error or type(error).__name__}", "try again later")
