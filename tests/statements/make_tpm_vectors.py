"""Write the hardware vectors: `python tests/statements/make_tpm_vectors.py spec/vectors`.

It shares no code with verity: the keys and the quote are a swtpm's, asked by tpm2-tools; the event log is put together
here and was read by tpm2_eventlog; the registrar's record is spec/hardware.md once more. The quote is over the
checkpoint of receipt.json's bundle. A TPM draws its keys, so each run gives others.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

REGISTRAR = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
REGISTRAR_KEY = REGISTRAR.public_key().public_bytes_raw()
ORIGIN = f"verity/{REGISTRAR_KEY.hex()}/0"
ID, SECRET, ENTRY_SALT = bytes(range(0xB0, 0xC0)), bytes(range(32)), bytes(range(0x30, 0x40))
PCRS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14)
ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda"
TYPE = "application/vnd.in-toto+json"


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def jcs(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# --- the event log ----------------------------------------------------------------------------------------------------

EVENTS: list[tuple[int, int, str, bytes, str]] = [
    (0, 0x8, "EV_S_CRTM_VERSION", "Example 1.0".encode("utf-16-le"), "Example 1.0"),
    (0, 0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB", bytes(16), ""),
    (7, 0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG",
     bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c") + struct.pack("<QQ", 10, 1)
     + "SecureBoot".encode("utf-16-le") + b"\1", "SecureBoot"),
    *((index, 0x4, "EV_SEPARATOR", bytes(4), "") for index in range(8)),
    (4, 0x80000007, "EV_EFI_ACTION", b"Calling EFI Application from Boot Option",
     "Calling EFI Application from Boot Option"),
    (8, 0xD, "EV_IPL", b"grub_cmd: linux /vmlinuz root=/dev/sda1\0", "grub_cmd: linux /vmlinuz root=/dev/sda1"),
    (9, 0xD, "EV_IPL", b"/vmlinuz\0", "/vmlinuz"),
]  # fmt: skip


def event_log() -> bytes:
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBB", 0, 0, 2, 0, 2)
    spec += struct.pack("<IHHHH", 2, 0x4, 20, 0xB, 32) + b"\0"
    log = struct.pack("<II20sI", 0, 3, bytes(20), len(spec)) + spec
    for index, kind, _, data, _ in EVENTS:
        log += struct.pack("<III", index, kind, 2)
        log += struct.pack("<H", 0x4) + hashlib.sha1(data).digest() + struct.pack("<H", 0xB) + sha256(data)
        log += struct.pack("<I", len(data)) + data
    return log


def replayed() -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    for index, _, _, data, _ in EVENTS:
        values[index] = sha256(values.get(index, bytes(32)), sha256(data))
    return values


# --- the TPM ----------------------------------------------------------------------------------------------------------


def captured(folder: Path, extra: bytes) -> dict[str, Any]:
    socket = folder / "t.sock"
    server = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server", f"type=unixio,path={socket}",
              "--ctrl", f"type=unixio,path={socket}.ctrl", "--flags", "not-need-init,startup-clear"]  # fmt: skip
    process = subprocess.Popen(server, stderr=subprocess.DEVNULL)
    environment = {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={socket}"}

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
        subprocess.run(["tpm2_flushcontext", "-t"], cwd=folder, env=environment, capture_output=True)

    try:
        while not socket.exists():
            time.sleep(0.01)
        for index, _, _, data, _ in EVENTS:
            run("tpm2_pcrextend", f"{index}:sha256={sha256(data).hex()}")
        for kind in ("rsa", "ecc"):
            run("tpm2_createek", "-G", kind, "-c", f"{kind}.ctx", "-u", f"ek_{kind}")
        run("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", "parent.ctx")
        run(
            "tpm2_create",
            "-C",
            "parent.ctx",
            "-G",
            "ecc256:ecdsa-sha256:null",
            "-a",
            ATTRIBUTES,
            "-u",
            "ak",
            "-r",
            "private",
        )
        run("tpm2_create", "-C", "parent.ctx", "-G", "ecc256:ecdsa-sha256:null", "-u", "unrestricted", "-r", "private2",
            "-a", ATTRIBUTES.replace("restricted|", ""))  # fmt: skip
        run("tpm2_load", "-C", "parent.ctx", "-u", "ak", "-r", "private", "-c", "ak.ctx", "-n", "ak_name")
        selection = "sha256:" + ",".join(map(str, PCRS))
        run(
            "tpm2_quote",
            "-c",
            "ak.ctx",
            "-l",
            selection,
            "-q",
            extra.hex(),
            "-m",
            "attest",
            "-s",
            "signature",
            "-g",
            "sha256",
        )
        for index in PCRS:
            run("tpm2_pcrread", f"sha256:{index}", "-o", f"pcr{index}")
        names = ("ak", "ak_name", "attest", "ek_ecc", "ek_rsa", "signature", "unrestricted")
        found: dict[str, Any] = {name: (folder / name).read_bytes().hex() for name in names}
        return found | {"pcrs": [[index, (folder / f"pcr{index}").read_bytes().hex()] for index in PCRS]}
    finally:
        process.kill()
        process.wait()


def second_reader(log: bytes, folder: Path) -> None:
    """tpm2_eventlog gives the same PCRs."""
    (folder / "log").write_bytes(log)
    run = subprocess.run(["tpm2_eventlog", str(folder / "log")], check=True, capture_output=True, text=True)
    said = re.findall(r"^    (\d+) *: 0x([0-9a-f]{64})$", run.stdout.partition("\npcrs:")[2], re.MULTILINE)
    assert {int(index): bytes.fromhex(value) for index, value in said} == replayed(), said


# --- the registrar's record -------------------------------------------------------------------------------------------


def name(field: str) -> bytes:
    return len(field.encode()).to_bytes(2, "big") + field.encode()


def record(device: str, keys: dict[str, Any], level: str) -> dict[str, Any]:
    fields = {
        "ak": b64(bytes.fromhex(keys["ak"])), "certificate": None, "device": device,
        "ek": sha256(bytes.fromhex(keys["ek_ecc"])).hex(), "issuer": None, "level": level,
        "time/started": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    salts = {f: hmac.digest(SECRET, b"verity/salt/v1\0" + name(f), "sha256")[:16] for f in fields}
    commitments = [
        name(f) + sha256(b"verity/commitment/v1\0", ID, name(f), salts[f], jcs(fields[f])) for f in sorted(fields)
    ]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "verity:hardware/v1",
        "predicate": {
            "id": ID.hex(),
            "kind": "hardware",
            "log": {"origin": ORIGIN, "index": 0, "previous": "0" * 64},
            "shown": [{"field": f, "value": fields[f], "salt": b64(salts[f])} for f in sorted(fields)],
        },
        "subject": [
            {
                "name": f"verity:fields:{ID.hex()}",
                "digest": {"sha256": sha256(b"verity/fields/v1\0", ID, *commitments).hex()},
            }
        ],
    }
    payload = jcs(statement)
    pae = f"DSSEv1 {len(TYPE)} {TYPE} {len(payload)} ".encode() + payload
    signature = REGISTRAR.sign(pae)
    entry = sha256(b"verity/entry/v1\0", ENTRY_SALT, sha256(b"verity/envelope/v1\0", pae, REGISTRAR_KEY, signature))
    body = f"{ORIGIN}\n1\n{b64(sha256(bytes(1), entry))}\n"
    key_id = sha256(ORIGIN.encode() + b"\n\x01" + REGISTRAR_KEY)[:4]
    return {
        "hardware": {
            "payload": b64(payload),
            "payloadType": TYPE,
            "signatures": [{"keyid": REGISTRAR_KEY.hex(), "sig": b64(signature)}],
        },
        "checkpoint": f"{body}\n\N{EM DASH} {ORIGIN} {b64(key_id + REGISTRAR.sign(body.encode()))}\n",
        "proof": {"index": 0, "salt": b64(ENTRY_SALT), "path": []},
    }


# --- what is wrong, and with what error -------------------------------------------------------------------------------


def changed(data: str, at: int, to: str) -> str:
    octets = bytearray.fromhex(data)
    octets[at : at + len(to) // 2] = bytes.fromhex(to)
    return octets.hex()


def cases(quote: dict[str, Any]) -> list[dict[str, Any]]:
    attest, signature, pcrs, ak = (quote[n] for n in ("attest", "signature", "pcrs", "ak"))
    other = [[index, "11" * 32 if index == 8 else value] for index, value in pcrs]
    form, signed = "FormatError", "SignatureError"
    return [
        {"what": "as it was signed", "error": None},
        {"what": "another magic number", "attest": changed(attest, 0, "fe"), "error": form},
        {"what": "no quote but a certification", "attest": changed(attest, 4, "8017"), "error": form},
        {"what": "another extraData", "attest": changed(attest, 44, "00"), "error": signed},
        {"what": "an octet more", "attest": attest + "00", "error": form},
        {"what": "an octet less", "attest": attest[:-2], "error": form},
        {"what": "another signature", "signature": changed(signature, 10, "00000000"), "error": signed},
        {"what": "a signature by RSASSA", "signature": changed(signature, 0, "0014"), "error": form},
        {"what": "a signature over SHA-1", "signature": changed(signature, 2, "0004"), "error": form},
        {"what": "another value of PCR 8", "pcrs": other, "error": form},
        {"what": "PCR 14 left out", "pcrs": pcrs[:-1], "error": form},
        {"what": "PCRs in another order", "pcrs": [*pcrs[1:], pcrs[0]], "error": form},
        {"what": "a key that is not restricted", "ak": quote["unrestricted"], "error": form},
        {"what": "an endorsement key as attestation key", "ak": quote["ek_ecc"], "error": form},
        {"what": "a key that may leave its TPM", "ak": changed(ak, 6, "00050460"), "error": form},
        {"what": "a point that is not on the curve", "ak": changed(ak, len(ak) // 2 - 1, "00"), "error": form},
    ]  # fmt: skip


def main(folder: Path) -> None:
    bundle = json.loads((folder / "receipt.json").read_text())["bundle"]
    device = bundle["receipt"]["intent"]["signatures"][0]["keyid"]
    body = bundle["log"]["checkpoint"].partition("\n\n")[0] + "\n"
    extra = sha256(b"verity/quote/v1\0", bytes.fromhex(device), sha256(body.encode()))
    with tempfile.TemporaryDirectory() as temporary:
        quote = captured(Path(temporary), extra)
        second_reader(event_log(), Path(temporary))
    proof = {
        "record": record(device, quote, "tpm-unverified-ek"),
        "attest": b64(bytes.fromhex(quote["attest"])),
        "signature": b64(bytes.fromhex(quote["signature"])),
        "pcrs": quote["pcrs"],
        "event_log": b64(event_log()),
    }
    written = {
        "device": device, "checkpoint_body": body, "extra_data": extra.hex(), "quote": quote, "cases": cases(quote),
        "event_log": {
            "log": event_log().hex(),
            "events": [{"pcr": i, "type": t, "digest": sha256(d).hex(), "text": text} for i, _, t, d, text in EVENTS],
            "pcrs": {str(index): value.hex() for index, value in sorted(replayed().items())},
        },
        "registrar": REGISTRAR_KEY.hex(), "proof": proof,
    }  # fmt: skip
    (folder / "tpm.json").write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
