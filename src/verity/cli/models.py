"""``verity models``: what is here, whether it is still intact, and how it goes away again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from verity.cli.terminal import ProgressBars, home_option, json_option, open_blobs, print_json
from verity.errors import DigestMismatch

if TYPE_CHECKING:
    from verity.store.gc import Collected, Item


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def models(ctx: click.Context, home: str | None, as_json: bool) -> None:
    """List the models on this device and in the catalogue; check them, and take them away."""
    if ctx.invoked_subcommand is not None:
        return
    from verity.store import catalogue

    with open_blobs(home) as blobs:
        here = blobs.models()
    offered = [entry for entry in catalogue.entries() if entry.name not in {m.name for m in here}]
    if as_json:
        print_json({"models": [m._asdict() for m in here], "catalogue": [e._asdict() for e in catalogue.entries()]})
        return
    for model in here:
        click.echo(f"{model.name}  {model.size:,} bytes  blake3 {model.blake3[:16]}…  from {model.source}")
    for entry in offered:
        click.echo(f"{entry.name}  {entry.size:,} bytes  not here yet: verity pull {entry.name}")


@models.command()
@click.argument("name", default="")
@home_option
@json_option
def check(name: str, home: str | None, as_json: bool) -> None:
    """Read every byte of the model NAME (default: of all) and compare with its digest."""
    with open_blobs(home) as blobs, ProgressBars() as bars:
        chosen = [blobs.resolve(name)[1]] if name else blobs.models()
        damaged = []
        for model in chosen:
            try:
                blobs.check(model.blake3, bars)
            except DigestMismatch as error:
                damaged.append({"name": model.name, "problem": str(error)})
    if as_json:
        print_json({"checked": [m.name for m in chosen], "damaged": damaged})
        sys.exit(1 if damaged else 0)
    if damaged:
        hint = f"move it away and fetch it again: verity pull {damaged[0]['name']}"
        raise DigestMismatch("; ".join(d["problem"] for d in damaged), hint)
    click.echo(f"{len(chosen)} checked, every byte as it was")


@models.command()
@click.argument("name")
@home_option
@json_option
def rm(name: str, home: str | None, as_json: bool) -> None:
    """Take the name NAME away, and free the file unless another name means it.

    A program that has the model loaded keeps it until it ends. Receipts that name it can be replayed again once the
    same bytes are pulled again: the digest decides.
    """
    from verity.store.gc import remove

    with open_blobs(home) as blobs:
        removal = remove(blobs, name)
    if as_json:
        print_json(removal._asdict())
    elif removal.kept_by:
        click.echo(f"{removal.name} is no name any more; the file stays, for {', '.join(removal.kept_by)} means it too")
    else:
        click.echo(f"{removal.name} is gone, {removal.freed:,} bytes freed (blake3 {removal.blake3})")


@models.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--partial-days",
    type=click.IntRange(min=0, max=36_500),
    metavar="N",
    help="Keep downloads that were cut off for N days after their last byte.  [default: 7]",
)
@home_option
@json_option
def gc(dry_run: bool, partial_days: int | None, home: str | None, as_json: bool) -> None:
    """Free what no name means: blobs without a name, unknown files among them, what dead fetches left.

    What is being fetched just now stays.
    """
    from verity.store.gc import PARTIAL_DAYS, collect

    days = PARTIAL_DAYS if partial_days is None else partial_days
    with open_blobs(home) as blobs:
        collected = collect(blobs, partial_days=days, dry_run=dry_run)
    if as_json:
        print_json(_collected(collected, dry_run))
        return
    for item in collected.removed:
        click.echo(f"{'would remove' if dry_run else 'removed'}  {_line(item)}")
    for item in collected.kept:
        click.echo(f"kept  {_line(item)}")
    click.echo(f"{collected.freed:,} bytes {'would be freed' if dry_run else 'freed'}")


def _collected(collected: Collected, dry_run: bool) -> dict[str, Any]:
    def rows(items: list[Item]) -> list[dict[str, Any]]:
        return [{"path": str(item.path), "bytes": item.size, "why": item.why} for item in items]

    removed, kept = rows(collected.removed), rows(collected.kept)
    return {"freed": collected.freed, "dry_run": dry_run, "removed": removed, "kept": kept}


def _line(item: Item) -> str:
    from verity.verify.report import printable

    return f"{printable(str(item.path))}  {item.size:,} bytes: {item.why}"
