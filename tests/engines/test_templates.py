"""Chat templates are a stranger's program: sandboxed, capped, and every failure is an EngineError."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from verity.engines import sandbox
from verity.engines.templates import CHATML, MAX_RENDERED, MAX_TEMPLATE, ChatTemplate
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


LONG = "{% set x = 'a' * 1000000 %}"
GROWING = "{% set ns = namespace(x=[1], s='a') %}{% for i in range(200) %}"
BOMBS = {
    "repeated text": "{{ 'x' * 10**10 }}",
    "repeated list": "{{ [0] * 10**10 }}",
    "tower of powers": "{{ 10 ** (10 ** 10) }}",
    "numbers that grow": GROWING.replace("[1]", "9") + "{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "long number": "{{ 0x" + "f" * 20_000 + " % 7 }}",
    "padding": "{{ 'x'.center(10**10) }}",
    "padding with zeros": "{{ 'x'.zfill(10**10) }}",
    "padding by attr": "{{ ('x'|attr('rjust'))(10**10) }}",
    "padding by filter": "{{ 'x'|center(10**10) }}",
    "tabs": "{{ '\t'.expandtabs(10**10) }}",
    "format width": "{{ '{:9999999999}'.format(1) }}",
    "format width as an argument": "{{ '{:{w}}'.format(1, w=9999999999) }}",
    "format map": "{{ '{a:9999999999}'.format_map({'a': 1}) }}",
    "printf width": "{{ '%9999999999d' % 1 }}",
    "printf width as an argument": "{{ '%*d' % (9999999999, 1) }}",
    "many large fields": LONG + "{{ ('%(a)s' * 100000) % {'a': x} }}",
    "many large fields in format": LONG + "{{ ('{0}' * 100000).format(x) }}",
    "many large fields in a filter": LONG + "{{ ('%s' * 1000)|format(x) }}",
    "joined": LONG + "{{ x.join(range(10000)|map('string')) }}",
    "joined by filter": LONG + "{{ range(10000)|reverse|join(x) }}",
    "replaced": LONG + "{{ x.replace('a', x) }}",
    "replaced by filter": LONG + "{{ x|replace('', x) }}",
    "replaced lazily": LONG + "{{ range(99999)|map('string')|map('replace', '1', x)|list|length }}",
    "indented": "{{ 'a\n\n'|indent(10**10) }}",
    "rounded": "{{ 1.5|round(10**8, 'ceil') }}",
    "translated": "{{ 'aaa'.translate({97: 'x'}) }}",
    "bytes of a number": "{{ (1).to_bytes(10**10, 'big') }}",
    "doubled by ~": GROWING + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "doubled by +": GROWING + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "lists of one list": GROWING + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "dictionaries of one": GROWING + "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x|tojson }}",
    "keys of one tuple": GROWING + "{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
    "namespaces of one": "".join(f"{{% set n{i} = namespace() %}}" for i in range(60))
    + "".join(f"{{% set n{i}.a = n{i + 1} %}}{{% set n{i}.b = n{i + 1} %}}" for i in range(59))
    + "{{ n0 }}",
    "views of one": LONG + "{{ [{'a': x}.items()] * 1000 }}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops that pick nothing": "{% for a in range(99999) %}{% for b in range(99999) if 0 %}{% endfor %}{% endfor %}",
    "recursive loop": "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}",
    "text in a variable": "{% set t %}{% for a in range(99999) %}" + "y" * 20_000 + "{% endfor %}{% endset %}",
    "text of a macro": "{% macro m() %}" + "y" * 20_000 + "{% endmacro %}"
    "{% for a in range(99999) %}{% set t = m() %}{% endfor %}",
    "slices": "{% set x = 'a' * 4000000 %}{% for a in range(99999) %}{% set t = x[1:] %}{% endfor %}",
    "comparisons": LONG
    + "{% set y = 'a' * 1000000 %}{% for a in range(99999) %}{% if x == y %}{% endif %}{% endfor %}",
    "megabytes": "{% for a in range(99999) %}" + "y" * 1000 + "{% endfor %}",
    "a long refusal": "{{ raise_exception('x' * 1000000) }}",
    "the time in many words": "{{ strftime_now('%c' * 100000) }}",
    "deep parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "a long sum": "{{ 1" + " + 1" * 40_000 + " }}",
    "a way out by attributes": "{{ namespace.__init__.__globals__ }}",
    "a way out by format": "{{ '{0.__class__.__mro__}'.format(1) }}",
    "a way out by filter": "{{ (''|attr('__class__')).mro() }}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_the_sandbox_itself(name: str) -> None:
    """No limit of the process is set here: what is refused is so before it takes the memory."""
    before = peak()
    with pytest.raises(EngineError) as caught:
        ChatTemplate(BOMBS[name], {}).render(HELLO, "2026-02-03T04:05:06Z")
    assert len(str(caught.value)) < 500
    assert peak() - before < 2 * sandbox.MAX_WORK


def peak() -> int:
    """The most memory that this process has ever held, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def test_many_calls_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}"
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.05)
    with pytest.raises(EngineError, match="seconds"):
        ChatTemplate(calls, {}).render(HELLO, None)
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 600.0)
    monkeypatch.setattr(sandbox, "MAX_WORK", 1 << 20)
    with pytest.raises(EngineError, match="too many steps"):
        ChatTemplate(calls, {}).render(HELLO, None)


def test_the_count_cannot_be_turned_back() -> None:
    """The counting stands in the template's program under names that ``map`` can be given."""
    back = "{% for a in range(99999) %}{% for b in range(99) %}{{ [-10**12]|map('#step')|list|length }}"
    with pytest.raises(EngineError, match="too many steps"):
        ChatTemplate(back + "{% endfor %}{% endfor %}", {}).render(HELLO, None)


LLAMA_STYLE = """{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = strftime_now("%d %b %Y") %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}{% set messages = messages[1:] %}
{%- else %}{% set system_message = "" %}{% endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday: " + date_string + "\n\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' ~ message['content'] | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
MISTRAL_STYLE = """{{ bos_token }}{% set loop_messages = messages %}
{%- if messages[0].role == 'system' %}{% set system, loop_messages = messages[0].content, messages[1:] %}{% endif %}
{%- set ns = namespace(count=0, seen=[], text='') %}
{%- for m in loop_messages if m.role in ['user', 'assistant'] %}
    {%- if (m.role == 'user') != (ns.count % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
    {%- if m.role == 'user' %}
        {{- '[INST] ' + (system + '\n\n' if loop.first and system is defined else '') + m.content + '[/INST]' }}
    {%- else %}{{ ' ' ~ m.content.split('</think>')[-1].lstrip('\n') ~ eos_token }}{% endif %}
    {%- set ns.count = ns.count + 1 %}{% set ns.seen = ns.seen + [m.role] %}{% set ns.text = ns.text ~ m.content %}
    {%- if loop.last %}{% continue %}{% endif %}
{%- endfor %}"""
TOOLS_STYLE = """{%- macro show(fields, depth=2) %}{% for key, value in fields.items() | list -%}
{{ ' ' * depth }}{{ '%-8s' % key }}: {{ '{:>4}|{}'.format(loop.index, value|string) }}
{% if not loop.last %}{{ caller is defined }}{% endif %}{% endfor %}{% endmacro %}
{%- for message in messages | selectattr('role', 'ne', 'tool') | list -%}
{{ message | tojson }}
{{ show({'role': message.role | upper, 'size': message.content | length, 'words': message.content.split()|join('-')})}}
{%- for word in (message.content | replace('"', "'")).splitlines() | map('trim') | unique %}{{ word | indent(2) }}
{% endfor %}{{ [1, 2, 3][::-1] | sum }}{{ (1.25 | round(1), 2 ** 10, 7 // 2) | join(' ') }}{% endfor %}"""
CONVERSATIONS = [
    [Message("user", 'Hello {{ 7 * 7 }} "there"')],
    [
        Message("system", " Be brief. "),
        Message("user", "Grüße, 世界\n\nWhy?"),
        Message("assistant", "<think>so</think>\nBecause."),
        Message("user", "More " * 20_000),
    ],
]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("source", [CHATML, LLAMA_STYLE, MISTRAL_STYLE, TOOLS_STYLE])
def test_real_templates_come_out_as_in_jinja_itself(source: str, conversation: list[Message]) -> None:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    rendered = ChatTemplate(source, special).render(conversation, "2026-02-03T04:05:06Z")
    assert rendered == plainly(source, conversation, special)
    assert conversation[-1].content.strip()[:5] in rendered


def plainly(source: str, conversation: list[Message], special: dict[str, str]) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    arguments: dict[str, Any] = {"raise_exception": None, "strftime_now": lambda _: "03 Feb 2026", **special}
    messages = [{"role": m.role, "content": m.content} for m in conversation]
    return environment.from_string(source).render(messages=messages, add_generation_prompt=True, **arguments)


def test_a_template_may_refuse_a_conversation() -> None:
    twice = [Message("user", "one"), Message("user", "two")]
    with pytest.raises(EngineError, match="refused these messages: roles must alternate"):
        ChatTemplate(MISTRAL_STYLE, {"bos_token": "", "eos_token": ""}).render(twice, None)


def test_a_long_conversation_fits() -> None:
    conversation = [Message(("user", "assistant")[i % 2], "word " * 1000) for i in range(200)]
    rendered = ChatTemplate(MISTRAL_STYLE, {"bos_token": "", "eos_token": ""}).render(conversation, None)
    assert 1_000_000 < len(rendered) < MAX_RENDERED


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{%} abmessages[]()|.+'\"0123456789#-\n", max_size=60))
def test_any_text_renders_or_is_an_engine_error(source: str) -> None:
    with contextlib.suppress(EngineError):
        assert isinstance(ChatTemplate(source, {"bos_token": "<s>"}).render(HELLO, None), str)
