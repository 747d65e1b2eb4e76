"""The figures that notebook 07 draws, and no other."""

import json
from collections.abc import Collection, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import INK, NAME, PALE, STREAM, A, B, Box, W, arrow, block, canvas, lock, write

LEAVES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _tree(layers: int) -> list[str]:
    """The paths of the linear layers of a Llama, in the order of the drawing."""
    parents = ["self_attn"] * 4 + ["mlp"] * 3
    inside = [f"{parent}.{leaf}" for parent, leaf in zip(parents, LEAVES, strict=True)]
    return [*(f"model.layers.{i}.{path}" for i in range(layers) for path in inside), "lm_head"]


def spellings(wrapped: Sequence[tuple[list[str] | str | None, Collection[str] | None]]) -> Figure:
    """Draw the linear layers of a Llama of two layers as a tree, and below it what each spelling of the targets wraps.

    `wrapped` holds each spelling with the full names of the modules, or None for an error.
    """
    wrapped = {_spelled(targets): found for targets, found in wrapped}
    told = "; ".join(f"{text}: {'an error' if paths is None else len(paths)}" for text, paths in wrapped.items())
    axes = canvas(
        "Above, a tree: model has layers 0 and 1, each with self_attn (q_proj, k_proj, v_proj, o_proj) and mlp "
        "(gate_proj, up_proj, down_proj); beside them lm_head. Below, a line for each spelling of target_modules, "
        f"with a box under each leaf; what is wrapped is solid. The number of wrapped modules: {told}.",
        height=560,
    )
    paths, left, step = _tree(2), 424, 37.5
    places = {path: left + step * i + (12 if i > 13 else 0) for i, path in enumerate(paths)}
    for path, x in places.items():
        write(axes, x, 290, path.rpartition(".")[2], rotation=90, va="bottom")
    _branches(axes, places)
    for row, (text, found) in enumerate(wrapped.items()):
        y = 262 - 34 * row
        write(axes, 18, y, text if found is not None else f"{text}  error", ha="left", family="monospace", size=27)
        for path, x in places.items():
            look = {"facecolor": A} if path in (found or ()) else {"facecolor": PALE, "edgecolor": W, "linewidth": 1}
            axes.add_patch(Rectangle((x - 15, y - 12), 30, 24, **look))
    return axes.figure


def _spelled(targets: list[str] | str | None) -> str:
    """How a value of target_modules is written in code."""
    return json.dumps(targets) if isinstance(targets, list) else "None" if targets is None else f'"{targets}"'


def _branches(axes: Axes, places: Mapping[str, float]) -> None:
    """Draw the tree above the leaves: what stands in `places`, by full name and x."""

    def middle(prefix: str) -> float:
        below = [x for path, x in places.items() if path.startswith(prefix)]
        return (below[0] + below[-1]) / 2

    def line(*points: tuple[float, float]) -> None:
        axes.plot(*zip(*points, strict=True), color=INK, linewidth=1.2)

    for layer in (0, 1):
        top = middle(f"model.layers.{layer}.")
        for part in ("self_attn", "mlp"):
            x = middle(f"model.layers.{layer}.{part}")
            ends = [place for path, place in places.items() if path.startswith(f"model.layers.{layer}.{part}")]
            line((ends[0], 440), (ends[-1], 440))
            line((x, 440), (x, 448))
            write(axes, x, 464, part)
            line((x, 482), (top, 500))
        write(axes, top, 516, f"layers.{layer}")
    write(axes, 200, 464, "target_modules =", family="monospace")


def states() -> Figure:
    """Draw the four states of an adapter, A and B frozen or not, train mode or eval mode, and what leads to each."""
    axes = canvas(
        "Four boxes, two by two. Columns: A and B frozen, drawn hatched and with a lock; A and B train. Rows: train "
        "mode, dropout on; eval mode, dropout off. get_peft_model leads to train mode: with inference_mode=False to "
        "the box in which A and B train, with True to the frozen one. from_pretrained leads to eval mode and frozen; "
        "with is_trainable=True to train mode and trainable. eval() and train() lead down and up, and change "
        "no column. set_adapter and the end of disable_adapter() lead from frozen to trainable, and change no row.",
        height=540,
    )
    frozen, free, top, low = 356, 812, 362, 130
    for x, text in ((frozen, "A and B frozen"), (free, "A and B train")):
        write(axes, x, 512, text, weight="bold")
    for y, mode, dropout in ((top, "train", "on"), (low, "eval", "off")):
        write(axes, 14, y + 18, f"{mode} mode", ha="left", weight="bold")
        write(axes, 14, y - 18, f"dropout {dropout}", ha="left")
    boxes = {(x, y): Box(x, y, 296 if x == frozen else 336, 150) for x in (frozen, free) for y in (top, low)}
    for (x, _), box in boxes.items():
        _frame(axes, box, W if x == frozen else A)
    into = {
        (frozen, top): ("get_peft_model", "inference_mode", "=True"),
        (free, top): ("get_peft_model, or", "from_pretrained with", "is_trainable=True"),
        (frozen, low): ("from_pretrained",),
        (free, low): (),
    }
    for (x, y), lines in into.items():
        for number, text in enumerate(lines):
            write(axes, x, y + 36 * ((len(lines) - 1) / 2 - number), text)
    for x in (frozen, free):
        arrow(axes, (x - 60, top - 75), (x - 60, low + 75), shape="")
        write(axes, x - 74, 246, "eval()", ha="right")
        arrow(axes, (x + 60, low + 75), (x + 60, top - 75), shape="")
        write(axes, x + 74, 246, "train()", ha="left")
    for y in (top, low):
        arrow(axes, boxes[frozen, y].right, boxes[free, y].left)
    write(axes, 545, 24, "to the right: set_adapter(…), and the end of disable_adapter()")
    for y in (top, low):
        lock(axes, 480, y + 48, size=26)
    return axes.figure


def fused(parts: Sequence[str], size: int, r: int) -> Figure:
    """Draw LoRA on a fused matrix, one A under the blocks of B, beside LoRA on its parts, each with an A; to scale.

    `size` is the input's and each part's; `r` is the rank of every A and B.
    """
    count, unit = len(parts), 90 / size
    axes = canvas(
        f"To scale. Left, fused: x (tokens, {size}) goes to one A ({r}, {size}), and its {r} numbers go to one B "
        f"({count * size}, {r}), a high block of {count} parts: {', '.join(parts)}. Right, apart: x goes to "
        f"{count} A's, each ({r}, {size}), and each of them to a B ({size}, {r}) of its own. Fused, the parts share "
        f"{r} numbers of each token; apart, they have {count * r}.",
        height=520,
    )
    rows = [390 - 116 * i for i in range(count)]
    middle, thick, thin = rows[count // 2], max(r * unit, 22), max(r * unit, 14)
    b = Box(330, middle, thick, count * size * unit)
    for x, a_x, b_x, title, b_shape in (
        (40, 176, b.x, "fused: one A", (count * size, r)),
        (540, 696, 860, f"apart: {count} A's", (size, r)),
    ):
        write(axes, x + 205, 490, title, weight="bold")
        write(axes, x, middle, "x", size=NAME, weight="bold")
        write(axes, a_x, (middle if b_x == b.x else rows[0]) + 34, f"A ({r}, {size})", color=A)
        bottom = b.bottom[1] if b_x == b.x else rows[-1] - size * unit / 2
        write(axes, b_x, bottom - 24, f"B {b_shape}", color=B)
    shared = block(axes, Box(176, middle, size * unit, thin), A)
    arrow(axes, (62, middle), shared.left)
    arrow(axes, shared.right, b.left)
    for i, (name, y) in enumerate(zip(parts, rows, strict=True)):
        part = block(axes, Box(b.x, b.top[1] - (i + 0.5) * size * unit, thick, size * unit - 3), B)
        write(axes, b.x + 42, part.y, name, ha="left", weight="bold")
        own = block(axes, Box(696, y, size * unit, thin), A)
        up = block(axes, Box(860, y, thick, size * unit), B)
        arrow(axes, (562, middle), *([(596, middle), (596, y)] if y != middle else []), own.left)
        arrow(axes, own.right, up.left)
        write(axes, up.x + 42, y, name, ha="left", weight="bold")
    write(axes, 245, 26, f"{', '.join(parts)} share {r} numbers a token")
    write(axes, 745, 26, f"{count} × {r} numbers a token")
    return axes.figure


def in_place() -> Figure:
    """Draw what the names `real` and `model` stand for: before and after get_peft_model, unload and a merge."""
    axes = canvas(
        "Four pictures of one model, from left to right, each a box that real names, with a weight W in it. As loaded: "
        "W can train. After get_peft_model: W is frozen, drawn hatched, with thin A and B beside it; a second box "
        "around the first is called model. After unload(): A and B are gone, and W is still frozen. After "
        "merge_and_unload(): A and B are gone, W is W + s B A, and frozen.",
        height=400,
    )
    for i, title in enumerate(("loaded", "wrapped", "unloaded", "merged")):
        x = 122 + 252 * i
        write(axes, x, 372, title, weight="bold")
        if i == 1:
            _frame(axes, Box(x, 202, 232, 296), STREAM)
            write(axes, x, 326, "model", color=STREAM)
        _frame(axes, Box(x, 178, 190, 228), INK)
        write(axes, x, 268, "real")
        w = block(axes, Box(x - (24 if i == 1 else 0), 194, 96, 96), W, frozen=i > 0)
        if i == 1:
            block(axes, Box(w.x, w.bottom[1] - 22, 96, 12), A)
            block(axes, Box(w.right[0] + 24, w.y, 12, 96), B)
        write(axes, x, 88, ("W", "W, A, B", "W", "W + s B A")[i])
    write(axes, 500, 24, "hatched: frozen")
    return axes.figure


def _frame(axes: Axes, box: Box, colour: str) -> None:
    """Draw an empty box."""
    style = {"facecolor": "white", "edgecolor": colour, "linewidth": 3}
    axes.add_patch(Rectangle((box.left[0], box.bottom[1]), box.width, box.height, **style))
