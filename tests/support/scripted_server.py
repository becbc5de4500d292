"""A whole server on the scripted engine: ``python scripted_server.py HOME [SECONDS PER STEP]``. Prints its address."""

from __future__ import annotations

import asyncio
import sys

from verity.engines.scripted import ScriptedEngine
from verity.server import listening
from verity.server.gate import Rules
from verity.server.keys import Keys, owner_key
from verity.server.serving import Serving, Settings
from verity.store.home import locate

REPLY = "Blue light is scattered more than red light, and so the sky is blue. " * 2


def main() -> None:
    home, delay = locate(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    engine = ScriptedEngine(REPLY, sequences=4)
    service = Serving(home, Settings(parallel=4, queue=60), engine=engine)
    with listening.listen("127.0.0.1", 0) as listener:

        def ready() -> None:
            engine._delay_s = delay  # not while the numerics are measured
            print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)

        rules = Rules(Keys(owner_key(home)))
        asyncio.run(listening.serve(service, rules, listener, grace_s=1.0, models=["scripted"], ready=ready))


if __name__ == "__main__":
    main()
