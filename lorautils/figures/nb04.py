"""The figures that notebook 04 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Polygon, Rectangle

from lorautils.figures.drawing import INK, NAME, PALE, STREAM, A, B, Box, arrow, canvas, grid, write


def steps(parts: Mapping[str, Sequence], tokens: Sequence[str]) -> Figure:
    """Draw, with the kit, how attention makes an output of X: coloured grids, a row a token, the darker the larger.

    `parts` has X, Q, K, V, weights and output, each (tokens, columns), in this order.
    """
    shapes = {name: tuple(np.shape(values)) for name, values in parts.items()}
    told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    axes = canvas(
        f"Attention of {len(tokens)} tokens, from left to right, as coloured grids with a row for each token. X goes "
        "through W_Q, W_K and W_V, and three grids come out: Q above, K in the middle, V below. Q and K meet: every "
        f"query times every key, then softmax, gives the weights. Weights and V meet: the output. {told}.",
        height=560,
    )
    places = {
        "X": Box(190, 300, 96, 198),
        "Q": Box(430, 450, 96, 132),
        "K": Box(430, 270, 96, 132),
        "V": Box(430, 90, 96, 132),
        "weights": Box(690, 350, 168, 168),
        "output": Box(912, 220, 96, 198),
    }
    for name, box in places.items():
        grid(axes, parts[name], box)
        above = name if name == "output" else f"{name} {shapes[name]}"
        write(axes, box.x, box.top[1] + 22, above, weight="bold")
    write(axes, 912, 98, str(shapes["output"]), weight="bold")
    x, q, k, v, weights, output = places.values()
    for row, token in enumerate(tokens):
        write(axes, x.left[0] - 12, x.top[1] - (row + 0.5) * x.height / len(tokens), token, ha="right")
    for name, box in (("W_Q", q), ("W_K", k), ("W_V", v)):
        arrow(axes, (x.right[0], 300), (290, 300), (290, box.y), box.left)
        write(axes, 336, box.y + 22, name)
    arrow(axes, q.right, (550, q.y), (550, 380), (weights.left[0], 380))
    arrow(axes, k.right, (550, k.y), (550, 320), (weights.left[0], 320))
    write(axes, 690, 500, "softmax(Q Kᵀ / √4)")
    arrow(axes, weights.right, (820, weights.y), (820, 250), (output.left[0], 250))
    arrow(axes, v.right, (820, v.y), (820, 190), (output.left[0], 190))
    write(axes, 650, v.y + 22, "weights times V")
    return axes.figure


GROUPS = (A, B, STREAM)


def head_stripes(heads: int, kv_heads: int, head_dim: int, hidden: int) -> Figure:
    """Draw, with the kit and to scale, the heads as rows of W_Q, W_K, W_V and as columns of W_O; three KV heads."""
    groups, size, kv_size = heads // kv_heads, heads * head_dim, kv_heads * head_dim
    names = [f"{groups * g} to {groups * g + groups - 1}" for g in range(kv_heads)]
    axes = canvas(
        f"Four weights to scale, cut into heads. W_Q {size, hidden}: {heads} stripes of {head_dim} rows, in {kv_heads} "
        f"colours, heads {', '.join(names)}. W_K and W_V {kv_size, hidden}: {kv_heads} stripes of {head_dim} rows, one "
        f"of each colour, so {groups} query heads share a stripe. W_O {hidden, size}: {heads} stripes of {head_dim} "
        "columns in the colours of W_Q.",
        height=420,
    )
    unit = 252 / max(size, hidden)
    q, o = Box(262, 206, hidden * unit, size * unit), Box(860, 206, size * unit, hidden * unit)
    k, v = Box(563, 290, hidden * unit, kv_size * unit), Box(563, 122, hidden * unit, kv_size * unit)
    for box, count, upright in ((q, heads, False), (k, kv_heads, False), (v, kv_heads, False), (o, heads, True)):
        for head in range(count):
            _stripe(axes, box, head, count, GROUPS[head * kv_heads // count], upright=upright)
    for box, name, shape in ((q, "W_Q", (size, hidden)), (k, "W_K", (kv_size, hidden)), (v, "W_V", (kv_size, hidden))):
        write(axes, box.x, box.top[1] + 26, f"{name}  {shape}", weight="bold")
    write(axes, o.x, o.top[1] + 26, f"W_O  {hidden, size}", weight="bold")
    for g, name in enumerate(names):
        height = q.top[1] - (g + 0.5) * q.height / kv_heads
        write(axes, 126, height + 18, "heads", ha="right", color=GROUPS[g])
        write(axes, 126, height - 18, name, ha="right", color=GROUPS[g])
    write(axes, 500, 26, f"{groups} query heads share the keys and values of their colour.")
    return axes.figure


def _stripe(axes: Axes, box: Box, place: int, count: int, colour: str, *, upright: bool) -> None:
    """Draw one of `count` stripes of a box, counted from the top or, upright, from the left."""
    width, height = (box.width / count, box.height) if upright else (box.width, box.height / count)
    x, y = box.left[0] + upright * place * width, box.top[1] - height - (not upright) * place * height
    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", linewidth=2))


def hands(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw, with the kit, two arrows of two numbers as hands of a clock, panels[title][name]; three panels."""
    told = [
        f"{title}: " + " and ".join(f"{name} ({x:.0f}, {y:.0f})" for name, (x, y) in arrows.items())
        for title, arrows in panels.items()
    ]
    axes = canvas("Clocks with two hands each, from left to right. " + ". ".join(told) + ".", height=400)
    for x, (title, arrows) in zip((175, 500, 825), panels.items(), strict=True):
        middle, unit = np.array([x, 190]), 52
        axes.add_patch(Circle(middle, 2.6 * unit, facecolor=PALE, edgecolor=INK, linewidth=1.5))
        write(axes, x, 370, title, weight="bold")
        for tip, colour, dash in zip(arrows.values(), (B, A), ("-", (0, (5, 1.5))), strict=True):
            style = {"color": colour, "linewidth": 5, "mutation_scale": 30, "shrinkA": 0, "shrinkB": 0}
            end = middle + unit * np.asarray(tip, dtype=float)
            axes.add_patch(FancyArrowPatch(middle, end, arrowstyle="-|>", linestyle=dash, **style))
        axes.add_patch(Circle(middle, 7, color=INK, zorder=4))
    q, k = next(iter(panels.values()))
    write(axes, 250, 26, f"solid, blue: {q}", color=B, weight="bold")
    write(axes, 750, 26, f"dashed, orange: {k}", color=A, weight="bold")
    return axes.figure


def attention_maps(maps: Mapping[str, Sequence], tokens: Sequence[str], *, numbers: bool = False) -> Figure:
    """Draw attention weights (tokens, tokens) as heat maps, a panel a map; with `numbers` also written in the cells.

    Where a map has nothing above its diagonal, these cells are hatched: they are hidden, not small.
    """
    columns = 2 if len(maps) == 4 else len(maps)
    rows = len(maps) // columns
    size = (3.6 * columns + 1.6, 3.7 * rows + 0.9)
    figure, panels = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, weights) in zip(panels.flat, maps.items(), strict=True):
        weights = np.asarray(weights, dtype=float)
        later = np.triu(np.ones(weights.shape, dtype=bool), 1)
        hidden = later & ~weights[later].any()
        image = axes.imshow(np.ma.masked_array(weights, hidden), cmap="Blues", vmin=0, vmax=1)
        if hidden.any():
            _hatch(axes, len(weights))
        axes.set_title(name, fontsize=13)
        axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=12)
        axes.set_yticks(range(len(tokens)), tokens, fontsize=12)
        for (row, column), weight in np.ndenumerate(weights if numbers else weights[:0]):
            if not hidden[row, column]:
                color = "white" if weight > 0.6 else "black"
                axes.text(column, row, f"{weight:.2f}", ha="center", va="center", fontsize=12, color=color)
    figure.supxlabel("token that is asked", fontsize=13)
    figure.supylabel("token that asks", fontsize=13)
    figure.colorbar(image, ax=panels, label="attention weight", shrink=0.6)
    told = " ".join(f"{name}: {_largest(weights, tokens)}." for name, weights in maps.items())
    figure.words = f"Maps of attention weights, a row for each token that asks. The largest weight of each row. {told}"
    return figure


def _largest(weights: Sequence, tokens: Sequence[str]) -> str:
    """Return in words where the largest weight of each row lies."""
    rows = np.asarray(weights, dtype=float)
    return ", ".join(
        f"“{token.strip()}” to “{tokens[row.argmax()].strip()}” {row.max():.2f}"
        for token, row in zip(tokens, rows, strict=True)
    )


def _hatch(axes: Axes, size: int) -> None:
    """Hatch what lies above the diagonal of a map."""
    stairs = [(column + 0.5, row - 0.5) for row in range(size) for column in (row - 1, row)]
    corners = [(size - 0.5, -0.5), *stairs[1:], (size - 0.5, size - 1.5)]
    axes.add_patch(Polygon(corners, facecolor="white", edgecolor="#949494", hatch="///", linewidth=0))


def induction(before: str, after: str, heads: tuple[str, str]) -> Figure:
    """Draw, with the kit, how two heads continue a repetition: `before after … before`, and then `after` again."""
    early, late = heads
    axes = canvas(
        f"Four tokens in a row: {before}, {after}, three dots, {before} again, and then a question mark. Head {early}, "
        f"an arrow from the first {before} to {after}, writes into {after}: before me stood {before}. Head {late}, a "
        f"longer arrow from {after} to the second {before}, finds the token that was after its like, and copies it. "
        f"From there an arrow leads to the question mark: {after}.",
        height=390,
    )
    a, b, dots, c, d = (Box(x, 110, 130, 62) for x in (110, 330, 500, 670, 890))
    for box, text in ((a, before), (b, after), (c, before), (d, after)):
        look = {"facecolor": "white", "edgecolor": INK, "linewidth": 2, "linestyle": "--" if box is d else "-"}
        axes.add_patch(Rectangle((box.left[0], box.bottom[1]), box.width, box.height, **look))
        write(axes, box.x, box.y, text, weight="bold")
    write(axes, dots.x, dots.y, "…", size=NAME)
    arrow(axes, a.top, (a.x, 220), (b.x - 30, 220), (b.x - 30, b.top[1]))
    write(axes, (a.x + b.x) / 2 - 15, 246, f"head {early}", color=B, weight="bold")
    write(axes, b.x, 52, f"a note: after “{before}”", color=B)
    arrow(axes, (b.x + 30, b.top[1]), (b.x + 30, 290), (c.x, 290), c.top)
    write(axes, (b.x + c.x) / 2 + 15, 354, f"head {late}: who has the note “after {before}”?", color=A, weight="bold")
    write(axes, (b.x + c.x) / 2 + 15, 318, "copy that token", color=A, weight="bold")
    arrow(axes, c.right, d.left)
    write(axes, d.x, 52, "comes next")
    return axes.figure
