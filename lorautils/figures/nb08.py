"""The figures that notebook 08 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from lorautils.plots import BLUE, GREEN, GREY, HATCHES, ORANGE, PURPLE, SKY


def loss_curve(losses: Sequence[float], *, window: int = 10, title: str = "") -> Axes:
    """Draw the loss of every step (nats per answer token) and its running mean over `window` steps."""
    steps = np.arange(1, len(losses) + 1)
    window = min(window, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    _, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    axes.plot(steps, losses, color=SKY, linewidth=1, label="each step")
    axes.plot(steps[window - 1 :], smooth, color=BLUE, linewidth=3, label=f"mean of {window} steps")
    axes.set(xlabel="optimiser step", ylabel="loss (nats per answer token)", yscale="log", title=title)
    axes.yaxis.set_major_formatter(ScalarFormatter())  # 0.1, not 10^-1
    axes.legend(frameon=False)
    return axes


def score_bars(scores: Mapping[str, Mapping[str, tuple[float, float, float]]], *, title: str = "") -> Axes:
    """Draw grouped bars of shares with intervals: scores[method][test] = (share, low, high), each from 0 to 1."""
    tests = list(next(iter(scores.values())))
    width = 0.8 / len(scores)
    _, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for index, (method, shares) in enumerate(scores.items()):
        share, low, high = 100 * np.array([shares[test] for test in tests]).T
        position = np.arange(len(tests)) + (index - (len(scores) - 1) / 2) * width
        axes.bar(
            position,
            share,
            width * 0.92,
            yerr=[share - low, high - share],
            capsize=4,
            label=method,
            color=[GREY, SKY, PURPLE, ORANGE, BLUE, GREEN][index % 6],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor="white",
            error_kw={"elinewidth": 1.5},
        )
    axes.set(xticks=np.arange(len(tests)), xticklabels=tests, ylim=(0, 104), ylabel="exact answers (%)", title=title)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes
