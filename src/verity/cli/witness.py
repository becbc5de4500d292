"""``verity witness``: cosign heads of other logs, so that none can show two histories (docs/witnesses.md)."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import home_option, json_option, print_json
from verity.errors import UsageError

if TYPE_CHECKING:
    from verity.store.database import Database

_INTERRUPTED = 130


@click.group()
def witness() -> None:
    """Cosign heads of other logs, so that none can show two histories (docs/witnesses.md)."""


@contextmanager
def _open(home: str | None) -> Iterator[tuple[Path, Database]]:
    from verity.store.database import Database
    from verity.store.home import locate

    folder = locate(home)
    with Database.open(folder) as database:
        yield folder, database


@witness.command()
@click.option("--name", metavar="NAME", help="The witness's name, chosen once.  [default: verity/<key>/witness]")
@home_option
@json_option
def key(name: str | None, home: str | None, as_json: bool) -> None:
    """Print the witness's key as one word, for the logs that ask it and for whoever counts its cosignatures."""
    from verity.identity.device_key import DeviceKey
    from verity.log.witness_logs import choose_name

    with _open(home) as (folder, database):
        chosen = choose_name(database, DeviceKey.load(folder), name)
    if as_json:
        print_json({"name": chosen.name, "vkey": str(chosen)})
    else:
        click.echo(str(chosen))


@witness.command()
@click.argument("vkey")
@click.option("--origin", metavar="O", help="The log's origin, if it is not the key's name.")
@home_option
@json_option
def add(vkey: str, origin: str | None, home: str | None, as_json: bool) -> None:
    """Know the log whose key is VKEY (one word: NAME+ID+BASE64; `verity log witness key` prints a device's)."""
    from verity.log.note import parse_key
    from verity.log.witness_logs import KnownLogs

    with _open(home) as (_, database):
        known = KnownLogs(database).add(parse_key(vkey), origin)
    if as_json:
        print_json({"origin": known, "vkey": vkey})
    else:
        click.echo(f"heads of {known} are cosigned from now on")


@witness.command()
@click.argument("origin")
@home_option
@json_option
def remove(origin: str, home: str | None, as_json: bool) -> None:
    """Cosign no more heads of the log ORIGIN. The head cosigned last stays kept."""
    from verity.log.witness_logs import KnownLogs

    with _open(home) as (_, database):
        KnownLogs(database).remove(origin)
    if as_json:
        print_json({"origin": origin})
    else:
        click.echo(f"heads of {origin} are not cosigned any more")


@witness.command(name="list")
@home_option
@json_option
def list_logs(home: str | None, as_json: bool) -> None:
    """List the known logs, with the size cosigned last and when."""
    rows = _rows(home)
    if as_json:
        print_json({"logs": rows})
        return
    from verity.verify.report import printable

    for row in rows:
        click.echo(printable(f"{row['size']:>12}  {row['time'] or '-':<20}  {row['origin']}"))


def _rows(home: str | None) -> list[dict[str, Any]]:
    from verity.log.witness import read_heads
    from verity.log.witness_logs import KnownLogs

    with _open(home) as (_, database):
        heads = {head.origin: head for head in read_heads(database)}
        keys: dict[str, list[str]] = {origin: [] for origin in heads}
        for origin, known in KnownLogs(database).all():
            keys.setdefault(origin, []).append(str(known))
    return [
        {
            "origin": origin,
            "vkeys": keys[origin],
            "size": heads[origin].size if origin in heads else 0,
            "time": heads[origin].time if origin in heads else None,
            "checkpoint": heads[origin].note if origin in heads else None,
        }
        for origin in sorted(keys)
    ]


@witness.command()
@click.option("--out", type=click.Path(file_okay=False), metavar="FOLDER", help="Write each as a *.fork.json file.")
@home_option
@json_option
def evidence(out: str | None, home: str | None, as_json: bool) -> None:
    """List the evidence of logs that signed two histories. It proves itself: `verity log evidence FILE`."""
    from verity.log.evidence import SUFFIX
    from verity.log.witness_logs import kept_forks
    from verity.store.home import guarded, write_atomically
    from verity.verify.report import printable

    with _open(home) as (_, database):
        found = list(kept_forks(database))
    rows: list[dict[str, Any]] = [{"id": kept.id, "origin": kept.origin, "found_at": kept.found_at} for kept in found]
    if out is not None:
        folder = Path(out)
        with guarded(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for kept, row in zip(found, rows, strict=True):
                path = folder / f"{kept.id[:16]}{SUFFIX}"
                write_atomically(path, kept.fork.encode(), 0o644)
                row["file"] = str(path)
    if as_json:
        print_json({"evidence": rows})
        return
    for row in rows:
        click.echo(printable(f"{row['found_at']}  {row['id'][:16]}  {row['origin']}  {row.get('file', '')}".rstrip()))


@witness.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8738, show_default=True, help="0 takes a free one.")
@click.option("--name", metavar="NAME", help="The witness's name, chosen once.  [default: verity/<key>/witness]")
@click.option("--prefix", default="", metavar="PATH", help="Serve below this path, as in /witness.")
@click.option("--any-device", is_flag=True, help="Know every device's log by the key in its origin.")
@click.option("--most", type=click.IntRange(min=1), default=10_000, show_default=True, help="Logs with --any-device.")
@click.option("--tls-cert", type=click.Path(), metavar="FILE", help="A certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(), metavar="FILE", help="Its private key (PEM).")
@home_option
@json_option
def serve(host: str, port: int, home: str | None, as_json: bool, **options: Any) -> None:
    """Cosign over HTTP, as C2SP tlog-witness says. SIGTERM or Ctrl-C stops it."""
    from verity.cli.serve import make_tls, require_extra

    require_extra()
    from verity.server import listening
    from verity.server.traffic import Traffic
    from verity.server.witnessing import Desk, WitnessApp
    from verity.store.home import locate

    tls, prefix = make_tls(options), options["prefix"].rstrip("/")
    if prefix and not prefix.startswith("/"):
        raise UsageError("a prefix begins with a slash", "as in --prefix /witness")
    with listening.listen(host, port) as listener:
        port = listener.getsockname()[1]
        logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, level=logging.WARNING)
        desk = Desk(locate(home), options["name"], any_device=options["any_device"], most=options["most"])
        try:
            shown = f"[{host}]" if ":" in host else host
            url = f"{'https' if tls else 'http'}://{shown}:{port}{prefix}"

            def ready() -> None:
                said = {"url": url, "host": host, "port": port, "name": desk.key.name, "vkey": str(desk.key)}
                print_json(said) if as_json else click.echo(f"cosigning at {url}\nas {desk.key}")
                sys.stdout.flush()

            traffic = Traffic()
            app = WitnessApp(desk, traffic, prefix)

            async def run() -> signal.Signals:
                return await listening.serve_app(app, traffic, listener, tls=tls, ready=ready)

            ended_by = asyncio.run(run())
        finally:
            desk.close()
    sys.exit(_INTERRUPTED if ended_by == signal.SIGINT else 0)
