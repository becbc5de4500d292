"""The likeliest tokens: those that sorting everything would give."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verity.engines.scripted import ScriptedEngine
from verity.server.logprobs import logprobs_of

ENGINE = ScriptedEngine()
LOGITS = st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 3.0]), min_size=258, max_size=258)


@given(LOGITS, st.integers(0, 20), st.integers(0, 257))
def test_the_likeliest_are_those_of_a_whole_sort(logits: list[float], top: int, token: int) -> None:
    logits[0] = 1.0  # one at least is possible
    found = logprobs_of(ENGINE, np.array(logits, dtype=np.float32), token, top)
    order = sorted(range(258), key=lambda at: (-logits[at], at))[:top]
    assert [piece for _, piece, _ in found.top] == [ENGINE.piece(at) for at in order]
    total = np.log(np.exp(np.array(logits)).sum())
    assert np.allclose([p for _, _, p in found.top], [logits[at] - total for at in order])
    assert np.isclose(found.logprob, logits[token] - total)
