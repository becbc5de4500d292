"""A device for seeds: it signs with the key of the published vectors, so that bundles of edited content still hold.

``lie`` is what a device does that commits to whatever it likes: fields, tokens and statements are taken from a plan,
then committed, signed and logged without a fault. What verification makes of the content is thereby reached.
"""

from __future__ import annotations

import copy
import functools
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.target import vectors
from verity.errors import FormatError
from verity.identity.device_key import DeviceKey
from verity.log.checkpoint import Checkpoint, sign
from verity.log.tree import MemoryTree, hash_leaf
from verity.statements.bundle import Bundle, Disclosure, LogPart, LogProof, Receipt, TokenOpening
from verity.statements.commitments import (
    TOKEN_FIELD,
    Opening,
    commit_token,
    decode_salt,
    derive_salt,
    digest_fields,
    open_all,
)
from verity.statements.dsse import Envelope, seal
from verity.statements.receipt import (
    EMBEDDING,
    EMBEDDING_INTENT_FIELDS,
    INTENT,
    RESULT,
    SCORING,
    SCORING_INTENT_FIELDS,
    Message,
    Place,
    Predicate,
    input_field,
    make_statement,
    statement_digest,
)
from verity.statements.request import CanonicalRequest, IntentName, issue
from verity.statements.strict import decode_base64, encode_base64

_ID = bytes.fromhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf")
_SECRET = bytes(range(32))
_SALT = encode_base64(bytes(16))
Plan = dict[str, Any]


@functools.cache
def key() -> DeviceKey:
    """The device of the vectors (RFC 8032, section 7.1, TEST 1)."""
    return DeviceKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors("receipt")["seed"])))


@functools.cache
def issuer() -> DeviceKey:
    """Whoever asks."""
    return DeviceKey(Ed25519PrivateKey.from_private_bytes(b"i" * 32))


def plan() -> Plan:
    """The published receipt as what there is to commit to."""
    whole = vectors("receipt")["bundle"]["disclosure"]
    parts = {
        part: {line["field"]: copy.deepcopy(line["value"]) for line in whole[part]} for part in ("intent", "result")
    }
    parts["result"].pop(TOKEN_FIELD)
    tokens = [[token["id"], token["piece"]] for token in whole["tokens"]]
    return {**parts, "tokens": tokens, "shown": ["model"], "kind": "generation", "critical": []}


def embedding_plan() -> Plan:
    """The same of a receipt of the other kind: two texts, each with a vector of two numbers."""
    plain = plan()
    kept = {name: value for name, value in plain["intent"].items() if name in EMBEDDING_INTENT_FIELDS}
    texts = {input_field(i): {"type": "text", "role": "user", "content": text} for i, text in enumerate("ab")}
    kept |= {"prompt_tokens": [[1], [2, 3]], "pooling": "mean", "normalisation": "l2", **texts}
    vectors = [encode_base64(struct.pack("<2f", *numbers)) for numbers in ((0.6, 0.8), (1.0, 0.0))]
    said = {"output/embeddings": vectors, "output/finish": "end", "time/finished": plain["result"]["time/finished"]}
    return {**plain, "kind": EMBEDDING, "intent": kept, "result": said, "tokens": []}


def scoring_plan() -> Plan:
    """The same of a receipt that scores: three tokens, of which the last is a given answer, and a candidate."""
    plain = plan()
    kept = {name: value for name, value in plain["intent"].items() if name in SCORING_INTENT_FIELDS}
    text = {input_field(0): {"type": "text", "role": "user", "content": "ab"}}
    kept |= {"prompt_tokens": [1, 2, 3], "continuation": {"start": 2, "text": "c"}, "template": None, "top": 1, **text}
    said = {
        "output/candidates": [{"logprob": -0.5, "piece": "YQ==", "token": 1}],
        "output/finish": "end",
        "output/logits": "ab" * 32,
        "output/logprobs": [-1.5, -2],
        "time/finished": plain["result"]["time/finished"],
    }
    return {**plain, "kind": SCORING, "intent": kept, "result": said, "tokens": []}


def lie(made_up: Plan) -> Bundle:
    """The bundle of a plan, every commitment, signature and proof in order. Raises VerityError where there is none."""
    origin = f"verity/{key().id}/0"
    tokens = _tokens(made_up["tokens"])
    leaves = [hash_leaf(_leaf(token)) for token in tokens]
    root = {TOKEN_FIELD: {"count": len(tokens), "root": MemoryTree(leaves).root.hex()}}
    if made_up["kind"] in (EMBEDDING, SCORING):
        root = {}
    before = hash_leaf(b"the entry before")
    lines, intent = _signed(made_up, INTENT, made_up["intent"], Place(origin, 1, before.hex()))
    first = hash_leaf(intent.log_entry(decode_salt(_SALT)))
    name = statement_digest(intent.payload_bytes())
    said, result = _signed(made_up, RESULT, root | made_up["result"], Place(origin, 2, first.hex()), intent=name)
    tree = MemoryTree([before, first, hash_leaf(result.log_entry(decode_salt(_SALT)))])
    checkpoint = sign(Checkpoint(origin, tree.size, tree.root), key())
    proofs = [LogProof(index=i, salt=_SALT, path=[h.hex() for h in tree.inclusion(i)]) for i in (1, 2)]
    return Bundle(
        receipt=Receipt(intent=intent, result=result),
        log=LogPart(checkpoint=checkpoint, intent=proofs[0], result=proofs[1]),
        disclosure=Disclosure(intent=lines, result=said, tokens=tokens),
    )


def _signed(
    made_up: Plan, kind: str, fields: dict[str, Any], place: Place, **named: str
) -> tuple[list[Opening], Envelope]:
    openings = open_all(_SECRET, fields)
    shown = [line for line in openings if line.field in made_up["shown"]]
    predicate = Predicate(
        id=_ID.hex(), kind=made_up["kind"], log=place, critical=made_up["critical"], shown=shown, **named
    )
    return openings, seal(make_statement(kind, predicate, digest_fields(_ID, openings)), key())


def _tokens(listed: list[Any]) -> list[TokenOpening]:
    salts = [encode_base64(derive_salt(_SECRET, TOKEN_FIELD, index)) for index in range(len(listed))]
    return [
        TokenOpening(id=number, index=index, piece=piece, salt=salts[index])
        for index, (number, piece) in enumerate(listed)
    ]


def _leaf(token: TokenOpening) -> bytes:
    if not 0 <= token.id < 1 << 32:
        raise FormatError("a token's id is out of range")
    return commit_token(_ID, token.index, decode_salt(token.salt), token.id, decode_base64(token.piece, "piece"))


def canonical_request() -> CanonicalRequest:
    """What the published receipt could be the answer to."""
    fields = plan()["intent"]
    return CanonicalRequest(
        adapters=[],
        choices=1,
        clock="2026-01-02T03:04:05Z",
        context_size=4096,
        grammar=None,
        max_tokens=256,
        messages=[Message("system", "Answer in one sentence."), Message("user", "Why is the sky blue?")],
        model=fields["model"]["blake3"],
        sampling={name[9:]: value for name, value in fields.items() if name.startswith("sampling/")},
        stops=["\n"],
        tools=[],
    )


def request(*, late: bool = False, named: IntentName | None = None) -> Envelope:
    """A signed request of ``issuer``: with a nonce, ``late`` without one, or with the intent that it was told for."""
    nonce = bytes.fromhex(plan()["intent"]["nonce"]["hex"])
    return issue(bytes(range(16)), bytes(16), canonical_request(), issuer(), None if late else nonce, named)
