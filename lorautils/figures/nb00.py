"""The drawings of notebook 00: a model in six cells, and three ways to make it do a job."""

import numpy as np
from matplotlib.figure import Figure

from lorautils.figures.drawing import (
    INK,
    NAME,
    STREAM,
    VALUES,
    A,
    Box,
    W,
    arrow,
    block,
    canvas,
    disc,
    lock,
    pipe,
    tokens,
    write,
)

IDS = {"The": 504, "capital": 3575, "of": 282, "France": 4649, "is": 314, "Paris": 7042}
HEIGHTS = (2, 3, 2, 2, 16, 2, 3, 2, 2, 2, 2, 3, 2, 5, 196, 2, 2, 3)  # as after " is": one is likely, few are possible


def six_cells() -> Figure:
    """Draw the six cells as a strip: text, ids, 6 x 576, thirty layers, 49,152 bars, loss; and the gradient back."""
    axes = canvas(
        "A language model in six steps, from left to right. The text, The capital of France is Paris: 6 tokens. "
        "1, an arrow to ids: a number for each token, 504, 3575, 282, 4649, 314, 7042. "
        "2, to vectors, 6 × 576: each token is a column of 576 numbers. "
        "3, through 30 layers, which stand across a pipe, the residual stream. "
        "4, to probabilities, 6 × 49,152: after each token, 49,152 bars, one for each token that may come next; shown "
        "are those after one token, and one stands out. "
        "5, to one number, the loss, here 3.0. "
        "6, the gradient: a dashed arrow from the loss back to the 30 layers and to the table of the vectors.",
        height=424,
    )
    middle, high = 224, 212
    for place, (word, number) in enumerate(IDS.items()):
        write(axes, 72, middle + 90 - 36 * place, word)
        write(axes, 216, middle + 90 - 36 * place, str(number))
    vectors = tokens(axes, Box(350, middle, 80, high))
    stream = pipe(axes, Box(530, middle, 168, 70))
    layers = [block(axes, Box(x, middle, 2.35, 124), W) for x in stream.x + 4.6875 * np.arange(-14.5, 15)]
    bars = block(axes, Box(756, middle, 172, high), VALUES(0.0))
    for place, height in enumerate(HEIGHTS):
        bar = Box(684 + 8.5 * place, bars.bottom[1] + height / 2, 5, height)
        block(axes, bar, STREAM if height > 100 else INK)
    write(axes, 730, middle + 78, "next")
    write(axes, 722, middle + 44, "token?")
    write(axes, 940, middle, "3.0", size=NAME, weight="bold")
    gaps = ((132, 172), (260, vectors.left[0]), (vectors.right[0], stream.left[0]), (stream.right[0], bars.left[0]))
    for number, (start, end) in enumerate((*gaps, (bars.right[0], 892)), start=1):
        arrow(axes, (start, middle), (end, middle))
        disc(axes, (start + end) / 2, middle + 36, str(number), radius=18)
    captions = {
        ("text", "6 tokens"): 72,
        ("ids", "6"): 216,
        ("vectors", "6 × 576"): vectors.x,
        ("layers", "30"): stream.x,
        ("probabilities", "6 × 49,152"): bars.x,
        ("loss", "1"): 940,
    }
    for (what, shape), x in captions.items():
        write(axes, x, 396, what, weight="bold")
        write(axes, x, 362, shape)
    arrow(axes, (940, middle - 34), (940, 40), (vectors.x, 40), vectors.bottom, back=True)
    arrow(axes, (stream.x, 40), (stream.x, layers[0].bottom[1]), back=True)
    disc(axes, 686, 76, "6", radius=18)
    write(axes, 716, 76, "gradient", ha="left")
    return axes.figure


def three_ways(model: int, adapter: int) -> Figure:
    """Draw prompting, full fine-tuning and LoRA side by side; model and adapter, in parameters, are areas to scale."""
    side = 148
    small = side * (adapter / model) ** 0.5
    axes = canvas(
        "Three ways to make a model do a job, side by side: tokens go into a square, the model, and tokens come out. "
        "Prompting: the model is frozen, hatched and with a lock, and more tokens go in, the examples; it trains "
        f"nothing. Full fine-tuning: the whole model is trained, one solid colour, {model:,} numbers; a dashed arrow, "
        f"the gradient, leads from the output back to it. LoRA: the model is frozen, and a small solid square on top "
        f"of it is trained, {adapter:,} numbers; the gradient leads to that. The areas of the squares are to scale.",
        height=376,
    )
    middle, trained = 212, ("nothing", f"{model:,}", f"{adapter:,}")
    for x, title, numbers in zip((222, 536, 848), ("prompting", "full fine-tuning", "LoRA"), trained, strict=True):
        examples, frozen = 6 * (title == "prompting"), title != "full fine-tuning"
        width = 26 + 13 * examples
        asked = tokens(axes, Box(x - 102 - width / 2, middle, width, 96), count=2 + examples, cells=7)
        given = tokens(axes, Box(x + 124, middle, 26, 96), count=2, cells=7, seed=1)
        whole = block(axes, Box(x, middle, side, side), W if frozen else A, frozen=frozen)
        arrow(axes, asked.right, whole.left)
        arrow(axes, whole.right, given.left)
        write(axes, x, 346, title, weight="bold")
        write(axes, x, 66, "trained:")
        write(axes, x, 30, numbers)
        if examples:
            write(axes, 12, middle + 92, "examples", ha="left")
        if frozen:
            lock(axes, x, middle, size=56)
        else:
            arrow(axes, given.bottom, (given.x, 108), (x, 108), whole.bottom, back=True)
    part = block(axes, Box(x, whole.top[1] + small / 2, small, small), A)
    arrow(axes, given.top, (given.x, part.y), part.right, back=True)
    return axes.figure
