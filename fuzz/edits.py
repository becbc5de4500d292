"""Edits of JSON documents that leave JSON: a value replaced, dropped, doubled, moved, wrapped, or edited inside.

Bytes alone rarely get past a strict parser. Where a string is the base64 of another document, as in an envelope, the
edit may happen in there.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import random
from collections.abc import Callable
from typing import Any

from fuzz.target import dump

Bytes = Callable[[bytes, int], bytes]
"""An edit of plain bytes, to at most so many."""

JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 256, 2**31, 2**32 - 1, 2**32, 2**53 - 1, -(2**53) + 1, 0.0, -0.0, 0.5,
    1e300, 1e-320, "", "a", "\0", "\u202e", "😀", "é" * 70, "A" * 22 + "==", "00" * 16, "0" * 64, "f" * 64, "x" * 5000,
    [], {}, [[]], {"": None}, [0] * 40, {"size": 4096}, {"count": 0, "root": "0" * 64},
)  # fmt: skip
_PLAIN_SHARE = 0.15
_MOST_PLACES = 4000


def edit_json(data: bytes, most: int, seed: int, plain: Bytes) -> bytes:
    """A libFuzzer mutator: ``data`` with a few edits, at most ``most`` bytes; ``plain`` edits what is no JSON."""
    chance = random.Random(seed)
    if chance.random() < _PLAIN_SHARE:
        return plain(data, most)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return plain(data, most)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        value = _edited(value, chance, plain)
    written = dump(value)
    return written if len(written) <= most else plain(data, most)


def _edited(value: Any, chance: random.Random, plain: Bytes) -> Any:
    places = _places(value)
    if not places:
        return copy.deepcopy(chance.choice(JUNK))
    holder, key = chance.choice(places)
    edit = chance.choice((_replace, _replace, _inside, _inside, _inside, _drop, _double, _move, _wrap, _name))
    edit(holder, key, places, chance, plain)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Where in the document a value stands: (list or object, index or key)."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < _MOST_PLACES:
        holder = waiting.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, inner in items:
            found.append((holder, key))
            if isinstance(inner, (dict, list)):
                waiting.append(inner)
    return found


def _replace(holder: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random, _: Bytes) -> None:
    other, at = chance.choice(places)
    holder[key] = copy.deepcopy(chance.choice((chance.choice(JUNK), other[at])))


def _inside(holder: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random, plain: Bytes) -> None:
    value = holder[key]
    if isinstance(value, str):
        holder[key] = _edited_text(value, chance, plain)
    elif isinstance(value, bool) or value is None:
        _replace(holder, key, places, chance, plain)
    elif isinstance(value, int | float):
        holder[key] = chance.choice((value + 1, value - 1, -value, value * 2, value * 1.0, value + 0.5, value * 2**31))
    else:
        chance.shuffle(value) if isinstance(value, list) else value.update({chance.choice(("", "a", "index", "é")): 0})


def _edited_text(text: str, chance: random.Random, plain: Bytes) -> str:
    if len(text) > 40 and chance.random() < 0.6:
        try:
            inner = json.loads(base64.b64decode(text, validate=True))
        except (ValueError, binascii.Error, RecursionError):
            pass
        else:
            return base64.b64encode(dump(_edited(inner, chance, plain))).decode()
    data = text.encode("utf-8", "surrogatepass")
    return plain(data, len(data) + 8).decode("utf-8", "replace")


def _drop(holder: Any, key: Any, *_: Any) -> None:
    del holder[key]


def _double(holder: Any, key: Any, *_: Any) -> None:
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[f"{key}2"] = copy.deepcopy(holder[key])


def _move(holder: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random, _: Bytes) -> None:
    other, at = chance.choice(places)
    holder[key], other[at] = copy.deepcopy(other[at]), copy.deepcopy(holder[key])


def _wrap(holder: Any, key: Any, _: Any, chance: random.Random, __: Bytes) -> None:
    for _ in range(chance.choice((1, 1, 2, 30))):
        holder[key] = [holder[key]] if chance.random() < 0.5 else {"a": holder[key]}


def _name(holder: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random, plain: Bytes) -> None:
    """Another name for a member."""
    if isinstance(holder, dict):
        holder[_edited_text(key, chance, plain)] = holder.pop(key)
    else:
        _replace(holder, key, places, chance, plain)
