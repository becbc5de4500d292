"""The one door for JSON from outside, and the one way to write it.

Reading: a size cap, strict UTF-8, a depth scan before the parser recurses, duplicate keys refused (RFC 8259 §4 leaves
them open, which lets two readers see two documents), numbers bounded, lone surrogates refused, then conversion to a
typed msgspec Struct. Every refusal is a FormatError. Writing: RFC 8785 canonical JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, TypeVar

import msgspec

from verity.errors import FormatError

MAX_DEPTH = 24
MAX_CONTAINERS = 1_000_000
MAX_VALUES = 2_000_000
MAX_NUMBER_DIGITS = 40
MAX_INTEGER = 2**53
"""Integers are below it, on either side (RFC 8785 §3.2.2.3): beyond it, readers disagree."""
_QUOTED = 300  # a stranger's words in an error, such as the name of a member: not all of them

_T = TypeVar("_T")
# A string that never ends, in a lone backslash too, is matched to the end of the input: the scan stays linear.
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_STRUCTURE_AND_COMMAS = re.compile(_STRUCTURE.pattern + "|,", re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def load(data: bytes, kind: type[_T], *, limit: int, what: str) -> _T:
    """Read ``data`` (at most ``limit`` bytes of JSON) as ``kind``. ``what`` names it in the FormatError raised."""
    try:
        return msgspec.convert(parse_json(data, limit=limit, what=what), kind, strict=True)
    except msgspec.ValidationError as error:
        raise FormatError(f"this is not a valid {what}: {str(error)[:_QUOTED]}") from error


def parse_json(data: bytes, *, limit: int, what: str) -> Any:
    """Read ``data`` as JSON under the rules above. Raises FormatError."""
    if len(data) > limit:
        raise FormatError(f"this {what} is larger than {limit:,} bytes", "a real one is far smaller; ask for it again")
    try:
        text = data.decode("utf-8")
        _check_depth(text, what)
        value = json.loads(
            text, object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_refuse_constant
        )
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise FormatError(f"this {what} is not strict JSON: {error}") from error
    return value


def _check_depth(text: str, what: str) -> None:
    """Bound what the parser will build: levels on its stack, and values, which cost far more than their bytes."""
    depth = containers = values = 0
    many = text.count(",") > MAX_VALUES  # within strings or without: only then are they told apart
    for match in (_STRUCTURE_AND_COMMAS if many else _STRUCTURE).finditer(text):
        character = match.group()[0]
        if character in "[{":
            depth += 1
            containers += 1
            if containers > MAX_CONTAINERS:
                raise FormatError(f"this {what} holds more than {MAX_CONTAINERS:,} lists and objects")
            if depth > MAX_DEPTH:
                raise FormatError(f"this {what} is nested more than {MAX_DEPTH} levels deep")
        elif character in "]}":
            depth -= 1
        elif character == ",":
            values += 1
            if values > MAX_VALUES:
                raise FormatError(f"this {what} holds more than {MAX_VALUES:,} values")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _integer(text: str) -> int:
    value = int(text) if len(text) <= MAX_NUMBER_DIGITS else MAX_INTEGER
    if not -MAX_INTEGER < value < MAX_INTEGER:
        raise ValueError("an integer is too large")
    return value


def _real(text: str) -> float:
    value = float(text) if len(text) <= MAX_NUMBER_DIGITS else math.inf
    if not math.isfinite(value):
        raise ValueError("a number is too large or too long")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical JSON of plain values or msgspec Structs. Raises FormatError when there is none."""
    import rfc8785

    try:
        return rfc8785.dumps(msgspec.to_builtins(value))
    except (rfc8785.CanonicalizationError, RecursionError, TypeError, UnicodeError) as error:
        raise FormatError(f"this value has no canonical JSON form: {error}") from error


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """Read base64 that would re-encode identically. Raises FormatError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"the {what} is not base64") from error
    if encode_base64(data) != text:
        raise FormatError(f"the {what} is not canonical base64")
    return data


def decode_hex(text: str, length: int, what: str) -> bytes:
    """Read ``length`` bytes from lower-case hexadecimal. Raises FormatError."""
    if len(text) != 2 * length or not re.fullmatch(r"[0-9a-f]*", text, re.ASCII):
        raise FormatError(f"the {what} is not {2 * length} lower-case hexadecimal digits")
    return bytes.fromhex(text)
