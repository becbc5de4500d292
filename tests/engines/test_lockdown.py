"""What a locked-down process can no longer do, tried in a real one."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ATTEMPTS = """
import os, socket, subprocess, sys
from verity.engines.lockdown import lock_down

def refused(attempt):
    try:
        attempt()
    except (OSError, MemoryError):
        return True
    return False

print(lock_down(memory_bytes=2 << 30, cpu_s=20))
print(refused(lambda: socket.socket()))
print(refused(lambda: socket.create_connection(("127.0.0.1", 9))))
print(refused(lambda: subprocess.run(["/bin/true"])))
print(refused(lambda: open(sys.argv[1] + "/new", "w")))
print(refused(lambda: os.unlink(sys.argv[1] + "/kept")))
print(refused(lambda: os.rename(sys.argv[1] + "/kept", sys.argv[1] + "/moved")))
print(refused(lambda: os.kill(os.getppid(), 0)))
print(refused(lambda: bytearray(3 << 30)))
print(open(sys.argv[1] + "/kept").read())
"""


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the system-call filter is for Linux on x86-64"
)
def test_no_network_no_programs_no_writing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("still readable")
    done = subprocess.run(
        [sys.executable, "-B", "-c", ATTEMPTS, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    said, *attempts, content = done.stdout.splitlines()
    assert "no network" in said
    assert attempts == ["True"] * 8
    assert content == "still readable"
    assert (tmp_path / "kept").exists()


def test_cpu_time_is_limited() -> None:
    code = "from verity.engines.lockdown import lock_down\nlock_down(memory_bytes=1 << 31, cpu_s=1)\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode < 0
