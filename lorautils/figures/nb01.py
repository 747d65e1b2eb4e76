"""The figures that notebook 01 draws, and no other."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lorautils.plots import BLUE, ORANGE


def clouds(points: Mapping[str, np.ndarray], *, azimuth: float) -> Figure:
    """Draw sets of points (n, 3) side by side in space, turned by `azimuth` degrees about the vertical axis."""
    figure = plt.figure(figsize=(4.0 * len(points), 3.6), layout="constrained")
    for index, (name, cloud) in enumerate(points.items(), start=1):
        axes = figure.add_subplot(1, len(points), index, projection="3d", proj_type="ortho")
        axes.view_init(elev=19.5, azim=azimuth)
        axes.scatter(*np.asarray(cloud).T, s=18, color=(BLUE, ORANGE)[index % 2], depthshade=False)
        reach = np.abs(cloud).max()
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach), title=name)
        axes.set(xlabel="y1", ylabel="y2", zlabel="y3", xticklabels=[], yticklabels=[], zticklabels=[])
        axes.set_box_aspect((1, 1, 1), zoom=0.95)
    return figure
