"""The weekly run at both ends of the admitted versions: its matrix, its script and what it leaves out exist."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import noxfile

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "versions.yml"


@pytest.fixture
def jobs():
    return yaml.safe_load(WORKFLOW.read_text())["jobs"]["test"]["strategy"]["matrix"]["include"]


def test_the_matrix_asks_for_what_the_script_makes(jobs):
    assert {job["versions"] for job in jobs} == {*noxfile.RESOLUTIONS, "pinned"}
    admitted = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    pythons = {job["python"] for job in jobs}
    assert {"3.11", "3.13"} <= pythons and all(python in admitted for python in pythons)


def test_a_test_that_is_left_out_exists():
    left_out = re.findall(r"--deselect=(\S+?)::(\w+)", WORKFLOW.read_text())
    assert left_out
    for file, name in left_out:
        assert f"def {name}(" in (ROOT / file).read_text()
