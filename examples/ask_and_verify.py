"""A device answers; somebody else, with another home, verifies the saved bundle.

python examples/ask_and_verify.py "Name three planets."
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import verity


def main(prompt: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.verity.json")

        # The owner's side: the answer streams, the bundle is saved, the device key is told to the other side.
        with verity.open() as node:
            stream = node.stream(prompt, max_tokens=60, temperature=0.7)
            for text in stream:
                print(text, end="", flush=True)
            assert stream.answer is not None
            stream.answer.save(path)
            device_key = node.key.id

        # The relying party's side: the file, the key, and what is expected.
        report = verity.verify(path, key=device_key, model="smollm2-135m-instruct", prompt=prompt)
    print(f"\n\n{report}\n\npassed: {report.passed}")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "Name three planets."))
