"""Embeds texts with a receipt: every text and setting committed before the model runs, the vectors after.

The same as an answer, but that nothing is drawn: no nonce, no seed. Formats: spec/embedding.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from verity.endings import embedding_ending
from verity.engines.engine import Engine
from verity.engines.pooling import (
    MAX_TEXT_BYTES,
    MAX_TEXT_TOKENS,
    MAX_TEXTS,
    MAX_VECTOR_BYTES,
    NORMALISATIONS,
    POOLINGS,
    Normalisation,
    Pooling,
    Vector,
    embed,
    encode_vector,
)
from verity.errors import ContextOverflow, UsageError
from verity.exporter import Exporter
from verity.loader import Loaded
from verity.recorded import Recorded, check_shown, on_record, setting
from verity.recorder import Begun, Recorder
from verity.statements.receipt import EMBEDDING, Message, input_field


class Embedded(Recorded, frozen=True, kw_only=True):
    """Vectors with their receipt. ``vectors`` is float32 of shape (texts, dimensions); ``tokens`` of all texts are
    counted."""

    vectors: npt.NDArray[np.float32]
    tokens: int


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, checked and in tokens: one list for each text."""

    texts: list[str]
    prompt_tokens: list[list[int]]
    pooling: Pooling
    normalisation: Normalisation


class Embedder:
    """Embeds on one device."""

    def __init__(self, recorder: Recorder, exporter: Exporter) -> None:
        self._recorder = recorder
        self._exporter = exporter

    def begin(self, loaded: Loaded, request: EmbeddingRequest, show: Sequence[str] = ()) -> Begun:
        """Log the intent. Raises UsageError for a field to show that there is not, StoreError, LogError."""
        fields = intent_fields(request, loaded)
        check_shown(show, fields)
        return self._recorder.begin(fields, show, kind=EMBEDDING)

    def run(self, loaded: Loaded, request: EmbeddingRequest, begun: Begun) -> Embedded:
        """The vectors, then the result. However it ends, it is logged with the vectors so far. Raises EngineError."""
        vectors: list[Vector] = []
        finish = "error"
        try:
            for tokens in request.prompt_tokens:
                vectors.append(embed(loaded.engine.hidden(tokens), request.pooling, request.normalisation))
            finish = "end"
        except KeyboardInterrupt:
            finish = "cancelled"
            raise
        finally:
            self._recorder.finish(begun, embedding_ending(finish, [encode_vector(v) for v in vectors]), [])
        counted = sum(map(len, request.prompt_tokens))
        return Embedded(vectors=np.stack(vectors), tokens=counted, **on_record(begun, self._exporter, loaded))


def make_request(engine: Engine, texts: Sequence[str], pooling: str, normalisation: str) -> EmbeddingRequest:
    """Check what is asked for and turn the texts into tokens. Raises UsageError, ContextOverflow, EngineError."""
    if pooling not in POOLINGS:
        raise UsageError(f"there is no pooling {pooling!r}", f"known: {', '.join(POOLINGS)}")
    if normalisation not in NORMALISATIONS:
        raise UsageError(f"there is no normalisation {normalisation!r}", f"known: {', '.join(NORMALISATIONS)}")
    _check_texts(texts, engine)
    prompt_tokens = [_tokens(engine, text, index) for index, text in enumerate(texts)]
    if (total := sum(map(len, prompt_tokens))) > MAX_TEXT_TOKENS:
        raise UsageError(
            f"{total:,} tokens are more than the {MAX_TEXT_TOKENS:,} of one embedding", "embed fewer texts"
        )
    return EmbeddingRequest(
        texts=list(texts),
        prompt_tokens=prompt_tokens,
        pooling=POOLINGS[POOLINGS.index(pooling)],
        normalisation=NORMALISATIONS[NORMALISATIONS.index(normalisation)],
    )


def _check_texts(texts: Sequence[str], engine: Engine) -> None:
    most = min(MAX_TEXTS, MAX_VECTOR_BYTES // (4 * engine.dimensions))
    if isinstance(texts, str) or not 0 < len(texts) <= most:
        raise UsageError(f"one embedding is of 1 to {most:,} texts with this model", "give a list, or several")
    size = 0
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise UsageError(f"text {index} is empty, or no text", "leave it out")
        try:
            size += len(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise UsageError(f"text {index} is not valid Unicode text", "save it as UTF-8") from error
    if size > MAX_TEXT_BYTES:
        raise UsageError(f"{size:,} bytes of text are more than the {MAX_TEXT_BYTES:,} of one embedding", "give fewer")


def _tokens(engine: Engine, text: str, index: int) -> list[int]:
    """Context overflow is an error that names the text, never a cut."""
    try:
        tokens = engine.tokenize(text)
    except ContextOverflow as error:
        raise ContextOverflow(f"text {index}: {error}", error.hint) from error
    if not tokens:
        raise UsageError(f"text {index} has no tokens", "leave it out")
    if len(tokens) > engine.context_size:
        raise ContextOverflow(
            f"text {index} has {len(tokens):,} tokens and does not fit a context of {engine.context_size:,}",
            "split it, or use a larger --context",
        )
    return tokens


def intent_fields(request: EmbeddingRequest, loaded: Loaded) -> dict[str, Any]:
    """Every field of the intent (spec/embedding.md). None and [] say that a later version's feature is not in use."""
    return {
        "tokenizer": loaded.engine.tokenizer,
        **setting(loaded, loaded.engine, loaded.adapters),
        "normalisation": request.normalisation,
        "pooling": request.pooling,
        "prompt_tokens": request.prompt_tokens,
        **{input_field(i): msgspec.to_builtins(Message("user", text)) for i, text in enumerate(request.texts)},
    }
