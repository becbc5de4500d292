"""Attacks by the device's owner on how likely a text is said to be."""

from __future__ import annotations

from typing import Any

from forger import forge_scoring

from tamper import BUNDLE, KEY_HOLDER, LIMIT, Result, World, row
from verity.engines.scores import TOLERANCE

TEXT, ANSWER = "The review says: it broke at once. The mood is", " good"


def moved(by: float) -> Any:
    """Makes the last token, the given answer's, so much likelier."""

    def edit(said: dict[str, Any]) -> None:
        *others, last = said["output/logprobs"]
        said["output/logprobs"] = [*others, last + by]

    return edit


@row("score-raised", KEY_HOLDER, BUNDLE, "makes a given answer a little likelier than the model finds it",
     "replayed-exact", real=True)  # fmt: skip
def _(world: World) -> Result:
    assert world.real is not None
    return world.verify_real(forge_scoring(world.real, TEXT, ANSWER, result=moved(1e-6)))


@row("score-rounded", KEY_HOLDER, BUNDLE, "moves a log-probability by less than processors differ",
     f"{LIMIT}: numbers are compared within 1e-9; what is exact, the logits, is compared by its digest")  # fmt: skip
def _(world: World) -> Result:
    return world.verify(forge_scoring(world.node, TEXT, ANSWER, result=moved(TOLERANCE / 2)))


@row("score-digest", KEY_HOLDER, BUNDLE, "keeps the numbers and gives another digest of the logits", "replayed-exact")
def _(world: World) -> Result:
    return world.verify(forge_scoring(world.node, TEXT, result=lambda f: f.update({"output/logits": "ab" * 32})))


@row("score-candidates", KEY_HOLDER, BUNDLE, "exchanges the likeliest next tokens", "replayed-exact")
def _(world: World) -> Result:
    return world.verify(forge_scoring(world.node, TEXT, result=lambda f: f["output/candidates"].reverse()))


@row("score-boundary", KEY_HOLDER, BUNDLE, "counts a token of the prompt as the given answer's", "replayed-exact")
def _(world: World) -> Result:
    def earlier(fields: dict[str, Any]) -> None:
        fields["continuation"]["start"] -= 1

    return world.verify(forge_scoring(world.node, TEXT, ANSWER, intent=earlier))


@row("score-other-answer", KEY_HOLDER, BUNDLE, "scores another answer and says so, where the policy pins one", "pinned")
def _(world: World) -> Result:
    return world.verify(forge_scoring(world.node, TEXT, ANSWER), policy={"pin": {"continuation/text": " bad"}})


@row("score-hidden-turn", KEY_HOLDER, BUNDLE, "scores the text in the chat template and says that it stood alone",
     "replayed-exact")  # fmt: skip
def _(world: World) -> Result:
    return world.verify(forge_scoring(world.node, TEXT, raw=False, intent=lambda f: f.update(template=None)))


@row("score-dropped", KEY_HOLDER, BUNDLE, "leaves the log-probability of an unwelcome token out", "output")
def _(world: World) -> Result:
    return world.verify(forge_scoring(world.node, TEXT, result=lambda f: f["output/logprobs"].pop(7)))
