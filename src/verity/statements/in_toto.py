"""The in-toto Statement v1 (https://github.com/in-toto/attestation, spec/v1/statement.md), read strictly.

{"_type": "https://in-toto.io/Statement/v1", "predicate": …, "predicateType": "verity:…", "subject": [{"digest", "name"}]}
"""  # noqa: E501

from __future__ import annotations

from typing import Generic, Self, TypeVar

import msgspec

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_P = TypeVar("_P")


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class InToto(msgspec.Struct, Generic[_P], frozen=True, forbid_unknown_fields=True, rename={"type_": "_type"}):
    """A statement with a predicate of this form; its members stand in the order of canonical JSON."""

    predicate: _P
    predicateType: str  # noqa: N815 - the field's name in the in-toto specification
    subject: list[Subject]
    type_: str

    @classmethod
    def of(cls, predicate: _P, predicate_type: str, subject: Subject) -> Self:
        """A statement about one subject."""
        return cls(predicate, predicate_type, [subject], STATEMENT_TYPE)

    def is_of(self, predicate_type: str) -> bool:
        """Whether it is a statement, and of this type."""
        return (self.type_, self.predicateType) == (STATEMENT_TYPE, predicate_type)
