"""Schematics that everybody can read: on a slide, on a phone, in greyscale, on a dark page, in words."""

import json
import re
from itertools import combinations
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
import test_figures_nb01
import test_lecture
import test_nb04
import test_nb05
import test_nb06
import test_nb07
import test_nb08
import test_nb11
import test_nb12
import test_nb13
import test_nb14
import test_nb15
from matplotlib.patches import PathPatch, Rectangle
from test_plots import contrast

from lorautils import ROOT
from lorautils.figures import drawing, nb00, nb08
from lorautils.figures.words import alt_text

DRAWINGS = {
    "lora_layer": drawing.lora_layer,
    "k_proj": lambda: drawing.lora_layer((192, 576)),
    "up_proj": lambda: drawing.lora_layer((1536, 576)),
    "down_proj": lambda: drawing.lora_layer((576, 1536)),
    "r = 64": lambda: drawing.lora_layer((2048, 2048), r=64),
    "six_cells": nb00.six_cells,
    "three_ways": lambda: nb00.three_ways(134_515_008, 2_442_240),
    "attached": nb08.attached,
}
for module in (
    test_figures_nb01,
    test_lecture,
    test_nb04,
    test_nb05,
    test_nb06,
    test_nb07,
    test_nb08,
    test_nb11,
    test_nb12,
    test_nb13,
    test_nb14,
    test_nb15,
):
    DRAWINGS |= {f"{module.__name__[-4:]} {name}": draw for name, draw in module.DRAWINGS.items()}
NAMED = {
    "lora_layer": (
        "y = W x + s B A x", "x (tokens, in)", "W (out, in)", "lora_A (r, in)", "lora_B (out, r)", "(tokens, r)",
        "(tokens, out)", "scaling", "alpha / r", "frozen", "trained", "plus", "in = 576, out = 576, r = 8",
        "331,776", "9,216",
    ),
    "k_proj": ("in = 576, out = 192, r = 8", "110,592", "6,144"),
    "six_cells": (
        "The capital of France is Paris", "504", "7042", "6 × 576", "30 layers", "residual stream", "49,152 bars",
        "loss", "gradient",
    ),
    "three_ways": ("Prompting", "examples", "Full fine-tuning", "134,515,008", "LoRA", "2,442,240", "frozen", "dashed"),
    "attached": ("target_modules", "lora_dropout", "r = 8", "lora_alpha / r", "times 4", "frozen", "trained"),
}  # fmt: skip
COLOURS = {name: getattr(drawing, name) for name in ("W", "A", "B", "STREAM")}


@pytest.fixture(params=DRAWINGS, scope="module")
def figure(request):
    drawn = DRAWINGS[request.param]()
    drawn.canvas.draw()
    yield drawn
    plt.close("all")


@pytest.mark.parametrize(("width", "height", "least"), [(1220, 480, 23), (358, 800, 9)], ids=["slide", "phone"])
def test_text_is_large_enough_on_a_slide_and_on_a_phone(figure, width, height, least):
    """A figure has this room: on a slide of 1,280 x 720, and between the margins of a page of 390 pixels."""
    scale = min(width / figure.get_figwidth(), height / figure.get_figheight()) / 72
    sizes = {text.get_text(): text.get_fontsize() * scale for text in figure.axes[0].texts}
    assert not {text: size for text, size in sizes.items() if size < least}


def test_nothing_leaves_the_canvas(figure):
    (axes,) = figure.axes
    ground, *patches = axes.patches
    assert ground.get_gid() == "ground"
    box = figure.bbox.padded(-4)
    for artist in (*patches, *axes.collections, *axes.texts):
        assert box.contains(*(ends := artist.get_window_extent()).min) and box.contains(*ends.max), artist


def test_no_text_lies_across_the_edge_of_a_box(figure):
    """It stands beside the box, or inside: a letter in a disc."""
    (axes,) = figure.axes
    boxes = [patch.get_window_extent() for patch in axes.patches[1:] if not isinstance(patch, PathPatch)]
    boxes += [cells.get_window_extent() for cells in axes.collections]
    for text in axes.texts:
        lies = text.get_window_extent()
        met = [box for box in boxes if lies.overlaps(box)]
        assert all(box.contains(*lies.min) and box.contains(*lies.max) for box in met), text.get_text()


def test_no_text_covers_a_text_or_lies_on_an_arrow_or_a_line(figure):
    (axes,) = figure.axes
    boxes = {text: text.get_window_extent() for text in axes.texts}
    for one, other in combinations(boxes, 2):
        assert not boxes[one].overlaps(boxes[other]), f"{one.get_text()} covers {other.get_text()}"
    drawn = [patch for patch in axes.patches if type(patch) is PathPatch] + [*axes.lines]
    lines = [line.get_transform().transform_path(line.get_path()) for line in drawn]
    for text, box in boxes.items():
        assert not any(line.intersects_bbox(box, filled=False) for line in lines), text.get_text()


def test_a_dark_page_shows_a_white_ground_with_nothing_around_it(figure):
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert pixels[0, 0, 3] == 0  # the round corner
    assert tuple(pixels[40, 5]) == (255, 255, 255, 255)
    (axes,) = figure.axes
    assert not [*axes.get_xticklabels(), *axes.get_yticklabels()]  # JupyterLab would lay white under dark ones


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
def test_every_colour_stands_out_from_white(colour):
    assert contrast(colour) >= 3


@pytest.mark.parametrize("pair", list(combinations(COLOURS, 2)), ids="-".join)
def test_colours_differ_in_greyscale(pair):
    assert contrast(*(COLOURS[name] for name in pair)) >= 1.4


def test_text_is_dark_enough(figure):
    assert not [text for text in figure.axes[0].texts if contrast(text.get_color()) < 4.5]


@pytest.mark.parametrize(("shape", "r"), [((576, 576), 8), ((192, 576), 8), ((1536, 576), 8), ((2048, 2048), 64)])
def test_w_a_and_b_are_to_scale(shape, r):
    boxes = [patch for patch in drawing.lora_layer(shape, r=r).axes[0].patches if isinstance(patch, Rectangle)]
    plt.close("all")
    out, inputs = shape
    unit = boxes[0].get_width() / inputs  # W, A and B share one
    sides = [side for box in boxes for side in (box.get_height() / unit, box.get_width() / unit)]
    assert sides == pytest.approx([out, inputs, r, inputs, out, r])
    assert [bool(box.get_hatch()) for box in boxes] == [True, False, False]


@pytest.mark.parametrize(("shape", "share"), [((576, 576), "36 times"), ((192, 576), "18 times")])
def test_lora_says_in_words_what_trains_which_way_tokens_lie_and_who_chooses_alpha(shape, share):
    written = [text.get_text() for text in drawing.lora_layer(shape).axes[0].texts]
    plt.close("all")
    assert [sum(word in text for text in written) for word in ("frozen", "trained")] == [1, 2]
    for part in ("a row of the tensors", "you choose α", f"{shape[0]} × {shape[1]} numbers", share):
        assert sum(part in text for text in written) == 1, part
    assert not [text for text in written if re.search(r"\d,\d", text)]  # a decimal comma to half of the world


@pytest.mark.parametrize("name", NAMED)
def test_a_drawing_is_told_with_all_parts_and_shapes(name):
    told = alt_text(DRAWINGS[name]())
    plt.close("all")
    assert not [part for part in NAMED[name] if part not in told]


def test_words_are_there_and_do_not_tire(figure):
    assert 150 < len(alt_text(figure)) < 900


def test_only_a_figure_that_brings_words_keeps_them():
    axes = drawing.canvas("A box.")
    drawing.block(axes, drawing.Box(500, 300, 100, 100), drawing.A)
    assert alt_text(axes.figure) == "A box."
    _, chart = plt.subplots(num="a name, no words")
    chart.plot([1, 2, 3], label="loss")
    assert alt_text(chart.figure).startswith("loss: 3 points")
    plt.close("all")


def test_an_arrow_ends_at_its_last_point():
    axes = drawing.canvas("An arrow.")
    drawing.arrow(axes, (100, 100), (100, 300), (400, 300), shape="(tokens, in)")
    axes.figure.canvas.draw()
    assert type(axes.patches[-2]) is PathPatch  # by which the lines are found above
    right = axes.transData.inverted().transform(axes.patches[-1].get_window_extent().max)[0]
    (shape,) = axes.texts
    assert right == pytest.approx(400, abs=2)
    assert 100 < shape.get_position()[0] < 400 and shape.get_position()[1] > 300  # over the longest stretch
    plt.close("all")


def test_the_six_cells_show_what_notebook_00_prints():
    (path,) = (ROOT / "notebooks").glob("00_*.ipynb")
    cells = {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}
    printed = {name: "".join(cells[name]["outputs"][0]["text"]) for name in ("six-1-ids", "six-5-loss")}
    shown = [text.get_text() for text in nb00.six_cells().axes[0].texts]
    plt.close("all")
    (ids,) = re.findall(r"(?<=\[)\d[\d, ]+(?=\])", printed["six-1-ids"])
    assert set(ids.split(", ")) <= set(shown)
    (loss,) = re.findall(r"mean: (\d\.\d)", printed["six-5-loss"])
    assert loss in shown


def outlines(path) -> list[tuple[str, list[float]]]:
    """The look and the coordinates of everything that an SVG draws, but the letters."""
    drawn = [line for line in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}path") if line.get("style")]
    looks = (re.sub(r"#\w{10,}", "", line.get("style")) for line in drawn)  # without the ids of patterns
    return [
        (look, [float(x) for x in re.findall(r"-?[\d.]+", line.get("d"))])
        for look, line in zip(looks, drawn, strict=True)
    ]


def test_the_picture_of_the_readme_is_the_drawing(tmp_path):
    """Or: python -m lorautils.figures.drawing."""
    fresh = tmp_path / drawing.PICTURE.name
    drawing.save(drawing.lora_layer(), fresh)
    plt.close("all")
    written = [re.findall(r"<!-- (.+) -->", path.read_text(encoding="utf-8")) for path in (drawing.PICTURE, fresh)]
    assert written[0] == written[1] and len(written[0]) > 15
    stored, drawn = outlines(drawing.PICTURE), outlines(fresh)
    assert [look for look, _ in stored] == [look for look, _ in drawn]
    for (_, here), (_, there) in zip(stored, drawn, strict=True):
        assert here == pytest.approx(there, abs=0.5)
    assert drawing.PICTURE.stat().st_size < 150_000
