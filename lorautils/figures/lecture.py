"""The drawings of the lecture, docs/lecture.md, that no notebook has: large enough for the last row of a room.

A prediction and its answer are the same drawing: what is asked stands in it as a question mark first.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import INK, NAME, PALE, STREAM, A, B, Box, W, arrow, block, canvas, lock, matrix, write

FIELDS = ("minute", "hour", "day of month", "month", "day of week")


def fields(phrase: str, cron: str) -> Figure:
    """Draw a schedule in English, and below it its cron expression: five fields, each with its name."""
    values = cron.split()
    told = ", ".join(f"{name} {value}" for name, value in zip(FIELDS, values, strict=True))
    axes = canvas(
        f"Above, a schedule in English: {phrase}. An arrow leads down to five boxes in a row, the fields of a cron "
        f"expression, each with its value and its name: {told}. A star stands for every.",
        height=380,
    )
    write(axes, 500, 336, f"“{phrase}”", size=1.3 * NAME)
    arrow(axes, (500, 296), (500, 232))
    for place, (name, value) in enumerate(zip(FIELDS, values, strict=True)):
        box = _frame(axes, Box(116 + 192 * place, 164, 150, 108), STREAM)
        write(axes, box.x, box.y - 4, value, size=1.4 * NAME, weight="bold", family="monospace")
        write(axes, box.x, 58, name.replace("day of ", "day of\n"))
    return axes.figure


def ask(phrase: str, answer: str, *, adapter: bool = False) -> Figure:
    """Draw a model that is asked: the phrase goes in, the answer comes out; an adapter is a small square beside it."""
    beside = "A small solid square beside it is the adapter. " if adapter else "Nothing stands beside it. "
    axes = canvas(
        f"A phrase goes into a model, and an answer comes out, from the top down. In goes: {phrase}. The model is a "
        f"grey, hatched square with a lock: it is frozen. {beside}Out comes: {answer}.",
        height=420,
    )
    write(axes, 500, 380, f"“{phrase}”", size=1.2 * NAME)
    model = block(axes, Box(500, 212, 168, 168), W, frozen=True)
    lock(axes, *model[:2], size=70)
    write(axes, model.left[0] - 24, model.y, "SmolLM2", ha="right", weight="bold")
    if adapter:
        part = block(axes, Box(model.right[0] + 14, model.y, 28, 28), A)
        write(axes, part.right[0] + 18, part.y, "LoRA, 5 MB", ha="left", weight="bold", color=A)
    arrow(axes, (500, 346), model.top)
    arrow(axes, model.bottom, (500, 78))
    style = {"family": "monospace", "weight": "bold", "color": A if adapter else INK}
    write(axes, 500, 42, answer, size=1.2 * NAME if len(answer) < 30 else 1.25 * 27, **style)
    return axes.figure


def bars(
    measure: str,
    known: Mapping[str, float],
    asked: Mapping[str, float],
    *,
    end: float,
    unit: str = "",
    hidden: bool = False,
) -> Figure:
    """Draw numbers as lying bars, those `known` in grey, those `asked` for in colour, or as question marks if `hidden`.

    Above them stands what is measured. `end` is the number at which a bar would fill its place; a number is written
    with its `unit` behind its bar.
    """
    values = {**known, **asked}
    told = "; ".join(f"{name}: {'?' if hidden and name in asked else f'{x:.3g}{unit}'}" for name, x in values.items())
    axes = canvas(
        f"{measure[0].upper()}{measure[1:]}, as lying bars, one below the other, to scale from 0 to {end:g}{unit}: "
        f"grey what is known, in colour, or with a question mark in a dashed frame, what was asked for. {told}.",
        height=72 + 84 * len(values),
    )
    start, reach = 430, 400
    write(axes, start, 84 * len(values) + 42, measure, ha="left", size=32, style="italic")
    for row, (name, value) in enumerate(values.items()):
        y = 84 * (len(values) - row) - 30
        write(axes, start - 22, y, name, ha="right", size=32)
        if hidden and name in asked:
            style = {"facecolor": "white", "edgecolor": A, "linewidth": 3, "linestyle": (0, (4, 3))}
            axes.add_patch(Rectangle((start, y - 27), reach, 54, **style))
            write(axes, start + reach / 2, y - 3, "?", size=NAME, weight="bold", color=A)
            continue
        width = max(4, reach * value / end)
        block(axes, Box(start + width / 2, y, width, 54), A if name in asked else W, frozen=name in known)
        write(axes, start + width + 16, y, f"{value:.3g}{unit}", ha="left", size=36, weight="bold")
    return axes.figure


def tensors(panels: Mapping[str, int | None], *, of: int = 272) -> Figure:
    """Draw the tensors of a model as small squares, a field of them under each title: solid what has changed.

    `panels` holds how many have changed, or None where that is asked for.
    """
    told = "; ".join(f"{name}: {'?' if changed is None else changed}" for name, changed in panels.items())
    axes = canvas(
        f"The {of} tensors of the model, each a small square, in {len(panels)} fields. Pale squares are unchanged, "
        f"solid ones changed. How many have changed: {told}.",
        height=420,
    )
    columns = 24
    cells = np.arange(of)
    for number, (name, changed) in enumerate(panels.items()):
        middle = 1000 * (number + 0.5) / len(panels)
        write(axes, middle, 388, name, size=34, weight="bold")
        for cell in cells:
            row, column = divmod(int(cell), columns)
            x, y = middle + 18 * (column - columns / 2), 334 - 18 * row
            solid = changed is not None and (cell * changed) // of < ((cell + 1) * changed) // of  # spread evenly
            axes.add_patch(Rectangle((x, y), 14, 14, facecolor=A if solid else PALE, edgecolor=A if solid else W))
        text = "how many?" if changed is None else f"{changed} of {of} changed"
        write(axes, middle, 60, text, size=36, weight="bold", color=A if changed else INK)
    return axes.figure


def change(side: int = 576, r: int = 8) -> Figure:
    """Draw what is added to W: by full fine-tuning a whole matrix dW, by LoRA the product of B and A; to scale."""
    axes = canvas(
        f"Two sums, one below the other, to scale. W after full fine-tuning is W, grey, plus dW, a solid square as "
        f"large as W: {side} by {side} numbers, all trained. W with LoRA is the same W, frozen, hatched and with a "
        f"lock, plus s times B times A: a thin standing strip, {side} by {r}, and a thin lying one, {r} by {side}.",
        height=420,
    )
    unit = 160 / side
    for y, title in ((312, "full fine-tuning"), (108, "LoRA")):
        write(axes, 24, y, title, size=32, weight="bold", ha="left")
        w = matrix(axes, (side, side), 474, y, unit=unit, colour=W, frozen=True)
        write(axes, w.x - 112, y, "W", size=NAME, weight="bold")
        write(axes, 606, y, "+", size=1.5 * NAME, weight="bold")
        if title == "LoRA":
            lock(axes, w.x, y, size=60)
            write(axes, 660, y, "s", size=NAME, weight="bold")
            b = matrix(axes, (side, r), 700, y, unit=unit, colour=B)
            write(axes, b.x + 32, y, "B", size=NAME, weight="bold", color=B)
            a = matrix(axes, (r, side), 850, y, unit=unit, colour=A)
            write(axes, a.x, y + 38, "A", size=NAME, weight="bold", color=A)
        else:
            d = matrix(axes, (side, side), 742, y, unit=unit, colour=A)
            write(axes, d.right[0] + 60, y, "dW", size=NAME, weight="bold", color=A)
    return axes.figure


def starts(rows: Sequence[tuple[str, str]], *, hidden: bool) -> Figure:
    """Draw the four ways to start A and B as pairs of strips: solid is random, an empty frame is zero.

    `rows` holds, for each of "A random, B zero" and so on, what became of it; `hidden` writes a question mark instead.
    """
    told = "; ".join(name if hidden else f"{name}: {text}" for name, text in rows)
    axes = canvas(
        "Four ways to start LoRA, one below the other. In each a standing strip B and a lying strip A; a solid strip "
        f"starts random, an empty frame starts at zero. {told}.",
        height=30 + 98 * len(rows),
    )
    for row, (name, text) in enumerate(rows):
        y = 98 * (len(rows) - row) - 34
        a_part, b_part = name.split(", ")
        _strip(axes, Box(60, y, 22, 76), B, zero="zero" in b_part)
        _strip(axes, Box(140, y, 92, 22), A, zero="zero" in a_part)
        write(axes, 220, y, name, ha="left", size=34)
        write(axes, 600, y, "?" if hidden else text, ha="left", size=34, weight="bold")
    return axes.figure


def _strip(axes: Axes, box: Box, colour: str, *, zero: bool) -> None:
    """Draw a factor, solid if it starts random, and as an empty frame if it starts at zero."""
    if zero:
        _frame(axes, box, colour)
    else:
        block(axes, box, colour)


def _frame(axes: Axes, box: Box, colour: str) -> Box:
    """Draw an empty box."""
    style = {"facecolor": "white", "edgecolor": colour, "linewidth": 4}
    axes.add_patch(Rectangle((box.left[0], box.bottom[1]), box.width, box.height, **style))
    return box
