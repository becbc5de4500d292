"""Measure a model's numerics in a process of its own, under a setting that must be there before llama.cpp loads.

    python tests/support/probe.py MODEL [--micro-batch N] [--tiled]

Prints one JSON object: what the probe says, the digest of the library in use, and llama.cpp's account of its build.
LLAMA_CPP_LIB_PATH names another build. ``--tiled`` leaves on the tiled products that the engine turns off.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from verity.engines import library, llama
from verity.engines.numerics import measure


def with_tiled_products() -> Any:
    """llama.cpp, loaded without what ``library.library`` does to the environment."""
    os.environ["GGML_CPU_TILED_MM"] = "1"
    import llama_cpp.llama_cpp as lib

    lib.llama_log_set(library._log_callback(lib), None)
    lib.llama_backend_init()
    return lib


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--micro-batch", type=int, default=llama.DEFAULT_MICRO_BATCH)
    parser.add_argument("--tiled", action="store_true")
    options = parser.parse_args()
    if options.tiled:
        lib = with_tiled_products()
        setattr(llama, "library", lambda: lib)  # noqa: B010
        setattr(library, "library", lambda: lib)  # noqa: B010
    engine = llama.LlamaEngine(options.model, threads=1, micro_batch=options.micro_batch)
    measured = measure(engine)
    told = {"exact": measured.exact, "fingerprint": measured.fingerprint, "library": engine.description["library"]}
    told["build"] = library.library().llama_print_system_info().decode()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
