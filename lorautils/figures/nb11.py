"""The figures that notebook 11 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import STREAM, A, B, Box, W, arrow, block, canvas, disc, lock, write
from lorautils.plots import BLUE, GREY, ORANGE, RED, error_lines


def shelf() -> Figure:
    """Draw a frozen W with two adapters on the shelf beside it, of which one is active."""
    axes = canvas(
        "x goes to the frozen W, a grey box with a lock, and on to a plus; out comes y. Below lies a shelf with two "
        "adapters, each a pair of thin matrices A and B. cron is active: an arrow leads from x to its A, and from its "
        "B to the plus. orders is loaded and not active: it lies on the shelf without arrows. load_adapter puts an "
        "adapter on the shelf, set_adapter moves the arrows, disable_adapter takes them away.",
        height=540,
    )
    w, plus = block(axes, Box(300, 410, 150, 150), W, frozen=True), disc(axes, 540, 410, "+")
    axes.add_patch(Rectangle((150, 108), 760, 190, facecolor="none", edgecolor=W, linewidth=2.5))
    places = {"cron, active": 240, "orders, only loaded": 700}
    for name, x in places.items():
        a, b = block(axes, Box(x, 172, 120, 16), A), block(axes, Box(x + 100, 172, 16, 96), B)
        write(axes, x + 30, 252, name, weight="bold")
        if name.startswith("cron"):
            arrow(axes, (70, 378), (70, a.y), a.left)
            arrow(axes, b.right, (plus.x, b.y), plus.bottom)
    lock(axes, *w[:2], size=56)
    arrow(axes, (96, 410), w.left)
    arrow(axes, w.right, plus.left)
    arrow(axes, plus.right, (880, 410))
    write(axes, 70, 410, "x", size=42, weight="bold")
    write(axes, 914, 410, "y", size=42, weight="bold")
    write(axes, 300, 508, "W, once")
    write(axes, 800, 320, "the shelf")
    write(axes, 500, 66, "load_adapter fills the shelf, set_adapter moves the arrows,")
    write(axes, 500, 28, "disable_adapter takes them away.")
    return axes.figure


def combine() -> Figure:
    """Draw the three ways to make one adapter of two, as products of block matrices."""
    axes = canvas(
        "Three ways to make one adapter of two, as products of a standing B and a lying A. Adapter 1 is orange, "
        "adapter 2 is blue. cat: B1 and B2 side by side, A1 above A2; r = 16; the product is B1 A1 + B2 A2, "
        "exact. linear: B1 plus B2, times A1 plus A2; r = 8; the product also has B1 A2 and B2 A1. svd: one green "
        "B and one green A, the best factors of rank 8 of the sum B1 A1 + B2 A2.",
        height=540,
    )
    for x, name, rank in ((170, "cat", 16), (500, "linear", 8), (830, "svd", 8)):
        write(axes, x, 506, name, size=36, weight="bold")
        write(axes, x, 462, f"r = {rank}")
    for x, y, colour in ((68, 384, A), (92, 360, B)):
        block(axes, Box(x, 290, 20, 200), colour)
        block(axes, Box(220, y, 190, 20), colour)
    for x, y, colour in ((372, 384, A), (444, 316, B)):
        block(axes, Box(x, 290, 20, 200), colour)
        block(axes, Box(570, y, 150, 20), colour)
    write(axes, 408, 290, "+", weight="bold")
    write(axes, 570, 350, "+", weight="bold")
    block(axes, Box(736, 290, 20, 200), STREAM)
    block(axes, Box(860, 380, 190, 20), STREAM)
    write(axes, 170, 150, "B₁A₁ + B₂A₂")
    write(axes, 500, 150, "B₁A₁ + B₂A₂")
    write(axes, 500, 112, "+ B₁A₂ + B₂A₁")
    write(axes, 830, 150, "the best rank 8 of")
    write(axes, 830, 112, "B₁A₁ + B₂A₂")
    write(axes, 500, 62, "B stands, A lies.")
    write(axes, 330, 24, "orange: adapter 1", color=A, weight="bold")
    write(axes, 670, 24, "blue: adapter 2", color=B, weight="bold")
    return axes.figure


def preference(chosen: str, rejected: str) -> Figure:
    """Draw DPO's loss of one pair: two answers, read with the adapter on and with it off."""
    axes = canvas(
        f"One pair: the chosen answer {chosen} and the rejected answer {rejected}. The model reads both twice. "
        "Above with the adapter on, that is the policy, frozen W and trained A and B; below with the adapter off, "
        "that is the reference, the same frozen W alone. Each gives a margin, log p(chosen) - log p(rejected). "
        "The reference's is subtracted from the policy's; the difference times beta goes into -log sigmoid, and "
        "out comes the loss.",
        height=540,
    )
    top, low = 400, 190
    write(axes, 20, 380, "chosen", ha="left", weight="bold")
    write(axes, 20, 342, chosen, ha="left")
    write(axes, 20, 262, "rejected", ha="left", weight="bold")
    write(axes, 20, 224, rejected, ha="left")
    minus = disc(axes, 760, (top + low) / 2, "−")
    for y in (top, low):
        w = block(axes, Box(400, y, 110, 110), W, frozen=True)
        lock(axes, w.x, y, size=44)
        arrow(axes, (225, (top + low) / 2), (290, (top + low) / 2), (290, y), w.left)
        start = w.right
        if y == top:
            block(axes, Box(520, y, 60, 14), A)
            start = block(axes, Box(574, y, 14, 80), B).right
            write(axes, 473, y, "+", weight="bold")
        arrow(axes, start, (minus.x, y), minus.top if y == top else minus.bottom)
    write(axes, 470, 480, "adapter on: the policy", weight="bold")
    write(axes, 470, 112, "adapter off: the reference", weight="bold")
    write(axes, 676, top + 24, "margin")
    write(axes, 676, low - 24, "margin")
    arrow(axes, minus.right, (866, minus.y), shape="× β")
    write(axes, 930, minus.y + 18, "− log σ")
    write(axes, 930, minus.y - 20, "= loss", weight="bold")
    write(axes, 500, 58, "margin = log p(chosen) − log p(rejected)")
    write(axes, 500, 22, "Only A and B train. The reference costs no second model.")
    return axes.figure


def mixtures(lines: Mapping[str, Mapping[float, tuple[float, float, float]]]) -> Axes:
    """Draw lines[task][w] = (mean, low, high) in %, exact answers of the mixture (1 - w) cron + w orders."""
    what = {"xlabel": "weight w in (1 - w) cron + w orders", "ylabel": "exact answers (%)"}
    return error_lines(lines, **what, log=False)


def slopes(groups: Mapping[str, Sequence[tuple[float, float]]], *, xlabel: str, ylabel: str) -> Axes:
    """Draw groups[name] = [(before, after), ...] as two marks and a line each, side by side; names take two lines."""
    _, axes = plt.subplots(figsize=(10.5, 5), layout="constrained")
    ticks = []
    for index, (name, pairs) in enumerate(groups.items()):
        values = np.array(pairs, dtype=float).T  # (2, pairs)
        apart = np.linspace(-0.08, 0.08, len(pairs))
        x = np.array([index - 0.22 + apart, index + 0.22 + apart])
        axes.plot(x, values, color=GREY, lw=1)
        axes.plot(x[0], values[0], "o", color=BLUE, ms=8, mec="white", label=f"{name}, before")
        axes.plot(x[1], values[1], "D", color=RED, ms=8, mec="white", label=f"{name}, after")
        words = name.split()
        half = (len(words) + 1) // 2
        ticks.append(f"{' '.join(words[:half])}\n{' '.join(words[half:])}")
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(handles[:2], ["before", "after"], frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xticks=range(len(ticks)), xticklabels=ticks, xlabel=xlabel, ylabel=ylabel)
    return axes


def learned_and_forgotten(groups: Mapping[str, Sequence[tuple[float, float, float]]], level: float) -> Axes:
    """Draw groups[name] = [(score in %, loss on English in nats, rate over the best rate), ...], a marker a run.

    The rate is the colour. A dashed line at the loss `level` is the untouched model.
    """
    figure, axes = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
    told = []
    for marker, (name, runs) in zip("Dos", groups.items(), strict=False):
        score, english, rate = np.array(runs).T
        style = {"cmap": "cividis", "norm": LogNorm(0.25, 4), "edgecolor": "black", "linewidth": 0.8}
        dots = axes.scatter(score, english, c=rate, marker=marker, s=75, label=name, **style)
        medians = (f"{np.median(english[rate == times]):.1f} at {times:g}" for times in sorted(set(rate)))
        told.append(f"{name}: {', '.join(medians)}")
    axes.axhline(level, color="black", linestyle="--", linewidth=1.5)
    axes.annotate("untouched", (0.01, level), (0, -16), xycoords=("axes fraction", "data"), textcoords="offset points")
    bar = figure.colorbar(dots, ticks=[0.25, 0.5, 1, 2, 4], label="learning rate / the method's best")
    bar.ax.set_yticklabels(["1/4", "1/2", "1", "2", "4"])
    bar.ax.minorticks_off()
    axes.set(xlabel="Test-A, exact (%)", ylabel="loss on English (nats per token)", xlim=(28, 102), ylim=(3, 6.5))
    for handle in axes.legend(frameon=False, loc="upper left").legend_handles:
        handle.set_facecolor("white")
    figure.words = (
        "Loss on English in nats per token against Test-A, a mark a training, its colour the rate over the method's "
        f"best. Medians for each rate. {'. '.join(told)}. A dashed line at {level:g}: untouched. Marks above 6.5 lie "
        "outside."
    )
    return axes


def rises(groups: Mapping[str, Mapping[str, tuple[float, float, float]]], *, xlabel: str) -> Axes:
    """Draw groups[adapter][kind] = (mean, low, high) as dots with their intervals, one line a kind of text."""
    figure, axes = plt.subplots(figsize=(9.5, 4.4), layout="constrained")
    told = (
        f"{name}: "
        + ", ".join(f"{kind} {mean:+.1f} ({low:.1f} to {high:.1f})" for kind, (mean, low, high) in found.items())
        for name, found in groups.items()
    )
    figure.words = (
        f"{xlabel}, means with 95 % intervals. " + ". ".join(told) + ". A dashed line at 0: the untouched base."
    )
    kinds = list(next(iter(groups.values())))
    for index, (name, found) in enumerate(groups.items()):
        mean, low, high = np.array([found[kind] for kind in kinds]).T
        y = np.arange(len(kinds)) + 0.2 * (index - (len(groups) - 1) / 2)
        style = {"color": (BLUE, ORANGE, RED)[index % 3], "marker": "osD"[index % 3], "ms": 8, "capsize": 4}
        axes.errorbar(mean, y, xerr=[mean - low, high - mean], ls="none", lw=2, label=name, **style)
    axes.axvline(0, color="black", linestyle="--", linewidth=1.5)
    axes.set(yticks=range(len(kinds)), yticklabels=kinds, ylim=(len(kinds) - 0.5, -0.5), xlabel=xlabel)
    axes.set_ylabel("kind of text")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def rewarded(panels: Mapping[str, Mapping[str, Sequence[float]]], steps: int = 6) -> Figure:
    """Draw panels[what][run] = one value a training step, side by side, as means of so many steps each."""
    figure, grid = plt.subplots(1, len(panels), figsize=(5.4 * len(panels), 4.4), layout="constrained")
    told = []
    for axes, (what, lines) in zip(grid, panels.items(), strict=True):
        axes.set_prop_cycle(color=[BLUE, ORANGE, RED, GREY], marker=list("osD^"), linestyle=["-", "--", "-.", ":"])
        for name, values in lines.items():
            means = np.reshape(values, (-1, steps)).mean(axis=1)
            axes.plot(steps * (np.arange(len(means)) + 0.5), means, linewidth=2.5, markersize=7, label=name)
            told.append(f"{what}, {name}: from {means[0]:.2f} to {means[-1]:.2f}")
        axes.set(xlabel="step", ylabel=what, ylim=(0, None))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.words = f"Lines over the steps of a training, means of {steps} steps. " + ". ".join(told) + "."
    return figure
