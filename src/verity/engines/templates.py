"""Chat templates: Jinja from the model's own metadata, so hostile until proven otherwise.

Rendered in a sandbox that counts (engines/sandbox.py), with caps on the template and on the rendered text. The clock
that some templates ask for is an argument, so that a replay can give the same one.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from verity.engines.engine import Message
from verity.errors import EngineError

if TYPE_CHECKING:
    from jinja2 import Template

    from verity.engines.sandbox import Sandbox

MAX_TEMPLATE = 256 << 10
MAX_RENDERED = 8 << 20
_MAX_SAID = 300
_MAX_CLOCK_PATTERN = 200
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Used for a model whose file carries no template; committed like any other."""


class ChatTemplate:
    """One compiled template. Raises EngineError for one that is too large or does not compile."""

    def __init__(self, source: str, special_tokens: dict[str, str]) -> None:
        if len(source) > MAX_TEMPLATE:
            raise EngineError(f"the model's chat template is larger than {MAX_TEMPLATE:,} characters")
        self.digest = hashlib.sha256(source.encode()).hexdigest()
        self.uses_clock = "strftime_now" in source
        self._special_tokens = special_tokens
        self._sandbox, self._template = _compile(source)

    def render(self, messages: Sequence[Message], clock: str | None) -> str:
        """The prompt for ``messages``, ready for the assistant's turn. Raises EngineError."""
        import jinja2

        arguments: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "add_generation_prompt": True,
            "strftime_now": _clock(clock),
            **self._special_tokens,
        }
        size, parts = 0, []
        self._sandbox.begin()
        try:
            for part in self._template.generate(arguments):
                size += len(part)
                if size > MAX_RENDERED:
                    raise EngineError(f"the chat template wrote more than {MAX_RENDERED:,} characters")
                parts.append(part)
        except EngineError:
            raise
        except jinja2.TemplateError as error:
            raise EngineError(f"the model's chat template refused these messages: {_said(error)}") from error
        except Exception as error:  # a stranger's program: it may raise anything
            raise EngineError(f"the model's chat template failed: {type(error).__name__}: {_said(error)}") from error
        return "".join(parts)


def _compile(source: str) -> tuple[Sandbox, Template]:
    from verity.engines.sandbox import Sandbox

    sandbox = Sandbox({"tojson": lambda value, **_: json.dumps(value, ensure_ascii=False)})
    sandbox.globals["raise_exception"] = _refuse
    try:
        return sandbox, sandbox.from_string(source)
    except Exception as error:  # deep nesting ends in errors of Python's own compiler
        raise EngineError(f"the model's chat template does not compile: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What an error says, which may be the template's own words: not all of it."""
    return str(error)[:_MAX_SAID]


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(str(message))


def _clock(clock: str | None) -> Any:
    def strftime_now(pattern: str) -> str:
        if clock is None:
            raise EngineError("the chat template asks for the time and none was given")
        if len(pattern) > _MAX_CLOCK_PATTERN:  # the C library makes room for 256 times as much
            raise EngineError("the chat template asks for the time in too many words")
        return datetime.datetime.fromisoformat(clock).strftime(pattern)

    return strftime_now
