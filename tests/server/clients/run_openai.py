"""Makes the calls of the shared list with the official Python client; prints one line of JSON for each.

    python run_openai.py ADDRESS KEY < calls.json

A line has the call's name, and either what the client gave (``reply``, or ``chunks`` of a stream) with the header that
names receipts, or the ``error`` that it raised. ``run_openai.mjs`` prints the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import openai


def call(client: Any, asked: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    *path, method = asked["method"].split(".")
    resource = client
    for name in path:
        resource = getattr(resource, name)
    given = asked.get("arguments", {})
    if isinstance(given, str):
        return _read(getattr(resource.with_raw_response, method)(given))
    given = {**given, "extra_body": asked.get("extra"), "extra_headers": asked.get("headers")}
    if "after" in asked:
        given["messages"] = [*given["messages"], *_called(earlier[asked["after"]], asked["result"])]
    if method == "stream":
        with resource.stream(**given) as stream:
            return {"reply": stream.get_final_completion(), "receipts": None}
    return _read(getattr(resource.with_raw_response, method)(**given))


def _called(message: Any, result: str) -> Iterator[Any]:
    """The model's calls as the client gave them, and the same result for each."""
    yield message
    for tool_call in message.tool_calls:
        yield {"role": "tool", "tool_call_id": tool_call.id, "content": result}


def _read(response: Any) -> dict[str, Any]:
    reply, receipts = response.parse(), response.headers.get("x-verity-receipt")
    if isinstance(reply, openai.Stream):
        return {"chunks": list(reply), "receipts": receipts}
    return {"reply": reply, "receipts": receipts}


def _error(error: openai.OpenAIError) -> dict[str, Any]:
    names = {"status": "status_code", "code": "code", "param": "param", "type": "type"}
    told = {name: getattr(error, attribute, None) for name, attribute in names.items()}
    return {"error": {"class": type(error).__name__, **told, "message": str(error)}}


def _plain(model: Any) -> Any:
    return model.to_dict(mode="json", warnings=False)  # a vector in base64 is not of the type that it declares


def main() -> None:
    address, key = sys.argv[1:]
    earlier: dict[str, Any] = {}
    for asked in json.load(sys.stdin)["calls"]:
        with openai.OpenAI(base_url=f"{address}/v1", api_key=asked.get("key", key), max_retries=0) as client:
            try:
                line = call(client, asked, earlier)
            except openai.OpenAIError as error:
                line = _error(error)
        choices = getattr(line.get("reply"), "choices", None)
        earlier[asked["name"]] = getattr(choices[0], "message", None) if choices else None
        print(json.dumps({"name": asked["name"], **line}, default=_plain), flush=True)


if __name__ == "__main__":
    main()
