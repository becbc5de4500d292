"""``verity serve``: answer other programs over HTTP, as OpenAI's API does."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.options import release_option
from verity.cli.terminal import home_option, json_option, print_json
from verity.errors import UsageError

if TYPE_CHECKING:
    from verity.server.answering import Service
    from verity.server.gate import Rules
    from verity.server.listening import Tls
    from verity.server.public_log import PublicLog

_INTERRUPTED = 130


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8737, show_default=True, help="0 takes a free one.")
@click.option("--model", "models", multiple=True, metavar="M", help="Load M at the start; may be repeated.")
@click.option("--parallel", type=click.IntRange(1, 64), default=8, show_default=True, help="Answers written at once.")
@click.option("--queue", type=click.IntRange(0, 4096), default=64, show_default=True, help="Answers that may wait.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds an answer has."
)
@click.option("--context", type=click.IntRange(min=1), metavar="N", help="Tokens of context for each answer.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores but one]")
@click.option("--memory", type=click.FloatRange(min=0.1), metavar="GIB", help="The most memory that models may take.")
@release_option
@click.option("--api-key-file", type=click.Path(), metavar="FILE", help="The API key, instead of $VERITY_API_KEY.")
@click.option("--allow-origin", multiple=True, metavar="ORIGIN", help="Take requests of web pages from ORIGIN.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name of this machine in the Host header.")
@click.option("--grace", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds to finish in.")
@click.option("--tls-cert", type=click.Path(), metavar="FILE", help="A certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(), metavar="FILE", help="Its private key (PEM).")
@click.option("--publish-log", is_flag=True, help="Let everybody read the published log, below /log/ (docs/log.md).")
@click.option(
    "--publish-every", type=click.FloatRange(min=1), metavar="SECONDS", help="With --publish-log.  [default: 600]"
)
@home_option
@json_option
def serve(host: str, port: int, home: str | None, as_json: bool, grace: float, **options: Any) -> None:
    """Answer other programs over HTTP: OpenAI's API, every answer with a receipt (docs/server.md).

    SIGTERM or Ctrl-C stops it: answers under way may finish within --grace seconds. With --json, one line says where it
    listens.
    """
    require_extra()
    from verity.server import listening
    from verity.store.home import locate

    folder = locate(home)
    tls, rules = make_tls(options), _rules(host, folder, options)
    with listening.listen(host, port) as listener:
        port = listener.getsockname()[1]
        service = _service(folder, options)
        public_log = _public_log(folder, options)

        def ready() -> None:
            _announce(host, port, folder, tls is not None, as_json)
            if public_log is not None and not as_json:
                click.echo("everybody can read the published log, below /log/", err=True)

        logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, level=logging.WARNING)
        logging.getLogger("verity.server").setLevel(logging.INFO)
        serving = listening.serve(
            service,
            rules,
            listener,
            grace_s=grace,
            models=options["models"],
            tls=tls,
            public_log=public_log,
            ready=ready,
        )
        ended_by = asyncio.run(serving)
    sys.exit(_INTERRUPTED if ended_by == signal.SIGINT else 0)


def require_extra() -> None:
    """Raises UsageError when the server's libraries are not installed."""
    try:
        import fastapi
        import uvicorn
    except ImportError as error:
        raise UsageError(
            "`verity serve` needs FastAPI and uvicorn, which are not installed", "install verity-ai[server]"
        ) from error
    del fastapi, uvicorn


def _service(home: Path, options: dict[str, Any]) -> Service:
    from verity.server.serving import Serving, Settings

    memory = options["memory"]
    settings = Settings(
        parallel=options["parallel"],
        queue=options["queue"],
        timeout_s=options["timeout"],
        context_size=options["context"],
        threads=options["threads"],
        require_release=options["require_release"],
        memory_bytes=int(memory * (1 << 30)) if memory is not None else None,
    )
    return Serving(home, settings)


def _public_log(home: Path, options: dict[str, Any]) -> PublicLog | None:
    from verity.server.public_log import PUBLISH_EVERY_S, PublicLog

    every = options["publish_every"]
    if not options["publish_log"]:
        if every is not None:
            raise UsageError("--publish-every says how often to publish", "give --publish-log too")
        return None
    return PublicLog(home, every if every is not None else PUBLISH_EVERY_S)


def make_tls(options: dict[str, Any]) -> Tls | None:
    """The certificate and key of the options, checked. Raises UsageError."""
    from verity.server.listening import Tls, check_tls

    certificate, key = options["tls_cert"], options["tls_key"]
    if (certificate is None) != (key is None):
        raise UsageError("--tls-cert and --tls-key go together", "give both or none")
    if certificate is None:
        return None
    tls = Tls(certificate, key)
    check_tls(tls)
    return tls


def _rules(host: str, home: Path, options: dict[str, Any]) -> Rules:
    from verity.server.gate import Rules
    from verity.server.keys import Keys, api_key, owner_key
    from verity.server.listening import is_loopback

    key = api_key(options["api_key_file"], os.environ)
    if not is_loopback(host):
        if key is None:
            raise UsageError(
                f"{host} can be reached by other machines: the server needs an API key",
                "put one into VERITY_API_KEY or a file for --api-key-file, as `openssl rand -hex 32` makes it",
            )
        if options["tls_cert"] is None:
            click.echo("warning: without TLS, keys and prompts cross the network in clear (--tls-cert)", err=True)
    names = {name.lower() for name in (host, *options["allow_host"])}
    keys = Keys(owner_key(home), key)
    return Rules(keys, frozenset(names), frozenset(options["allow_origin"]), options["publish_log"])


def _announce(host: str, port: int, home: Path, tls: bool, as_json: bool) -> None:
    from verity.server.keys import OWNER_KEY_FILE

    name = f"[{host}]" if ":" in host else host
    address = f"{'https' if tls else 'http'}://{name}:{port}"
    if as_json:
        print_json({"url": address, "host": host, "port": port, "owner_key_file": str(home / OWNER_KEY_FILE)})
    else:
        click.echo(f"listening on {address}/v1")
        click.echo(f"the owner's key, which opens disclosures, is in {home / OWNER_KEY_FILE}", err=True)
    sys.stdout.flush()
