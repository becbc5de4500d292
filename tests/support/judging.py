"""Judges what an official client gave for a call of the shared list (tests/server/clients/calls.json).

A call's ``expect`` may hold: ``finish`` (the reasons that are allowed), ``choices``, ``differ`` (their texts do),
``starts``, ``absent``, ``schema`` (of the text), ``calls`` (tools that may be called, with the schemas of their
arguments), ``logprobs`` (how many alternatives), ``nonce``, ``vectors``, ``lists_the_model``, ``same_as`` (the content
is that of this other call) and ``error``. What is true of every answer is checked without being listed.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any

import jsonschema_rs
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

Call = dict[str, Any]
WIDTH = 576
"""Numbers in a vector of the default model."""
_FORMS: dict[tuple[str, bool], tuple[str, str, type[BaseModel] | None]] = {
    ("chat", False): ("chatcmpl", "chat.completion", ChatCompletion),
    ("chat", True): ("chatcmpl", "chat.completion.chunk", ChatCompletionChunk),
    ("completions", False): ("cmpl", "text_completion", Completion),
    ("completions", True): ("cmpl", "text_completion", None),  # its type has no null for finish_reason; its API has
}
_RECEIPT = re.compile(r"[0-9a-f]{32}")


def judge(call: Call, line: Call, lines: dict[str, Call], model: str) -> None:
    """Raises AssertionError when ``line``, printed for ``call``, is not what the list expects."""
    expected, kind = call["expect"], call["method"].split(".")[0]
    if "error" in expected or "error" in line:
        _judge_error(expected, line)
    elif kind == "models":
        listed = line["reply"]["data"] if expected.get("lists_the_model") else [line["reply"]]
        assert model in [entry["id"] for entry in listed]
        assert all(entry["object"] == "model" and entry["verity"]["blake3"] for entry in listed)
    elif kind == "embeddings":
        _judge_vectors(expected, line)
    else:
        _judge_answer(call, line, model)
    if "same_as" in expected:
        assert content(line) == content(lines[expected["same_as"]])


def content(line: Call) -> list[Any]:
    """What was answered, without what differs each time: each choice's text and calls, or each vector."""
    if "data" in line.get("reply", ()):
        return [_vector(entry["embedding"]) for entry in line["reply"]["data"]]
    choices = _choices(line)
    return [(c["text"], [(t["name"], t["arguments"]) for t in c["calls"]]) for c in choices]


def _judge_error(expected: Call, line: Call) -> None:
    assert "error" in line, f"this was answered: {line}"
    assert "error" in expected, line["error"]
    for name, value in expected["error"].items():
        assert line["error"][name] == value, line["error"]
    assert line["error"]["message"]


def _judge_vectors(expected: Call, line: Call) -> None:
    reply = line["reply"]
    assert [entry["index"] for entry in reply["data"]] == list(range(expected["vectors"]))
    for vector in content(line):
        assert len(vector) == WIDTH
        assert abs(sum(number * number for number in vector) - 1.0) < 1e-4
    assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] > 0
    assert reply["verity"]["receipt"] == line["receipts"]


def _vector(told: str | list[float]) -> tuple[float, ...]:
    data = base64.b64decode(told) if isinstance(told, str) else struct.pack(f"<{len(told)}f", *told)
    return struct.unpack(f"<{len(data) // 4}f", data)


def _judge_answer(call: Call, line: Call, model: str) -> None:
    expected, asked, kind = call["expect"], call["arguments"], call["method"].split(".")[0]
    choices = _choices(line)
    assert len(choices) == expected.get("choices", 1)
    for choice in choices:
        assert choice["finish"] in expected["finish"], choice
        _judge_choice(expected, choice)
    if expected.get("differ"):
        assert len({choice["text"] for choice in choices}) == len(choices)
    *_, last = parts = line.get("chunks") or [line["reply"]]
    prefix, name, openai_type = _FORMS[kind, "chunks" in line]
    if openai_type:
        for part in parts:
            openai_type.model_validate(part)
    (head,) = {(part["id"], part["object"], part["model"], part["created"]) for part in parts}
    assert head[1:3] == (name, model)
    if call["method"].endswith(
        ".stream"
    ):  # the helpers for streams show no headers, and not all that the last chunk has
        assert _RECEIPT.fullmatch(head[0].removeprefix(f"{prefix}-"))
        return
    assert head[0] == f"{prefix}-{last['verity']['receipt']}"
    _judge_receipts(expected, last["verity"], line["receipts"], len(choices))
    if "chunks" not in line or asked.get("stream_options"):
        usage, most = last["usage"], asked.get("max_tokens") or asked["max_completion_tokens"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens"] > 0
        assert 0 < usage["completion_tokens"] <= most * len(choices)


def _judge_receipts(expected: Call, verity: Call, header: str, choices: int) -> None:
    assert len(set(verity["receipts"])) == choices
    assert verity["receipts"][0] == verity["receipt"]
    assert all(_RECEIPT.fullmatch(receipt) for receipt in verity["receipts"])
    assert header == ", ".join(verity["receipts"])
    assert verity["nonce"] == expected.get("nonce", verity["nonce"])
    assert len(bytes.fromhex(verity["device"])) == 32


def _judge_choice(expected: Call, choice: Call) -> None:
    text = choice["text"]
    assert bool(text) != bool(choice["calls"]), choice
    assert text.startswith(expected.get("starts", ""))
    assert "absent" not in expected or expected["absent"] not in text
    if "schema" in expected:
        jsonschema_rs.validate(expected["schema"], json.loads(text))
    if "calls" in expected:
        assert choice["calls"]
        assert len({called["id"] for called in choice["calls"]}) == len(choice["calls"])
    for called in choice["calls"] if "calls" in expected else ():
        jsonschema_rs.validate(expected["calls"][called["name"]], json.loads(called["arguments"]))
    assert ("logprobs" in expected) == bool(choice["logprobs"])
    if choice["logprobs"]:
        assert "".join(token["token"] for token in choice["logprobs"]).startswith(text)
        for token in choice["logprobs"]:
            assert len(token["top"]) in (expected["logprobs"], expected["logprobs"] + 1)  # the token itself beside them
            assert token["logprob"] <= max([0.0, *token["top"]])


def _choices(line: Call) -> list[Call]:
    """Each choice in one form, whichever way it came: text, calls, finish, logprobs."""
    return _streamed(line["chunks"]) if "chunks" in line else [_whole(choice) for choice in line["reply"]["choices"]]


def _whole(choice: Call) -> Call:
    message = choice.get("message", {})
    calls = [{"id": c["id"], **c["function"]} for c in message.get("tool_calls") or ()]
    text = message.get("content") if message else choice["text"]
    return {
        "text": text or "",
        "calls": calls,
        "finish": choice["finish_reason"],
        "logprobs": _logprobs(choice["logprobs"]),
    }


def _streamed(chunks: list[Call]) -> list[Call]:
    made: dict[int, Call] = {}
    for part in (choice for chunk in chunks for choice in chunk["choices"]):
        choice = made.setdefault(part["index"], {"text": "", "calls": [], "finish": None, "logprobs": []})
        assert choice["finish"] is None, "a choice goes on after its end"
        delta = part.get("delta", {"content": part.get("text")})
        choice["text"] += delta.get("content") or ""
        choice["logprobs"] += _logprobs(part.get("logprobs"))
        choice["finish"] = part.get("finish_reason")
        for call in delta.get("tool_calls", ()):
            if call["index"] == len(choice["calls"]):
                choice["calls"].append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
            choice["calls"][call["index"]]["arguments"] += call["function"].get("arguments", "")
    return [made[index] for index in sorted(made)]


def _logprobs(told: Call | None) -> list[Call]:
    if not told:
        return []
    if "content" in told:
        tokens = told["content"]
        return [
            {"token": t["token"], "logprob": t["logprob"], "top": [a["logprob"] for a in t["top_logprobs"]]}
            for t in tokens
        ]
    columns = zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True)
    return [{"token": token, "logprob": logprob, "top": list(top.values())} for token, logprob, top in columns]
