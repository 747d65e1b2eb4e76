"""Record how `make test` went: python -m tools.suite CONDITION

`make test` leaves two reports in build/, one of the tests and one of the notebooks. They become one line of
experiments/results/suite.jsonl, with the versions of the libraries and the machine.
CONDITION says what was special, such as "idle" or "lowest versions".
"""

import json
import sys
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from experiments.machine import machine
from lorautils import ROOT
from lorautils.results import RESULTS

RECORD = RESULTS / "suite.jsonl"
REPORTS = {part: ROOT / "build" / f"{part}.xml" for part in ("tests", "notebooks")}
MORE_LIBRARIES = ("trl", "huggingface-hub", "jupyterlab", "pytest")


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
    parts = {part: counts(report) for part, report in REPORTS.items()}
    return {"condition": condition, "date": date.today().isoformat(), **parts, "machine": machine(*MORE_LIBRARIES)}


def said(part: dict) -> str:
    """Return the counts of one part of the suite in words."""
    if not part:
        return "not run"
    words = [f"{part['passed']} passed", f"{len(part['failed'])} failed", f"{part['skipped']} skipped"]
    return ", ".join([word for word in words if not word.startswith("0 ")] + part["failed"])


def main(arguments: list[str]) -> int:
    """Record the run; return 1 where something failed or was not run."""
    if len(arguments) != 1 or not any(report.exists() for report in REPORTS.values()):
        print(__doc__, file=sys.stderr)
        return 2
    new = line(arguments[0])
    with RECORD.open("a", encoding="utf-8") as file:
        file.write(json.dumps(new) + "\n")
    minutes = sum(new[part].get("seconds", 0) for part in REPORTS) / 60
    print(*(f"{part}: {said(new[part])}" for part in REPORTS), f"{minutes:.0f} minutes", sep="; ")
    return int(any(not new[part] or new[part]["failed"] for part in REPORTS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
