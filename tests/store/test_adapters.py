"""Adapters in the store: which base they fit, by which names they are found, and how they go away."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import ARRAY, I32, STRING, U32, Metadata, tiny
from lora import TINY, lora

from verity.errors import AdapterNotFound, FormatError, ModelNotFound, StoreError, UsageError
from verity.store import catalogue, gc, locks
from verity.store.adapters import BASE_KEY, Adapters, base_in
from verity.store.blobs import Blobs
from verity.store.pull import pull

BASE, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def adapters(blobs: Blobs) -> Adapters:
    return Adapters(blobs)


def written(folder: Path, data: bytes, name: str = "Calm Tone.gguf") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_the_file_says_which_base_it_fits(adapters: Adapters, blobs: Blobs, tmp_path: Path) -> None:
    path = written(tmp_path, lora(BASE, shapes=TINY))
    added = adapters.add(path)
    assert (added.name, added.base, added.source) == ("calm-tone", BASE, str(path))
    assert blobs.open(added.blake3).path.read_bytes() == path.read_bytes()
    assert adapters.all() == [added]
    assert adapters.add(path, base=BASE.upper())._replace(added_at="") == added._replace(added_at="")
    with pytest.raises(UsageError, match=f"fits the model {BASE}, not {OTHER}"):
        adapters.add(path, base=OTHER)


def test_whoever_adds_it_says_so_if_the_file_does_not(adapters: Adapters, blobs: Blobs, tmp_path: Path) -> None:
    path = written(tmp_path, lora(None, shapes=TINY))
    with pytest.raises(UsageError, match="does not say which model") as refused:
        adapters.add(path)
    assert "--base" in refused.value.hint
    model = pull(str(written(tmp_path, tiny(), "base.gguf")), blobs)
    assert adapters.add(path, base="base").base == model.blake3
    assert adapters.add(path, base=model.sha256[:20]).base == model.blake3
    assert adapters.add(path, base=model.sha256).base == model.blake3
    with pytest.raises(UsageError, match="the same file is here as calm-tone"):
        adapters.add(path, name="again", base=OTHER)
    with pytest.raises(ModelNotFound):
        adapters.add(path, base="nobody")
    known = catalogue.find(catalogue.DEFAULT)
    assert known is not None
    assert adapters.add(path, base=catalogue.DEFAULT).base == known.blake3


_DIFFERENT: dict[str, tuple[Metadata, str]] = {
    "a model": ({"general.type": (STRING, "model")}, "not a LoRA adapter"),
    "another kind": ({"adapter.type": (STRING, "prefix")}, "not a LoRA adapter"),
    "no architecture": ({"general.architecture": (U32, 1)}, "architecture"),
    "called by tokens": ({"adapter.alora.invocation_tokens": (ARRAY, I32, [1])}, "aLoRA"),
    "a base that is a number": ({BASE_KEY: (U32, 1)}, BASE_KEY),
    "a base that is an array": ({BASE_KEY: (ARRAY, U32, [1])}, BASE_KEY),
    "a base in capitals": ({BASE_KEY: (STRING, BASE.upper())}, BASE_KEY),
}


@pytest.mark.parametrize(("more", "said"), _DIFFERENT.values(), ids=_DIFFERENT)
def test_what_is_no_adapter_is_refused_and_not_kept(
    adapters: Adapters, blobs: Blobs, tmp_path: Path, more: Metadata, said: str
) -> None:
    with pytest.raises(FormatError, match=said):
        adapters.add(written(tmp_path, lora(None, shapes={}, more=more)), base=BASE)
    assert adapters.all() == []
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["no.gguf", "", ".", "a\0b"])
def test_what_cannot_be_read_is_refused(adapters: Adapters, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        adapters.add(tmp_path / name, name="x", base=BASE)


def test_names_and_digests_find_it(adapters: Adapters, tmp_path: Path) -> None:
    one = adapters.add(written(tmp_path, lora(BASE, shapes=TINY)), name="One")
    two = adapters.add(written(tmp_path, lora(BASE, shapes=TINY, seed=2)), name="two")
    for wanted in ("one", "ONE", one.blake3, one.blake3[:8].upper(), one.sha256[:12]):
        assert adapters.resolve(wanted) == one
    assert adapters.knows(two.blake3)
    assert not adapters.knows(BASE)
    for missing in ("three", one.blake3[:7], "0" * 64):
        with pytest.raises(AdapterNotFound):
            adapters.resolve(missing)
    with pytest.raises(UsageError, match="cannot be the name of an adapter"):
        adapters.add(written(tmp_path, lora(BASE, shapes=TINY)), name="a/b")


def test_an_adapter_is_no_model(adapters: Adapters, blobs: Blobs, tmp_path: Path) -> None:
    path = written(tmp_path, lora(BASE, shapes=TINY))
    added = adapters.add(path)
    with pytest.raises(ModelNotFound):
        blobs.resolve(added.blake3)
    blobs.place(added.blake3).unlink()
    with pytest.raises(ModelNotFound) as missing:
        blobs.open(added.blake3)
    assert missing.value.hint == f"run `verity adapters add '{path}'`"


def test_the_file_stays_while_a_name_means_it(adapters: Adapters, blobs: Blobs, tmp_path: Path) -> None:
    path = written(tmp_path, lora(BASE, shapes=TINY))
    added = adapters.add(path)
    adapters.add(path, name="also")
    assert gc.collect(blobs).removed == []
    assert gc.remove_adapter(blobs, "ALSO").kept_by == ["calm-tone"]
    pull(str(path), blobs, name="as-a-model")
    assert gc.remove(blobs, "as-a-model").kept_by == ["calm-tone"]
    assert gc.remove_adapter(blobs, "calm-tone") == ("calm-tone", added.blake3, added.size, [])
    assert adapters.all() == []
    with pytest.raises(AdapterNotFound, match="no adapter"):
        gc.remove_adapter(blobs, "calm-tone")
    with locks.storing(blobs.folder), pytest.raises(StoreError, match="another command"):
        gc.remove_adapter(blobs, "calm-tone")


def test_one_that_lost_its_name_is_collected(adapters: Adapters, blobs: Blobs, tmp_path: Path) -> None:
    first = adapters.add(written(tmp_path, lora(BASE, shapes=TINY)))
    second = adapters.add(written(tmp_path, lora(BASE, shapes=TINY, seed=2)))
    assert [item.path for item in gc.collect(blobs).removed] == [blobs.place(first.blake3)]
    assert adapters.all() == [second]


def test_the_same_file_says_the_same(tmp_path: Path) -> None:
    assert base_in(written(tmp_path, lora(BASE, shapes={}))) == BASE
    assert base_in(written(tmp_path, lora(None, shapes={}))) is None
    with pytest.raises(FormatError):
        base_in(written(tmp_path, b"GGUF"))
