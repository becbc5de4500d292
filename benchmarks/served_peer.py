"""xllamacpp, llama.cpp's own server, in a process of its own: prints its address, and serves until it is killed.

python benchmarks/served_peer.py MODEL THREADS PARALLEL CONTEXT
"""

from __future__ import annotations

import sys
import threading


def main() -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    model, threads, parallel, context = sys.argv[1], *map(int, sys.argv[2:])
    params.model.path = model
    params.n_ctx, params.n_parallel, params.cont_batching = context * parallel, parallel, True
    params.warmup, params.verbosity, params.port = False, -1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
