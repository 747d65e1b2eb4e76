"""my/: a learner's own files are importable in notebooks, and git leaves them alone."""

import importlib
import subprocess
import sys
from pathlib import Path

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
