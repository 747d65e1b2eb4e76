"""The figures that notebook 05 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lorautils.plots import BLUE, GREEN, GREY, HATCHES, ORANGE, PURPLE, RED


def histogram(values: np.ndarray, *, band: tuple[float, float], band_label: str, xlabel: str, title: str = "") -> Axes:
    """Draw how often values occur, on a logarithmic scale, with a shaded band to compare them with."""
    _, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    axes.axvspan(*band, color=ORANGE, alpha=0.35, label=band_label)
    axes.hist(np.ravel(values), bins=120, color=BLUE)
    axes.set(yscale="log", xlabel=xlabel, ylabel="number of values", title=title)
    axes.legend(frameon=False)
    return axes


def ablations(by_part: Mapping[str, Mapping[str, Sequence]], by_depth: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw how much the loss rises: by_part[kind][part] holds one rise a layer, by_depth[part][layer] one rise.

    Left, the median of the layers as a bar and each layer as a dot; right, layer by layer. Rises below 0.01 nats are
    drawn at 0.01.
    """
    size = {"figsize": (13, 5.5), "width_ratios": (3, 2)}
    figure, (left, right) = plt.subplots(1, 2, sharey=True, layout="constrained", **size)
    for index, (kind, parts) in enumerate(by_part.items()):
        color, hatch = (GREY, ORANGE, BLUE)[index % 3], HATCHES[index % 3]
        position = np.arange(len(parts)) + (index - (len(by_part) - 1) / 2) * 0.27
        rises = np.maximum(0.01, np.array(list(parts.values())))
        left.bar(position, np.median(rises, axis=1), 0.25, label=kind, color=color, hatch=hatch, edgecolor="white")
        left.plot(position, rises, "o", color="black", markersize=4.5, markeredgecolor="white", markeredgewidth=0.6)
    left.set(xticks=np.arange(len(parts)), xticklabels=list(parts), ylabel="rise of the loss (nats per token)")
    left.set(yscale="log", xlabel="projection (bar: median layer, dots: each layer)")
    for index, (part, rises) in enumerate(by_depth.items()):
        color, dash = (GREEN, RED, PURPLE)[index % 3], ("--", ":", "-")[index % 3]
        heights = np.maximum(0.01, list(rises.values()))
        right.plot(list(rises), heights, dash, marker="os^"[index % 3], color=color, linewidth=2, label=part)
    right.set(xlabel="layer")
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1.2)
    return figure
