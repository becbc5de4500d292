"""What may be asked for, as options: the same for ``ask`` and for a request to somebody else (``nonce``); and what the
verbs that run a model share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from verity.engines import SCRIPTED
from verity.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--model", default=None, metavar="M", help="A model's name or digest.  [default: the catalogue's]"),
    click.option("--system", metavar="S", help="A system message."),
    click.option("--max-tokens", type=int, metavar="N", help="The most tokens to write."),
    click.option("--temperature", type=float, metavar="T", help="0 is greedy.  [default: 0.8]"),
    click.option("--top-k", type=int, metavar="K", help="Keep the K most likely tokens, 0 for all.  [default: 40]"),
    click.option("--top-p", type=float, metavar="P", help="Keep the most likely tokens up to P.  [default: 0.95]"),
    click.option("--min-p", type=float, metavar="P", help="Drop tokens below P of the most likely.  [default: 0]"),
    click.option("--repetition-penalty", type=float, metavar="R", help="1 is none."),
    click.option("--presence-penalty", type=float, metavar="X", help="0 is none."),
    click.option("--frequency-penalty", type=float, metavar="X", help="0 is none."),
    click.option("--stop", "stops", multiple=True, metavar="TEXT", help="End the answer before TEXT; may be repeated."),
    click.option("--context", "context_size", type=click.IntRange(min=1), metavar="N", help="Tokens of context."),
)


def request_options(command: _F) -> _F:
    """Add them all to a command; those that are not given are None or ()."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


adapter_option = click.option(
    "--adapter", "adapters", multiple=True, metavar="A[=SCALE]", help="An adapter; may be repeated, in order."
)


release_option = click.option(
    "--require-release/--no-require-release",
    default=None,
    help="Load only what a trusted publisher released.  [default: as config.toml says]",
)


def read_adapter(text: str) -> tuple[str, float]:
    """A name and a scale, 1 unless given. Raises UsageError."""
    name, given_scale, scale = text.partition("=")
    try:
        return name, float(scale) if given_scale else 1.0
    except ValueError as error:
        raise UsageError(f"{scale[:40]!r} is no scale for an adapter", "give a number: --adapter NAME=0.5") from error


def check_folder(save: str | None, what: str) -> None:
    """Tell before the work that there is no folder to save in. Raises UsageError."""
    if save is not None and not Path(save).absolute().parent.is_dir():
        raise UsageError(f"there is no folder to save {save} in", f"make it first: {what} logged either way")


def scripted(model: str | None) -> Any:
    """``--model scripted``: the deterministic fake, for trying out programs. No verification accepts its receipts."""
    from verity.engines.scripted import ScriptedEngine

    return ScriptedEngine() if model == SCRIPTED else None


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value not in (None, ())}
