"""From tokens to text, and when an answer is over. Generation and replay use the same rules (spec/receipt.md).

end     the model wrote an end token
stop    the text contains a stop string; the text is cut before the earliest
length  ``max_tokens`` were written
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

MAX_STOPS = 64
MAX_STOP_BYTES = 1024
MAX_PIECE_BYTES = 4096
"""Searching costs stops times bytes, also for a verifier who reads a stranger's."""


class Output:
    """An answer as it grows. ``finish`` is None until it is over."""

    def __init__(self, max_tokens: int, stops: Sequence[str]) -> None:
        self.tokens: list[int] = []
        self.pieces: list[bytes] = []
        self.finish: str | None = None
        self._max_tokens = max_tokens
        self._stops = [stop.encode() for stop in stops]
        self._bytes = bytearray()
        self._end: int | None = None
        self._streamed = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int, piece: bytes, is_end: bool) -> None:
        """Append one token and decide whether the answer is over."""
        self.tokens.append(token)
        self.pieces.append(piece)
        searched_from = max(0, len(self._bytes) - max(map(len, self._stops), default=0))
        self._bytes += piece
        found = [at for stop in self._stops if (at := self._bytes.find(stop, searched_from)) >= 0]
        if is_end:
            self.finish = "end"
        elif found:
            self._end, self.finish = min(found), "stop"
        elif len(self.tokens) >= self._max_tokens:
            self.finish = "length"

    @property
    def text(self) -> str:
        """The whole text so far, cut at the stop string; bytes that are not UTF-8 become U+FFFD."""
        return bytes(self._bytes[: self._end]).decode("utf-8", "replace")

    def fresh(self) -> str:
        """Text not yet handed out that can no longer be cut off by a stop string. All the rest, once it is over."""
        final = self.finish is not None
        limit = len(self._bytes) if self._end is None else self._end
        if not final:
            limit -= self._held_back()
        chunk = bytes(self._bytes[self._streamed : limit])
        self._streamed = max(self._streamed, limit)
        return self._decoder.decode(chunk, final)

    def _held_back(self) -> int:
        """How many bytes at the end may be the beginning of a stop string."""
        for length in range(max((len(stop) - 1 for stop in self._stops), default=0), 0, -1):
            tail = bytes(self._bytes[-length:])
            if len(tail) == length and any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
