"""Schematics that everybody can read: on a slide, on a phone, in greyscale, on a dark page, and in words."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Rectangle

from lorautils import plots
from lorautils.figures import drawing, nb00

DRAWINGS = {
    "lora_layer": drawing.lora_layer,
    "r = 64": lambda: drawing.lora_layer(r=64, size=2048),
    "six_cells": nb00.six_cells,
}
NAMED = {
    "lora_layer": (
        "y = W x + s B A x", "hidden_states", "W (out, in)", "lora_A (r, in)", "lora_B (out, r)", "(tokens, in)",
        "(tokens, r)", "(tokens, out)", "scaling", "alpha / r", "frozen", "trained", "plus", "to scale: r = 8 of 576",
    ),
    "six_cells": (
        "The capital of France is Paris", "504", "7042", "6 × 576", "30 layers", "residual stream", "49,152 bars",
        "loss", "gradient",
    ),
}  # fmt: skip
COLOURS = {name: getattr(drawing, name) for name in ("W", "A", "B", "STREAM")}


@pytest.fixture(params=DRAWINGS)
def figure(request):
    drawn = DRAWINGS[request.param]()
    drawn.canvas.draw()
    yield drawn
    plt.close("all")


def contrast(colour: str, other: str = "white") -> float:
    """The ratio of contrast of WCAG 2.2."""
    light = []
    for channels in (to_rgb(colour), to_rgb(other)):
        linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        light.append(0.05 + sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return max(light) / min(light)


@pytest.mark.parametrize(("width", "least"), [(1280, 18), (390, 9)])
def test_text_is_large_enough_on_a_slide_and_on_a_phone(figure, width, least):
    sizes = {text.get_text(): text.get_fontsize() / 72 / figure.get_figwidth() * width for text in figure.axes[0].texts}
    assert not {text: size for text, size in sizes.items() if size < least}


def test_nothing_leaves_the_canvas(figure):
    (axes,) = figure.axes
    ground, *patches = axes.patches
    assert ground.get_gid() == "ground"
    box = figure.bbox.padded(-4)
    for artist in (*patches, *axes.collections, *axes.texts):
        assert box.contains(*(ends := artist.get_window_extent()).min) and box.contains(*ends.max), artist


def test_no_text_covers_a_text_or_lies_on_an_arrow(figure):
    (axes,) = figure.axes
    boxes = {text: text.get_window_extent() for text in axes.texts}
    for one, other in combinations(boxes, 2):
        assert not boxes[one].overlaps(boxes[other]), f"{one.get_text()} covers {other.get_text()}"
    lines = [
        patch.get_transform().transform_path(patch.get_path()) for patch in axes.patches if type(patch) is PathPatch
    ]
    assert len(lines) >= 7
    for text, box in boxes.items():
        assert not any(line.intersects_bbox(box, filled=False) for line in lines), text.get_text()


def test_a_dark_page_shows_a_white_ground_with_nothing_around_it(figure):
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert pixels[0, 0, 3] == 0  # the round corner
    assert tuple(pixels[40, 5]) == (255, 255, 255, 255)


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
def test_every_colour_stands_out_from_white(colour):
    assert contrast(colour) >= 3


@pytest.mark.parametrize("pair", list(combinations(COLOURS, 2)), ids="-".join)
def test_colours_differ_in_greyscale(pair):
    assert contrast(*(COLOURS[name] for name in pair)) >= 1.4


def test_text_is_dark_enough(figure):
    assert not [text for text in figure.axes[0].texts if contrast(text.get_color()) < 4.5]


@pytest.mark.parametrize(("r", "size"), [(8, 576), (64, 2048)])
def test_w_a_and_b_are_to_scale(r, size):
    boxes = [patch for patch in drawing.lora_layer(r=r, size=size).axes[0].patches if isinstance(patch, Rectangle)]
    plt.close("all")
    w, a, b = (box.get_width() * box.get_height() for box in boxes)
    assert w == pytest.approx(a * size / r) and w == pytest.approx(b * size / r)
    assert boxes[0].get_width() == pytest.approx(boxes[1].get_width())  # both take `in` numbers
    assert boxes[0].get_height() == pytest.approx(boxes[2].get_height())  # both give `out` numbers
    assert [bool(box.get_hatch()) for box in boxes] == [True, False, False]


@pytest.mark.parametrize("name", NAMED)
def test_a_drawing_is_told_with_all_parts_and_shapes(name):
    told = plots.alt_text(DRAWINGS[name]())
    plt.close("all")
    assert not [part for part in NAMED[name] if part not in told]
    assert len(told) < 900


def test_only_a_figure_that_brings_words_keeps_them():
    axes = drawing.canvas("A box.")
    drawing.block(axes, drawing.Box(500, 300, 100, 100), drawing.A)
    assert plots.alt_text(axes.figure) == "A box."
    _, chart = plt.subplots(num="a name, no words")
    chart.plot([1, 2, 3], label="loss")
    assert plots.alt_text(chart.figure).startswith("loss: 3 points")
    plt.close("all")


def test_an_arrow_ends_at_its_last_point():
    axes = drawing.canvas("An arrow.")
    drawing.arrow(axes, (100, 100), (100, 300), (400, 300), shape="(tokens, in)")
    axes.figure.canvas.draw()
    right = axes.transData.inverted().transform(axes.patches[-1].get_window_extent().max)[0]
    (shape,) = axes.texts
    assert right == pytest.approx(400, abs=2)
    assert 100 < shape.get_position()[0] < 400 and shape.get_position()[1] > 300  # over the longest stretch
    plt.close("all")
