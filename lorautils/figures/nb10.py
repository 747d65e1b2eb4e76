"""The figures that notebook 10 draws, and no other."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from lorautils.figures.labels import label_apart
from lorautils.plots import BLUE, GREY


def method_map(
    numbers: Mapping[str, int],
    scores: Mapping[str, tuple[float, float, float]],
    sizes: Mapping[str, float],
    *,
    xlabel: str,
    ylabel: str,
    size_label: str,
    closer: tuple[float, float, float, float] | None = None,
) -> Axes:
    """Draw a dot for each method: scores[name] = (mean, low, high) against numbers[name], its area from sizes[name].

    A score whose low and high are nan is drawn without an interval. The x axis is logarithmic. Methods whose dots lie
    in `closer` (left, right, bottom, top) have their names in an enlarged view, at the right.
    """
    names = np.array(list(scores))
    x = np.array([numbers[name] for name in names], dtype=float)
    mean, low, high = np.array([scores[name] for name in names], dtype=float).T
    area = 110 * np.array([sizes[name] for name in names])
    figure, axes = plt.subplots(figsize=(11, 6.5), layout="constrained")
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel, ylim=(-6, 112))
    axes.margins(x=0.22)
    inside, panels = np.zeros(len(names), dtype=bool), [axes]
    if closer is not None:
        left, right, bottom, top = closer
        inside = (left < x) & (x < right) & (bottom < mean) & (mean < top)
        panels.append(figure.add_axes((0.66, 0.2, 0.33, 0.5)))
        panels[1].set(xscale="log", xlim=(left, right), ylim=(bottom, top))
        panels[1].tick_params(which="both", labelbottom=False, bottom=False)
        panels[1].spines[:].set_visible(True)
    dots = {"color": BLUE, "edgecolor": "white", "linewidth": 1.5, "zorder": 3}
    for panel, drawn in zip(panels, (np.ones(len(names), dtype=bool), inside), strict=False):
        error = [(mean - low)[drawn], (high - mean)[drawn]]
        panel.errorbar(x[drawn], mean[drawn], error, fmt="none", color=GREY, capsize=4, lw=1.5)
        largest_first = np.flatnonzero(drawn)[np.argsort(-area[drawn])]
        panel.scatter(x[largest_first], mean[largest_first], area[largest_first], **dots)
    for size in (1, 2):
        axes.scatter([], [], 110 * size, label=f"{size}", **dots)
    axes.legend(frameon=False, title=size_label, ncols=3, loc="lower right")
    if closer is not None:
        for line in axes.indicate_inset_zoom(panels[1], edgecolor=GREY).connectors:
            line.set_visible(False)  # they would cross dots
    figure.canvas.draw()  # fixes the scale, and so where the intervals and the dots are
    reach = np.maximum(np.sqrt(area) / 2 * figure.dpi / 72, 6)  # in pixels; a cap has 6
    for panel, named in zip(panels, (~inside, inside), strict=False):
        ends = panel.transData.transform(np.column_stack([np.tile(x, 3), np.concatenate([mean, low, high])]))
        middle, bottom, top = ends.reshape(3, -1, 2)
        covered = [Bbox([at - side, at + side]) for at, side in zip(middle, reach, strict=True)]
        covered += [Bbox([a - 6, b + 6]) for a, b in zip(bottom, top, strict=True) if np.isfinite([a, b]).all()]
        label_apart(panel, np.column_stack([x, mean])[named], names[named], covered)
    return axes
