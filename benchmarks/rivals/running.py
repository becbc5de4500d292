"""Have workers do what is missing: write outputs here, see them with another build, replay them exactly."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from builds import variant
from quantise import default_model, quantised
from rivals import lies, toploc_check
from rivals.worker import Kind, Task

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".verity" / "head-to-head"
GROUPS = (*lies.HONEST, *lies.LIES)
OTHER_BUILD = "native"
"""The verifier's build (benchmarks/builds.py) where numerics differ; every output is written with the installed one."""

Progress = Callable[[int, int | None, str], None]


class Run(NamedTuple):
    """Where the files of one run are."""

    folder: Path
    weights: dict[str, Path]

    def written(self, group: str) -> Path:
        way = lies.way_of(group)
        return self.folder / f"{group if way else 'honest'}.written.jsonl"

    def seen(self, group: str) -> Path:
        return self.folder / f"{group}.seen.jsonl"

    def replayed(self, group: str) -> Path:
        return self.folder / f"{group}.replayed.jsonl"

    def compared(self, group: str) -> Path:
        return self.folder / f"{group}.compared.jsonl"


def prepare(build: str, progress: Progress) -> Run:
    """The folder of a run with this verifier's build: another for other settings, models or libraries."""
    weights = quantised(default_model(), progress=lambda done, total: progress(done, total, "quantising"))
    settings = (
        lies.SYSTEM,
        lies._SUBJECTS,
        lies._FORMS,
        lies.TOKENS,
        lies.ADAPTER_STRENGTH,
        {name: lie.way for name, lie in lies.LIES.items()},
    )
    made_from = (settings, build, toploc_check.installed(), str(weights["Q8_0"].parent.name))
    folder = CACHE / hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    adapter = folder / "adapter.gguf"
    if not adapter.exists():
        adapter.write_bytes(_adapter())
    return Run(folder, weights)


def _adapter() -> bytes:
    """A random LoRA adapter on every layer, by the tests' own maker."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from lora import lora

    return lora(strength=lies.ADAPTER_STRENGTH, layers=30)


def size(group: str, count: int) -> int:
    """How many outputs a group has where each lie has ``count``. Honest ones are many: thresholds rest on them."""
    return 5 * count // 2 if group == "honest" else count


def complete(run: Run, count: int, build: str, progress: Progress) -> None:
    """Make all lines that are missing, for ``count`` outputs of each lie. Raises RuntimeError when a worker fails."""
    for group in GROUPS:
        way = lies.way_of(group)
        if way is not None:
            _work(run, "write", group, way.weights, count, None, progress)
        if group in lies.LIES:
            _work(run, "compare", group, lies.CLAIMED.weights, count, None, progress)
        if group != "calibration":
            _work(run, "replay", group, lies.CLAIMED.weights, count, None, progress)
    other = variant(build)
    for group in GROUPS:
        _work(run, "see", group, lies.CLAIMED.weights, count, other, progress)


def _work(
    run: Run,
    kind: Kind,
    group: str,
    weights: str,
    count: int,
    build: Path | None,
    progress: Progress,
) -> None:
    into = {"write": run.written, "see": run.seen, "replay": run.replayed, "compare": run.compared}[kind](group)
    paths = (str(run.weights[weights]), str(run.folder / "adapter.gguf"), str(run.written(group)), str(into))
    task = msgspec.json.encode(Task(kind, group, *paths, size(group, count)))
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    if build is not None:
        env["LLAMA_CPP_LIB_PATH"] = str(build)
    command = [sys.executable, "-m", "rivals.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as worker:
        assert worker.stdin is not None and worker.stdout is not None  # noqa: PT018
        try:
            worker.stdin.write(task)
            worker.stdin.close()
            for line in worker.stdout:
                progress(int(line), size(group, count), f"{group}: {kind}")
        except BaseException:
            worker.terminate()
            raise
    if worker.returncode != 0:
        raise RuntimeError(f"the worker that should {kind} {group!r} failed; what is done is kept")
