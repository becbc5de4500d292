"""Embeddings of a device: what is refused, what is on record however it ends, what an owner may open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import REPLY, in_process

import verity
from verity import Selection
from verity.embedder import Embedder, make_request
from verity.engines import pooling
from verity.engines.pooling import Hidden
from verity.engines.scripted import ScriptedEngine
from verity.errors import ContextOverflow, EngineError, UsageError
from verity.exporter import NOTHING, warnings
from verity.node import Node
from verity.statements.receipt import EMBEDDING, EMBEDDING_INTENT_FIELDS, EMBEDDING_RESULT_FIELDS

TEXTS = ["Light is scattered.", "Bread is baked.", "é 世界 🌍"]


class Failing(ScriptedEngine):
    """Fails, or is interrupted, at the second text."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(REPLY)
        self._error = error
        self._texts = 0

    def hidden(self, tokens: Sequence[int]) -> Iterator[Hidden]:
        self._texts += 1
        if self._texts == 2:
            raise self._error
        return super().hidden(tokens)


def opened(bundle: verity.Bundle) -> dict[str, Any]:
    disclosure: Any = bundle.disclosure
    return {x.field: x.value for x in (*disclosure.intent, *disclosure.result) if x.opened}


def check(bundle: verity.Bundle, node: Node, **options: Any) -> verity.Report:
    return verity.verify(bundle, key=node.key.id, home=node.home, replayer=in_process, **options)


def test_every_field_is_there_and_no_other(scripted: Node) -> None:
    embedded = scripted.embed(TEXTS, show=["pooling"])
    fields = opened(embedded.bundle)
    inputs = {f"inputs/{i:04d}" for i in range(3)}
    assert set(fields) == EMBEDDING_INTENT_FIELDS | EMBEDDING_RESULT_FIELDS | inputs
    assert fields["inputs/0002"] == {"type": "text", "role": "user", "content": TEXTS[2]}
    vectors = [pooling.decode_vector(text) for text in fields["output/embeddings"]]
    assert np.array_equal(np.stack(vectors), embedded.vectors)
    assert embedded.vectors.dtype == np.float32
    assert embedded.tokens == sum(map(len, fields["prompt_tokens"]))


def test_texts_are_embedded_apart_from_each_other(scripted: Node) -> None:
    together, alone = scripted.embed(TEXTS), scripted.embed(TEXTS[1:2])
    assert together.vectors[1].tobytes() == alone.vectors[0].tobytes()


@pytest.mark.parametrize("how", pooling.POOLINGS)
def test_pooling_and_normalisation_do_what_they_say(how: str, scripted: Node) -> None:
    raw = scripted.embed(TEXTS, pooling=how, normalisation="none").vectors
    lengths = np.linalg.norm(raw.astype(np.float64), axis=1, keepdims=True)
    assert np.allclose(scripted.embed(TEXTS, pooling=how).vectors, raw / lengths, atol=1e-7)
    assert check(scripted.embed(TEXTS, pooling=how).bundle, scripted).check("replayed-exact").status == "passed"


def test_what_is_refused(scripted: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[tuple[Any, dict[str, str], str]] = [
        ([], {}, "1 to 2,048 texts"),
        ("a text", {}, "1 to 2,048 texts"),
        (["a"] * 2049, {}, "1 to 2,048 texts"),
        (["a", ""], {}, "text 1 is empty"),
        (["a", 7], {}, "text 1 is empty, or no text"),
        (["\ud800"], {}, "text 0 is not valid Unicode"),
        (["a"], {"pooling": "max"}, "no pooling 'max'"),
        (["a"], {"normalisation": "l1"}, "no normalisation 'l1'"),
        (["a" * 2000] * 1100, {}, "bytes of text"),
        (["a" * 1000] * 140, {}, "tokens are more than"),
    ]
    for texts, options, said in wrong:
        with pytest.raises(UsageError, match=said):
            scripted.embed(texts, **options)
    with pytest.raises(UsageError, match="no field 'seed'"):
        scripted.embed(["a"], show=["seed"])
    with pytest.raises(ContextOverflow, match=r"text 1 has 5,001 tokens"):
        scripted.embed(["a", "b" * 5000])
    monkeypatch.setattr("verity.embedder.MAX_VECTOR_BYTES", 4 * ScriptedEngine.dimensions)
    with pytest.raises(UsageError, match="1 to 1 texts"):
        scripted.embed(["a", "b"])
    assert list(scripted.exporter.receipts.all()) == []  # nothing of all that is on record


@pytest.mark.parametrize(
    ("error", "finish"),
    [(EngineError("it broke"), "error"), (KeyboardInterrupt(), "cancelled")],
    ids=["error", "ctrl-c"],
)
def test_what_is_cut_off_is_on_record(error: BaseException, finish: str, tmp_path: Path) -> None:
    with verity.open(tmp_path, engine=Failing(error)) as node:
        with pytest.raises(type(error)):
            node.embed(TEXTS)
        (kept,) = node.exporter.receipts.all()
        bundle = node.exporter.bundle(kept.id)
        fields = opened(bundle)
        assert (kept.kind, kept.state, fields["output/finish"]) == (EMBEDDING, "done", finish)
        assert len(fields["output/embeddings"]) == 1
        report = check(bundle, node)
        assert "1 of 3 texts" in report.check("output").sentence
        assert report.check("replayed-exact").status == "passed"


def test_what_a_dead_process_left_is_closed(scripted: Node) -> None:
    loaded = scripted.load()

    begun = Embedder(scripted.recorder, scripted.exporter).begin(
        loaded, make_request(loaded.engine, TEXTS, "mean", "l2")
    )
    begun.hold.release()  # as a process does that dies
    assert scripted.recorder.close_orphans() == [begun.id]
    bundle = scripted.exporter.bundle(begun.id)
    assert opened(bundle)["output/finish"] == "aborted"
    report = check(bundle, scripted)
    assert [c.name for c in report.failed] == ["engine"]
    assert "before the first vector" in report.check("replayed-exact").sentence


def test_the_largest_fits_a_bundle(tmp_path: Path) -> None:
    class Wide(ScriptedEngine):
        dimensions = pooling.MAX_VECTOR_BYTES // (4 * pooling.MAX_TEXTS)

    text = "\x01" * (pooling.MAX_TEXT_TOKENS // pooling.MAX_TEXTS - 1)  # six bytes of JSON each
    with verity.open(tmp_path, engine=Wide(REPLY)) as node:
        embedded = node.embed([text] * pooling.MAX_TEXTS, pooling="last")
        path = embedded.save(tmp_path / "largest.verity.json")
        report = verity.verify(path, key=node.key.id, replay=False)
    assert [c.name for c in report.failed] == ["engine"]
    assert report.check("output").evidence["vectors"] == pooling.MAX_TEXTS


def test_opening_a_part(scripted: Node) -> None:
    embedded = scripted.embed(TEXTS)
    bundle = scripted.exporter.bundle(embedded.receipt, Selection(messages=[1], output=True))
    assert set(opened(bundle)) == {"inputs/0001", "output/embeddings", "output/finish"}
    assert any("vector of a text that you withhold" in warning for warning in warnings(bundle))
    report = check(bundle, scripted)
    assert report.check("output").status == "passed"
    assert report.check("replayed-exact").status == "not made"
    assert not hasattr(scripted.exporter.bundle(embedded.receipt, NOTHING).disclosure, "intent")
    with pytest.raises(UsageError, match="0 tokens"):
        scripted.exporter.bundle(embedded.receipt, Selection(output=(0, 1)))
    assert warnings(embedded.bundle) == []


def test_forgetting_and_the_log(scripted: Node) -> None:
    embedded = scripted.embed(TEXTS)
    assert scripted.exporter.receipts.get(embedded.receipt[:8]).kind == EMBEDDING
    assert scripted.recorder.forget([embedded.receipt]) == 1
    with pytest.raises(UsageError, match="was forgotten"):
        scripted.exporter.bundle(embedded.receipt)
    assert scripted.recorder.compact() == 2
    assert scripted.check_log() == []


def test_the_log_is_sound_with_both_kinds(scripted: Node, tmp_path: Path) -> None:
    scripted.ask("Why?", max_tokens=3)
    path = scripted.embed(TEXTS).save(tmp_path / "e.verity.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert scripted.check_log() == []
    assert [kept.kind for kept in scripted.exporter.receipts.all()] == ["generation", "embedding"]
