"""Make reveal.js decks in build/slides, offline: one of every notebook, and the lecture. python -m tools.slides

`make slides` calls it, and `tools.website` for the lecture alone. The slideshow metadata of the cells says where slides
begin. What does not fit on a slide goes on to the next one, in pieces where it must; nothing scrolls, and a slide with
next to nothing on it is joined to its neighbour. A deck leaves out the exercises, the questions and the minutes of its
notebook. The speaker notes (press S) hold a clock and the prediction to ask the class for.
"""

import html
import re
import shutil
import struct
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

from lorautils import ROOT
from tools import lecture
from tools.pages import PREDICT, alt_text, faults, figures, still, without_bars

DECKS = ROOT / "build" / "slides"
WIDTH, HEIGHT = 1280, 720  # pixels, as deck/deck.css expects
ROOM = 630  # what is left under the margins
TEXT, CODE, HEADING, ROW, GAP = 38, 26, 66, 36, 20  # heights: lines of text, of code, of a heading; table row; space
ROW_LINE, TABLE_COLUMNS = 27, 100  # one more line in a table's row; letters that a line of a table has room for
TEXT_COLUMNS, CODE_COLUMNS = 84, 99
FIGURE_BOX = 490  # what is higher is drawn smaller
THIN = 200  # a slide with less on it is joined to its neighbour, where both fit
LEFT_OUT = ("## Exercises", "## Questions people ask")  # sections that a class does not look at


def wrapped(text: str, columns: int) -> int:
    """Return how many lines a text takes."""
    return sum(1 + max(0, len(line) - 1) // columns for line in text.rstrip("\n").split("\n"))


def table_rows(table: str) -> list[int]:
    """Return the heights in pixels of a table's rows, of which the first is its head; a wide column gets more room."""
    seen = re.sub(r"\]\([^)]*\)|[*`\[\]]", "", table)
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in seen.split("\n")]
    longest = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    room = [max(8, TABLE_COLUMNS * length // sum(longest)) for length in longest]
    lines = [max(map(wrapped, row, room)) for row in rows]
    return [ROW + ROW_LINE * (count - 1) for count in (lines[0], *lines[2:])]


def fitting_table(table: str) -> Iterator[str]:
    """Yield a table in pieces, each with the table's head and no higher than a slide."""
    head, rule, *lines = table.split("\n")
    first, *heights = table_rows(table)
    piece, room = [head, rule], ROOM - GAP - first
    for line, height in zip(lines, heights, strict=True):
        if height > room:
            yield "\n".join(piece)
            piece, room = [head, rule], ROOM - GAP - first
        piece.append(line)
        room -= height
    yield "\n".join(piece)


def text_height(block: str) -> int:
    """Return the height in pixels of one block of Markdown: a heading, a table, a formula, a list or a paragraph."""
    lines = block.split("\n")
    if block.startswith("#"):
        return HEADING * wrapped(block, 56)
    if block.startswith("|"):
        return GAP + sum(table_rows(block))
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
    return GAP + CODE * wrapped(text, CODE_COLUMNS)


def linked(text: str) -> str:
    """Return Markdown with its links to notebooks leading to their decks, and without links to what has no deck."""
    text = re.sub(r"\]\((\d\d_\w+)\.ipynb(?:#[^)]*)?\)", r"](\1.html)", text)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?:\.\./|#|\w+\.md)[^)]*\)", r"\1", text)


def pieces(cell: NotebookNode) -> list[tuple[NotebookNode, int]]:
    """Return a cell as the smallest parts that may stand on slides of their own, with their heights in pixels."""
    if cell.cell_type == "markdown":
        blocks = re.split(r"\n\n(?![ \t])|\n(?=[-*] )", linked(cell.source.strip()))
        blocks = chain.from_iterable(fitting_table(block) if block.startswith("|") else [block] for block in blocks)
        parts = [(nbformat.v4.new_markdown_cell(block), text_height(block)) for block in blocks]
        return keep_headings(parts)
    parts = []
    for lines in fitting(cell.source):
        code = NotebookNode(cell | {"source": lines, "outputs": []})
        parts.append((nbformat.from_dict(code), GAP + CODE * wrapped(lines, CODE_COLUMNS)))
    for output in chain.from_iterable(map(fitting_output, cell.outputs)):
        shown = NotebookNode(cell | {"outputs": [output], "metadata": {"transient": {"remove_source": True}}})
        parts.append((nbformat.from_dict(shown), output_height(output)))
    return parts


def fitting(text: str) -> Iterator[str]:
    """Yield a text of code or output in pieces, each of whole lines and no higher than a slide."""
    lines, piece = text.rstrip("\n").split("\n"), []
    most = (ROOM - GAP) // CODE
    for line in lines:
        if piece and wrapped("\n".join([*piece, line]), CODE_COLUMNS) > most:
            yield "\n".join(piece)
            piece = []
        piece.append(line)
    yield "\n".join(piece)


def fitting_output(output: NotebookNode) -> list[NotebookNode]:
    """Return an output as one, or, if it is text that is too high for a slide, as several."""
    if "text" not in output or output_height(output) <= ROOM:
        return [output]
    return [nbformat.from_dict(output | {"text": piece + "\n"}) for piece in fitting(output.text)]


def keep_headings(parts: list[tuple[NotebookNode, int]]) -> list[tuple[NotebookNode, int]]:
    """Join a heading with what follows it in its cell."""
    if len(parts) > 1 and parts[0][0].source.startswith("#"):
        (first, height), (second, more), *rest = parts
        joined = nbformat.v4.new_markdown_cell(f"{first.source}\n\n{second.source}")
        return [(joined, height + more), *rest]
    return parts


def shown(nb: NotebookNode) -> Iterator[NotebookNode]:
    """Yield the cells that a class looks at: no notes, no section of LEFT_OUT, no minutes."""
    left_out = False
    for cell in nb.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            left_out = cell.source.startswith(LEFT_OUT)
        if not left_out and cell.metadata.get("slideshow", {}).get("slide_type", "-") not in ("skip", "notes"):
            yield NotebookNode(cell | {"source": re.sub(r"^\*Run: .+\*$\n*", "", cell.source, flags=re.MULTILINE)})


def paged(nb: NotebookNode) -> list[list[NotebookNode]]:
    """Return the slides of a notebook: lists of cells, of which none is higher than a slide."""
    slides, room = [], 0
    for cell in shown(nb):
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
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
            slides[-1].append((part, height))
            kind = "-"
    return [[part for part, _ in slide] for slide in joined(slides)]


Measured = list[tuple[NotebookNode, int]]  # the parts of a slide with their heights


def height_of(slide: Measured) -> int:
    """Return how much of a slide is filled, in pixels."""
    return sum(height for _, height in slide)


def joined(slides: list[Measured]) -> list[Measured]:
    """Return the slides with the thin ones joined to a neighbour, or filled up from the one before, where both fit."""
    found: list[Measured] = []
    for slide in slides:
        begins = slide[0][0].metadata["slideshow"]["slide_type"] == "slide"
        last = found[-1] if found else []
        thin = bool(last) and not begins and min(height_of(slide), height_of(last)) < THIN
        if thin and height_of(last) + height_of(slide) <= ROOM:
            slide[0][0].metadata["slideshow"] = {"slide_type": "fragment"}
            last.extend(slide)
        elif thin and height_of(slide) < THIN and len(last) > 2 and height_of(slide) + last[-1][1] <= ROOM:
            last[-1][0].metadata["slideshow"] = {"slide_type": "subslide"}
            slide[0][0].metadata["slideshow"] = {"slide_type": "-"}
            found.append([last.pop(), *slide])
        else:
            found.append(slide)
    return found


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
        asked = PREDICT.findall("\n\n".join(c.source for c in slide))
        notes += [f"Ask the class, wait for hands, then go on: {question}" for question in asked]
        note = nbformat.v4.new_markdown_cell("\n\n".join(notes), metadata={"slideshow": {"slide_type": "notes"}})
        cells += [slide[0], note, *slide[1:]]
    return cells


class Deck(NamedTuple):
    """A deck as HTML, and what its entry in the list says."""

    title: str
    body: str
    slides: int
    minutes: int


def exported(nb: NotebookNode, title: str, *, formulas: bool) -> str:
    """Return a notebook whose cells say where slides begin as a deck, in HTML; `formulas` loads what sets them."""
    nb.metadata |= {"title": title, "formulas": formulas}
    for number, cell in enumerate(nb.cells):
        cell.id = f"part-{number}"  # the parts of a cell would share its id
    config = Config()
    config.TemplateExporter.extra_template_basedirs = [str(Path(__file__).parent)]
    config.HTMLExporter.exclude_anchor_links = True
    config.TemplateExporter.exclude_input_prompt = config.TemplateExporter.exclude_output_prompt = True
    exporter = SlidesExporter(config=config, template_name="deck", reveal_url_prefix="reveal", reveal_theme="white")
    exporter.reveal_width, exporter.reveal_height = str(WIDTH), str(HEIGHT)
    body, _ = exporter.from_notebook_node(nb)
    return body


def deck(path: Path) -> Deck:
    """Return the deck of a notebook."""
    nb = still(without_bars(nbformat.read(path, as_version=4)))
    opening = nb.cells[0].source
    title = re.search(r"^# (.+)$", opening, re.MULTILINE)[1]
    minutes = int(re.search(r"Reading: about (\d+)", opening)[1])
    for figure in chain.from_iterable(map(figures, nb.cells)):
        figure.metadata["image/png"] = {"alt": alt_text(figure)}
    slides = paged(nb)
    nb.cells = with_notes(slides, minutes)
    title = title.replace("`", "")
    return Deck(title, exported(nb, title, formulas=True), len(slides), minutes)


def lecture_slide(slide: lecture.Slide, words: str) -> Iterator[NotebookNode]:
    """Yield the cells of one slide of the lecture: what it shows, and its notes with the clock."""
    blocks = re.split(r"\n\n(?!\n| )", slide.text) if slide.text else []
    room = ROOM + 40 - HEADING - sum(30 + 50 * wrapped(block, 60) for block in blocks)  # its letters are larger
    image = f'<img src="figures/{slide.figure}.png" alt="{html.escape(words)}" style="max-height: {room}px">'
    text = "\n\n".join([f"## {slide.title}", *([image] if slide.figure else []), linked(slide.text)])
    clock = f"**Minute {slide.begins} to {slide.begins + slide.minutes}.**"
    for source, kind in ((text, "slide"), (f"{clock}\n\n{linked(slide.notes)}", "notes")):
        yield nbformat.v4.new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def write_lecture(folder: Path) -> Deck:
    """Write the lecture, its figures and what it loads, but for MathJax, which it does not need."""
    reveal = files("sphinx_revealjs") / "_static" / "revealjs"
    leave = shutil.ignore_patterns("*.map", "*.esm.js")
    for part in ("dist", "plugin/notes"):
        shutil.copytree(reveal / part, folder / "reveal" / part, ignore=leave, dirs_exist_ok=True)
    shutil.copy(reveal / "LICENSE", folder / "reveal")
    shutil.copy(Path(__file__).parent / "deck" / "deck.css", folder)
    words, slides = lecture.draw(folder / "figures"), list(lecture.slides())
    cells = chain.from_iterable(lecture_slide(slide, words.get(slide.figure, "")) for slide in slides)
    title = slides[0].title
    body = exported(nbformat.v4.new_notebook(cells=list(cells)), title, formulas=False)
    (folder / "lecture.html").write_text(body.replace("<main>", '<main class="lecture">', 1), encoding="utf-8")
    return Deck(title, body, len(slides), sum(slide.minutes for slide in slides))


def index(decks: Mapping[str, Deck]) -> str:
    """Return the page that lists the decks, with their slides and minutes, as HTML."""
    rows = "".join(
        f'<tr><td><a href="{name}.html">{html.escape(made.title)}</a></td><td>{made.slides}</td><td>{made.minutes}</td>'
        for name, made in decks.items()
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Slides</title><style>'
        "body { font: 18px/1.5 sans-serif; margin: 2em; } th, td { text-align: left; padding: 2px 24px 2px 0; }"
        "</style></head><body><main><h1>LoRA, made clear: slides</h1><p>The lecture is for a class of 90 minutes, the "
        "others go through a notebook each. Minutes are those of "
        "the talk for the lecture, and of reading for the others.</p>"
        f"<table><thead><tr><th>deck</th><th>slides</th><th>minutes</th></tr></thead><tbody>{rows}</tbody></table>"
        "<p>The right arrow goes through all slides, Esc shows them all, S opens the speaker notes.</p></main>"
        "</body></html>"
    )


def main() -> int:
    """Write all decks, what they load, and a page that lists them; return 1 if a link is dead."""
    shutil.rmtree(DECKS, ignore_errors=True)
    decks = {"lecture": write_lecture(DECKS)}
    leave = shutil.ignore_patterns("*.map", "*.esm.js", "mathmaps", "SVG")
    shutil.copytree(files("jupyter_server_mathjax") / "static", DECKS / "mathjax", ignore=leave)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        decks[path.stem] = deck(path)
        (DECKS / f"{path.stem}.html").write_text(decks[path.stem].body, encoding="utf-8")
    (DECKS / "index.html").write_text(index(decks), encoding="utf-8")
    found = list(faults(DECKS))
    print("\n".join(found) or f"{len(decks)} decks are in {(DECKS / 'index.html').relative_to(ROOT)}.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
