"""The figures that notebook 02 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

from lorautils.plots import BLUE, GREEN, GREY, HATCHES, ORANGE, PURPLE, RED, SKY


def ellipse(matrix: np.ndarray, degrees: float) -> Figure:
    """Draw the unit circle with two arrows at a right angle, turned by `degrees`, and what a (2, 2) matrix makes of it.

    The title over the image says at which angle the arrows arrive.
    """
    turn = np.linspace(0, 2 * np.pi, 200)
    start = np.radians(degrees) + np.array([0, np.pi / 2])
    circle, arrows = (np.stack([np.cos(angles), np.sin(angles)]) for angles in (turn, start))
    first, second = (matrix @ arrows).T
    angle = np.degrees(np.arccos(first @ second / np.linalg.norm(first) / np.linalg.norm(second)))
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    titles = f"arrows turned by {degrees}°", f"the images: {angle:.0f}° apart"
    for axes, shape, title, names in zip(panels, (np.eye(2), matrix), titles, ("ab", ("K a", "K b")), strict=True):
        reach = 1.35 * np.linalg.norm(shape, 2)
        axes.plot(*(shape @ circle), color=GREY, linewidth=2)
        for tip, colour, name in zip((shape @ arrows).T, (BLUE, ORANGE), names, strict=True):
            axes.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3})
            beyond = tip * (1 + 0.14 * reach / np.linalg.norm(tip))
            axes.annotate(name, beyond, color=colour, ha="center", va="center", weight="bold", size=14)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
        axes.axhline(0, color=GREY, linewidth=0.5)
        axes.axvline(0, color=GREY, linewidth=0.5)
    return figure


def error_histogram(values: Mapping[str, Sequence[float]], *, mark: float, mark_label: str, xlabel: str) -> Axes:
    """Draw one histogram for each name over a common axis, and a dashed line with its label at `mark`."""
    _, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    together = np.concatenate([np.asarray(group) for group in values.values()])
    bins = np.linspace(together.min(), together.max(), 60)
    for (name, group), colour, hatch in zip(values.items(), (SKY, ORANGE, GREEN), HATCHES, strict=False):
        axes.hist(group, bins, color=colour, alpha=0.75, hatch=hatch, edgecolor="white", label=name)
    axes.axvline(mark, color="black", linestyle="--", linewidth=2)
    axes.annotate(mark_label, (mark, 1), (6, -14), xycoords=("data", "axes fraction"), textcoords="offset points")
    axes.set(xlabel=xlabel, ylabel="how many")
    axes.legend(frameon=False, loc="upper center")
    return axes


def loss_by_rank(
    lines: Mapping[str, Mapping[int, float]],
    points: Mapping[str, Mapping[int, float]],
    *,
    levels: Mapping[str, float],
    break_even: float,
) -> Axes:
    """Draw losses against the rank, lines[name][k] and, as markers of the same colour, points[name][k].

    A dashed line stands at each loss of `levels`; right of the rank `break_even` two factors hold more than a matrix.
    """
    _, axes = plt.subplots(figsize=(9.5, 5.4), layout="constrained")
    handles = []  # a line and its marker in one
    for (name, losses), colour, marker in zip(lines.items(), (RED, PURPLE, BLUE, GREEN), "os^D", strict=False):
        style = {"color": colour, "linewidth": 2, "markersize": 9}
        axes.plot(list(losses), list(losses.values()), label=name, **style)
        axes.plot(list(points[name]), list(points[name].values()), marker, label=f"{name}, marks", **style)
        handles.append(Line2D([], [], marker=marker, label=name, **style))
    for label, level in levels.items():
        axes.axhline(level, color="black", linestyle="--", linewidth=1.5)
        axes.annotate(label, (1.01, level), xycoords=("axes fraction", "data"), va="center")
    axes.axvspan(break_even, axes.get_xlim()[1], color=GREY, alpha=0.15, linewidth=0)
    axes.annotate("factors hold\nmore than W", (break_even + 6, axes.get_ylim()[1]), va="top")
    axes.set(xlabel="rank k that is kept", ylabel="loss (nats per token)", yscale="log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def score_by_rank(scores: Mapping[str, Mapping[int, tuple[float, float, float]]], *, level: float, label: str) -> Axes:
    """Draw shares with their intervals against the rank, scores[name][k] = (share, low, high), each from 0 to 1.

    A dashed line with its label stands at the share `level`; the ranks are on a logarithmic axis.
    """
    _, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    colours, dashes = (RED, BLUE, SKY, GREEN), ("-", "-", "--", "-.")
    for (name, by_rank), colour, dash, marker in zip(scores.items(), colours, dashes, "os^D", strict=False):
        share, low, high = 100 * np.array(list(by_rank.values())).T
        error = [share - low, high - share]
        axes.errorbar(list(by_rank), share, error, None, dash + marker, color=colour, capsize=4, lw=2.5, label=name)
    axes.axhline(100 * level, color="black", linestyle="--", linewidth=1.5)
    axes.annotate(label, (1, 100 * level), (0, 4), textcoords="offset points")
    ranks = sorted({k for by_rank in scores.values() for k in by_rank})
    axes.set(xscale="log", xticks=ranks, xticklabels=ranks, ylim=(-3, 108))
    axes.set(xlabel="rank k", ylabel="exact answers on Test-A (%)")
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower right")
    return axes
