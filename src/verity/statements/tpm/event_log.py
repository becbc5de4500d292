"""A firmware's event log (TCG PC Client Platform Firmware Profile 1.05, section 10), its SHA-256 bank.

The log explains how PCRs came to their values: each event says what was measured, and extends one PCR by its digest.
Replayed, it gives the value that a quote shows, or the log is not of that boot. The text of an event is the firmware's
word: only its digest is bound. So the log is shown to a reader who has one, and decides nothing.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from verity.errors import FormatError
from verity.statements.tpm.octets import Octets
from verity.statements.tpm.public import SHA256

MAX_EVENT_LOG = 1 << 20
MAX_EVENTS = 1 << 14
MAX_PCR = 23
SHOWN = 120
"""Characters of an event's text."""

_NO_ACTION = 3
_SIGNATURE = b"Spec ID Event03\x00"
_LOCALITY = b"StartupLocality\x00"
_MOST_BANKS = 16
_SIZES = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32, 0x0027: 32, 0x0028: 48, 0x0029: 64}
"""Bytes of a digest by TPM_ALG_ID: SHA-1, SHA-2, SM3, SHA-3."""
_TYPES = {
    0x0: "EV_PREBOOT_CERT", 0x1: "EV_POST_CODE", 0x3: "EV_NO_ACTION", 0x4: "EV_SEPARATOR", 0x5: "EV_ACTION",
    0x6: "EV_EVENT_TAG", 0x7: "EV_S_CRTM_CONTENTS", 0x8: "EV_S_CRTM_VERSION", 0x9: "EV_CPU_MICROCODE",
    0xA: "EV_PLATFORM_CONFIG_FLAGS", 0xB: "EV_TABLE_OF_DEVICES", 0xC: "EV_COMPACT_HASH", 0xD: "EV_IPL",
    0xE: "EV_IPL_PARTITION_DATA", 0xF: "EV_NONHOST_CODE", 0x10: "EV_NONHOST_CONFIG", 0x11: "EV_NONHOST_INFO",
    0x12: "EV_OMIT_BOOT_DEVICE_EVENTS", 0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT", 0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER", 0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT", 0x80000007: "EV_EFI_ACTION", 0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES", 0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2", 0x8000000C: "EV_EFI_VARIABLE_BOOT2", 0x80000010: "EV_EFI_HCRTM_EVENT",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY", 0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
    0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
}  # fmt: skip
_ASCII = re.compile(rb"[\x20-\x7e]{4,}")
_UTF16 = re.compile(rb"(?:[\x20-\x7e]\x00){4,}")


class Event(msgspec.Struct, frozen=True):
    """``type`` by its name in the profile, or as a number; ``digest`` SHA-256 (hex); ``text`` what of it is legible."""

    pcr: int
    type: str
    digest: str
    text: str


class EventLog(msgspec.Struct, frozen=True):
    """All events after the first, and what each PCR comes to (hex)."""

    events: list[Event]
    pcrs: dict[int, str]


def parse_event_log(data: bytes) -> EventLog:
    """Read and replay a crypto-agile event log. Raises FormatError."""
    if len(data) > MAX_EVENT_LOG:
        raise FormatError(f"an event log has at most {MAX_EVENT_LOG:,} bytes")
    read = Octets(data, "event log", "little")
    banks = _header(read)
    events: list[Event] = []
    pcrs: dict[int, bytes] = {}
    while read.left:
        if len(events) == MAX_EVENTS:
            raise FormatError(f"an event log has at most {MAX_EVENTS:,} events")
        events.append(_event(read, banks, pcrs))
    return EventLog(events, {index: value.hex() for index, value in sorted(pcrs.items())})


def _header(read: Octets) -> dict[int, int]:
    """TCG_PCR_EVENT with TCG_EfiSpecIDEvent (10.4.5.1): which banks there are, and the size of their digests."""
    read.must(4, 0, "a first event for PCR")
    read.must(4, _NO_ACTION, "a first event of type")
    if read.take(20) != bytes(20):
        raise FormatError("the event log's first event has a digest")
    inner = Octets(read.take(read.number(4)), "event log's header", "little")
    if inner.take(16) != _SIGNATURE:
        raise FormatError("the event log is not of the crypto-agile form (Spec ID Event03)")
    inner.take(8)  # platformClass, specVersionMinor, specVersionMajor, specErrata, uintnSize
    count = inner.number(4)
    if not 0 < count <= _MOST_BANKS:
        raise FormatError("the event log has no banks, or too many")
    banks: dict[int, int] = {}
    for _ in range(count):
        algorithm, size = inner.number(2), inner.number(2)
        if algorithm in banks or size != _SIZES.get(algorithm, size) or not 0 < size <= 64:
            raise FormatError("the event log names a bank twice, or with digests of another size")
        banks[algorithm] = size
    inner.take(inner.number(1))
    inner.end()
    if SHA256 not in banks:
        raise FormatError("the event log has no SHA-256 bank")
    return banks


def _event(read: Octets, banks: dict[int, int], pcrs: dict[int, bytes]) -> Event:
    """TCG_PCR_EVENT2 (10.2.2); extends its PCR."""
    index, kind = read.number(4), read.number(4)
    read.must(4, len(banks), "in an event, a number of digests")
    digests: dict[int, bytes] = {}
    for _ in banks:
        algorithm = read.number(2)
        if algorithm not in banks or algorithm in digests:
            raise FormatError("an event has a digest for no bank, or two for one")
        digests[algorithm] = read.take(banks[algorithm])
    data, digest = read.take(read.number(4)), digests[SHA256]
    if kind != _NO_ACTION:
        if index > MAX_PCR:
            raise FormatError(f"an event extends PCR {index}, which there is not")
        pcrs[index] = hashlib.sha256(pcrs.get(index, bytes(32)) + digest).digest()
    elif index == 0 and data[:-1] == _LOCALITY and not pcrs.get(0):
        pcrs[0] = bytes(31) + data[-1:]  # 10.4.5.3: where the TPM was started from is PCR 0's first value
    return Event(index, _TYPES.get(kind, f"{kind:#x}"), digest.hex(), _text(data))


def _text(data: bytes) -> str:
    """The longest run of it that can be read, in ASCII or UTF-16."""
    runs = [m.decode("ascii") for m in _ASCII.findall(data)]
    runs += [m.decode("utf-16-le") for m in _UTF16.findall(data)]
    return max(runs, key=len, default="")[:SHOWN]
