"""One process that computes in one way: it makes honest outputs, or measures the margins of somebody's.

LLAMA_CPP_LIB_PATH chooses the build before it starts; calibrate.py starts it. It reads one Job on stdin, and appends a
line of JSON to the job's file for everything done, so that whatever stops it loses at most a few outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from margin_cases import MAX_TOKENS
from verity.engines import library
from verity.engines.engine import Engine
from verity.engines.llama import LlamaEngine
from verity.request import Asked, check_asked, make_request
from verity.sampling.margins import MarginSampler
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler
from verity.server.scheduler import Job as Answer
from verity.server.scheduler import Scheduler
from verity.verify.margins import DECIMALS

CONTEXT = 512
_SEQUENCES = 8
_F16 = 1


class Wanted(msgspec.Struct, frozen=True):
    """One output to make. ``claimed`` is the sampling that it will claim, where that is not what it is drawn with."""

    name: str
    prompt: str
    sampling: dict[str, Any]
    nonce: str
    claimed: dict[str, Any] | None = None


class Output(msgspec.Struct, frozen=True):
    """One line of a file of outputs: everything that measuring its margins needs. ``sampling`` is what it claims."""

    name: str
    prompt_tokens: list[int]
    sampling: dict[str, Any]
    seed: str
    tokens: list[int]


class Margins(msgspec.Struct, frozen=True):
    """One line of a file of margins, in logits, signed (sampling/margins.py), one for each token of the output.

    ``edits`` has, for each position, the margin of a token that the model might have written there, drawn with other
    noise; None where that is the same token.
    """

    name: str
    margins: list[float]
    edits: list[float | None]


class Job(msgspec.Struct, frozen=True):
    """``make`` outputs, or measure the margins of ``outputs``; with an f16 cache instead of q8_0 if ``f16``."""

    model: str
    file: str
    f16: bool = False
    make: list[Wanted] = []
    outputs: list[Output] = []


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    if job.f16:
        library._Q8_0 = _F16
    engine = LlamaEngine(Path(job.model), threads=1, context_size=CONTEXT, sequences=_SEQUENCES if job.make else 1)
    lines = _made(engine, job.make) if job.make else (_measured(engine, output) for output in job.outputs)
    with Path(job.file).open("ab") as file:
        for line in lines:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            print(flush=True)


def _made(engine: LlamaEngine, wanted: list[Wanted]) -> Iterator[Output]:
    scheduler, answers = Scheduler(engine), {}
    for each in wanted:
        request = make_request(engine, _asked(each), nonce=bytes.fromhex(each.nonce))
        answers[each.name] = (each, Answer(request, lambda _: None))
        scheduler.add(answers[each.name][1])
    while answers:
        scheduler.step()
        over = [name for name, (_, answer) in answers.items() if answer.generation and answer.generation.output.finish]
        for each, answer in map(answers.pop, over):
            assert answer.generation is not None
            yield Output(
                name=each.name,
                prompt_tokens=answer.request.prompt_tokens,
                sampling=each.claimed or each.sampling,
                seed=answer.request.seed.hex(),
                tokens=answer.generation.output.tokens,
            )


def _asked(wanted: Wanted) -> Asked:
    return check_asked(wanted.prompt, max_tokens=MAX_TOKENS, sampling=wanted.sampling)


def _measured(engine: Engine, output: Output) -> Margins:
    parameters, seed = SamplingParameters(**output.sampling), bytes.fromhex(output.seed)
    sampler = MarginSampler(parameters, seed, output.prompt_tokens)
    editing = msgspec.structs.replace(parameters, temperature=parameters.temperature or 0.8)
    editor = Sampler(editing, bytes(reversed(seed)), output.prompt_tokens)
    engine.reset()
    margins: list[float] = []
    edits: list[float | None] = []
    rows = engine.advance_all([*output.prompt_tokens, *output.tokens[:-1]], skip=len(output.prompt_tokens) - 1)
    for token, logits in zip(output.tokens, rows, strict=True):
        other = editor.judge(logits, token).best
        edits.append(None if other == token else round(sampler.margin(logits, other), DECIMALS))
        margins.append(round(sampler.margin(logits, token), DECIMALS))
        sampler.skip(token)
    return Margins(output.name, margins, edits)


if __name__ == "__main__":
    main()
