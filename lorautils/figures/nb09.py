"""The figures that notebook 09 draws, and no other."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lorautils.plots import BLUE


def dots(panels: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """Draw panels[xlabel][name] = (mean, low, high) as dots with intervals, one row a name, panels side by side."""
    names = list(next(iter(panels.values())))
    size = (2.2 + 4.2 * len(panels), 1.2 + 0.5 * len(names))
    figure, row = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, (xlabel, values) in zip(row[0], panels.items(), strict=True):
        mean, low, high = np.array([values[name] for name in names]).T
        position = np.arange(len(names))
        axes.errorbar(mean, position, xerr=[mean - low, high - mean], fmt="o", color=BLUE, capsize=5, lw=2, ms=9)
        axes.set(xlabel=xlabel, yticks=position, yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        axes.grid(axis="x", alpha=0.4)
    return figure
