"""The figures that notebook 12 draws, and no other."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lorautils.plots import BLUE, GREEN, GREY, ORANGE, SKY


def who_holds_what(panels: Mapping[str, Mapping[str, bool]], *, devices: int) -> Figure:
    """Draw what each of `devices` holds: panels[title][part] is True if the part is split, False if it is copied."""
    figure, row = plt.subplots(
        1, len(panels), figsize=(5.4 * len(panels), 4.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, parts) in zip(row[0], panels.items(), strict=True):
        for level, split in enumerate(parts.values()):
            colour = (BLUE, ORANGE, GREEN, SKY, GREY)[level % 5]
            for device in range(devices):
                for piece in range(devices):
                    held = not split or piece == device
                    fill = {"facecolor": colour if held else "white", "edgecolor": GREY, "alpha": 1 if held else 0.6}
                    width = 0.8 / devices
                    axes.add_patch(plt.Rectangle((device + 0.1 + piece * width, level + 0.15), width, 0.7, **fill))
        axes.set(xlim=(0, devices), ylim=(len(parts), 0), title=title)
        axes.set(xticks=np.arange(devices) + 0.5, xticklabels=[f"device {index}" for index in range(devices)])
        axes.set(yticks=np.arange(len(parts)) + 0.5, yticklabels=list(parts))
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure
