"""The figures that notebook 08 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lorautils.data import IGNORED
from lorautils.figures.drawing import NAME, STREAM, TEXT, A, B, Box, W, arrow, block, canvas, disc, lock, matrix, write
from lorautils.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY
from lorautils.results import wilson_interval

Scores = Mapping[str, Mapping[str, int]]  # counts by test, as cron.score gives them


def _station(axes: Axes, box: Box, text: str, colour: str) -> Box:
    """Draw an empty box with a name in it; what is frozen has a lock beside the name."""
    style = {"facecolor": "white", "edgecolor": colour, "linewidth": 4}
    axes.add_patch(Rectangle((box.left[0], box.bottom[1]), box.width, box.height, **style))
    write(axes, box.x - (20 if colour == W else 0), box.y, text, weight="bold")
    if colour == W:
        lock(axes, box.x + 52, box.y, size=32)
    return box


def flow() -> Figure:
    """Draw the run, from the data to the merged model, with what is written on the way."""
    axes = canvas(
        "The run, in three rows. First row: examples become rows of tokens with labels; with the frozen base, which "
        "has a lock, they train A and B. Second row: the trained model is tested, on schedules and on English, and "
        "A and B are saved, in two files. Third row: the files and a fresh base give the model again, reloaded; "
        "merged, it is one plain model, which loads without PEFT.",
        height=540,
    )
    top, middle, low = 440, 262, 84
    examples = _station(axes, Box(112, top, 176, 84), "examples", STREAM)
    rows = _station(axes, Box(376, top, 236, 84), "rows, labels", STREAM)
    base = _station(axes, Box(640, top, 176, 84), "base", W)
    factors = _station(axes, Box(884, top, 176, 84), "A and B", A)
    tests = _station(axes, Box(376, middle, 236, 84), "tests", STREAM)
    files = _station(axes, Box(884, middle, 176, 84), "two files", A)
    again = _station(axes, Box(500, low, 200, 84), "reloaded", A)
    merged = _station(axes, Box(130, low, 200, 84), "merged", B)
    for one, other in ((examples, rows), (rows, base), (base, factors)):
        arrow(axes, one.right, other.left)
    arrow(axes, (factors.x - 60, factors.bottom[1]), (factors.x - 60, 352), (tests.x, 352), tests.top)
    arrow(axes, factors.bottom, files.top)
    arrow(axes, files.bottom, (files.x, low), again.right)
    arrow(axes, again.left, merged.right)
    for x, y, text in (
        (758, 512, "train"),
        (600, 376, "ask"),
        (files.x + 14, 345, "save"),
        (742, low + 24, "load, fresh base"),
        (315, low + 24, "merge"),
    ):
        write(axes, x, y, text, ha="left" if text == "save" else "center")
    return axes.figure


def test_map(cases: Mapping[str, int]) -> Figure:
    """Draw what each test asks for that training has not shown: a row a test, with its number of cases."""
    new = {"A": ("new", "seen", "seen"), "B": ("seen", "new", "seen"), "C": ("seen", "seen", "new")}
    new["D"] = new["C"]
    told = "; ".join(
        f"Test-{name}, {cases[name]} cases: time {new[name][0]}, combination {new[name][1]}, words {new[name][2]}"
        for name in cases
    )
    axes = canvas(
        f"A table of boxes, a row for each test, grey and hatched for seen in training, solid for new. {told}.",
        height=110 + 92 * len(cases),
    )
    columns, top = (390, 610, 830), 60 + 92 * len(cases)
    for x, text in zip(columns, ("time of day", "combination", "words"), strict=True):
        write(axes, x, top + 12, text, weight="bold")
    for row, (name, n) in enumerate(cases.items()):
        y = top - 66 - 92 * row
        write(axes, 24, y, f"Test-{name}, {n} cases", ha="left", weight="bold")
        for x, state in zip(columns, new[name], strict=True):
            block(axes, Box(x - 46, y, 92, 60), W if state == "seen" else A, frozen=state == "seen")
            write(axes, x + 14, y, state, ha="left")
    return axes.figure


def label_strip(tokens: Sequence[str], labels: Sequence[int], *, columns: int = 6) -> Figure:
    """Draw a row of tokens, broken into lines: solid and with a dot above where the label carries loss."""
    lines = -(-len(tokens) // columns)
    counted = [token for token, label in zip(tokens, labels, strict=True) if label != IGNORED]
    axes = canvas(
        f"One training example as {len(tokens)} boxes, a token each. {len(tokens) - len(counted)} are pale and "
        f"hatched: the prompt, without loss. The last {len(counted)} are solid, with loss: {' '.join(counted)}.",
        height=112 + 96 * lines,
    )
    width = 960 / columns
    for place, (token, label) in enumerate(zip(tokens, labels, strict=True)):
        row, column = divmod(place, columns)
        box = Box(20 + width * (column + 0.5), 96 * (lines - row) - 62, width - 6, 30)
        block(axes, box, W if label == IGNORED else A, frozen=label == IGNORED)
        shown = token.strip("<|>").replace(" ", "·").replace("\n", "\\n")
        shown = shown if len(shown) <= 9 else f"{shown[:8]}…"
        write(axes, box.x, box.y + 42, shown, size=TEXT, family="monospace")
    write(axes, 20, 112 + 96 * lines - 36, "hatched: label -100, no loss.  Solid: loss", ha="left")
    return axes.figure


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


def loss_curve(
    losses: Sequence[float], held_out: Sequence[tuple[int, float]] = (), *, window: int = 10, title: str = ""
) -> Axes:
    """Draw the loss of every step (nats per answer token), and its running mean where there are over `window` steps.

    `held_out` holds looks, (step, loss); a ring marks the lowest.
    """
    steps = np.arange(1, len(losses) + 1)
    _, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    if len(losses) > window:
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(steps, losses, color=SKY, linewidth=1, label="each step")
        axes.plot(steps[window - 1 :], smooth, color=BLUE, linewidth=3, label=f"mean of {window} steps")
    else:
        axes.plot(steps, losses, color=SKY, marker="o", label="each step")
    if held_out:
        at, values = zip(*held_out, strict=True)
        axes.plot(at, values, color=ORANGE, linewidth=2.5, linestyle="--", marker="s", label="held out")
        best = min(held_out, key=lambda look: look[1])
        axes.plot(*best, "o", markersize=18, fillstyle="none", color="black", label=f"lowest, step {best[0]}")
    axes.set(xlabel="optimiser step", ylabel="loss (nats per answer token)", yscale="log", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")  # 0.1, not 10^-1
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)
    return axes


def headline(
    live: Scores, recorded: Sequence[Scores], english: float, recorded_english: Sequence[float], base_english: float
) -> Figure:
    """Draw what this run reached over the range of the recorded runs: right answers on each test, and English.

    A dot is this run, its line a 95 % Wilson interval; a broad bar goes from the worst recorded seed to the best.
    """
    names = list(live)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.8), layout="constrained", width_ratios=(5, 2))
    for row, name in enumerate(names):
        seeds = [100 * run[name]["exact"] / run[name]["n"] for run in recorded]
        here, n = live[name]["exact"], live[name]["n"]
        low, high = (100 * end for end in wilson_interval(here, n))
        left.barh(row, max(seeds) - min(seeds), 0.62, min(seeds), color=SKY, alpha=0.45)
        spread = [[100 * here / n - low], [high - 100 * here / n]]
        left.errorbar(100 * here / n, row, xerr=spread, fmt="o", color="black", capsize=4)
    left.set(yticks=range(len(names)), yticklabels=[f"Test-{name}" for name in names], ylim=(len(names) - 0.5, -0.5))
    left.set(xlim=(-2, 102), xlabel="exact answers (%)\ndot: your run; bar: recorded seeds")
    low, high = min(recorded_english), max(recorded_english)
    right.bar(0, high - low, 0.6, low, color=SKY, alpha=0.45)
    right.plot(0, english, "o", color="black")
    right.axhline(base_english, color="black", linestyle="--", linewidth=1.5)
    right.annotate("untouched", (-0.75, base_english), (0, 3), textcoords="offset points")
    right.set(xticks=[], xlim=(-0.8, 0.8), ylim=(base_english - 0.2, max(high, english) + 0.3))
    right.set(ylabel="loss (nats a token)", title="English")
    rows = "; ".join(f"Test-{n}: {live[n]['exact']} of {live[n]['n']}" for n in names)
    figure.words = (
        f"This run over the range of the recorded seeds. {rows}. Loss on English: {english:.2f} nats a token, recorded "
        f"from {low:.2f} to {high:.2f}, of the untouched model {base_english:.2f}."
    )
    return figure


def learned_and_lost(groups: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Draw each recorded run of some kinds: its loss on English (nats per token) against its right answers on Test-C.

    A kind that lost nothing, such as the untouched model, is a dashed line.
    """
    figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
    axes.set_prop_cycle(color=[BLUE, SKY, ORANGE, GREEN, PURPLE], marker=list("os^Dv"))
    for kind, runs in groups.items():
        lost = [run["english_loss"] for run in runs]
        learned = [100 * run["scores"]["C"]["exact"] / run["scores"]["C"]["n"] for run in runs]
        if max(learned) == 0:
            axes.axvline(lost[0], color="black", linestyle="--", linewidth=1.5, label=kind)
        else:
            axes.plot(lost, learned, linestyle="", markersize=10, alpha=0.85, label=kind)
    axes.set(xlabel="loss on English (nats per token): left is better", ylabel="Test-C, exact answers (%)")
    axes.margins(x=0.08, y=0.15)
    axes.legend(frameon=False, loc="best")
    return figure


def by_examples(shares: Mapping[str, Mapping[int, tuple[float, float, float]]]) -> Axes:
    """Draw shares[test][examples] = (mean, low, high), in per cent, against the number of training examples."""
    _, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    axes.set_prop_cycle(color=[BLUE, GREEN, ORANGE, PURPLE], marker=list("os^D"), linestyle=["-", "--", "-.", ":"])
    for test, points in shares.items():
        mean, low, high = np.array(list(points.values())).T
        axes.errorbar(list(points), mean, [mean - low, high - mean], capsize=4, lw=2, ms=7, label=f"Test-{test}")
    ticks = sorted({x for points in shares.values() for x in points})
    axes.set(xscale="log", xlabel="different training examples, each seen three times", ylabel="exact answers (%)")
    axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
    axes.minorticks_off()
    axes.set(ylim=(-3, 103))
    axes.legend(frameon=False, loc="upper left")
    return axes


def taught(before: Mapping[str, float], after: Mapping[str, float]) -> Axes:
    """Draw shares of right answers (%) before and after a lesson, a pair of bars for each group of phrases."""
    groups, width = list(before), 0.38
    _, axes = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
    for offset, (name, values, colour, hatch) in zip(
        (-0.5, 0.5), (("before", before, GREY, "//"), ("after", after, BLUE, "")), strict=True
    ):
        place = np.arange(len(groups)) + offset * width
        heights = [values[group] for group in groups]
        bars = axes.bar(place, heights, width, color=colour, hatch=hatch, edgecolor="white", label=name)
        axes.bar_label(bars, fmt="%.0f", padding=2)
    axes.set(xticks=np.arange(len(groups)), xticklabels=groups, ylim=(0, 112), ylabel="right answers (%)")
    axes.legend(frameon=False)
    return axes
