"""The replay process: read one request from stdin, give up what is not needed, replay, answer in lines on stdout.

Run as ``python -m verity.replay_child`` by replayer.py. What it opens before it is locked down is its own program and
the library that computes; the model file comes after.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from verity.engines.engine import AdapterFile, Engine
from verity.engines.grammar import compiler
from verity.engines.numerics import Numerics, measure, setting_of
from verity.errors import FormatError, VerityError
from verity.statements.strict import canonical
from verity.verify.kinds import AnyClaim, replay_claim
from verity.verify.margins import measure as measure_margins
from verity.verify.replay import CannotReplay, Claim, Replayed

STEPS = ("measuring numerics", "replaying")
MAX_SAID = 1000
_MEASURING, _REPLAYING = range(2)
_ROUNDING = ("flash_attention", "kv_cache")
_SYSTEM = ("/usr", "/lib", "/lib64", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system")
_READABLE = (sys.prefix, sys.base_prefix, *_SYSTEM)


class Request(msgspec.Struct, frozen=True):
    path: str
    claim: AnyClaim
    adapters: list[str]
    known: dict[str, Numerics]
    threads: int | None
    micro_batch: int
    memory_bytes: int
    mapped_bytes: int
    cpu_s: int
    parent: int


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line from the child: how far it is, what it found, or why it could not."""

    progress: tuple[int, int, int] | None = None  # done, total, which of STEPS
    replayed: Replayed | None = None
    setting: str = ""
    problem: str = ""
    hint: str = ""


def replay_apart(engine: Engine, request: Request, tell: Callable[[int, int, int], None]) -> tuple[str, Replayed]:
    """The child's work, on a loaded engine: measure the numerics unless they are known, then replay under them."""
    claim = request.claim
    setting = setting_of(engine)
    numerics = request.known.get(setting)
    measured = "" if numerics else setting
    if numerics is None:
        numerics = measure(engine, lambda done, total: tell(done, total, _MEASURING))

    def replaying(done: int, total: int) -> None:
        tell(done, total, _REPLAYING)

    outcome = margins = None
    if numerics.exact and claim.numerics == numerics and engine.context == claim.context:
        outcome = replay_claim(engine, claim, replaying)
    elif isinstance(claim, Claim):
        margins = measure_margins(engine, claim, replaying)
    return measured, Replayed(numerics=numerics, engine=engine.description, outcome=outcome, measured=margins)


def main() -> None:
    """The child: read one request from stdin, lock down, replay, answer on stdout."""
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing that a library prints gets into the answer
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)

    def send(line: Line) -> None:
        channel.write(msgspec.json.encode(line) + b"\n")

    try:
        setting, replayed = _replay_locked(request, lambda *step: send(Line(progress=step)))
        send(Line(replayed=replayed, setting=setting))
    except (CannotReplay, VerityError) as reason:
        send(Line(problem=str(reason)[:MAX_SAID], hint=reason.hint))
    except MemoryError:
        send(Line(problem="the replay needs more memory than it is allowed"))
    except Exception as error:  # a stranger's model: the engine may meet what nobody thought of
        send(Line(problem=f"the replay failed ({type(error).__name__})"))


def _replay_locked(request: Request, tell: Callable[[int, int, int], None]) -> tuple[str, Replayed]:
    from verity.engines.library import describe_library, library
    from verity.engines.llama import LlamaEngine
    from verity.engines.lockdown import lock_down

    library()
    describe_library()
    import numpy as np

    import verity.engines.sandbox  # noqa: F401 - loaded while files of the library may still be opened

    np.exp(np.zeros(1))
    if isinstance(request.claim, Claim) and request.claim.grammar is not None:
        compiler()
        import llguidance.numpy  # noqa: F401
    lock_down(
        memory_bytes=request.memory_bytes,
        mapped_bytes=request.mapped_bytes,
        cpu_s=request.cpu_s,
        readable=[*map(Path, (request.path, *request.adapters, *filter(None, sys.path), *_READABLE))],
    )
    if os.getppid() != request.parent:
        raise CannotReplay("the verifier is gone")
    engine = LlamaEngine(
        Path(request.path),
        context_size=request.claim.context["size"],
        threads=request.threads,
        micro_batch=request.micro_batch,
    )
    if canonical(_without_numerics(engine.context)) != canonical(_without_numerics(request.claim.context)):
        named = str(request.claim.context)[:MAX_SAID]
        raise FormatError(f"the receipt names context options that this engine does not have: {named}")
    used = zip(request.claim.adapters, request.adapters, strict=True)
    engine.use_adapters([AdapterFile(adapter.blake3, Path(path), adapter.scale) for adapter, path in used])
    return replay_apart(engine, request, tell)


def _without_numerics(context: dict[str, Any]) -> dict[str, Any]:
    """Options of a context but for those that change only the rounding: with other ones, a replay is statistical."""
    return {name: value for name, value in context.items() if name not in _ROUNDING}


if __name__ == "__main__":
    main()
