"""Figures from arrays; knows nothing of models.

All notebooks draw with it. Colours are those of Okabe and Ito, which readers with colour blindness can tell apart; two
are darker, so that all stand out from white (3:1, WCAG AA). Text in RED, GREEN or ORANGE is bold and large, or darker.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#C48300", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#4098CC", "#666666"
HATCHES = ["", "//", "..", "xx", "\\\\"]

plt.rcParams.update({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100})


def spectra(shares: Mapping[str, Sequence[float]], *, mark: int | None = None, title: str = "") -> Axes:
    """Draw spectra: shares[name][i] is the share of the energy in direction i + 1; both axes are logarithmic.

    The figure ends at shares of 1e-7: what lies below is rounding in float32. A dashed line stands at direction `mark`.
    """
    _, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    dashes = [":", "--", "-", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1))]
    axes.set_prop_cycle(color=[GREY, ORANGE, BLUE, GREEN, RED, PURPLE], linestyle=dashes)
    for name, values in shares.items():
        axes.plot(np.arange(1, len(values) + 1), values, linewidth=2.5, label=name)
    if mark is not None:
        axes.axvline(mark, color="black", linewidth=1, linestyle="--")
        axes.annotate(f"{mark}", (mark, 1), xytext=(4, -14), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="direction, the strongest first", ylabel="share of the energy")
    axes.set(ylim=(1e-7, 1.5), title=title)
    axes.xaxis.set_major_formatter("{x:.0f}")  # 100, not 10^2
    axes.legend(frameon=False, loc="lower left")
    return axes


def pictures(images: Mapping[str, np.ndarray], *, columns: int) -> Figure:
    """Draw grey-scale images (height, width) under their titles, in rows of `columns`.

    The first image of a row sets black and white for all of the row, so that they can be compared; its darkest and
    lightest hundredth are cut off.
    """
    rows = -(-len(images) // columns)
    height, width = next(iter(images.values())).shape
    size = (3.0 * columns, rows * (3.0 * height / width + 0.4))
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for index, (axes, (title, image)) in enumerate(zip(grid.flat, images.items(), strict=False)):
        if index % columns == 0:
            low, high = np.percentile(image, (1, 99))
        axes.imshow(image, cmap="gray", vmin=low, vmax=high)
        axes.set_title(title, fontsize=13)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str) -> Axes:
    """Draw curves lines[name] = (x, y), each in a colour and a dash of its own, with the axes through the origin."""
    _, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_prop_cycle(color=[BLUE, ORANGE, GREEN, RED], linestyle=["-", "--", ":", "-."])
    for name, (x, y) in lines.items():
        axes.plot(x, y, linewidth=3, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False)
    return axes


def grouped_bars(values: Mapping[str, Mapping[str, float]], *, ylabel: str) -> Axes:
    """Draw bars values[series][group] side by side, one colour and hatch a series."""
    groups = list(next(iter(values.values())))
    width = 0.8 / len(values)
    _, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    for index, (name, heights) in enumerate(values.items()):
        position = np.arange(len(groups)) + (index - (len(values) - 1) / 2) * width
        colour, hatch = (BLUE, ORANGE, SKY, GREY)[index % 4], HATCHES[index % len(HATCHES)]
        heights = [heights[group] for group in groups]
        axes.bar(position, heights, width * 0.92, color=colour, hatch=hatch, edgecolor="white", label=name)
    axes.set(xticks=np.arange(len(groups)), xticklabels=groups, ylabel=ylabel)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def error_lines(
    lines: Mapping[str, Mapping[float, tuple[float, float, float]]],
    *,
    xlabel: str,
    ylabel: str,
    log: bool = True,
) -> Axes:
    """Draw lines[name][x] = (mean, low, high), each line in a colour, dash and marker of its own.

    A point whose low and high are nan is drawn without an interval. The x axis is logarithmic unless `log` is False,
    with a tick at each x that occurs; on a logarithmic axis each line stands a little beside the next.
    """
    _, axes = plt.subplots(figsize=(9.5, 5), layout="constrained")
    colours = [BLUE, ORANGE, GREEN, RED, PURPLE, GREY] * 2
    axes.set_prop_cycle(color=colours, marker=list("os^Dv*") * 2, linestyle=["-", "--", "-.", ":"] * 3)
    for index, (name, points) in enumerate(lines.items()):
        mean, low, high = np.array(list(points.values())).T
        x = np.array(list(points)) * (1.025 ** (index - (len(lines) - 1) / 2) if log else 1.0)
        axes.errorbar(x, mean, [mean - low, high - mean], capsize=4, lw=2, ms=7, label=name)
    ticks = sorted({x for points in lines.values() for x in points})
    axes.set(xscale="log" if log else "linear", xlabel=xlabel, ylabel=ylabel)
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def stacked(bars: Mapping[str, Mapping[str, float]], *, marks: Mapping[str, float], xlabel: str) -> Figure:
    """Draw horizontal bars of parts, bars[name][part], and a dashed line with its label at each value of `marks`."""
    figure, axes = plt.subplots(figsize=(10.5, 1.9 + 0.62 * len(bars)), layout="constrained")
    parts = list(dict.fromkeys(part for bar in bars.values() for part in bar))
    colours = [BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY, "#9A8B00"]
    start = np.zeros(len(bars))
    for index, part in enumerate(parts):
        widths = np.array([bar.get(part, 0.0) for bar in bars.values()])
        style = {"color": colours[index % 8], "hatch": HATCHES[index % len(HATCHES)], "edgecolor": "white"}
        axes.barh(np.arange(len(bars)), widths, 0.62, start, label=part, **style)
        start += widths
    reach = 1.05 * max(*start, min(marks.values(), default=0))
    for label, value in marks.items():
        if value <= reach:
            axes.axvline(value, color="black", linestyle="--", linewidth=1.5)
            axes.annotate(label, (value, 1), (3, 3), xycoords=("data", "axes fraction"), textcoords="offset points")
    axes.set(yticks=np.arange(len(bars)), yticklabels=list(bars), ylim=(len(bars) - 0.5, -0.5), xlim=(0, reach))
    axes.set_xlabel(xlabel)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
