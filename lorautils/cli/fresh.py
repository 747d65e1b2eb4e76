"""`lorautils fresh`: working copies of the notebooks in my/, which `make lab` opens. No notebook teaches it.

A copy has no outputs, and what tells the answer to a Predict is folded. Below a Predict whose answer the course knows
stands a cell that asks for the guess, and at the end one that looks back. A copy that holds work, a changed cell or an
output, is never overwritten.
"""

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lorautils import ROOT, my_folder
from lorautils.cli import notice
from lorautils.cli.options import Parser

SUMMARY = "Write working copies of the notebooks into my/, without outputs."
NOTEBOOKS = ROOT / "notebooks"
PARTS = re.compile(r"(.*?)(^#+ .*|^> \*\*Predict.*|\Z)", re.DOTALL | re.MULTILINE)  # prose, something else
LINK = re.compile(r"(?<=\]\()\d\d_\w+(?=\.ipynb)")
PAPER = re.compile(r"(?<!\[)arXiv (\d{4}\.\d{4,5})")
IMPORT = "from lorautils.exercises import predictions\n\n"
ASK = f'# Run this cell to write down a guess, or go on. It stays in my/.\n{IMPORT}predictions.ask("{{}}")'
LOOK_BACK = f'# Where did the runs say otherwise than you guessed?\n{IMPORT}predictions.look_back("{{}}")'
FOLD = "<details><summary>after your run</summary>\n\n{}\n\n</details>"
# What a kernel says of itself: JupyterLab would add it, and call a notebook changed that was only opened.
LANGUAGE = {"codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "mimetype": "text/x-python"}
LANGUAGE |= {"name": "python", "nbconvert_exporter": "python", "pygments_lexer": "ipython3"}


def parser() -> Parser:
    """Return the parser of the numbers of the notebooks to start anew."""
    options = Parser(epilog="Without a number, missing copies are written, and old ones that hold no work updated.")
    options.add_argument("number", nargs="*", help="start this one anew, such as 03; your work is kept beside it")
    return options


def run(options) -> int:
    """Write the copies; say where they are, what was kept, and what is newer in the course."""
    courses = [_course(number) for number in options.number] or sorted(NOTEBOOKS.glob("*.ipynb"))
    my = my_folder()
    my.mkdir(parents=True, exist_ok=True)
    for said in filter(None, (renew(course, my, anew=bool(options.number)) for course in courses)):
        notice(said)
    notice(f"Your working copies of the notebooks are in {my}")
    return 0


def renew(course: Path, my: Path, anew: bool) -> str | None:
    """Write the copy of a notebook where it is missing, old or to start anew; return what a learner must know of it."""
    copy, target, said = working_copy(course), my / f"{short(course.stem)}.ipynb", None
    if target.exists():
        old = _read(target)
        if not anew and _made(old) == _made(copy):
            return None
        if not anew and holds_work(old):
            command = f"{sys.executable} -m lorautils fresh {course.name[:2]}"  # `lorautils` may not be on the path
            return f"{target.name} is newer in the course. Yours has your work and stays. To start anew: {command}"
        said = f"{target.name} is fresh. Is it open in JupyterLab? Then choose File > Reload Notebook from Disk."
        if holds_work(old):
            kept = target.with_stem(f"{target.stem[:2]}_{datetime.now():%Y-%m-%d_%H%M%S}")
            said += f" Your work is in {target.rename(kept).name}."
    target.write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return said if anew else None


def short(name: str) -> str:
    """Return the name of a copy: JupyterLab's list of files cuts longer ones off."""
    return "_".join(name.split("_")[:4])


def working_copy(course: Path) -> dict:
    """Return a notebook without outputs, folded, papers linked, asking, with a mark by which changes are seen."""
    notebook = json.loads(course.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        else:
            cell["source"] = LINK.sub(lambda name: short(name[0]), cell["source"])
            cell["source"] = PAPER.sub(r"[\g<0>](https://arxiv.org/abs/\1)", cell["source"])
    fold(notebook["cells"])
    notebook["cells"] = list(with_guesses(notebook["cells"], f"{short(course.stem)}.ipynb"))
    notebook["metadata"]["language_info"] = LANGUAGE | {"version": platform.python_version()}
    notebook["metadata"]["lorautils"] = {"made": _digest(notebook)}
    return notebook


def fold(cells: list[dict]) -> None:
    """Fold, in place, all prose between the code that follows a Predict and the next heading or Predict.

    The answer may come with the second run only, and its prose stands on the screen where the guess is made. A folded
    cell is read-only: in JupyterLab a double click would otherwise show its source in the place of the fold.
    """
    asked = ran = False
    for cell in cells:
        if cell["cell_type"] == "code":
            ran = asked
            continue
        reading, rest = PARTS.match(cell["source"]).groups()
        if ran and reading.strip():
            cell["source"] = f"{FOLD.format(reading.strip())}\n\n{rest}".strip()
            cell["metadata"]["editable"] = False
        if rest:
            asked, ran = "> **Predict" in rest, False


def with_guesses(cells: list[dict], name: str) -> Iterator[dict]:
    """Yield the cells of a copy, with one that asks after each answered Predict, and one that looks back at the end."""
    for cell in cells:
        yield cell
        if "answer" in cell["metadata"].get("predict", {}):
            yield code_cell(f"guess-{cell['id']}", ASK.format(f"{name[:2]}#{cell['id']}"))
        elif cell["source"].startswith("## What we settled"):
            yield code_cell("guesses-look-back", LOOK_BACK.format(name))


def code_cell(cell_id: str, source: str) -> dict:
    """Return a code cell that has not run."""
    return {
        "cell_type": "code",
        "id": cell_id,
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def holds_work(copy: dict) -> bool:
    """Return whether a cell of a copy was changed, or has an output."""
    return _digest(copy) != _made(copy) or any(cell.get("outputs") for cell in copy["cells"])


def _course(number):
    for path in NOTEBOOKS.glob(f"{number.zfill(2)}_*.ipynb"):
        return path
    raise ValueError(f"there is no notebook {number!r}: give the two digits of its name, such as 03")


def _digest(notebook):
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _made(copy):
    return copy["metadata"].get("lorautils", {}).get("made")


def _read(path):
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        _digest(notebook), _made(notebook)
        return notebook
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # no notebook: not ours to overwrite
        return {"cells": [], "metadata": {}}
