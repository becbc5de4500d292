"""docs/sandbox.md names the limits that the code has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from verity import replay_process, replayer
from verity.engines import llama, lockdown, output, sandbox, sizes, templates

PAGE = (Path(__file__).parents[2] / "docs/sandbox.md").read_text()


def test_the_limits_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", PAGE, re.MULTILINE))
    limit_s = inspect.signature(replayer.ProcessReplayer).parameters["limit_s"].default
    assert rows["time of one replay, the measuring of numerics included"].startswith(f"{limit_s:g} s ")
    assert rows["open files; size of a file written; core dump"] == f"{lockdown._MAX_FILES}; 0; 0"
    assert rows["context, and tokens of prompt and output together"] == f"{llama.MAX_CONTEXT:,} tokens"
    assert rows["bytes of the rendered prompt"].startswith(f"{llama._MAX_BYTES_A_TOKEN} for every token")
    stops = f"{output.MAX_STOPS} of {output.MAX_STOP_BYTES:,} bytes"
    assert rows["bytes of one token; stop strings"] == f"{output.MAX_PIECE_BYTES:,}; {stops}"
    assert rows["chat template"] == f"{templates.MAX_TEMPLATE:,} characters"
    assert rows["rendered text"] == f"{templates.MAX_RENDERED:,} characters"
    value = f"{sizes.MAX_VALUE:,} bytes; {sizes.MAX_INTEGER_BITS:,} bits"
    assert rows["one value in a template; one whole number"] == value
    work = f"all values that one rendering makes, with {sizes.STEP} bytes more for each step"
    assert rows[work] == f"{sandbox.MAX_WORK:,} bytes"
    assert rows["time of one rendering"] == f"{sandbox.MAX_SECONDS:g} s"
    assert rows["what the process says"].startswith(
        f"{replay_process.MAX_LINES:,} lines of {replay_process.MAX_LINE:,} bytes; "
    )


def test_the_environment_is_named() -> None:
    assert [name for name in replay_process.PASSED_ON if f"`{name}`" not in PAGE] == []


def test_what_can_be_read_is_named() -> None:
    from verity.replay_child import _SYSTEM

    missing = [path for path in _SYSTEM if path != "/lib64" and f"`{path}`" not in PAGE]
    assert missing == []
