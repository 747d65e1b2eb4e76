"""The figures that notebook 10 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lorautils.plots import BLUE, GREY, ORANGE, SKY

LOOKS = {  # what the course says of a difference: its marker and colour, filled or not
    "seen": ("s", BLUE, "full"),
    "hint": ("D", ORANGE, "full"),
    "not seen": ("o", GREY, "none"),
}


def forest(found: Mapping[str, tuple], *, xlabel: str) -> Figure:
    """Draw differences with their intervals, found[name] as `experiments.records.compare` gives it: a row each."""
    figure, axes = plt.subplots(figsize=(9, 1.4 + 0.36 * len(found)), layout="constrained")
    for row, one in enumerate(found.values()):
        marker, colour, fill = LOOKS[one.word]
        axes.plot([one.low, one.high], [row, row], color=colour, linewidth=2)
        axes.plot(one.mean, row, marker, color=colour, fillstyle=fill, markersize=9, markerfacecoloralt="white")
    for word, (marker, colour, fill) in LOOKS.items():
        axes.plot([], [], marker, color=colour, fillstyle=fill, markersize=9, label=word)
    axes.axvline(0, color="black", linewidth=1.2)
    axes.set(yticks=range(len(found)), yticklabels=list(found), ylim=(len(found) - 0.5, -0.5), xlabel=xlabel)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    rows = "; ".join(
        f"{name} {one.mean:.1f}, from {one.low:.1f} to {one.high:.1f}, {one.word}" for name, one in found.items()
    )
    figure.words = f"{xlabel}, a row for each method with its interval. {rows}."
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
