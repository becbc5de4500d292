"""From a disclosure's opened fields to typed values. Used only after the commitments have been checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from verity.engines.grammar import Grammar
from verity.engines.numerics import Numerics
from verity.engines.output import MAX_STOP_BYTES, MAX_STOPS
from verity.engines.tool_calls import check_tools
from verity.errors import FormatError, UsageError
from verity.sampling.parameters import SamplingParameters
from verity.statements.adapters import AdapterUse, check_adapters
from verity.statements.commitments import ID_BYTES, SEGMENT_FIELD
from verity.statements.receipt import (
    FINISHES,
    INPUT_PREFIX,
    ROLES,
    Choice,
    Message,
    PreviousTurn,
    ToolCall,
    convert_field,
    input_field,
)
from verity.statements.request import TIME
from verity.statements.segments import Retention, SegmentRoot, check_root
from verity.statements.strict import canonical, decode_hex
from verity.verify.replay import CannotReplay, Claim, ModelName, Template

_T = TypeVar("_T")
MAX_CHOICES = 1 << 16
MAX_RETENTION_S = 1 << 40

UNUSED: dict[str, Any] = {
    "batch": None,
    "normalisation": None,
    "pooling": None,
}
"""Fields that later versions fill, with the value that says that their feature is not in use."""


class TokenRoot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``output/tokens``: how many there are and the root (hex) of the tree over their commitments."""

    count: int
    root: str


class Nonce(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``nonce``: the bytes (hex) and who chose them, by the device's word: ``device`` or ``caller``."""

    hex: str
    chosen_by: Literal["device", "caller"]


class RequestName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``request``: which request this answers (spec/request.md)."""

    id: str
    sha256: str


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

    def member(self, name: str) -> Any:
        """A field's value, or with ``field/member`` one member of it. Raises Withheld, FormatError."""
        field, _, member = name.rpartition("/")
        if field not in (*self._opened, *self.withheld):
            return self.value(name)
        value = self.value(field)
        if not isinstance(value, dict) or member not in value:
            raise FormatError(f"field {field!r} has no member {member!r}")
        return value[member]

    def inputs(self) -> list[str]:
        """The names of all inputs, opened or not."""
        return [name for name in self.names() if name.startswith(INPUT_PREFIX)]

    def messages(self) -> list[Message]:
        """The inputs in order; all must be text here. Raises FormatError."""
        fields = [input_field(i) for i in range(len(self.inputs()))]
        messages = [self.read(field, Message) for field in fields]
        if any("type" not in self.value(field) for field in fields):
            raise FormatError("this receipt has an input without its type")
        if any(m.type != "text" for m in messages):
            raise FormatError("this receipt has inputs that are not text, which this version cannot replay")
        if any(m.role not in ROLES for m in messages):
            raise FormatError("this receipt has a message of an unknown role")
        return messages

    def parameters(self) -> SamplingParameters:
        values = {name: self.value(f"sampling/{name}") for name in SamplingParameters.__struct_fields__}
        try:
            return convert_field(values, SamplingParameters, "sampling")
        except UsageError as error:
            raise FormatError(f"the receipt's sampling is not possible: {error}") from error

    def stops(self) -> list[str]:
        """The stop strings. Raises Withheld, FormatError."""
        stops = self.read("limits/stops", list[str])
        if len(stops) > MAX_STOPS or not all(0 < len(stop.encode()) <= MAX_STOP_BYTES for stop in stops):
            raise FormatError(f"a receipt has at most {MAX_STOPS} stop strings of 1 to {MAX_STOP_BYTES} bytes")
        return stops

    def choice(self) -> Choice:
        """Which of how many answers this is. Raises Withheld, FormatError."""
        choice = self.read("choice", Choice)
        if not 0 <= choice.index < choice.of <= MAX_CHOICES:
            raise FormatError("the choice index is malformed")
        return choice

    def template(self) -> Template | None:
        """The chat template's digest and arguments; None for a raw prompt. Raises Withheld, FormatError."""
        if self.value("template") is None:
            if [message.role for message in self.messages()] != ["user"]:
                raise FormatError("a prompt without a template is one message of the user")
            return None
        template = self.read("template", Template)
        if template.clock is not None and not TIME.fullmatch(template.clock):
            raise FormatError("the template's clock is not a time in UTC (RFC 3339)")
        return template

    def previous(self) -> PreviousTurn | None:
        """The turn before, if this is one of a conversation. Raises Withheld, FormatError."""
        if self.value("previous_turn") is None:
            return None
        previous = self.read("previous_turn", PreviousTurn)
        decode_hex(previous.id, ID_BYTES, "previous turn's receipt id")
        decode_hex(previous.result, 32, "digest of the previous turn's result")
        return previous

    def grammar(self) -> Grammar | None:
        """The grammar, if there is one; not compiled yet. Raises Withheld, FormatError."""
        return self.read("grammar", Grammar) if self.value("grammar") is not None else None

    def tools(self) -> list[str]:
        """The texts of the tools that were offered, of which the inputs tell. Raises Withheld, FormatError."""
        tools = self.read("tools", list[str])
        check_tools(tools, self.messages() if tools else [])
        return tools

    def adapters(self) -> list[AdapterUse]:
        """The adapters that changed the model, in order. Raises Withheld, FormatError."""
        adapters = self.read("adapters", list[AdapterUse])
        check_adapters(adapters, self.read("model", ModelName).blake3)
        return adapters

    def retention(self) -> Retention | None:
        """For how long the device promises to open segments. Raises Withheld, FormatError."""
        retention = self.read("retention", Retention) if self.value("retention") is not None else None
        if retention is not None and not 0 <= retention.segments_s <= MAX_RETENTION_S:
            raise FormatError("the receipt promises to keep its states for an impossible time")
        return retention

    def segments(self) -> SegmentRoot | None:
        """What the receipt commits to about its states, if it does. Raises Withheld, FormatError."""
        if self.value(SEGMENT_FIELD) is None:
            return None
        root = self.read(SEGMENT_FIELD, SegmentRoot)
        check_root(root)
        return root

    def model(self, unused: Mapping[str, Any]) -> ModelName:
        """The model of a receipt of any kind, once both its times are times, and the fields of later versions' features
        stand exactly as the specification says for none (``unused``). Raises Withheld, CannotReplay, FormatError."""
        for field, nothing in unused.items():
            if canonical(self.value(field)) != canonical(nothing):
                raise CannotReplay(f"this receipt uses {field!r}, which this version cannot replay")
        for field in ("time/started", "time/finished"):
            if not TIME.fullmatch(self.read(field, str)):
                raise FormatError(f"field {field!r} is not a time in UTC (RFC 3339)")
        model = self.read("model", ModelName)
        decode_hex(model.blake3, 32, "model's BLAKE3 digest")
        return model

    def claim(self, tokens: list[int], pieces: list[bytes]) -> Claim:
        """What replay needs. Raises Withheld, CannotReplay, FormatError."""
        model = self.model(UNUSED)
        if self.value("request") is not None:
            self.read("request", RequestName)
        decode_hex(self.read("seed", str), 32, "seed")
        self.choice()
        self.previous()
        self.retention()
        self.segments()
        if self.read("limits/max_tokens", int) < 1:
            raise FormatError("the receipt asks for less than one token")
        finish = self.read("output/finish", str)
        if finish not in FINISHES:
            raise FormatError(f"the receipt ends by {finish!r}, which this version does not know")
        return Claim(
            model=model,
            adapters=self.adapters(),
            engine=self.read("engine", dict[str, Any]),
            tokenizer=self.read("tokenizer", dict[str, Any]),
            context=self.read("context", dict[str, Any]),
            template=self.template(),
            numerics=self.read("numerics", Numerics),
            messages=self.messages(),
            prompt_tokens=self.read("prompt_tokens", list[int]),
            parameters=self.parameters(),
            max_tokens=self.read("limits/max_tokens", int),
            stops=self.stops(),
            seed=self.read("seed", str),
            tokens=tokens,
            pieces=pieces,
            grammar=self.grammar(),
            tools=self.tools(),
            tool_calls=self.read("output/tool_calls", list[ToolCall]),
            text=self.read("output/text", str),
            finish=finish,
        )
