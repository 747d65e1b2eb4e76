"""The figures that notebook 09 draws, and no other."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lorautils.figures.drawing import INK, STREAM, A, B, Box, W, arrow, block, canvas, disc, lock, tokens, write
from lorautils.plots import BLUE, GREY, ORANGE
from lorautils.results import over_seeds

LOOKS = {  # what the course says of a difference: its marker and colour, filled or not
    "seen": ("s", BLUE, "full"),
    "hint": ("D", ORANGE, "full"),
    "not seen": ("o", GREY, "none"),
}
Scores = Mapping[object, Sequence[float]]  # one value a seed


def knob(axes: Axes, x: float, y: float, label: str, *, angle: float, below: bool = False) -> None:
    """Draw a knob: a dial with a pointer, and its name beside it or below."""
    axes.add_patch(Circle((x, y), 21, facecolor="white", edgecolor=INK, linewidth=3.5, zorder=4))
    tip = x + 21 * math.cos(math.radians(angle)), y + 21 * math.sin(math.radians(angle))
    axes.plot([x, tip[0]], [y, tip[1]], color=INK, linewidth=4, zorder=5)
    place = {"x": x, "y": y - 42} if below else {"x": x + 32, "y": y, "ha": "left"}
    write(axes, text=label, weight="bold", **place)


def knobs() -> Figure:
    """Draw where each knob of a LoRA training sits."""
    axes = canvas(
        "Where each knob sits, as dials. Above, one layer: x goes to the frozen W, and past dropout to A, to B and "
        "times s, then a plus and y. Dials: dropout before A; r, how thick A and B are; alpha, in s = alpha / r; the "
        "rate, beside a dashed arrow from y back to A and B: how long a step is. Below, on the left: targets, which "
        "of seven boxes q k v o gate up down get an A and a B, and layers, in which of thirty. On the right: examples "
        "times epochs, divided by the batch, is the number of steps.",
        height=600,
    )
    top, low = 490, 330
    x, y = (tokens(axes, Box(place, top, 40, 110), cells=8, count=5, seed=s) for s, place in enumerate((60, 940)))
    w, plus, s = (
        block(axes, Box(420, top, 110, 110), W, frozen=True),
        disc(axes, 820, top, "+"),
        disc(axes, 720, low, "×s"),
    )
    a, b = block(axes, Box(420, low, 120, 18), A), block(axes, Box(580, low, 18, 110), B)
    lock(axes, w.x, w.y, size=50)
    arrow(axes, x.right, w.left)
    arrow(axes, w.right, plus.left)
    arrow(axes, plus.right, y.left)
    arrow(axes, (x.x, x.bottom[1]), (x.x, low), a.left)
    arrow(axes, a.right, b.left)
    arrow(axes, b.right, s.left)
    arrow(axes, s.right, (plus.x, low), plus.bottom)
    arrow(axes, (y.x, y.bottom[1]), (y.x, 252), (b.x, 252), b.bottom, back=True)
    arrow(axes, (b.x, 252), (a.x, 252), a.bottom, back=True)
    write(axes, 20, top, "x", size=36, weight="bold")
    write(axes, 982, top, "y", size=36, weight="bold")
    write(axes, w.x, w.top[1] + 24, "W, frozen")
    write(axes, a.x, low + 30, "A", color=A, weight="bold")
    write(axes, b.x + 26, low + 40, "B", color=B, weight="bold")
    knob(axes, 180, low, "dropout", below=True, angle=120)
    knob(axes, 500, 402, "r", angle=70)
    knob(axes, 690, 402, "alpha", angle=20)
    knob(axes, 800, 252, "rate", below=True, angle=-10)
    knob(axes, 42, 168, "targets", angle=100)
    knob(axes, 280, 168, "layers", angle=30)
    names = {"q": True, "k": False, "v": True, "o": False, "gate": True, "up": True, "down": True}
    for index, (name, trained) in enumerate(names.items()):
        box = block(axes, Box(56 + 76 * index, 104, 72, 48), STREAM if trained else W, frozen=not trained)
        write(axes, *box[:2], name, size=25.5, color="white" if trained else INK)
    write(axes, 22, 54, "which matrices, in which layers", ha="left")
    knob(axes, 590, 168, "examples", angle=60)
    knob(axes, 812, 168, "epochs", angle=10)
    knob(axes, 590, 108, "batch", angle=150)
    write(axes, 984, 54, "steps = examples × epochs / batch", size=25.5, ha="right")
    write(axes, 500, 20, "The dials are yours to turn. The rest is learned, or frozen.", size=25.5)
    return axes.figure


def _short(x: float) -> str:
    """Return 0.00025 as 2.5e-4, and a rank as it is."""
    return f"{x:g}" if x >= 1 else f"{x:.1e}".replace(".0e", "e").replace("e-0", "e-")


def panels(
    cells: Mapping[str, Scores],
    *,
    xlabel: str,
    ylabel: str,
    columns: int = 3,
    limits: tuple[float, float] = (-4, 104),
    mark: bool = True,
) -> Figure:
    """Draw small multiples of cells[title][x] = values: a dot a seed, and their mean with its interval.

    The x axis is logarithmic, and `limits` are those of y. A ring marks the highest mean of a panel, if `mark`.
    """
    rows = -(-len(cells) // columns)
    size = (3.6 * columns, 0.6 + 2.5 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    told = []
    for axes, (title, values) in zip(grid.flat, cells.items(), strict=False):
        found = {x: over_seeds(values[x]) for x in sorted(values)}
        ticks = list(found)
        for x in ticks:
            axes.plot([x] * len(values[x]), values[x], ".", color=GREY, markersize=7, alpha=0.7)
        mean = np.array([one.mean for one in found.values()])
        half = np.nan_to_num([one.high - one.mean for one in found.values()])
        axes.errorbar(ticks, mean, half, fmt="o-", color=BLUE, capsize=3, lw=2, ms=6)
        best = int(mean.argmax())
        if mark:
            axes.plot(ticks[best], mean[best], "o", mfc="none", mec="black", ms=16, mew=1.8)
        axes.set(xscale="log", ylim=limits)
        axes.set_title(title, fontsize=13)
        axes.set_xticks(ticks, list(map(_short, ticks)), rotation=60 if max(ticks) < 1 else 0)
        axes.tick_params(axis="x", labelsize=11)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        means = ", ".join(f"{x:g} {one.mean:.3g}" for x, one in found.items())
        told.append(f"{title}: {means}" + (f"; the best {ticks[best]:g}" if mark else ""))
    for axes in list(grid.flat)[len(cells) :]:
        axes.set_axis_off()
    figure.supxlabel(xlabel, fontsize=13)
    figure.supylabel(ylabel, fontsize=13)
    figure.words = f"{len(cells)} panels, {ylabel} against {xlabel}, a dot a seed and their means. {'. '.join(told)}."
    return figure


def forest(found: Mapping[str, tuple], values: Scores | None = None, *, xlabel: str) -> Figure:
    """Draw differences, found[name] as `experiments.records.compare` gives it: a row each, with its interval.

    The marker of the mean is its word; values[name] adds a dot a seed.
    """
    return forests({xlabel: found}, values)


def forests(columns: Mapping[str, Mapping[str, tuple]], values: Scores | None = None) -> Figure:
    """Draw forest plots with the same rows side by side: columns[xlabel][name], as `forest` takes them."""
    names = list(next(iter(columns.values())))
    size = (10.5 + 2 * (len(columns) - 1), 1.5 + 0.4 * len(names))
    figure, row = plt.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False, layout="constrained")
    told = []
    for axes, (xlabel, found) in zip(row[0], columns.items(), strict=True):
        for place, name in enumerate(names):
            one, dots = found[name], values[name] if values else ()
            marker, colour, fill = LOOKS[one.word]
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.5)
            axes.plot(one.mean, place, marker, color=colour, fillstyle=fill, ms=10, markerfacecoloralt="white")
            axes.plot(dots, np.full(len(dots), place + 0.27), ".", color=GREY, ms=6)
        axes.axvline(0, color="black", linewidth=1.2)
        axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.8), xlabel=xlabel)
        axes.grid(axis="y", alpha=0.3)
        rows = "; ".join(
            f"{name} {one.mean:.3g}, from {one.low:.3g} to {one.high:.3g}, {one.word}" for name, one in found.items()
        )
        told.append(f"{xlabel}: {rows}")
    for word, (marker, colour, fill) in LOOKS.items():
        axes.plot([], [], marker, color=colour, fillstyle=fill, markersize=10, label=word)
    if values:
        axes.plot([], [], ".", color=GREY, markersize=6, label="one seed")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.words = f"A row for each comparison with its interval, and the upright line is zero. {'. '.join(told)}."
    return figure


def heat(
    values: Sequence[Sequence[float]], rows: Sequence, columns: Sequence, *, ylabel: str, xlabel: str, title: str = ""
) -> Figure:
    """Draw a table of per cents (rows, columns) as a heat map with its numbers."""
    values = np.asarray(values, dtype=float)
    size = (2.0 + 0.95 * len(columns), 1.5 + 0.5 * len(rows))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    low, high = np.floor(values.min()), np.ceil(values.max())
    axes.imshow(values, cmap="cividis", vmin=low, vmax=max(high, low + 1), aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        dark = value < (low + high) / 2
        axes.text(j, i, f"{value:.0f}", ha="center", va="center", color="white" if dark else "black", fontsize=14)
    axes.set(xticks=range(len(columns)), xticklabels=columns, yticks=range(len(rows)), yticklabels=rows)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    lines = "; ".join(f"{row}: {', '.join(f'{v:.0f}' for v in line)}" for row, line in zip(rows, values, strict=True))
    what = ", ".join(map(str, columns))
    figure.words = f"{title or 'Per cent'}, a row each {ylabel}, a column each {xlabel} ({what}). {lines}."
    return figure


def best_rates(
    found: Mapping[str, Mapping[int, tuple[float, float, float]]], guesses: Mapping[str, Mapping[int, float]]
) -> Figure:
    """Draw found[rule][r] = (best rate, lowest, highest not told apart), a panel a rule, with a line of guesses."""
    figure, row = plt.subplots(1, len(found), figsize=(10.5, 3.9), sharey=True, layout="constrained")
    told = []
    for axes, (rule, cells) in zip(row, found.items(), strict=True):
        ranks = list(cells)
        axes.plot(ranks, [guesses[rule][r] for r in ranks], "--", color=ORANGE, lw=2, label="guess")
        for r, (best, low, high) in cells.items():
            axes.plot([r, r], [low, high], color=BLUE, lw=7, alpha=0.4, solid_capstyle="butt")
            axes.plot(r, best, "o", color=BLUE, ms=9)
        axes.set(xscale="log", yscale="log")
        axes.set_title(rule, fontsize=13)
        axes.set_xticks(ranks, list(map(str, ranks)))
        axes.grid(alpha=0.3)
        axes.minorticks_off()
        rates = "; ".join(f"r = {r} best {b:g}, alike {lo:g} to {hi:g}" for r, (b, lo, hi) in cells.items())
        told.append(f"{rule}: {rates}")
    ticks = sorted({rate for cells in found.values() for three in cells.values() for rate in three})
    row[0].set_yticks(ticks, [f"{x:g}" for x in ticks])
    row[0].set_ylabel("learning rate")
    row[1].set_xlabel("rank r")
    row[0].legend(frameon=False, loc="lower left")
    figure.words = f"The best learning rate against the rank, a panel a rule for alpha. {'. '.join(told)}."
    return figure


def curves(cells: Mapping[str, Mapping[str, Mapping[float, tuple[float, float, float]]]], *, xlabel: str) -> Figure:
    """Draw cells[panel][line][x] = (mean, low, high): small multiples with at most four lines each, x logarithmic."""
    figure, row = plt.subplots(1, len(cells), figsize=(10.5, 3.8), sharey=True, layout="constrained")
    looks = (("o", BLUE, "-"), ("s", ORANGE, "--"), ("^", GREY, ":"), ("D", "black", "-."))
    told = []
    for axes, (title, lines) in zip(row, cells.items(), strict=True):
        for (name, points), (marker, colour, dash) in zip(lines.items(), looks, strict=False):
            x = list(points)
            mean, low, high = np.array([points[at] for at in x]).T
            half = [np.nan_to_num(mean - low), np.nan_to_num(high - mean)]
            axes.errorbar(x, mean, half, fmt=marker, ls=dash, color=colour, capsize=3, lw=2, ms=7, label=name)
            told.append(f"{title}, {name}: " + ", ".join(f"{at:g} {m:.0f}" for at, m in zip(x, mean, strict=True)))
        ticks = sorted({x for points in lines.values() for x in points})
        axes.set(xscale="log", ylim=(-4, 104))
        axes.set_title(title, fontsize=13)
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks], rotation=60 if len(ticks) > 6 else 0)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    row[0].set_ylabel("exact (%)")
    row[len(row) // 2].set_xlabel(xlabel)
    handles = {name: line for axes in row for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    row[-1].legend(handles.values(), handles, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.words = f"Exact answers in per cent against {xlabel}. {'. '.join(told)}."
    return figure
