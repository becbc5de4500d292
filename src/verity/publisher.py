"""Publishes heads of this device's log: what its tiles, its witnesses and the proofs of its receipts go by.

publish()
  head       the log's present one is kept as published
  quote      the device's TPM, if a registrar vouched for it, signs the head and the device's key    (hardware)
  witnesses  whoever has not cosigned it is asked; cosignatures are kept as they come      (log/witness_client)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from verity import hardware
from verity.errors import VerityError
from verity.log import note
from verity.log.checkpoint import split
from verity.log.device_log import DeviceLog
from verity.log.note import Line
from verity.log.published import Published, PublishedHeads
from verity.log.witness_client import Prove, ask_all
from verity.log.witnesses import Asked, Witnesses
from verity.store.database import Database

Ask = Callable[[Sequence[tuple[Asked, int]], str, Prove], Iterator[tuple[Asked, Line | VerityError]]]
"""Asks witnesses, each with the size that it knows; the head and what proves its growth. See ``witness_client``."""

Told = Callable[[Asked, Line | VerityError], None]
_log = logging.getLogger("verity.witness")


def _complain(asked: Asked, outcome: Line | VerityError) -> None:
    if isinstance(outcome, VerityError):
        _log.warning("no cosignature of %s: %s; %s", asked.key.name, outcome, outcome.hint)


class Publisher:
    """The published heads of one epoch of a device's log, and the witnesses that are asked to cosign them."""

    def __init__(self, database: Database, log: DeviceLog) -> None:
        self._database = database
        self._heads = PublishedHeads(database)
        self.witnesses = Witnesses(database)
        self._log = log

    def publish(self, ask: Ask | None = ask_all, told: Told = _complain) -> Published:
        """Publish the log's present head, and ask every witness that has not cosigned it yet; None asks nobody.

        A cosignature is kept when it comes. ``told`` hears of each witness what came of it: one that fails is no error,
        nor is a TPM that cannot be asked.
        Raises LogError while the log is empty or damaged, StoreError.
        """
        signed = self._log.checkpoint()
        size = split(signed)[0].size
        if all(kept.size != size for kept in self._heads.all(self._log.epoch, size)):
            self._heads.keep(self._log.epoch, size, signed)
        self._vouch(size)
        if ask is not None:
            self._ask(ask, size, told)
        [published, *_] = self._heads.all(self._log.epoch, size)
        return published

    def _vouch(self, size: int) -> None:
        [published, *_] = self._heads.all(self._log.epoch, size)
        if published.hardware is not None:
            return
        try:
            proof = hardware.prove(self._database, self._log.public, note.parse(published.checkpoint).body)
        except VerityError as error:
            _log.warning("the head is published without a quote of the TPM: %s", error)
            return
        if proof is not None:
            self._heads.keep(self._log.epoch, size, published.checkpoint, proof.encode())

    def _ask(self, ask: Ask, size: int, told: Told) -> None:
        [published, *_] = self._heads.all(self._log.epoch, size)
        said = note.parse(published.checkpoint)
        missing = [asked for asked in self.witnesses.all() if not any(map(asked.key.made, said.lines))]
        room = note.MAX_SIGNATURES - len(said.lines)  # witnesses that are asked no more leave their lines
        known = [(asked, self.witnesses.size(asked.key, self._log.origin)) for asked in missing[:room]]
        if not known:
            return
        for asked, outcome in ask(known, published.checkpoint, self._log.prove_consistency):
            if isinstance(outcome, Line):
                self._heads.cosign(self._log.epoch, size, outcome)
                self.witnesses.saw(asked.key, self._log.origin, size)
            told(asked, outcome)
