"""Figures that everybody can read: colours that stand out from white, and a text for who cannot see them."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lorautils import plots
from lorautils.figures import nb03, nb08
from lorautils.figures.labels import label_apart
from lorautils.figures.words import alt_text

COLOURS = ("BLUE", "ORANGE", "GREEN", "RED", "PURPLE", "SKY", "GREY")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def contrast(colour: str, other: str = "white") -> float:
    """The ratio of contrast of WCAG 2.2."""
    light = []
    for channels in (to_rgb(colour), to_rgb(other)):
        linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        light.append(0.05 + sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return max(light) / min(light)


@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_stands_out_from_white(name):
    assert contrast(getattr(plots, name)) >= 3


def test_a_curve_is_told_in_words():
    axes = nb08.loss_curve([4.0, 3.0, 2.0, 1.0], window=2, title="training")
    assert alt_text(axes.figure) == (
        "training. loss (nats per answer token) against optimiser step. "
        "each step: 4 points from 4 to 1, lowest 1, highest 4. "
        "mean of 2 steps: 3 points from 3.5 to 1.5, lowest 1.5, highest 3.5."
    )


@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_of_a_few_steps_is_drawn_without_a_mean_and_with_whole_steps(steps):
    axes = nb08.loss_curve([2.0, 1.9, 1.8, 1.7][:steps])
    (line,) = axes.lines
    assert line.get_marker() == "o"
    axes.figure.canvas.draw()
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert not [label for label in axes.get_yticklabels(which="both") if "10^" in label.get_text()]


def test_bars_are_told_with_their_groups():
    axes = plots.grouped_bars({"LoRA": {"A": 1, "B": 2.5}}, ylabel="score")
    assert "LoRA: A 1, B 2.5" in alt_text(axes.figure)


def test_lines_with_intervals_are_told_by_name_and_without_their_caps():
    lines = {"r = 8": {1: (2.0, 1.0, 3.0), 2: (4.0, np.nan, np.nan)}, "r = 1": {1: (1.0, 0.0, 2.0)}}
    axes = plots.error_lines(lines, xlabel="rate", ylabel="score")
    assert alt_text(axes.figure) == (
        "score against rate. r = 8: 2 points from 2 to 4, lowest 2, highest 4. "
        "r = 1: 1 points from 1 to 1, lowest 1, highest 1."
    )


def test_lying_bars_are_told_by_their_length():
    _, axes = plt.subplots()
    axes.barh(["here", "there"], [3, 4], height=0.6, label="bytes")
    assert "bytes: here 3, there 4" in alt_text(axes.figure)


def test_what_is_empty_or_has_dates_is_told_too():
    _, axes = plt.subplots()
    axes.plot([], [], label="for the legend")
    axes.bar([], [])
    axes.plot([1, 2, 3], np.array(["2026-01-01", "2026-01-02", "2026-01-03"], "datetime64[D]"), label="days")
    told = alt_text(axes.figure)
    assert "days: 3 points" in told and "legend" not in told


def test_panels_images_points_and_labels_are_told():
    figure, panels = plt.subplots(1, 2)
    image = panels[0].imshow(np.eye(2))
    panels[1].set_ylabel("right answers")
    figure.colorbar(image, ax=panels)
    told = alt_text(figure)
    assert told == "Panel 1: image of 2 by 2 values from 0 to 1. Panel 2: right answers."  # and no colour bar
    words = {"days": ["Monday", "Friday"], "months": ["May"]}
    told = alt_text(nb03.word_map(np.array([[0, 0], [1, 1], [0, 1]]), words).figure)
    assert "points days: 2" in told
    assert "labels: Monday, Friday, May" in told


def test_words_that_lie_close_have_their_names_in_an_enlarged_view():
    points = np.array([[0, 0], [10, 10], [10.1, 10.1], [10.2, 10]])
    words = {"verbs": ["go"], "nouns": ["map", "way", "path"]}
    axes = nb03.word_map(points, words, closer=(9.9, 10.3, 9.9, 10.2))
    view = next(inner for inner in axes.figure.axes if inner is not axes)
    assert {text.get_text() for text in axes.texts} == {"go"}
    assert {text.get_text() for text in view.texts} == {"map", "way", "path"}
    assert all(word in alt_text(axes.figure) for word in ("go", "map", "way", "path"))


def test_shadows_on_a_plane_tell_how_far_they_are():
    columns = np.array([[2, 2], [2, 0], [3, 2]])
    told = alt_text(nb03.light(columns, point=[0, -1, 4], slanted=[3, 2, 4]))
    assert "3.00 from b" in told and "4.24 from b" in told


def test_eigenvalues_on_one_spot_are_counted():
    values = [0.0] * 20 + [1.0] * 30 + [0.5, -1j]
    told = alt_text(nb03.eigenvalues({name: values for name in ("P", "noise", "layer 0", "layer 10")}))
    assert told.count("labels: 20 at 0, 30 at 1") == 4


def test_the_labels_of_equal_points_can_be_read():
    """Three points at one place: no label covers another one, or a point."""
    points = np.array([[1.0, 1.0]] * 3 + [[1.2, 1.0], [3.0, 2.0]])
    _, axes = plt.subplots()
    axes.plot(*points.T, "o")
    label_apart(axes, points, ["LoRA", "rsLoRA", "DoRA", "IA3", "far away"])
    axes.figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line to the point
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    dots = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in axes.transData.transform(points)]
    assert not any(box.overlaps(dot) for box in boxes for dot in dots)
