"""Embeddings: what a receipt of this kind must say, and its replay. Specified in spec/embedding.md.

The replay is handed an Engine. It tokenises every text again, runs the model, pools and normalises, and compares the
vectors bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from verity.engines.engine import Engine
from verity.engines.numerics import Numerics
from verity.engines.pooling import (
    MAX_TEXT_BYTES,
    MAX_TEXT_TOKENS,
    MAX_TEXTS,
    Normalisation,
    Pooling,
    Vector,
    decode_vector,
    embed,
)
from verity.errors import FormatError
from verity.statements.adapters import AdapterUse
from verity.statements.receipt import convert_field
from verity.verify.claims import Fields
from verity.verify.replay import CannotReplay, ModelName, Outcome, differs
from verity.verify.report import Check

UNUSED: dict[str, Any] = {"adapters": [], "batch": None, "previous_turn": None, "request": None, "retention": None}
"""Fields that later versions fill, with the value that says that their feature is not in use."""

FINISHES = ("end", "cancelled", "error", "aborted")


class _Way(msgspec.Struct, frozen=True):
    pooling: Pooling
    normalisation: Normalisation


class EmbeddingClaim(msgspec.Struct, frozen=True, kw_only=True, tag="embedding"):
    """Everything a receipt says that replay needs, taken from fields whose commitments hold. ``vectors`` are base64 of
    float32, little-endian, all of one length: of the first texts, if the device says that it was cut off."""

    model: ModelName
    engine: dict[str, Any]
    tokenizer: dict[str, Any]
    context: dict[str, Any]
    numerics: Numerics
    texts: list[str]
    prompt_tokens: list[list[int]]
    pooling: Pooling
    normalisation: Normalisation
    vectors: list[str]
    adapters: list[AdapterUse] = []

    @property
    def longest(self) -> int:
        """Tokens that the context must hold at once."""
        return max(map(len, self.prompt_tokens))


def output(fields: Fields) -> Check:
    """Step 8. There must be one vector for each text, all of one length, or fewer if it was cut off."""
    vectors, texts, finish = _vectors(fields), len(fields.inputs()), fields.read("output/finish", str)
    said = {"vectors": len(vectors), "texts": texts, "finish": finish}
    if finish != "end":
        sentence = f"{len(vectors)} of {texts} texts have a vector; it was cut off, on the device's word ({finish})."
        return Check("output", "passed", sentence, said)
    count = f"each of the {texts} texts" if texts > 1 else "the text"
    return Check("output", "passed", f"There is a vector of {len(vectors[0])} numbers for {count}.", said)


def claim(fields: Fields) -> EmbeddingClaim:
    """What replay needs. Raises Withheld, CannotReplay, FormatError."""
    model = fields.model(UNUSED)
    said = {name: fields.value(name) for name in ("normalisation", "pooling")}
    way = convert_field(said, _Way, "pooling")
    prompt_tokens = fields.read("prompt_tokens", list[list[int]])
    _vectors(fields)
    return EmbeddingClaim(
        model=model,
        engine=fields.read("engine", dict[str, Any]),
        tokenizer=fields.read("tokenizer", dict[str, Any]),
        context=fields.read("context", dict[str, Any]),
        numerics=fields.read("numerics", Numerics),
        texts=_texts(fields, prompt_tokens),
        prompt_tokens=prompt_tokens,
        pooling=way.pooling,
        normalisation=way.normalisation,
        vectors=fields.read("output/embeddings", list[str]),
    )


def _vectors(fields: Fields) -> list[Vector]:
    """Those of the first texts, or of all if nothing cut it off. Raises FormatError."""
    said, finish = fields.read("output/embeddings", list[str]), fields.read("output/finish", str)
    if finish not in FINISHES:
        raise FormatError(f"the embedding is said to end by {finish!r}, which this version does not know")
    texts = len(fields.inputs())
    least, most = {"end": (max(texts, 1), texts), "aborted": (0, 0)}.get(finish, (0, texts))
    if not least <= len(said) <= most:
        raise FormatError(f"there are {len(said)} vectors for {texts} texts, and it ended by {finish}")
    vectors = [decode_vector(text) for text in said]
    if len({len(vector) for vector in vectors}) > 1:
        raise FormatError("the vectors are not of one length")
    return vectors


def _texts(fields: Fields, prompt_tokens: list[list[int]]) -> list[str]:
    messages = fields.messages()
    if not 0 < len(messages) <= MAX_TEXTS or len(prompt_tokens) != len(messages):
        raise FormatError(f"an embedding is of 1 to {MAX_TEXTS:,} texts, each with its tokens")
    if any(message.role != "user" or not message.content for message in messages):
        raise FormatError("a text to embed has the role 'user', and is not empty")
    if sum(len(message.content.encode()) for message in messages) > MAX_TEXT_BYTES:
        raise FormatError(f"the texts of an embedding have at most {MAX_TEXT_BYTES:,} bytes together")
    if not all(prompt_tokens) or sum(map(len, prompt_tokens)) > MAX_TEXT_TOKENS:
        raise FormatError(f"a text has at least one token, and all together at most {MAX_TEXT_TOKENS:,}")
    return [message.content for message in messages]


def replay(engine: Engine, claim: EmbeddingClaim, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Re-run ``claim`` on ``engine``. Raises EngineError when the model cannot be run, CannotReplay without vectors."""
    wrong = _impossible(engine, claim)
    if wrong is not None:
        return wrong
    if not claim.vectors:
        raise CannotReplay("it was cut off before the first vector: there is nothing to replay")
    count = len(claim.vectors)
    for index, (tokens, said) in enumerate(zip(claim.prompt_tokens[:count], claim.vectors, strict=True)):
        claimed = decode_vector(said)
        made = embed(engine.hidden(tokens), claim.pooling, claim.normalisation)
        if made.tobytes() != claimed.tobytes():
            return _vector_differs(index, claimed, made)
        if progress is not None:
            progress(index + 1, count)
    which = f"All {count} vectors" if count > 1 else "The vector"
    return Outcome(True, f"{which} came out again, bit for bit.", {"vectors": count, "dimensions": engine.dimensions})


def _impossible(engine: Engine, claim: EmbeddingClaim) -> Outcome | None:
    """Tokens must follow from the texts by the model's own tokenizer, and fit."""
    if engine.tokenizer != claim.tokenizer:
        return differs("the receipt names another tokenizer than the model's own")
    if claim.longest > engine.context_size:
        return differs("a text does not fit the context that the receipt names")
    for index, (text, tokens) in enumerate(zip(claim.texts, claim.prompt_tokens, strict=True)):
        if engine.tokenize(text) != tokens:
            return differs(f"the tokens of text {index} do not follow from it", text=index)
    return None


def _vector_differs(index: int, claimed: Vector, made: Vector) -> Outcome:
    if len(claimed) != len(made):
        return differs(f"the vectors have {len(claimed)} numbers, the model gives {len(made)}", text=index)
    apart = np.abs(claimed.astype(np.float64) - made)
    largest, at = float(apart.max()), int(apart.argmax())
    sentence = f"the vector of text {index} is off the model's by up to {largest:.4g} (number {at})"
    values = {"claimed": float(claimed[at]), "replayed": float(made[at]), "margin": largest}
    return differs(sentence, text=index, number=at, **values)
