"""The figures that notebook 13 draws, and no other."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import INK, STREAM, A, Box, W, block, canvas, write

FORWARD = ("W", "draw", "scale", "drop", "A", "B", "× s", "add")  # what PEFT calls for one layer, one name a kernel
BACKWARD = ("× s", "dB", "B", "dA", "A", "drop", "W", "add")
WIDE, THIN = ("W", "dW"), ("A", "B", "dA", "dB")  # products of matrices; the other kernels are none


def _kernels(axes: Axes, y: float, names: Sequence[str]) -> None:
    """Draw a row of kernels: wide products tall, thin ones low, and hatched what is no product."""
    for place, name in enumerate(names):
        box = Box(80 + 120 * place, y, 96, 50 if name in WIDE else 26)
        block(axes, box, STREAM if name in WIDE else A if name in THIN else W, frozen=name not in (*WIDE, *THIN))
        write(axes, box.x, y + 50, name)


def layer_kernels() -> Figure:
    """Draw the kernels that one layer calls in a step: in full fine-tuning, and in LoRA as PEFT computes it."""
    axes = canvas(
        "The kernels of one layer in one step, a box each. Full fine-tuning, 3 kernels, all wide products: W forward; "
        "backward the gradient through W, and dW. LoRA in PEFT, 16 kernels. Forward: W, a wide product; draw a mask, "
        "scale it, drop, no products; A and B, thin products; times s, add. Backward: times s; dB, B, dA and A, thin "
        "products; drop; W, a wide product; add. So 2 wide products, 6 thin ones, and 8 kernels that are no product.",
        height=560,
    )
    for y, title, names in (
        (455, "full fine-tuning, forward and backward", ("W", "W", "dW")),
        (307, "LoRA in PEFT, forward", FORWARD),
        (159, "LoRA in PEFT, backward", BACKWARD),
    ):
        write(axes, 32, y + 78, title, ha="left", weight="bold")
        _kernels(axes, y - 20, names)
    keys = ((60, STREAM, "wide product"), (400, A, "thin product"), (730, W, "no product"))
    for x, colour, text in keys:
        block(axes, Box(x, 48, 44, 30), colour, frozen=colour == W)
        write(axes, x + 36, 48, text, ha="left")
    return axes.figure


def head_rows(rows: int, answers: int, size: int, megabytes: Mapping[str, float]) -> Figure:
    """Draw three ways to compute a loss: rows of scores to scale, and `megabytes`, a title and a number for each."""
    axes = canvas(
        f"Three ways to the same loss. A row is the 49,152 scores of one token, the height is to scale. "
        f"First, {rows} rows at once: {answers} of them solid, the answers, and {rows - answers} hatched, which the "
        f"loss does not read. Second, the {answers} rows of answers alone, all solid. Third, all {rows} rows in "
        f"{-(-rows // size)} pieces, of which only one of {size} rows exists at a time. "
        + ", ".join(f"{title}: {number:.0f} MB" for title, number in megabytes.items())
        + ".",
        height=520,
    )
    unit, foot = 300 / rows, 110
    for x, (title, number) in zip((170, 500, 830), megabytes.items(), strict=True):
        write(axes, x, 490, title, weight="bold")
        write(axes, x, 30, f"{number:.0f} MB at most", weight="bold")
    full = Box(170, foot + 150, 250, 300)
    block(axes, Box(170, foot + 150 + answers * unit / 2, 250, (rows - answers) * unit), W, frozen=True)
    for x in (170, 500):
        block(axes, Box(x, foot + answers * unit / 2, 250, answers * unit), A)
    for piece in range(-(-rows // size)):
        height = min(size, rows - piece * size) * unit
        box = Box(830, full.top[1] - piece * size * unit - height / 2, 250, height)
        if piece == 1:
            block(axes, box, A)
        else:
            corner = (box.left[0], box.bottom[1])
            axes.add_patch(Rectangle(corner, box.width, height, facecolor="white", edgecolor=INK, linestyle=":"))
    write(axes, 170, 442, f"{rows} rows")
    write(axes, 500, foot + answers * unit + 28, f"{answers} rows")
    write(axes, 830, 442, f"{size} rows at a time")
    write(axes, 500, 76, "← 49,152 scores →")
    return axes.figure


def shares_of_peak(shares: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw the share of a peak that each thing uses, shares[name] = (own operations, those made a second time)."""
    told = "; ".join(
        f"{name}: {own:.0%}" + (f", and {again:.0%} for operations made again" if again else "")
        for name, (own, again) in shares.items()
    )
    axes = canvas(
        f"Bars to scale beneath one that is the whole width, the peak of the data sheet, 100%. {told}.",
        height=150 + 104 * len(shares),
    )
    top, full = 90 + 104 * len(shares), 940
    write(axes, 30, top + 28, "the data sheet: 100%", ha="left", weight="bold")
    axes.add_patch(Rectangle((30, top - 26), full, 30, facecolor="white", edgecolor=INK, linewidth=2))
    for row, (name, (own, again)) in enumerate(shares.items(), start=1):
        y = top - 104 * row
        text = f"{name}: {own:.0%}" + (f", {own + again:.0%} with what is made again" if again else "")
        write(axes, 30, y + 28, text, ha="left", weight="bold")
        block(axes, Box(30 + full * own / 2, y - 11, full * own, 30), STREAM)
        if again:
            block(axes, Box(30 + full * (own + again / 2), y - 11, full * again, 30), W, frozen=True)
    write(axes, 30, 26, "solid: the model's own operations.  Hatched: made a second time", ha="left")
    return axes.figure
