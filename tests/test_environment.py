"""The lists of what is installed agree, the doors call what there is, and the kernel is that of this environment."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from jupyter_client.kernelspec import KernelSpecManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(line) for group in (PROJECT["dependencies"], *EXTRAS.values()) for line in group]
SITE = {canonicalize_name(Requirement(line).name) for line in EXTRAS["site"]}  # conda's users run, they do not publish
NAMES = {canonicalize_name(requirement.name) for requirement in DIRECT} - SITE
CONSTRAINTS = (ROOT / "constraints.txt").read_text().split("\n")


def conda_environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_conda_names_what_pyproject_names():
    pip = conda_environment()["dependencies"][-1]["pip"]
    options = [line for line in pip if line.startswith("-")]
    assert options == ["-c constraints.txt", "-e .[lab,test]"]
    assert pip[0] == options[0]  # a constraint counts wherever it stands; first is where a reader looks
    assert set(pip) - set(options) == NAMES


def test_conda_takes_a_python_that_pyproject_allows():
    python = next(line for line in conda_environment()["dependencies"] if str(line).startswith("python="))
    assert python.removeprefix("python=") == PROJECT["requires-python"].removeprefix(">=")


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_every_direct_dependency_has_a_lower_bound_and_a_pin_that_fits(requirement):
    operators = {spec.operator for spec in requirement.specifier}
    assert ">=" in operators, f"{requirement}: no lower bound"
    assert "==" not in operators, f"{requirement}: a pin replaces what Colab or a cluster has; pin in constraints.txt"
    pins = [Requirement(line.partition(";")[0]) for line in CONSTRAINTS if line]
    versions = [pin.specifier for pin in pins if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
    assert versions, f"{requirement.name} has no line in constraints.txt"
    for specifier in versions:
        (pinned,) = specifier
        assert pinned.operator == "=="
        assert pinned.version in requirement.specifier


def test_constraints_contain_versions_and_no_address():
    for line in filter(None, CONSTRAINTS):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+( ; .*)?", line), line


@pytest.mark.parametrize("door", ["README.md", "docs/doors.md", "docs/teaching.md", ".devcontainer/devcontainer.json"])
def test_a_door_calls_commands_that_there_are(door):
    text = (ROOT / door).read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:bin/|python -m )lorautils ([\w-]+)", text))
    targets = set(re.findall(r"""(?:^    |[`"])make ([\w-]+)""", text, re.MULTILINE))
    assert commands | targets
    assert commands <= {path.stem.replace("_", "-") for path in (ROOT / "lorautils" / "cli").glob("*.py")}
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("failing", ["none", "fetch"])
def test_an_image_of_binder_has_the_model_and_the_copies_or_is_none(failing, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/called\n[ "$3" != {failing} ]\n')
    python.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    code = subprocess.run([ROOT / "postBuild"], env=os.environ | {"PATH": path}).returncode
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["-m lorautils fetch", "-m lorautils fresh"][: 1 if code else 2]
    assert (code != 0) == (failing == "fetch")


def test_the_kernel_comes_from_this_environment_and_from_no_users_folder():
    kernels = KernelSpecManager().find_kernel_specs()
    assert Path(kernels["python3"]).is_relative_to(sys.prefix), f"python3 is {kernels['python3']}"
