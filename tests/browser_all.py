"""Every notebook, run to its end in a browser: `make test-browser`, which prints the minutes that each took.

Not part of `make test`, which compares the outputs of every notebook without a browser.
"""

import time
from collections.abc import Iterator

import pytest
from chromium import browser  # noqa: F401  (a fixture)
from lab_browser import (
    SHOW_CELL,
    STEMS,
    course,  # noqa: F401  (a fixture)
    errors_in,
    lab,  # noqa: F401  (a fixture)
    notebook_open,
    run_all,
)
from playwright.sync_api import Page

WIDGET = "application/vnd.jupyter.widget-view+json"
# A widget stands in the cell, JupyterLab does not complain of it, and every picture in it has arrived.
RENDERED = """id => {
  const cell = jupyterapp.shell.currentWidget.content.widgets.find(cell => cell.model.id == id).node;
  const whole = [...cell.querySelectorAll("img")].every(image => image.complete && image.naturalWidth > 0);
  const drawn = cell.querySelector(".jupyter-widgets")?.offsetHeight > 0;
  return drawn && whole && !/Error displaying|Loading widget/.test(cell.innerText);
}"""


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, float]]:
    """The minutes of each notebook; printed when all have run."""
    minutes = {}
    yield minutes
    print("\n\n| notebook | minutes in a browser |\n|---|---|")
    for name, taken in minutes.items():
        print(f"| {name} | {taken:.1f} |")


def wait_for_widgets(page: Page, cells: list[dict]) -> None:
    """Scroll to each cell with a widget and wait until it is drawn."""
    for cell in cells:
        if any(WIDGET in output.get("data", {}) for output in cell["outputs"]):
            page.evaluate(SHOW_CELL, cell["id"])
            page.wait_for_function(RENDERED, arg=cell["id"])


@pytest.mark.parametrize("name", STEMS)
def test_whole(browser, lab, table, name):  # noqa: F811
    start = time.monotonic()
    with notebook_open(browser, lab, name) as (page, outside, errors):
        cells = run_all(page, minutes=30)
        wait_for_widgets(page, cells)
        table[name] = (time.monotonic() - start) / 60
    assert errors_in(cells) == []
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert outside == errors == []
