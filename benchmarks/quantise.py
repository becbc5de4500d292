"""The default model in every type of weights that people run, made with llama.cpp's own quantiser.

The default model is Q4_1. It is written out as F16 first, and the others are made from that, so none of them is better
than Q4_1: what they are for is to show that each type of weights is computed exactly. Used by the tests and by
receipts.py.

    python benchmarks/quantise.py [--json]
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from verity.cli.terminal import ProgressBars
from verity.engines.library import describe_library, library

TYPES = {"Q4_1": 3, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15, "Q6_K": 18, "F16": 1}
"""Names of types, with llama.cpp's number (``llama_ftype``) for each."""

CACHE = Path(__file__).parents[1] / ".verity" / "quantised"


def quantised(model: Path, folder: Path = CACHE, progress: Callable[[int, int], None] | None = None) -> dict[str, Path]:
    """``model`` (a GGUF file) in all TYPES, by name. What is in ``folder`` already is not made again.

    ``progress`` is told how many of the types are there. Raises RuntimeError when llama.cpp cannot make one.
    """
    folder = folder / _made_from(model)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name.lower()}.gguf" for name in TYPES}
    others = [name for name in TYPES if name != "F16"]
    for done, name in enumerate(["F16", *others]):
        if not files[name].exists():
            _make(model if name == "F16" else files["F16"], files[name], TYPES[name])
        if progress is not None:
            progress(done + 1, len(TYPES))
    return files


def _made_from(model: Path) -> str:
    """A name for the model's bytes and the quantiser together: another of either makes other files."""
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(describe_library()["library"].encode())
    return digest.hexdigest()[:16]


def _make(source: Path, target: Path, number: int) -> None:
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = number, 1, True
    unfinished = target.with_suffix(".unfinished")
    status = lib.llama_model_quantize(os.fsencode(source), os.fsencode(unfinished), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama.cpp could not make {target.name} (status {status})")
    unfinished.replace(target)


def default_model() -> Path:
    """The default model's file: VERITY_MODEL, which the Makefile sets."""
    if "VERITY_MODEL" not in os.environ:
        raise SystemExit("set VERITY_MODEL to the default model's file, as `make bench` does")
    return Path(os.environ["VERITY_MODEL"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    with ProgressBars() as bars:
        files = quantised(default_model(), progress=lambda done, total: bars(done, total, "quantising"))
    sizes = {name: {"file": str(path), "bytes": path.stat().st_size} for name, path in files.items()}
    if as_json:
        print(json.dumps(sizes))
    else:
        for name, made in sizes.items():
            print(f"{name:<8}{made['bytes']:>12,}  {made['file']}")


if __name__ == "__main__":
    main()
