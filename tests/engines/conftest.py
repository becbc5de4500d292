"""What the tests of weights and numerics share: the default model in six types, and a second build of llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import builds
import verity
from quantise import quantised
from verity.node import Node
from verity.store.pull import pull


@pytest.fixture(scope="session")
def types(model_path: Path) -> dict[str, Path]:
    """The default model's file in every type of weights, by the type's name; kept under the checkout's .verity."""
    return quantised(model_path)


@pytest.fixture(scope="session")
def types_node(types: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A device that has all of them, each named after its type; one thread."""
    with verity.open(tmp_path_factory.mktemp("types"), threads=1) as node:
        for name, path in types.items():
            pull(str(path), node.blobs, name=name.lower())
        yield node


@pytest.fixture(scope="session")
def llamafile() -> Path:
    """llama.cpp with llamafile's products on, which the portable build leaves out."""
    return builds.build({"GGML_LLAMAFILE": "ON"})
