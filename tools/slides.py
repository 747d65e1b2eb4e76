"""Make a reveal.js deck of every notebook in build/slides, offline: python -m tools.slides

`make slides` calls it. The slideshow metadata of the cells says where slides begin. A cell that does not fit on its
slide goes on to the next one, in pieces where it must; long code and long outputs scroll. The speaker notes (press S)
hold the minutes and the prediction to ask the class for.
"""

import html
import re
import shutil
import struct
import sys
from base64 import b64decode
from importlib.resources import files
from itertools import chain
from pathlib import Path

import nbformat
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

from lorautils import ROOT
from tools.pages import alt_text, faults, figures, still, without_bars

DECKS = ROOT / "build" / "slides"
WIDTH, HEIGHT = 1280, 720  # pixels, as deck/deck.css expects
ROOM = 630  # what is left under the margins
TEXT, CODE, HEADING, ROW, GAP = 38, 26, 66, 42, 20  # heights: lines of text, of code, of a heading; table row; space
TEXT_COLUMNS, CODE_COLUMNS = 84, 99
CODE_BOX, OUTPUT_BOX, FIGURE_BOX = 430, 352, 490  # what is higher scrolls, or is drawn smaller


def wrapped(text: str, columns: int) -> int:
    """Return how many lines a text takes."""
    return sum(1 + max(0, len(line) - 1) // columns for line in text.rstrip("\n").split("\n"))


def text_height(block: str) -> int:
    """Return the height in pixels of one block of Markdown: a heading, a table, a formula, a list or a paragraph."""
    lines = block.split("\n")
    if block.startswith("#"):
        return HEADING * wrapped(block, 56)
    if block.startswith("|"):
        return GAP + sum(ROW + 30 * (len(line) // 100) for line in lines)
    if block.startswith("$$"):
        return GAP + 2 * TEXT * max(1, len(lines) - 1)
    if block.startswith(("```", "    ")):
        return GAP + CODE * len(lines)
    if re.match(r"[-*>]|\d+\.", block):
        return 2 * GAP + sum(TEXT * wrapped(line, TEXT_COLUMNS - 6) for line in lines)
    return GAP + TEXT * wrapped(" ".join(lines), TEXT_COLUMNS)


def output_height(output: NotebookNode) -> int:
    """Return the height in pixels of one output."""
    if png := output.get("data", {}).get("image/png"):
        width, height = struct.unpack(">II", b64decode(png)[16:24])  # where the PNG format keeps them
        return GAP + min(FIGURE_BOX, height, round(height * (WIDTH - 60) / width))
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return GAP + min(OUTPUT_BOX, CODE * wrapped(text, CODE_COLUMNS))


def linked(text: str) -> str:
    """Return Markdown with its links to notebooks leading to their decks, and without links to what has no deck."""
    text = re.sub(r"\]\((\d\d_\w+)\.ipynb(?:#[^)]*)?\)", r"](\1.html)", text)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?:\.\./|#)[^)]*\)", r"\1", text)


def pieces(cell: NotebookNode) -> list[tuple[NotebookNode, int]]:
    """Return a cell as the smallest parts that may stand on slides of their own, with their heights in pixels."""
    if cell.cell_type == "markdown":
        blocks = re.split(r"\n\n(?![ \t])|\n(?=[-*] )", linked(cell.source.strip()))
        parts = [(nbformat.v4.new_markdown_cell(block), text_height(block)) for block in blocks]
        return keep_headings(parts)
    code = NotebookNode(cell | {"outputs": []})
    parts = [(code, GAP + min(CODE_BOX, CODE * wrapped(cell.source, CODE_COLUMNS)))]
    for output in cell.outputs:
        shown = NotebookNode(cell | {"outputs": [output], "metadata": {"transient": {"remove_source": True}}})
        parts.append((nbformat.from_dict(shown), output_height(output)))
    return parts


def keep_headings(parts: list[tuple[NotebookNode, int]]) -> list[tuple[NotebookNode, int]]:
    """Join a heading with what follows it in its cell."""
    if len(parts) > 1 and parts[0][0].source.startswith("#"):
        (first, height), (second, more), *rest = parts
        joined = nbformat.v4.new_markdown_cell(f"{first.source}\n\n{second.source}")
        return [(joined, height + more), *rest]
    return parts


def paged(nb: NotebookNode) -> list[list[NotebookNode]]:
    """Return the slides of a notebook: lists of cells, of which none is higher than a slide."""
    slides, room = [], 0
    for cell in nb.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind in ("skip", "notes"):
            continue
        parts = pieces(cell)
        if kind == "fragment" and sum(height for _, height in parts[:2]) > room:
            kind = "subslide"
        for part, height in parts:
            if height > room or kind in ("slide", "subslide"):
                kind = kind if kind == "slide" else "subslide"
                slides.append([])
                room = ROOM
            room -= height
            part.metadata["slideshow"] = {"slide_type": kind}
            slides[-1].append(part)
            kind = "-"
    return slides


def words(slide: list[NotebookNode]) -> int:
    """Return how much there is to read on a slide."""
    return sum(len(cell.source.split()) for cell in slide)


def with_notes(slides: list[list[NotebookNode]], minutes: int) -> list[NotebookNode]:
    """Return the cells of all slides with speaker notes: the share of the reading minutes, and what to ask."""
    total, read, cells = sum(map(words, slides)), 0, []
    for slide in slides:
        share = words(slide) * minutes / total
        read += share
        notes = [f"About {max(0.5, round(2 * share) / 2):g} min; after this slide {read:.0f} of {minutes}."]
        asked = re.findall(r"^> \*\*Predict\.\*\* (.+(?:\n> ?.+)*)", "\n\n".join(c.source for c in slide), re.MULTILINE)
        notes += [f"Ask the class, wait for hands, then go on: {question}" for question in asked]
        note = nbformat.v4.new_markdown_cell("\n\n".join(notes), metadata={"slideshow": {"slide_type": "notes"}})
        cells += [slide[0], note, *slide[1:]]
    return cells


def deck(path: Path) -> tuple[str, str]:
    """Return the title of a notebook and its deck as HTML."""
    nb = still(without_bars(nbformat.read(path, as_version=4)))
    opening = nb.cells[0].source
    title = re.search(r"^# (.+)$", opening, re.MULTILINE)[1]
    minutes = int(re.search(r"Reading: about (\d+)", opening)[1])
    for figure in chain.from_iterable(map(figures, nb.cells)):
        figure.metadata["image/png"] = {"alt": alt_text(figure)}
    nb.cells = with_notes(paged(nb), minutes)
    for number, cell in enumerate(nb.cells):
        cell.id = f"part-{number}"  # the parts of a cell would share its id
    nb.metadata["title"] = title.replace("`", "")
    config = Config()
    config.TemplateExporter.extra_template_basedirs = [str(Path(__file__).parent)]
    config.HTMLExporter.exclude_anchor_links = True
    config.TemplateExporter.exclude_input_prompt = config.TemplateExporter.exclude_output_prompt = True
    exporter = SlidesExporter(config=config, template_name="deck", reveal_url_prefix="reveal", reveal_theme="white")
    exporter.reveal_width, exporter.reveal_height = str(WIDTH), str(HEIGHT)
    body, _ = exporter.from_notebook_node(nb)
    return title.replace("`", ""), body


def main() -> int:
    """Write all decks, what they load, and a page that lists them; return 1 if a link is dead."""
    shutil.rmtree(DECKS, ignore_errors=True)
    reveal = files("sphinx_revealjs") / "_static" / "revealjs"
    leave = shutil.ignore_patterns("*.map", "*.esm.js", "mathmaps", "SVG")
    shutil.copytree(reveal / "dist", DECKS / "reveal" / "dist", ignore=leave)
    shutil.copytree(reveal / "plugin" / "notes", DECKS / "reveal" / "plugin" / "notes", ignore=leave)
    shutil.copy(reveal / "LICENSE", DECKS / "reveal")
    shutil.copytree(files("jupyter_server_mathjax") / "static", DECKS / "mathjax", ignore=leave)
    shutil.copy(Path(__file__).parent / "deck" / "deck.css", DECKS)
    items = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        title, body = deck(path)
        (DECKS / f"{path.stem}.html").write_text(body, encoding="utf-8")
        items.append(f'<li><a href="{path.stem}.html">{html.escape(title)}</a></li>')
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Slides</title></head><body><main>'
        f"<h1>LoRA, made clear: slides</h1><ul>{''.join(items)}</ul>"
        "<p>Space goes on, Esc shows all slides, S opens the speaker notes.</p></main></body></html>"
    )
    (DECKS / "index.html").write_text(page, encoding="utf-8")
    found = list(faults(DECKS))
    print("\n".join(found) or f"{len(items)} decks are in {(DECKS / 'index.html').relative_to(ROOT)}.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
