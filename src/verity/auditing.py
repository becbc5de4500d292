"""Many bundles in one go. Those of one device are replayed in one process, in the order in which most is shared."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from verity.api import sharing, verify
from verity.errors import UsageError, VerityError
from verity.statements.bundle import Bundle, Disclosure
from verity.store.bundles import read_bundle
from verity.verify.report import Report

Source = Bundle | bytes | str | os.PathLike[str]


def verify_many(sources: Sequence[Source], **options: Any) -> list[Report | VerityError]:
    """The report on each bundle, in the order of ``sources``, or the error for one that cannot be read.

    The options are those of ``verity.verify``, but ``replayer``: what they name is expected of every bundle.
    Bundles of one device that name one model share a process, in which it is loaded once, and a prompt that several
    begin with is computed once. Those of another device never do: a claim that took the process over could lie about
    the others, and no device shall lie about another's. Raises UsageError for options that cannot be.
    """
    if "replayer" in options:
        raise UsageError("bundles that are verified together have no replayer of their own", "leave it out")
    found: dict[int, Report | VerityError] = {}
    bundles: dict[int, Bundle] = {}
    for place, source in enumerate(sources):
        try:
            bundles[place] = read_bundle(source)
        except VerityError as error:
            found[place] = error
    ordered = sorted(bundles, key=lambda place: (_device(bundles[place]), _beginning(bundles[place])))
    for _, places in itertools.groupby(ordered, key=lambda place: _device(bundles[place])):
        found |= _of_one_device({place: bundles[place] for place in places}, options)
    return [found[place] for place in range(len(sources))]


def _of_one_device(bundles: dict[int, Bundle], options: dict[str, Any]) -> dict[int, Report | VerityError]:
    if not options.get("replay", True):
        return {place: _report(bundle, options) for place, bundle in bundles.items()}
    process = {name: options.get(name) for name in ("home", "threads", "progress")}
    with sharing(most=len(bundles), limit_s=options.get("limit_s", 900.0), **process) as shared:
        return {place: _report(bundle, {**options, "replayer": shared}) for place, bundle in bundles.items()}


def _report(bundle: Bundle, options: dict[str, Any]) -> Report | VerityError:
    try:
        return verify(bundle, **options)
    except UsageError:
        raise
    except VerityError as error:
        return error


def _device(bundle: Bundle) -> str:
    return bundle.receipt.intent.device()


def _beginning(bundle: Bundle) -> list[int]:
    """The prompt's tokens, as the file says: whether it is so is checked later, here they are for the order alone."""
    if not isinstance(bundle.disclosure, Disclosure):
        return []
    lines = (line for line in bundle.disclosure.intent if line.field == "prompt_tokens" and line.opened)
    said: Any = next((line.value for line in lines), [])
    try:
        return msgspec.convert(said, list[int])
    except msgspec.ValidationError:
        return []
