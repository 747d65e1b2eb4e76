"""What a learner sees: a browser opens what `make lab` serves, opens every notebook, and uses one as a learner does.

Skipped where there is no Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure.
`make test-browser` runs every notebook to its end: tests/browser_all.py.
"""

import inspect
import json
import re
import shutil

import nbformat
import pytest
from chromium import browser  # noqa: F401  (a fixture)
from course_copy import ROOT
from lab_browser import (
    SHOW_CELL,
    STEMS,
    cells_when_done,
    choose,
    course,  # noqa: F401  (a fixture)
    errors_in,
    lab,  # noqa: F401  (a fixture)
    notebook_open,
    run_again,
    run_all,
    texts,
)
from playwright.sync_api import Page, expect

from lorautils import linalg
from lorautils.cli.fresh import short

# A small model, since the test is of what one sees, and one sees it at any size.
TRAINING = """from lorautils import basemodel, setup, training
from lorautils.tasks import cron
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

setup()
tokenizer = basemodel.load_tokenizer()
size = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
model = get_peft_model(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)), training.lora_config())
pairs = cron.cron_pairs(cron.train_examples(80))"""


OPEN = "path => { jupyterapp.commands.execute('docmanager:open', {path}); }"
READY_OR_ASKS = """path => {
  const {context, sessionContext} = jupyterapp.shell.currentWidget;
  return context?.path == path && sessionContext.isReady || document.querySelector(".jp-Dialog");
}"""


def write(course, name: str, *sources: str) -> None:  # noqa: F811
    """A notebook of these cells, beside the working copies."""
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), course / "my" / f"{name}.ipynb")


@pytest.mark.long("85 s; the other tests here run cells and look for other hosts, too")
def test_notebook_00_runs_twice_in_a_browser_and_asks_no_other_host(browser, lab):  # noqa: F811
    with notebook_open(browser, lab, "00_start_here") as (page, outside, errors):
        first = run_all(page)
        again = run_again(page)
        title = page.title()
        toasts = page.locator(".Toastify__toast").all_inner_texts()
    assert title.startswith("00_start")
    assert errors_in(first) == errors_in(again) == []
    assert any(cell["outputs"] for cell in first)
    assert texts(first) == texts(again)
    assert outside == errors == []
    assert toasts == []


def headings(name: str) -> int:
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return len(re.findall(r"^#{1,6} ", prose, re.MULTILINE))


ALL = pytest.param(STEMS, marks=pytest.mark.long("50 s; the first and the last notebook are opened"))


@pytest.mark.parametrize("names", [[STEMS[0], STEMS[-1]], ALL], ids=["two", "all"])
def test_every_notebook_opens_without_a_question_and_with_its_table_of_contents(browser, lab, names):  # noqa: F811
    with notebook_open(browser, lab, "00_start_here") as (page, outside, errors):
        page.evaluate("() => jupyterapp.commands.execute('toc:show-panel')")
        for name in names:
            page.evaluate(OPEN, f"my/{short(name)}.ipynb")
            page.wait_for_function(READY_OR_ASKS, arg=f"my/{short(name)}.ipynb")
            assert page.locator(".jp-Dialog").all_inner_texts() == [], name
            expect(page.locator(".jp-TableOfContents-tree .jp-tocItem")).to_have_count(headings(name), timeout=20_000)
    assert outside == errors == []


CODE_FITS = """() => {
  const shown = [...document.querySelectorAll(".jp-CodeCell .cm-scroller")].filter(code => code.clientWidth);
  return shown.length && shown.every(code => code.scrollWidth <= code.clientWidth);
}"""


def test_what_follows_a_prediction_is_folded_and_a_notebook_that_was_only_read_is_unchanged(browser, lab):  # noqa: F811
    with notebook_open(browser, lab, "00_start_here") as (page, _, errors):
        page.evaluate(SHOW_CELL, "ask-base")
        reading = page.locator("details").first
        summary = reading.get_by_text("after your run")
        expect(reading.locator("p")).to_be_hidden()
        page.evaluate("() => jupyterapp.shell.currentWidget.content.activate()")
        page.keyboard.press("ArrowDown")
        expect(page.locator(".jp-mod-active details")).to_be_visible()
        for _ in range(2):  # past the tools of the cell, if they are there already
            if not summary.evaluate("part => part == document.activeElement"):
                page.keyboard.press("Tab")
        expect(summary).to_be_focused()
        page.keyboard.press("Space")
        expect(reading.locator("p")).to_be_visible()
        summary.click()
        expect(reading.locator("p")).to_be_hidden()
        summary.dblclick()  # of another cell it would show the source
        assert page.evaluate("() => jupyterapp.shell.currentWidget.content.activeCell.rendered")
        assert not page.evaluate("() => jupyterapp.shell.currentWidget.context.model.dirty")
        cut = "names => names.filter(name => name.scrollWidth > name.clientWidth).map(name => name.innerText)"
        assert page.locator(".jp-DirListing-itemText").evaluate_all(cut) == []
        page.set_viewport_size({"width": 683, "height": 512})  # 1024 by 768 at 150 %
        page.keyboard.press("ControlOrMeta+b")
        page.evaluate(SHOW_CELL, "adapter-size")
        page.wait_for_function(CODE_FITS)
    assert errors == []


SLIDER = """import numpy as np
from lorautils.figures import nb02
from lorautils.figures.slider import slider
slider(lambda turn: nb02.ellipse(np.array([[2, 0], [1.5, 2.5]]), turn), {"turn": range(0, 91, 15)}, turn=0)"""
IN_SIGHT = """() => [...document.querySelectorAll(".jp-OutputArea .frames :is(input, img)")].every(part => {
  const {left, top, right, bottom} = part.getBoundingClientRect();
  const at = (x, y) => document.elementFromPoint(x, y) == part;
  return at(left + 3, top + 3) && at(right - 3, bottom - 3);
})"""


def test_a_slider_follows_the_hand_and_the_keys_and_stands_on_one_screen_with_its_picture(browser, course, lab):  # noqa: F811
    write(course, "slid", SLIDER, "print('next')")
    with notebook_open(browser, lab, "slid") as (page, outside, errors):
        cells = run_all(page)
        picture, handle = page.locator(".jp-OutputArea .frames img"), page.get_by_role("slider", name="turn")
        for width, height in ((683, 512), (1280, 720)):  # 683 by 512: 1024 by 768 at 150 %
            page.set_viewport_size({"width": width, "height": height})
            handle.scroll_into_view_if_needed()
            page.locator(".jp-OutputArea .frames").evaluate("box => box.scrollIntoView()")
            page.wait_for_function(IN_SIGHT)
        sizes = picture.evaluate("image => [image.naturalWidth, image.width]")
        assert sizes[0] >= 2 * sizes[1] - 1  # sharp where a pixel of the page is four of the screen
        box = handle.bounding_box()
        page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
        page.mouse.down()
        seen = []
        for share in (0.25, 0.5, 0.75):
            page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
            seen.append((handle.get_attribute("aria-valuetext"), picture.get_attribute("src")))
        page.mouse.up()
        assert len(set(seen)) == 3 and seen[1][0] == "45"
        handle.press("End")
        assert handle.get_attribute("aria-valuetext") == "90"
        handle.press("ArrowLeft")
        assert handle.get_attribute("aria-valuetext") == "75"
        assert "turned by 75°" in picture.get_attribute("alt")
        assert page.evaluate("() => jupyterapp.shell.currentWidget.content.activeCellIndex") == 0
    assert errors_in(cells) == outside == errors == []


def test_a_slider_that_was_stored_by_somebody_else_is_the_picture_of_its_start(browser, course, lab):  # noqa: F811
    shutil.copy(course / "notebooks" / "03_projection_matrices.ipynb", course / "my" / "stored.ipynb")
    with notebook_open(browser, lab, "stored") as (page, outside, errors):
        page.evaluate(SHOW_CELL, "light-slider")  # no script of an output runs in a notebook that is not trusted
        expect(page.get_by_alt_text(re.compile("A point b above .* 3.35 from b"))).to_be_visible()
        assert page.get_by_role("slider").count() == 0
    assert outside == errors == []


def test_training_shows_its_progress_and_an_interrupt_ends_it_in_good_order(browser, course, lab):  # noqa: F811
    after = "print(bool(history.interrupted), 0 < history.steps < history.total_steps)"
    write(course, "interrupted", TRAINING, "history = training.train(model, tokenizer, pairs, epochs=1000)", after)
    with notebook_open(browser, lab, "interrupted") as (page, _, errors):
        choose(page, "Run", "Run All Cells")
        bar = page.locator(".jp-OutputArea .widget-hbox")
        expect(bar).to_contain_text(re.compile(r"[1-9]\d*/10000\s\[.*loss=\d"), timeout=90_000)
        width = bar.locator(".progress-bar").evaluate("bar => parseFloat(bar.style.width)")
        page.get_by_role("button", name="Interrupt the kernel").click()
        cells = cells_when_done(page, minutes=1)
    assert 0 <= width < 100
    assert errors_in(cells) == errors == []
    stopped = r"Stopped after step [1-9]\d* of 10000. The model keeps what it learned. It is in memory only, .+\n"
    assert any(re.fullmatch(stopped, text) for text in texts(cells[1:2]))
    assert texts(cells[2:]) == ["True True\n"]


def press_at_the_end(page: Page, cell: int, key: str) -> None:
    """Put the cursor behind the last character of a cell and press a key."""
    page.locator(".jp-CodeCell .cm-content").nth(cell).click()
    page.keyboard.press("ControlOrMeta+End")
    page.keyboard.press(key)


MODEL = """from transformers import LlamaConfig, LlamaForCausalLM
from lorautils import linalg, setup
setup()
sizes = dict(vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
model = LlamaForCausalLM(LlamaConfig(**sizes))"""


def test_tab_completes_and_shift_tab_shows_the_documentation(browser, course, lab):  # noqa: F811
    write(course, "helped", MODEL, "linalg.", "model.gen", "linalg.numerical_rank(")
    with notebook_open(browser, lab, "helped") as (page, _, errors):
        press_at_the_end(page, 0, "Shift+Enter")
        page.locator(".jp-InputPrompt", has_text="[1]:").wait_for()
        names = page.locator(".jp-Completer")
        for cell, expected in ((1, ("numerical_rank", "best_rank_k", "projector_onto")), (2, ("generate",))):
            press_at_the_end(page, cell, "Tab")
            for name in expected:
                expect(names).to_contain_text(name)
            page.keyboard.press("Escape")
        press_at_the_end(page, 3, "Shift+Tab")
        shown = page.locator(".jp-Tooltip")
        shown.wait_for()
        told = " ".join(shown.inner_text().split())
    signature = ["numerical_rank", "matrix: torch.Tensor", "rtol: float | None = None", "-> int"]
    for part in signature + inspect.getdoc(linalg.numerical_rank).split("\n\n"):
        assert " ".join(part.split()) in told
    assert errors == []


RUN_CELL = "() => jupyterapp.commands.execute('notebook:run-cell')"


def test_a_guess_is_kept_beside_the_copies_and_the_end_leads_back_to_its_question(browser, course, lab):  # noqa: F811
    with notebook_open(browser, lab, "00_start_here") as (page, outside, errors):
        outputs = page.locator(".jp-OutputArea")
        page.evaluate(SHOW_CELL, "guess-predict-base")
        page.evaluate(RUN_CELL)
        outputs.get_by_role("button", name="yes", exact=True).press("Space")
        expect(outputs.get_by_text("Kept in my/guesses.json")).to_be_visible()
        assert json.loads((course / "my" / "guesses.json").read_text()) == {"00#predict-base": "yes"}
        page.evaluate(SHOW_CELL, "guesses-look-back")
        page.evaluate(RUN_CELL)
        link = outputs.get_by_role("link", name="Will it answer")
        expect(link).to_be_in_viewport()
        link.click()
        expect(outputs.get_by_role("button", name="yes", exact=True)).to_be_in_viewport()
        expect(link).not_to_be_in_viewport()
    assert outside == errors == []
