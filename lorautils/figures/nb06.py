"""The figures that notebook 06 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import INK, TEXT, A, B, Box, W, arrow, block, canvas, disc, lock, tokens, write
from lorautils.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, stacked


def gradients() -> Figure:
    """Draw the way of the gradients back through LoRA: G to W and to s, B, A; dB and dA on the way; dX at the end."""
    y_w, y_ab = 433, 220
    axes = canvas(
        "LoRA's forward pass, solid arrows from left to right, and its gradients, dashed arrows back. Forward: X "
        "(tokens, in) goes to the frozen W and on to a plus; X also goes to A, H = X A^T (tokens, r) to B, times s, to "
        "the plus; out comes Y (tokens, out). Back: G, the gradient of Y, (tokens, out), goes through W to X as G W "
        "(tokens, in), and through s and B to A as s G B (tokens, r), then through A to X as s G B A (tokens, in). "
        "Where the gradient meets an input, a weight gets its own: at B dB = s G^T H (out, r), at A dA = s B^T G^T X "
        "(r, in). W is frozen and gets none.",
        height=560,
    )
    x, y = (tokens(axes, Box(place, y_w, 48, 150), cells=12, seed=seed) for seed, place in enumerate((96, 940)))
    w = block(axes, Box(425, y_w, 150, 150), W, frozen=True)
    a, b = block(axes, Box(300, y_ab, 150, 44), A), block(axes, Box(580, y_ab, 44, 150), B)
    plus, s = disc(axes, 770, y_w, "+"), disc(axes, 770, y_ab, "×s")
    lock(axes, *w[:2], size=56)
    up, down, near = 15, -15, 27  # forward arrows run above the middle, gradients below it

    def there_and_back(left: float, right: float, height: float, forward: str, back: str) -> None:
        arrow(axes, (left, height + up), (right, height + up), shape=forward)
        arrow(axes, (right, height + down), (left, height + down), back=True)
        write(axes, (left + right) / 2, height + down - 0.85 * TEXT, back)

    there_and_back(x.right[0], w.left[0], y_w, "X", "G W")
    there_and_back(w.right[0], plus.x - near, y_w, "X Wᵀ", "G")
    there_and_back(plus.x + near, y.left[0], y_w, "", "G")
    there_and_back(a.right[0], b.left[0], y_ab, "H", "s G B")
    there_and_back(b.right[0], s.x - near, y_ab, "H Bᵀ", "s G")
    x_in, x_out = x.x - 14, x.x + 14
    arrow(axes, (x_in, x.bottom[1]), (x_in, y_ab + up), (a.left[0], y_ab + up))
    arrow(axes, (a.left[0], y_ab + down), (x_out + 24, y_ab + down), (x_out + 24, x.bottom[1]), back=True)
    write(axes, x_out + 40, y_ab + 76, "s G B A", ha="left")
    arrow(axes, (s.x + up, s.top[1]), (s.x + up, plus.bottom[1]))
    arrow(axes, (s.x + down, plus.bottom[1]), (s.x + down, s.top[1]), back=True)
    arrow(axes, a.bottom, (a.x, 122), back=True)
    arrow(axes, b.bottom, (b.x, 122), back=True)
    write(axes, 250, 102, "dA = s Bᵀ Gᵀ X  (r, in)", color=A, weight="bold")
    write(axes, 690, 102, "dB = s Gᵀ H  (out, r)", color=B, weight="bold")
    for box, letter in ((x, "X"), (y, "Y")):
        write(axes, box.x, box.top[1] + 24, letter, size=42, weight="bold")
    write(axes, w.x, w.top[1] + 24, "W, frozen: no dW", weight="bold")
    write(axes, a.x, a.top[1] + 30, "A", size=42, color=A, weight="bold")
    write(axes, b.x, b.top[1] + 28, "B", size=42, color=B, weight="bold")
    write(axes, 500, 58, "G and Y are (tokens, out), X and dX (tokens, in), H and s G B (tokens, r).")
    write(axes, 500, 22, "Solid: forward. Dashed: gradients, back. dX adds what arrives at X.")
    return axes.figure


STYLES = ((BLUE, "-"), (RED, "--"), (PURPLE, ":"), (GREY, "-"), (GREEN, "-."))


def races(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], steps: Sequence[int]) -> Figure:
    """Draw panels[title][start], the losses of several seeds at some steps: thin lines, their mean in bold."""
    figure, row = plt.subplots(1, len(panels), figsize=(8.5, 5.4), sharey=True, layout="constrained")
    for axes, (title, starts) in zip(row, panels.items(), strict=True):
        for (colour, dash), (name, seeds) in zip(STYLES, starts.items(), strict=False):
            axes.plot(steps, np.transpose(seeds), dash, color=colour, linewidth=1, alpha=0.6)
            axes.plot(steps, np.mean(seeds, axis=0), dash, color=colour, linewidth=3, label=name)
        axes.set(title=title, xlabel="optimiser step", xticks=steps, ylim=(0, None))
    row[0].set_ylabel("loss (nats per answer token)")
    told = [
        f"{title}: "
        + "; ".join(f"{name} " + ", ".join(f"{x:.2f}" for x in np.mean(seeds, 0)) for name, seeds in starts.items())
        for title, starts in panels.items()
    ]
    at = ", ".join(map(str, steps))
    figure.words = f"Loss in nats per answer token at optimiser steps {at}, means of the seeds. {'. '.join(told)}."
    figure.legend(*row[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    return figure


def memory(base: int, trained: int, activations: Mapping[str, int]) -> Figure:
    """Draw what a training step keeps, in GB: `activations` in bytes, of the run "full" and of runs with LoRA.

    float32 and Adam: 4 bytes a number for weights and gradients, 8 for the moments of what trains.
    """
    bars = {}
    for name, size in activations.items():
        weights, moving = (base, base) if name == "full" else (base + trained, trained)
        parts = {"weights": 4 * weights, "gradients": 4 * moving, "moments": 8 * moving, "activations": size}
        bars[name] = {part: value / 1e9 for part, value in parts.items()}
    return stacked(bars, marks={}, xlabel="memory of a training step (GB)")


def number_lines(weight: float, formats: Mapping[str, Sequence[float]], pushes: Mapping[str, float]) -> Figure:
    """Draw the numbers of some formats around a weight, and how far pushes move it, all on one scale.

    The scale reaches from the number below the weight to the one above it in the coarsest format, the last one. A
    format without numbers is too dense to be drawn.
    """
    low, high = 40, 960
    coarse = sorted(list(formats.values())[-1])
    reach = 1.15 * max(abs(value - weight) for value in sorted(coarse, key=lambda value: abs(value - weight))[:3])

    def at(value: float) -> float:
        return 500 + (value - weight) / reach * (high - 500)

    steps = [
        f"{name}, a step of {min(np.diff(sorted(v for v in values if abs(v - weight) <= reach))):.4f}"
        for name, values in formats.items()
        if values
    ]
    told = ", ".join(f"{name} {push:+.4f}" for name, push in pushes.items())
    axes = canvas(
        f"Number lines around one weight, {weight:.4f}, on one scale. Above, how far adapters push it: {told}. Below, "
        f"the numbers of each format: {'; '.join(steps)}; in {next(iter(formats))} they are too dense to be drawn.",
        height=112 + 56 * len(pushes) + 106 * len(formats),
    )
    top = axes.get_ylim()[1]
    for place, (name, push) in enumerate(pushes.items()):
        y = top - 40 - 56 * place
        axes.add_patch(Rectangle((min(at(weight), at(weight + push)), y - 12), abs(at(push) - at(0)), 24, color=A))
        side = {"x": 480, "ha": "right"} if push > 0 else {"x": 520, "ha": "left"}  # the other one
        write(axes, y=y, text=f"{name} pushes by {push:+.4f}", **side)
    for place, (name, values) in enumerate(formats.items()):
        y = top - 90 - 56 * len(pushes) - 106 * place
        write(axes, low, y + 44, name, ha="left", weight="bold")
        axes.add_patch(Rectangle((low, y - 1.5), high - low, 3, color=INK))
        inside = [at(value) for value in values if abs(value - weight) <= reach]
        for x in inside or [500]:
            width = (high - low) if not inside else 6 if len(inside) < 9 else 1.6
            axes.add_patch(Rectangle((x - width / 2, y - 24), width, 48, color=B))
    axes.plot((500, 500), (48, top - 24), color=A, linewidth=1.5, linestyle=(0, (4, 4)))
    write(axes, 500, 24, f"the weight, {weight:.4f}", color=A, weight="bold")
    return axes.figure


def volume(heard: Mapping[float, tuple[Sequence[float], float]], *, without: float) -> Figure:
    """Draw heard[volume] = (1 for each right answer, 0 for each wrong one; the loss on English), one above the other.

    The volume is on a logarithmic scale; `without` is the loss on English without the adapter.
    """
    figure, (above, below) = plt.subplots(2, 1, figsize=(8.5, 6), sharex=True, layout="constrained")
    answers, english = zip(*heard.values(), strict=True)
    above.plot(list(heard), [sum(right) for right in answers], "o-", color=BLUE, linewidth=3)
    above.set(ylabel=f"right answers of {len(answers[0])}", ylim=(0, 1.05 * len(answers[0])))
    below.plot(list(heard), english, "s--", color=ORANGE, linewidth=3)
    below.axhline(without, color=GREY, linewidth=1.5, linestyle=":")
    below.annotate("without the adapter", (max(heard), without), (0, 5), textcoords="offset points", ha="right")
    below.set(xscale="log", ylabel="loss on English\n(nats per token)", xlabel="volume (1 = as trained)")
    below.set_xticks(list(heard), [f"{volume:g}" for volume in heard])
    below.minorticks_off()
    for axes in (above, below):
        axes.axvline(1, color=GREY, linewidth=0.8)
    return figure
