"""tools/portable.py: a line for every notebook that came to its end, what differed in it, and nothing run twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from tools import portable as tool

ROOT = Path(__file__).parent.parent
RUN = """
import sys
from pathlib import Path
from tools import portable as tool

folder = Path(__file__).parent
tool.ROOT = tool.NOTEBOOKS = folder
tool.RECORD = folder / "portable.jsonl"
tool.OPTIONS.append("--nbval-cell-timeout=10")
sys.exit(tool.main(sys.argv[1:]))
"""
SHOW = "import os\nprint(os.environ['OMP_NUM_THREADS'], os.environ['PYTHONHASHSEED'])"


@pytest.fixture
def course(tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    write(tmp_path, "01_good", (SHOW, "2 0\n"), ("1 + 1", None))
    write(tmp_path, "02_other", ("import os\nprint(os.environ.get('ATEN_CPU_CAPABILITY'))", "None\n"))
    return tmp_path


def write(folder, name, *cells):
    """A notebook of code cells: source and stored output, printed text or (None) the value 2."""
    nb = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for count, (source, text) in enumerate(cells, start=1):
        value = v4.new_output("execute_result", {"text/plain": "2"}, execution_count=count)
        output = value if text is None else v4.new_output("stream", text=text)
        nb.cells.append(v4.new_code_cell(source, id=f"cell-{count}", execution_count=count, outputs=[output]))
    nbformat.write(nb, folder / f"{name}.ipynb")


def run(folder, name, *notebooks):
    """Run a configuration as nox does: with its variables, and no other value of those that are varied."""
    caller = os.environ | {"PYTHONPATH": str(ROOT), "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "7"}
    varied = caller | (tool.variables(name) if name in tool.CONFIGURATIONS else {})
    environment = {variable: value for variable, value in varied.items() if value is not None}
    command = [sys.executable, folder / "run.py", name, *notebooks]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


def lines(folder):
    return [json.loads(line) for line in (folder / "portable.jsonl").read_text().splitlines()]


@pytest.mark.long("30 s; a tool of those who write the notebooks")
def test_a_difference_is_told_with_its_cell_and_only_what_was_changed_is_run_again(course):
    """The caller has ATEN_CPU_CAPABILITY: a cell of 02_other shows where it comes through."""
    done = run(course, "threads-4")
    assert done.returncode == 1
    bad, other = sorted(lines(course), key=lambda line: line["notebook"])
    (failure,) = bad["failed"]
    assert (bad["notebook"], bad["passed"], failure["id"]) == ("01_good", 1, "cell-1")
    assert "2 0" in failure["difference"] and "4 0" in failure["difference"] and "\x1b" not in failure["difference"]
    assert sys.executable not in failure["difference"]
    assert "threads-4: 01_good differs in cell cell-1" in done.stdout
    assert (other["failed"], other["passed"], other["workers"], other["configuration"]) == ([], 1, 2, "threads-4")
    assert bad["machine"]["torch"] and bad["environment"]["PYTHONHASHSEED"] == "0"
    write(course, "01_good", (SHOW, "4 0\n"), ("1 + 1", None))
    assert run(course, "threads-4").returncode == 0
    assert [(line["notebook"], line["passed"]) for line in lines(course)[2:]] == [("01_good", 2)]


@pytest.mark.long("17 s; a tool of those who write the notebooks")
def test_what_another_processor_compared_is_compared_here_again(course):
    assert run(course, "threads-2", "01_good").returncode == 0
    (line,) = lines(course)
    line["machine"]["processor"] = "Another"
    (course / "portable.jsonl").write_text(json.dumps(line) + "\n")
    assert run(course, "threads-2", "01_good").returncode == 0
    assert [line["machine"]["processor"] == "Another" for line in lines(course)] == [True, False]


@pytest.mark.long("23 s; `make notebooks` meets a kernel that dies")
def test_a_notebook_that_kills_its_kernel_is_no_success(course):
    write(course, "03_dies", ("import os\nos._exit(3)", ""), ("1 + 1", None))
    assert run(course, "threads-2", "03_dies").returncode == 1


def test_every_value_of_every_factor_is_in_the_plan():
    plan = [configuration.variables for configuration in tool.CONFIGURATIONS.values()]
    assert {variables.get("ATEN_CPU_CAPABILITY") for variables in plan} == {None, "default", "avx2"}
    assert {variables["OMP_NUM_THREADS"] for variables in plan} == {"1", "2", "4"}
    assert {variables["PYTHONHASHSEED"] for variables in plan} == {"0", "1"}
    assert {variables.get("MKL_CBWR") for variables in plan} == {None, "COMPATIBLE"}
    assert {configuration.workers for configuration in tool.CONFIGURATIONS.values()} == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "there"), [(["avx512"], "there are threads-2"), (["threads-2", "99_none"], "there are 00_start_here")]
)
def test_an_unknown_name_is_refused_with_those_that_there_are(capsys, arguments, there):
    assert tool.main(arguments) == 2
    said = capsys.readouterr().err
    assert arguments[-1] in said and there in said


def test_nox_offers_every_configuration_and_both_bounds():
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "-l"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    sessions = {f"portable({name})" for name in tool.CONFIGURATIONS} | {"bounds(lowest)", "bounds(newest)"}
    assert all(session in listed for session in sessions)
