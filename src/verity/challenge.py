"""Where a verifier gets states from: a file beside the bundle, or the server of the device that answered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from verity.errors import FetchError, FormatError, UsageError
from verity.statements.bundle import SUFFIX as BUNDLE_SUFFIX
from verity.statements.states import MAX_STATES_BYTES, SUFFIX, decode_states
from verity.verify.spot import StateSource

KEY_VARIABLE = "VERITY_OWNER_KEY"
_TIMEOUT_S = 60.0


def beside(bundle: str | os.PathLike[str]) -> Path:
    """Where the file of states of this bundle's file is looked for."""
    path = Path(bundle)
    return path.with_name(path.name.removesuffix(BUNDLE_SUFFIX) + SUFFIX)


def source_of(states: str | os.PathLike[str] | StateSource) -> StateSource:
    """A source from what a caller names: a file, the address of a server, or a source as it is. Raises UsageError."""
    if callable(states):
        return states
    if str(states).startswith(("http://", "https://")):
        return ServerStates(str(states))
    return FileStates(Path(states))


class FileStates:
    """A file that the device's owner exported. It is read when it is asked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, receipt_id: str, segments: Sequence[int]) -> list[bytes]:
        if not max(segments):
            return []
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_STATES_BYTES + 1)
        except (OSError, ValueError) as error:
            hint = "its owner writes it with `verity export RECEIPT --everything --states`; name it with --states"
            raise UsageError(f"{self._path} cannot be read: {getattr(error, 'strerror', error)}", hint) from error
        return decode_states(data, receipt_id)[: max(segments)]


class ServerStates:
    """A device's server (`verity serve`). It is told which segments are wanted, and asked for nothing else.

    A server that answers without the states does not open them; one that cannot be reached was not asked.
    """

    def __init__(self, address: str, key: str | None = None) -> None:
        self._address = address.rstrip("/")
        self._key = key or os.environ.get(KEY_VARIABLE)
        if not self._key:
            raise UsageError("the owner's key is needed to be shown states", f"put it into {KEY_VARIABLE}")

    def __call__(self, receipt_id: str, segments: Sequence[int]) -> list[bytes]:
        import httpx

        url = f"{self._address}/v1/receipts/{receipt_id}/states"
        headers, query = {"Authorization": f"Bearer {self._key}"}, {"segments": ",".join(map(str, segments))}
        try:
            with httpx.stream("GET", url, params=query, headers=headers, timeout=_TIMEOUT_S) as response:
                if response.status_code in (404, 410):
                    return []
                if response.status_code != 200:
                    raise FetchError(f"{self._address} answers {response.status_code}", "check the address and the key")
                return decode_states(_read(response), receipt_id)
        except httpx.HTTPError as error:
            raise FetchError(f"{self._address} could not be asked: {type(error).__name__}", "try again") from error


def _read(response: object) -> bytes:
    data = bytearray()
    for part in response.iter_bytes():  # type: ignore[attr-defined]
        data += part
        if len(data) > MAX_STATES_BYTES:
            raise FormatError(f"the server sends more than {MAX_STATES_BYTES:,} bytes of states", "name a file instead")
    return bytes(data)
