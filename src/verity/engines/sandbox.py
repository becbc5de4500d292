"""Where chat templates run: Jinja's immutable sandbox, with every step and every byte they make counted.

Jinja's own sandbox keeps a template away from Python's insides, and lets it loop for ever and fill the memory. Here
every loop step, call, operator, filter, literal and output is counted, and refused beyond the limits below. A single
step is bounded because its operands are: no value is larger than ``sizes.MAX_VALUE``, and the methods and filters whose
result can be far larger than their operands are missing or estimated first. No thread or signal is needed, so the same
bound holds in an owner's process and in a replay.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from verity.engines.sizes import ESTIMATES, MAX_INTEGER_BITS, STEP, bounded, formatted, product, weigh, whole

MAX_WORK = 256 << 20
"""Bytes of all values that one rendering makes, and ``STEP`` more for every step."""
MAX_SECONDS = 10.0

FILTERS = """abs attr capitalize count d default dictsort e escape first float format groupby indent int items join last
    length list lower map max min reject rejectattr replace reverse round safe select selectattr sort string sum title
    tojson trim unique upper""".split()  # noqa: SIM905
METHODS = frozenset(
    """capitalize casefold count endswith find format format_map get index isalnum isalpha isascii isdecimal isdigit
    isidentifier islower isnumeric isprintable isspace istitle isupper items join keys lower lstrip partition
    removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase
    title upper values""".split()  # noqa: SIM905
)
"""What chat templates use. Those that pad, translate or encode are missing: they make much out of little."""

Stepper = Callable[..., Any]


class Sandbox(ImmutableSandboxedEnvironment):
    """One template's environment. ``begin`` starts a rendering's count; SecurityError is how it is refused."""

    # All are intercepted: what is not would be computed when the template is compiled.
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, filters: dict[str, Stepper]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols"],
            optimized=False,
            finalize=pass_context(lambda _, value: self.charge(value)),
        )
        for source_of_chance in ("lipsum", "cycler"):
            self.globals.pop(source_of_chance)
        known = {**self.filters, **filters}
        self.filters = {name: self._counted(name, known[name]) for name in FILTERS}
        # A template can write these names in a text only, as for ``map``, and gains nothing by it. They stand for what
        # _Counting puts into its program.
        self.filters |= {"#step": self._step, "#value": self.charge, "#text": self._text}
        self.begin()

    def begin(self) -> None:
        self._work, self._until = 0, time.monotonic() + MAX_SECONDS

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Counting().visit(tree)
        return tree.set_environment(self)  # type: ignore[return-value]

    def charge(self, value: Any) -> Any:
        """Count a value that the template has made, and hand it on."""
        if type(value) is int and value.bit_length() > MAX_INTEGER_BITS:
            raise SecurityError(f"a number of more than {MAX_INTEGER_BITS:,} bits")
        self._step(bounded(weigh(value)))
        return value

    def _step(self, work: int) -> bool:
        self._work += STEP + max(work, 0)
        if self._work > MAX_WORK:
            raise SecurityError("too many steps, or too much text, for a chat template")
        if time.monotonic() > self._until:
            raise SecurityError(f"a chat template may take {MAX_SECONDS:.0f} seconds")
        return True

    def _text(self, parts: list[Any]) -> str:
        return str(self.charge("".join(str(self.charge(part)) for part in parts)))

    def _counted(self, name: str, function: Stepper) -> Stepper:
        skip = int(hasattr(function, "jinja_pass_arg"))  # Jinja's own first argument, such as the context

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            own, given = args[:skip], [whole(value) for value in args[skip:]]
            self._consider(name, given, kwargs)
            return self.charge(function(*own, *given, **kwargs))

        return counted

    def _consider(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Refuse a filter or method of a builtin type whose result would be too large."""
        for value in (*args, *kwargs.values()):
            bounded(weigh(value))
        if name in ESTIMATES:
            bounded(ESTIMATES[name](*args, **kwargs))
        self._step(0)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        given = [whole(value) for value in args]
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            __self._consider(f"str.{__obj.__name__}", [owner, *given], kwargs)
        else:
            __self._consider("", given, kwargs)
        return __self.charge(super().call(__context, __obj, *given, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        bounded(product(operator, left, right))
        return self.charge(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Stepper | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def counted(*args: Any, **kwargs: Any) -> str:
            bounded(formatted(value.__self__, *args, **kwargs))
            return wrapped(*args, **kwargs)

        return counted

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, (str, bytes, int, float, list, tuple, dict)) and attr not in METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)


class _Counting(NodeTransformer):
    """Puts the counting into a template's program, where Jinja has no hook for it."""

    def _body(self, node: Any) -> nodes.Node:
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filter(nodes.Const(text), "#step")))
        return node  # type: ignore[no-any-return]

    visit_Macro = visit_CallBlock = visit_Block = _body  # noqa: N815 - Jinja's names

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self._body(node)
        if node.test is not None:
            node.test = nodes.And(_filter(nodes.Const(0), "#step"), node.test)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes), "#text")

    def _literal(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "#value") if getattr(node, "ctx", "load") == "load" else node

    visit_List = visit_Tuple = visit_Dict = _literal  # noqa: N815

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, "#value") if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filter(node.expr, "#value")
        return node


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None)
