"""Chat templates are a stranger's program: sandboxed, capped, and every failure is an EngineError."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verity.engines.templates import CHATML, MAX_TEMPLATE, ChatTemplate
from verity.errors import EngineError
from verity.statements.receipt import Message

HELLO = [Message("user", "Hello {{ 7 * 7 }}")]


def test_chatml() -> None:
    rendered = ChatTemplate(CHATML, {}).render(HELLO, None)
    assert rendered == "<|im_start|>user\nHello {{ 7 * 7 }}<|im_end|>\n<|im_start|>assistant\n"


def test_the_clock_is_an_argument() -> None:
    template = ChatTemplate("{{ strftime_now('%d %B %Y') }}", {})
    assert template.uses_clock
    assert template.render(HELLO, "2026-02-03T04:05:06Z") == "03 February 2026"
    with pytest.raises(EngineError, match="asks for the time"):
        template.render(HELLO, None)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('no system role') }}",
        "{% for a in range(999999999) %}x{% endfor %}",
        "{{ 'x' * 99999999 }}",
        "{{ messages[7].content }}{{ undefined_thing.attribute }}",
        "{{ 1 / 0 }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages|xmlattr }}",
        "{{ 3|dictsort }}",
        "{{ messages|random }}",
        "{{ lipsum() }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_hostile_templates_are_refused(source: str) -> None:
    with pytest.raises(EngineError):
        ChatTemplate(source, {}).render(HELLO, None)


def test_a_template_that_does_not_compile_or_is_too_large() -> None:
    with pytest.raises(EngineError, match="does not compile"):
        ChatTemplate("{% if %}", {})
    with pytest.raises(EngineError, match="does not compile"):
        ChatTemplate("{% for a in b %}" * 30 + "{% endfor %}" * 30, {})
    with pytest.raises(EngineError, match="larger than"):
        ChatTemplate("x" * (MAX_TEMPLATE + 1), {})


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{%} abmessages[]()|.+'\"0123456789#-\n", max_size=60))
def test_any_text_renders_or_is_an_engine_error(source: str) -> None:
    with contextlib.suppress(EngineError):
        assert isinstance(ChatTemplate(source, {"bos_token": "<s>"}).render(HELLO, None), str)
