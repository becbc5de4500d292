"""What Verity asks of a runtime for networks that take tensors and give tensors: the seam that ``onnx`` fulfils; and
the measured fingerprint of how a host computes such a network. Specified in spec/inference.md and spec/numerics.md.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from verity.engines.numerics import Numerics, host
from verity.errors import EngineError, UsageError
from verity.statements.steps import MAX_STEP_BYTES, Form, Tensor, tensor_head
from verity.statements.strict import canonical

Array = npt.NDArray[Any]

BATCHES = (1, 5, 64)
"""Sizes of the first axis, where it may be any, that the probe tries."""
LENGTHS = (8, 1, 32, 128, 512)
"""Sizes of other axes that may be any: all with which the network runs, and for larger batches the first of these."""
_LOADED = 2
"""How often the network is loaded anew; every probe is run twice each time."""

_DOMAIN = b"verity/numerics/network/v1\x00"


class Network(Protocol):
    """One network, loaded. Not to be shared between threads."""

    @property
    def description(self) -> dict[str, Any]:
        """Committed as field ``engine``: ``name``, ``version`` and the SHA-256 of the library that computes."""

    @property
    def context(self) -> dict[str, Any]:
        """Committed as field ``context``: all options that may change a bit of an output."""

    @property
    def inputs(self) -> Sequence[Form]:
        """What it takes, in its own order."""

    @property
    def outputs(self) -> Sequence[Form]:
        """What it gives, in its own order."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One step: an array for every output. Raises UsageError for inputs that it does not take, EngineError."""

    def close(self) -> None:
        """Free it."""


def to_tensor(name: str, array: Array) -> Tensor:
    """An array as it is committed: its elements in C order, little-endian."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return Tensor(name, array.dtype.name, array.shape, little.tobytes())


def to_array(tensor: Tensor) -> Array:
    """The array that was committed; not to be written to."""
    little = np.dtype(tensor.dtype).newbyteorder("<")
    array = np.frombuffer(tensor.data, dtype=little).reshape(tensor.shape)
    return array.astype(tensor.dtype, copy=False)


def measure_network(build: Callable[[], Network], progress: Callable[[int, int], None] | None = None) -> Numerics:
    """Run the probe on the network, which ``build`` loads anew each time. Raises EngineError if it cannot be loaded.

    ``exact``: the same inputs give the same bits, again and again. A network that takes none of the probe's inputs is
    not exact: nothing was compared.
    """
    digests: list[bytes | None] = []
    for done in range(_LOADED):
        network = build()
        try:
            digests.append(_probed(network))
        finally:
            network.close()
        if progress is not None:
            progress(done + 1, _LOADED)
    first = digests[0]
    exact = first is not None and digests.count(first) == len(digests)
    return Numerics(exact=exact, fingerprint=hashlib.sha256(_DOMAIN + (first or b"")).hexdigest())


def setting_of_network(network: Network) -> str:
    """What may change how a given network is computed here, in one digest: library, options, probe, processor."""
    probe = [list(BATCHES), list(LENGTHS)]
    return hashlib.sha256(canonical([network.description, network.context, probe, host()])).hexdigest()


def _probed(network: Network) -> bytes | None:
    """SHA-256 over what comes out of all probes; None where there is none, or one does not come out again."""
    hasher, nothing = hashlib.sha256(), True
    for inputs in _probes(network):
        first, second = (_written(network.run(inputs)) for _ in range(2))
        if first != second:
            return None
        hasher.update(first)
        nothing = False
    return None if nothing else hasher.digest()


def _written(outputs: Mapping[str, Array]) -> bytes:
    tensors = [to_tensor(name, array) for name, array in outputs.items()]
    return b"".join(tensor_head(t.name, t.dtype, t.shape) + t.data for t in tensors)


def _probes(network: Network) -> Iterator[dict[str, Array]]:
    """The inputs that the network takes: one at a time of every length that fits, and batches of the first of these."""
    fitting: list[int] = []
    for length in LENGTHS if any(map(_any_length, network.inputs)) else LENGTHS[:1]:
        if (inputs := _taken(network, BATCHES[0], length)) is not None:
            fitting.append(length)
            yield inputs
    if any(form.shape and not isinstance(form.shape[0], int) for form in network.inputs):
        for batch, length in itertools.product(BATCHES[1:], fitting[:1]):
            if (inputs := _taken(network, batch, length)) is not None:
                yield inputs


def _any_length(form: Form) -> bool:
    return not all(isinstance(dimension, int) for dimension in form.shape[1:])


def _taken(network: Network, batch: int, length: int) -> dict[str, Array] | None:
    """The inputs of these sizes, if the network takes them."""
    try:
        inputs = {form.name: _filled(form, network.inputs, batch, length) for form in network.inputs}
        network.run(inputs)
    except (EngineError, UsageError):
        return None
    return inputs


def _filled(form: Form, forms: Sequence[Form], batch: int, length: int) -> Array:
    """Fixed elements, the same for everybody: numbers in [-1, 1) in steps of 1/1024; of integers and truth values 0 and
    1. An axis that is named like the first axis of an input is of the batch too."""
    batches = {other.shape[0] for other in forms if other.shape and isinstance(other.shape[0], str)}
    shape = [
        d if isinstance(d, int) else batch if axis == 0 or d in batches else length for axis, d in enumerate(form.shape)
    ]
    kind = np.dtype(form.dtype)
    if math.prod(shape) * kind.itemsize > MAX_STEP_BYTES:
        raise UsageError(f"{form.name!r} is larger than a step may be", "no step of this network can be on record")
    numbers = 7919 * np.arange(math.prod(shape)) + 13
    elements = (numbers % 2048 - 1024) / 1024 if kind.kind == "f" else numbers // 8 % 2
    return elements.astype(kind).reshape(shape)
