"""Every notebook keeps to the rules of notebook_rules.py, every rule finds what breaks it, and the README knows all."""

import base64
import io
import json

import matplotlib.pyplot as plt
import nbformat
import notebook_rules as rules
import pytest
from IPython.core.pylabtools import print_figure
from nbformat import v4
from PIL import Image

from lorautils.figures import drawing
from tools import notebooks as tool
from tools.glossary import GLOSSARY, entries

COURSE = rules.course()
REWRITTEN = {name: COURSE[name] for name in rules.REWRITTEN}


@pytest.mark.parametrize("name", COURSE)
def test_a_notebook_is_one_by_its_format_and_was_measured(name):
    nbformat.validate(COURSE[name])
    assert name in json.loads(tool.RECORD.read_text()), f"{name} was never measured: run `make notebooks`"


@pytest.mark.parametrize("rule", (*rules.RULES, *rules.REWRITTEN_RULES), ids=lambda rule: rule.__name__)
def test_rule(rule):
    asked = REWRITTEN if rule in rules.REWRITTEN_RULES else COURSE
    problems = [f"{name} {problem}" for name, nb in asked.items() for problem in rule(nb)]
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize("rule", rules.WORD_RULES, ids=lambda rule: rule.__name__)
def test_no_word_before_it_is_shown(rule):
    glossary = list(entries(GLOSSARY.read_text()))
    problems = [f"{name} {problem}" for name in REWRITTEN for problem in rule(name, COURSE, glossary)]
    assert not problems, "\n" + "\n".join(problems)


def test_the_glossary_names_cells_that_use_its_terms():
    cells = {(name[:2], cell.id): cell.source for name, nb in COURSE.items() for cell in nb.cells}
    glossary = list(entries(GLOSSARY.read_text()))
    assert len(glossary) > 100
    assert [e.term for e in glossary if not e.sense.search(cells.get((e.notebook, e.cell), ""))] == []
    terms = [entry.term.lower() for entry in glossary]
    assert terms == sorted(set(terms))


def test_exercises():
    problems = [f"{name} {problem}" for name, nb in COURSE.items() for problem in rules.exercises(nb, name)]
    assert not problems, "\n" + "\n".join(problems)


def test_the_readme_shows_the_measurements():
    readme = tool.README.read_text()
    assert readme == tool.with_table(readme, json.loads(tool.RECORD.read_text())), "run `make notebooks`"


# A notebook that keeps to every rule; each case below breaks one.


def markdown_cell(cell_id: str, source: str) -> nbformat.NotebookNode:
    return v4.new_markdown_cell(source, id=cell_id, metadata={"slideshow": {"slide_type": "slide"}})


def code_cell(cell_id: str, source: str, count: int, outputs=()) -> nbformat.NotebookNode:
    metadata = {"slideshow": {"slide_type": "-"}}
    return v4.new_code_cell(source, id=cell_id, metadata=metadata, execution_count=count, outputs=list(outputs))


@pytest.fixture
def nb() -> nbformat.NotebookNode:
    data = {"image/png": "AAAA", "text/plain": "<Figure>"}
    figure = v4.new_output("display_data", data, metadata={"image/png": {"alt": "A curve that falls."}})
    opening = "# Title\n\n**You will do** a\n**You will learn** b\n**You need** c\n\nRun 1 minute, reading 5 minutes."
    cells = [
        markdown_cell("title", opening),
        code_cell("import-all", "import math\n\nprint(math.pi)", 1, [v4.new_output("stream", text="3.14\n")]),
        markdown_cell("between", "> **Predict.** How many of the *next*\n> `40` will be right?"),
        code_cell("figure-of-pi", "plt.show()", 2, [figure]),
        markdown_cell("what-to-see", "The curve falls from left to right.\n\n![a curve](curve.png)"),
        markdown_cell("closing", "\n\n".join(f"## {heading}" for heading in rules.CLOSING)),
        code_cell("last-words", "# tolerance: a near tie\nscore()", 3, [v4.new_output("stream", text="27 of 40\n")]),
    ]
    cells[2].metadata["predict"] = {"question": "How many of the next 40 will be right?", "choices": ["12", "27"]}
    cells[6].metadata["tolerance"] = {"relative": 0.2, "absolute": 4, "of": 40}
    return tool.clean(v4.new_notebook(cells=cells))


def add_output(nb, **fields):
    nb.cells[1].outputs.append(nbformat.from_dict(fields))


def set_source(nb, source, cell=1):
    nb.cells[cell].source = source


def tag(nb, name):
    nb.cells[1].metadata["tags"] = [name]


BREAKS = {
    "count missing": (rules.executed_in_order, lambda nb: nb.cells[1].update(execution_count=None)),
    "counts of a second run": (rules.executed_in_order, lambda nb: nb.cells[3].update(execution_count=7)),
    "empty cell": (rules.executed_in_order, lambda nb: set_source(nb, " \n")),
    "error": (rules.no_errors, lambda nb: add_output(nb, output_type="error", ename="E", evalue="", traceback=[])),
    "hex id": (rules.ids, lambda nb: nb.cells[1].update(id="deadbeef")),
    "uuid": (rules.ids, lambda nb: nb.cells[1].update(id="c0ffee00-1111-4222-8333-444455556666")),
    "capitals": (rules.ids, lambda nb: nb.cells[1].update(id="Import-All")),
    "same id twice": (rules.ids, lambda nb: nb.cells[1].update(id="title")),
    "other kernel": (rules.clean_metadata, lambda nb: nb.metadata.kernelspec.update(name="my-env")),
    "python version": (rules.clean_metadata, lambda nb: nb.metadata.language_info.update(version="3.11.7")),
    "widget state": (rules.clean_metadata, lambda nb: nb.metadata.update(widgets={})),
    "timestamps": (rules.clean_metadata, lambda nb: nb.cells[1].metadata.update(execution={"busy": "2026"})),
    "widget id": (
        rules.clean_metadata,
        lambda nb: add_output(nb, output_type="display_data", metadata={}, data={tool.WIDGET: {"model_id": "0"}}),
    ),
    "no title": (rules.opening, lambda nb: set_source(nb, nb.cells[0].source.replace("# ", ""), 0)),
    "no needs": (rules.opening, lambda nb: set_source(nb, nb.cells[0].source.replace("You need", ""), 0)),
    "no minutes": (rules.opening, lambda nb: set_source(nb, nb.cells[0].source.replace("reading 5", ""), 0)),
    "no sources": (rules.closing, lambda nb: set_source(nb, nb.cells[5].source.replace("Sources", "Links"), 5)),
    "order": (rules.closing, lambda nb: set_source(nb, "## Sources\n\n" + nb.cells[5].source, 5)),
    "21 lines": (rules.cell_lengths, lambda nb: set_source(nb, "x = 1\n" * 21)),
    "one in three over 12": (rules.cell_lengths, lambda nb: set_source(nb, "x = 1\n" * 13)),
    "all code": (rules.prose_share, lambda nb: nb.update(cells=[c for c in nb.cells if c.cell_type == "code"])),
    "excused": (rules.compared, lambda nb: (tag(nb, rules.EXCUSED), set_source(nb, "# not compared: times\nx"))),
    "no reason": (rules.compared, lambda nb: (tag(nb, rules.EXCUSED), nb.update(cells=nb.cells * 30))),
    "skipped": (rules.compared, lambda nb: tag(nb, "nbval-skip")),
    "may raise": (rules.compared, lambda nb: tag(nb, "raises-exception")),
    "excused by comment": (rules.compared, lambda nb: set_source(nb, "# NBVAL_IGNORE_OUTPUT\nx")),
    "tolerance without a reason": (rules.tolerances, lambda nb: set_source(nb, "score()", 6)),
    "prediction in code": (rules.predictions, lambda nb: nb.cells[1].metadata.update(predict={"question": "Why?"})),
    "no slide type": (rules.slideshow, lambda nb: nb.cells[2].metadata.pop("slideshow")),
    "shell": (rules.plain_python, lambda nb: set_source(nb, "!pip list")),
    "magic": (rules.plain_python, lambda nb: set_source(nb, "%matplotlib inline")),
    "semicolon": (rules.plain_python, lambda nb: set_source(nb, "plt.plot(x); ")),
    "home in output": (
        rules.portable,
        lambda nb: add_output(nb, output_type="stream", name="stdout", text="/home/me"),
    ),
    "temporary folder": (rules.portable, lambda nb: set_source(nb, "path = '/tmp/adapter'")),
    "figure without words": (rules.alternatives, lambda nb: nb.cells[3].outputs[0].metadata.clear()),
    "figure at the end": (rules.described, lambda nb: nb.update(cells=nb.cells[:4])),
    "figure before code": (rules.described, lambda nb: nb.cells.insert(4, nb.cells.pop())),
    "level skipped": (rules.headings, lambda nb: set_source(nb, "#### Deep", 2)),
    "no such notebook": (rules.links, lambda nb: set_source(nb, "See [the next](99_none.ipynb).", 2)),
    "no such heading": (rules.links, lambda nb: set_source(nb, "See [above](#3.-Elsewhere).", 2)),
    "no alt text": (rules.described, lambda nb: set_source(nb, "A curve: ![](curve.png)", 4)),
}


def test_a_good_notebook_breaks_no_rule(nb):
    nbformat.validate(nb)
    assert [problem for rule in rules.RULES for problem in rule(nb)] == []


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_rule_is_found(nb, case):
    rule, break_it = BREAKS[case]
    break_it(nb)
    assert list(rule(nb)), f"{rule.__name__} did not see: {case}"


def test_every_rule_has_a_case_that_breaks_it():
    assert {rule for rule, _ in BREAKS.values()} == set(rules.RULES)


@pytest.mark.parametrize(
    ("tolerance", "told"),
    [
        (0.01, "neither"),
        ({}, "neither"),
        ({"of": 40}, "neither"),
        ({"relative": 0.1, "rel": 1}, "unknown keys ['rel']"),
        ({"relative": 0.3}, "at most 0.2"),
        ({"relative": "0.1"}, "at most 0.2"),
        ({"relative": 0.1, "of": 40}, "'absolute' is None"),
        ({"absolute": 4}, "of None"),
        ({"absolute": 5, "of": 40}, "a tenth"),
        ({"absolute": 1.5, "of": 40}, "whole numbers"),
        ({"absolute": True, "of": 40}, "whole numbers"),
        ({"absolute": 4, "of": 50}, "print 'of 50'"),
    ],
)
def test_a_tolerance_with_a_fault(nb, tolerance, told):
    nb.cells[6].metadata.tolerance = tolerance
    (problem,) = rules.tolerances(nb)
    assert told in problem


def test_a_total_is_an_integer_of_its_own(nb):
    nb.cells[6].outputs[0].text = "27 of 40.0, r40\n"
    assert ["print 'of 40'" in problem for problem in rules.tolerances(nb)] == [True]


@pytest.mark.parametrize(("cells", "tolerant", "faults"), [(3, 1, 0), (3, 2, 1), (19, 2, 1), (20, 2, 0), (20, 3, 1)])
def test_one_code_cell_of_ten_may_be_tolerant(nb, cells, tolerant, faults):
    nb.cells = [nb.cells[6]] * tolerant + [nb.cells[1]] * (cells - tolerant)
    assert len(list(rules.tolerances(nb))) == faults


@pytest.mark.parametrize(
    ("predict", "told"),
    [
        ({"question": None}, "no question"),
        ({"question": ""}, "does not end"),
        ({"question": "How many of the next"}, "does not end"),
        ({"question": "How much?"}, "not in the cell"),
        ({"hint": "27"}, "unknown keys ['hint']"),
        ({"answer": "27"}, "two numbers"),
        ({"answer": 27}, "two numbers"),
        ({"answer": [27]}, "two numbers"),
        ({"answer": [28, 26]}, "two numbers"),
        ({"answer": [26, 28], "choices": ["12", "27"]}, "one of the choices"),
        ({"answer": "28", "choices": ["12", "27"]}, "one of the choices"),
        ({"unit": ""}, "'unit' is ''"),
        ({"unit": "answers", "choices": ["12", "27"]}, "both"),
        ({"choices": ["12"]}, "2 to 5"),
        ({"choices": list("123456")}, "2 to 5"),
        ({"choices": ["12", "12"]}, "different"),
        ({"choices": ["12", " "]}, "different"),
        ({"choices": ["12", 27]}, "different"),
        ({"choices": "12"}, "different"),
    ],
)
def test_a_prediction_with_a_fault(nb, predict, told):
    nb.cells[2].metadata.predict = {"question": "How many of the next 40 will be right?"} | predict
    (problem,) = rules.predictions(nb)
    assert told in problem


def test_a_prediction_is_more_than_a_text(nb):
    nb.cells[2].metadata.predict = "How many of the next 40 will be right?"
    assert ["no question" in problem for problem in rules.predictions(nb)] == [True]


@pytest.mark.parametrize(
    "more", [{"unit": "answers"}, {"unit": "answers", "answer": [26.5, 28]}, {"choices": ["12", "27"], "answer": "27"}]
)
def test_a_prediction_may_have_a_unit_and_an_answer(nb, more):
    nb.cells[2].metadata.predict = {"question": "How many of the next 40 will be right?"} | more
    assert list(rules.predictions(nb)) == []


# A notebook that keeps to the rules for those that were rewritten; each case below breaks one.


def picture(alpha: int) -> nbformat.NotebookNode:
    """A figure, whose corner is clear as in a drawing of the kit where alpha is 0."""
    Image.new("RGBA", (4, 4), (255, 255, 255, alpha)).save(data := io.BytesIO(), "PNG")
    return v4.new_output("display_data", {"image/png": base64.b64encode(data.getvalue()).decode()})


@pytest.fixture
def rewritten(nb) -> nbformat.NotebookNode:
    verdict = v4.new_output("stream", text="0.3 nats\nVerdict: yes. It hurts.\n")
    same = v4.new_output("stream", text="same logits: True\n" * 9 + "found: True\n" * 5)
    lab = "print(results.verdict('Does it hurt?', 3.9, control=3.3, yes='It hurts.'))"
    nb.cells[3].outputs = [picture(255)]
    nb.cells[1:1] = [
        code_cell("lab-run", lab, 1, [verdict]),
        markdown_cell("read", "`f(a, b)` is [here](06_a_b_c.ipynb) (eight words, or $a + b$ and `a b`, fit)."),
        code_cell("figures", "figures.six_cells()", 1, [picture(255), picture(0)]),
        code_cell("booleans", "print(a == b)", 1, [same]),
    ]
    return nb


def to_core(nb, cells):
    nb.cells[1:1] = cells


NINE = "It is so (one two three four five six seven eight nine)."
LITERAL = "print(f'Verdict: {word}.')\nprint(verdict('Is it?', 1, control=0, noise=0.1, yes='It is.', no='It is not.'))"
REWRITTEN_BREAKS = {
    "verdict beforehand": (rules.verdicts, lambda nb: set_source(nb, LITERAL)),
    "verdict of no cell": (rules.verdicts, lambda nb: set_source(nb, "print(settled)")),
    "six booleans": (
        rules.booleans,
        lambda nb: nb.cells[4].outputs.append(v4.new_output("stream", text="all: True\n")),
    ),
    "a threshold": (rules.booleans, lambda nb: nb.cells[4].outputs[0].update(text="at least 19 the same: True\n" * 6)),
    "a comparison in brackets": (
        rules.booleans,
        lambda nb: nb.cells[4].outputs[0].update(text="a (in b: False).\n" * 6),
    ),
    "nine words": (rules.brackets, lambda nb: set_source(nb, NINE, 2)),
    "nine words outside of inner ones": (rules.brackets, lambda nb: set_source(nb, NINE.replace("six", "(six)"), 2)),
    "81 cells": (rules.lengths, lambda nb: to_core(nb, [nb.cells[1]] * 75)),
    "3,501 words": (rules.lengths, lambda nb: to_core(nb, [markdown_cell("long", "word " * 3460)])),
    "121 cells": (rules.lengths, lambda nb: nb.cells.extend([nb.cells[1]] * 110)),
    "5,001 words": (rules.lengths, lambda nb: nb.cells.append(markdown_cell("long", "word " * 4960))),
    "long appendix": (rules.lengths, lambda nb: nb.cells.append(markdown_cell("a", "## Appendix\n" + "word " * 699))),
    "appendix of 21 cells": (
        rules.lengths,
        lambda nb: nb.cells.extend([markdown_cell("a", "## Appendix: more"), *[nb.cells[1]] * 20]),
    ),
    "appendix first": (rules.lengths, lambda nb: to_core(nb, [markdown_cell("a", "## Appendix")])),
    "two figures": (rules.drawings, lambda nb: nb.cells[3].outputs.__delitem__(0)),
    "no drawing": (rules.drawings, lambda nb: nb.cells[3].outputs.__setitem__(1, picture(255))),
}


def test_a_good_rewritten_notebook_breaks_no_rule(rewritten):
    assert [problem for rule in rules.REWRITTEN_RULES for problem in rule(rewritten)] == []


@pytest.mark.parametrize("case", REWRITTEN_BREAKS)
def test_a_broken_rule_for_rewritten_notebooks_is_found(rewritten, case):
    rule, break_it = REWRITTEN_BREAKS[case]
    break_it(rewritten)
    assert list(rule(rewritten)), f"{rule.__name__} did not see: {case}"


def test_every_rule_for_rewritten_notebooks_has_a_case_that_breaks_it():
    assert {rule for rule, _ in REWRITTEN_BREAKS.values()} == set(rules.REWRITTEN_RULES)


@pytest.mark.parametrize(("figure", "drawn"), [(drawing.lora_layer, True), (lambda: plt.subplots()[0], False)])
def test_a_drawing_of_the_kit_is_told_from_a_chart(figure, drawn):
    data = {"image/png": print_figure(figure(), base64=True)}
    plt.close("all")
    assert rules.is_drawing(v4.new_output("display_data", data)) == drawn


# A glossary of two words, and a course of four notebooks.

TERMS = r"""# Glossary

Words.

**rank**: How many. <!-- shown: 01#rank-defined -->

**virtual token**: A vector. <!-- shown: 10#part-prompt; as: \b[Vv]irtual tokens?\b -->
"""


def word_problems(name: str, **texts: str) -> list[str]:
    """What is wrong in one of four notebooks, of one text each after an opening; 01 shows what a rank is."""
    shown = {"01": [markdown_cell("rank-defined", "That is its **rank**."), markdown_cell("later", "A rank of 2.")]}
    course = {}
    for number in ("00", "01", "06", "10"):
        cell_id = "rank-defined" if number == "00" else "text"  # ids are those of one notebook
        cells = [markdown_cell("title", "# What a rank is"), markdown_cell(cell_id, texts.get(f"n{number}", ""))]
        course[f"{number}_a"] = v4.new_notebook(cells=cells + shown.get(number, []))
    return [problem for rule in rules.WORD_RULES for problem in rule(name, course, list(entries(TERMS)))]


TOLD = [
    "The *rank*, independent columns counted, is low.",
    "The *rank* is how many there are. More ranks follow.",
    "The rank (how many there are) is low.",
    "The rank (notebook 01) is low.",
    "The rank (notebooks 01 and 02) is low.",
    "The [rank](01_matrix_rank.ipynb#rank-defined) is low.",
    "## The rank\n\nHow low it is.",
    "## Sources\n\n- E. Hu, *On rank*, 2021.",
    "## 5. The course\n\n| 01 | rank |",
    "```\nrank = 2\n```\n\n$\\mathrm{rank} = 2$",
    "He cranks it.",
]
UNTOLD = [
    "Its rank is low.",
    "A *rank*.",
    "The *rank*, which is how many independent columns there are, is low.",
    "The rank, how many, is low.",
    "The rank (notebook 02) is low.",
    "The rank (how many independent columns there really are) is low.",
    "Its rank. The rank (notebook 01) is low.",
    "## 1. The course of a rank\n\nIts rank is low.",
]


@pytest.mark.parametrize("text", TOLD)
def test_a_word_may_be_glossed_or_refer_before_it_is_shown(text):
    assert word_problems("00_a", n00=text) == word_problems("01_a", n01=text) == []


@pytest.mark.parametrize("text", UNTOLD)
def test_a_word_before_it_is_shown_is_found(text):
    assert len(word_problems("01_a", n01=text)) == 1
    assert word_problems("00_a", n00=text)


def test_a_word_that_was_shown_is_free():
    assert word_problems("06_a", n00="Its rank (notebook 01).", n06="Its rank is low.") == []
    assert word_problems("10_a", n10="Its rank is low.") == []


def test_the_short_path_skips_the_cell_that_shows_a_word():
    (problem,) = word_problems("06_a", n06="Its rank is low.")
    assert problem.startswith("text: 'rank' is shown in notebook 01, cell rank-defined: write '*rank*, ")
    assert word_problems("06_a", n06="The **rank** of a matrix counts columns that no others make.") == []
    assert word_problems("06_a", n06="20 virtual tokens (notebook 10).") == []
    assert word_problems("06_a", n06="20 virtual tokens.")
    assert word_problems("10_a", n10="Ranks.") == []


def test_a_line_that_is_no_entry_is_told():
    for line in (
        "**seed**: A number.",
        "seed: A number. <!-- shown: 09#part-seeds -->",
        "**seed**: A. <!-- shown: 9#x -->",
    ):
        with pytest.raises(ValueError, match="seed"):
            list(entries(f"# Glossary\n\nWords.\n\n{line}\n"))
