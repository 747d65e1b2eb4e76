"""Record how `make test` went: python -m tools.suite CONDITION

`make test` leaves two reports in build/, one of the tests and one of the notebooks. They become one line of
experiments/results/suite.jsonl, with the versions of the libraries and the machine, and a row of suite.md beside it.
CONDITION says what was special, such as "idle" or "lowest versions".
"""

import json
import re
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from tools.portable import machine

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "suite.jsonl"
REPORTS = {part: ROOT / "build" / f"{part}.xml" for part in ("tests", "notebooks")}
LIBRARIES = ("torch", "numpy", "transformers", "peft", "trl", "accelerate", "huggingface-hub", "jupyterlab", "pytest")


def counts(report: Path) -> dict:
    """Return a report's numbers, its seconds and the names of what failed; an empty one where the part was not run."""
    if not report.exists():
        return {}
    suite = ElementTree.parse(report).getroot().find("testsuite")
    number = {word: int(suite.get(word)) for word in ("tests", "failures", "errors", "skipped")}
    failed = [case for case in suite.iter("testcase") if {"failure", "error"} & {child.tag for child in case}]
    return {
        "passed": number["tests"] - number["failures"] - number["errors"] - number["skipped"],
        "skipped": number["skipped"],
        "failed": [f"{case.get('classname')}::{case.get('name')}" for case in failed],
        "seconds": round(float(suite.get("time"))),
    }


def line(condition: str) -> dict:
    """Return what is recorded of the last `make test`."""
    versions = {library: version(library) for library in LIBRARIES}
    parts = {part: counts(report) for part, report in REPORTS.items()}
    return {"condition": condition, "date": date.today().isoformat(), **parts, "machine": machine() | versions}


def cell(part: dict) -> str:
    """Return the words of the table for one part of the suite."""
    if not part:
        return "not run"
    words = [f"{part['passed']} passed", f"**{len(part['failed'])} failed**", f"{part['skipped']} skipped"]
    return ", ".join(word for word in words if not re.match(r"\**0 ", word))


def row(of: dict) -> str:
    """Return a run's row in the table."""
    about = of["machine"]
    minutes = sum(of[part].get("seconds", 0) for part in REPORTS) / 60
    versions = [about[library] for library in ("python", "torch", "transformers", "peft", "trl")]
    columns = [of["date"], of["condition"], *versions, cell(of["tests"]), cell(of["notebooks"]), f"{minutes:.0f}"]
    return f"| {' | '.join(columns)} | {about['cpu']}, {about['cores']} cores |"


def table(lines: list[dict]) -> str:
    """Return the runs as Markdown, in the order in which they were made, and what failed."""
    head = "| date | condition | Python | torch | transformers | peft | trl | tests | cells of the notebooks"
    head += " | minutes | machine |"
    rows = [head, "|---" * (head.count("|") - 1) + "|", *map(row, lines)]
    failed = [
        f"- {of['date']}, {of['condition']}: `{name}`"
        for of in lines
        for p in REPORTS
        for name in of[p].get("failed", [])
    ]
    return "\n".join(["# Runs of the whole suite", "", *rows, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"


def main(arguments: list[str]) -> int:
    """Record the run; return 1 where something failed or was not run."""
    if len(arguments) != 1 or not any(report.exists() for report in REPORTS.values()):
        print(__doc__, file=sys.stderr)
        return 2
    new = line(arguments[0])
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(new) + "\n")
    lines = [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()]
    RESULTS.with_suffix(".md").write_text(table(lines), encoding="utf-8")
    print(row(new))
    return int(any(not new[part] or new[part]["failed"] for part in REPORTS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
