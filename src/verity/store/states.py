"""Where a device keeps the states that its receipts commit to, for whoever asks to check a segment.

home/states/<receipt id>       one sealed chunk after another, as a container (statements/states.py)

A state tells all text that it was made from. So every chunk is sealed (seal.py) with a key that derives from the
receipt's secret: what forgets the secret forgets the states. They can always be computed again from
the model, so they are bounded, the oldest go first, and nothing waits for the disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from verity.errors import FormatError
from verity.statements.states import decode_states, encode_states
from verity.store.home import guarded
from verity.store.seal import Broken, Seal

KEPT_BYTES = 256 << 20
_DOMAIN = b"verity/kept-states/v1\x00"


class States:
    """The states of one device's receipts; at most ``limit`` bytes are kept."""

    def __init__(self, home: Path, limit: int = KEPT_BYTES) -> None:
        self._folder = home / "states"
        self._limit = limit

    def keep(self, receipt_id: str, secret: bytes, chunks: Sequence[bytes]) -> None:
        """Keep the packed chunks of a receipt, if they fit. Raises StoreError."""
        seal = Seal(secret, _DOMAIN, receipt_id)
        data = encode_states(receipt_id, [seal.close(number, chunk) for number, chunk in enumerate(chunks)])
        if len(data) > self._limit:
            return
        with guarded(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._make_room(len(data))
            temporary = self._folder / f".{receipt_id}.tmp"
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                temporary.replace(self._folder / receipt_id)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise

    def open(self, receipt_id: str, secret: bytes, count: int | None) -> list[bytes] | None:
        """The first ``count`` packed chunks of a receipt, or all; None when they are not kept, or damaged."""
        try:
            data = (self._folder / receipt_id).read_bytes()
            seal, sealed = Seal(secret, _DOMAIN, receipt_id), decode_states(data, receipt_id)[:count]
            return [seal.open(number, chunk) for number, chunk in enumerate(sealed)]
        except (OSError, FormatError, Broken):
            return None

    def forget(self, receipt_ids: Iterable[str]) -> None:
        """Remove what is kept of these receipts. Raises StoreError."""
        with guarded(self._folder):
            for receipt_id in receipt_ids:
                (self._folder / receipt_id).unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        found = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):  # another process removed it meanwhile
                found.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
        total = size + sum(kept for _, kept, _ in found)
        for _, kept, path in sorted(found):
            if total <= self._limit:
                return
            Path(path).unlink(missing_ok=True)
            total -= kept
