"""The figures that notebook 08 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lorautils.figures.drawing import NAME, A, B, W, arrow, canvas, disc, lock, matrix, write
from lorautils.plots import BLUE, GREEN, GREY, HATCHES, ORANGE, PURPLE, SKY


def attached() -> Figure:
    """Draw LoRA once more, small, with the arguments of `LoraConfig` where they act: r = 8, alpha = 32, a square W."""
    axes = canvas(
        "LoRA beside one weight W, with the arguments of LoraConfig, from left to right. x goes two ways. Above: to W, "
        "a grey box, frozen, with a lock; target_modules says which weights are such a W. Below: lora_dropout, then "
        "A, a thin lying strip, and B, a thin standing strip, both trained, with r = 8 numbers a token between them; "
        "then times 4, which is lora_alpha / r. A plus adds the two ways: y.",
        height=340,
    )
    top, low, unit = 250, 84, 150 / 576
    w = matrix(axes, (576, 576), 440, top, unit=unit, colour=W, frozen=True)
    a = matrix(axes, (8, 576), 95, 146, unit=unit, colour=A)
    b = matrix(axes, (576, 8), 560, low, unit=unit, colour=B)
    plus, s = disc(axes, 720, top, "+"), disc(axes, 720, 154, "×4")
    arrow(axes, (121, top), w.left)
    arrow(axes, w.right, plus.left)
    arrow(axes, plus.right, (892, top))
    arrow(axes, (a.x, top - 30), a.top)
    arrow(axes, a.bottom, (a.x, low), b.left, shape="r = 8")
    arrow(axes, b.right, (s.x, low), s.bottom)
    arrow(axes, s.top, plus.bottom)
    lock(axes, w.x, w.y, size=60)
    write(axes, 111, 184, "lora_dropout", ha="left")
    write(axes, w.x, w.bottom[1] - 22, "target_modules")
    write(axes, s.x + 44, s.y, "lora_alpha / r", ha="left")
    letters = {"x": (a.x, top), "W": (w.right[0] + 34, top + 50), "y": (916, top)}
    for letter, place in letters.items():
        write(axes, *place, letter, size=NAME, weight="bold")
    write(axes, a.right[0] + 34, a.y, "A", size=NAME, weight="bold", color=A)
    write(axes, b.x + 34, low + 30, "B", size=NAME, weight="bold", color=B)
    return axes.figure


def loss_curve(losses: Sequence[float], *, window: int = 10, title: str = "") -> Axes:
    """Draw the loss of every step (nats per answer token), and its running mean where there are over `window` steps."""
    steps = np.arange(1, len(losses) + 1)
    _, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    if len(losses) > window:
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(steps, losses, color=SKY, linewidth=1, label="each step")
        axes.plot(steps[window - 1 :], smooth, color=BLUE, linewidth=3, label=f"mean of {window} steps")
    else:
        axes.plot(steps, losses, color=SKY, marker="o", label="each step")
    axes.set(xlabel="optimiser step", ylabel="loss (nats per answer token)", yscale="log", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")  # 0.1, not 10^-1
    axes.yaxis.set_minor_formatter(NullFormatter())
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
