"""The rendered course as readers see it: it builds without a warning, no link is dead, and a browser finds no fault.

Skipped where there is no Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure.
"""

import functools
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from chromium import browser, opened, serious, typeset  # noqa: F401  (a fixture)

from tools import generated
from tools.generated import NOTEBOOKS
from tools.pages import Page, alt_text, faults, figures, without_bars
from tools.website import SITE, with_links

ROOT = Path(__file__).parent.parent
STEMS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
PAGES = ("glossary", "live", "figures", "records", "hands")  # of docs/, those with a layout of their own
SIDEWAYS = "() => document.documentElement.scrollWidth - innerWidth"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built course."""
    build = subprocess.run([sys.executable, "-m", "tools.website"], cwd=ROOT, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    return SITE


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, as long as the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where the built course is served."""
    with served(site) as url:
        yield url


def notebook(name: str) -> nbformat.NotebookNode:
    return without_bars(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))


def test_every_notebook_is_a_page_and_every_cell_an_anchor(site):
    for name in STEMS:
        missing = {cell.id for cell in notebook(name).cells} - set(Page(site / "notebooks" / f"{name}.html").ids)
        assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize("path", generated.PAGES, ids=lambda path: path.name)
def test_a_page_of_the_repository_stores_what_is_generated(path):
    stored = path.read_text(encoding="utf-8")
    assert stored == generated.filled(stored), "run `.venv/bin/python -m tools.generated`"


def test_a_place_is_filled_again_and_the_rest_of_a_page_stays():
    page = "Before, <!-- exercise_minutes 00 -->{}<!-- end --> after.\n\n<!-- memory -->\n{}\n<!-- end -->\n\nEnd.\n"
    filled = generated.filled(page.format("wrong", "old"))
    found = re.fullmatch(page.format(r"(\d+)", "(.+)"), filled, re.DOTALL)
    assert found and found[2].count("\n| ") == len(STEMS)
    assert generated.filled(filled) == filled


def test_the_course_map_and_the_navigation_name_every_notebook(site):
    links = Page(site / "index.html").links
    for name in STEMS:
        assert links.count(f"notebooks/{name}.html") >= 2


def test_every_faulty_link_and_picture_is_found(tmp_path):
    (tmp_path / "good.html").write_text(
        "<p id='here'><a href='https://elsewhere.example/'>out</a><img src='data:,' alt='a line'></p>"
    )
    (tmp_path / "bad.html").write_text(
        "<a href='gone.html'></a><a href='good.html#there'></a><a href='good.html#here'></a><a href='#no'></a>"
        "<b id='two'></b><b id='two'></b><script src='https://cdn.example/a.js'></script>"
        "<img src='data:,1' alt=' '><img src='data:,2'>"
    )
    found = list(faults(tmp_path))
    assert len(found) == 7
    assert all(line.startswith("bad.html: ") for line in found)
    parts = ("gone.html is", "#there names", "#no names", "'two' stands twice", "cdn.example/a.js is")
    for part in (*parts, "data:,1 has no words", "data:,2 has no words"):
        assert any(part in line for line in found), part


def test_every_figure_has_its_own_words_on_one_line(site):
    for name in STEMS:
        stored = [alt_text(figure) for cell in notebook(name).cells for figure in figures(cell)]
        assert not [alt for alt in stored if not alt or "\n" in alt]
        shown = Page(site / "notebooks" / f"{name}.html").pictures
        assert [alt for _, alt in shown if alt in stored] == stored, name


def asked(nb: nbformat.NotebookNode) -> list[str]:
    """The first code cell with an output after each question, where no heading stands between."""
    found, waiting = [], False
    for cell in nb.cells:
        if cell.cell_type == "code":
            if waiting and cell.outputs:
                found.append(cell.id)
                waiting = False
        elif re.search(r"^(> \*\*Predict\.\*\*|#)", cell.source, re.MULTILINE):
            waiting = "> **Predict.**" in cell.source
    return found


def test_what_answers_a_question_is_folded(site):
    for name in STEMS:
        parts = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8").split('<details class="answer">')
        folded = [re.findall(r'class="cell-link"><a id="([^"]+)"', part)[-1] for part in parts[:-1]]
        assert folded == asked(notebook(name)) != [], name
        assert not [part for part in parts if "0%|" in part], name


def test_all_that_tells_is_folded_up_to_the_next_question(browser, address):  # noqa: F811
    with opened(browser) as (page, _, _):
        page.goto(f"{address}/notebooks/00_start_here.html")
        assert page.get_by_text("The model has read two trillion tokens").is_visible()
        assert not page.get_by_text("Perhaps the wording is unlucky").is_visible()
        assert not page.get_by_text("This cron expression will run every weekday").is_visible()
        assert page.get_by_text("how many of the 10 will be exact").is_visible()
        page.goto(f"{address}/notebooks/02_svd_low_rank_approximation.html")
        assert not page.get_by_text("Compare with section 6").is_visible()
        assert page.get_by_text("is trained LoRA better than the best rank-1 part").is_visible()


def test_answers_open_by_keyboard_by_a_link_and_all_at_once(browser, address):  # noqa: F811
    hidden = "details.answer:not([open])"
    with opened(browser) as (page, _, errors):
        page.goto(f"{address}/notebooks/00_start_here.html#read-base")
        assert page.locator("details.answer").first.get_attribute("open") is not None
        page.locator(f"{hidden} > summary").first.focus()
        folded = page.locator(hidden).count()
        page.keyboard.press("Enter")
        assert page.locator(hidden).count() == folded - 1
        page.get_by_role("button", name="Show all answers").press("Space")
        assert page.locator(hidden).count() == 0
        page.goto(f"{address}/notebooks/01_matrix_rank.html")  # the choice stays
        assert page.locator(hidden).count() == 0
        page.get_by_role("button", name="Fold all answers").click()
        assert page.locator("details.answer[open]").count() == 0
    assert errors == []


GUESSES = "Object.fromEntries(Object.entries(localStorage).filter(([key]) => key.startsWith('guesses')))"


def guess(page, cell: str):
    """The form for the guess at a cell."""
    return page.locator(f"form.guess[data-cell='{cell}']")


def test_a_guess_is_kept_opens_its_answer_and_is_named_at_the_end_if_the_run_said_otherwise(browser, site):  # noqa: F811
    with served(site) as address, opened(browser) as (page, outside, errors):
        requests = []
        page.goto(f"{address}/notebooks/00_start_here.html")
        typeset(page)
        page.on("request", lambda request: requests.append(request.url))
        end, kept = page.locator(".guesses-end"), "Kept in this browser."
        assert not end.is_visible() and page.get_by_text(kept).count() == 0 and page.evaluate(GUESSES) == {}

        base = guess(page, "predict-base").get_by_role("button", name="other cron")
        base.press("Space")
        assert base.get_attribute("aria-pressed") == "true" and page.get_by_text(kept).count() == 1
        assert page.get_by_text("Perhaps the wording is unlucky").is_visible()
        assert page.locator("details.answer[open]").count() == 1
        assert end.get_by_role("link").all_inner_texts() == ["Will it answer 30 9 * * 1-5?"]
        assert "Go back to this cell." in end.inner_text()

        number = guess(page, "lab-weights").get_by_role("spinbutton", name="Your guess")
        number.fill("272")
        number.press("Enter")
        guess(page, "six-6").get_by_role("button", name="0.001", exact=True).click()  # as it came out
        assert "Go back to these two cells." in end.inner_text() and not re.search(r"\d of \d|%", end.inner_text())

        assert requests == []
        page.reload()
        assert base.get_attribute("aria-pressed") == "true" and number.input_value() == "272"
        assert page.locator("details.answer[open]").count() == 0
        end.get_by_role("link").nth(1).click()
        assert page.url.endswith("#lab-weights")
        base.click()
        base.click()  # taken back
        number.fill("0")
        guess(page, "lab-weights").get_by_role("button", name="Guess").click()
        guess(page, "predict-base").get_by_role("button", name="no cron at all").click()
        assert end.inner_text().strip() == "Your guesses held."
        for name, answer in (("predict-base", "no cron at all"), ("six-6", "0.001")):
            guess(page, name).get_by_role("button", name=answer, exact=True).click()
        number.fill("")
        number.press("Enter")
        assert not end.is_visible() and page.get_by_text(kept).count() == 0
        page.goto(f"{address}/notebooks/01_matrix_rank.html")
        assert not end.is_visible()
    assert outside == errors == []


def test_each_answered_question_has_a_form_and_an_answer_below_it(site):
    for name in STEMS:
        text = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        parts = re.findall(r'<form class="guess" data-cell="([^"]+)"|<details class="answer">', text)  # "": an answer
        asked = [cell.id for cell in notebook(name).cells if "answer" in cell.metadata.get("predict", {})]
        assert list(filter(None, parts)) == asked, name
        assert not [part for part, following in zip(parts, [*parts[1:], "none"], strict=True) if part and following], (
            name
        )


@pytest.mark.parametrize("width", [1280, 390])
def test_forms_for_guesses_fit_are_sound_and_are_not_printed(browser, address, width):  # noqa: F811
    with opened(browser, viewport={"width": width, "height": 800}, color_scheme="dark") as (page, _, errors):
        page.goto(f"{address}/notebooks/04_attention_q_k_v_o.html")  # the longest choices
        guess(page, "lab-o").get_by_role("button").first.click()
        typeset(page)
        assert page.evaluate(SIDEWAYS) <= 0
        assert serious(page, contrast=width == 390) == []
        page.emulate_media(media="print")
        assert not page.locator("form.guess, .guesses-end").first.is_visible()
        assert not page.locator(".guesses-end").is_visible()
    assert errors == []


def test_a_room_s_hands_are_counted_also_where_the_page_is_a_file_and_nothing_is_kept(browser, site):  # noqa: F811
    with opened(browser, viewport={"width": 390, "height": 800}) as (page, outside, errors):
        page.goto((site / "docs" / "hands.html").as_uri())
        assert page.locator("meta[http-equiv='Content-Security-Policy']").count() == 1
        for choice, hands in (("yes", "12"), ("other cron", "3"), ("no cron at all", "5")):
            page.get_by_label(f"Hands for {choice}", exact=True).fill(hands)
        assert page.locator(".hands-share").all_inner_texts() == ["60 %", "15 %", "25 %"]
        assert page.get_by_text("20 hands").is_visible()
        widths = [bar.bounding_box()["width"] for bar in page.locator(".hands-bar").all()]
        assert widths[0] == pytest.approx(4 * widths[1], rel=0.02)
        held = page.locator("#hands-held p")
        assert not held.is_visible()
        page.locator("summary", has_text="What held").press("Enter")
        assert held.inner_text() == "no cron at all"
        page.get_by_label("Question").select_option(label="What is the rank of W + B A?")
        assert page.get_by_text("W is layer 10's q_proj, of full rank 576.").is_visible() and not held.is_visible()
        assert page.get_by_text("20 hands").count() == 0
        page.get_by_label("Question").select_option(label="Where will the loss be with 480 of the 576 directions?")
        page.get_by_label("A guess").first.fill("9")
        page.get_by_label("Hands for this guess").first.fill("1")
        assert page.get_by_text("1 hand", exact=True).is_visible()
        assert page.evaluate("localStorage.length") == 0
        assert page.evaluate(SIDEWAYS) <= 0
        page.get_by_role("link", name="To the cell").click()
        assert page.url.endswith("/notebooks/02_svd_low_rank_approximation.html#predict-truncation")
    assert outside == errors == []


CUT = """() => [...document.querySelectorAll("article pre, article div.math, article .table-wrapper")].filter(box => {
  const phone = matchMedia("screen and (max-width: 46em)").matches;
  const reached = phone && getComputedStyle(box).overflowX == "auto";
  return box.clientWidth && box.scrollWidth > box.clientWidth + 1 && !reached;
}).map(box => box.innerText.slice(0, 60))"""


def test_no_code_and_no_formula_is_cut_on_a_screen_or_on_paper(browser, site, address):  # noqa: F811
    found = {}
    with opened(browser, viewport={"width": 1024, "height": 900}) as (page, _, _):
        page.add_init_script("localStorage.setItem('answers', 'open')")
        for name in STEMS:
            page.goto(f"{address}/notebooks/{name}.html")
            typeset(page)
            for medium, width in (("screen", 1024), ("screen", 1440), ("print", 700)):  # 700: a page of A4
                page.emulate_media(media=medium)
                page.set_viewport_size({"width": width, "height": 900})
                found[name, medium, width] = page.evaluate(CUT)
            page.emulate_media(media="screen")
            page.set_viewport_size({"width": 1024, "height": 900})
    assert {where: cut for where, cut in found.items() if cut} == {}


def test_paper_has_all_answers_and_no_controls(browser, address):  # noqa: F811
    states = "() => [...document.querySelectorAll('details.answer')].map(answer => answer.open)"
    keep = f"addEventListener('beforeprint', () => {{ window.printed = ({states})(); }})"
    with opened(browser) as (page, _, _):
        page.goto(f"{address}/notebooks/00_start_here.html")
        typeset(page)
        page.evaluate(keep)
        folded = page.pdf(format="A4")
        assert all(page.evaluate("window.printed")) and not any(page.evaluate(states))
        page.get_by_role("button", name="Show all answers").click()
        unfolded = page.pdf(format="A4")
        assert folded.count(b"/Type /Page\n") == unfolded.count(b"/Type /Page\n") > 1
        page.emulate_media(media="print")
        text = page.locator("article").inner_text()
        assert "Verdict: no. Loading changed 0 tensors." in text and "Examples can teach the shape" in text
        controls = (
            ".skip-to-content",
            ".answers-switch",
            ".guess",
            ".answer > summary",
            ".sidebar-drawer",
            ".toc-drawer",
        )
        assert not [name for name in controls if page.locator(name).first.is_visible()]


def test_the_sheet_of_shapes_is_one_page_of_paper_and_the_lecture_has_its_slides(browser, site, address):  # noqa: F811
    with opened(browser) as (page, outside, errors):
        page.goto(f"{address}/docs/shapes.html")
        assert page.pdf(format="A4").count(b"/Type /Page\n") == 1
        page.goto(f"{address}/docs/lecture.html")
        assert page.locator("article img").count() > 35
        page.get_by_role("link", name="Open the slides").click()
        page.wait_for_function("() => window.Reveal && Reveal.isReady()")
        assert page.evaluate(SIDEWAYS) <= 0
        assert serious(page, contrast=False) == []
    assert outside == errors == []


def test_a_slider_moves_without_a_kernel_by_key_and_by_touch_and_fits(browser, address):  # noqa: F811
    with opened(browser, viewport={"width": 1280, "height": 720}, color_scheme="dark") as (page, outside, errors):
        page.add_init_script("localStorage.setItem('answers', 'open')")
        page.goto(f"{address}/notebooks/03_projection_matrices.html")
        frames = page.locator(".frames")
        slider, picture = frames.get_by_role("slider", name="slant"), frames.locator("img")
        first = picture.get_attribute("src")
        assert "3.35 from b" in picture.get_attribute("alt")
        slider.press("ArrowRight")
        assert "4.24 from b" in picture.get_attribute("alt") and picture.get_attribute("src") != first
        assert slider.get_attribute("aria-valuetext") == "1"
        assert page.url.endswith("03_projection_matrices.html")  # the theme turns pages with these keys
        slider.press("Home")
        assert slider.get_attribute("aria-valuetext") == "-1"
        for width, height in ((1280, 720), (683, 512), (390, 800)):
            page.set_viewport_size({"width": width, "height": height})
            assert frames.bounding_box()["height"] < height
            assert page.evaluate(SIDEWAYS) <= 0, width
        typeset(page)
        assert serious(page, contrast=False) == []
        page.emulate_media(media="print")
        assert picture.is_visible() and not slider.is_visible()
    assert outside == errors == []


def test_a_paper_is_linked_by_its_number(site):
    links = Page(site / "notebooks" / "06_lora_from_scratch.html").links
    assert "https://arxiv.org/abs/2106.09685" in links
    for path in site.rglob("*.html"):
        text = re.sub(r"<(a|code|pre)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.findall(r"arXiv \d{4}\.\d{5}", text), path.name


def test_a_term_of_the_glossary_leads_to_the_cell_that_shows_it_and_shows_no_pattern(site):
    page = site / "docs" / "glossary.html"
    assert Page(page).links.count("../notebooks/00_start_here.html#part-after") >= 2  # adapter, LoRA
    text = page.read_text(encoding="utf-8")
    assert "shown:" not in text and r"\b" not in text


def test_a_faulty_line_of_the_glossary_stops_the_build():
    head = "# Glossary\n\nTerms.\n\n"
    good = with_links(head + "**adapter**: Extra numbers. <!-- shown: 00#part-after -->")
    assert good.endswith(
        "**adapter**: Extra numbers. [First shown in notebook 00](../notebooks/00_start_here.ipynb#part-after)."
    )
    with pytest.raises(ValueError, match="adapter"):
        with_links(head + "**adapter**: Extra numbers.")


@pytest.mark.long("50 s; contrast and a telephone's width are looked at on some pages, formulas on the slides")
def test_a_browser_finds_no_fault_on_any_page(browser, site, address):  # noqa: F811
    others = {"_static", "plugin"}  # of Sphinx and of reveal.js, which made them
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if not others & {*path.parts})
    assert len(pages) > len(STEMS)
    with opened(browser, viewport={"width": 1280, "height": 900}) as (page, outside, errors):
        found = {}
        for name in pages:
            page.goto(f"{address}/{name}")
            typeset(page)
            wide = page.evaluate(SIDEWAYS)
            broken = page.locator(".merror, .MathJax_Error").count()
            found[name] = serious(page, contrast=False) + [f"{wide} pixels too wide"] * (wide > 0)
            found[name] += [f"{broken} formulas with an error"] * (broken > 0)
    assert {name: faults for name, faults in found.items() if faults} == {}
    assert outside == []
    assert errors == []


LIGHT = pytest.param("light", marks=pytest.mark.long("15 s; the dark scheme is looked at"))


@pytest.mark.parametrize("scheme", [LIGHT, "dark"])
def test_contrast_in_both_colour_schemes(browser, address, scheme):  # noqa: F811
    with opened(browser, color_scheme=scheme) as (page, _, _):
        for name in ("index.html", "notebooks/00_start_here.html", *(f"docs/{page}.html" for page in PAGES)):
            page.goto(f"{address}/{name}")
            typeset(page)
            assert serious(page, contrast=True) == [], name


UNREACHED = """() => [...document.querySelectorAll("article pre, article div.math, article .table-wrapper")].filter(
  box => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX == "auto" && box.tabIndex != 0)"""
SCROLLING = UNREACHED.replace("tabIndex !=", "tabIndex ==")


def test_what_scrolls_once_a_window_is_narrow_is_reached_by_keyboard(browser, address):  # noqa: F811
    with opened(browser, viewport={"width": 1280, "height": 800}) as (page, _, errors):
        page.add_init_script("localStorage.setItem('answers', 'open')")
        page.goto(f"{address}/notebooks/02_svd_low_rank_approximation.html")
        typeset(page)
        page.set_viewport_size({"width": 390, "height": 800})
        page.wait_for_function(f"() => !({UNREACHED})().length && ({SCROLLING})().length")
        assert serious(page, contrast=False) == []
        page.set_viewport_size({"width": 1280, "height": 800})
        page.wait_for_function(f"() => !({SCROLLING})().length")
    assert errors == []


def test_nothing_is_cut_off_on_a_telephone_and_search_finds_a_word(browser, address):  # noqa: F811
    with opened(browser, viewport={"width": 390, "height": 800}) as (page, outside, errors):
        for name in ("index.html", "notebooks/04_attention_q_k_v_o.html", *(f"docs/{page}.html" for page in PAGES)):
            page.goto(f"{address}/{name}")
            typeset(page)
            assert page.evaluate(SIDEWAYS) <= 0, name
            assert page.evaluate(CUT) == [], name
        page.goto(f"{address}/index.html")
        taught = page.get_by_role("cell").nth(1)  # a table is a list here, and still one to a screen reader
        assert taught.evaluate("cell => cell.clientWidth") > 300
        assert taught.evaluate("cell => getComputedStyle(cell, '::before').content").startswith('"you leave knowing')
        page.goto(f"{address}/search.html?q=Eckart")
        page.locator("#search-results li a").first.wait_for()
        hits = page.locator("#search-results li > a").all_inner_texts()
        page.locator("#search-results li > a[href*='02_svd'][href*='#']").first.wait_for()  # it leads to a cell
    assert any(hit.startswith("02") for hit in hits)
    assert outside == errors == []
