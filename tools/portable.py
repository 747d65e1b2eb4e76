"""Do the stored outputs hold elsewhere? python tools/portable.py [--configurations A,B] [NAME ...]

`make test-portable` calls it. The notebooks are compared as `make test` compares them, under other instruction sets,
thread counts, hash seeds and numbers of workers. A notebook that is done under a configuration is one line of
experiments/results/portable.jsonl, written at once: a run that was cut off goes on where it stopped, and a notebook
that was changed since is run again, and so is one that another processor compared. The tables, one for each
processor, go to experiments/results/portable.md.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "experiments" / "results" / "portable.jsonl"
TABLE = RESULTS.with_suffix(".md")
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


# Each value of each factor, one factor at a time beside "threads-2", so that a difference has one cause.
USUAL = {**threads(2), "PYTHONHASHSEED": "0", "OMP_WAIT_POLICY": "PASSIVE"}
CONFIGURATIONS = {
    "threads-2": Configuration("two threads, the processor's own instructions", USUAL),
    "default": Configuration("torch without AVX", USUAL | {"ATEN_CPU_CAPABILITY": "default"}),
    "avx2": Configuration("torch with AVX2", USUAL | {"ATEN_CPU_CAPABILITY": "avx2"}),
    "avx512": Configuration("torch with AVX-512", USUAL | {"ATEN_CPU_CAPABILITY": "avx512"}),
    "compatible": Configuration("MKL's products as on any processor", USUAL | {"MKL_CBWR": "COMPATIBLE"}),
    "threads-1": Configuration("one thread", USUAL | threads(1)),
    "threads-4": Configuration("four threads", USUAL | threads(4)),
    "one-worker": Configuration("another hash seed, one notebook at a time", USUAL | {"PYTHONHASHSEED": "1"}, 1),
}


def runs_here(name: str) -> bool:
    """Say whether this processor can run a configuration: torch dies of AVX-512 that is not there."""
    if name != "avx512":
        return True
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    said = subprocess.run([sys.executable, "-c", code], env=environment(USUAL), capture_output=True, text=True)
    return said.stdout.strip() == "AVX512"


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with these variables and no other value of those that are varied."""
    varied = {name for configuration in CONFIGURATIONS.values() for name in configuration.variables}
    return {name: value for name, value in os.environ.items() if name not in varied} | variables


def fingerprint(notebook: str) -> str:
    """Return what tells one version of a notebook's code and stored outputs from another; its prose may change."""
    nb = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4)
    code = [[cell.source, cell.metadata, cell.outputs] for cell in nb.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:12]


def machine() -> dict[str, str]:
    """Return the processor, and the versions that a comparison was made with."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "python": platform.python_version(),
        **{library: version(library) for library in ("torch", "numpy", "transformers", "peft")},
    }


class Recorder:
    """A plugin of pytest: one line in RESULTS for each notebook whose last cell has been compared."""

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
    """Add a line to the results, and write the table anew."""
    with RESULTS.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")
    TABLE.write_text(table(recorded()), encoding="utf-8")


def recorded() -> dict[str, dict[tuple[str, str], dict]]:
    """Return, for each processor, the newest line of every notebook and configuration."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    found = {}
    for line in map(json.loads, text.splitlines()):
        found.setdefault(line["machine"]["cpu"], {})[line["notebook"], line["configuration"]] = line
    return found


def recorded_here() -> dict[tuple[str, str], dict]:
    """Return what is recorded of this processor."""
    return recorded().get(machine()["cpu"], {})


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


def table(places: dict[str, dict[tuple[str, str], dict]]) -> str:
    """Return the results as Markdown: for each processor a table, then what the words mean."""
    head = "Cells whose output equals the stored one, of all; written by `make test-portable`. `-`: not run;"
    head += " `*`: the notebook was changed since."
    parts = ["# Stored outputs under other settings", head]
    for name, lines in places.items():
        parts += [f"## {name}", *table_of_processor(lines)]
    meanings = [f"- `{name}`: {configuration.meaning}" for name, configuration in CONFIGURATIONS.items()]
    return "\n\n".join([*parts, "## What was varied", "\n".join(meanings)]) + "\n"


def table_of_processor(lines: dict[tuple[str, str], dict]) -> list[str]:
    """Return a processor's versions, its table with a row a notebook and a column a configuration, every difference."""
    names = [name for name in CONFIGURATIONS if any(of == name for _, of in lines)]
    rows = [f"| notebook | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for notebook in sorted({notebook for notebook, _ in lines}):
        cells = [cell(lines.get((notebook, name)), notebook) for name in names]
        rows.append(f"| {notebook} | {' | '.join(cells)} |")
    about = next(iter(lines.values()))["machine"]
    versions = ", ".join(f"{library} {about[library]}" for library in ("python", "torch", "transformers", "peft"))
    return [f"With {versions}.", "\n".join(rows), *differences(lines)]


def cell(line: dict | None, notebook: str) -> str:
    """Return a cell of the table."""
    if line is None:
        return "-"
    whole = line["passed"] + len(line["failed"])
    share = f"{line['passed']}/{whole}" if not line["failed"] else f"**{line['passed']}/{whole}**"
    gone = not (NOTEBOOKS / f"{notebook}.ipynb").exists()
    return share if not gone and is_done(line, notebook) else f"{share}*"


def differences(lines: dict[tuple[str, str], dict]) -> list[str]:
    """Return a paragraph for every cell that differed."""
    found = []
    for (notebook, name), line in sorted(lines.items()):
        for failure in line["failed"]:
            found.append(f"{notebook}, cell `{failure['id']}`, {name}:\n\n```\n{failure['difference']}\n```")
    return ["Differences:", *found] if found else []


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--configurations", default="", metavar="A,B", help=f"of {', '.join(CONFIGURATIONS)}")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # the environment is set already
    parser.add_argument("names", nargs="*", metavar="NAME", help="a notebook; all where none is named")
    given = parser.parse_args()
    given.names = [Path(name).stem for name in given.names] or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    given.configurations = given.configurations.split(",") if given.configurations else list(CONFIGURATIONS)
    if unknown := [name for name in given.configurations if name not in CONFIGURATIONS]:
        parser.error(f"unknown configuration {unknown[0]!r}; there are {', '.join(CONFIGURATIONS)}")
    if missing := [name for name in given.names if not (NOTEBOOKS / f"{name}.ipynb").exists()]:
        parser.error(f"no such notebook in notebooks/: {missing[0]}")
    return given


def main() -> int:
    """Run what is not recorded yet; return 1 if an output differs or a notebook did not come to its end."""
    given = arguments()
    if given.inside:
        compare(given.configurations[0], given.names)
        return 0
    bad = 0
    for name in given.configurations:
        if not runs_here(name):
            print(f"{name}: not run here, this processor has no AVX-512", flush=True)
            continue
        waiting = [notebook for notebook in given.names if not is_done(recorded_here().get((notebook, name)), notebook)]
        if waiting:
            print(f"{name}: {CONFIGURATIONS[name].meaning}", flush=True)
            command = [sys.executable, __file__, "--inside", "--configurations", name, *waiting]
            subprocess.run(command, cwd=ROOT, env=environment(CONFIGURATIONS[name].variables))
        for notebook in given.names:
            line = recorded_here().get((notebook, name))
            if not is_done(line, notebook) or line["failed"]:
                bad += 1
                print(f"{name}: {notebook} {'differs' if is_done(line, notebook) else 'was not run to its end'}")
    if places := recorded():
        print(table(places))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
