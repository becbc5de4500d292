"""From a disclosure's opened fields to typed values. Used only after the commitments have been checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from verity.engines.engine import Message
from verity.engines.numerics import Numerics
from verity.errors import FormatError, UsageError
from verity.sampling.parameters import SamplingParameters
from verity.statements.receipt import FINISHES, INPUT_PREFIX, convert_field, input_field
from verity.statements.strict import decode_hex
from verity.verify.replay import Claim, ModelName

_T = TypeVar("_T")


class TokenRoot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``output/tokens``: how many there are and the root (hex) of the tree over their commitments."""

    count: int
    root: str


class Nonce(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``nonce``: the bytes (hex) and who chose them, by the device's word: ``device`` or ``caller``."""

    hex: str
    chosen_by: str


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``choice``: this answer is number ``index`` of ``of`` to one request."""

    index: int
    of: int


class Withheld(Exception):
    """A field that a check needs was not disclosed. ``str`` is its name."""


class Fields:
    """The opened fields of one receipt, intent and result together; reading one that is withheld raises Withheld."""

    def __init__(self, opened: Mapping[str, Any], withheld: frozenset[str] = frozenset()) -> None:
        self._opened = opened
        self.withheld = withheld

    def __contains__(self, field: str) -> bool:
        return field in self._opened

    def names(self) -> list[str]:
        """All field names, opened or not."""
        return sorted((*self._opened, *self.withheld))

    def value(self, field: str) -> Any:
        if field not in self._opened:
            raise Withheld(field)
        return self._opened[field]

    def read(self, field: str, kind: type[_T]) -> _T:
        """The field as ``kind``. Raises Withheld or FormatError."""
        return convert_field(self.value(field), kind, field)

    def messages(self) -> list[Message]:
        """The inputs in order; all must be text here. Raises FormatError."""
        names = [name for name in (*self._opened, *self.withheld) if name.startswith(INPUT_PREFIX)]
        messages = [self.read(input_field(i), Message) for i in range(len(names))]
        if any(m.type != "text" for m in messages):
            raise FormatError("this receipt has inputs that are not text, which this version cannot replay")
        return messages

    def parameters(self) -> SamplingParameters:
        values = {name: self.value(f"sampling/{name}") for name in SamplingParameters.__struct_fields__}
        try:
            return convert_field(values, SamplingParameters, "sampling")
        except UsageError as error:
            raise FormatError(f"the receipt's sampling is not possible: {error}") from error

    def claim(self, tokens: list[int], pieces: list[bytes]) -> Claim:
        """What replay needs. Raises Withheld, FormatError."""
        for field in ("adapters", "grammar", "tools", "batch", "pooling", "normalisation", "output/tool_calls"):
            if self.value(field):
                raise FormatError(f"this receipt uses {field!r}, which this version cannot replay")
        decode_hex(self.read("seed", str), 32, "seed")
        finish = self.read("output/finish", str)
        if finish not in FINISHES:
            raise FormatError(f"the receipt ends by {finish!r}, which this version does not know")
        return Claim(
            model=self.read("model", ModelName),
            engine=self.read("engine", dict[str, Any]),
            tokenizer=self.read("tokenizer", dict[str, Any]),
            context=self.read("context", dict[str, Any]),
            template=self.read("template", dict[str, Any]),
            numerics=self.read("numerics", Numerics),
            messages=self.messages(),
            prompt_tokens=self.read("prompt_tokens", list[int]),
            parameters=self.parameters(),
            max_tokens=self.read("limits/max_tokens", int),
            stops=self.read("limits/stops", list[str]),
            seed=self.read("seed", str),
            tokens=tokens,
            pieces=pieces,
            text=self.read("output/text", str),
            finish=finish,
        )
