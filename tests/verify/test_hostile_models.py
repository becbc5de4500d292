"""Hostile models, claimed to have given an honest-looking answer: the replay is not made or fails, and that is all.

Every one goes through ``verity.verify``, as a stranger's receipt and file would. Afterwards the verifier holds no more
memory than before and no process is left. The receipts come from a tiny honest model; the file that they name instead
is the hostile one, with the same weights where it has any: the numerics agree, and the replay gets as far as it can.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import ARRAY, BYTE_TOKENS, F32, I32, STRING, U32, gguf, text, tiny, tiny_metadata, tiny_tensors
from hostile import header, says, verdict, weights

from verity.engines.grammar import compiler
from verity.engines.llama import LlamaEngine
from verity.engines.templates import CHATML
from verity.node import Node

pytestmark = pytest.mark.usefixtures("started")


def test_the_tiny_model_itself_passes(device: Node, tmp_path: Path) -> None:
    """So that what fails below fails for what is hostile in it."""
    assert verdict(device, tiny(CHATML), tmp_path).status == "passed"


PREFIX = b"GGUF" + struct.pack("<I", 3)
TOKENS = ["<unk>", "<s>", "</s>", *BYTE_TOKENS]
HEADERS: dict[str, Callable[[], bytes]] = {
    "keys without end": lambda: header(counts=(None, 2**63 - 1)),
    "tensors without end": lambda: header(counts=(2**62, None)),
    "minus one tensor": lambda: header(counts=(2**64 - 1, None)),
    "a string of 2^62 bytes": lambda: PREFIX + struct.pack("<QQ", 1, 1) + text("name", 2**62),
    "a value of 2^30 bytes": lambda: PREFIX + struct.pack("<QQI", 1, 1, STRING) + text("name") + text("x", 2**30),
    "an array of 2^61": lambda: says(list=(ARRAY, struct.pack("<IQ", U32, 2**61))),
    "an array of 2^40 strings": lambda: says(list=(ARRAY, struct.pack("<IQ", STRING, 2**40))),
    "arrays in arrays": lambda: says(list=(ARRAY, struct.pack("<IQ", ARRAY, 2**20))),
    "an unknown type": lambda: says(list=(99, bytes(8))),
    "dimensions of 2^80": lambda: header(dims={"output.weight": [2**40, 2**40]}),
    "a negative dimension": lambda: header(dims={"output.weight": [2**64 - 32, 259]}),
    "no dimension": lambda: header(dims={"output.weight": [0, 0]}),
    "60 dimensions": lambda: header(dims={"output.weight": [1] * 60}),
    "an offset beyond the file": lambda: header(offsets={"output.weight": 2**40}),
    "a negative offset": lambda: header(offsets={"output.weight": 2**64 - 64}),
    "one offset for all": lambda: header(offsets=dict.fromkeys(tiny_tensors(), 0)),
    "alignment 0": lambda: says(general_alignment=(U32, 0)),
    "alignment 2^31": lambda: says(general_alignment=(U32, 2**31)),
    "2^31 blocks": lambda: says(block_count=(U32, 2**31)),
    "no blocks": lambda: says(block_count=(U32, 0)),
    "no heads": lambda: says(attention_head_count=(U32, 0)),
    "2^31 heads": lambda: says(attention_head_count=(U32, 2**31)),
    "keys of 2^30": lambda: says(attention_key_length=(U32, 2**30)),
    "no width": lambda: says(embedding_length=(U32, 0)),
    "2^31 experts": lambda: says(expert_count=(U32, 2**31)),
    "2^31 rotations": lambda: says(rope_dimension_count=(U32, 2**31)),
    "another architecture": lambda: says(general_architecture=(STRING, "t5")),
    "an architecture of 100,000 letters": lambda: says(general_architecture=(STRING, "x" * 100_000)),
    "2^31 tokens without text": lambda: says(tokens_model=(STRING, "no_vocab"), vocab_size=(U32, 2**31 - 1)),
    "no tokens": lambda: says(tokens_tokens=(ARRAY, STRING, [])),
    "fewer tokens than weights": lambda: says(tokens_tokens=(ARRAY, STRING, ["<unk>"])),
    "one text for all tokens": lambda: says(tokens_tokens=(ARRAY, STRING, ["a"] * 259)),
    "a token of 5 MB": lambda: says(tokens_tokens=(ARRAY, STRING, [*TOKENS[:-1], "x" * 5_000_000])),
    "tokens that steer a terminal": lambda: says(tokens_tokens=(ARRAY, STRING, [*TOKENS[:-1], "\0\x1b[2J"])),
    "fewer scores than tokens": lambda: says(tokens_scores=(ARRAY, F32, [0.0])),
    "types that there are not": lambda: says(tokens_token_type=(ARRAY, I32, [-1] * 259)),
    "wild merges": lambda: says(
        tokens_model=(STRING, "gpt2"), tokens_pre=(STRING, "default"), tokens_merges=(ARRAY, STRING, ["x", "  "] * 10)
    ),
    "another kind of tokenizer": lambda: says(tokens_model=(STRING, "bert")),
    "a rotation that is no number": lambda: says(rope_freq_base=(F32, math.nan)),
    "a norm that is no number": lambda: says(attention_layer_norm_rms_epsilon=(F32, math.nan)),
    "weights near the largest number": lambda: weights(**{"blk.0.attn_q": 1e38, "blk.0.attn_k": 1e38}),
    "a tensor less": lambda: gguf(tiny_metadata(CHATML), {"output.weight": tiny_tensors()["output.weight"]}),
}


ALIKE = {
    "tensors without end", "a string of 2^62 bytes", "an array of 2^40 strings", "an unknown type", "no dimension",
    "a negative offset", "one offset for all", "alignment 2^31", "2^31 heads", "no width", "no tokens", "a tensor less",
}  # fmt: skip
"""They end as others do, and are tried with the slow ones."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in ALIKE else []) for n in HEADERS])
def test_a_hostile_header(name: str, device: Node, tmp_path: Path) -> None:
    check = verdict(device, HEADERS[name](), tmp_path)
    assert check.status in ("not made", "failed"), check
    assert len(check.sentence) < 1000


@pytest.mark.parametrize("cut", [40, 100, 4_000, 12_000, 60_000, -1])
def test_a_model_that_ends_early(cut: int, device: Node, tmp_path: Path) -> None:
    assert "damaged, cut short" in verdict(device, tiny(CHATML)[:cut], tmp_path).sentence


def test_context_lengths_that_nobody_needs_to_believe(device: Node, tmp_path: Path) -> None:
    """What the file says it was trained for decides nothing: the receipt's own context does."""
    for length in (0, 2**31, 2**32 - 1):
        model = says(context_length=(U32, length))
        assert verdict(device, model, tmp_path).status == "passed"
        (tmp_path / "own.gguf").write_bytes(model)
        engine = LlamaEngine(tmp_path / "own.gguf", threads=1)
        assert 0 < engine.context_size <= 4096
        engine.close()


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_weights_that_are_no_numbers_prove_nothing(factor: float, device: Node, tmp_path: Path) -> None:
    """Also for a prover who names the fingerprint that such a model has."""
    model = weights(output=factor)
    first = verdict(device, model, tmp_path)
    assert "numerics differ" in first.sentence
    measured = {"exact": True, "fingerprint": first.evidence["fingerprint"]}
    check = verdict(device, model, tmp_path, lie=lambda fields: fields.update(numerics=measured))
    assert (check.status, "not numbers" in check.sentence) == ("not made", True), check


TEMPLATES = {
    "loops in loops": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "too many"),
    "a memory bomb": ("{{ 'x' * 10 ** 10 }}", "a value of more than"),
    "megabytes": ("{% for a in range(9999) %}" + "x" * 1000 + "{% endfor %}", "wrote more than"),
    "a prompt of 7 MB": ("{% for a in range(7000) %}" + "x" * 1000 + "{% endfor %}", "does not fit a context"),
    "300,000 characters": ("x" * 300_000, "larger than 262,144"),
    "a way out": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "calls without end": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    "parentheses": ("{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}", "does not compile"),
    "a long refusal": ("{{ raise_exception('\x1b[2J' ~ 'x' * 1000000) }}", "refused these messages"),
    "tokens of the stranger's": ("{{ (bos_token * 99999) * 99999 }}", "a value of more than"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_hostile_template(name: str, device: Node, tmp_path: Path) -> None:
    """The weights are the honest ones and so is the fingerprint: the template is really rendered."""
    template, why = TEMPLATES[name]
    check = verdict(device, tiny(template), tmp_path, template)
    assert check.status == "not made", check
    assert why in check.sentence
    assert len(check.sentence) < 1000


def test_memory_is_limited(device: Node, tmp_path: Path) -> None:
    """A context that needs 1.8 GB, where 0.5 are allowed."""
    metadata, tensors = tiny_metadata(CHATML), tiny_tensors()
    metadata["llama.block_count"] = (U32, 200)
    blocks = {name: tensor for name, tensor in tensors.items() if name.startswith("blk.")}
    for i in range(1, 200):
        tensors |= {name.replace("blk.0.", f"blk.{i}."): tensor for name, tensor in blocks.items()}

    def lie(fields: dict[str, Any]) -> None:
        fields["context"]["size"] = 1 << 17

    check = verdict(device, gguf(metadata, tensors), tmp_path, lie=lie, memory_bytes=1 << 29)
    assert check.status == "not made"
    assert any(words in check.sentence for words in ("cannot be given a context", "more memory", "died")), check


def test_a_malformed_grammar_never_reaches_the_child(device: Node, started: list[int], tmp_path: Path) -> None:
    grammar = {"source": 'root ::= "a" root | root', "compiler": "1"}
    check = verdict(device, tiny(CHATML), tmp_path, lie=lambda fields: fields.update(grammar=grammar))
    assert check.status == "failed"
    assert "Field 'grammar'" in check.sentence
    assert started == []


@pytest.mark.parametrize(
    "grammar",
    [
        ("json_schema", json.dumps({"type": "string", "pattern": "(a{1000}){1000}"})),
        ("json_schema", json.dumps({"items": {"type": "string", "maxLength": 10**9}, "minItems": 10**9})),
        ("json_schema", json.dumps({"enum": ["x" * 100_000]})),
        ("json_schema", '{"$ref": "file:///etc/passwd"}'),
        ("lark", "start: " + "(" * 30_000),
        ("lark", "start: a\na: a a | a\n"),
        ("lark", "start: /(.*a){200}/ & ~/(a|b)*/\n"),
    ],
    ids=lambda grammar: grammar[1][:30],
)
def test_a_hostile_grammar_is_within_the_limits(grammar: tuple[str, str], device: Node, tmp_path: Path) -> None:
    named = {"compiler": compiler(), "kind": grammar[0], "source": grammar[1]}
    check = verdict(device, tiny(CHATML), tmp_path, lie=lambda fields: fields.update(grammar=named), measured=True)
    assert check.status in ("failed", "not made")
    assert check.sentence


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_bytes_changed_anywhere(seed: int, device: Node, tmp_path: Path) -> None:
    """Whatever comes out: within the limits, and the verifier is as before."""
    draw = np.random.Generator(np.random.PCG64(seed))
    model = bytearray(tiny(CHATML))
    for _ in range(int(draw.integers(1, 12))):
        model[int(draw.integers(4, 14_000))] = int(draw.integers(256))
    assert verdict(device, bytes(model), tmp_path).status in ("passed", "failed", "not made")
