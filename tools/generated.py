"""Write what the repository's own pages take from notebooks, package and records: python -m tools.generated

A page has a place for it between two comments, such as <!-- minutes 00 02#part-weights -->12<!-- end -->.
`make notebooks` calls it. The pages of `make site` take fresh content, whatever is stored.
"""

import ast
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import nbformat

import lorautils
from lorautils import ROOT, results
from lorautils.exercises import registry
from tools import lecture
from tools.pages import PREDICT

NOTEBOOKS = ROOT / "notebooks"
PAGES = [ROOT / "index.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"<!-- (\w+)((?: [\w#-]+)*) -->(?P<stored>(?:(?!<!--).)*)<!-- end -->", re.DOTALL)


def write() -> None:
    """Fill the places of all pages."""
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


def filled(page: str) -> str:
    """Return a page with fresh content between its comments."""
    return PLACE.sub(lambda place: f"<!-- {place[1]}{place[2]} -->{fresh(place)}<!-- end -->", page)


def fresh(place: re.Match) -> str:
    """Return what belongs into a place: a number in its line, anything longer on lines of its own."""
    content = GENERATED[place[1]](*place[2].split())
    return f"\n{content.strip()}\n" if "\n" in content else content


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


def modules() -> str:
    """Return the table of the modules of lorautils, each with the sentence that it opens with."""
    lines = ["| module | what it is for |", "|---|---|"]
    for name in module_names():
        source = Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8")
        says = ast.get_docstring(ast.parse(source)).split("\n\n")[0]
        lines.append(f"| `{name}` | {in_cell(says)} |")
    return "\n".join(lines)


def module_names() -> list[str]:
    """Return the names of all modules of lorautils, without doors and the figures of one notebook."""
    found = (module.name for module in pkgutil.walk_packages(lorautils.__path__, "lorautils."))
    return ["lorautils", *(name for name in found if not re.search(r"__main__|\.nb\d\d", name))]


def in_cell(text: str) -> str:
    """Return a text as a cell of a table takes it: on one line, with no bar of its own."""
    return " ".join(text.split()).replace("|", r"\|")


def scores() -> str:
    """Return the recorded scores of the shipped adapter and of notebook 08's run, as tables."""
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
    """Return, notebook by notebook, the labs that have a question to ask, with it."""
    lines = []
    for name, nb in notebooks():
        texts = [cell for cell in nb.cells if cell.cell_type == "markdown"]
        rows = []
        for index, cell in enumerate(texts):
            lab = re.search(r"^##+ (?:\d+\. )?Lab: (.+)$", cell.source, re.MULTILINE)
            if lab and (question := asked_in(lab.string[lab.start() :], texts[index + 1 :])):
                rows.append(f"| [{lab[1]}](../notebooks/{name}.ipynb#{cell.id}) | {question} |")
        if rows:
            lines += ["", f"### Notebook {name[:2]}", "", "| lab | ask before it |", "|---|---|", *rows]
    return "\n".join(lines)


def asked_in(text: str, following: list[nbformat.NotebookNode]) -> str | None:
    """Return the first Predict in a text and the cells below it that stand under the same heading."""
    below = takewhile(lambda cell: not cell.source.startswith("#"), following)
    found = PREDICT.search("\n\n".join([text, *(c.source for c in below)]))
    return found and in_cell(re.sub(r"\n> ?", " ", found[1]))


def wrong_answers() -> str:
    """Return, notebook by notebook, what each checker recognises and says."""
    lines = []
    for name, exercises in registry().items():
        lines += ["", f"## Notebook {name[:2]}"]
        asked = [(entry.name, step) for entry in exercises for step in getattr(entry, "steps", [entry])]
        for entry, exercise in asked:
            title = entry if entry == exercise.name else f"{entry}.{exercise.name}"
            lines += ["", f"### `{title}`", "", f"{exercise.question} *({exercise.minutes} minutes)*", ""]
            lines += ["| wrong answer | what the checker says |", "|---|---|"]
            for mistake in exercise.mistakes:
                lines.append("| " + " | ".join(map(in_cell, (mistake.name, mistake.message))) + " |")
    return "\n".join(lines)


def memory() -> str:
    """Return the measured minutes and memory of each notebook."""
    lines = ["| notebook | run minutes | peak memory |", "|---|---|---|"]
    for name, row in sorted(results.read("notebooks.json").items()):
        lines.append(f"| {name[:2]} | {row['minutes']:.1f} | {row['peak_gib']:.1f} GiB |")
    return "\n".join(lines)


GENERATED = {"lecture": lecture.number, "lecture_parts": lecture.parts} | {
    function.__name__: function
    for function in (
        course_map,
        exercise_minutes,
        in_class,
        labs,
        memory,
        minutes,
        modules,
        records,
        scores,
        wrong_answers,
    )
}


if __name__ == "__main__":
    write()
