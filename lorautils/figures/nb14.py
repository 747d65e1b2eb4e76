"""The figures that notebook 14 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lorautils.data import IGNORED
from lorautils.figures.drawing import STREAM, TEXT, A, B, Box, W, block, canvas, write
from lorautils.plots import BLUE, GREY, ORANGE, SKY

LETTER, GAP, LINE = 0.615 * TEXT, 10, 84  # the width of a letter, between tokens, from line to line


def token_lines(tokens: Sequence[str], labels: Sequence[int]) -> Figure:
    """Draw a sequence token by token, a new line with each turn: a solid bar means loss, a hatched one none."""
    shown = [token.replace(" ", "·").replace("\n", "\\n") for token in tokens]
    places, x, line = [], 20.0, 0
    for before, text in zip(["", *shown], shown, strict=False):
        width = LETTER * len(text) + 4
        if x + width > 980 or (text == "<|im_start|>" and before):
            x, line = 20.0, line + 1
        places.append((x, line, width))
        x += width + GAP
    counted = [token for token, label in zip(shown, labels, strict=True) if label != IGNORED]
    height = 84 + LINE * (line + 1)
    axes = canvas(
        f"A chat as {len(tokens)} tokens, read from left to right, a new line with each turn. "
        f"{len(counted)} have a solid bar below them, which means loss: {' '.join(counted)}. The others have a hatched "
        "bar: the model reads them, and no loss is counted.",
        height=height,
    )
    write(axes, 20, height - 32, "solid: loss.  Hatched: no loss", ha="left", weight="bold")
    for text, label, (left, row, width) in zip(shown, labels, places, strict=True):
        y = height - 84 - LINE * row
        write(axes, left + width / 2, y, text, family="monospace")
        frozen = label == IGNORED
        block(axes, Box(left + width / 2, y - 30, width, 16), W if frozen else A, frozen=frozen)
    return axes.figure


def rows_filled(padded: Sequence[int], packed: Sequence[Sequence[int]], length: int) -> Figure:
    """Draw the rows of batches as bars: sequences one below the other, padded; and the same sequences, packed.

    `padded` are lengths of one batch, `packed` the lengths in each row of at most `length` tokens.
    """
    longest, kept = max(padded), sum(map(sum, packed))
    axes = canvas(
        f"Two ways to fill rows. Left, padded: {len(padded)} sequences one below the other, each a solid bar, and "
        f"hatched padding up to the longest, {longest} tokens; {1 - sum(padded) / longest / len(padded):.0%} of the "
        f"batch is padding. Right, packed: {len(packed)} rows of at most {length} tokens, with several sequences each, "
        f"in colours that change; {1 - kept / length / len(packed):.0%} is empty. Positions begin anew at each colour.",
        height=470,
    )
    write(axes, 240, 434, "padded", weight="bold")
    write(axes, 750, 434, "packed", weight="bold")
    step = 330 / len(padded)
    for row, count in enumerate(padded):
        y, unit = 396 - step * (row + 0.5), 420 / longest
        block(axes, Box(30 + count * unit / 2, y, count * unit, 0.7 * step), STREAM)
        if count < longest:
            block(axes, Box(30 + (longest + count) * unit / 2, y, (longest - count) * unit, 0.7 * step), W, frozen=True)
    step = 330 / len(packed)
    for row, counts in enumerate(packed):
        x, y, unit = 510.0, 396 - step * (row + 0.5), 460 / length
        for place, count in enumerate(counts):
            block(axes, Box(x + count * unit / 2, y, count * unit, 0.7 * step), (STREAM, B, A)[place % 3])
            x += count * unit
        if sum(counts) < length:
            block(axes, Box((x + 970) / 2, y, 970 - x, 0.7 * step), W, frozen=True)
    write(axes, 20, 30, "Hatched: padding.  Right: a new colour is a new sequence.", ha="left")
    return axes.figure


def gallery(healthy: Mapping, runs: Mapping[str, Mapping]) -> Figure:
    """Draw runs as small charts: loss of each step, and held out; behind each, in grey, the held-out loss of `healthy`.

    A run has "train", a loss (nats per token with loss) a step, and "held_out", pairs of step and loss.
    """
    figure, grid = plt.subplots(2, 4, figsize=(12, 6), sharex=True, sharey=True, layout="constrained")
    told = []
    for axes, (name, run) in zip(grid.flat, runs.items(), strict=False):
        axes.plot(*zip(*healthy["held_out"], strict=True), color=GREY, linewidth=5, alpha=0.5)
        axes.plot(range(1, len(run["train"]) + 1), run["train"], color=SKY, linewidth=2)
        axes.plot(*zip(*run["held_out"], strict=True), color=ORANGE, linestyle="--", marker="s", linewidth=2.5)
        axes.set(title=name, yscale="log", ylim=(0.0015, 70))
        axes.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
        axes.minorticks_off()
        first, last = run["held_out"][0][1], run["held_out"][-1][1]
        ends = f"training {run['train'][0]:.2g} to {run['train'][-1]:.2g}, held out {first:.2g} to {last:.2g}"
        told.append(f"{name}: {ends}")
    figure.supxlabel("optimiser step", fontsize=13)
    figure.supylabel("loss (nats per token with loss)", fontsize=13)
    figure.words = (
        "Eight small charts with the same axes, steps and loss on a logarithmic scale. Thin line: training. Dashed "
        "with squares: held out. Broad and grey: held out of the healthy run. " + "; ".join(told) + "."
    )
    return figure


def learning_curve(shares: Mapping[str, Mapping[int, tuple[float, float, float]]]) -> Axes:
    """Draw shares[test][rows] = (mean, low, high), right answers in per cent, against the rows trained on."""
    _, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for (test, points), colour, style in zip(shares.items(), (BLUE, ORANGE), ("o-", "s--"), strict=True):
        mean, low, high = np.array(list(points.values())).T
        axes.errorbar(
            list(points), mean, [mean - low, high - mean], fmt=style, color=colour, capsize=4, lw=2, label=test
        )
        axes.annotate(test, (max(points), mean[-1]), (10, -4), textcoords="offset points", color=colour)
    axes.set(xscale="log", xlim=(45, 1100), ylim=(-3, 105), xlabel="rows", ylabel="right answers (%)")
    axes.set_xticks(list(points), [str(rows) for rows in points])
    axes.minorticks_off()
    return axes


def own_rows(groups: Mapping[tuple[int, float], Sequence[float]]) -> Figure:
    """Draw groups[rows, share of them wrong], right commands in per cent of each seed, against the rows trained on."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    told = []
    for name, colour, mark, wrong in (("all rows right", BLUE, "o", False), ("5 % wrong", ORANGE, "s", True)):
        curve = {rows: group for (rows, share), group in sorted(groups.items()) if bool(share) == wrong}
        for rows, group in curve.items():
            places = rows * np.linspace(0.96, 1.04, len(group)) * (1.16 if wrong else 1)  # beside one another
            axes.plot(places, group, mark, color=colour, markersize=7, alpha=0.8, label=name if rows == 200 else None)
            told.append(f"{rows} rows, {name}: " + ", ".join(f"{share:.0f}" for share in sorted(group)))
        if not wrong:
            axes.plot(list(curve), [np.mean(group) for group in curve.values()], color=colour, linewidth=2)
    sizes = sorted({rows for rows, _ in groups})
    axes.set(xscale="log", xlim=(42, 1150), ylim=(0, 45), xlabel="rows, at 200 steps each", ylabel="right commands (%)")
    axes.set_xticks(sizes, [str(rows) for rows in sizes])
    axes.set_yticks(range(0, 41, 10))
    axes.minorticks_off()
    axes.legend(loc="lower right")
    figure.words = (
        "Right commands in per cent against the rows trained on, three seeds each; a line joins the means of those "
        "whose rows are all right, and squares beside them have 5 % wrong rows. " + "; ".join(told) + "."
    )
    return figure
