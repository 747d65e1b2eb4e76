"""The kit for a room without network: what its script says to make, and, on request, an installation from it.

LORAUTILS_TEST_KIT=1 builds the whole kit (0.8 GB) and installs the course from it with every host cut off: 5 minutes.
"""

import os
import subprocess
import sys

import pytest

from tools import offline_kit


def test_the_script_points_pip_and_lorautils_into_the_kit(tmp_path):
    offline_kit.write_texts(tmp_path)
    (tmp_path / "course").mkdir()
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text('#!/bin/sh\necho "$PWD|$1|$PIP_NO_INDEX|$PIP_FIND_LINKS|$LORAUTILS_CACHE"\n')
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{make.parent}{os.pathsep}{os.environ['PATH']}"}
    said = subprocess.run(
        ["sh", tmp_path / "start.sh"], cwd="/", env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert said.strip().split("|") == [f"{tmp_path}/course", "lab", "1", f"{tmp_path}/wheelhouse", f"{tmp_path}/model"]


def test_the_course_in_the_kit_is_what_git_does_not_ignore(tmp_path):
    offline_kit.copy_course(tmp_path)
    for name in ("Makefile", "constraints.txt", "notebooks/00_start_here.ipynb", "adapters/cron/adapter_config.json"):
        assert (tmp_path / name).read_bytes() == (offline_kit.ROOT / name).read_bytes()
    assert not (tmp_path / ".venv").exists()


def test_a_course_that_is_no_clone_hears_what_git_says(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(offline_kit, "ROOT", tmp_path)  # as a zip of the repository leaves it
    with pytest.raises(subprocess.CalledProcessError):
        offline_kit.copy_course(tmp_path / "course")
    assert "not a git repository" in capfd.readouterr().err


def test_the_pages_go_along_where_they_are_built(tmp_path, monkeypatch):
    site, kit = tmp_path / "site", tmp_path / "kit"
    monkeypatch.setattr(offline_kit, "SITE", site)
    kit.mkdir()
    for built in (False, True):
        if built:
            (site / "live").mkdir(parents=True)
            for name in ("index.html", "live/manifest.json"):
                (site / name).write_text(name)
        offline_kit.copy_site(kit / "site")
        offline_kit.write_texts(kit)
        assert (kit / "site" / "live" / "manifest.json").exists() == built
        assert ("http.server" in (kit / "README.txt").read_text()) == built


@pytest.mark.skipif(
    os.environ.get("LORAUTILS_TEST_KIT") != "1", reason="LORAUTILS_TEST_KIT=1 installs from a whole kit"
)
def test_the_course_installs_from_the_kit_and_nothing_else(tmp_path):
    offline_kit.main(tmp_path / "kit")
    cut_off = [sys.executable, offline_kit.ROOT / "tools" / "offline.py"]
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    clean |= {"PIP_CONFIG_FILE": os.devnull, "PYTHON": sys.executable}
    subprocess.run([*cut_off, "sh", tmp_path / "kit" / "start.sh", "setup"], env=clean, check=True)
    python = tmp_path / "kit" / "course" / ".venv" / "bin" / "python"
    asked = [python, "-m", "lorautils", "ask", "every weekday at half past nine"]
    clean["LORAUTILS_CACHE"] = str(tmp_path / "kit" / "model")
    answer = subprocess.run(
        [*cut_off, *asked], cwd=tmp_path / "kit" / "course", env=clean, capture_output=True, text=True, check=True
    ).stdout
    assert "30 9 * * 1-5" in answer
