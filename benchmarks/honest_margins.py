"""Honest outputs and their margins under other numerics, made once and kept: what calibrate.py and false_alarms.py use.

Kept in .verity/margins/<the model's digest>/: ``outputs/NAME.jsonl`` has one margin_worker.Output a line and
``margins/NAME@CHECKER.jsonl`` one margin_worker.Margins a line, NAME being what made them, such as ``train-native``.
Interrupted, it goes on where it was.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec
from blake3 import blake3

import builds
from margin_cases import NUMERICS, Case, cases, checkers
from margin_worker import Job, Margins, Output, Wanted
from verity.store.reading import Progress

_Line = TypeVar("_Line", Output, Margins)


class Cache:
    """The outputs of one model (a GGUF file) and their margins. ``progress(done, total, label)`` is told of each."""

    def __init__(self, model: Path, progress: Progress | None = None) -> None:
        self.model = model
        self.digest = blake3(model.read_bytes()).hexdigest()
        self._folder = builds.CACHE / "margins" / self.digest[:16]
        self._progress = progress
        for name in ("outputs", "margins"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)

    def honest(self, split: str, maker: str, share: float = 1.0) -> dict[str, Output]:
        """The outputs of this split that ``maker`` makes, or the first ``share`` of them, by name."""
        asked = [wanted(case) for case in cases(split, maker)]
        asked = asked[: math.ceil(share * len(asked))]
        return self.made(f"{split}-{maker}", asked, maker, self.model)

    def made(self, name: str, asked: list[Wanted], maker: str, model: Path) -> dict[str, Output]:
        """The outputs asked for, made by ``maker`` with the weights of ``model``, in the file ``name``."""
        file = self._folder / "outputs" / f"{name}.jsonl"
        here = _read(file, Output)
        missing = [each for each in asked if each.name not in here]
        self._work(maker, Job(model=str(model), file=str(file), make=missing), f"writing ({maker})")
        here = _read(file, Output)
        return {each.name: here[each.name] for each in asked}

    def margins(self, name: str, outputs: Iterable[Output], checker: str) -> dict[str, Margins]:
        """The margins of these outputs under the numerics of ``checker``, in the file ``name``@``checker``."""
        outputs = list(outputs)
        file = self._folder / "margins" / f"{name}@{checker}.jsonl"
        here = _read(file, Margins)
        missing = [output for output in outputs if output.name not in here]
        self._work(checker, Job(model=str(self.model), file=str(file), outputs=missing), f"checking ({checker})")
        here = _read(file, Margins)
        return {output.name: here[output.name] for output in outputs}

    def _work(self, numerics: str, job: Job, label: str) -> None:
        """Let a process with these numerics do the job, and count the lines that it prints."""
        total = len(job.make) + len(job.outputs)
        if not total:
            return
        job = msgspec.structs.replace(job, f16=numerics == "f16")
        folder = builds.variant("portable" if numerics == "f16" else numerics)
        environment = {**os.environ, "LLAMA_CPP_LIB_PATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("margin_worker.py"))]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as child:
            assert child.stdin is not None and child.stdout is not None  # noqa: PT018
            try:
                with contextlib.suppress(BrokenPipeError), child.stdin:
                    child.stdin.write(msgspec.json.encode(job))
                for done, _ in enumerate(child.stdout, 1):
                    if self._progress is not None:
                        self._progress(done, total, label)
            except BaseException:
                child.terminate()
                raise
        if child.returncode:
            raise RuntimeError(f"the process that computes as {numerics} ended with status {child.returncode}")


def pairs(cache: Cache, split: str, share: float = 1.0) -> dict[tuple[str, str], list[tuple[Output, Margins]]]:
    """Everything honest of one split: by (maker, checker), each output with its margins. With ``share``, the
    first part of it: enough to look at."""
    found: dict[tuple[str, str], list[tuple[Output, Margins]]] = {}
    for maker in NUMERICS:
        outputs = cache.honest(split, maker, share)
        for checker in NUMERICS:
            theirs = {name: output for name, output in outputs.items() if checker in checkers(split, name)}
            measured = cache.margins(f"{split}-{maker}", theirs.values(), checker)
            if theirs:
                found[maker, checker] = [(output, measured[name]) for name, output in theirs.items()]
    return found


def wanted(case: Case) -> Wanted:
    """What the process that makes an output is told."""
    return Wanted(name=case.name, prompt=case.prompt, sampling=case.sampling, nonce=case.nonce.hex())


def _read(file: Path, kind: type[_Line]) -> dict[str, _Line]:
    """The lines of a file by name. A last line that was cut off is taken away."""
    if not file.exists():
        return {}
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        file.write_bytes(whole)
    decoder = msgspec.json.Decoder(kind)
    return {line.name: line for line in map(decoder.decode, whole.splitlines())}
