"""Verdicts in notebooks follow their measurements: each is given again, above its threshold, below it and at it.

A cell that ends with `results.verdict(...)` stores the numbers that it rests on as its output's metadata, which nbval
does not compare and these rules read.
"""

import ast
import copy
import re
from collections.abc import Iterator

import notebook_rules as rules
import pytest
from nbformat import NotebookNode, v4

from lorautils.results import verdict
from tools.compare_outputs import RTOL


def calls(nb: NotebookNode) -> Iterator[tuple[NotebookNode, ast.Call, dict[str, ast.expr]]]:
    """Each call of `results.verdict`: its cell, itself, and its arguments by name."""
    for cell in rules.code_cells(nb):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("results.verdict", "verdict"):
                named = {keyword.arg: keyword.value for keyword in node.keywords}
                yield cell, node, dict(zip(("question", "measured"), node.args, strict=False)) | named


def stored(cell: NotebookNode) -> list[dict]:
    """The fields of the verdicts among a cell's outputs."""
    kept = [output.get("metadata", {}).get("text/plain", {}) for output in cell.outputs]
    return [found["verdict"] for found in kept if "verdict" in found]


def literal(node: ast.expr | None) -> object:
    """The number or the text that stands in the source, perhaps with a sign; None for whatever is computed."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


GAP = "…"  # what a text takes from the cell's names, such as the name of a layer


def template(node: ast.expr | None, cell: NotebookNode) -> str | None:
    """The text that an argument stands for, with a GAP for each part that the cell fills in; None if it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [template(part, cell) for part in (node.left, node.right)]
        return None if None in parts else "".join(parts)
    return template(assigned(node.id, cell), cell) if isinstance(node, ast.Name) else None


def assigned(name: str, cell: NotebookNode) -> ast.expr | None:
    """What a cell gives to a name at last, alone or in a tuple."""
    found = None
    for node in ast.walk(ast.parse(cell.source)):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            for one, value in zip(target.elts, node.value.elts, strict=True) if several else [(target, node.value)]:
                found = value if isinstance(one, ast.Name) and one.id == name else found
    return found


def asks(cell: NotebookNode, node: ast.expr | None, question: str) -> bool:
    """Tell whether a call's question is the one that was stored."""
    text = template(node, cell)
    return text is not None and re.fullmatch(".+".join(map(re.escape, text.split(GAP))), question) is not None


def texts_follow_the_measurement(nb: NotebookNode) -> Iterator[str]:
    for cell, _, given in calls(nb):
        texts = {name: template(given[name], cell) for name in ("yes", "no", "cannot_tell") if name in given}
        if not all(text and text.strip() for text in (template(given.get("question"), cell), *texts.values())):
            yield f"{cell.id}: question and texts must be strings of the cell; write numbers as {{measured}}"
            continue
        try:
            said = [verdict("?", value, control=2.0, noise=0.5, **texts).text for value in (3.0, 2.1, 1.0)]
        except (LookupError, TypeError, ValueError) as error:
            yield f"{cell.id}: a text of the verdict cannot be filled in: {error!r}"
            continue
        if len(set(said)) < 3:
            yield f"{cell.id}: two outcomes of the verdict say the same: {said}"


def thresholds_are_measured(nb: NotebookNode) -> Iterator[str]:
    for cell, _, given in calls(nb):
        found = [kept["measured"] for kept in stored(cell) if asks(cell, given.get("question"), kept["question"])]
        measured = found[0] if found else None
        if literal(given.get("measured")) is not None:
            yield f"{cell.id}: what is measured is written by hand"
        if literal(given.get("control")) and "noise" not in given:  # 0: the measurements are differences
            yield f"{cell.id}: the control is written by hand: measure it, or say with noise= how near is too near"
        for name in ("control", "by"):
            value = literal(given.get(name))
            if value and measured is not None and abs(value - measured) <= RTOL * abs(measured):
                yield f"{cell.id}: {name}={value} is the known result"


def verdicts_are_stored(nb: NotebookNode) -> Iterator[str]:
    for cell, _, given in calls(nb):
        if not any(asks(cell, given.get("question"), kept["question"]) for kept in stored(cell)):
            yield f"{cell.id}: the verdict is not among the outputs: end the cell with it, or display() it"


def slack(cell: NotebookNode, kept: dict) -> float:
    """By how much the cell's tolerance lets a measurement differ on another machine."""
    tolerance = cell.metadata.get("tolerance", {})
    measured, total = abs(kept["measured"]), tolerance.get("of", 1)
    unit = 1 if float(measured).is_integer() else 1 / total if measured <= 1 else 100 / total  # count, share, per cent
    moved = tolerance.get("relative", RTOL) * max(measured, abs(kept["threshold"]))
    return max(moved, tolerance.get("absolute", 0) * unit)


def outcomes_hold_within_the_tolerance(nb: NotebookNode) -> Iterator[str]:
    for cell in rules.code_cells(nb):
        for kept in stored(cell):
            room = abs(abs(kept["measured"] - kept["threshold"]) - kept["noise"])
            if room <= slack(cell, kept):
                yield f"{cell.id}: {kept['outcome']!r} turns where {kept['measured']:.4g} moves by {room:.2g}"


def what_is_settled_was_asked(nb: NotebookNode) -> Iterator[str]:
    names, heading = [], None
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            heading = ([heading, *re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.MULTILINE)])[-1]
        elif found := stored(cell):
            anchor = "(#" + re.sub(r"[`*]", "", heading or "").replace(" ", "-") + ")"
            names += [cell.id, anchor, *(rules.plain(kept["question"]) for kept in found)]
    section = rules.markdown(nb).partition("## What we settled")[2].partition("\n#")[0]
    lines = re.findall(r"^- .+(?:\n(?!- ).+)*", section, re.MULTILINE)
    if not lines:
        yield "'What we settled' has no lines"
    for line in lines:
        if not any(name in line or name in rules.plain(line) for name in names):
            yield f"settled without a verdict, name its question, its cell or link to its section: {line}"


RULES = (
    texts_follow_the_measurement,
    thresholds_are_measured,
    verdicts_are_stored,
    outcomes_hold_within_the_tolerance,
)


@pytest.mark.parametrize("name", rules.course())
def test_verdicts(name):
    asked = (*RULES, what_is_settled_was_asked) if name in rules.REWRITTEN else RULES
    problems = [f"{name} {problem}" for rule in asked for problem in rule(rules.course()[name])]
    assert not problems, "\n" + "\n".join(problems)


# --- a notebook that keeps to the rules, and one for each way to break them -------------------------------------------

SOURCE = """losses = {"before": 3.33, "after": run()}
results.verdict(
    "Does it forget English?",
    losses["after"],
    control=losses["before"],
    noise=0.1,
    yes="{measured:.1f} nats instead of {threshold:.1f}.",
    no="Not seen.",
)"""


@pytest.fixture
def nb() -> NotebookNode:
    data, metadata = verdict(
        "Does it forget English?", 3.93, control=3.33, noise=0.1, yes="a", no="b"
    )._repr_mimebundle_()
    output = v4.new_output("execute_result", data, metadata=metadata, execution_count=1)
    cells = [
        v4.new_markdown_cell("# Title\n\n## 1. Lab: what is lost?"),
        v4.new_code_cell(SOURCE, id="lab-english", execution_count=1, outputs=[output]),
        v4.new_markdown_cell(
            "## What we settled\n\n- *Does it forget\n  English?* It does.\n- As [asked](#1.-Lab:-what-is-lost?).\n"
            "- And `lab-english` says it, too.\n\n## Exercises\n\n- none"
        ),
    ]
    return v4.new_notebook(cells=cells)


@pytest.mark.parametrize("rule", (*RULES, what_is_settled_was_asked), ids=lambda rule: rule.__name__)
def test_a_good_notebook_keeps_to_the_rule(nb, rule):
    assert list(rule(nb)) == []


BROKEN = {
    "computed text": (texts_follow_the_measurement, 'no="Not seen."', "no=str(losses)"),
    "only the f-string's numbers": (texts_follow_the_measurement, 'no="Not seen."', 'no=f"{n}", cannot_tell=f"{n}"'),
    "unknown name": (texts_follow_the_measurement, "{measured:.1f} nats", "{loss:.1f} nats"),
    "wrong format": (texts_follow_the_measurement, "{measured:.1f} nats", "{measured:.1q} nats"),
    "no text": (texts_follow_the_measurement, 'no="Not seen."', 'no=""'),
    "says the same": (texts_follow_the_measurement, 'no="Not seen."', 'no="Not seen.", cannot_tell="Not seen."'),
    "known measurement": (thresholds_are_measured, 'losses["after"],', "3.93,"),
    "control by hand": (thresholds_are_measured, 'control=losses["before"],\n    noise=0.1', "control=3.33"),
    "control is the result": (thresholds_are_measured, 'losses["before"],', "3.93,"),
    "by is the result": (thresholds_are_measured, "noise=0.1", "by=3.93, noise=0.1"),
    "another question": (verdicts_are_stored, "Does it forget English?", "Does it forget French?"),
}


@pytest.mark.parametrize(("rule", "old", "new"), BROKEN.values(), ids=BROKEN)
def test_a_cell_that_breaks_a_rule_is_found(nb, rule, old, new):
    assert old in nb.cells[1].source
    nb.cells[1].source = nb.cells[1].source.replace(old, new)
    assert [fault for fault in rule(nb) if fault.startswith("lab-english: ")]


def test_texts_may_be_named_in_the_cell_and_say_what_the_verdict_is_about(nb):
    source = nb.cells[1].source.replace('"Does it forget English?"', 'f"Does it forget {name}?"')
    nb.cells[1].source = "yes, no = f'{name}: ' + '{measured:.1f}', 'Not seen.'\n" + source.replace(
        'no="Not seen."', "no=no"
    )
    assert [fault for rule in RULES for fault in rule(nb)] == []


def test_a_printed_verdict_is_found(nb):
    nb.cells[1].outputs = [v4.new_output("stream", text="Verdict: yes. a\n")]
    assert list(verdicts_are_stored(nb))


@pytest.mark.parametrize(
    ("measured", "outcome", "tolerance", "holds"),
    [
        (3.93, "yes", {}, True),
        (3.436, "yes", {}, False),  # 3.43 is a yes, and 0.2 % of it are 0.007
        (3.34, "cannot tell", {}, True),
        (3.426, "cannot tell", {}, False),
        (3.93, "yes", {"relative": 0.05}, True),
        (3.53, "yes", {"relative": 0.05}, False),
        (27, "yes", {"absolute": 4, "of": 40}, True),
        (7, "yes", {"absolute": 4, "of": 40}, False),
        (97.5, "yes", {"absolute": 4, "of": 40}, True),
        (13.3, "yes", {"absolute": 4, "of": 40}, False),  # 10 per cent
    ],
)
def test_an_outcome_must_hold_wherever_the_tolerance_lets_it_move(nb, measured, outcome, tolerance, holds):
    cell = copy.deepcopy(nb.cells[1])
    cell.outputs[0].metadata["text/plain"]["verdict"] |= {"measured": measured, "outcome": outcome}
    cell.metadata["tolerance"] = tolerance
    assert verdict("?", measured, control=3.33, noise=0.1, yes="a", no="b").outcome == outcome
    assert (not list(outcomes_hold_within_the_tolerance(NotebookNode(cells=[cell])))) == holds


def test_a_line_that_no_verdict_settled_is_found(nb):
    nb.cells[2].source = nb.cells[2].source.replace("- As [asked]", "- *LoRA forgets less.* Yes.\n- As [asked]")
    assert [fault for fault in what_is_settled_was_asked(nb) if "LoRA forgets less" in fault]
    nb.cells[2].source = "## What we settled\n\nNothing.\n\n## Exercises"
    assert list(what_is_settled_was_asked(nb))


def test_what_a_notebook_stores_are_the_numbers_of_the_verdict():
    from IPython.core.formatters import DisplayFormatter

    found = verdict("Does it?", [3.0, 5.0], control=1.0, noise=0.5, yes="{measured:.1f}.", no="It does not.")
    data, metadata = DisplayFormatter().format(found)
    assert data == {"text/plain": "Verdict: yes. 4.0."}
    assert metadata["text/plain"]["verdict"] == found._asdict()
