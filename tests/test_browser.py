"""What a learner sees: a browser opens what `make lab` serves and runs notebook 00 from the menu.

Skipped where there is no Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from course_copy import ROOT, copy_course
from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
RUN_SECONDS = 300
# The notebook as JupyterLab holds it: the page itself shows only the cells in view.
CELLS = "() => jupyterapp.shell.currentWidget.content.model.toJSON().cells.filter(cell => cell.cell_type == 'code')"


@pytest.fixture(scope="module")
def browser() -> str:
    """The path of a Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = f"no Chromium on this machine (looked for {', '.join(BROWSERS)})"
        if os.environ.get("LORAUTILS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and LORAUTILS_REQUIRE_BROWSER=1 forbids to skip this test")
        pytest.skip(reason)
    return found


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


def is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname in ("localhost", "127.0.0.1")


def choose(page: Page, menu: str, item: str) -> None:
    """Click an item of JupyterLab's menu bar."""
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def run_all(page: Page) -> list[dict]:
    """Run the notebook from the menu; its code cells when all have run or one has failed."""
    idle = page.locator("#jp-main-statusbar").get_by_text("| Idle")
    idle.wait_for(timeout=60_000)
    choose(page, "Edit", "Clear Outputs of All Cells")
    choose(page, "Run", "Run All Cells")
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        cells = page.evaluate(CELLS)
        if errors(cells) or all(cell["execution_count"] for cell in cells):
            idle.wait_for(timeout=60_000)
            return page.evaluate(CELLS)
        page.wait_for_timeout(500)
    pytest.fail(f"notebook 00 ran for more than {RUN_SECONDS} s")


def errors(cells: list[dict]) -> list[str]:
    return [o["evalue"] for cell in cells for o in cell["outputs"] if o["output_type"] == "error"]


def test_notebook_00_runs_in_a_browser_and_asks_no_other_host(browser, lab):
    outside = []

    def note(url: str) -> None:
        if not is_local(url):
            outside.append(url)

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=OPTIONS)
        context = chromium.new_context()
        context.route("**/*", lambda route: route.continue_() if is_local(route.request.url) else route.abort())
        page = context.new_page()
        page.on("request", lambda request: note(request.url))
        page.on("websocket", lambda socket: note(socket.url))
        page.goto(lab)
        cells = run_all(page)
        title = page.title()
        toasts = page.locator(".Toastify__toast").all_inner_texts()
        chromium.close()
    assert title.startswith("00_start")
    assert errors(cells) == []
    assert any(cell["outputs"] for cell in cells)
    assert outside == []
    assert toasts == []
