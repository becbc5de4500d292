"""Make the calibration of the statistical check for one model, and say what it can see.

It writes honest outputs under every numerics of margin_cases.py and checks them under the others, writes outputs of two
lies besides, and fits (fit.py). All of it is kept (honest_margins.py): stopped, it goes on where it was. About an hour
and a half on two cores; much less with a smaller --share, for a look.

    python benchmarks/calibrate.py [--model FILE] [--out FILE] [--share 1.0] [--json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import builds
from fit import EDGES, chunks, count, fitted
from honest_margins import Cache, pairs, wanted
from margin_cases import TRAINING, cases
from margin_worker import Margins, Wanted
from quantise import default_model, quantised
from verity.cli.terminal import ProgressBars
from verity.engines.library import describe_library
from verity.engines.numerics import processor_flags
from verity.verify.calibration import SHIPPED, Alternative, Calibration, Covered, Null, read_calibration
from verity.verify.statistics import TooShort, judge

OUT = builds.ROOT / "src/verity/verify" / SHIPPED
THRESHOLD = 2e-5
FALSE_ALARM_RATE = 1e-3
OF_EACH_LIE = 20
HOTTER = 1.25
_EDITED = 500
COVERED = Covered(greedy=True, temperature=(0.5, 1.0), repetition_penalty=(1.0, 1.1))
_WEIGHTS, _TEMPERATURE = "other 4-bit weights", "a higher temperature"
_LIAR, _CHECKER = "portable", "native"

Outputs = list[list[float]]


def calibrate(model: Path, share: float, bars: ProgressBars) -> tuple[Calibration, dict[str, Any]]:
    """The calibration of this model's file, and what it sees on outputs that it was not made with."""
    cache = Cache(model, bars)
    by_pair: dict[str, list[Margins]] = {}
    for split in TRAINING:
        for pair, outputs in pairs(cache, split, share).items():
            by_pair.setdefault("@".join(pair), []).extend(measured for _, measured in outputs)
    same = _generic_is_sse(cache)
    trained = [measured for measures in by_pair.values() for measured in measures]
    honest = [measured.margins for measured in trained]
    edits = [margin for measured in trained for margin in measured.edits if margin is not None]
    empty = Calibration(
        format=1,
        models=[cache.digest],
        numerics=_names(same),
        engine=describe_library()["version"],
        honest_tokens=sum(map(len, honest)),
        covered=COVERED,
        edges=list(EDGES),
        alternatives=[Alternative("none", [0.0] * len(EDGES), [0.0] * len(EDGES))],
        nulls=[Null(1, [0.0], [1.0], 1.0)],
        threshold=THRESHOLD,
        false_alarm_rate=FALSE_ALARM_RATE,
        typical_edit=1.0,
    )
    calibration = fitted(empty, honest, lies(cache, "train", share), edits)
    said: dict[str, Any] = {
        "honest_tokens": calibration.honest_tokens,
        "honest_outputs": len(honest),
        "generic_is_sse": same,
    }
    said["missed_share"] = {pair: _missed([m.margins for m in measures]) for pair, measures in by_pair.items()}
    said["caught"] = {name: caught(outs, calibration) for name, outs in lies(cache, "test", share).items()}
    said["edits_caught"] = {str(number): _edits_caught(honest, edits, number, calibration) for number in (1, 2, 4)}
    return calibration, said


def lies(cache: Cache, split: str, share: float = 1.0) -> dict[str, Outputs]:
    """Outputs of two lies, as margins: of other weights than the receipt names, and of a higher temperature."""
    asked = [wanted(case) for case in cases(split, _LIAR) if case.sampling["temperature"]]
    asked = asked[: max(4, round(share * OF_EACH_LIE))]
    hotter = [_hotter(each) for each in asked]
    weights = quantised(cache.model)["Q4_0"]
    made = {
        _WEIGHTS: cache.made(f"{split}-weights", asked, _LIAR, weights),
        _TEMPERATURE: cache.made(f"{split}-temperature", hotter, _LIAR, cache.model),
    }
    return {
        name: [m.margins for m in cache.margins(file, outputs.values(), _CHECKER).values()]
        for (name, outputs), file in zip(made.items(), (f"{split}-weights", f"{split}-temperature"), strict=True)
    }


def _hotter(asked: Wanted) -> Wanted:
    warm = {**asked.sampling, "temperature": round(HOTTER * asked.sampling["temperature"], 4)}
    return msgspec.structs.replace(asked, sampling=warm, claimed=asked.sampling)


def _edits_caught(honest: Outputs, edits: list[float], number: int, calibration: Calibration) -> list[int]:
    """How many of 500 windows of 32 tokens are refused, in which so many are ones that the model might have written."""
    random = np.random.default_rng(number)
    pieces = chunks(honest, calibration.window)
    others = np.array([margin for margin in edits if margin > 0.0])
    edited = np.array([pieces[at] for at in random.choice(len(pieces), _EDITED, replace=len(pieces) < _EDITED)])
    for window in edited:
        window[random.choice(len(window), number, replace=False)] = random.choice(others, number)
    return _refused(edited.tolist(), calibration)


def caught(outputs: Outputs, calibration: Calibration) -> dict[str, Any]:
    """Which share of these outputs is refused, whole and by their first 32 tokens."""
    return {str(length or "whole"): _refused([o[:length] for o in outputs], calibration) for length in (32, 64, None)}


def _refused(outputs: Outputs, calibration: Calibration) -> list[int]:
    """How many are refused, of how many."""
    refused = total = 0
    for margins in outputs:
        try:
            refused += judge(margins, calibration).p_value <= calibration.threshold
        except TooShort:
            continue
        total += 1
    return [refused, total]


def _missed(outputs: Outputs) -> float:
    counts = count(np.concatenate([np.asarray(margins) for margins in outputs]))
    return round(float(counts.missed.sum() / (counts.missed.sum() + counts.drawn.sum())), 4)


def _generic_is_sse(cache: Cache) -> bool:
    """Whether the build for unknown processors gives the margins of the one with SSE, to the last digit."""
    outputs = list(cache.honest("train", "portable", 0.01).values())
    generic, sse = (cache.margins("train-portable", outputs, name) for name in ("generic", "sse"))
    return generic == sse


def _names(generic_is_sse: bool) -> list[str]:
    native = "AVX-512" if "avx512f" in processor_flags() else "all of this processor"
    return [
        "portable (AVX2)",
        f"native ({native})",
        "SSE4.2" + (" and generic C" if generic_is_sse else ""),
        "f16 cache",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file (default: the default model)")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the outputs that are made for it, the first so many"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with ProgressBars() as bars:
        calibration, said = calibrate(args.model or default_model(), args.share, bars)
    data = json.dumps(msgspec.to_builtins(calibration), indent=1).encode() + b"\n"
    read_calibration(data)
    args.out.write_bytes(data)
    if args.json:
        print(json.dumps({"file": str(args.out), **said}))
    else:
        print(f"{args.out}\n" + "\n".join(f"{name}: {value}" for name, value in said.items()))


if __name__ == "__main__":
    main()
