"""A key holder may sign anything in a field: whatever it is, there is a report, and only the truth passes."""

from __future__ import annotations

import copy
from typing import Any

from forger import forge, forge_embedding, forge_scoring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import in_process

import verity
from verity.engines.grammar import compiler
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.strict import canonical

FIELDS = ["adapters", "choice", "grammar", "previous_turn", "template", "tools", "output/tool_calls"]
OF_VECTORS = ["normalisation", "pooling", "prompt_tokens", "inputs/0000", "output/embeddings"]
OF_SCORES = [
    "adapters", "continuation", "prompt_tokens", "template", "top", "output/candidates", "output/logits",
    "output/logprobs",
]  # fmt: skip
MEMBERS = ["index", "of", "compiler", "kind", "source", "id", "result", "name", "arguments", "scale", "sha256", "clock",
           "start", "text", "logprob", "piece", "token"]  # fmt: skip
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["00" * 16, "00" * 32, "AAAAAA==", "AACAfw==", "lark", "json_schema", "start: x", "{}"])
    | st.just(compiler())
)
VALUES = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4)
)
ON_ITS_WORD = {"choice": ["index", "of"], "previous_turn": ["id", "result"]}
"""What of the right form nobody can deny without more than the bundle."""
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def believed(node: Node, forger: Any, part: str, field: str, value: Any) -> bool:
    """Whether a receipt that says ``value`` passes, where that is not what was so."""
    changed = False

    def edit(fields: dict[str, Any]) -> None:
        nonlocal changed
        changed = field in fields and canonical(fields[field]) != canonical(value)
        if field in fields:
            fields[field] = copy.deepcopy(value)

    bundle: Bundle = forger(**{part: edit})
    report = verity.verify(bundle, home=node.home, replayer=in_process)
    assert str(report)
    refused = {check.name for check in (*report.failed, *report.unmade)} - {"engine"}
    of_the_form = isinstance(value, dict) and sorted(value) == ON_ITS_WORD.get(field)
    return changed and not refused and not of_the_form


@FEW
@given(field=st.sampled_from(FIELDS), value=VALUES)
def test_any_value_in_an_answer(scripted: Node, field: str, value: Any) -> None:
    part = "result" if field.startswith("output/") else "intent"
    assert not believed(scripted, lambda **edit: forge(scripted, max_tokens=4, **edit), part, field, value)


@FEW
@given(field=st.sampled_from(OF_VECTORS), value=VALUES)
def test_any_value_in_an_embedding(scripted: Node, field: str, value: Any) -> None:
    part = "result" if field.startswith("output/") else "intent"
    assert not believed(scripted, lambda **edit: forge_embedding(scripted, ["Why?"], **edit), part, field, value)


@FEW
@given(field=st.sampled_from(OF_SCORES), value=VALUES)
def test_any_value_in_a_scoring(scripted: Node, field: str, value: Any) -> None:
    part = "result" if field.startswith("output/") else "intent"
    forger = lambda **edit: forge_scoring(scripted, "Why?", " No.", top=1, raw=False, **edit)  # noqa: E731
    assert not believed(scripted, forger, part, field, value)
