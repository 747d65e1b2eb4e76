"""A release: its version stands the same wherever it stands, and its pages are packed into the same bytes each time."""

import importlib
import os
import re
import tomllib
from pathlib import Path
from zipfile import ZipFile

import yaml

from tools.archive import pack

ROOT = Path(__file__).parent.parent
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_what_pip_installs_has_the_version_that_is_cited():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    module, name = project["tool"]["setuptools"]["dynamic"]["version"]["attr"].rsplit(".", 1)
    assert getattr(importlib.import_module(module), name) == CITATION["version"]


def test_the_newest_entry_of_the_changelog_is_the_version_and_day_that_are_cited():
    entries = re.findall(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entries[0] == (CITATION["version"], str(CITATION["date-released"]))


def test_the_same_pages_are_packed_into_the_same_bytes_without_what_sphinx_hides(tmp_path):
    pages = {"index.html": "first", "notebooks/00.html": "second", ".doctrees/index.doctree": "", ".buildinfo": ""}
    for time, names in enumerate([list(pages), list(pages)[::-1]]):
        site = tmp_path / str(time) / "site"
        for name in names:
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(pages[name])
            os.utime(site / name, (10**9 * (time + 1),) * 2)
        (site / names[0]).chmod(0o600 + time)
        pack(site, site.parent / "course.zip")
    first, second = (tmp_path / time / "course.zip" for time in "01")
    assert first.read_bytes() == second.read_bytes()
    with ZipFile(first) as archive:
        assert archive.namelist() == ["course/index.html", "course/notebooks/00.html"]
        assert archive.read("course/notebooks/00.html") == b"second"
