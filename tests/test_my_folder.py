"""my/: a learner's own files are importable in notebooks, and git leaves them alone; temporary ones clear up."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import v4

import lorautils

ROOT = Path(__file__).parent.parent


def test_a_module_of_ones_own_can_be_imported_after_setup(tmp_path, monkeypatch):
    monkeypatch.setattr(lorautils, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my", raising=False)
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "rank_of_mine.py").write_text("ANSWER = 2\n")
    lorautils.setup(0)
    lorautils.setup(0)
    assert importlib.import_module("my.rank_of_mine").ANSWER == 2
    assert sys.path.count(str(tmp_path)) == 1
    monkeypatch.delitem(sys.modules, "my.rank_of_mine")
    monkeypatch.delitem(sys.modules, "my")


def test_the_folder_is_there_and_git_ignores_what_is_put_into_it():
    assert (ROOT / "my").is_dir()
    ignored = subprocess.run(["git", "check-ignore", "-q", "my/llama.py"], cwd=ROOT)
    assert ignored.returncode == 0


WRITES = """
from pathlib import Path
from tempfile import mkdtemp
from lorautils import setup
setup()
setup()
(Path(mkdtemp()) / "model").write_text("large")
"""


def test_what_a_notebook_saves_in_a_temporary_folder_goes_with_its_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cells = [v4.new_code_cell(source) for source in (WRITES, f"list(Path({str(tmp_path)!r}).glob('*/*/model'))")]
    nb = NotebookClient(v4.new_notebook(cells=cells), kernel_name="python3").execute()
    assert "model" in nb.cells[1].outputs[0].data["text/plain"], "it is not where this test looks"
    assert list(tmp_path.iterdir()) == []


def test_nor_does_a_comparison_leave_it(tmp_path):
    wrote = v4.new_output("execute_result", {"text/plain": "5"}, execution_count=1)
    path = tmp_path / "writes.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(WRITES, execution_count=1, outputs=[wrote])]), path)
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "pytest", "--nbval", "-n", "0", "-p", "conftest", path]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    )
    assert "1 passed" in run.stdout, run.stdout + run.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
