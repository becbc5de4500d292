"""Attacks by the device's owner on the log: forks, rewriting, places, and what a kept checkpoint does about them."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from forger import forge
from histories import head, leaves_of, replaced

import verity
from tamper import BUNDLE, HEADS, KEY_HOLDER, LIMIT, LOG, PROMPT, Result, World, row
from verity.errors import UsageError
from verity.log.checkpoint import Checkpoint, sign
from verity.log.tree import MemoryTree, hash_leaf
from verity.node import Node
from verity.recorder import inspect
from verity.statements.bundle import Bundle, LogPart, LogProof, Receipt
from verity.statements.dsse import Envelope, seal
from verity.statements.receipt import INTENT, RESULT, make_statement, read_statement, statement_digest
from verity.statements.strict import encode_base64
from verity.verify.logged import compare
from verity.verify.report import Check


@row("two-heads", KEY_HOLDER, HEADS, "signs two histories of one length", "consistent")
def _(world: World) -> Result:
    world.honest()
    leaves = leaves_of(world.node)
    return compare(head(world.node, leaves), head(world.node, [*leaves[:-1], bytes(32)]), world.node.key.id)


@row("two-heads-unseen", KEY_HOLDER, BUNDLE, "shows one history to each of two verifiers who never compare",
     f"{LIMIT}: unless witnesses must have cosigned (split-view); whoever compares checkpoints sees it")  # fmt: skip
def _(world: World) -> Result:
    bundle = world.honest()
    leaves = leaves_of(world.node)
    return world.verify(replaced(world.node, bundle, [*leaves, bytes(32)]))


@row("entry-dropped", KEY_HOLDER, LOG, "drops an entry from the log that he hands out", "log")
def _(world: World) -> Result:
    world.honest()
    world.honest()
    with world.node._database.transaction() as connection:
        connection.execute("DELETE FROM log_entries WHERE position = 2")
    return _log_check(world.node.log.check(None, inspect))


@row("entry-edited", KEY_HOLDER, LOG, "exchanges the statement behind an entry", "log")
def _(world: World) -> Result:
    world.honest()
    with world.node._database.transaction() as connection:
        (envelope,) = connection.execute("SELECT envelope FROM log_entries WHERE position = 2").fetchone()
        connection.execute("UPDATE log_entries SET envelope = ? WHERE position = 1", (envelope,))
    return _log_check(world.node.log.check(None, inspect))


@row("log-rewritten", KEY_HOLDER, LOG, "rewrites the whole log without an entry and signs it again; a checkpoint "
     "was kept", "log")  # fmt: skip
def _(world: World) -> Result:
    world.honest()
    kept = world.node.log.checkpoint()
    with world.node._database.transaction() as connection:
        for table in ("log_entries", "log_blocks", "log_heads"):
            connection.execute(f"DELETE FROM {table}")
    for _ in range(3):
        world.honest("Another question")
    return _log_check(world.node.log.check(kept, inspect))


def _log_check(problems: list[str]) -> Check:
    return Check("log", "failed" if problems else "passed", "; ".join(problems))


@row("log-cut", KEY_HOLDER, HEADS, "cuts entries off the end and shows a shorter log with a proof", "consistent")
def _(world: World) -> Result:
    bundle = world.honest()
    kept_leaves = [*leaves_of(world.node), bytes(32), bytes(31) + b"\1"]
    other = MemoryTree([*leaves_of(world.node), bytes(31) + b"\2"])
    from verity.log.tree import consistency_proof
    from verity.statements.bundle import Consistency

    shorter = sign(Checkpoint(world.node.log.origin, other.size, other.root), world.node.key)
    path = consistency_proof(other.size, 5, MemoryTree(kept_leaves).node)
    proof = Consistency(other.size, [h.hex() for h in path])
    assert bundle
    return compare(head(world.node, kept_leaves), shorter, world.node.key.id, proof)


@row("growth-withheld", KEY_HOLDER, HEADS, "rewrote the log and gives no proof that it grew from the kept one",
     "consistent not made")  # fmt: skip
def _(world: World) -> Result:
    world.honest()
    kept = world.node.log.checkpoint()
    return world.verify(world.honest(), checkpoint=kept)


@row("inserted-between", KEY_HOLDER, BUNDLE, "puts an entry between intent and result and hides it", "intent")
def _(world: World) -> Result:
    bundle = world.honest()
    intent, result = _statements(bundle)
    place = msgspec.structs.replace(result.predicate.log, previous="ab" * 32)
    return world.verify(_signed_anew(world.node, bundle, intent, _placed(result, place)))


@row("place-false", KEY_HOLDER, BUNDLE, "states another place than the entry has: an earlier one", "logged")
def _(world: World) -> Result:
    bundle = world.honest()
    intent, result = _statements(bundle)
    earlier = msgspec.structs.replace(intent.predicate.log, index=0)
    return world.verify(_signed_anew(world.node, bundle, _placed(intent, earlier), result))


@row("result-first", KEY_HOLDER, BUNDLE, "logs the result first and the intent when he knows what to intend", "intent")
def _(world: World) -> Result:
    bundle = world.honest()
    intent, result = _statements(bundle)
    first, second = intent.predicate.log, result.predicate.log
    return world.verify(_signed_anew(world.node, bundle, _placed(intent, second), _placed(result, first)))


@row("two-results", KEY_HOLDER, BUNDLE, "logs two results for one intent and shows the better one",
     f"{LIMIT}: it takes a scan of the log; with the verifier's nonce both would be the same")  # fmt: skip
def _(world: World) -> Result:
    bundle = world.honest(nonce=b"f" * 32)
    leaves = leaves_of(world.node)
    return world.verify(replaced(world.node, bundle, [*leaves, secrets.token_bytes(32)]))


@row(
    "result-twice",
    KEY_HOLDER,
    LOG,
    "asks his own device for a second answer under a nonce that was answered",
    "UsageError",
)
def _(world: World) -> Result:
    late = world.request(late=True)
    issued = world.reveal(late, world.node.promise(late))
    world.node.ask(request=issued)
    try:
        world.node.ask(request=issued)
    except UsageError as error:
        return error
    raise AssertionError("a second answer was given")


@row("nonce-twice", KEY_HOLDER, LOG, "collects several nonces for one request with several intents", "UsageError")
def _(world: World) -> Result:
    late = world.request(late=True)
    world.reveal(late, world.node.promise(late))
    try:
        world.reveal(late, world.node.promise(late))
    except UsageError as error:
        return error
    raise AssertionError("a second nonce was revealed")


@row(
    "aborted",
    KEY_HOLDER,
    LOG,
    "kills the process when he dislikes what it writes, and asks again",
    "aborted in the log",
)
def _(world: World) -> Result:
    begun = world.node.recorder.begin(_fields(world))
    begun.hold.release()  # as a process that died leaves it
    world.honest()
    rows = [kept for kept in world.node.exporter.receipts.all() if kept.id == begun.id]
    disclosure: Any = world.node.exporter.bundle(begun.id).disclosure
    finish = next(x.value for x in disclosure.result if x.field == "output/finish")
    assert rows[0].state == "done"
    return Check("aborted", "failed" if finish == "aborted" else "passed", "in the log")


def _fields(world: World) -> dict[str, Any]:
    from verity.request import check_asked, intent_fields, make_request

    loaded = world.node.load()
    request = make_request(loaded.engine, check_asked(PROMPT, sampling={}))
    return intent_fields(request, loaded.engine, loaded.model, loaded.numerics)


@row("log-foreign", KEY_HOLDER, BUNDLE, "signs a log under another origin; the policy lists origins", "logged")
def _(world: World) -> Result:
    return world.verify(forge(world.node), policy={"trust": {"origins": [f"verity/{world.node.key.id}/7"]}})


@row("second-log", KEY_HOLDER, BUNDLE, "keeps a second log in another home with a copy of the key, for the failures",
     f"{LIMIT}: the two share origin and sizes, so that witnesses or two kept checkpoints see it")  # fmt: skip
def _(world: World) -> Result:
    import shutil

    home = world.folder / "second"
    home.mkdir(mode=0o700)
    shutil.copy(world.node.home / "device.key", home / "device.key")
    with verity.open(home, engine=world.node.load().engine) as second:
        bundle = second.ask(PROMPT, max_tokens=5).bundle
    world.honest()
    check = compare(world.node.log.checkpoint(), bundle.log.checkpoint, world.node.key.id)
    assert check.status == "failed"  # whoever holds both heads has the proof
    return world.verify(bundle)


def _statements(bundle: Bundle) -> tuple[Any, Any]:
    receipt = bundle.receipt
    return read_statement(receipt.intent.payload_bytes(), INTENT), read_statement(
        receipt.result.payload_bytes(), RESULT
    )


def _placed(statement: Any, place: Any) -> Any:
    predicate = msgspec.structs.replace(statement.predicate, log=place)
    return msgspec.structs.replace(statement, predicate=predicate)


def _signed_anew(node: Node, bundle: Bundle, intent: Any, result: Any) -> Bundle:
    """Sign both statements as they are now, and log them where they say (or, if that cannot be, where they stood)."""
    first = seal(make_statement(INTENT, intent.predicate, intent.fields_digest()), node.key)
    predicate = msgspec.structs.replace(result.predicate, intent=statement_digest(first.payload_bytes()))
    second = seal(make_statement(RESULT, predicate, result.fields_digest()), node.key)
    leaves = leaves_of(node)
    salts = secrets.token_bytes(16), secrets.token_bytes(16)
    places = bundle.log.intent.index, bundle.log.result.index
    if intent.predicate.log.index > result.predicate.log.index:
        places = places[1], places[0]
    for at, envelope, salt in zip(places, (first, second), salts, strict=True):
        leaves[at] = hash_leaf(envelope.log_entry(salt))
    tree = MemoryTree(leaves)

    def proof(at: int, salt: bytes) -> LogProof:
        return LogProof(index=at, salt=encode_base64(salt), path=[h.hex() for h in tree.inclusion(at)])

    envelopes: tuple[Envelope, Envelope] = (first, second)
    log = LogPart(head(node, leaves), proof(places[0], salts[0]), proof(places[1], salts[1]))
    return msgspec.structs.replace(bundle, receipt=Receipt(*envelopes), log=log)
