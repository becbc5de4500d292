"""The main job: ask a local model, get a receipt, verify it by replay; then change one word and see it refused."""

from __future__ import annotations

import json
import sys

import verity
from verity.cli.terminal import ProgressBars

PROMPT = "Why is the sky blue? Answer in two sentences."


def main() -> int:
    with ProgressBars() as bars, verity.open(progress=bars) as node:
        print(f"Device {node.key.id[:16]}… asks its own model, offline:\n\n  {PROMPT}\n")
        stream = node.stream(PROMPT, max_tokens=80)
        bars.stop()
        print("  ", end="")
        for text in stream:
            print(text.replace("\n", "\n  "), end="", flush=True)
        answer, device = stream.answer, node.key.id
    assert answer is not None
    print(f"\n\nThe answer has receipt {answer.receipt}. Now somebody else checks it, by running the model again:\n")
    report = verity.verify(answer.bundle, key=device, model="smollm2-135m-instruct", prompt=PROMPT)
    print(report)

    word = max(answer.text.split(), key=len)
    print(f"\nSomebody changes one word of the answer, {word!r}, and shows the bundle on:\n")
    forged = json.loads(answer.bundle.encode())
    text = next(line for line in forged["disclosure"]["result"] if line["field"] == "output/text")
    text["value"] = text["value"].replace(word, "nothing of the kind", 1)
    refused = verity.verify(json.dumps(forged).encode(), key=device, replay=False)
    for check in refused.failed:
        print(f"✗ FAILED    {check.name:<12}  {check.sentence}")
    good = report.passed and not refused.passed
    print("\nThe honest answer passed, the changed one was refused." if good else "\nTHIS IS NOT AS IT SHOULD BE.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
