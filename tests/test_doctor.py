"""`lorautils doctor` in a healthy environment and in environments that are broken for real."""

import json
import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lorautils import basemodel
from lorautils.cli import doctor

ROOT = Path(__file__).parent.parent
LINE = re.compile(r"(ok|note|PROBLEM) +(\w+) +(\S.*)")
Disk = namedtuple("Disk", "total used free")
Memory = namedtuple("Memory", "total available")


def run(*options, **environment):
    """The doctor in a process of its own: exit code, {subject: [(level, text)]} and stderr."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, *options, "-m", "lorautils", "doctor"],
        env=inherited | environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    *lines, last = done.stdout.splitlines()
    found = {}
    for line, following in zip(lines, [*lines[1:], last], strict=True):
        if match := LINE.fullmatch(line):
            level, subject, text = match.groups()
            found.setdefault(subject, []).append((level, text))
            assert level == "ok" or following.strip().startswith("->"), f"no remedy below: {line}"
        else:
            assert line.strip().startswith("-> "), f"neither a finding nor a remedy: {line}"
    problems = sum(level == "PROBLEM" for findings in found.values() for level, _ in findings)
    assert last == f"{problems} problem{'' if problems == 1 else 's'} found."
    assert done.returncode == (1 if problems else 0)
    assert "Traceback" not in done.stderr
    return found


def levels(findings):
    return [finding.level for finding in findings]


def fake_package(folder, name, version=None, code=""):
    """A package that comes first on the path: `code` when it is imported, and another version if one is given."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    if version:
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


# --- whole runs -------------------------------------------------------------------------------------------------


def test_a_healthy_environment():
    found = run(OMP_WAIT_POLICY="PASSIVE")  # as under `make lab`
    assert list(found) == list(doctor.CHECKS)
    known = {"adapter", "cache", "memory", "cores", "processor"}  # these depend on the machine
    assert {subject for subject, lines in found.items() if lines[0][0] != "ok"} <= known
    assert re.search(r"float32 \d+ GFLOP/s, bf16 \d+ GFLOP/s: bf16 is [\d.]+ times", found["processor"][0][1])


def test_torch_that_cannot_be_imported(tmp_path):
    fake_package(tmp_path, "torch", code="raise ImportError('libgomp.so.1: cannot open shared object file')")
    found = run(PYTHONPATH=str(tmp_path))
    assert found["imports"] == [
        ("PROBLEM", "import torch fails: ImportError: libgomp.so.1: cannot open shared object file")
    ]
    assert "libgomp" in found["processor"][0][1] and found["processor"][0][0] == "PROBLEM"
    assert found["kernel"] == [("ok", "notebooks run in this Python")], "the other checks still run"


def test_an_environment_without_any_package():
    found = run("-S", PYTHONPATH=str(ROOT))
    assert list(found) == list(doctor.CHECKS)
    assert {"packages", "imports", "cache", "adapter"} <= {
        subject for subject, lines in found.items() if lines[0][0] == "PROBLEM"
    }
    assert found["imports"] == [("PROBLEM", "import torch fails: ModuleNotFoundError: No module named 'torch'")]


# --- check by check -----------------------------------------------------------------------------------------------


def test_another_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 4))
    (finding,) = doctor.check_python()
    assert finding.level == "PROBLEM" and "3.11 to 3.14 is needed" in finding.text


def test_a_version_outside_the_range(tmp_path, monkeypatch):
    fake_package(tmp_path, "peft", "0.3.0")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = doctor.check_packages()
    assert finding == doctor.problem("peft is 0.3.0, needed is >=0.21.2", doctor.INSTALL)


def test_a_version_that_is_not_the_pinned_one(tmp_path, monkeypatch):
    fake_package(tmp_path, "peft", "99.0")
    fake_package(tmp_path, "tokenizers", "98.0")  # not a direct dependency, but pinned
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = doctor.check_packages()
    assert finding.level == "note" and finding.remedy == doctor.INSTALL
    assert "peft 99.0 (pinned: ==" in finding.text and "tokenizers 98.0 (pinned: ==" in finding.text


def test_missing_packages(monkeypatch):
    there = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("peft", "jupyterlab") else there(name))
    assert set(doctor.check_packages()) == {
        doctor.problem("peft is missing", doctor.INSTALL),
        doctor.note("jupyterlab is missing", doctor.INSTALL),
    }


def test_a_package_that_is_not_installed_at_all(monkeypatch):
    def missing(name):
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    (finding,) = doctor.examine(doctor.check_packages)
    assert finding.level == "PROBLEM" and "lorautils" in finding.text


@pytest.mark.parametrize(
    ("total", "free", "level"), [(16e9, 9e9, "ok"), (4.1e9, 3e9, "ok"), (8e9, 1e9, "note"), (2e9, 2e9, "PROBLEM")]
)
def test_memory(monkeypatch, total, free, level):
    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory(total, free))
    assert levels(doctor.check_memory()) == [level]


def test_one_thread_on_many_cores(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    (finding,) = doctor.check_cores()
    assert finding.level == "note" and "OMP_NUM_THREADS" in finding.remedy


@pytest.mark.parametrize(
    ("single", "half", "said"),
    [(150, 20, "bf16 is 7.5 times slower here, stay with float32"), (180, 400, "bf16 is 2.2 times faster here")],
)
def test_the_probe_is_put_into_words(monkeypatch, single, half, said):
    import torch

    speeds = {torch.float32: single, torch.bfloat16: half}
    monkeypatch.setattr("lorautils.measure.gigaflops", speeds.__getitem__)
    (finding,) = doctor.check_processor()
    assert finding.level == "ok" and said in finding.text


def test_a_slow_processor_is_noted(monkeypatch):
    monkeypatch.setattr("lorautils.measure.gigaflops", lambda dtype: 5)
    assert levels(doctor.check_processor()) == ["ok", "note"]


@pytest.mark.parametrize(
    ("policy", "level"), [(None, "note"), ("ACTIVE", "note"), ("PASSIVE", "ok"), ("passive", "ok")]
)
def test_the_wait_policy(monkeypatch, policy, level):
    monkeypatch.setattr("lorautils.INHERITED_WAIT_POLICY", policy)
    (finding,) = doctor.check_threads()
    assert finding.level == level
    assert level == "ok" or f"is {policy or 'not set'} here" in finding.text


# --- the cache ------------------------------------------------------------------------------------------------------


def cache_findings(monkeypatch, folder):
    monkeypatch.setenv("LORAUTILS_CACHE", str(folder))
    return list(doctor.examine(doctor.check_cache))


def test_a_cache_that_is_not_there_yet(tmp_path, monkeypatch):
    (finding,) = cache_findings(monkeypatch, tmp_path / "new" / "cache")
    assert finding.level == "note" and "lorautils fetch" in finding.remedy
    assert not (tmp_path / "new").exists(), "the doctor only looks"


def test_no_place_for_a_cache(monkeypatch):
    monkeypatch.delenv("LORAUTILS_MODEL", raising=False)
    monkeypatch.setenv("LORAUTILS_CACHE", "~nobody-of-this-name/cache")
    (finding,) = doctor.examine(doctor.check_cache)
    assert finding.level == "PROBLEM" and finding.remedy == doctor.OTHER_CACHE


def test_a_cache_that_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("")
    (finding,) = cache_findings(monkeypatch, tmp_path / "cache")
    assert finding.level == "PROBLEM" and finding.remedy == doctor.OTHER_CACHE
    assert finding.text.startswith(f"{tmp_path / 'cache'} cannot be written: NotADirectoryError")


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Disk(10**9, 9 * 10**8, 10**8))
    problem, _ = cache_findings(monkeypatch, tmp_path)
    assert problem.level == "PROBLEM" and problem.text == f"0.1 GB free in {tmp_path}, 1 GB is needed"


def test_a_damaged_model(tmp_path, monkeypatch):
    (tmp_path / basemodel.FOLDER).mkdir()
    (tmp_path / basemodel.FOLDER / "manifest.json").write_text("{")
    (finding,) = cache_findings(monkeypatch, tmp_path)
    assert finding.level == "note" and "the base model is damaged (JSONDecodeError" in finding.text


def test_a_whole_model(tmp_path, monkeypatch):
    folder = tmp_path / basemodel.FOLDER
    folder.mkdir()
    (folder / "model.safetensors").write_text("weights")
    basemodel._write_manifest(folder)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Disk(10**10, 10**9, 9 * 10**9))
    assert cache_findings(monkeypatch, tmp_path) == [doctor.ok(f"the base model is in {tmp_path}; 9.0 GB free there")]


def test_another_model_is_noted(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("LORAUTILS_MODEL", str(tmp_path))
    first = cache_findings(monkeypatch, tmp_path)[0]
    assert first.level == "note" and first.text.startswith(f"LORAUTILS_MODEL is {tmp_path}: the notebooks' outputs")


def test_another_model_of_the_hub_is_noted_once_it_is_here(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: "/cache/config.json")
    monkeypatch.setenv("LORAUTILS_MODEL", "other/model")
    assert cache_findings(monkeypatch, tmp_path)[0].level == "note"


@pytest.mark.parametrize("name", ["other/model-that-nobody-has", "/no/such/folder"])
def test_another_model_that_is_not_here_is_a_problem(tmp_path, monkeypatch, name):
    monkeypatch.setenv("LORAUTILS_MODEL", name)
    first = cache_findings(monkeypatch, tmp_path)[0]
    assert first.level == "PROBLEM" and first.text == f"LORAUTILS_MODEL is {name}, which is not on this machine"


def test_another_model_that_is_none_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setenv("LORAUTILS_MODEL", str(tmp_path))
    first = cache_findings(monkeypatch, tmp_path)[0]
    assert first.level == "PROBLEM" and f"{tmp_path}, a folder without a model" in first.text


# --- adapter and kernel -----------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.lorautils, "ROOT", tmp_path)
    folder = tmp_path / "adapters" / "cron"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    save_file({"lora_A": np.ones((8, 576), np.float32)}, folder / "adapter_model.safetensors")
    return folder


def test_a_whole_adapter(adapter):
    assert list(doctor.check_adapter()) == [doctor.ok(f"1 tensors, 0.0 MB in {adapter}")]


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_with_a_missing_file(adapter, missing):
    (adapter / missing).unlink()
    (finding,) = doctor.check_adapter()
    assert finding.level == "PROBLEM" and missing in finding.text and "git checkout" in finding.remedy


def test_a_truncated_adapter(adapter):
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (finding,) = doctor.check_adapter()
    assert finding.level == "PROBLEM" and "SafetensorError" in finding.text


@pytest.mark.parametrize(
    ("program", "level"), [("python", "ok"), (sys.executable, "ok"), ("/opt/elsewhere/bin/python3", "PROBLEM")]
)
def test_the_kernel(tmp_path, monkeypatch, program, level):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": [program, "-m", "ipykernel_launcher"], "display_name": "x"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    (finding,) = doctor.check_kernel()
    assert finding.level == level
    assert level == "ok" or ("/opt/elsewhere" in finding.text and "ipykernel install" in finding.remedy)


# --- the report -------------------------------------------------------------------------------------------------------


def test_a_check_that_breaks_is_a_problem_and_the_next_one_runs(monkeypatch, capsys):
    def broken():
        yield doctor.note("something", "do this")
        raise OSError("several\nlines")

    def fine():
        yield doctor.ok("fine")

    monkeypatch.setattr(doctor, "CHECKS", {"broken": broken, "fine": fine})
    assert doctor.run(None) == 1
    assert capsys.readouterr().out.splitlines() == [
        "note     broken     something",
        "                    -> do this",
        "PROBLEM  broken     cannot be checked: OSError: several",
        f"                    -> {doctor.INSTALL}",
        "ok       fine       fine",
        "1 problem found.",
    ]
