"""The figures that notebook 04 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lorautils.plots import BLUE, GREEN, GREY, ORANGE, RED


def attention_maps(maps: Mapping[str, Sequence], tokens: Sequence[str], *, numbers: bool = False) -> Figure:
    """Draw attention weights (tokens, tokens) as heat maps, a panel a map; with `numbers` also written in the cells."""
    columns = 2 if len(maps) == 4 else len(maps)
    rows = len(maps) // columns
    size = (3.6 * columns + 1.6, 3.7 * rows + 0.9)
    figure, panels = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, weights) in zip(panels.flat, maps.items(), strict=True):
        weights = np.asarray(weights)
        image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(name, fontsize=13)
        axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=12)
        axes.set_yticks(range(len(tokens)), tokens, fontsize=12)
        for (row, column), weight in np.ndenumerate(weights if numbers else weights[:0]):
            color = "white" if weight > 0.6 else "black"
            axes.text(column, row, f"{weight:.2f}", ha="center", va="center", fontsize=12, color=color)
    figure.supxlabel("token that is asked", fontsize=13)
    figure.supylabel("token that asks", fontsize=13)
    figure.colorbar(image, ax=panels, label="attention weight", shrink=0.6)
    return figure


def score_by_distance(curves: Mapping[str, Sequence[float]], *, title: str = "") -> Axes:
    """Draw the mean score of a query and a key against their distance, 0, 1, 2, ... tokens, one curve a head."""
    _, axes = plt.subplots(figsize=(8.5, 4.4), layout="constrained")
    for index, (name, scores) in enumerate(curves.items()):
        style = {"color": [BLUE, ORANGE, GREY][index % 3], "marker": "osD"[index % 3], "markersize": 5}
        axes.plot(range(len(scores)), np.asarray(scores), label=name, **style)
    axes.set(xlabel="distance of query and key (tokens)", ylabel="mean score (divided by 8)", title=title)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def arrows(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw vectors of two numbers as named arrows from the origin, panels[title][name], all to one scale."""
    reach = 1.25 * max(np.linalg.norm(tip) for vectors in panels.values() for tip in vectors.values())
    figure, row = plt.subplots(1, len(panels), figsize=(4 * len(panels), 4.3), squeeze=False, layout="constrained")
    for axes, (title, vectors) in zip(row[0], panels.items(), strict=True):
        for (name, (x, y)), colour in zip(vectors.items(), (BLUE, RED, GREEN), strict=False):
            axes.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3})
            side = -0.14 if y < -0.1 * reach else 0.14  # the name stands over the tip, or under one that points down
            axes.annotate(name, (x, y + side * reach), color=colour, ha="center", va="center", weight="bold", size=14)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
        axes.set(xlabel="a, first feature", ylabel="b, second feature")
        axes.axhline(0, color=GREY, linewidth=0.5)
        axes.axvline(0, color=GREY, linewidth=0.5)
    return figure
