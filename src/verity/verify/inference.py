"""Inference: what a receipt of a network's steps must say, and its replay. Specified in spec/inference.md.

The replay is handed a Network. It runs every step that was opened again, on the same inputs, and compares all outputs
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from verity.engines.network import Array, Network, to_array, to_tensor
from verity.engines.numerics import Numerics
from verity.errors import FormatError, UsageError
from verity.statements.adapters import AdapterUse
from verity.statements.receipt import input_field
from verity.statements.steps import Form, Step, Tensor, check_forms, same_forms
from verity.statements.strict import MAX_INTEGER
from verity.verify.claims import Fields
from verity.verify.replay import CannotReplay, ModelName, Outcome, differs
from verity.verify.report import Check
from verity.verify.steps import step_root

UNUSED: dict[str, Any] = {"adapters": [], "batch": None, "previous_turn": None, "request": None, "retention": None}
"""Fields that later versions fill, with the value that says that their feature is not in use."""

FINISHES = ("end", "cancelled", "error", "aborted")
_PROGRESS = 100
"""How often a replay says how far it is."""


class InferenceClaim(msgspec.Struct, frozen=True, kw_only=True, tag="inference"):
    """Everything a receipt says that replay needs, taken from fields whose commitments hold. ``steps`` are those that
    were opened, of ``count``."""

    model: ModelName
    engine: dict[str, Any]
    context: dict[str, Any]
    numerics: Numerics
    inputs: list[Form]
    outputs: list[Form]
    steps: list[Step]
    count: int
    adapters: list[AdapterUse] = []


def output(fields: Fields, steps: Sequence[Step]) -> Check:
    """Step 8. Every opened step must have the inputs and outputs that the intent names, of their types."""
    count, finish = step_root(fields).count, fields.read("output/finish", str)
    if finish not in FINISHES:
        return Check("output", "failed", f"The session is said to end by {finish!r}, which this version does not know.")
    inputs, outputs = _forms(fields)
    said = {"steps": count, "opened": len(steps), "finish": finish}
    for step in steps:
        wrong = same_forms(step.inputs, inputs, shapes=True) or same_forms(step.outputs, outputs, shapes=False)
        if wrong is not None:
            return Check("output", "failed", f"Step {step.index} {wrong}.", {**said, "step": step.index})
    if count and not steps:
        return Check("output", "not made", f"None of the {count} steps was disclosed.", said)
    which = f"There are {count} steps" if count != 1 else "There is one step"
    if len(steps) < count:
        which = f"{len(steps)} of the {count} steps {'was' if len(steps) == 1 else 'were'} disclosed"
    how = "" if finish == "end" else f"; the session was cut off, on the device's word ({finish})"
    form = ", of the form that the intent names" if steps else ""
    return Check("output", "passed", f"{which}{form}{how}.", said)


def claim(fields: Fields, steps: Sequence[Step]) -> InferenceClaim:
    """What replay needs. Raises Withheld, CannotReplay, FormatError."""
    model = fields.model(UNUSED)
    if output(fields, steps).status == "failed":
        raise FormatError("the steps are not of the form that the intent names")
    count = step_root(fields).count
    if not steps:
        raise CannotReplay("no step was disclosed" if count else "there is no step: nothing to replay")
    inputs, outputs = _forms(fields)
    return InferenceClaim(
        model=model,
        engine=fields.read("engine", dict[str, Any]),
        context=fields.read("context", dict[str, Any]),
        numerics=fields.read("numerics", Numerics),
        inputs=inputs,
        outputs=outputs,
        steps=list(steps),
        count=count,
    )


def _forms(fields: Fields) -> tuple[list[Form], list[Form]]:
    """What the network takes and gives, as the intent says. Raises Withheld, FormatError."""
    inputs = [fields.read(input_field(index), Form) for index in range(len(fields.inputs()))]
    outputs = fields.read("outputs", list[Form])
    check_forms(inputs)
    check_forms(outputs)
    return inputs, outputs


def replay(network: Network, claim: InferenceClaim, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Re-run ``claim`` on ``network``. Raises EngineError when it cannot be run."""
    if list(network.inputs) != claim.inputs or list(network.outputs) != claim.outputs:
        return differs("the receipt names other inputs or outputs than the network has")
    opened = len(claim.steps)
    for done, step in enumerate(claim.steps, 1):
        try:
            made = network.run({tensor.name: to_array(tensor) for tensor in step.inputs})
        except UsageError as error:
            return differs(f"the network does not take the inputs of step {step.index}: {error}", step=step.index)
        for claimed in step.outputs:
            if to_tensor(claimed.name, made[claimed.name]) != claimed:
                return _output_differs(step.index, claimed, made[claimed.name])
        if progress is not None and done % (opened // _PROGRESS + 1) == 0:
            progress(done, opened)
    evidence = {"steps": opened, "of": claim.count}
    if opened == claim.count:
        which = f"All {opened} steps" if opened > 1 else "The step"
        return Outcome(True, f"{which} came out again, bit for bit.", evidence)
    which = f"The {opened} opened steps of {claim.count}" if opened > 1 else f"The opened step of {claim.count}"
    return Outcome(True, f"{which} came out again, bit for bit.", evidence)


def _output_differs(step: int, claimed: Tensor, made: Array) -> Outcome:
    name = claimed.name[:80]
    if claimed.shape != made.shape:
        sentence = f"the output {name!r} of step {step} has the shape {claimed.shape}, the network gives {made.shape}"
        return differs(sentence, step=step, output=name)
    said = to_array(claimed)
    unequal = np.flatnonzero(_bits(said) != _bits(made))
    at = int(unequal[0])
    with np.errstate(all="ignore"):
        margin = float(
            np.max(np.abs(said.ravel()[unequal].astype(np.float64) - made.ravel()[unequal].astype(np.float64)))
        )
    values = {"claimed": _number(said.ravel()[at]), "replayed": _number(made.ravel()[at]), "margin": margin}
    sentence = (
        f"the output {name!r} of step {step} is off the network's by up to {margin:.4g} (number {at} is the first)"
    )
    return differs(sentence, step=step, output=name, number=at, **values)


def _number(element: Any) -> Any:
    """As evidence. An integer that JSON does not hold (strict.py) is written out, or the finding could not be told."""
    number = element.item()
    return number if type(number) is not int or abs(number) < MAX_INTEGER else str(number)


def _bits(array: Array) -> Array:
    return np.ascontiguousarray(array).ravel().view(f"u{array.itemsize}")
