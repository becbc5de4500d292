"""The official client, over a real connection: programs that use it run on Verity unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from calling import running
from fake_service import CALLING, MODEL, REPLY, WEATHER, FakeService
from fastapi import FastAPI

from verity.errors import Busy, EngineError

QUESTION: Any = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture
def client(app: FastAPI) -> Iterator[openai.OpenAI]:
    with running(app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_a_chat_and_its_receipt(client: openai.OpenAI, service: FakeService) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, n=2, seed=1, logprobs=True, top_logprobs=1)
    assert [choice.message.content for choice in answer.choices] == [REPLY, REPLY]
    assert answer.choices[0].logprobs is not None
    assert answer.model_extra is not None
    assert answer.model_extra["verity"]["receipts"] == [a.receipt for a in service.answers]
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, extra_headers={"x-verity-nonce": "cd" * 32}
    )
    assert raw.headers["x-verity-receipt"] == service.answers[-1].receipt
    assert service.asked[-1].nonce == bytes.fromhex("cd" * 32)


def test_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == REPLY
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 15


def test_the_streaming_helper_and_tools(client: openai.OpenAI, service: FakeService) -> None:
    service.text = CALLING
    tools: Any = [WEATHER]
    with client.chat.completions.stream(model=MODEL, messages=QUESTION, tools=tools) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.name == "weather"
    assert final.choices[0].finish_reason == "tool_calls"
    messages: Any = [*QUESTION, message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}]
    service.text = REPLY
    again = client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
    assert again.choices[0].message.content == REPLY


def test_completions_embeddings_models(client: openai.OpenAI) -> None:
    assert client.completions.create(model=MODEL, prompt="Once").choices[0].text == REPLY
    pieces = client.completions.create(model=MODEL, prompt="Once", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == REPLY
    vectors = client.embeddings.create(model=MODEL, input=["a", "bcd"])  # it asks for base64
    assert vectors.data[1].embedding == [0.5, 3.0]
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_errors(client: openai.OpenAI, service: FakeService) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=QUESTION, logit_bias={"1": 1})
    assert "logit_bias" in str(wrong.value)
    service.refusal = Busy("too many")
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    service.refusal, service.error = None, EngineError("broke")
    with pytest.raises(openai.APIError, match="could not"):
        list(client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True))


def test_closing_a_stream_cuts_the_answer_off(client: openai.OpenAI, service: FakeService) -> None:
    service.hang_at = 3
    stream = client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    client.close()
    assert service.answers[0].cut_off.wait(30)
