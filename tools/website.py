"""Build the rendered course into build/site and check its links: python -m tools.website

`make site` calls it. The file is also the Sphinx extension that docs/conf.py names: it gives every cell of a notebook
its id as an anchor, fills in what is generated (course map, API, results, the glossary's links), describes figures.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.cmd.build import build_main
from sphinx.transforms import SphinxTransform

from lorautils import ROOT
from tools import comparisons, generated, guesses, lecture, live, slides
from tools.glossary import ENTRY, entries
from tools.pages import alt_text, faults, figures, without_bars

SITE = ROOT / "build" / "site"


def setup(app: Sphinx) -> dict:
    """Connect the steps to Sphinx."""
    app.connect("source-read", prepare)
    app.add_transform(CellIds)
    app.add_transform(Alternatives)
    app.add_transform(Answers)
    app.add_transform(Papers)
    app.add_node(answer, html=(open_answer, close_answer))
    app.connect("html-page-context", level_captions, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class CellIds(SphinxTransform):
    """Leave the ids of cells to the cells, and let links name them: one that is not there is a warning, so an error."""

    default_priority = 800  # after sections have their ids, before links are resolved

    def apply(self, **kwargs) -> None:
        """Rename the sections that carry a cell's id, and add all cells to the anchors of the page."""
        docname = self.env.docname
        if not docname.startswith("notebooks/"):
            return
        ids = {cell.id for cell in nbformat.read(ROOT / f"{docname}.ipynb", as_version=4).cells}
        for section in self.document.findall(nodes.section):
            section["ids"] = [f"{name}-section" if name in ids else name for name in section["ids"]]
        slugs = self.env.metadata[docname]["myst_slugs"]
        for slug, (line, name, text) in slugs.items():
            slugs[slug] = (line, f"{name}-section" if name in ids else name, text)
        slugs.update({name: (0, name, name) for name in ids if name not in slugs})


class Alternatives(SphinxTransform):
    """Give each figure its words; the option of MyST-NB would give all figures of a cell the same."""

    default_priority = 800

    def apply(self, **kwargs) -> None:
        """Pair the pictures among a notebook's outputs with those that were drawn from them."""
        docname = self.env.docname
        if not docname.startswith("notebooks/"):
            return
        cells = nbformat.read(ROOT / f"{docname}.ipynb", as_version=4).cells
        told = [alt_text(figure) for cell in cells for figure in figures(cell)]
        outputs = (box for box in self.document.findall(nodes.container) if "cell_output" in box["classes"])
        drawn = [image for box in outputs for image in box.findall(nodes.image)]
        for image, words in zip(drawn, told, strict=True):
            image["alt"] = words


class answer(nodes.container):
    """What a reader guesses first: folded until it is asked for."""


def open_answer(self: nodes.NodeVisitor, node: answer) -> None:
    """Write the head of a folded answer, which the keyboard and a screen reader know as one that opens."""
    self.body.append('<details class="answer"><summary>Show the answer</summary>\n')


def close_answer(self: nodes.NodeVisitor, node: answer) -> None:
    """Write the end of a folded answer."""
    self.body.append("</details>\n")


class Answers(SphinxTransform):
    """Ask for a guess at a "Predict.", and fold what answers it, up to the next heading or question."""

    default_priority = 810  # after the figures have their words

    def apply(self, **kwargs) -> None:
        """Ask and fold after each question of a notebook's page, and leave a place at the end to look back."""
        docname = self.env.docname
        if not docname.startswith("notebooks/"):
            return
        cells = guesses.questions(nbformat.read(ROOT / f"{docname}.ipynb", as_version=4))
        asked = list(filter(is_question, self.document.findall(nodes.block_quote)))
        for question, cell in zip(asked, cells, strict=True):
            fold_answer(question)
            if guesses.answered(cell):
                beside = question.parent
                beside.insert(beside.index(question) + 1, nodes.raw("", guesses.form(cell), format="html"))
        look_back(self.document, guesses.END.format(Path(docname).name[:2]))


def look_back(document: nodes.document, place: str) -> None:
    """Leave a place at the end of "What we settled", before the link of the cell that follows."""
    (settled,) = (part for part in document.findall(nodes.section) if part[0].astext() == "What we settled")
    end = len(settled)
    while is_link(settled[end - 1]):
        end -= 1
    settled.insert(end, nodes.raw("", place, format="html"))


def is_question(node: nodes.Node) -> bool:
    """Return whether a node is a quotation that asks for a guess."""
    return isinstance(node, nodes.block_quote) and node.astext().startswith("Predict.")


def fold_answer(question: nodes.block_quote) -> None:
    """Move the answer to a question into a folded box; a question without an output has none."""
    inside = question.parent
    following = inside.children[inside.index(question) + 1 :]
    shown = next((node for node in following if output_of(node)), None)
    if not shown:
        return
    box = answer()
    output = output_of(shown)
    shown.remove(output)
    box += nodes.container("", output, classes=["cell"])
    for node in answer_after(following[following.index(shown) + 1 :]):
        inside.remove(node)
        box += node
    inside.insert(inside.index(shown) + 1, box)


def output_of(node: nodes.Node) -> nodes.container | None:
    """Return the outputs of a code cell."""
    boxes = node.children if "cell" in node.get("classes", []) else []
    return next((box for box in boxes if "cell_output" in box["classes"]), None)


def answer_after(following: list[nodes.Node]) -> Iterator[nodes.Node]:
    """Yield all cells up to a heading or the next question: the answer may come with the second run only."""
    links = []
    for node in following:
        if isinstance(node, nodes.section) or is_question(node):
            return
        links.append(node)
        if not is_link(node):
            yield from links
            links = []


def is_link(node: nodes.Node) -> bool:
    """Return whether a node is the link that stands before each cell."""
    return isinstance(node, nodes.raw) and 'class="cell-link"' in node.astext()


class Papers(SphinxTransform):
    """Link the number of each paper, such as arXiv 2106.09685."""

    default_priority = 810

    def apply(self, **kwargs) -> None:
        """Replace each number in the text by a link, but for code and what is a link already."""
        for text in list(self.document.findall(nodes.Text)):
            if "arXiv" in text and not isinstance(
                text.parent, (nodes.literal, nodes.literal_block, nodes.reference, nodes.raw)
            ):
                text.parent.replace(text, list(with_papers(text)))


def with_papers(text: str) -> Iterator[nodes.Node]:
    """Yield a text in pieces, each paper's number as a link."""
    for piece in re.split(r"(arXiv[ :]\d{4}\.\d{4,5})", text):
        paper = re.fullmatch(r"arXiv.(\S+)", piece)
        address = f"https://arxiv.org/abs/{paper[1]}" if paper else ""
        yield nodes.reference("", piece, refuri=address) if paper else nodes.Text(piece)


def anchor(title: str) -> str:
    """Return the anchor that JupyterLab gives to a heading; docs/conf.py names this function."""
    return title.strip().replace(" ", "-")


def prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page before Sphinx parses it."""
    if docname.startswith("notebooks/"):
        source[0] = nbformat.writes(prepared(without_bars(nbformat.reads(source[0], as_version=4))))
    else:
        source[0] = re.sub(generated.PLACE, generated.fresh, source[0]).replace("<!-- api -->", api())
        if docname == "docs/glossary":
            source[0] = with_links(source[0])
        if docname == "docs/lecture":
            words = json.loads((SITE / "slides" / "figures" / "words.json").read_text(encoding="utf-8"))
            source[0] = lecture.script(source[0], words)
        if docname == "docs/live":
            source[0] = live.filled(source[0])
        if docname == "docs/hands":
            source[0] = source[0].replace("<!-- hands -->", guesses.data())
        if docname == "docs/records":
            source[0] = source[0].replace("<!-- comparisons -->", comparisons.page())


def prepared(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook as the page needs it: an anchor before each cell."""
    cells = []
    for cell in nb.cells:
        cells += [nbformat.v4.new_markdown_cell(cell_link(cell.id), id=f"link-{len(cells)}"), cell]
    nb.cells = [cells[1], cells[0], *cells[2:]]  # a page starts with its title
    return nb


def cell_link(cell_id: str) -> str:
    """Return the anchor of a cell, with a link to itself that appears when the pointer is near."""
    return f'<div class="cell-link"><a id="{cell_id}" href="#{cell_id}" aria-label="Link to cell {cell_id}">¶</a></div>'


def level_captions(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Give the captions of the navigation, which call themselves headings, the level that a heading needs."""
    for part in ("furo_navigation_tree", "body"):
        context[part] = context.get(part, "").replace(
            'class="caption" role="heading"', 'class="caption" role="heading" aria-level="2"'
        )


def api() -> str:
    """Return the documentation of each module of lorautils, from its docstrings."""
    block = "## `{0}`\n\n```{{eval-rst}}\n.. automodule:: {0}\n   :members:\n```\n"
    return "\n".join(map(block.format, generated.module_names()))


def with_links(glossary: str) -> str:
    """Put a link to the cell that first shows a term in the place of the comment that names it."""
    list(entries(glossary))  # every line is one
    names = {name[:2]: name for name, _ in generated.notebooks()}

    def linked(line: re.Match) -> str:
        number, cell = line["notebook"], line["cell"]
        link = f"../notebooks/{names[number]}.ipynb#{cell}"
        return f"**{line['term']}**: {line['text']} [First shown in notebook {number}]({link})."

    return ENTRY.sub(linked, glossary)


def main() -> int:
    """Build and check; return 1 if Sphinx warns of something or a link is dead."""
    slides.write_lecture(SITE / "slides")
    if failed := build_main(
        ["-q", "-E", "-W", "--keep-going", "-j", "auto", "-c", str(ROOT / "docs"), str(ROOT), str(SITE)]
    ):
        return failed
    for page in ("live", "figures", "hands"):
        live.seal(SITE / "docs" / f"{page}.html")
    if missing := live.build(SITE / "live"):
        print(f'"An adapter, live" shows recorded answers alone, "Figures that move" draws nothing: {missing}.')
    found = list(faults(SITE))
    print("\n".join(found) or f"The course is in {(SITE / 'index.html').relative_to(ROOT)}.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
