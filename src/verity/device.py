"""One device without models: its key, its log, its receipts, and what it says of all of them.

device
  log         append-only, by epoch; every statement of the device stands in it                  (log)
  recorder    writes receipts and other statements                                               (recorder)
  exporter    hands receipts out, with as much opened as their owner chooses                     (exporter)
  publisher   shows heads of the log to others: to the TPM, to witnesses                         (publisher)
  keyring     recovery key, successors, revocations                                              (keyring)
  issuer      asks other devices; referee settles disputes; registrar certifies TPMs
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from verity.backup import Notes, back_up
from verity.exporter import Exporter
from verity.identity.device_key import DeviceKey
from verity.issuer import Issuer
from verity.keyring import Keyring
from verity.log.device_log import DeviceLog
from verity.log.rows import key_of_epoch, latest_epoch
from verity.publisher import Publisher
from verity.recorder import Recorder, inspect
from verity.referee import Referee
from verity.registrar import Registrar
from verity.rotation import Rotated, rotate, settled
from verity.statements.keys import RetiredKey, Signer
from verity.store.blobs import Blobs
from verity.store.database import Database
from verity.store.home import locate


class Device:
    """Use it in a ``with`` block, or close it. Not to be shared between threads."""

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self.home = locate(home)
        key = DeviceKey.load(self.home)
        self._database = Database.open(self.home)
        self.key = settled(self.home, self._database, key)
        with self._database.snapshot() as connection:
            self.log = DeviceLog(self._database, self.key, latest_epoch(connection))
        self.blobs = Blobs(self.home, self._database)
        self.recorder = Recorder(self._database, self.log, self.key)
        self.exporter = Exporter(self._database, self.log, self.log_of)
        self.publisher = Publisher(self._database, self.log)
        self.referee = Referee(self.recorder, self.exporter)
        self.keyring = Keyring(self._database, self.recorder, self.exporter, self.key)
        self.registrar = Registrar(self._database, self.key, self.recorder, self.exporter)
        self.issuer = Issuer(self._database, self.key, self.blobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def log_of(self, epoch: int) -> DeviceLog:
        """The device's log of an epoch; ``log`` is that of the present one. In an earlier one the device may have had
        another key, of which only the public half is left. Raises LogError."""
        with self._database.snapshot() as connection:
            public = key_of_epoch(connection, epoch)
        earlier = epoch < self.log.epoch and public not in (None, self.key.public)
        return DeviceLog(self._database, RetiredKey(public) if earlier and public else self.key, epoch)

    def publisher_of(self, epoch: int) -> Publisher:
        """Publishes the heads of an epoch: the last one of a log that was closed is witnessed like any other."""
        return Publisher(self._database, self.log_of(epoch))

    def rotate(self, recovery: Signer | None = None, *, keep_old: bool = False) -> Rotated:
        """Exchange the device's key for a new one, to which it passes its trust on (docs/keys.md). Then open the device
        again: this log takes no more. ``recovery``, the device's recovery key, signs too; with ``keep_old`` the
        old key stays in a file beside the new. Raises UsageError, StoreError, LogError."""
        self.keyring.check_may_pass_on(recovery)
        return rotate(self.home, self._database, self.log, self.key, recovery, keep_old=keep_old)

    def back_up(self, path: str | os.PathLike[str], passphrase: str | None = None) -> Notes:
        """Write key, log and receipts, not the models, to a new file; ``verity.backup.restore`` makes a device of it.

        Raises StoreError, UsageError.
        """
        return back_up(self.home, self._database, self.log, Path(path), passphrase)

    def check_log(self, old_checkpoint: str | None = None) -> list[str]:
        """Re-derive the whole log of this epoch, and return the problems found: none when it is sound.

        With a checkpoint that somebody kept, also whether the log only grew since; raises FormatError or SignatureError
        when it is no checkpoint of this device.
        """
        return self.log.check(old_checkpoint, inspect)
