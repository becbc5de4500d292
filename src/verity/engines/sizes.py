"""How large what a chat template makes may be: the weight of a value, and of a result before it is made.

An estimate is at most a few times below the real size (where letters become longer, or are escaped), and small for what
real templates do. SecurityError is how more than ``MAX_VALUE`` is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.utils import Namespace

MAX_VALUE = 8 << 20
"""Bytes of one value, roughly: text by its characters, a list by its items, however often they share them."""
MAX_INTEGER_BITS = 4096
STEP = 64
"""What a step and an object count, in bytes."""
_WIDE = re.compile(r"\d{5}|%[-+ #0-9.]*\*|\{[^{}]*\{")


def weigh(value: Any) -> int:
    """The bytes of ``value``, roughly, as if nothing in it were shared; stops counting beyond ``MAX_VALUE``."""
    total, waiting = 0, [value]
    while waiting and total <= MAX_VALUE:
        item = waiting.pop()
        total += STEP
        if isinstance(item, str):
            total += len(item) if item.isascii() else 4 * len(item)
        elif isinstance(item, (bytes, range)):
            total += len(item) * (1 if isinstance(item, bytes) else STEP)
        elif isinstance(item, int):
            total += item.bit_length() // 8
        elif isinstance(item, dict):
            waiting += (*item.keys(), *item.values())
        elif isinstance(item, (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)):
            waiting += list(item)
        elif isinstance(item, Namespace):
            waiting.append(item._Namespace__attrs)
    return total


def bounded(size: int) -> int:
    """``size`` itself. Raises SecurityError when it is more than ``MAX_VALUE``."""
    if size > MAX_VALUE:
        raise SecurityError(f"a value of more than {MAX_VALUE:,} bytes")
    return size


def whole(value: Any) -> Any:
    """What a lazy filter promises, made now: its size is known then."""
    return list(value) if isinstance(value, Iterator) and not isinstance(value, LoopContext) else value


def product(operator: str, left: Any, right: Any) -> int:
    """The largest that a binary operation may give."""
    size = weigh(left) + weigh(right)
    if operator == "%" and isinstance(left, (str, bytes)):
        return formatted(str(left), right)
    numbers = [value for value in (left, right) if isinstance(value, int)]
    if any(number.bit_length() > MAX_INTEGER_BITS for number in numbers):
        return MAX_VALUE + 1
    if operator == "**" and len(numbers) == 2 and left.bit_length() * max(right, 0) > MAX_INTEGER_BITS:
        return MAX_VALUE + 1
    if operator == "*" and len(numbers) == 1 and not isinstance(left, float) and not isinstance(right, float):
        return (size - weigh(numbers[0]) - STEP) * max(numbers[0], 1)
    return size


def formatted(pattern: Any, /, *args: Any, **kwargs: Any) -> int:
    """For ``%`` and ``format``: every field may show the largest argument, or be four digits wide."""
    text = str(pattern)
    if _WIDE.search(text.replace("{{", "").replace("}}", "")):
        return MAX_VALUE + 1
    largest = max((weigh(value) for value in (*args, *kwargs.values())), default=0)
    return len(text) + (text.count("%") + text.count("{")) * (largest + 9999)


def _replaced(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> int:
    whole_text = str(text)
    return len(whole_text) + whole_text.count(str(old)) * weigh(new)


def _joined(items: Any, separator: Any = "", *_: Any, **more: Any) -> int:
    count = len(items) if hasattr(items, "__len__") else 1
    return count * weigh(more.get("d", separator)) + weigh(items)


def _indented(text: Any, width: Any = 4, *_: Any, **__: Any) -> int:
    return (str(text).count("\n") + 1) * (width if isinstance(width, int) else weigh(width))


def _rounded(_: Any, precision: Any = 0, *__: Any, **___: Any) -> int:
    return abs(precision) << 16 if isinstance(precision, int) else 0


ESTIMATES: dict[str, Callable[..., int]] = {
    "format": formatted,
    "indent": _indented,
    "join": _joined,
    "replace": _replaced,
    "round": _rounded,
    "str.join": lambda separator, items=(), *_: _joined(items, separator),
    "str.replace": _replaced,
}
"""By filter, or by method of a text: what a call with these arguments may give, in bytes."""
