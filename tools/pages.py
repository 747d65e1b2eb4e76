"""What the site and the decks have in common: words for every picture, and no dead link."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nbformat import NotebookNode

PREDICT = re.compile(r"^> \*\*Predict\.\*\* (.+(?:\n> ?.+)*)", re.MULTILINE)  # a question to the reader, and its text
FRAMES = '<div class="frames"'  # how a slider of lorautils.figures.slider begins


def figures(cell: NotebookNode) -> list[NotebookNode]:
    """Return the outputs of a cell that are pictures."""
    return [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def without_bars(nb: NotebookNode) -> NotebookNode:
    """Return a notebook, changed in place, without the bar that a training stored before its first step."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if "%|" not in o.get("data", {}).get("text/plain", "")]
    return nb


def still(nb: NotebookNode) -> NotebookNode:
    """Return a notebook, changed in place, whose sliders are their first pictures."""
    for output in (output for cell in nb.cells for output in cell.get("outputs", [])):
        if output.get("data", {}).get("text/html", "").startswith(FRAMES):
            del output.data["text/html"]
    return nb


def alt_text(figure: NotebookNode) -> str:
    """Return what a figure shows in words, on one line; a label in it may have had two."""
    return " ".join(figure.metadata.get("image/png", {}).get("alt", "").split())


class Page(HTMLParser):
    """The links, the loaded files, the anchors and the pictures of one page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loaded, self.ids, self.pictures = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what an element names, links to and loads."""
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag in ("img", "script", "source", "iframe") and given.get("src"):
            self.loaded.append(given["src"])
            if tag == "img":
                self.pictures.append((given["src"], (given.get("alt") or "").strip()))
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload") and given.get("href"):
            self.loaded.append(given["href"])


def faults(site: Path) -> Iterator[str]:
    """Yield each dead link, dead anchor, doubled id, wordless picture and file of another host under `site`."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        where = path.relative_to(site)
        yield from (
            f"{where}: the id {twice!r} stands twice" for twice in {i for i in page.ids if page.ids.count(i) > 1}
        )
        yield from (f"{where}: {source[:60]} has no words (alt)" for source, alt in page.pictures if not alt)
        for address in page.links + page.loaded:
            url = urlsplit(address)
            if url.scheme == "data" or (url.scheme and address in page.links):
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if url.netloc or not target.exists():
                yield f"{where}: {address} is not in the site"
            elif (
                target in pages and url.fragment and not {url.fragment, unquote(url.fragment)} & set(pages[target].ids)
            ):
                yield f"{where}: {address} names an anchor that is not there"
