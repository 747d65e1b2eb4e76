"""The figures that notebook 05 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import INK, A, B, Box, W, arrow, canvas, disc, matrix, pipe, tokens, write
from lorautils.plots import BLUE, ORANGE


def mlp(hidden: int, width: int) -> Figure:
    """Draw the gated MLP to scale: x to gate and to up, SiLU behind gate, times, down; one feature in colour."""
    unit = 169 / width
    narrow, wide = f"(tokens, {hidden})", f"(tokens, {width})"
    axes = canvas(
        f"The MLP, from left to right, its three matrices to scale. x {narrow} goes to two matrices, both ({width}, "
        f"{hidden}), high and narrow: above gate, below up. Behind gate stands SiLU. What comes from both, {wide}, is "
        f"multiplied number by number, and goes to down ({hidden}, {width}), low and wide. Out comes y {narrow}. One "
        "feature is drawn in blue: a row of gate, a row of up, a column of down.",
        height=520,
    )
    middle, top, low = 265, 377, 153
    x, y = (tokens(axes, Box(place, middle, 52, hidden * unit), cells=6, seed=i) for i, place in enumerate((60, 950)))
    gate, up = (matrix(axes, (width, hidden), 272, height, unit=unit, colour=W) for height in (top, low))
    down = matrix(axes, (hidden, width), 800, middle, unit=unit, colour=W)
    for box in (gate, up):
        axes.add_patch(Rectangle((box.left[0], box.y + 30), box.width, 9, facecolor=B))
    axes.add_patch(Rectangle((down.x - 39, down.bottom[1]), 9, down.height, facecolor=B))
    silu, times = _station(axes, Box(560, top, 96, 56), "SiLU"), disc(axes, 645, middle, "×", radius=30)
    fork = 206
    arrow(axes, x.right, (fork, middle), (fork, top), gate.left)
    arrow(axes, (fork, middle), (fork, low), up.left)
    arrow(axes, gate.right, silu.left, shape=wide)
    arrow(axes, silu.right, (times.x, top), times.top)
    arrow(axes, up.right, (times.x, low), times.bottom, shape=wide)
    arrow(axes, times.right, down.left)
    arrow(axes, down.right, y.left)
    write(axes, x.x, x.top[1] + 26, "x", size=42, weight="bold")
    write(axes, y.x, y.top[1] + 26, "y", size=42, weight="bold")
    write(axes, 20, x.bottom[1] - 24, narrow, ha="left")
    write(axes, 984, y.top[1] + 66, narrow, ha="right")
    write(axes, gate.x - 30, gate.top[1] + 24, f"gate ({width}, {hidden})", weight="bold")
    write(axes, 225, middle, f"up ({width}, {hidden})", weight="bold", ha="left")
    write(axes, down.x, down.bottom[1] - 24, f"down ({hidden}, {width})", weight="bold")
    write(axes, 500, 30, "Blue: one feature, a row of gate, a row of up, a column of down.", color=B)
    return axes.figure


def _station(axes: Axes, box: Box, text: str, colour: str = INK) -> Box:
    """Draw a part of the model as a named white box."""
    style = {"facecolor": "white", "edgecolor": colour, "linewidth": 2.5}
    axes.add_patch(Rectangle((box.left[0], box.bottom[1]), box.width, box.height, **style))
    write(axes, box.x, box.y, text, color=colour, weight="bold")
    return box


def stream(hidden: int, layers: int) -> Figure:
    """Draw the residual stream as a pipe with two taps a layer: above the whole model, below one layer of it."""
    axes = canvas(
        f"Above, the whole model: an embedding, a pipe with {layers} pairs of marks, a norm, a head. The pipe is the "
        f"residual stream, (tokens, {hidden}); a pair of marks is a layer. Below, one layer enlarged: a wide pipe from "
        "left to right with two taps. At the first an arrow leads up to RMSNorm, on to attention, and back down to a "
        "plus on the pipe. At the second an arrow leads up to RMSNorm, on to the MLP, and down to another plus.",
        height=550,
    )
    above, middle, below = 455, 270, 130
    ends = [Box(125, above, 210, 56), Box(736, above, 180, 56), Box(923, above, 110, 56)]
    first, norm, head = (
        _station(axes, box, text) for box, text in zip(ends, ("embedding", "RMSNorm", "head"), strict=True)
    )
    whole = pipe(axes, Box(438, above, 350, 34))
    places = np.linspace(whole.left[0] + 20, whole.right[0] - 20, 2 * layers)
    for i, place in enumerate(places):
        axes.add_patch(Rectangle((place - 2, above + 17), 4, 16, facecolor=(A, B)[i % 2]))
    arrow(axes, first.right, whole.left)
    arrow(axes, whole.right, norm.left)
    arrow(axes, norm.right, head.left)
    write(axes, whole.x, above + 60, f"{layers} layers, two taps each")
    shown = places[layers : layers + 2]
    for x, corner in ((shown[0] - 5, 20), (shown[1] + 5, 980)):
        axes.plot((x, corner), (above - 18, 350), color=INK, linewidth=1, linestyle=":")
    here = pipe(axes, Box(500, below, 960, 68))
    for read, name, colour, place, width in ((125, "attention", A, 340, 180), (595, "MLP", B, 790, 120)):
        copy = _station(axes, Box(read, middle, 180, 56), "RMSNorm")
        part = _station(axes, Box(place, middle, width, 76), name, colour)
        plus = disc(axes, read + 340, below, "+", radius=27)
        arrow(axes, (read, here.top[1]), copy.bottom)
        arrow(axes, copy.right, part.left)
        arrow(axes, part.right, (plus.x, middle), plus.top)
    write(axes, 700, below, f"stream (tokens, {hidden})")
    write(axes, 500, 42, "Each part reads a normalised copy, and adds its result.")
    return axes.figure


def histogram(values: np.ndarray, *, band: tuple[float, float], band_label: str, xlabel: str, title: str = "") -> Axes:
    """Draw how often values occur, on a logarithmic scale, with a shaded band to compare them with."""
    _, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    axes.axvspan(*band, color=ORANGE, alpha=0.35, label=band_label)
    axes.hist(np.ravel(values), bins=120, color=BLUE)
    axes.set(yscale="log", xlabel=xlabel, ylabel="number of values", title=title)
    axes.legend(frameon=False)
    below, above = np.mean(values < band[0]), np.mean(values > band[1])
    axes.figure.words = (
        f"{title}: how often values of {xlabel} occur, on a logarithmic scale. They run from {np.min(values):.2f} to "
        f"{np.max(values):.1f}; {below:.0%} lie below the band {band_label}, {above:.1%} above it."
    )
    return axes


def removed(rises: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Draw how much the loss rises when a part of one layer is removed: rises[part][text] holds one rise a layer.

    Every text is a dot of its own. Below 0.1 nats the axis is linear, so that a fall of the loss has its place.
    """
    figure, axes = plt.subplots(figsize=(10, 4.8), layout="constrained")
    parts = "; ".join(
        f"without {part}: median {np.median(tables):.2f}, highest "
        + ", ".join(f"layer {i} ({np.mean(tables, axis=0)[i]:.1f})" for i in np.mean(tables, axis=0).argsort()[:-4:-1])
        for part, tables in rises.items()
    )
    figure.words = f"Rise of the loss in nats a token, against the layer that loses a part, a mark a text. {parts}."
    axes.axhline(0, color="black", linewidth=0.8)
    for index, (part, tables) in enumerate(rises.items()):
        style = {"color": (ORANGE, BLUE)[index % 2], "marker": "s^"[index % 2], "alpha": 0.75}
        for number, values in enumerate(tables):
            layers = np.arange(len(values)) + (-0.15, 0.15)[index % 2]
            axes.plot(layers, values, linestyle="none", markersize=6, label="" if number else part, **style)
    axes.set_yscale("symlog", linthresh=0.1)
    ticks = (0, 0.1, 1, 10)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="layer", ylabel="rise of the loss (nats a token)")
    axes.legend(frameon=False, title="without")
    return figure
