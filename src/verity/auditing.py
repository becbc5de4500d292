"""Many bundles in one go. Those of one device are replayed in one process, in the order in which most is shared."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from verity.api import sharing, verify
from verity.challenge import beside
from verity.errors import UsageError, VerityError
from verity.statements.bundle import Bundle, Disclosure
from verity.store.bundles import read_bundle
from verity.verify.report import Report

Source = Bundle | bytes | str | os.PathLike[str]


def verify_many(sources: Sequence[Source], **options: Any) -> list[Report | VerityError]:
    """The report on each bundle, in the order of ``sources``, or the error for one that cannot be checked.

    The options are those of ``verity.verify``, but ``replayer``: what they name is expected of every bundle.
    Bundles of one device that name one model share a process, in which it is loaded once, and a prompt that several
    begin with is computed once. Those of another device never do: a claim that took the process over could lie about
    the others, and no device shall lie about another's. Raises UsageError for a replayer.
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
    makers = {place: _maker(bundle, place) for place, bundle in bundles.items()}
    ordered = sorted(bundles, key=lambda place: (makers[place], _beginning(bundles[place])))
    for _, places in itertools.groupby(ordered, key=makers.__getitem__):
        group = {place: bundles[place] for place in places}
        found |= _of_one_device(group, {place: _options(sources[place], options) for place in group})
    return [found[place] for place in range(len(sources))]


def _of_one_device(bundles: dict[int, Bundle], options: dict[int, dict[str, Any]]) -> dict[int, Report | VerityError]:
    first = next(iter(options.values()))
    if first.get("replay") is False and not first.get("spot"):
        return {place: _report(bundle, options[place]) for place, bundle in bundles.items()}
    process = {name: first.get(name) for name in ("home", "threads", "progress")}
    with sharing(most=2 * len(bundles), limit_s=first.get("limit_s", 900.0), **process) as shared:
        return {place: _report(bundle, {**options[place], "replayer": shared}) for place, bundle in bundles.items()}


def _options(source: Source, options: dict[str, Any]) -> dict[str, Any]:
    """The states of a spot check are beside each bundle's file, unless they are named."""
    if not options.get("spot") or options.get("states") is not None or not isinstance(source, str | os.PathLike):
        return options
    return {**options, "states": beside(source)}


def _report(bundle: Bundle, options: dict[str, Any]) -> Report | VerityError:
    try:
        return verify(bundle, **options)
    except VerityError as error:
        return error


def _maker(bundle: Bundle, place: int) -> str:
    """The device whose signatures hold; of a bundle without, nobody else's: anyone can write another's key into it."""
    device = bundle.receipt.intent.device()
    try:
        for envelope in (bundle.receipt.intent, bundle.receipt.result):
            envelope.check(device)
    except VerityError:
        return f"{device} {place}"
    return device


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
