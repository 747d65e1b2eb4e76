"""Nobody can silence the comparison unnoticed: change a stored output, and the command of `make test` must fail.

Every kind of output on a small notebook; of each real notebook a copy that ends at its first text output, since what
follows may take minutes. Where a cell has a tolerance of its own, its numbers may move that far and not twice as far.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from course_copy import ROOT, copy_course
from nbformat import v4
from notebook_rules import code_cells, course, texts

from tools.compare_outputs import DECIMAL_OR_INTEGER, RTOL, TolerantText, value

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NBVAL = re.search(r"^NBVAL := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]  # of what `make test` runs


def printed(text: str) -> nbformat.NotebookNode:
    return v4.new_output("stream", text=text)


def shown(kind: str, text: str) -> nbformat.NotebookNode:
    return v4.new_output("display_data", {kind: text})


SHOW = "from IPython.display import display\ndisplay({'%s': '%s'}, raw=True)"
CASES = {  # what is stored: source, right output, wrong output
    "stream": ("print('3 of 4')", printed("3 of 4\n"), printed("3 of 5\n")),
    "decimal": ("print(0.12345)", printed("0.12346\n"), printed("0.12395\n")),
    "nothing": ("print('said')", printed("said\n"), None),
    "error stream": (
        "import sys\nprint('no', file=sys.stderr)",
        v4.new_output("stream", name="stderr", text="no\n"),
        None,
    ),
    "count": ("print('  9 of 40')", printed(" 10 of 40\n"), printed(" 14 of 40\n")),
    "total": ("print('38 of 40')", printed("37 of 40\n"), printed("40 of 40\n")),
    "loose decimal": ("print(0.5)", printed("0.46\n"), printed("0.44\n")),
} | {
    kind: (SHOW % (kind, "1 and 2"), shown(kind, "1 and 2"), shown(kind, "1 and 3"))
    for kind in ("text/plain", "text/html", "text/latex", "text/markdown")
}
TOLERANCES = {  # of the cases that have one of their own
    "count": {"absolute": 4, "of": 40},
    "total": {"absolute": 4, "of": 40},
    "loose decimal": {"relative": 0.1},
}


def small_notebook(wrong: bool) -> nbformat.NotebookNode:
    """One cell a case, with the right or the wrong outputs stored."""
    nb = v4.new_notebook()
    for count, (name, case) in enumerate(CASES.items(), start=1):
        outputs = [case[2] if wrong else case[1]]
        cell = v4.new_code_cell(case[0], execution_count=count, outputs=[output for output in outputs if output])
        cell.id = f"small-{count}"  # the same in all workers of pytest, which name the tests below by it
        if name in TOLERANCES:
            cell.metadata.tolerance = TOLERANCES[name]
        nb.cells.append(cell)
    return nb


def verdicts(path: Path) -> list[bool]:
    """Run nbval as `make test` does; whether each code cell of the notebook passed."""
    command = [sys.executable, "-m", "pytest", *shlex.split(NBVAL), "-n", "0", "-p", "conftest", "-rA", "--tb=no", path]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = re.findall(rf"^(PASSED|FAILED) \S*{path.name}::Cell (\d+)", run.stdout, re.MULTILINE)
    passed = {int(cell): verdict == "PASSED" for verdict, cell in lines}
    assert passed and sorted(passed) == list(range(len(passed))), run.stdout + run.stderr
    return [passed[cell] for cell in sorted(passed)]


def test_right_outputs_pass_and_wrong_ones_fail(tmp_path):
    path = tmp_path / "small.ipynb"
    nbformat.write(small_notebook(wrong=False), path)
    assert dict(zip(CASES, verdicts(path), strict=True)) == dict.fromkeys(CASES, True)
    nbformat.write(small_notebook(wrong=True), path)
    assert dict(zip(CASES, verdicts(path), strict=True)) == dict.fromkeys(CASES, False)


def first_text(nb: nbformat.NotebookNode) -> tuple[int, dict, str]:
    """The first text output of a notebook: the index of its cell, and the dictionary and the key that hold the text."""
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                return index, output, "text"
            if "text/plain" in output.data:
                return index, output.data, "text/plain"
    raise ValueError("the notebook has no text output")


FIRST, *LATER = NOTEBOOKS
LONG = pytest.mark.long("9 to 15 s a notebook; the small notebook and the first one are changed")


@pytest.mark.parametrize(
    "path", [FIRST, *(pytest.param(path, marks=LONG) for path in LATER)], ids=lambda path: path.stem
)
def test_a_changed_output_fails(path, tmp_path):
    nb = nbformat.read(path, as_version=4)
    index, holder, key = first_text(nb)
    holder[key] = f"{holder[key].rstrip()} changed\n"
    nb.cells = nb.cells[: index + 1]
    changed = copy_course(tmp_path) / path.name
    nbformat.write(nb, changed)
    *before, last = verdicts(changed)
    assert all(before)
    assert not last


def moved(text: str, tolerance: dict, times: int) -> Iterator[str]:
    """A text with one of its numbers moved by so many times its tolerance, for each number that has one."""
    for match in DECIMAL_OR_INTEGER.finditer(text):
        number = value(match[0])
        if isinstance(number, float):
            step = number * tolerance.get("relative", RTOL)
        else:
            step = 0 if number == tolerance.get("of") else tolerance.get("absolute", 0)
        if step:
            yield f"{text[: match.start()]} {number + times * step!r}{text[match.end() :]}"


def tolerant_cells() -> Iterator[nbformat.NotebookNode]:
    """The cells with a tolerance of their own: of the small notebook, and of the real ones."""
    for nb in [small_notebook(wrong=False), *course().values()]:
        yield from (cell for cell in code_cells(nb) if "tolerance" in cell.metadata)


@pytest.mark.parametrize("cell", [*tolerant_cells()], ids=lambda cell: cell.id)
def test_a_tolerance_ends_where_it_says(cell):
    tolerance = cell.metadata.tolerance
    stored = [TolerantText(text, tolerance) for text in texts(cell)]
    near = [(text, new) for text in stored for new in moved(text, tolerance, 1)]
    far = [(text, new) for text in stored for new in moved(text, tolerance, 2)]
    assert near, "the tolerance is for no number of the output"
    assert [(text, new) for text, new in near if text != new] == []
    assert [(text, new) for text, new in far if text == new] == []
