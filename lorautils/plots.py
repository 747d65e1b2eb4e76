"""Figures from arrays; knows nothing of models.

All notebooks draw with it. Colours are those of Okabe and Ito, which readers with colour blindness can tell apart.
"""

import io
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import Image, SelectionSlider, VBox
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#666666",
)
HATCHES = ["", "//", "..", "xx", "\\\\"]

plt.rcParams.update({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100})


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


def slider(draw: Callable[[object], Figure], options: Sequence, *, value, label: str) -> VBox:
    """Return a slider over `options` with the figure that `draw(option)` returns under it, redrawn when it moves.

    A saved page has no kernel to redraw it: show `draw(value)` in a cell of its own as well.
    """

    def png(option) -> bytes:
        figure, buffer = draw(option), io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        return buffer.getvalue()

    control = SelectionSlider(options=options, value=value, description=label, continuous_update=False)
    picture = Image(value=png(value), format="png")
    control.observe(lambda change: setattr(picture, "value", png(change["new"])), names="value")
    return VBox([control, picture])
