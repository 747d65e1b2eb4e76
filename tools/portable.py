"""Do the stored outputs hold elsewhere? python -m tools.portable NAME [NOTEBOOK ...] is one part of `nox -s portable`.

The notebooks are compared as `make test` compares them, under other instruction sets, thread counts, hash seeds and
numbers of workers. A notebook that is done under a configuration is one line of experiments/results/portable.jsonl,
written at once: a run that was cut off goes on where it stopped, and a notebook that was changed since is run again,
and so is one that another processor compared.
"""

import hashlib
import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from experiments.machine import machine
from lorautils import ROOT
from lorautils.results import RESULTS

NOTEBOOKS = ROOT / "notebooks"
RECORD = RESULTS / "portable.jsonl"
OPTIONS = [f"@{ROOT / 'tools' / 'nbval.args'}"]  # those of `make test`
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
WORKER = re.compile(r"^\[gw\d+\] .*\n")  # names the interpreter's path


class Configuration(NamedTuple):
    """One way to run the suite: what it differs in, the environment variables, and pytest's number of workers."""

    meaning: str
    variables: dict[str, str]
    workers: int = 2


def threads(n: int) -> dict[str, str]:
    """Return the variables that give torch and its libraries n threads."""
    return {"OMP_NUM_THREADS": str(n), "MKL_NUM_THREADS": str(n)}


# Each value of each factor, one factor at a time beside "threads-2", so that a difference has one cause. Where there is
# AVX-512, torch uses it by itself: "threads-2" is that setting.
USUAL = {**threads(2), "PYTHONHASHSEED": "0", "OMP_WAIT_POLICY": "PASSIVE"}
CONFIGURATIONS = {
    "threads-2": Configuration("two threads, the processor's own instructions", USUAL),
    "default": Configuration("torch without AVX", USUAL | {"ATEN_CPU_CAPABILITY": "default"}),
    "avx2": Configuration("torch with AVX2", USUAL | {"ATEN_CPU_CAPABILITY": "avx2"}),
    "compatible": Configuration("MKL's products as on any processor", USUAL | {"MKL_CBWR": "COMPATIBLE"}),
    "threads-1": Configuration("one thread", USUAL | threads(1)),
    "threads-4": Configuration("four threads", USUAL | threads(4)),
    "one-worker": Configuration("another hash seed, one notebook at a time", USUAL | {"PYTHONHASHSEED": "1"}, 1),
}


def variables(name: str) -> dict[str, str | None]:
    """Return the variables of a configuration, and None for all others that are varied: they are to be unset."""
    varied = {name for configuration in CONFIGURATIONS.values() for name in configuration.variables}
    return dict.fromkeys(varied) | CONFIGURATIONS[name].variables


def fingerprint(notebook: str) -> str:
    """Return what tells one version of a notebook's code and stored outputs from another; its prose may change."""
    nb = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4)
    code = [[cell.source, cell.metadata, cell.outputs] for cell in nb.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:12]


class Recorder:
    """A plugin of pytest: one line in RECORD for each notebook whose last cell has been compared."""

    def __init__(self, name: str, notebooks: list[str], workers: int):
        self.name, self.workers = name, workers
        self.versions = {notebook: fingerprint(notebook) for notebook in notebooks}  # of what is about to be run
        self.ids = {notebook: code_cells(notebook) for notebook in notebooks}
        self.cells = {notebook: [] for notebook in notebooks}  # of each cell: whether it passed, seconds, difference

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a cell; pytest reports its set-up, call and end, and the middle one is the comparison."""
        if report.when != "call" and report.passed:
            return
        notebook, cell = Path(report.location[0]).stem, report.nodeid.rpartition("::Cell ")[2]
        cells = self.cells[notebook]
        said = "" if report.passed else WORKER.sub("", COLOUR.sub("", report.longreprtext).strip())
        cells.append({"cell": int(cell), "passed": report.passed, "seconds": report.duration, "difference": said})
        if len(cells) == len(self.ids[notebook]):
            record(self.line(notebook))

    def line(self, notebook: str) -> dict:
        """Return what is recorded of a notebook."""
        cells, ids = self.cells[notebook], self.ids[notebook]
        failed = [{"id": ids[c["cell"]], "difference": c["difference"]} for c in cells if not c["passed"]]
        return {
            "configuration": self.name,
            "notebook": notebook,
            "version": self.versions[notebook],
            "passed": len(cells) - len(failed),
            "failed": failed,
            "seconds": round(sum(c["seconds"] for c in cells), 1),
            "workers": self.workers,
            "environment": CONFIGURATIONS[self.name].variables,
            "date": date.today().isoformat(),
            "machine": machine(),
        }


def code_cells(notebook: str) -> list[str]:
    """Return the ids of a notebook's code cells, in order, as nbval numbers them."""
    nb = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4)
    return [cell.id for cell in nb.cells if cell.cell_type == "code"]


def record(line: dict) -> None:
    """Add a line to the results."""
    with RECORD.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def recorded(name: str) -> dict[str, dict]:
    """Return, of this processor and a configuration, the newest line of every notebook."""
    lines = map(json.loads, RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else ())
    processor = machine()["processor"]
    here = (line for line in lines if (line["machine"]["processor"], line["configuration"]) == (processor, name))
    return {line["notebook"]: line for line in here}


def is_done(line: dict | None, notebook: str) -> bool:
    """Say whether a line is of the notebook as it is now."""
    return line is not None and line["version"] == fingerprint(notebook)


def compare(name: str, notebooks: list[str]) -> None:
    """Run the notebooks' comparison in this process's environment, and record each notebook when it is done."""
    workers = min(CONFIGURATIONS[name].workers, len(notebooks))
    options = [*OPTIONS, "--dist=loadfile", f"-n{workers}"]
    paths = [str(NOTEBOOKS / f"{notebook}.ipynb") for notebook in notebooks]
    where = ["--rootdir", str(ROOT), "-q", "--tb=no", "-p", "no:cacheprovider"]
    pytest.main([*options, *where, *paths], plugins=[Recorder(name, notebooks, workers)])


def main(arguments: list[str]) -> int:
    """Run what is not recorded yet; return 1 if an output differs or a notebook did not come to its end."""
    known = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    name, *notebooks = arguments or [""]
    notebooks = [Path(notebook).stem for notebook in notebooks] or known
    if name not in CONFIGURATIONS or (unknown := sorted(set(notebooks) - set(known))):
        wrong, there = (unknown[0], known) if name in CONFIGURATIONS else (repr(name), CONFIGURATIONS)
        print(f"no such configuration or notebook: {wrong}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    print(f"{name}: {CONFIGURATIONS[name].meaning}", flush=True)
    if waiting := [notebook for notebook in notebooks if not is_done(recorded(name).get(notebook), notebook)]:
        compare(name, waiting)
    bad = 0
    for notebook, line in ((notebook, recorded(name).get(notebook)) for notebook in notebooks):
        if not is_done(line, notebook):
            print(f"{name}: {notebook} was not run to its end")
        for failure in line["failed"] if line else ():
            print(f"{name}: {notebook} differs in cell {failure['id']}\n{failure['difference']}")
        bad += not is_done(line, notebook) or bool(line["failed"])
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
