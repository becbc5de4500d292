"""Software TPMs (swtpm), each with a state of its own, on a socket in a folder of the test's."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_MISSING = [name for name in ("swtpm", "swtpm_setup", "swtpm_localca") if shutil.which(name) is None]
_LIBRARY = importlib.util.find_spec("tpm2_pytss") is not None
REASON = f"{', '.join(_MISSING)} not installed" if _MISSING else "tpm2-pytss not installed"

needs_swtpm = pytest.mark.skipif(bool(_MISSING) or not _LIBRARY, reason=REASON)


@contextlib.contextmanager
def simulator(folder: Path, certified: bool = False) -> Iterator[str]:
    """Start a TPM whose state is in ``folder``; gives its TCTI. ``certified``: with certificates for its endorsement
    keys by a local authority, whose root is ``folder/swtpm-localca-rootca-cert.pem``."""
    folder.mkdir(parents=True, exist_ok=True)
    if certified and not (folder / "tpm2-00.permall").exists():
        _certify(folder)
    socket = folder / "tpm.sock"
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server", f"type=unixio,path={socket}",
         "--ctrl", f"type=unixio,path={socket}.ctrl", "--flags", "not-need-init,startup-clear"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert process.poll() is None, "swtpm ended"
            assert time.monotonic() < deadline, "swtpm does not listen"
            time.sleep(0.01)
        yield f"swtpm:path={socket}"
    finally:
        process.kill()
        process.wait()
        for left in (socket, Path(f"{socket}.ctrl")):
            left.unlink(missing_ok=True)


def _certify(folder: Path) -> None:
    authority = {"statedir": folder, "signingkey": folder / "signkey.pem", "issuercert": folder / "issuercert.pem",
                 "certserial": folder / "certserial"}  # fmt: skip
    (folder / "localca.conf").write_text("".join(f"{name} = {value}\n" for name, value in authority.items()))
    platform = ("manufacturer Verity", "version 1", "model tests")
    (folder / "localca.options").write_text("".join(f"--platform-{line}\n" for line in platform))
    (folder / "setup.conf").write_text(
        f"create_certs_tool={shutil.which('swtpm_localca')}\n"
        f"create_certs_tool_config={folder}/localca.conf\ncreate_certs_tool_options={folder}/localca.options\n"
    )
    import getpass

    subprocess.run(
        ["swtpm_setup", "--tpm2", "--tpm-state", str(folder), "--create-ek-cert", "--lock-nvram",
         "--config", str(folder / "setup.conf"), "--runas", getpass.getuser()],
        check=True, capture_output=True,
    )  # fmt: skip
