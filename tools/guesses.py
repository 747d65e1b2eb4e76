"""The reader's guesses on the pages: a form below each answered Predict, and what a teacher counts a room's hands with.

The forms are filled in by docs/_static/guesses.js, in the reader's browser only; without JavaScript they stay hidden.
"""

import json
import re
from collections.abc import Iterator
from html import escape

import nbformat

from tools import generated
from tools.pages import PREDICT

LEAD = "Your guess"
END = '<div class="guesses-end" data-notebook="{}" hidden></div>'
BUTTON = '<button type="button" value="{0}" aria-pressed="false">{0}</button>'
FIELD = '<input type="number" name="number" step="any" aria-label="{}"> {} <button type="submit">Guess</button>'
FORM = (
    '<form class="guess" data-cell="{cell}" data-question="{question}" data-answer="{answer}" hidden>'
    '<div role="group" aria-label="{lead}: {question}"><span>{lead}</span> {controls}</div><p role="status"></p></form>'
)


def questions(nb: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """Yield the cell of each Predict of a notebook, in their order; a cell with two of them comes twice."""
    for cell in nb.cells:
        for _ in re.findall(r"^> \*\*Predict\.", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else ():
            yield cell


def answered(cell: nbformat.NotebookNode) -> bool:
    """Return whether the course knows what held, so that a guess can be asked for."""
    return "answer" in cell.metadata.get("predict", {})


def form(cell: nbformat.NotebookNode) -> str:
    """Return the form for the guess at an answered Predict: a button for each choice, or a field for a number."""
    asked = cell.metadata.predict
    question = escape(plain(asked.question))
    if "choices" in asked:
        controls = " ".join(BUTTON.format(escape(choice)) for choice in asked.choices)
    else:
        controls = FIELD.format(LEAD, escape(asked.get("unit", "")))
    answer = escape(json.dumps(asked.answer))
    return FORM.format(cell=cell.id, question=question, answer=answer, lead=LEAD, controls=controls)


def plain(text: str) -> str:
    """Return a question without the marks of Markdown; the stars of a cron expression stay."""
    return re.sub(r"`|\*(?=\w)|(?<=\w)\*", "", text)


def whole(cell: nbformat.NotebookNode) -> str:
    """Return the first paragraph of a cell's Predict, which says what its question is about."""
    return plain(re.sub(r"\n> ?", " ", PREDICT.search(cell.source)[1]))


def data() -> str:
    """Return all answered questions, notebook by notebook, as a block of JSON for the page that counts hands."""
    asked = [
        {"notebook": generated.opening(nb)["title"], "link": f"../notebooks/{name}.html#{cell.id}"}
        | {"question": plain(cell.metadata.predict.question), "whole": whole(cell)}
        | {name: cell.metadata.predict.get(name, "") for name in ("choices", "unit", "answer")}
        for name, nb in generated.notebooks()
        for cell in filter(answered, nb.cells)
    ]
    content = json.dumps(asked).replace("<", "\\u003c")
    return f'<script type="application/json" id="hands-data">{content}</script>'
