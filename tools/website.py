"""Build the rendered course into build/site and check its links: python -m tools.website

`make site` calls it. The file is also the Sphinx extension that docs/conf.py names: it gives every cell of a notebook
its id as an anchor, fills in what is generated (course map, API, results, the glossary's links), describes figures.
"""

import pkgutil
import re
import sys
from collections.abc import Iterator

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.cmd.build import build_main
from sphinx.transforms import SphinxTransform

from lorautils import ROOT
from tools.glossary import ENTRY, entries
from tools.pages import alt_text, faults, figures, is_slider

NOTEBOOKS = ROOT / "notebooks"
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
    """Fold what answers a "Predict.": from the first output after it to the end of the prose that reads the outputs."""

    default_priority = 810  # after the figures have their words

    def apply(self, **kwargs) -> None:
        """Fold after each question of a notebook's page."""
        if self.env.docname.startswith("notebooks/"):
            for question in filter(is_question, list(self.document.findall(nodes.block_quote))):
                fold_answer(question)


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
    """Yield the rest of the code cells, and the text cell after them up to a heading or the next question."""
    links, text = [], False
    for node in following:
        if isinstance(node, nodes.section) or is_question(node):
            return
        if is_link(node):
            if text:
                return
            links.append(node)
            continue
        text = text or "cell" not in node["classes"]
        if text and "cell" in node["classes"]:
            return
        yield from (*links, node)
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
    """Return the anchor that JupyterLab gives to a heading."""
    return title.strip().replace(" ", "-")


def prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page before Sphinx parses it."""
    if docname.startswith("notebooks/"):
        source[0] = nbformat.writes(prepared(nbformat.reads(source[0], as_version=4)))
    else:
        source[0] = re.sub(
            r"<!-- (\w+)((?: [\w#-]+)*) -->", lambda mark: GENERATED[mark[1]](*mark[2].split()), source[0]
        )
        if docname == "docs/glossary":
            source[0] = with_links(source[0])


def prepared(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook as the page needs it: an anchor before each cell, and no dead slider."""
    cells = []
    for cell in nb.cells:
        cells += [nbformat.v4.new_markdown_cell(cell_link(cell.id), id=f"link-{len(cells)}"), cell]
        for output in cell.get("outputs", []):
            if is_slider(output):
                output.data = {
                    "text/markdown": "*In JupyterLab, a slider stands here. This page has no kernel to move it.*"
                }
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


# What is generated. A page asks for it with a comment: <!-- course_map -->, <!-- minutes 00 02#part-weights -->


def notebooks() -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Yield the name and the content of each notebook."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        yield path.stem, nbformat.read(path, as_version=4)


def opening(nb: nbformat.NotebookNode) -> dict[str, str]:
    """Return title, promise, what is learned, and minutes, from the opening cell of a notebook."""
    text = nb.cells[0].source
    found = {
        "title": re.search(r"^# (.+)$", text, re.MULTILINE),
        "promise": re.search(r"^\*\*(.+)\*\*$", text, re.MULTILINE),
        "learn": re.search(r"\*\*You will learn:\*\* (.+)", text),
        "minutes": re.search(r"^\*(Run:.+)\*$", text, re.MULTILINE),
    }
    return {name: match[1] for name, match in found.items() if match}


def course_map() -> str:
    """Return the table of all notebooks."""
    lines = ["| notebook | you leave knowing | run | reading | exercises |", "|---|---|---|---|---|"]
    for name, nb in notebooks():
        start = opening(nb)
        minutes = " | ".join(f"{n}\u00a0min" for n in re.findall(r"\d+", start["minutes"]))
        lines.append(f"| [{start['title']}](notebooks/{name}.ipynb) | {start['learn']} | {minutes} |")
    return "\n".join(lines)


def api() -> str:
    """Return the documentation of each module of lorautils, from its docstrings."""
    import lorautils

    found = (module.name for module in pkgutil.walk_packages(lorautils.__path__, "lorautils."))
    names = ["lorautils", *(name for name in found if not re.search(r"__main__|\.nb\d\d", name))]
    block = "## `{0}`\n\n```{{eval-rst}}\n.. automodule:: {0}\n   :members:\n```\n"
    return "\n".join(map(block.format, names))


def scores() -> str:
    """Return the recorded scores of the shipped adapter and of notebook 08's run, as tables."""
    from lorautils import results

    measures = ("exact", "equivalent", "valid")
    lines = ["### The shipped adapter", "", "| test | cases | exact | equivalent | valid |", "|---|---|---|---|---|"]
    for test, score in results.read("adapter_scores.json")["scores"].items():
        cells = " | ".join(results.percent(score[measure], score["n"]) for measure in measures)
        lines.append(f"| Test-{test} | {score['n']} | {cells} |")
    runs = results.read("notebook_run.jsonl")
    tests = list(runs[0]["scores"])
    lines += ["", "### The run of notebook 08, exact answers, all seeds together", ""]
    lines += [
        "| method | seeds | " + " | ".join(f"Test-{test}" for test in tests) + " |",
        "|---" * (len(tests) + 2) + "|",
    ]
    for kind in dict.fromkeys(run["kind"] for run in runs):
        same = [run for run in runs if run["kind"] == kind]
        counts = results.pooled(same)
        lines.append(f"| {kind} | {len(same)} | " + " | ".join(results.percent(*counts[test]) for test in tests) + " |")
    return "\n".join(lines)


def records() -> str:
    """Return the recorded results, with the notebooks that read them."""
    lines = ["| record | shown in |", "|---|---|"]
    for path in sorted((ROOT / "experiments" / "results").glob("*.json*")):
        links = [
            f"[{name[:2]}](../notebooks/{name}.ipynb)"
            for name, nb in notebooks()
            if any(cell.cell_type == "code" and path.name in cell.source for cell in nb.cells)
        ]
        shown = ", ".join(links) or "[the experiments](../experiments/README.md)"
        lines.append(f"| [{path.name}](../experiments/results/{path.name}) | {shown} |")
    return "\n".join(lines)


def named(number: str) -> nbformat.NotebookNode:
    """Return the notebook with this number, such as "02"."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return nbformat.read(path, as_version=4)


def reading_minutes(part: str) -> float:
    """Return the minutes to read a notebook, "02", or a section, "02#part-weights": its share of the words."""
    number, _, section = part.partition("#")
    nb = named(number)
    inside, words = not section, {True: 0, False: 0}
    for cell in nb.cells:
        if section and cell.cell_type == "markdown" and cell.source.startswith("## "):
            inside = cell.id == section
        words[inside] += len(cell.source.split())
    if not words[True]:
        raise ValueError(f"notebook {number} has no section {section!r}")
    return int(re.findall(r"\d+", opening(nb)["minutes"])[1]) * words[True] / sum(words.values())


def minutes(*parts: str) -> str:
    """Return the minutes to read some notebooks and sections."""
    return f"{sum(map(reading_minutes, parts)):.0f}"


def in_class(*parts: str) -> str:
    """Return the minutes that notebooks and sections take in class, where people guess and talk: twice the reading."""
    return f"{2 * sum(map(reading_minutes, parts)):.0f}"


def exercise_minutes(*numbers: str) -> str:
    """Return the minutes of the exercises of some notebooks."""
    return str(sum(int(re.findall(r"\d+", opening(named(number))["minutes"])[2]) for number in numbers))


def labs() -> str:
    """Return, notebook by notebook, the labs with the question to ask before each."""
    lines = []
    for name, nb in notebooks():
        lines += ["", f"### Notebook {name[:2]}", "", "| lab | ask before it |", "|---|---|"]
        texts = [cell for cell in nb.cells if cell.cell_type == "markdown"]
        for index, cell in enumerate(texts):
            if lab := re.search(r"^##+ (?:\d+\. )?Lab: (.+)$", cell.source, re.MULTILINE):
                following = "\n\n".join(text.source for text in texts[index : index + 4])
                asked = re.search(r"^> \*\*Predict\.\*\* (.+(?:\n> ?.+)*)", following, re.MULTILINE)
                question = re.sub(r"\s*\n> ?", " ", asked[1]).replace("|", r"\|") if asked else ""
                lines.append(f"| [{lab[1]}](../notebooks/{name}.ipynb#{cell.id}) | {question} |")
    return "\n".join(lines)


def wrong_answers() -> str:
    """Return, notebook by notebook, what each checker recognises and says."""
    from lorautils.exercises import registry

    lines = []
    for name, exercises in registry().items():
        lines += ["", f"## Notebook {name[:2]}"]
        asked = [(entry.name, step) for entry in exercises for step in getattr(entry, "steps", [entry])]
        for entry, exercise in asked:
            title = entry if entry == exercise.name else f"{entry}.{exercise.name}"
            lines += ["", f"### `{title}`", "", f"{exercise.question} *({exercise.minutes} minutes)*", ""]
            lines += ["| wrong answer | what the checker says |", "|---|---|"]
            for mistake in exercise.mistakes:
                lines.append("| " + " | ".join(t.replace("|", r"\|") for t in (mistake.name, mistake.message)) + " |")
    return "\n".join(lines)


def memory() -> str:
    """Return the measured minutes and memory of each notebook."""
    from lorautils import results

    lines = ["| notebook | run minutes | peak memory |", "|---|---|---|"]
    for name, row in sorted(results.read("notebooks.json").items()):
        lines.append(f"| {name[:2]} | {row['minutes']:.1f} | {row['peak_gib']:.1f} GiB |")
    return "\n".join(lines)


GENERATED = {
    function.__name__: function
    for function in (api, course_map, exercise_minutes, in_class, labs, memory, minutes, records, scores, wrong_answers)
}


def with_links(glossary: str) -> str:
    """Put a link to the cell that first shows a term in the place of the comment that names it."""
    list(entries(glossary))  # every line is one
    names = {name[:2]: name for name, _ in notebooks()}

    def linked(line: re.Match) -> str:
        number, cell = line["notebook"], line["cell"]
        link = f"../notebooks/{names[number]}.ipynb#{cell}"
        return f"**{line['term']}**: {line['text']} [First shown in notebook {number}]({link})."

    return ENTRY.sub(linked, glossary)


def main() -> int:
    """Build and check; return 1 if Sphinx warns of something or a link is dead."""
    if failed := build_main(
        ["-q", "-E", "-W", "--keep-going", "-j", "auto", "-c", str(ROOT / "docs"), str(ROOT), str(SITE)]
    ):
        return failed
    found = list(faults(SITE))
    print("\n".join(found) or f"The course is in {(SITE / 'index.html').relative_to(ROOT)}.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
