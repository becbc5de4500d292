"""The plot of detection against tokens for each method, from the figures of head_to_head.py.

    python benchmarks/head_to_head.py --json > figures.json
    python benchmarks/plot_detection.py figures.json [docs/concepts/detection.png]

Needs matplotlib (requirements/rivals.txt).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rivals.methods import EXACT, STATISTICAL, TOKEN_DIFR, TOPLOC

TARGET = Path(__file__).parents[1] / "docs" / "concepts" / "detection.png"
STYLES = {
    EXACT: ("#000000", "s", "-"),
    STATISTICAL: ("#0072B2", "o", "-"),
    TOKEN_DIFR: ("#E69F00", "^", "--"),
    TOPLOC: ("#CC79A7", "D", ":"),
}
"""Colours of Okabe and Ito, which the colour-blind can tell apart; marker and dashes say the same again."""
_COLUMNS = 4


def draw(found: dict[str, Any], target: Path) -> None:
    """One panel for each lie: power at the stated false-alarm rate against tokens. Writes a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    titles = list(dict.fromkeys(row["lie"] for row in found["table"]))
    height = -(-(len(titles) + 1) // _COLUMNS)
    figure, axes = plt.subplots(height, _COLUMNS, figsize=(11, 2.9 * height), sharex=True, sharey=True)
    panels = list(axes.flat)
    for panel, title in zip(panels, titles, strict=False):
        _panel(panel, title, [row for row in found["table"] if row["lie"] == title], found["power_wanted"])
    for panel in panels[len(titles) :]:
        panel.axis("off")
    for panel in panels[len(titles) - _COLUMNS : len(titles)]:
        panel.set_xlabel("tokens")
        panel.tick_params(labelbottom=True)
    for row in axes:
        row[0].set_ylabel(f"caught, at {found['false_alarm_rate']:.0%} false alarms")
    panels[len(titles)].legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False, fontsize=11)
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100)
    plt.close(figure)


def _panel(panel: Any, title: str, rows: list[dict[str, Any]], wanted: float) -> None:
    panel.set_title(title, fontsize=11)
    panel.axhline(wanted, color="#999999", linewidth=0.8)
    for row in rows:
        colour, marker, dashes = STYLES[row["method"]]
        tokens, power = [int(count) for count in row["power"]], list(row["power"].values())
        label = f"{row['method']} (equal numerics)" if row["method"] == EXACT else row["method"]
        panel.plot(tokens, power, dashes, color=colour, marker=marker, markersize=4, linewidth=1.4, label=label)
    panel.set_xscale("log", base=2)
    panel.set_xticks([32, 128, 512, 2048], ["32", "128", "512", "2048"])
    panel.set_ylim(-0.04, 1.06)
    panel.grid(alpha=0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, help="what head_to_head.py --json printed")
    parser.add_argument("target", type=Path, nargs="?", default=TARGET)
    options = parser.parse_args()
    draw(json.loads(options.figures.read_text().splitlines()[-1]), options.target)


if __name__ == "__main__":
    main()
