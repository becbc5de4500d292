"""What is sent to a witness, what it answers, and evidence that a log signed two histories."""

from __future__ import annotations

import functools

from fuzz.target import Target, dump, scratch, vectors
from verity.errors import FormatError, ProofError, SignatureError, UsageError
from verity.identity.device_key import DeviceKey
from verity.log.checkpoint import split
from verity.log.cosignature import check_cosignature
from verity.log.evidence import check_fork, decode_fork
from verity.log.note import Line, parse_key, parse_lines
from verity.log.submission import decode, encode
from verity.log.witness import Witness
from verity.store.database import Database

_ANSWERS = {200, 400, 403, 404, 409, 422}


@functools.cache
def _witness() -> Witness:
    """It knows the log of the vectors from its first head on, and no other."""
    home = scratch() / "witness"
    home.mkdir()
    witness = Witness(Database.open(home), DeviceKey.load(home), any_device=True, most=1)
    assert witness.add_checkpoint(_requests()[0]).status == 200
    return witness


def _requests() -> list[bytes]:
    return [case["request"].encode() for case in vectors("witness")["requests"]]


def _submission(data: bytes) -> None:
    answer = _witness().add_checkpoint(data)
    assert answer.status in _ANSWERS, answer
    asked = decode(data)
    assert encode(asked.old, asked.proof, str(asked.note)) == data, "two texts for one request"
    if answer.status == 200:
        honest = {split(request.partition(b"\n\n")[2])[1].body for request in _requests() if b"other" not in request}
        assert asked.note.body in honest, "a head was cosigned that nobody signed"


def _answer(data: bytes) -> None:
    said = vectors("witness")["cosignature"]
    key = parse_key(said["vkey"])
    lines = [line for line in parse_lines(data.decode("utf-8", "surrogateescape")) if key.made(line)]
    for line in lines:
        check_cosignature(line, key, said["body"])
        assert line == _honest(), "a cosignature was forged"


def _honest() -> Line:
    return parse_lines(vectors("witness")["cosignature"]["line"])[0]


def _answer_seeds() -> list[bytes]:
    line = vectors("witness")["cosignature"]["line"]
    return [line.encode(), b"5\n", (line + line.replace("w1", "w2")).encode()]


def _fork(data: bytes) -> None:
    fork = decode_fork(data)
    check_fork(fork)
    bodies = {split(text)[1].body for text in fork.checkpoints}
    known = [{split(text)[1].body for text in case["fork"]["checkpoints"]} for case in _proven()]
    assert bodies in known, "a fork was proven of heads that nobody signed, or that agree"


def _proven() -> list[dict[str, dict[str, list[str]]]]:
    return [case for case in vectors("witness")["forks"] if case["error"] is None]


def _fork_seeds() -> list[bytes]:
    return [dump(case["fork"]) for case in vectors("witness")["forks"]]


TARGETS = [
    Target("submission", "requests to a witness", _submission, _requests, (FormatError,), max_bytes=8192),
    Target("cosignature", "a witness's answers", _answer, _answer_seeds, (FormatError, SignatureError), max_bytes=2048),
    Target(
        "fork", "evidence of a fork", _fork, _fork_seeds, (FormatError, SignatureError, ProofError, UsageError),
        structured=True,
    ),
]  # fmt: skip
