"""Where a verifier gets states from: a file beside the bundle, or the server of the device that answered."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from verity.errors import FetchError, FormatError, UsageError
from verity.statements.bundle import SUFFIX as BUNDLE_SUFFIX
from verity.statements.bundle import Bundle, Disclosure, disclosure_key
from verity.statements.receipt import INTENT, read_statement
from verity.statements.states import MAX_STATES_BYTES, SUFFIX, decode_states
from verity.verify.spot import StateSource

if TYPE_CHECKING:
    import httpx

KEY_HEADER = "x-verity-disclosure"
API_KEY_VARIABLE = "VERITY_API_KEY"
_TIMEOUT_S, _LIMIT_S = 60.0, 900.0


def beside(bundle: str | os.PathLike[str]) -> Path:
    """Where the file of states of this bundle's file is looked for."""
    path = Path(bundle)
    return path.with_name(path.name.removesuffix(BUNDLE_SUFFIX) + SUFFIX)


def source_of(states: str | os.PathLike[str] | StateSource, bundle: Bundle) -> StateSource:
    """A source for a bundle's states from what a caller names: a file, the address of a server, or a source as it is.

    Raises UsageError; FormatError when a server is to be asked and the bundle withholds something.
    """
    if callable(states):
        return states
    if str(states).startswith(("http://", "https://")):
        return ServerStates(str(states), bundle)
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
    """A device's server (`verity serve`). It is told which segments are wanted, and asked for nothing else. It opens
    them to whoever holds the bundle with everything opened: a digest over its salts shows that.

    410 says that it does not open them. A server that cannot be reached, or does not know the receipt, was not asked.
    """

    def __init__(self, address: str, bundle: Bundle) -> None:
        host = urlsplit(address).hostname
        if address.startswith("http://") and host not in ("localhost", "127.0.0.1", "::1"):
            raise UsageError(f"states would travel from {host} in clear: they tell all text", "use https://")
        if not isinstance(bundle.disclosure, Disclosure):
            raise UsageError("the bundle opens nothing", "ask for a bundle with everything opened")
        self._address = address.rstrip("/").removesuffix("/v1")  # `verity serve` says where it listens with it
        receipt = read_statement(bundle.receipt.intent.payload_bytes(), INTENT).predicate.id_bytes()
        self._headers = {KEY_HEADER: disclosure_key(receipt, bundle.disclosure)}
        if key := os.environ.get(API_KEY_VARIABLE):
            self._headers["Authorization"] = f"Bearer {key}"

    def __call__(self, receipt_id: str, segments: Sequence[int]) -> list[bytes]:
        import httpx

        url = f"{self._address}/v1/receipts/{receipt_id}/states"
        query = {"segments": ",".join(map(str, segments))}
        try:
            with httpx.stream("GET", url, params=query, headers=self._headers, timeout=_TIMEOUT_S) as response:
                if response.status_code == 410:
                    return []
                if response.status_code != 200:
                    raise FetchError(f"{self._address} answers {response.status_code}", "check the address and the key")
                return decode_states(_read(response), receipt_id)
        except httpx.HTTPError as error:
            raise FetchError(f"{self._address} could not be asked: {type(error).__name__}", "try again") from error


def _read(response: httpx.Response) -> bytes:
    data, end = bytearray(), time.monotonic() + _LIMIT_S
    for part in response.iter_bytes():
        data += part
        if time.monotonic() > end:
            raise FetchError(f"the server takes more than {_LIMIT_S:.0f} seconds", "try again, or name a file instead")
        if len(data) > MAX_STATES_BYTES:
            raise FormatError(f"the server sends more than {MAX_STATES_BYTES:,} bytes of states", "name a file instead")
    return bytes(data)
