"""A Chromium for the tests of what a reader sees: it reaches this machine only, tells what it asked for, and runs axe.

The fixture skips where there is none, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
# "End" is posted once, after the first typesetting; a slide that was shown since is in the queue.
TYPESET = """() => {
  if (!window.MathJax) return true;
  if (!MathJax.isReady) return false;
  const {queue, Startup} = MathJax.Hub;
  return Startup.signal.posted.includes("End") && queue.queue.length == 0 && !queue.pending && !queue.running;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium, one for all tests of a file."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = f"no Chromium on this machine (looked for {', '.join(BROWSERS)})"
        if os.environ.get("LORAUTILS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and LORAUTILS_REQUIRE_BROWSER=1 forbids to skip this test")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        yield chromium
        chromium.close()


CLOSED = "Canceled future for create_subshell_request"  # JupyterLab, of a connection for widgets that it closes itself


def is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about", "file") or parts.hostname in ("localhost", "127.0.0.1")


@contextmanager
def opened(browser: Browser, **context_options) -> Iterator[tuple[Page, list[str], list[str]]]:
    """A page with a store of its own, the addresses outside this machine that it asked for, its console's errors."""
    outside, errors = [], []

    def note(url: str) -> None:
        if not is_local(url):
            outside.append(url)

    def complain(text: str) -> None:
        if CLOSED not in text:
            errors.append(text)

    with browser.new_context(**context_options) as context:
        context.route("**/*", lambda route: route.continue_() if is_local(route.request.url) else route.abort())
        page = context.new_page()
        page.on("request", lambda request: note(request.url))
        page.on("websocket", lambda socket: note(socket.url))
        page.on("console", lambda message: complain(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complain(error.stack or str(error)))
        yield page, outside, errors


def typeset(page: Page) -> None:
    """Wait until MathJax, on a page that has it, has set every formula: axe would find the page half done."""
    page.wait_for_function(TYPESET, timeout=120_000)  # milliseconds; a busy machine takes many times the usual 2 s


def serious(page: Page, contrast: bool) -> list[str]:
    """What axe finds serious or worse on an open page; the contrast of each token of code takes it several seconds."""
    options = {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": contrast}}}
    options["preload"] = False  # or axe would load the stylesheets once more, which no page from a file may
    found = Axe().run(page, options=options).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in ("serious", "critical")]
