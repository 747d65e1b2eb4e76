"""The drawing of notebook 00, and no other."""

import numpy as np
from matplotlib.figure import Figure

from lorautils.figures.drawing import INK, NAME, STREAM, VALUES, Box, W, arrow, block, canvas, disc, pipe, tokens, write

IDS = {"The": 504, "capital": 3575, "of": 282, "France": 4649, "is": 314, "Paris": 7042}


def six_cells() -> Figure:
    """Draw the six cells as a strip: text, ids, 6 x 576, thirty layers, 49,152 bars, loss; and the gradient back."""
    axes = canvas(
        "A language model in six cells, from left to right. The text, The capital of France is Paris: 6 tokens. "
        "1, an arrow to ids: a number for each token, 504, 3575, 282, 4649, 314, 7042. "
        "2, to vectors, 6 × 576: each token is a column of 576 numbers. "
        "3, through 30 layers, which stand across a pipe, the residual stream. "
        "4, to 49,152 bars, one for each token that may come next; one stands out. "
        "5, to one number, the loss, here 3.0. "
        "6, the gradient: a dashed arrow from the loss back to the 30 layers and to the table of the vectors.",
        height=400,
    )
    middle = 235
    for place, (word, number) in enumerate(IDS.items()):
        write(axes, 68, middle + 90 - 36 * place, word)
        write(axes, 220, middle + 90 - 36 * place, str(number))
    vectors = tokens(axes, Box(354, middle, 80, 212))
    stream = pipe(axes, Box(534, middle, 168, 70))
    layers = [block(axes, Box(x, middle, 2.35, 124), W) for x in stream.x + 4.6875 * np.arange(-14.5, 15)]
    bars = block(axes, Box(758, middle, 168, 212), VALUES(0.0))
    heights = [
        2,
        3,
        2,
        2,
        16,
        2,
        3,
        2,
        2,
        2,
        170,
        2,
        3,
        2,
        5,
        2,
        2,
        3,
    ]  # as after " is": one is likely, few are possible
    for place, height in enumerate(heights):
        block(axes, Box(690 + 8 * place, bars.bottom[1] + height / 2, 5, height), STREAM if height > 100 else INK)
    write(axes, 770, middle + 83, "?", size=NAME, color=STREAM, weight="bold")
    write(axes, 940, middle, "3.0", size=NAME, weight="bold")
    steps = (
        (130, 174),
        (260, vectors.left[0]),
        (vectors.right[0], stream.left[0]),
        (stream.right[0], bars.left[0]),
        (bars.right[0], 892),
    )
    for number, (start, end) in enumerate(steps, start=1):
        arrow(axes, (start, middle), (end, middle))
        disc(axes, (start + end) / 2, middle + 36, str(number), radius=18)
    captions = {"text": 68, "ids": 220, "6 × 576": vectors.x, "30 layers": stream.x, "49,152 bars": bars.x, "loss": 940}
    for caption, x in captions.items():
        write(axes, x, 370, caption, weight="bold")
    arrow(axes, (940, middle - 34), (940, 40), (vectors.x, 40), vectors.bottom, back=True)
    arrow(axes, (stream.x, 40), (stream.x, layers[0].bottom[1]), back=True)
    disc(axes, 686, 76, "6", radius=18)
    write(axes, 716, 76, "gradient", ha="left")
    return axes.figure
