"""The kit of schematics: boxes to scale, tokens as columns, a pipe, arrows with shapes; and y = W x + s B A x, drawn.

A drawing lies on a white ground 1,000 units wide, and all lengths and sizes of text are in these units: it looks the
same in a notebook, on a page and on a slide. What is frozen is grey, hatched and locked; what trains is one solid
colour. The four colours differ in greyscale too. `canvas` takes what the drawing shows in words.

`python -m lorautils.figures.drawing` writes docs/lora.svg, the picture of the README and of the front page.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Line

from lorautils import ROOT

W, A, B, STREAM = "#949494", "#BC5600", "#003A70", "#006650"  # from light to dark: grey, orange, (stream) green, blue
INK, PALE = "#1A1A1A", "#E8E8E8"
TEXT, NAME = 27, 42  # sizes of text; TEXT is the smallest: 10 pixels on a page of 390, 25 on a slide of 1,280
POINTS = 0.72  # in a unit, of which an inch has 100
PICTURE = ROOT / "docs" / "lora.svg"
VALUES = LinearSegmentedColormap.from_list("values", ["#D3E9E2", STREAM])


class Box(NamedTuple):
    """A rectangle by its centre, and the middles of its sides, where arrows meet it."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """The middle of the left side."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        """The middle of the right side."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> tuple[float, float]:
        """The middle of the upper side."""
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of the lower side."""
        return self.x, self.y - self.height / 2


def canvas(words: str, *, height: float = 562.5) -> Axes:
    """Return an empty ground, 1,000 units wide; `words` are its text alternative: all parts, shapes and arrows."""
    figure = plt.figure(figsize=(10, height / 100), dpi=128, facecolor="none")
    figure.words = words
    # Without ticks: for dark ones on no ground, JupyterLab would lay white under the round corners on a dark page.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1000), ylim=(0, height), xticks=[], yticks=[])
    axes.set_axis_off()
    ground = FancyBboxPatch((0, 0), 1000, height, "round,pad=0,rounding_size=24", facecolor="white", edgecolor="none")
    axes.add_patch(ground).set_gid("ground")
    return axes


def write(axes: Axes, x: float, y: float, text: str, *, size: float = TEXT, **style) -> None:
    """Write centred on (x, y), or as the style says."""
    style = {"ha": "center", "va": "center", "color": INK} | style
    axes.text(x, y, text, fontsize=size * POINTS, **style)


def block(axes: Axes, box: Box, colour: str, *, frozen: bool = False) -> Box:
    """Draw a box: solid if it trains, pale and hatched if it is frozen."""
    look = {"facecolor": PALE, "edgecolor": colour, "hatch": "//", "linewidth": 2} if frozen else {"facecolor": colour}
    axes.add_patch(Rectangle((box.left[0], box.bottom[1]), box.width, box.height, **look))
    return box


def matrix(
    axes: Axes, shape: tuple[int, int], x: float, y: float, *, unit: float, colour: str, frozen: bool = False
) -> Box:
    """Draw a weight of shape (out, in) to scale: `unit` is the side of one of its numbers."""
    return block(axes, Box(x, y, shape[1] * unit, shape[0] * unit), colour, frozen=frozen)


def grid(axes: Axes, values: Sequence, box: Box) -> Box:
    """Draw a tensor (rows, columns) as cells that fill `box`, the darker the larger."""
    values = np.asarray(values, dtype=float)
    rows, columns = values.shape
    x = np.linspace(box.left[0], box.right[0], columns + 1)
    y = np.linspace(box.bottom[1], box.top[1], rows + 1)
    axes.pcolormesh(x, y, values[::-1], cmap=VALUES, edgecolors="white", linewidth=0.6)
    return box


def tokens(axes: Axes, box: Box, *, count: int = 6, cells: int = 14, seed: int = 0) -> Box:
    """Draw `count` tokens, each a column of numbers; the numbers are random."""
    generator = np.random.default_rng(seed)
    gap = 0.25 * box.width / count
    for x in np.linspace(box.left[0], box.right[0] + gap, count, endpoint=False):
        width = (box.width + gap) / count - gap
        grid(axes, generator.random((cells, 1)), Box(x + width / 2, box.y, width, box.height))
    return box


def pipe(axes: Axes, box: Box) -> Box:
    """Draw a stretch of the residual stream, which flows from left to right."""
    corner, shape = (box.left[0], box.bottom[1]), f"round,pad=0,rounding_size={box.height / 2}"
    style = {"facecolor": VALUES(0.0), "edgecolor": STREAM, "linewidth": 2.5}
    axes.add_patch(FancyBboxPatch(corner, box.width, box.height, shape, **style))
    return box


def arrow(axes: Axes, *points: tuple[float, float], shape: str = "", back: bool = False) -> None:
    """Draw an arrow through the points, with the shape of what flows written over its longest stretch, or beside it.

    An arrow `back` is dashed: a gradient.
    """
    *_, before, tip = np.array(points, dtype=float)
    neck = tip - 14 * (tip - before) / np.hypot(*(tip - before))
    line = Line([*points[:-1], neck])
    style = {"linewidth": 1.2, "edgecolor": INK, "facecolor": "none", "capstyle": "butt", "joinstyle": "miter"}
    axes.add_patch(PathPatch(line, linestyle=(0, (4, 2)) if back else "-", **style))
    head = {"arrowstyle": "-|>", "mutation_scale": 20, "shrinkA": 0, "shrinkB": 0, "joinstyle": "miter"}
    axes.add_patch(FancyArrowPatch(neck, tip, color=INK, **head))
    (x0, y0), (x1, y1) = max(pairwise(points), key=lambda ends: np.hypot(*np.subtract(*ends)))
    if shape and y0 == y1:
        write(axes, (x0 + x1) / 2, y0 + 0.85 * TEXT, shape)
    elif shape:
        write(axes, x0 + 0.6 * TEXT, (y0 + y1) / 2, shape, ha="left")


def lock(axes: Axes, x: float, y: float, *, size: float = 34) -> None:
    """Draw a closed padlock: this is frozen."""
    style = {"color": INK, "linewidth": 0.11 * size, "zorder": 3}
    axes.add_patch(Arc((x, y + 0.1 * size), 0.5 * size, 0.8 * size, theta1=0, theta2=180, **style))
    corner, shape = (x - 0.42 * size, y - 0.5 * size), f"round,pad=0,rounding_size={0.1 * size}"
    axes.add_patch(FancyBboxPatch(corner, 0.84 * size, 0.62 * size, shape, color=INK, linewidth=0, zorder=3))


def disc(axes: Axes, x: float, y: float, text: str, *, radius: float = 30) -> Box:
    """Draw a circle with an operation or a number in it."""
    axes.add_patch(Circle((x, y), radius, facecolor="white", edgecolor=INK, linewidth=2.5))
    write(axes, x, y, text, size=max(TEXT, 1.1 * radius), weight="bold")
    return Box(x, y, 2 * radius, 2 * radius)


def name(axes: Axes, x: float, y: float, letter: str, shape: str, *, colour: str = INK) -> None:
    """Write the letter of a matrix, centred on (x, y), and its shape behind it."""
    write(axes, x, y, letter, size=NAME, color=colour, weight="bold")
    write(axes, x + 0.75 * NAME, y - 2, shape, color=colour, ha="left")


def lora_layer(shape: tuple[int, int] = (576, 576), *, r: int = 8) -> Figure:
    """Draw LoRA beside a W of shape (out, in), to scale: x to the frozen W; x to A, to B, times s; plus.

    The longer side of W is 192 units long; A and B stay visible up to 200 times as long as r.
    """
    out, inputs = shape
    unit = 192 / max(shape)
    frozen, trained = out * inputs, r * (out + inputs)
    axes = canvas(
        "LoRA beside one weight W, y = W x + s B A x, from left to right. x (tokens, in), each token a row, drawn as a "
        "column, goes two ways. Above: to W (out, in), a large grey box, frozen, hatched and with a lock; out comes "
        "W x (tokens, out). Below: to A, lora_A (r, in), a thin lying strip as wide as W, trained; then "
        "(tokens, r) to B, lora_B (out, r), a thin standing strip as high as W, trained; then (tokens, out) times s, "
        "the scaling, alpha / r, where you choose alpha. A plus adds the two ways: y (tokens, out). "
        f"To scale: in = {inputs:,}, out = {out:,}, r = {r}. W has {frozen:,} numbers, A and B together {trained:,}.",
        height=556,
    )
    top, low = 406, 192  # the two ways
    x, y = (
        tokens(axes, Box(place, top, 48, side * unit), cells=max(3, round(14 * side / max(shape))), seed=seed)
        for place, side, seed in ((118, inputs, 0), (950, out, 1))
    )
    w = matrix(axes, shape, 412, top, unit=unit, colour=W, frozen=True)
    a = matrix(axes, (r, inputs), x.x, 248, unit=unit, colour=A)
    b = matrix(axes, (out, r), 512, low, unit=unit, colour=B)
    plus, s = disc(axes, 840, top, "+"), disc(axes, 840, 284, "×s")
    arrow(axes, x.right, w.left, shape="(tokens, in)")
    arrow(axes, w.right, plus.left, shape="(tokens, out)")
    arrow(axes, plus.right, y.left)
    arrow(axes, x.bottom, a.top)
    arrow(axes, a.bottom, (a.x, low), b.left, shape="(tokens, r)")
    arrow(axes, b.right, (s.x, low), s.bottom, shape="(tokens, out)")
    arrow(axes, s.top, plus.bottom)
    lock(axes, *w[:2], size=min(64, 0.6 * w.width, 0.6 * w.height))
    write(axes, x.x, x.top[1] + 26, "x", size=NAME, weight="bold")
    name(axes, w.x - 80, w.top[1] + 26, "W", "(out, in), frozen")
    write(axes, y.x, y.top[1] + 26, "y", size=NAME, weight="bold")
    write(axes, y.x - 26, y.top[1] + 24, "(tokens, out)", ha="right")
    name(axes, a.right[0] + 34, a.y + 6, "A", "(r, in), trained", colour=A)
    name(axes, b.x + 32, 254, "B", "(out, r), trained", colour=B)
    write(axes, 780, 140, "y = W x + s B A x", size=1.2 * TEXT)
    write(axes, 780, 104, "s = α / r, you choose α")
    write(axes, 20, 58, "A token is a row of the tensors x and y, drawn as a column.", ha="left")
    fewer = f"To scale, r = {r}: W has {out} × {inputs} numbers, A and B {frozen / trained:.0f} times fewer."
    write(axes, 20, 22, fewer, ha="left")
    return axes.figure


def save(figure: Figure, path: Path) -> None:
    """Write a drawing as SVG, its letters as outlines: it looks the same where no font is installed."""
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": path.stem}):  # the same ids each time
        figure.savefig(path, metadata={"Creator": None, "Date": None})


if __name__ == "__main__":
    save(lora_layer(), PICTURE)
