"""Execute notebooks in place, clean their metadata, measure them: python -m tools.notebooks [NAME ...]

`make notebooks` calls it; all notebooks where none is named. A notebook that fails keeps its file as it was.
Writes experiments/results/notebooks.json and, from it, the measurements in README.md's table; then what other pages
take from the notebooks (tools/generated.py).
"""

import json
import os
import re
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from experiments.machine import machine
from lorautils import ROOT
from lorautils.results import RESULTS
from tools import generated

NOTEBOOKS = ROOT / "notebooks"
RECORD = RESULTS / "notebooks.json"
README = ROOT / "README.md"
HARD = "\N{NO-BREAK SPACE}"
BEGIN, END = "<!-- notebooks:begin -->", "<!-- notebooks:end -->"
NBVAL = (Path(__file__).parent / "nbval.args").read_text(encoding="utf-8")
os.environ["LORAUTILS_MY"] = str(ROOT / "build" / "nobody")  # what lies in my/ here changes no stored output
CELL_TIMEOUT = int(re.search(r"cell-timeout=(\d+)", NBVAL)[1])  # seconds, as in `make test`

# What a notebook may say about itself; everything else changes from machine to machine or from run to run.
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
CELL_METADATA = {
    "raw": ("jupyter", "slideshow", "tags"),
    "code": ("jupyter", "slideshow", "tags", "tolerance"),
    "markdown": ("jupyter", "slideshow", "tags", "predict"),
}
WIDGET = "application/vnd.jupyter.widget-view+json"  # a random id; without its state a viewer shows an error instead


def clean(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Reset the notebook's metadata, drop widget ids and all cell metadata but `CELL_METADATA`, in place."""
    nb.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for cell in nb.cells:
        kept = CELL_METADATA[cell.cell_type]
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in kept})
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return nb


def title(nb: nbformat.NotebookNode) -> str:
    """The first heading of a notebook, without its marks."""
    for cell in nb.cells:
        if cell.cell_type == "markdown" and (heading := re.search(r"^#+\s+(.+)$", cell.source, re.MULTILINE)):
            return heading[1].strip()
    raise ValueError("the notebook has no heading: start its first cell with '# ' and a title")


def watch_memory(client: NotebookClient, done: threading.Event, peak: list[int]) -> None:
    """Keep in `peak[0]` the largest resident memory, in bytes, of the kernel with its children, until `done`."""
    while not done.wait(0.1):
        provisioner = client.km and client.km.provisioner
        if not (provisioner and provisioner.pid):
            continue  # the kernel has not started yet
        try:
            kernel = psutil.Process(provisioner.pid)
            # a child that was forked just now still shows its parent's memory as its own
            started = [child for child in kernel.children(recursive=True) if time.time() - child.create_time() > 1]
            processes = [kernel, *started]
            peak[0] = max(peak[0], sum(process.memory_info().rss for process in processes))
        except psutil.NoSuchProcess:
            continue  # a child ended between the two lines


def execute(path: Path) -> dict | str:
    """Run one notebook from a fresh kernel and write it back clean; return what was measured, or what went wrong."""
    try:
        nb = nbformat.read(path, as_version=4)
    except ValueError as error:
        return f"it is no notebook: {error}"
    for cell in (cell for cell in nb.cells if cell.cell_type == "code"):
        cell.execution_count = None  # a stored one would be taken for a cell of this run
    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
    )
    done, peak, start = threading.Event(), [0], time.monotonic()
    watcher = threading.Thread(target=watch_memory, args=(client, done, peak), daemon=True)
    watcher.start()
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, RuntimeError) as error:  # RuntimeError: a kernel died, or never came
        ran = [cell.id for cell in nb.cells if cell.get("execution_count")]
        return f"at cell '{ran[-1] if ran else nb.cells[0].id}':\n{error}"
    finally:
        done.set()
        watcher.join()
    nbformat.write(clean(nb), path)
    return {
        "title": title(nb),
        "minutes": round((time.monotonic() - start) / 60, 2),
        "peak_gib": round(peak[0] / 2**30, 2),
    }


def table(measured: dict[str, dict], told: dict[str, str]) -> str:
    """The Markdown table of the README: what was measured of each notebook, beside what is told of it."""
    lines = ["| notebook | you leave knowing | run | memory |", "|---|---|---|---|"]
    for name, row in sorted(measured.items()):
        link = f"[{row['title'].partition(':')[0]}](notebooks/{name}.ipynb)"
        lines.append(
            f"| {link} | {told.get(name, '')} | {row['minutes']:.1f}{HARD}min | {row['peak_gib']:.1f}{HARD}GiB |"
        )
    return "\n".join(lines)


def with_table(readme: str, measured: dict[str, dict]) -> str:
    """The README's text with new measurements in its table; raise ValueError where the two markers are missing."""
    before, begin, rest = readme.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no place for the table: add the lines {BEGIN} and {END}")
    told = dict(re.findall(r"\(notebooks/(\w+)\.ipynb\) \| (.*?) \|", old))  # written by hand, so it stays
    return f"{before}{BEGIN}\n{table(measured, told)}\n{END}{after}"


def record(measured: dict[str, dict]) -> None:
    """Merge new measurements with those of notebooks that were not run now, and drop those that no longer exist."""
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    known = {name: row for name, row in (known | measured).items() if (NOTEBOOKS / f"{name}.ipynb").exists()}
    RECORD.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
    README.write_text(with_table(README.read_text(encoding="utf-8"), known), encoding="utf-8", newline="\n")


def main(names: list[str]) -> int:
    """Execute the named notebooks (all where none is named); return 1 if one failed."""
    paths = [NOTEBOOKS / f"{Path(name).stem}.ipynb" for name in names] or sorted(NOTEBOOKS.glob("*.ipynb"))
    if missing := [path.name for path in paths if not path.exists()]:
        print(f"no such notebook in {NOTEBOOKS.name}/: {', '.join(missing)}", file=sys.stderr)
        return 2
    with_table(README.read_text(encoding="utf-8"), {})  # raises now rather than after the minutes of all notebooks
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The course is written for two cores: one notebook for every two, so that the minutes mean the same everywhere.
    measured, failed = {}, False
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
        for path, result in zip(paths, pool.map(execute, paths), strict=True):
            if isinstance(result, str):
                failed = True
                print(f"{path.stem} FAILED, its file is unchanged; {result}", file=sys.stderr, flush=True)
            else:
                measured[path.stem] = result | {"machine": machine()}
                print(f"{path.stem}: {result['minutes']} min, {result['peak_gib']} GiB", flush=True)
    record(measured)
    generated.write()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
