"""The lecture: complete, in order, its numbers those measured; test_slides.py shows it in a browser."""

import ast
import re

import matplotlib.pyplot as plt
import nbformat
import pytest

from lorautils import ROOT
from lorautils.figures import lecture as drawings
from tools import lecture

SLIDES = list(lecture.slides())
CASES = {"no examples": 3.0, "three examples": 20.0}
DRAWINGS = {
    "fields": lambda: drawings.fields(lecture.PHRASE, "30 9 * * 1-5"),
    "ask": lambda: drawings.ask(lecture.PHRASE, f"Cron: {lecture.PHRASE}"),
    "tuned": lambda: drawings.ask(lecture.PHRASE, "30 9 * * 1-5", adapter=True),
    "bars": lambda: drawings.bars("right answers", {"before, any test": 0}, CASES, end=20, unit=" %"),
    "bars asked": lambda: drawings.bars("loss", {"before": 3}, CASES, end=20, hidden=True),
    "tensors": lambda: drawings.tensors({"loaded": 0, "merged": 210}),
    "change": drawings.change,
    "starts": lecture.starting,
}


def test_about_forty_slides_fill_six_parts_and_at_most_ninety_minutes():
    assert 38 <= len(SLIDES) <= 46
    assert len({slide.part for slide in SLIDES}) == 6
    assert SLIDES[-1].begins + SLIDES[-1].minutes <= 90
    assert [slide.begins + slide.minutes for slide in SLIDES[:-1]] == [slide.begins for slide in SLIDES[1:]]
    assert min(slide.minutes for slide in SLIDES) >= 1


def test_almost_every_slide_has_a_figure_and_each_has_little_text():
    drawn = [slide for slide in SLIDES if slide.figure]
    assert len(drawn) >= 0.9 * len(SLIDES)
    assert all(len(slide.text.split()) <= 40 for slide in drawn)
    assert {slide.figure for slide in drawn} <= set(lecture.FIGURES)


def test_each_prediction_is_asked_in_the_notes_and_answered_on_the_next_slide():
    asked = [number for number, slide in enumerate(SLIDES) if "**Predict.**" in slide.text]
    assert len(asked) >= 12
    for number in asked:
        slide, answer = SLIDES[number], SLIDES[number + 1]
        assert "**Ask.**" in slide.notes, slide.title
        assert "**Predict.**" not in answer.text, answer.title
        if slide.figure.endswith("-asked"):
            assert answer.figure in (slide.figure.removesuffix("-asked"), "cut-or-trained"), answer.title


def test_a_prediction_does_not_show_its_answer():
    for name, values in lecture.BARS.items():
        given = values()
        plt.close("all")
        written = [text.get_text() for text in lecture.FIGURES[f"{name}-asked"]().axes[0].texts]
        shown = [text.get_text() for text in lecture.FIGURES[name]().axes[0].texts]
        assert written.count("?") == len(given["asked"]) and not shown.count("?")
        told = lecture.FIGURES[f"{name}-asked"]().words
        assert all(f"{label}: ?" in told for label in given["asked"])
    plt.close("all")


def code_of(place: str) -> ast.Module:
    """The code of a notebook's cell."""
    number, _, name = place.partition("#")
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return ast.parse(next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.id == name))


def test_the_code_on_the_slides_is_that_of_the_notebooks():
    layer, recipe = (
        ast.parse(re.search(r"```python\n(.+?)```", slide.text, re.DOTALL)[1])
        for slide in SLIDES
        if "```python" in slide.text
    )
    assert ast.dump(layer) == ast.dump(code_of("06#naive-layer"))
    assert ast.dump(recipe.body[0]) in map(ast.dump, code_of("07#the-config").body)


def test_a_number_is_the_one_that_the_notebook_printed_and_a_lost_one_stops_the_build(monkeypatch):
    assert all(re.fullmatch(r"[\d.,]*\d", lecture.number(name)) for name in lecture.NUMBERS)
    assert lecture.number("cut", "480") in lecture.notebook("02")["truncate-all"]
    monkeypatch.setattr(lecture, "notebook", lambda number: {"truncate-all": "480   1.26    9.99   7.66"})
    assert lecture.value("cut 480") == 9.99
    with pytest.raises(IndexError):
        lecture.number("cut", "288")
