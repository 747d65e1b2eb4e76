"""The record of a run of the suite: what pytest counted, what failed by name; a part that was not run is no success."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lorautils import ROOT
from tools import suite

TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert False
@pytest.fixture
def broken(): raise OSError
def test_error(broken): pass
@pytest.mark.skip
def test_left_out(): pass
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder for the reports and the results; the versions and the machine are the real ones."""
    monkeypatch.setattr(suite, "RECORD", tmp_path / "suite.jsonl")
    monkeypatch.setattr(suite, "REPORTS", {part: tmp_path / f"{part}.xml" for part in ("tests", "notebooks")})
    return tmp_path


def run_pytest(course, part, code):
    (course / f"test_{part}.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml", f"{part}.xml", f"test_{part}.py"]
    subprocess.run(command, cwd=course, env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, capture_output=True)


def test_what_failed_is_named_and_only_a_whole_run_without_failures_is_a_success(course, capsys):
    run_pytest(course, "notebooks", "def test_good(): pass")
    assert suite.main(["cut off"]) == 1
    assert "tests: not run; notebooks: 1 passed; " in capsys.readouterr().out
    run_pytest(course, "tests", TESTS)
    assert suite.main(["idle"]) == 1
    line = json.loads((course / "suite.jsonl").read_text().splitlines()[1])
    assert (line["tests"]["passed"], line["tests"]["skipped"]) == (1, 1)
    assert line["tests"]["failed"] == ["test_tests::test_bad", "test_tests::test_error"]
    assert line["notebooks"]["passed"] == 1 and line["notebooks"]["failed"] == []
    said = capsys.readouterr().out
    assert "tests: 1 passed, 2 failed, 1 skipped, test_tests::test_bad, test_tests::test_error; " in said
    (course / "tests.xml").write_bytes((course / "notebooks.xml").read_bytes())
    assert suite.main(["whole"]) == 0


def test_what_was_never_run_is_not_recorded(course, capsys):
    assert suite.main(["idle"]) == 2 and suite.main([]) == 2
    assert "python -m tools.suite CONDITION" in capsys.readouterr().err
    assert not (course / "suite.jsonl").exists()


@pytest.mark.skipif(not (os.name == "posix" and shutil.which("make")), reason="the Makefile wants make and sh")
def test_a_repetition_that_ctrl_c_ends_leaves_no_busy_process(course):
    (course / "bin").mkdir()
    (course / ".venv").mkdir()
    for name in ("pyproject.toml", "constraints.txt", ".venv/.lab", ".venv/.site", ".venv/.test"):
        (course / name).touch()
    (course / "bin" / "make").write_text("#!/bin/sh\nexec sleep 60\n")  # in the place of `make test`
    (course / "bin" / "make").chmod(0o755)
    command = [shutil.which("make"), "-f", ROOT / "Makefile", "test-repeat"]
    path = {"PATH": f"{course / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    started = {"cwd": course, "env": os.environ | path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(
        command, **started, start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    ) as run:
        deadline, found = time.monotonic() + 30, []
        while "sleep" not in [process.name() for process in found] and time.monotonic() < deadline:
            time.sleep(0.2)
            found = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    _, left = psutil.wait_procs(found, timeout=5)
    for process in left:
        process.kill()
    assert len(found) >= 4 and not left
