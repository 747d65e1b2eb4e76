"""The figures that notebook 10 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lorautils.figures.drawing import A, B, Box, W, arrow, block, canvas, disc, lock, tokens, write
from lorautils.plots import BLUE, GREY, ORANGE, SKY

LOOKS = {  # what the course says of a difference: its marker and colour, filled or not
    "seen": ("s", BLUE, "full"),
    "hint": ("D", ORANGE, "full"),
    "not seen": ("o", GREY, "none"),
}


def places() -> Figure:
    """Draw the four places where a method can put the numbers that it trains, along one frozen weight."""
    axes = canvas(
        "Four places for trained numbers, from left to right along one frozen weight W. 1, the input: two solid "
        "columns, virtual tokens, stand before four tokens of the text: prompt tuning. 2, the weight: beside W, a "
        "hatched box with a lock, go A, B and a plus: LoRA and most others. 3, a factor: one number for each feature "
        "of the output: IA3, LN tuning. 4, behind the layer: a narrow network of D, relu and U, with a shortcut "
        "around it: the bottleneck adapter.",
        height=520,
    )
    middle, low = 330, 184
    for x in (36, 70):
        block(axes, Box(x, middle, 22, 130), A)
    text = tokens(axes, Box(154, middle, 120, 130), count=4)
    w, plus = block(axes, Box(400, middle, 130, 130), W, frozen=True), disc(axes, 536, middle, "+", radius=26)
    a, b = block(axes, Box(370, low, 110, 16), A), block(axes, Box(470, low, 16, 90), B)
    factor = block(axes, Box(640, middle, 16, 130), A)
    end = disc(axes, 916, middle, "+", radius=26)
    down, up = block(axes, Box(770, low, 16, 90), A), block(axes, Box(862, low, 16, 90), B)
    arrow(axes, text.right, w.left)
    arrow(axes, w.right, plus.left)
    arrow(axes, (272, middle), (272, low), a.left)
    arrow(axes, a.right, b.left)
    arrow(axes, b.right, (plus.x, low), plus.bottom)
    arrow(axes, plus.right, factor.left)
    arrow(axes, factor.right, end.left)
    arrow(axes, (716, middle), (716, low), down.left)
    arrow(axes, down.right, up.left, shape="relu")
    arrow(axes, up.right, (end.x, low), end.bottom)
    arrow(axes, end.right, (990, middle))
    lock(axes, *w[:2], size=52)
    write(axes, 620, middle + 84, "×", size=42, weight="bold")
    write(axes, 424, low - 36, "A, B", ha="right")
    for x, where, who in (
        (116, "1 input", "prompt tuning"),
        (400, "2 weight", "LoRA, most others"),
        (640, "3 factor", "IA3, LN"),
        (846, "4 behind", "bottleneck"),
    ):
        write(axes, x, 474, where, size=34, weight="bold")
        write(axes, x, 92, who)
    write(axes, 500, 30, "Hatched with a lock: frozen. Solid: trained.")
    return axes.figure


def forest(panels: Mapping[str, Mapping[str, tuple]]) -> Figure:
    """Draw differences with their intervals: panels[xlabel][name] as `experiments.records.compare` gives it.

    A name is a row, and panels stand side by side.
    """
    names = list(next(iter(panels.values())))
    size = (8.5, 1.6 + 0.36 * len(names))
    figure, grid = plt.subplots(1, len(panels), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for axes, (xlabel, found) in zip(grid.flat, panels.items(), strict=True):
        for row, one in enumerate(found.values()):
            marker, colour, fill = LOOKS[one.word]
            axes.plot([one.low, one.high], [row, row], color=colour, linewidth=2)
            axes.plot(one.mean, row, marker, color=colour, fillstyle=fill, markersize=9, markerfacecoloralt="white")
        axes.axvline(0, color="black", linewidth=1.2)
        axes.set(xlabel=xlabel)
        axes.locator_params(axis="x", nbins=10 / len(panels))
        axes.grid(axis="y", alpha=0.3)
    for word, (marker, colour, fill) in LOOKS.items():
        grid[0, 0].plot([], [], marker, color=colour, fillstyle=fill, markersize=9, label=word)
    grid[0, 0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    figure.legend(frameon=False, loc="outside upper center", ncols=len(LOOKS))
    told = []
    for xlabel, found in panels.items():
        rows = (f"{n} {one.mean:.1f}, from {one.low:.1f} to {one.high:.1f}, {one.word}" for n, one in found.items())
        told.append(f"{xlabel}: {'; '.join(rows)}")
    figure.words = f"A row for each method with its interval. {'. '.join(told)}."
    return figure


def costs(panels: Mapping[str, Mapping[str, float]], *, logarithmic: str) -> Figure:
    """Draw panels[what][name] side by side, a row a name, with a dashed line at LoRA's; one axis is logarithmic."""
    names = list(next(iter(panels.values())))
    size = (8.5, 1.2 + 0.36 * len(names))
    figure, grid = plt.subplots(1, len(panels), figsize=size, layout="constrained", sharey=True)
    for axes, (what, values) in zip(grid, panels.items(), strict=True):
        axes.plot([values[name] for name in names], range(len(names)), "o", color=BLUE, markersize=8)
        axes.axvline(values["LoRA"], color="black", linestyle="--", linewidth=1.2)
        axes.set(xlabel=what, xscale="log" if what == logarithmic else "linear")
        axes.grid(axis="y", alpha=0.3)
    grid[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    rows = "; ".join(f"{name} " + ", ".join(f"{values[name]:,.4g}" for values in panels.values()) for name in names)
    figure.words = f"A row for each method, with {', '.join(panels)}. {rows}. A dashed line stands at LoRA's values."
    return figure


def ranking(scores: Mapping[str, tuple[float, float]], named: Mapping[str, str]) -> Figure:
    """Draw scores[name] = (per cent, its standard error) from the best to the last, and write the names in `named`.

    `named` maps a name to how it is written. A bar is two standard errors long on each side.
    """
    ordered = sorted(scores, key=lambda name: -scores[name][0])
    figure, axes = plt.subplots(figsize=(11, 5.4), layout="constrained")
    for place, name in enumerate(ordered, start=1):
        score, error = scores[name]
        colour = BLUE if name in named else GREY
        axes.errorbar(place, score, 2 * error, fmt="o" if name in named else ".", color=colour, capsize=0)
        if name in named:
            axes.annotate(
                named[name], (place, score + 2 * error), (0, 4), textcoords="offset points", rotation=60, fontsize=12
            )
    axes.set(xlabel="place in the table", ylabel="right answers (%)", ylim=(-2, 72), xlim=(0, len(ordered) + 3))
    told = ", ".join(f"{text} {scores[name][0]:.1f} at place {ordered.index(name) + 1}" for name, text in named.items())
    figure.words = (
        f"Right answers of {len(ordered)} entries in per cent, from {scores[ordered[0]][0]:.1f} down to "
        f"{scores[ordered[-1]][0]:.1f}, each with two standard errors. Named are {told}."
    )
    return figure


def luck(highest: Sequence[float], best: float) -> Figure:
    """Draw how high the best of many equal entries stands, in many tables (%), beside a real `best`."""
    highest = np.asarray(highest)
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    axes.hist(highest, bins=np.arange(44, 60, 0.25), color=SKY, edgecolor="white")
    axes.axvline(best, color="black", linestyle="--")
    share = (highest >= best).mean()
    axes.set(xlim=(45, 59), yticks=[], xlabel="score of the luckiest (%)", ylabel="tables")
    axes.set_title(f"as high as {best:.1f} % by luck: {share:.1%} of the tables", fontsize=14)
    figure.words = (
        f"A histogram of the luckiest score in {len(highest):,} tables of equals: mean {highest.mean():.1f} %. "
        f"{share:.1%} of them reach the dashed line at {best:.1f} %."
    )
    return figure
