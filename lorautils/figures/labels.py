"""Names beside the points of a chart, none of which covers another: for the maps of notebook 03."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from lorautils.plots import GREY


def label_apart(axes: Axes, points: np.ndarray, labels: Sequence[str]) -> None:
    """Write a label beside each point (n, 2), further away and with a line where it would cover something.

    What must stay free are the points and the labels before.
    """
    axes.figure.canvas.draw()  # fixes the scale, and so what covers what
    pixels = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in pixels]
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
    for label, point, pixel in zip(labels, points, pixels, strict=True):
        text = axes.text(0, 0, label, fontsize=12)
        size = text.get_window_extent().size + 2
        text.remove()
        for angle in np.arange(0, 60, 0.2):  # a flat spiral outwards
            offset = np.array([(size[0] / 2 + 8 + 2 * angle) * np.cos(angle), (14 + 2 * angle) * np.sin(angle)])
            box = Bbox.from_bounds(*(pixel + offset - size / 2), *size)
            if not box.count_overlaps(taken):
                break
        taken.append(box)
        style = {"fontsize": 12, "ha": "center", "va": "center"}
        axes.annotate(label, point, offset, textcoords="offset pixels", arrowprops=line, **style)
