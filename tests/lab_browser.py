"""JupyterLab as `make lab` serves it, used from its menus: for the tests of what a learner does in a browser."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chromium import opened
from course_copy import ROOT, copy_course
from playwright.sync_api import Browser, Page

from lorautils.cli.fresh import short

STEMS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
# The notebook as JupyterLab holds it: the page itself shows only the cells in view.
CELLS = "() => jupyterapp.shell.currentWidget.content.model.toJSON().cells.filter(cell => cell.cell_type == 'code')"
# The status bar is no sign: it says "Idle" while a cell runs as soon as the kernel has answered a widget meanwhile.
DONE = """() => {
  const cells = jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model).filter(m => m.type == "code");
  const failed = cell => cell.outputs.toJSON().some(output => output.output_type == "error");
  return cells.every(cell => cell.executionCount && cell.executionState == "idle") || cells.some(failed);
}"""
SHOW_CELL = """async id => {
  const notebook = jupyterapp.shell.currentWidget.content;
  const index = notebook.widgets.findIndex(cell => cell.model.id == id);
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, "start");
}"""


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A copy of the course, whose notebooks may be changed."""
    folder = tmp_path_factory.mktemp("course")
    copy_course(folder)
    return folder


@pytest.fixture(scope="module")
def lab(course) -> Iterator[str]:
    """The address that `make lab` prints; the environment is the one of this test, the notebooks are a copy.

    So are the settings and the workspace, the list of what was open: a test shall not find the notebooks of another.
    """
    own = {f"JUPYTERLAB_{name}_DIR": str(course / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    own["LORAUTILS_MY"] = str(course / "my")
    options = f"--no-browser --allow-root --LabApp.expose_app_in_browser=True --ServerApp.root_dir={course}"
    command = ["make", "-o", ".venv/.lab", "lab", f"BIN={Path(sys.executable).parent}", f"LAB_OPTIONS={options}"]
    log = course / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | own, stdout=output, stderr=output, start_new_session=True
        )
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


@contextmanager
def notebook_open(browser: Browser, lab: str, name: str) -> Iterator[tuple[Page, list[str], list[str]]]:
    """A working copy in JupyterLab, with what `opened` tells of its page; all kernels end with it."""
    with opened(browser) as (page, outside, errors):
        page.goto(lab.replace("00_start_here", short(name)) + "&reset")
        wait_until_idle(page)
        try:
            yield page, outside, errors
        finally:
            before = list(errors)
            page.evaluate("() => jupyterapp.serviceManager.sessions.shutdownAll()")
            errors[:] = before  # a kernel that ends leaves questions of JupyterLab's unanswered


def choose(page: Page, menu: str, item: str) -> None:
    """Click an item of JupyterLab's menu bar."""
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def wait_until_idle(page: Page) -> None:
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)


def run_all(page: Page, minutes: float = 5) -> list[dict]:
    """Run the notebook from the menu; its code cells when all have run or one has failed."""
    choose(page, "Edit", "Clear Outputs of All Cells")
    choose(page, "Run", "Run All Cells")
    return cells_when_done(page, minutes)


def run_again(page: Page, minutes: float = 5) -> list[dict]:
    """Restart the kernel and run all from the menu; the code cells when all have run or one has failed."""
    choose(page, "Edit", "Clear Outputs of All Cells")
    choose(page, "Kernel", "Restart Kernel and Run All Cells…")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    return cells_when_done(page, minutes)


def cells_when_done(page: Page, minutes: float) -> list[dict]:
    page.wait_for_function(DONE, timeout=minutes * 60_000, polling=500)
    return page.evaluate(CELLS)


def errors_in(cells: list[dict]) -> list[str]:
    return [f"{cell['id']}: {o['evalue']}" for cell in cells for o in cell["outputs"] if o["output_type"] == "error"]


def texts(cells: list[dict]) -> list[str]:
    """What the cells printed."""
    return ["".join(o.get("text", "")) for cell in cells for o in cell["outputs"]]
