"""Encryption with a passphrase, in the age format (https://age-encryption.org/v1): backups and recovery keys."""

from __future__ import annotations

import re

from verity.errors import FormatError, UsageError

HEADER_BYTES = 256
_AGE = b"age-encryption.org/v1"
_SCRYPT = re.compile(rb"age-encryption\.org/v1\n-> scrypt [^ \n]{1,64} (\d{1,3})\n")
_MAX_WORK = 21


def is_encrypted(head: bytes) -> bool:
    """Whether a file that begins so is in the age format."""
    return head.startswith(_AGE)


def encrypt(data: bytes, passphrase: str) -> bytes:
    import pyrage

    return bytes(pyrage.passphrase.encrypt(data, passphrase))


def decrypt(data: bytes, passphrase: str | None, name: str) -> bytes:
    """What ``encrypt`` was given. ``name`` is the file's, for errors: UsageError without a passphrase, FormatError for
    another, or for a file that asks for too much memory."""
    if passphrase is None:
        raise UsageError(f"{name} is encrypted", "give its passphrase")
    check_work(data[:HEADER_BYTES], name)
    import pyrage

    try:
        return bytes(pyrage.passphrase.decrypt(data, passphrase))
    except pyrage.DecryptError as error:
        raise FormatError(f"{name} does not open with this passphrase, or it is damaged", "try again") from error


def check_work(head: bytes, name: str) -> None:
    """The file says how much memory its passphrase takes, 1 KiB times a power of two (RFC 7914; r is 8 in age)."""
    stanza = _SCRYPT.match(head)
    if stanza is not None and int(stanza[1]) > _MAX_WORK:
        raise FormatError(f"{name} asks for more than {1 << _MAX_WORK - 20} GiB of memory", "decrypt it with age first")
