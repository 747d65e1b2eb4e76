"""The figures that notebook 11 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lorautils.plots import BLUE, GREEN, GREY, ORANGE, RED


def slopes(groups: Mapping[str, Sequence[tuple[float, float]]], *, xlabel: str, ylabel: str) -> Axes:
    """Draw groups[name] = [(before, after), ...] as two marks and a line each, side by side; names take two lines."""
    _, axes = plt.subplots(figsize=(10.5, 5), layout="constrained")
    ticks = []
    for index, (name, pairs) in enumerate(groups.items()):
        values = np.array(pairs, dtype=float).T  # (2, pairs)
        apart = np.linspace(-0.08, 0.08, len(pairs))
        x = np.array([index - 0.22 + apart, index + 0.22 + apart])
        axes.plot(x, values, color=GREY, lw=1)
        axes.plot(x[0], values[0], "o", color=BLUE, ms=8, mec="white", label=f"{name}, before")
        axes.plot(x[1], values[1], "D", color=RED, ms=8, mec="white", label=f"{name}, after")
        words = name.split()
        half = (len(words) + 1) // 2
        ticks.append(f"{' '.join(words[:half])}\n{' '.join(words[half:])}")
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(handles[:2], ["before", "after"], frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xticks=range(len(ticks)), xticklabels=ticks, xlabel=xlabel, ylabel=ylabel)
    return axes


def scatter(
    groups: Mapping[str, Sequence[tuple[float, float]]], *, level: float, label: str, xlabel: str, ylabel: str
) -> Axes:
    """Draw one marker a run, groups[name] = [(x, y), ...], and a dashed line with its label at the height `level`."""
    _, axes = plt.subplots(figsize=(9.5, 5), layout="constrained")
    for index, (name, runs) in enumerate(groups.items()):
        style = {"color": (RED, BLUE, GREEN, ORANGE)[index % 4], "marker": "Dos^"[index % 4], "s": 55, "alpha": 0.8}
        axes.scatter(*np.array(runs).T, label=name, **style)
    axes.axhline(level, color="black", linestyle="--", linewidth=1.5)
    axes.annotate(label, (0.01, level), (0, -16), xycoords=("axes fraction", "data"), textcoords="offset points")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes
