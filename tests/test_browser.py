"""What a learner sees: a browser opens what `make lab` serves, opens every notebook, runs some and moves a slider.

Skipped where there is no Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from chromium import browser, opened  # noqa: F401  (a fixture)
from course_copy import ROOT, copy_course
from playwright.sync_api import Page, expect

STEMS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
RUN_SECONDS = 300
# The notebook as JupyterLab holds it: the page itself shows only the cells in view.
CELLS = "() => jupyterapp.shell.currentWidget.content.model.toJSON().cells.filter(cell => cell.cell_type == 'code')"

SHOW_CELL = """async id => {
  const notebook = jupyterapp.shell.currentWidget.content;
  const index = notebook.widgets.findIndex(cell => cell.model.id == id);
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, "start");
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """The address that `make lab` prints; the environment is the one of this test, the notebooks are a copy."""
    folder = tmp_path_factory.mktemp("course")
    copy_course(folder)
    options = f"--no-browser --allow-root --LabApp.expose_app_in_browser=True --ServerApp.root_dir={folder}"
    command = ["make", "-o", ".venv/.lab", "lab", f"BIN={Path(sys.executable).parent}", f"LAB_OPTIONS={options}"]
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        yield address(server, log)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def address(server: subprocess.Popen, log: Path) -> str:
    """Wait for the server's address with its token."""
    for _ in range(600):
        if found := re.search(r"http://(localhost|127\.0\.0\.1):\d+/\S*token=\w+", log.read_text()):
            return found[0]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


def choose(page: Page, menu: str, item: str) -> None:
    """Click an item of JupyterLab's menu bar."""
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def wait_until_idle(page: Page) -> None:
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)


def run_all(page: Page) -> list[dict]:
    """Run the notebook from the menu; its code cells when all have run or one has failed."""
    wait_until_idle(page)
    choose(page, "Edit", "Clear Outputs of All Cells")
    choose(page, "Run", "Run All Cells")
    return cells_when_done(page)


def run_again(page: Page) -> list[dict]:
    """Restart the kernel and run all from the menu; the code cells when all have run or one has failed."""
    choose(page, "Edit", "Clear Outputs of All Cells")
    choose(page, "Kernel", "Restart Kernel and Run All Cells…")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    return cells_when_done(page)


def cells_when_done(page: Page) -> list[dict]:
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        cells = page.evaluate(CELLS)
        if errors(cells) or all(cell["execution_count"] for cell in cells):
            wait_until_idle(page)
            return page.evaluate(CELLS)
        page.wait_for_timeout(500)
    pytest.fail(f"the notebook ran for more than {RUN_SECONDS} s")


def errors(cells: list[dict]) -> list[str]:
    return [o["evalue"] for cell in cells for o in cell["outputs"] if o["output_type"] == "error"]


def texts(cells: list[dict]) -> list[str]:
    """What the cells printed."""
    return ["".join(o.get("text", "")) for cell in cells for o in cell["outputs"]]


def test_notebook_00_runs_twice_in_a_browser_and_asks_no_other_host(browser, lab):  # noqa: F811
    with opened(browser) as (page, outside, _):
        page.goto(lab)
        first = run_all(page)
        again = run_again(page)
        title = page.title()
        toasts = page.locator(".Toastify__toast").all_inner_texts()
    assert title.startswith("00_start")
    assert errors(first) == errors(again) == []
    assert any(cell["outputs"] for cell in first)
    assert texts(first) == texts(again)
    assert outside == []
    assert toasts == []


def headings(name: str) -> int:
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return len(re.findall(r"^#{1,6} ", prose, re.MULTILINE))


def test_every_notebook_opens_without_a_question_and_with_its_table_of_contents(browser, lab):  # noqa: F811
    with opened(browser) as (page, outside, _):
        for name in STEMS:
            page.goto(lab.replace("00_start_here", name))
            wait_until_idle(page)
            page.evaluate("() => jupyterapp.commands.execute('toc:show-panel')")
            expect(page.locator(".jp-TableOfContents-tree .jp-tocItem")).to_have_count(headings(name), timeout=20_000)
            expect(page.locator(".jp-Dialog")).to_have_count(0)
    assert outside == []


def test_a_slider_moves_and_draws_anew(browser, lab):  # noqa: F811
    with opened(browser) as (page, outside, _):
        page.goto(lab.replace("00_start_here", "03_projection_matrices"))
        cells = run_all(page)
        page.evaluate(SHOW_CELL, "light-slider")
        picture = page.locator(".jp-OutputArea img.widget-image")
        picture.wait_for()
        before = picture.get_attribute("src")
        page.locator(".widget-slider .noUi-handle").press("ArrowRight")
        page.wait_for_function("src => document.querySelector('img.widget-image').src != src", arg=before)
    assert errors(cells) == []
    assert outside == []
