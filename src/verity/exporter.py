"""Hands receipts out: the bundle of a finished receipt with as much of it opened as its owner chooses, never more.

What is not chosen travels as a commitment, so that a reader sees *that* it was withheld; with nothing chosen there is
no disclosure at all, and a reader does not even learn how many messages there were.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from verity.elements import token_tree
from verity.errors import LogError, ProofError, UsageError
from verity.log.checkpoint import open_checkpoint
from verity.log.device_log import DeviceLog
from verity.log.note import parse
from verity.log.published import Published, PublishedHeads
from verity.log.rows import HINT
from verity.log.tree import check_inclusion, hash_leaf
from verity.recorder import read_entry
from verity.statements.bundle import (
    Bundle,
    Consistency,
    Disclosure,
    LogPart,
    LogProof,
    Receipt,
    SegmentOpening,
    SignedIntent,
    StepOpening,
    TokenOpening,
    disclosure_key,
)
from verity.statements.commitments import SEGMENT_FIELD, TOKEN_FIELD, Opening, derive_salt, open_all, withhold
from verity.statements.dsse import Envelope
from verity.statements.hardware import decode_proof
from verity.statements.receipt import INFERENCE, INPUT_PREFIX, SEED_FIELDS, input_field
from verity.statements.segments import NO_GRAMMAR
from verity.statements.steps import STEP_FIELD
from verity.statements.strict import encode_base64
from verity.steps import open_steps
from verity.store.database import Database
from verity.store.receipts import Kept, Private, Receipts
from verity.store.steps import Steps

_OUTPUT = frozenset({
    "output/candidates", "output/embeddings", "output/finish", "output/logits", "output/logprobs", "output/text",
    STEP_FIELD, TOKEN_FIELD,
})  # fmt: skip
_LOOKED_AT = 64
"""Published heads, from the first that counts an entry on: a later one says less about time."""
_TELLS_THE_PROMPT = ("prompt_tokens",)
_OF_SCORES = frozenset({"output/candidates", "output/logits", "output/logprobs"})


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What to open: ``everything``; or the messages of these numbers (from 0), the output (``True``, or tokens or steps
    from ``start`` up to ``stop``), and the fields that these names or patterns (``sampling/*``) fit. Of a session,
    which may have more steps than a bundle can hold: every field, and the ``steps`` from ``start`` up to ``stop``."""

    everything: bool = False
    messages: Sequence[int] = ()
    output: bool | tuple[int, int] = False
    fields: Sequence[str] = ()
    steps: tuple[int, int] | None = None

    @property
    def nothing(self) -> bool:
        return self == Selection()


class _Head(NamedTuple):
    """A signed head with the cosignatures that it has, and the TPM's word for it, if there is one."""

    checkpoint: str
    hardware: bytes | None


EVERYTHING = Selection(everything=True)
NOTHING = Selection()


class Exporter:
    """The bundles of one device's receipts. ``log`` is the present one, ``log_of`` opens that of an epoch."""

    def __init__(self, database: Database, log: DeviceLog, log_of: Callable[[int], DeviceLog]) -> None:
        self._log = log
        self._log_of = log_of
        self._published = PublishedHeads(database)
        self.receipts = Receipts(database)
        self._steps = Steps(database.path.parent)

    def bundle(self, receipt_id: str, selection: Selection = EVERYTHING, since: str | None = None) -> Bundle:
        """The bundle of a finished receipt, under the published head that most witnesses cosigned, or else its log's
        present one. ``since`` is a checkpoint that the reader holds: the bundle then shows that the log only grew.

        Raises UsageError for a receipt, message, range or field that there is not, a receipt that was forgotten or has
        no result, or more steps than a bundle can hold; LogError when what is kept is damaged; FormatError for a
        checkpoint that is none.
        """
        kept = self.receipts.get(receipt_id)
        if kept.result_position is None:
            raise UsageError(
                f"receipt {kept.id} has an intent and no result",
                "it waits for a nonce, is being written, or was given up",
            )
        log = self._log_of(kept.epoch)
        disclosure: Disclosure | msgspec.UnsetType = msgspec.UNSET
        if not selection.nothing:
            disclosure = _disclose(kept, *self.receipts.private(kept), selection, self._steps)
        indices = (kept.intent_position, kept.result_position)
        head, paths = self._proofs(log, indices)
        intent, result = (self._entry(log, index, paths[index]) for index in indices)
        grown = self._grown(log, since, head.checkpoint) if since is not None else msgspec.UNSET
        quote = decode_proof(head.hardware) if head.hardware is not None else msgspec.UNSET
        part = LogPart(head.checkpoint, intent[1], result[1], consistency=grown, hardware=quote)
        return Bundle(receipt=Receipt(intent[0], result[0]), log=part, disclosure=disclosure)

    def intent(self, receipt_id: str) -> SignedIntent:
        """The signed, logged intent alone, for whoever will then reveal a nonce. Raises UsageError, LogError."""
        kept = self.receipts.get(receipt_id)
        envelope, checkpoint, proof = self._proven(self._log_of(kept.epoch), kept.intent_position)
        return SignedIntent(intent=envelope, checkpoint=checkpoint, proof=proof)

    def disclosure_key(self, receipt_id: str) -> str:
        """What whoever holds this receipt's full disclosure can show (statements/bundle.py). Raises UsageError."""
        kept = self.receipts.get(receipt_id)
        disclosure = _disclose(kept, *self.receipts.private(kept), EVERYTHING, self._steps)
        return disclosure_key(bytes.fromhex(kept.id), disclosure)

    def statement(self, index: int, epoch: int | None = None) -> tuple[Envelope, str, LogProof]:
        """An entry of the present log, or of an earlier epoch: its envelope, the checkpoint, and the proof. Raises
        UsageError, LogError."""
        return self._proven(self._log if epoch is None else self._log_of(epoch), index)

    def _proven(self, log: DeviceLog, index: int) -> tuple[Envelope, str, LogProof]:
        head, paths = self._proofs(log, [index])
        envelope, proof = self._entry(log, index, paths[index])
        return envelope, head.checkpoint, proof

    def _proofs(self, log: DeviceLog, indices: Sequence[int]) -> tuple[_Head, dict[int, list[bytes]]]:
        """Of the published heads that count these entries, the one that most witnesses cosigned, of these one with a
        TPM's quote, and of these the earliest: its times say most. The log's present head while none is published. With
        the paths under it."""
        published = self._published.all(log.epoch, max(indices) + 1, _LOOKED_AT)
        if not published:
            checkpoint, paths = log.proofs(indices)
            return _Head(checkpoint, None), paths

        def worth(head: Published) -> tuple[int, bool, int]:
            return len(parse(head.checkpoint).lines), head.hardware is not None, -head.size

        best = max(published, key=worth)
        return _Head(best.checkpoint, best.hardware), {index: self._path(log, index, best) for index in indices}

    def _path(self, log: DeviceLog, index: int, head: Published) -> list[bytes]:
        path = log.prove(index, head.size)
        signed = open_checkpoint(head.checkpoint, log.public)
        try:
            check_inclusion(index, signed.size, hash_leaf(log.entry(index).entry), path, signed.root)
        except ProofError as error:
            raise LogError(f"the published head of {head.size} entries is not of this log: {error}", HINT) from error
        return path

    @staticmethod
    def _entry(log: DeviceLog, index: int, path: list[bytes]) -> tuple[Envelope, LogProof]:
        stored = log.entry(index)
        envelope, _ = read_entry(stored)
        assert stored.salt is not None
        return envelope, LogProof(index=index, salt=encode_base64(stored.salt), path=[h.hex() for h in path])

    def _grown(self, log: DeviceLog, since: str, checkpoint: str) -> Consistency:
        old = open_checkpoint(since, log.public)
        if old.origin != log.origin:
            raise UsageError(
                f"the checkpoint is of the log {old.origin}, the receipt is in {log.origin}", "see `verity device`"
            )
        first, second = sorted((old.size, open_checkpoint(checkpoint, log.public).size))
        return Consistency(size=first, path=[h.hex() for h in log.prove_consistency(first, second)])


def _disclose(kept: Kept, secret: bytes, private: Private, selection: Selection, steps: Steps) -> Disclosure:
    receipt_id = bytes.fromhex(kept.id)
    chosen = _chosen(private, selection)

    def lines(openings: list[Opening]) -> list[Opening]:
        return [line if line.field in chosen else withhold(receipt_id, line) for line in openings]

    return Disclosure(
        intent=lines(open_all(secret, private.intent)),
        result=lines(open_all(secret, private.result)),
        tokens=_tokens(receipt_id, secret, private, selection) if kept.kind != INFERENCE else [],
        segments=_segments(secret, private) if selection.everything else [],
        steps=_steps(kept, secret, private, selection, steps) if kept.kind == INFERENCE else [],
        request=private.request if private.request is not None and selection.everything else msgspec.UNSET,
    )


def _chosen(private: Private, selection: Selection) -> frozenset[str]:
    """The names of the fields to open. Raises UsageError for a choice that means none."""
    names = frozenset((*private.intent, *private.result))
    if selection.steps is not None and STEP_FIELD not in names:
        raise UsageError(
            "the receipt has no steps", "it is not of a session: choose by --message, --output and --field"
        )
    if selection.everything or selection.steps is not None:
        return names
    part = {STEP_FIELD, TOKEN_FIELD} if selection.output else set[str]()
    chosen = set(names & (_OUTPUT if selection.output is True else part))
    for number in selection.messages:
        if input_field(number) not in names:
            count = sum(name.startswith(INPUT_PREFIX) for name in names)
            raise UsageError(f"there is no message {number}", f"the receipt has {count}, counted from 0")
        chosen.add(input_field(number))
    for pattern in selection.fields:
        fitting = fnmatch.filter(names, pattern)
        if not fitting:
            raise UsageError(f"the receipt has no field {pattern!r}", f"its fields are {', '.join(sorted(names))}")
        chosen.update(fitting)
    return frozenset(chosen)


def _tokens(receipt_id: bytes, secret: bytes, private: Private, selection: Selection) -> list[TokenOpening]:
    count = len(private.tokens)
    start, stop = (0, count) if selection.everything or selection.output is True else selection.output or (0, 0)
    if not (selection.output is False or 0 <= start < stop <= count or (start, stop) == (0, count)):
        raise UsageError(f"the output has {count} tokens: there is no range {start}:{stop}", "they are counted from 0")
    whole = stop - start == count
    tree = None if whole else token_tree(receipt_id, secret, private.tokens)
    return [
        TokenOpening(
            id=private.tokens[index].id,
            index=index,
            piece=encode_base64(private.tokens[index].piece),
            salt=encode_base64(derive_salt(secret, TOKEN_FIELD, index)),
            path=[h.hex() for h in tree.inclusion(index)] if tree is not None else msgspec.UNSET,
        )
        for index in range(start, stop)
    ]


def _steps(kept: Kept, secret: bytes, private: Private, selection: Selection, steps: Steps) -> list[StepOpening]:
    said = private.result[STEP_FIELD]
    if selection.everything or selection.output is True:
        return open_steps(steps, kept.id, secret, said, 0, said["count"])
    part = selection.steps or selection.output
    return open_steps(steps, kept.id, secret, said, *part) if part else []


def _segments(secret: bytes, private: Private) -> list[SegmentOpening]:
    return [
        SegmentOpening(
            salt=encode_base64(derive_salt(secret, SEGMENT_FIELD, index)),
            state=segment.state.hex(),
            grammar=segment.grammar.hex() if segment.grammar != NO_GRAMMAR else "",
        )
        for index, segment in enumerate(private.segments)
    ]


def warnings(bundle: Bundle) -> list[str]:
    """What a reader of a bundle with withheld messages could find out all the same, a sentence each."""
    if not isinstance(bundle.disclosure, Disclosure):
        return []
    lines = [*bundle.disclosure.intent, *bundle.disclosure.result]
    opened = {line.field for line in lines if line.opened}
    if not any(line.field.startswith(INPUT_PREFIX) and not line.opened for line in lines):
        return []
    found = [f"{name} tells the messages that you withhold" for name in _TELLS_THE_PROMPT if name in opened]
    if "output/embeddings" in opened:
        found.append(
            "the vector of a text that you withhold tells much of it, and a guess of the text can be confirmed"
        )
    if opened & _OF_SCORES:
        found.append("with the scores of a text that you withhold, a guess of the text can be confirmed")
    if opened & SEED_FIELDS and (bundle.disclosure.tokens or "output/text" in opened):
        found.append("with the nonce or seed and the output, a guess of what you withhold can be confirmed by replay")
    return found
