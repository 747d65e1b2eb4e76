"""What is too long for every change is left out with its reason, and CI runs it every night."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lorautils import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CODE = """import pytest
@pytest.mark.long("9 s; a shorter one stands beside")
def test_slow(): pass
def test_quick(): pass
"""


@pytest.mark.parametrize(("asked", "passed", "skipped"), [("", 1, 1), ("1", 2, 0)])
def test_a_long_test_is_skipped_with_its_reason_until_it_is_asked_for(tmp_path, asked, passed, skipped):
    (tmp_path / "test_both.py").write_text(CODE)
    environment = os.environ | {"LORAUTILS_TEST_LONG": asked, "PYTHONPATH": str(ROOT)}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "conftest", "test_both.py"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert re.search(rf"{passed} passed" + (", 1 skipped" if skipped else ""), said), said
    assert ("9 s; a shorter one stands beside: `make test-long`" in said) == bool(skipped)


def test_the_nightly_workflow_runs_them():
    nightly = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8"))
    assert nightly[True]["schedule"], "YAML reads the key `on` as True"
    assert {"run": "make test-long"} in nightly["jobs"]["test"]["steps"]
    assert re.search(r"^test-long:.*\n\tLORAUTILS_TEST_LONG=1 .* -m long tests$", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_make_what_there_is(path: Path):
    steps = re.findall(r"\bmake ((?:[a-z-]+ ?)+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert {target for step in steps for target in step.split()} <= set(TARGETS)
