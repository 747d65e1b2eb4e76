"""The lecture as a room sees it and its speaker reads it: complete, in order, nothing cut, the numbers those measured.

The tests in a browser are skipped without a Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure.
"""

import ast
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from chromium import browser, opened, serious  # noqa: F401  (a fixture)

from lorautils import ROOT
from lorautils.figures import lecture as drawings
from tools import lecture, slides

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


@pytest.fixture(scope="module")
def deck(tmp_path_factory) -> Path:
    """The built deck."""
    folder = tmp_path_factory.mktemp("slides")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lecture, "PIXELS", 640)  # half as sharp, in half the time
        made = slides.write_lecture(folder)
    assert (made.slides, made.minutes) == (len(SLIDES), sum(slide.minutes for slide in SLIDES))
    return folder / "lecture.html"


CUT = """() => {
  const inside = Reveal.getCurrentSlide().querySelectorAll(":not(aside, aside *)");
  return [...inside].filter(part => {
    const {left, top, right, bottom, width} = part.getBoundingClientRect();
    const scrolls = getComputedStyle(part).overflow != "visible" && part.scrollHeight > part.clientHeight + 1;
    return width && (left < 0 || top < 0 || right > innerWidth || bottom > innerHeight || scrolls);
  }).map(part => `${part.tagName}: ${part.innerText.slice(0, 40)}`);
}"""
SEEN = """() => {
  const slide = Reveal.getCurrentSlide(), size = part => parseFloat(getComputedStyle(part).fontSize);
  const image = slide.querySelector("img");
  return {
    title: slide.querySelector("h2").innerText,
    code: [...slide.querySelectorAll("pre, pre *")].map(size),
    text: [...slide.querySelectorAll("p, li, td, th")].filter(part => !part.closest("aside")).map(size),
    image: image ? image.complete && image.naturalWidth > 0 && image.getBoundingClientRect().height > 150 : null,
    notes: slide.querySelector("aside.notes").textContent,
  };
}"""


def test_the_right_arrow_goes_from_the_first_to_the_last_slide_and_nothing_is_cut(browser, deck):  # noqa: F811
    with opened(browser, viewport={"width": slides.WIDTH, "height": slides.HEIGHT}) as (page, outside, errors):
        page.goto(deck.as_uri())
        page.wait_for_function("() => window.Reveal && Reveal.isReady()")
        assert page.evaluate("() => Reveal.getTotalSlides()") == len(SLIDES)
        clock = 0
        for slide in SLIDES:
            seen = page.evaluate(SEEN)
            assert seen["title"] == slide.title
            assert page.evaluate(CUT) == [], slide.title
            assert min(seen["code"], default=28) >= 28 and min(seen["text"], default=30) >= 30, slide.title
            assert seen["image"] in ((True,) if slide.figure else (None,)), slide.title
            begins, ends = map(int, re.search(r"Minute (\d+) to (\d+)", seen["notes"]).groups())
            assert begins == clock < ends <= 90
            assert "Say" in seen["notes"] or "Ask" in seen["notes"]
            clock = ends
            page.keyboard.press("ArrowRight")
        assert page.evaluate("() => Reveal.isLastSlide()")
    assert outside == errors == []


def test_axe_finds_no_fault_on_any_slide_of_the_lecture(browser, deck):  # noqa: F811
    with opened(browser, viewport={"width": slides.WIDTH, "height": slides.HEIGHT}) as (page, outside, errors):
        page.goto(f"{deck.as_uri()}?print-pdf")  # all slides at once
        page.wait_for_function("() => window.Reveal && Reveal.isReady()")
        assert serious(page, contrast=True) == []
    assert outside == errors == []
