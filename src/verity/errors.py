"""Every error that Verity raises on purpose.

    VerityError                 something went wrong and the message says what to do      exit 1
    ├── UsageError              the caller asked for something that cannot be done        exit 2
    │   └── ContextOverflow     prompt and output do not fit the model's context
    ├── FormatError             bytes from outside are not what they claim to be          exit 2
    ├── StoreError              the device's own files or database cannot be used
    │   ├── ModelNotFound       no model of that name here                                exit 2
    │   ├── AdapterNotFound     no adapter of that name here                              exit 2
    │   ├── ReleaseNotFound     no release of that name here                              exit 2
    │   ├── ReleaseRefused      this device's rules want a release of a file, or it was revoked
    │   └── DigestMismatch      bytes differ from the digest they were promised under
    ├── FetchError              a model could not be downloaded
    ├── LogError                the device's log is damaged or contradicts itself
    ├── ProofError              a Merkle proof cannot be built, or does not hold
    ├── SignatureError          a signature does not hold
    ├── EngineError             a model cannot be loaded or run
    ├── HardwareError           a TPM cannot be reached, or refuses
    ├── AnswerError             an answer is there, as ``answer``, and is not what was asked for
    │   └── TypedOutputError    it is no value of the type
    ├── Busy                    too much is asked for at once: try again later
    ├── TimedOut                an answer took longer than it may
    └── Interrupted             the user stopped it; what was done so far is on record    exit 130

Each carries ``hint`` (what to do about it, one sentence) and ``exit_code`` (what the command line returns).
"""

from __future__ import annotations

from typing import Any


class VerityError(Exception):
    """Base of the tree. ``str(error)`` says what happened, ``error.hint`` what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(VerityError):
    exit_code = 2


class ContextOverflow(UsageError):
    pass


class FormatError(VerityError):
    exit_code = 2


class StoreError(VerityError):
    pass


class ModelNotFound(StoreError):
    exit_code = 2


class AdapterNotFound(StoreError):
    exit_code = 2


class ReleaseNotFound(StoreError):
    exit_code = 2


class ReleaseRefused(StoreError):
    pass


class DigestMismatch(StoreError):
    pass


class FetchError(VerityError):
    pass


class LogError(VerityError):
    pass


class ProofError(VerityError):
    pass


class SignatureError(VerityError):
    pass


class EngineError(VerityError):
    pass


class HardwareError(VerityError):
    pass


class AnswerError(VerityError):
    """``answer`` is the Answer, receipt included; None when text alone was read."""

    answer: Any = None


class TypedOutputError(AnswerError):
    pass


class Busy(VerityError):
    """``retry_after_s`` says in how many seconds another try makes sense."""

    def __init__(self, message: str, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class TimedOut(VerityError):
    pass


class Interrupted(VerityError):
    exit_code = 130
