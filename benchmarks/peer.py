"""xllamacpp, a wheel of llama.cpp's server, in a process of its own: the speed that people have without receipts.

One line on stdin (a number of tokens) asks for one completion; one line on stdout answers with the seconds it took.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROMPT = "<|im_start|>user\nWrite a long story about a lighthouse.<|im_end|>\n<|im_start|>assistant\n"


class Peer:
    """The other process. Raises RuntimeError when xllamacpp is not installed."""

    def __init__(self, model: Path, threads: int) -> None:
        command = [sys.executable, __file__, str(model), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._read() != "ready":
            raise RuntimeError("xllamacpp is not installed: `make bench` installs it")

    def generate(self, count: int) -> float:
        """Seconds for ``count`` tokens, prompt included."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def main() -> None:
    import time

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, threads = sys.argv[1], int(sys.argv[2])
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 4096, 1, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    request = {"prompt": PROMPT, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.0, "ignore_eos": True,
               "cache_prompt": False}  # fmt: skip
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        server.handle_completions({**request, "n_predict": int(line)})
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
