"""The replay process: give up what is not needed, open the model, then replay one claim after the other from stdin,
with an answer to each on stdout.

Run as ``python -m verity.replay_child`` by replay_process.py. What it opens before it is locked down is its own program
and the library that computes; the model file and the claims come after.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec.structs import replace

from verity.engines.engine import AdapterFile, Engine
from verity.engines.grammar import compiler
from verity.engines.network import measure_network, setting_of_network
from verity.engines.numerics import Numerics, measure, setting_of
from verity.errors import FormatError, VerityError
from verity.statements.adapters import AdapterUse
from verity.statements.strict import canonical
from verity.verify.audit import Auditor
from verity.verify.kinds import AnyClaim, replay_claim
from verity.verify.margins import measure as measure_margins
from verity.verify.replay import CannotReplay, Claim, Replayed

STEPS = ("measuring numerics", "replaying")
MAX_SAID = 1000
LENGTH_BYTES = 8
"""Before each message to the process stands its length, big-endian."""
_MEASURING, _REPLAYING = range(2)
_ROUNDING = ("flash_attention", "kv_cache")
_SYSTEM = ("/usr", "/lib", "/lib64", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system")
_READABLE = (sys.prefix, sys.base_prefix, *_SYSTEM)

_Tell = Callable[[int, int, int], None]
_Replay = Callable[[AnyClaim, _Tell], tuple[str, Replayed]]
"""Measures the numerics unless they are known, then replays a claim under them."""


class Setup(msgspec.Struct, frozen=True):
    """What the process is for, and its limits: the first message. Claims of these files and options follow."""

    path: str
    network: bool
    context: dict[str, Any]
    adapters: list[AdapterUse]
    adapter_paths: list[str]
    grammars: bool
    known: dict[str, Numerics]
    threads: int | None
    micro_batch: int
    memory_bytes: int
    mapped_bytes: int
    cpu_s: int
    parent: int


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line from the child: how far it is, what it found, or why it could not. ``over``: it takes no more claims."""

    progress: tuple[int, int, int] | None = None  # done, total, which of STEPS
    replayed: Replayed | None = None
    setting: str = ""
    problem: str = ""
    hint: str = ""
    over: bool = False


def replay_apart(auditor: Auditor, claim: AnyClaim, known: dict[str, Numerics], tell: _Tell) -> tuple[str, Replayed]:
    """The child's work, on a loaded engine: measure the numerics unless they are known, then replay under them. What is
    measured is added to ``known``."""
    engine = auditor.engine
    setting = setting_of(engine)
    numerics = known.get(setting)
    measured = "" if numerics else setting
    if numerics is None:
        numerics = known[setting] = measure(engine, lambda done, total: tell(done, total, _MEASURING))

    def replaying(done: int, total: int) -> None:
        tell(done, total, _REPLAYING)

    found = Replayed(numerics=numerics, engine=engine.description, outcome=None)
    if numerics.exact and claim.numerics == numerics and engine.context == claim.context:
        found = replace(found, outcome=auditor.replay(claim, replaying))
    elif isinstance(claim, Claim):
        try:
            found = replace(found, measured=measure_margins(engine, claim, replaying))
        except (CannotReplay, VerityError) as reason:  # that numerics differ is found all the same
            found = replace(found, unmeasured=str(reason)[:MAX_SAID])
    return measured, found


def main() -> None:
    """The child: read the setup, lock down, open the model; then answer each claim with a line that is no progress."""
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing that a library prints gets into the answer

    def send(line: Line) -> None:
        channel.write(msgspec.json.encode(line) + b"\n")

    messages = _messages(sys.stdin.buffer)
    setup = msgspec.msgpack.decode(next(messages), type=Setup)
    with _telling(send, over=True):
        replay = _locked(setup)
        for message in messages:
            with _telling(send):
                claim = msgspec.msgpack.decode(message, type=AnyClaim)
                setting, replayed = replay(claim, lambda *step: send(Line(progress=step)))
                send(Line(replayed=replayed, setting=setting))


@contextlib.contextmanager
def _telling(send: Callable[[Line], None], over: bool = False) -> Iterator[None]:
    """What went wrong is the answer. After what nobody thought of the process ends."""
    try:
        yield
    except (CannotReplay, VerityError) as reason:
        send(Line(problem=str(reason)[:MAX_SAID], hint=reason.hint, over=over))
    except MemoryError:
        send(Line(problem="the replay needs more memory than it is allowed", over=True))
        sys.exit()
    except Exception as error:  # a stranger's model: the engine may meet what nobody thought of
        send(Line(problem=f"the replay failed ({type(error).__name__})", over=True))
        sys.exit()


def _messages(stream: IO[bytes]) -> Iterator[bytes]:
    """Until the verifier closes its end."""
    while length := stream.read(LENGTH_BYTES):
        yield stream.read(int.from_bytes(length, "big"))


def _locked(setup: Setup) -> _Replay:
    """What replays claims, in a process that has given everything else up."""
    _load_library(setup)
    from verity.engines.lockdown import lock_down

    lock_down(
        memory_bytes=setup.memory_bytes,
        mapped_bytes=setup.mapped_bytes,
        cpu_s=setup.cpu_s,
        readable=[*map(Path, (setup.path, *setup.adapter_paths, *filter(None, sys.path), *_READABLE))],
    )
    if os.getppid() != setup.parent:
        raise CannotReplay("the verifier is gone")
    if setup.network:
        return _network(setup)
    auditor = Auditor(_engine(setup))
    return lambda claim, tell: replay_apart(auditor, claim, setup.known, tell)


def _load_library(setup: Setup) -> None:
    """All that computes, while files of it may still be opened."""
    import numpy as np

    np.exp(np.zeros(1))
    if setup.network:
        from verity.engines import onnx

        onnx.describe_library()
        return
    import verity.engines.sandbox  # noqa: F401
    from verity.engines.library import describe_library, library
    from verity.engines.llama import LlamaEngine  # noqa: F401

    library()
    describe_library()
    if setup.grammars:
        compiler()
        import llguidance.numpy  # noqa: F401


def _engine(setup: Setup) -> Engine:
    from verity.engines.llama import LlamaEngine

    engine = LlamaEngine(
        Path(setup.path),
        context_size=setup.context["size"],
        threads=setup.threads,
        micro_batch=setup.micro_batch,
    )
    if canonical(_without_numerics(engine.context)) != canonical(_without_numerics(setup.context)):
        raise _other_options(setup)
    used = zip(setup.adapters, setup.adapter_paths, strict=True)
    engine.use_adapters([AdapterFile(adapter.blake3, Path(path), adapter.scale) for adapter, path in used])
    return engine


def _network(setup: Setup) -> _Replay:
    from verity.engines.onnx import OnnxNetwork

    def build() -> OnnxNetwork:
        return OnnxNetwork(Path(setup.path))

    network = build()
    if canonical(network.context) != canonical(setup.context):
        raise _other_options(setup)

    def replay(claim: AnyClaim, tell: _Tell) -> tuple[str, Replayed]:
        setting = setting_of_network(network)
        numerics = setup.known.get(setting)
        measured = "" if numerics else setting
        if numerics is None:
            numerics = setup.known[setting] = measure_network(build, lambda done, total: tell(done, total, _MEASURING))
        outcome = None
        if numerics.exact and claim.numerics == numerics:
            outcome = replay_claim(network, claim, lambda done, total: tell(done, total, _REPLAYING))
        return measured, Replayed(numerics=numerics, engine=network.description, outcome=outcome)

    return replay


def _other_options(setup: Setup) -> FormatError:
    return FormatError(
        f"the receipt names context options that this engine does not have: {str(setup.context)[:MAX_SAID]}"
    )


def _without_numerics(context: dict[str, Any]) -> dict[str, Any]:
    """Options of a context but for those that change only the rounding: with other ones, a replay is statistical."""
    return {name: value for name, value in context.items() if name not in _ROUNDING}


if __name__ == "__main__":
    main()
