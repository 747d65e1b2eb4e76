"""The decks as a class sees them: nothing is cut off, nothing is asked of another host, the speaker has notes.

Skipped where there is no Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure.
"""

import re

import nbformat
import pytest
from chromium import browser, opened, serious, typeset  # noqa: F401  (a fixture)

from tools import lecture, slides
from tools.pages import Page

LECTURE = list(lecture.slides())
STEMS = sorted(path.stem for path in (slides.ROOT / "notebooks").glob("*.ipynb"))
READY = "() => window.Reveal && Reveal.isReady() && window.MathJax"
# Go through the deck until there is no next slide; MathJax finishes each before it is measured.
TALL_SLIDES = """async () => {
  const tall = [], seen = new Set(), {width, height} = Reveal.getConfig();
  for (;;) {
    const slide = Reveal.getCurrentSlide();
    if (!seen.has(slide)) await new Promise(done => MathJax.Hub.Queue(done));
    seen.add(slide);
    const scrolls = [...slide.querySelectorAll("pre, .jp-RenderedMarkdown")].filter(
      box => getComputedStyle(box).overflowY == "auto" && box.scrollHeight > box.clientHeight + 1);
    if (slide.scrollHeight > height || slide.scrollWidth > width || scrolls.length)
      tall.push(`${slide.scrollWidth} x ${slide.scrollHeight}: ${slide.innerText.slice(0, 60)}`);
    const before = JSON.stringify(Reveal.getIndices());
    Reveal.next();
    if (JSON.stringify(Reveal.getIndices()) == before) return [tall, seen.size];
  }
}"""


@pytest.fixture(scope="module")
def decks():
    """The folder of the built decks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lecture, "PIXELS", 640)  # half as sharp, in half the time
        assert slides.main() == 0
    return slides.DECKS


def cell(source: str, kind: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def pages(*cells: nbformat.NotebookNode) -> list[list[str]]:
    """The sources on each slide of a notebook of these cells."""
    return [[part.source for part in slide] for slide in slides.paged(nbformat.v4.new_notebook(cells=list(cells)))]


def test_metadata_begins_slides_and_a_full_slide_goes_on():
    paragraph = " ".join(["word"] * 60)
    half = "\n\n".join([paragraph] * 2)
    assert pages(cell(half, "slide"), cell("b", "fragment"), cell(half, "subslide"), cell("d", "skip")) == [
        [paragraph, paragraph, "b"],
        [paragraph, paragraph],
    ]
    long = pages(cell("\n\n".join([paragraph] * 9), "slide"))
    assert len(long) > 1
    assert sum(map(len, long)) == 9


def test_a_thin_slide_is_joined_to_its_neighbour_but_a_section_begins_a_slide():
    assert pages(cell("# A", "slide"), cell("b", "subslide"), cell("## C", "slide")) == [["# A", "b"], ["## C"]]


def test_a_deck_leaves_out_exercises_questions_and_minutes():
    opening = cell("# A\n\n*Run: about 1 minute. Reading: about 2 minutes.*\n\nText.", "slide")
    asked = [cell("## Exercises", "slide"), cell("Solve.", "subslide"), cell("## Questions people ask", "slide")]
    after = cell("## Where this goes next", "slide")
    assert pages(opening, *asked, after) == [["# A\n\nText."], ["## Where this goes next"]]


def test_a_table_that_is_too_high_goes_on_under_its_head_and_loses_no_row():
    head, rule = "| knob | what it does |", "|---|---|"
    rows = [f"| {number} | {'a few words ' * 10}|" for number in range(30)]
    deck = pages(cell("\n".join([head, rule, *rows]), "slide"))
    parts = [part.split("\n") for slide in deck for part in slide]
    assert len(parts) > 1
    assert all(part[:2] == [head, rule] for part in parts)
    assert [row for part in parts for row in part[2:]] == rows


def test_long_code_and_long_outputs_go_on_and_lose_no_line():
    lines = [f"x = {number}" for number in range(60)]
    printed = nbformat.v4.new_output("stream", text="\n".join(lines) + "\n")
    code = nbformat.v4.new_code_cell("\n".join(lines), outputs=[printed])
    deck = slides.paged(nbformat.v4.new_notebook(cells=[code]))
    parts = [part for slide in deck for part in slide]
    assert "\n".join(part.source for part in parts if not part.outputs).split("\n") == lines
    assert "".join(part.outputs[0].text for part in parts if part.outputs).split("\n")[:-1] == lines
    assert len(deck) > 4


def test_notes_hold_minutes_that_add_up_and_the_question():
    nb = nbformat.v4.new_notebook(cells=[cell("# A", "slide"), cell("> **Predict.** How many?\n> Guess.", "slide")])
    notes = [
        c.source for c in slides.with_notes(slides.paged(nb), 10) if c.metadata["slideshow"]["slide_type"] == "notes"
    ]
    assert len(notes) == 2
    assert "10 of 10" in notes[-1]
    assert "Ask the class, wait for hands, then go on: How many?" in notes[-1]


def test_links_lead_to_decks_or_are_plain_text():
    text = slides.linked("[a](02_svd.ipynb#x), [b](../docs/c.md), [d](#here), [e](https://example.org), ![f](../g.png)")
    assert text == "[a](02_svd.html), b, d, [e](https://example.org), ![f](../g.png)"


def test_every_notebook_has_a_deck_with_its_predictions_in_the_notes(decks):
    assert {link.removesuffix(".html") for link in Page(decks / "index.html").links} == {"lecture", *STEMS}
    listed = re.findall(r"<td>(\d+)</td><td>(\d+)</td>", (decks / "index.html").read_text())
    assert listed[0] == (str(len(LECTURE)), str(sum(slide.minutes for slide in LECTURE)))
    assert len(listed) == 1 + len(STEMS) and all(int(count) > 20 and int(minutes) for count, minutes in listed)
    for name in STEMS:
        html = (decks / f"{name}.html").read_text()
        notes = re.findall(r'<aside class="notes">(.*?)</aside>', html, re.DOTALL)
        shown = html.count("<strong>Predict.</strong>")
        assert sum(note.count("Ask the class") for note in notes) == shown > 0, name


@pytest.mark.parametrize("name", STEMS)
def test_no_slide_is_cut_off_and_no_other_host_is_asked(browser, decks, name):  # noqa: F811
    with opened(browser, viewport={"width": slides.WIDTH, "height": slides.HEIGHT}) as (page, outside, errors):
        page.goto((decks / f"{name}.html").as_uri())
        page.wait_for_function(READY)
        typeset(page)
        tall, seen = page.evaluate(TALL_SLIDES)
        assert set(tall) == set()
        assert seen == page.evaluate("() => Reveal.getTotalSlides()") > 20
        assert page.locator(".merror, .MathJax_Error").count() == 0
    assert outside == []
    assert errors == []


def test_the_right_arrow_reaches_every_slide(browser, decks):  # noqa: F811
    with opened(browser, viewport={"width": slides.WIDTH, "height": slides.HEIGHT}) as (page, _, errors):
        page.goto((decks / f"{STEMS[0]}.html").as_uri())
        page.wait_for_function(READY)
        seen, total = {0}, page.evaluate("() => Reveal.getTotalSlides()")
        for _ in range(4 * total):  # a press shows a slide, or one more part of it
            page.keyboard.press("ArrowRight")
            seen.add(page.evaluate("() => Reveal.getSlidePastCount()"))
        assert seen == set(range(total))
    assert errors == []


FIRST, *LATER = STEMS
LONG = pytest.mark.long("3 to 10 s a deck; the first deck and the index are looked at")


@pytest.mark.parametrize("name", ["index", FIRST, *(pytest.param(name, marks=LONG) for name in LATER)])
def test_axe_finds_no_fault_on_the_slides(browser, decks, name):  # noqa: F811
    with opened(browser, viewport={"width": slides.WIDTH, "height": slides.HEIGHT}) as (page, outside, errors):
        page.goto(f"{(decks / name).as_uri()}.html?print-pdf")  # all slides at once
        if name != "index":
            page.wait_for_function(READY)
        typeset(page)
        assert serious(page, contrast=name in ("index", "03_projection_matrices", "08_peft_lora_run")) == []
    assert outside == errors == []


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


def test_the_right_arrow_goes_from_the_first_to_the_last_slide_and_nothing_is_cut(browser, decks):  # noqa: F811
    with opened(browser, viewport={"width": slides.WIDTH, "height": slides.HEIGHT}) as (page, outside, errors):
        page.goto((decks / "lecture.html").as_uri())
        page.wait_for_function("() => window.Reveal && Reveal.isReady()")
        assert page.evaluate("() => Reveal.getTotalSlides()") == len(LECTURE)
        clock = 0
        for slide in LECTURE:
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


def test_axe_finds_no_fault_on_any_slide_of_the_lecture(browser, decks):  # noqa: F811
    with opened(browser, viewport={"width": slides.WIDTH, "height": slides.HEIGHT}) as (page, outside, errors):
        page.goto((decks / "lecture.html").as_uri() + "?print-pdf")  # all slides at once
        page.wait_for_function("() => window.Reveal && Reveal.isReady()")
        assert serious(page, contrast=True) == []
    assert outside == errors == []
