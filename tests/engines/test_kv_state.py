"""A sequence's memory in an encoding of our own: equal however it was computed, restored bit for bit, and safe to take
from a stranger."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from verity.engines.engine import Engine, Part, State
from verity.engines.kv_state import Layout, Rows, read_rows, write_rows
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import probe_tokens
from verity.engines.scripted import ScriptedEngine
from verity.errors import ContextOverflow, EngineError
from verity.statements.segments import cut, row_bytes

LENGTH, SIZE = 45, 16
BOUNDS = cut(SIZE, LENGTH)
LAYOUT = Layout(b"\1\2\3\4", 2, (8, 3), (8, 2))


@pytest.fixture(scope="module")
def one(model_path: Path) -> Iterator[LlamaEngine]:
    engine = LlamaEngine(model_path, context_size=256, threads=1, micro_batch=8)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def three(model_path: Path) -> Iterator[LlamaEngine]:
    engine = LlamaEngine(model_path, context_size=256, threads=2, sequences=3, micro_batch=64)
    yield engine
    engine.close()


@pytest.fixture(params=["scripted", pytest.param("llama", marks=[pytest.mark.model, pytest.mark.slow])])
def several(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = ScriptedEngine(sequences=3) if request.param == "scripted" else request.getfixturevalue("three")
    return engine


def tokens_for(engine: Engine, length: int = LENGTH) -> list[int]:
    return probe_tokens(length, engine.vocabulary)


def fill(engine: Engine, tokens: Sequence[int]) -> None:
    engine.reset()
    for _ in engine.advance_all(tokens):
        pass


def state_of(engine: Engine, sequence: int = 0, bounds: Sequence[tuple[int, int]] = BOUNDS) -> State:
    state = engine.state(sequence, bounds)
    assert state is not None
    return state


# --- equal however it was computed ------------------------------------------------------------------------------------


@pytest.mark.model
def test_the_state_does_not_depend_on_threads_batches_or_decoding(one: LlamaEngine, three: LlamaEngine) -> None:
    tokens = tokens_for(one)
    fill(one, tokens)
    batched = state_of(one)
    one.reset()
    for token in tokens:
        one.advance([token])
    assert state_of(one) == batched  # one by one
    fill(three, tokens)
    assert state_of(three) == batched  # two threads, one batch of all, one of three sequences
    assert [len(chunk) for chunk in batched.chunks] == [row_bytes(batched.encoding) * (b - a) for a, b in BOUNDS]
    assert batched.encoding["k"][0] == batched.encoding["v"][0] == 8  # ggml's q8_0


def test_neighbours_and_copies_change_nothing(several: Engine) -> None:
    tokens = tokens_for(several)
    fill(several, tokens)
    alone = state_of(several)
    several.reset()
    several.step([Part(0, tokens[:20]), Part(1, tokens[3:9])])
    several.copy(0, 2, 13)
    several.step([Part(2, tokens[13:30]), Part(0, tokens[1:4])])
    several.step([Part(1, tokens[:1]), Part(2, tokens[30:])])
    assert state_of(several, 2) == alone


def test_what_was_kept_back_leaves_no_trace(several: Engine) -> None:
    tokens = tokens_for(several)
    fill(several, tokens)
    alone = state_of(several)
    several.keep(0, 11)
    several.step([Part(0, tokens[:7])])
    several.keep(0, 11)
    several.step([Part(0, tokens[11:])])
    assert state_of(several) == alone


# --- restored bit for bit ---------------------------------------------------------------------------------------------


def test_restored_in_any_sequence_it_goes_on_bit_for_bit(several: Engine) -> None:
    tokens, alone = tokens_for(several), []
    for n in range(several.sequences):
        fill(several, tokens[n : n + 5])
        alone.append(state_of(several, 0, [(0, 5)]))
    fill(several, tokens)
    whole = state_of(several)
    expected = several.step([Part(0, tokens[:1])])[0].copy()
    for sequence in range(several.sequences):
        several.reset()
        others = [n for n in range(several.sequences) if n != sequence]
        several.step([Part(n, tokens[n : n + 5]) for n in others])
        several.restore(sequence, State(whole.encoding, whole.chunks[:2]))
        several.step([Part(sequence, tokens[2 * SIZE :])])
        assert state_of(several, sequence) == whole
        assert np.array_equal(several.step([Part(sequence, tokens[:1])])[0], expected)
        for n in others:  # they are what they were
            assert state_of(several, n, [(0, 5)]) == alone[n]


def test_the_empty_state(several: Engine) -> None:
    tokens = tokens_for(several)
    fill(several, tokens)
    whole = state_of(several)
    several.restore(0, State(whole.encoding, []))
    several.step([Part(0, tokens)])
    assert state_of(several) == whole


@pytest.mark.parametrize("wrong", ["encoding", "row", "empty"])
def test_a_state_of_another_form_is_refused(wrong: str, several: Engine) -> None:
    fill(several, tokens_for(several))
    whole = state_of(several)
    encoding, chunks = dict(whole.encoding), list(whole.chunks)
    if wrong == "encoding":
        encoding["layers"] = 7
    elif wrong == "row":
        chunks[1] = chunks[1][:-1]
    else:
        chunks[1] = b""
    with pytest.raises(EngineError):
        several.restore(0, State(encoding, chunks))
    fill(several, tokens_for(several))
    assert state_of(several) == whole


@pytest.mark.model
def test_more_than_fits_is_refused(one: LlamaEngine) -> None:
    fill(one, tokens_for(one, 1))
    state = state_of(one, 0, [(0, 1)])
    with pytest.raises(ContextOverflow):
        one.restore(0, State(state.encoding, list(state.chunks) * 257))
    one.restore(0, State(state.encoding, list(state.chunks) * 256))


# --- the encoding, without a model ------------------------------------------------------------------------------------


def rows_of(cells: int) -> Rows:
    parts = [
        np.arange(cells * size, dtype=np.uint8).reshape(cells, size) + layer for layer in (0, 50) for size in (3, 2)
    ]
    return Rows(LAYOUT, parts[::2], parts[1::2])


@pytest.mark.parametrize(("streams", "sequence"), [(1, 0), (4, 0), (4, 3)])
@pytest.mark.parametrize("cells", [1, 10])
def test_what_is_written_is_read_again(cells: int, streams: int, sequence: int) -> None:
    rows = rows_of(cells)
    chunks = [rows.chunk(start, end) for start, end in cut(4, cells)]
    data = write_rows(LAYOUT, chunks, streams=streams, sequence=sequence)
    again = read_rows(data, cells)
    assert again is not None
    assert again.layout == LAYOUT
    assert [again.chunk(start, end) for start, end in cut(4, cells)] == chunks


def written(cells: int = 5) -> bytes:
    return write_rows(LAYOUT, [rows_of(cells).chunk(0, cells)], streams=2, sequence=1).tobytes()


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_memory_of_another_length_has_no_rows(length: int) -> None:
    assert read_rows(np.frombuffer(written(), dtype=np.uint8), length) is None


def test_a_memory_that_is_cut_or_goes_on_has_no_rows() -> None:
    data = written()
    for end in range(len(data)):
        assert read_rows(np.frombuffer(data[:end], dtype=np.uint8), 5) is None
    assert read_rows(np.frombuffer(data + b"\0", dtype=np.uint8), 5) is None


@pytest.mark.parametrize(
    ("at", "value"),
    [(16, 3), (20, 2), (8, 3), (12, 6), (76, 1), (80, 1)],
    ids=["position", "two sequences", "streams", "cells", "transposed", "layers"],
)
def test_a_memory_that_is_kept_in_another_way_has_no_rows(at: int, value: int) -> None:
    data = bytearray(written())
    data[at : at + 4] = value.to_bytes(4, "little")
    assert read_rows(np.frombuffer(bytes(data), dtype=np.uint8), 5) is None


# --- rows of any bytes ------------------------------------------------------------------------------------------------

HOSTILE = """
import sys
import numpy as np
from pathlib import Path
from verity.engines.engine import State
from verity.engines.llama import LlamaEngine
from verity.errors import EngineError

engine = LlamaEngine(Path(sys.argv[1]), context_size=256, threads=1)
for _ in engine.advance_all(list(range(1, 41))):
    pass
state = engine.state(0, [(0, 40)])
size, random = len(state.chunks[0]), np.random.default_rng(5)
nan, infinite, largest = (np.array([bits], dtype="<u2").tobytes() for bits in (0x7E00, 0x7C00, 0x7BFF))
block = np.frombuffer(state.chunks[0], dtype=np.uint8).reshape(-1, 34)
tries = [("zeros", None), ("ones", None), ("noise", None), ("nan", nan), ("inf", infinite), ("max", largest)]
for name, scale in tries:
    if scale is not None:
        blocks = block.copy()
        blocks[:, :2] = np.frombuffer(scale, dtype=np.uint8)
        rows = blocks.tobytes()
    else:
        rows = {"zeros": bytes(size), "ones": b"\\xff" * size}.get(name) or random.bytes(size)
    engine.restore(0, State(state.encoding, [rows]))
    assert engine.state(0, [(0, 40)]).chunks[0] == rows, name
    try:
        finite = all(np.isfinite(logits.max()) for logits in engine.advance_all([5, 6, 7]))
    except EngineError:
        finite = False
    print(name, finite, len(engine.state(0, [(40, 43)]).chunks[0]) == size * 3 // 40, flush=True)
engine.restore(0, state)
print("again", np.isfinite(engine.advance([5]).max()), flush=True)
"""


@pytest.mark.model
def test_rows_of_any_bytes_are_taken_and_nothing_breaks(model_path: Path) -> None:
    """In a process of its own: what is looked for is one that dies."""
    run = subprocess.run([sys.executable, "-c", HOSTILE, model_path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    said = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    assert list(said) == ["zeros", "ones", "noise", "nan", "inf", "max", "again"]
    assert said["nan"].startswith("False")
    assert said["zeros"] == "True True"
    assert said["again"] == "True"
