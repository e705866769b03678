"""Draw the plot: `draw.py FILE.svg`, with its lines as JSON on stdin. Needs matplotlib."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl
from matplotlib import pyplot as plt

# Ours are blue: lighter or broken where it is the same mode on something else.
_STYLES = {
    "sequential": ("#0b3d91", "-", "o"),
    "sequential_group": ("#2f6fd6", "-", "s"),
    "background": ("#5aa9e6", "-", "^"),
    "sequential, observed": ("#0b3d91", "--", "o"),
    "background, observed": ("#5aa9e6", "--", "^"),
    "parallel": ("#0b3d91", "-", "o"),
    "parallel, observed": ("#0b3d91", "--", "o"),
    "parallel on Dask": ("#2f6fd6", ":", "s"),
    "dotflow 1.0.1": ("#c1121f", "-", "D"),
    "Apache Hamilton": ("#2a9d4b", "-", "v"),
    "taskiq": ("#e07a00", "-", "P"),
    "luigi": ("#8e44ad", "-", "X"),
    "Prefect": ("#333333", "-", "*"),
    "bare pebble": ("#e07a00", "-", "P"),
    "bare Dask": ("#8e44ad", "-", "X"),
}
_PANELS = {
    "here": "in the process that asks",
    "workers": "in worker processes",
}
_TIMES = {10: "10 us", 100: "100 us", 1000: "1 ms", 10_000: "10 ms", 100_000: "0.1 s"}
_SIZES = [10**power for power in range(1, 6)]


def draw(lines: list[dict], target: str) -> None:
    """Draw two panels side by side, with the legend of each below it."""
    # Letters as outlines look the same everywhere; a salt makes ids the same every time.
    mpl.rcParams.update({"svg.hashsalt": "dotflow", "font.size": 10})
    figure, panels = plt.subplots(
        1, 2, figsize=(10, 6), sharex=True, sharey=True, facecolor="white"
    )
    for axes, (panel, title) in zip(panels, _PANELS.items(), strict=True):
        for line in lines:
            if line["panel"] == panel and line["points"]:
                _add(axes, line)
        axes.set(title=title, xlabel="tasks", xscale="log", yscale="log")
        axes.set_xticks(_SIZES, [f"{size:,}" for size in _SIZES])
        axes.set_yticks(list(_TIMES), list(_TIMES.values()))
        axes.minorticks_off()  # they tell nothing, and are half of the file
        axes.grid(which="major", color="#dddddd", linewidth=0.6)
        axes.tick_params(labelleft=True)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=2, frameon=False)
    panels[0].set_ylabel("a task")
    figure.suptitle("What a trivial task costs among so many (ours in blue)")
    figure.tight_layout()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})


def _add(axes: plt.Axes, line: dict) -> None:
    color, style, marker = _STYLES[line["name"]]
    sizes = [int(size) for size in line["points"]]
    axes.plot(
        sizes,
        list(line["points"].values()),
        color=color,
        linestyle=style,
        marker=marker,
        markersize=5,
        linewidth=1.6,
        label=line["name"],
    )


if __name__ == "__main__":
    mpl.use("svg")
    draw(json.load(sys.stdin), sys.argv[1])
