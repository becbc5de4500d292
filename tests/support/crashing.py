"""Runs one ``verity`` command in a process that dies, as by ``kill -9``, before or after a chosen durable write.

    python tests/support/crashing.py POINT -- ask "Why?" --model scripted      die at POINT (exit code 137)
    python tests/support/crashing.py list -- ask "Why?" --model scripted       run it whole, list the points on stderr
    python tests/support/crashing.py ready -- ask "Why?" --model scripted      say "ready", then run it whole
    python tests/support/crashing.py serve                                     for crasher.py: one process a line

Nothing in the product knows of this. The primitives that make something last (SQLite's COMMIT, rename, link, fsync, …)
are wrapped, and a point is called after who called them and how: ``recorder.finish/commit/before`` is the moment before
the COMMIT of the transaction that ``verity.recorder``'s ``finish`` wants. Helpers that write for others are passed over
(_HELPERS). If a command passes the same call more than once, the second is ``recorder.finish/commit#2/before``.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from verity.cli import VERBS
from verity.cli import main as verity_main

DEAD = 137
_HELPERS = {
    "database.transaction", "database.scrub", "database.copy_to", "database._create", "device_log.append",
    "device_log.append_all", "device_log._swap_head", "home.write_atomically", "home.sync_folder", "locks._locked",
    "locks.storing", "reading.measure", "recorder._append", "staging.staging",
}  # fmt: skip
"""Functions that write on behalf of whoever called them, as module.function."""


class Passed(NamedTuple):
    """A primitive that was called: its point (without before/after), kind, and the inodes it was about: the file's, and
    that of the folder in which a name was made or taken away."""

    point: str
    kind: str
    inode: int | None
    folder: int | None
    path: str


class Points:
    """Counts the points as they are passed, and dies at the chosen one."""

    def __init__(self, chosen: str = "") -> None:
        self._chosen = chosen
        self._counts: Counter[str] = Counter()
        self._inside = False
        self.passed: list[Passed] = []

    def call(self, kind: str, path: Any, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a primitive, dying before or after it if it is the chosen one. Those that it calls itself count not."""
        caller = None if self._inside else _caller()
        if caller is None:
            return function(*arguments, **named)
        self._counts[f"{caller}/{kind}"] += 1
        count = self._counts[f"{caller}/{kind}"]
        point = f"{caller}/{kind}" + (f"#{count}" if count > 1 else "")
        self._die_at(f"{point}/before")
        self._inside = True
        before = _inode(path)
        try:
            result = function(*arguments, **named)
        finally:
            self._inside = False
        target = named.get("target", path)
        inode = before if before is not None else _inode(target)
        self.passed.append(Passed(point, kind, inode, _folder(target), str(target)))
        self._die_at(f"{point}/after")
        return result

    def _die_at(self, point: str) -> None:
        if point == self._chosen:
            os._exit(DEAD)


def _caller() -> str | None:
    """The nearest function of Verity on the stack that is no helper, as module.function."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        name = f"{module.rpartition('.')[2]}.{frame.f_code.co_name}"
        if module.startswith("verity.") and name not in _HELPERS and not frame.f_code.co_name.startswith("<"):
            return name.replace("._", ".").replace(".init__", ".init")
        frame = frame.f_back
    return None


def _inode(path: Any) -> int | None:
    try:
        return (os.fstat(path) if isinstance(path, int) else os.lstat(path)).st_ino
    except (OSError, TypeError):
        return None


def _folder(path: Any) -> int | None:
    return None if isinstance(path, int) or path is None else _inode(Path(os.fspath(path)).absolute().parent)


def wrap(points: Points) -> None:
    """Put ``points`` around the primitives of this process."""
    for kind in ("replace", "rename", "link"):
        _wrap_two_paths(points, kind)
    for name, kind in (("unlink", "unlink"), ("remove", "unlink"), ("mkdir", "mkdir"), ("rmdir", "rmdir")):
        _wrap_one_path(points, os, name, kind)
    _wrap_one_path(points, shutil, "rmtree", "rmtree")
    fsync, open_file, connect = os.fsync, os.open, sqlite3.connect

    def sync(descriptor: int) -> None:
        kind = "fsync-folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync"
        points.call(kind, descriptor, fsync, descriptor)

    def make(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if not flags & os.O_CREAT or os.path.lexists(path):
            return open_file(path, flags, *rest, **named)
        return int(points.call("create", path, lambda: open_file(path, flags, *rest, **named)))

    def connection(*arguments: Any, **named: Any) -> sqlite3.Connection:
        return connect(*arguments, **named, factory=_connection(points))

    os.fsync, os.open, sqlite3.connect = sync, make, connection  # type: ignore[assignment]


def _wrap_two_paths(points: Points, kind: str) -> None:
    function = getattr(os, kind)

    def call(source: Any, target: Any, **named: Any) -> None:
        points.call(kind, source, lambda target: function(source, target, **named), target=target)

    setattr(os, kind, call)


def _wrap_one_path(points: Points, module: Any, name: str, kind: str) -> None:
    function = getattr(module, name)

    def call(path: Any, *rest: Any, **named: Any) -> None:
        if kind == "unlink" and not os.path.lexists(path) and not named:
            function(path, *rest, **named)  # nothing there: nothing is written
        elif kind == "mkdir" and os.path.lexists(path):
            function(path, *rest, **named)
        else:
            points.call(kind, path, lambda: function(path, *rest, **named))

    setattr(module, name, call)


_STATEMENTS = {
    "COMMIT": "commit",
    "PRAGMA journal_mode=WAL": "journal-mode",
    "PRAGMA wal_checkpoint(TRUNCATE)": "checkpoint",
}


def _connection(points: Points) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            kind = _STATEMENTS.get(sql)
            if kind is None:
                return super().execute(sql, *rest)
            return points.call(kind, None, super().execute, sql, *rest)  # type: ignore[no-any-return]

        def backup(self, *arguments: Any, **named: Any) -> None:
            points.call("copy", None, super().backup, *arguments, **named)

        def close(self) -> None:
            points.call("close", None, super().close)

    return Connection


def run(point: str, arguments: Sequence[str], tell: IO[str]) -> int:
    """Run one command in this process; its exit code. ``list`` writes what was passed to ``tell``, a line of JSON."""
    points = Points(point)
    wrap(points)
    sys.argv = ["verity", *arguments]
    try:
        verity_main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    if point == "list":
        tell.write(json.dumps(points.passed) + "\n")
    for stream in (sys.stdout, sys.stderr, tell):
        stream.flush()
    return code


_IMPORTED_LATE = (
    "cryptography.hazmat.primitives.asymmetric.ed25519", "cryptography.hazmat.primitives.serialization", "httpx",
    "rfc8785", "verity.api", "verity.backup", "verity.engines.scripted", "verity.node", "verity.store.bundles",
    "verity.store.pull", "verity.verify.report",
)  # fmt: skip


def _serve() -> None:
    """For each order on stdin, a forked process: what takes 0.3 s to import is imported once."""
    for name in (*_IMPORTED_LATE, *(f"verity.cli.{verb}" for verb in VERBS)):
        importlib.import_module(name)
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _obey(order)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _obey(order: dict[str, Any]) -> None:
    os.environ.update(order["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    time.sleep = lambda _: None  # the scripted engine waits before each token, for the sake of interrupts
    code = 70  # what is not a VerityError ends in a traceback
    try:
        with Path(order["passed"]).open("w") as tell:
            code = run(order["point"], order["arguments"], tell)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        _serve()
        return
    point, separator, *arguments = sys.argv[1:]
    assert separator == "--", __doc__
    if point == "ready":
        import verity.node  # noqa: F401

        print("ready", flush=True)
    sys.exit(run(point, arguments, sys.stderr))


if __name__ == "__main__":
    main()
