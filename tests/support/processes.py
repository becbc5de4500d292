"""What is running, by /proc: a process that has ended and waits to be collected is not."""

from __future__ import annotations

import time
from pathlib import Path


def alive(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}"))[0] not in "ZX"


def left_of(group: int) -> list[int]:
    """The processes of a group, by number."""
    found = [(int(folder.name), *_state(folder)) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid, state, process_group in found if process_group == group and state not in "ZX"]


def _state(folder: Path) -> tuple[str, int]:
    """A process's state and group (proc_pid_stat(5)); its name, which comes before, may hold anything."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return fields[0], int(fields[2])


def ends(group: int) -> bool:
    """Whether nothing of the group is left, within a few seconds: a kill takes effect when the kernel comes to it."""
    deadline = time.monotonic() + 10
    while left_of(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not left_of(group)
