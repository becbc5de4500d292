"""What a locked-down process can no longer do, tried in a real one."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ATTEMPTS = """
import ctypes, os, resource, signal, socket, subprocess, sys, threading
from pathlib import Path
from verity.engines.lockdown import lock_down

folder, parent = sys.argv[1], os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
kept = os.open(folder + "/kept", os.O_RDONLY)
lists = os.listdir
attempts = {
    "socket": lambda: socket.socket(),
    "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "socketpair": lambda: socket.socketpair(),
    "run": lambda: subprocess.run(["/bin/true"]),
    "fork": lambda: os.fork(),
    "setsid": lambda: os.setsid(),
    "write": lambda: open(folder + "/new", "w"),
    "append": lambda: open(folder + "/kept", "a"),
    "unlink": lambda: os.unlink(folder + "/kept"),
    "rename": lambda: os.rename(folder + "/kept", folder + "/moved"),
    "chmod": lambda: os.chmod(folder + "/kept", 0o777),
    "fchmod": lambda: os.fchmod(kept, 0o777),
    "utime": lambda: os.utime(kept, (0, 0)),
    "xattr": lambda: os.setxattr(kept, "user.a", b"b"),
    "kill": lambda: os.kill(parent, 0),
    "pidfd": lambda: os.pidfd_open(parent),
    "limits of others": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
    "memory": lambda: bytearray(3 << 30),
    "secret": lambda: open(folder + "/secret/key").read(),
    "list": lambda: lists(folder + "/secret"),
}
print(lock_down(memory_bytes=2 << 30, cpu_s=20, readable=[Path(folder, "kept"), Path(sys.prefix), Path("/usr")]))

def refused(attempt):
    try:
        attempt()
    except (OSError, MemoryError):
        return True
    return False

print([name for name, attempt in attempts.items() if not refused(attempt)])
print(libc.syscall(234, parent, parent, 0), libc.syscall(435, 0, 0), libc.syscall(29, 0, 4096, 0o1600))
thread = threading.Thread(target=lambda: print("threads go on"))
thread.start()
thread.join()
print(open(folder + "/kept").read())
"""

linux = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the system-call filter is for Linux on x86-64"
)


@linux
def test_no_network_no_programs_no_writing_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("still readable")
    (tmp_path / "kept").chmod(0o600)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("of the device")
    command = [sys.executable, "-B", "-c", ATTEMPTS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said, succeeded, raw, thread, content = done.stdout.splitlines()
    assert "no network" in said
    if "no files but" not in said:
        pytest.skip("this kernel has no Landlock")
    assert succeeded == "[]"
    assert raw == "-1 -1 -1"
    assert (thread, content) == ("threads go on", "still readable")
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600


def test_cpu_time_is_limited() -> None:
    code = (
        "from verity.engines.lockdown import lock_down\n"
        "lock_down(memory_bytes=1 << 31, cpu_s=1, readable=[])\n"
        "while True: pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode < 0
