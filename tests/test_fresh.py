"""`lorautils fresh`: working copies in my/ that hide the answers, and never cost a learner any work."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from course_copy import ROOT
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lorautils.cli import fresh, main

COURSES = sorted(fresh.NOTEBOOKS.glob("*.ipynb"))
PREDICT = "> **Predict.**"
BEGIN, END = fresh.FOLD.split("{}")
GUESS = "guess"  # how the ids of the cells begin that only a copy has


@pytest.fixture
def my(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LORAUTILS_MY", str(tmp_path / "my"))
    return tmp_path / "my"


@pytest.fixture
def course(tmp_path, monkeypatch) -> Path:
    """A course of one notebook, of which an author changes what they like."""
    monkeypatch.setattr(fresh, "NOTEBOOKS", tmp_path)
    sources = [("markdown", f"{PREDICT} How many?"), ("code", "print(40 + 2)"), ("markdown", "42.")]
    return write(tmp_path / "03_projection_matrices.ipynb", sources)


def write(path: Path, sources: list[tuple[str, str]]) -> Path:
    cells = [getattr(nbformat.v4, f"new_{kind}_cell")(source) for kind, source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def of_the_course(path: Path) -> dict:
    """A working copy without the cells that ask for a guess."""
    copy = fresh.working_copy(path)
    return copy | {"cells": [cell for cell in copy["cells"] if not cell["id"].startswith(GUESS)]}


def without_links(text: str) -> str:
    """What the links of a copy have in common with the course's."""
    return re.sub(r"\[(arXiv \S+)\]\(\S+?\)", r"\1", fresh.LINK.sub("", text))


@pytest.mark.parametrize("path", COURSES, ids=lambda path: path.stem)
def test_a_copy_is_the_notebook_without_outputs_and_what_answers_a_prediction_is_folded(path):
    copy, course = nbformat.from_dict(of_the_course(path)), read(path)
    nbformat.validate(nbformat.from_dict(fresh.working_copy(path)))
    opened = [cell.source.replace(BEGIN, "").replace(END, "") for cell in copy.cells]
    for cell, source, original in zip(copy.cells, opened, course.cells, strict=True):
        assert without_links(source) == without_links(original.source)
        assert cell.cell_type == "code" or not re.search(r"(?<!\[)arXiv \d", cell.source)
        assert cell.cell_type != "code" or (cell.outputs, cell.execution_count) == ([], None)
    for index, cell in enumerate(course.cells):
        if cell.cell_type == "markdown" and re.search("^" + re.escape(PREDICT), cell.source, re.MULTILINE):
            rest = copy.cells[index + 1 :]
            code = next(i for i, following in enumerate(rest) if following.cell_type == "code")
            reading = next(following.source for following in rest[code:] if following.cell_type == "markdown")
            assert reading.startswith((BEGIN, "#")), cell.id
    folds = re.findall(f"{re.escape(BEGIN)}(.*?){re.escape(END)}", "\n".join(c.source for c in copy.cells), re.DOTALL)
    assert folds
    for fold in folds:
        assert fold.count("```") % 2 == 0 and not re.search(rf"^#+ |{re.escape(PREDICT)}", fold, re.MULTILINE)


def stretches(cells: list[dict]) -> Iterator[list[dict]]:
    """For each Predict the cells in which its answer may be read: those up to the next heading or Predict."""
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "markdown" and re.search("^" + re.escape(PREDICT), cell["source"], re.MULTILINE):
            stretch = []
            for following in cells[index + 1 :]:
                text = fresh.PARTS.match(following["source"]) if following["cell_type"] == "markdown" else None
                stretch.append({**following, "source": text[1]} if text else following)
                if text and text[2]:
                    break
            yield stretch


def tells(stretch: list[dict]) -> bool:
    """Whether the answer to a Predict can be read before its code has run: in open prose, or in the code itself."""
    kinds = [cell["cell_type"] for cell in stretch]
    asked = stretch[: kinds.index("code")] if "code" in kinds else stretch
    prose = (cell["source"] for cell in stretch[len(asked) :] if cell["cell_type"] == "markdown")
    folded = rf"(?s)\s*({re.escape(BEGIN)}.*?{re.escape(END)}\s*)?"
    printed = (cell["source"] for cell in stretch if cell["cell_type"] == "code")
    return any(not re.fullmatch(folded, text) for text in prose) or any('"Verdict: ' in text for text in printed)


def test_at_least_eight_in_ten_answers_cannot_be_read_before_the_guess():
    told = [tells(stretch) for path in COURSES for stretch in stretches(of_the_course(path)["cells"])]
    assert len(told) > 100
    assert sum(told) <= 0.2 * len(told), f"{sum(told)} of {len(told)} answers stand beside their question"


@pytest.mark.parametrize("path", COURSES, ids=lambda path: path.stem)
def test_a_copy_asks_below_each_answered_prediction_and_looks_back_at_the_end(path):
    cells, course = fresh.working_copy(path)["cells"], read(path).cells
    added = [index for index, cell in enumerate(cells) if cell["id"].startswith(GUESS)]
    asked = [cell.id for cell in course if "answer" in cell.metadata.get("predict", {})]
    assert [cells[index - 1]["id"] for index in added] == [*asked, "settled"]
    assert f'predictions.look_back("{fresh.short(path.stem)}.ipynb")' in cells[added[-1]]["source"]
    used = {node.id for cell in course if cell.cell_type == "code" for node in names(cell.source)}
    bound = {node.asname or node.name for index in added for node in imported(cells[index]["source"])}
    assert bound and not bound & used, "the added cells take a name of the notebook's own"


def names(source: str) -> Iterator[ast.Name]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))


def imported(source: str) -> Iterator[ast.alias]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.alias))


def test_the_added_cells_run_alone_and_print_nothing(my):
    main(["fresh", "00"])
    InteractiveShell.instance()
    for cell in read(my / "00_start_here.ipynb").cells:
        if cell.id.startswith(GUESS):
            with capture_output() as captured:
                exec(cell.source, {})
            assert (captured.stdout, captured.stderr, captured.outputs) == ("", "", [])


def test_links_lead_from_a_copy_to_copies_and_pages(my):
    main(["fresh"])
    for path in my.glob("*.ipynb"):
        for target in re.findall(r"\]\(([^)#\s]+\.(?:ipynb|md|png|svg))", path.read_text()):
            assert (my / target).exists() or (ROOT / "my" / target).exists(), f"{path.name}: {target}"


def test_names_fit_into_the_list_of_files_and_differ(my):
    main(["fresh"])
    names = [path.stem for path in my.iterdir()]
    assert len(names) == len(COURSES) and max(map(len, names)) <= 22  # as far as JupyterLab shows them


def run(copy: nbformat.NotebookNode) -> None:
    copy.cells[1].outputs = [nbformat.v4.new_output("stream", text="42\n")]


def edit(copy: nbformat.NotebookNode) -> None:
    copy.cells[1].source = "print(6 * 7)"


def note(copy: nbformat.NotebookNode) -> None:
    copy.cells.append(nbformat.v4.new_markdown_cell("Why?"))


@pytest.mark.parametrize("work", [run, edit, note])
def test_a_copy_with_work_is_left_alone_until_asked_and_kept_even_then(my, course, capsys, work):
    main(["fresh"])
    target = my / course.name
    copy = read(target)
    work(copy)
    nbformat.write(copy, target)
    mine = target.read_bytes()
    capsys.readouterr()

    main(["fresh"])
    assert target.read_bytes() == mine
    assert course.name not in capsys.readouterr().err

    write(course, [("code", "print('new')")])
    main(["fresh"])
    assert target.read_bytes() == mine
    said = capsys.readouterr().err
    assert f"{course.name} is newer in the course" in said

    command = re.search(r"To start anew: (.+)", said)[1].split()
    assert Path(command[0]).samefile(sys.executable) and main(command[3:]) == 0
    assert read(target).cells[0].source == "print('new')"
    kept = next(path for path in my.iterdir() if path != target)
    assert kept.read_bytes() == mine
    assert kept.name in capsys.readouterr().err
    assert re.fullmatch(r"03_\d{4}-\d\d-\d\d_\d{6}\.ipynb", kept.name)  # 20 letters: the list of files shows them


def test_a_copy_without_work_follows_the_course(my, course):
    main(["fresh"])
    opened = json.loads((my / course.name).read_text())
    opened["cells"][1]["execution_count"] = 1  # run, with nothing to show for it
    (my / course.name).write_text(json.dumps(opened))
    write(course, [("code", "print('new')")])
    main(["fresh"])
    assert read(my / course.name).cells[0].source == "print('new')"
    assert main(["fresh", "03"]) == 0
    assert [path.name for path in my.iterdir()] == [course.name]


@pytest.mark.parametrize("text", ["", "{"])
def test_a_damaged_copy_stops_nothing_and_is_kept(my, course, text):
    my.mkdir()
    (my / course.name).write_text(text)
    assert main(["fresh"]) == 0
    assert (my / course.name).read_text() == text
    assert main(["fresh", "03"]) == 0
    assert sorted(path.read_text() == text for path in my.iterdir()) == [False, True]


@pytest.mark.parametrize("number", ["40", "all"])
def test_a_number_that_no_notebook_has_is_named_and_nothing_is_written(my, capsys, number):
    assert main(["fresh", "03", number]) == 2
    assert f"there is no notebook {number!r}" in capsys.readouterr().err
    assert not my.exists()


def test_no_torch_is_loaded(my):
    code = "import sys; from lorautils.cli import main; main(['fresh']); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
