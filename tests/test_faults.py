"""What goes wrong on a learner's machine: no home, no room, a kill at any write, odd names.

Nothing is lost, nothing half-written is ever loaded, each error says what to do. The faults of the download and of the
cache's files are in test_basemodel.py, interrupts in test_training.py, a killed process of several in
test_distributed.py. LORAUTILS_TEST_FAULTS=1 (`make test-faults`) tries every write instead of a few: 15 minutes.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import test_basemodel as base
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from test_cli import error, lines, tiny_model  # noqa: F401  (a fixture)
from test_training import tiny_llama

from lorautils import basemodel, training
from lorautils.basemodel import FOLDER, PARTIAL, BaseModelError, fetch, load_base_model
from lorautils.cli import main

stand_in, index, cache, no_pip = base.stand_in, base.index, base.cache, base.no_pip  # fixtures

ALL = os.environ.get("LORAUTILS_TEST_FAULTS") == "1"
PAIRS = ['{"prompt": "ping ", "completion": "pong"}', '{"prompt": "tick ", "completion": "tock"}'] * 8


# Where the cache is --------------------------------------------------------------------------------------------------


def test_a_user_without_a_home(monkeypatch):
    def unknown(_):
        raise KeyError("uid not found")

    for name in ("HOME", "LORAUTILS_CACHE", "LORAUTILS_MODEL", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(BaseModelError, match=r"(?s)There is no place.*Expected: a home.*Next: set LORAUTILS_CACHE"):
        load_base_model()


def test_no_home_is_needed_where_the_cache_is_named(cache, no_pip, stand_in, monkeypatch):
    monkeypatch.delenv("HOME")
    fetch(lambda _: None)
    base.assert_good(cache, stand_in)


def test_the_home_of_an_unknown_user(monkeypatch, capsys):
    monkeypatch.setenv("LORAUTILS_CACHE", "~nobody-of-that-name/cache")
    assert "set LORAUTILS_CACHE" in error(capsys, "fetch")
    with pytest.raises(BaseModelError, match=r"(?s)cannot load ~nobody.*Next: correct the name"):
        load_base_model("~nobody-of-that-name/model")


ODD = "Ünï códe und Leerzeichen 模型 'a' & b"


def test_a_cache_with_an_odd_name_is_filled_by_pip_and_loaded(tmp_path, index, stand_in, monkeypatch):
    monkeypatch.delenv("LORAUTILS_MODEL", raising=False)
    monkeypatch.setenv("LORAUTILS_CACHE", str(tmp_path / ODD))
    monkeypatch.setenv("LC_ALL", "C")  # what a terminal without a language says
    monkeypatch.setattr(basemodel, "SOURCE", stand_in.source)
    fetch(lambda _: None)
    base.assert_good(tmp_path / ODD, stand_in)


@contextlib.contextmanager
def read_only(folder: Path):
    """A copy of the folder on a disk that cannot be written; yields None where no disk may be mounted."""
    copy = folder.with_name("read-only")
    with base.small_disk(copy, 10_000) as mounted:
        if not mounted:
            yield None
            return
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(copy)], check=True)
        yield copy


@pytest.mark.parametrize("left_over", [False, True], ids=["clean", "with what a killed process left"])
def test_a_model_in_a_read_only_cache_is_used(cache, no_pip, stand_in, monkeypatch, left_over):
    fetch(lambda _: None)
    if left_over:
        (cache / f"{PARTIAL}x").mkdir()
    with read_only(cache) as copy:
        if copy is None:
            pytest.skip("no disk may be mounted here, and an administrator can write to any folder")
        monkeypatch.setenv("LORAUTILS_CACHE", str(copy))
        assert fetch(lambda step: pytest.fail(f"{step}: nothing is to be done")) == copy / FOLDER
        assert load_base_model().config.hidden_size == 64


def test_an_empty_read_only_cache_says_what_to_do(cache, monkeypatch, capsys):
    cache.mkdir()
    with read_only(cache) as copy:
        if copy is None:
            pytest.skip("no disk may be mounted here, and an administrator can write to any folder")
        monkeypatch.setenv("LORAUTILS_CACHE", str(copy))
        said = error(capsys, "fetch")
        assert "Read-only file system" in said and "LORAUTILS_CACHE to a folder on another disk" in said
        monkeypatch.setenv("LORAUTILS_CACHE", str(cache.parent / "writable"))
        fetch(lambda _: None)  # the base is there, and the folder of the run cannot be made
        assert "name another folder with --output" in error(capsys, "train", "--output", str(copy / "mine"))


# Adapters ------------------------------------------------------------------------------------------------------------


def adapter_of(folder: Path, **changes) -> Path:
    """Save an adapter whose B is not zero, made for a tiny Llama with these changes."""
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_llama(**changes), config).save_pretrained(folder)
    return folder


def test_an_adapter_for_another_base_is_refused_in_one_line(tiny_model, capsys, tmp_path):  # noqa: F811
    other = adapter_of(tmp_path / "other")
    said = error(capsys, "ask", "noon", "--adapter", str(other))
    assert "made for another model" in said and "lorautils train" in said


# Kills and full disks at every write ---------------------------------------------------------------------------------


class Worker:
    """A process that does a piece of work again and again, each time with one fault: see fault_worker.py."""

    def __init__(self, **environment: str):
        command = [sys.executable, Path(__file__).with_name("fault_worker.py")]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | environment
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def begin(self, work: str, folder: Path, kind: str = "none", n: int = 0) -> None:
        self.process.stdin.write(f"{work} {kind} {n} {folder}\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def do(self, work: str, folder: Path, kind: str = "none", n: int = 0) -> dict:
        self.begin(work, folder, kind, n)
        return self.answer()

    def each_fault(self, work: str, folder: Path):
        """Yield (fault, folder after it, answer) for faults at write 1, 2, 3, ... until the work goes through.

        At write 2, 8, 32, ... only, unless LORAUTILS_TEST_FAULTS asks for all.
        """
        for kind in ("kill", "full"):
            n = 1 if ALL else 2
            while (answer := self.do(work, target := folder / f"{kind}-{n}", kind, n))["status"] != 0:
                yield f"{kind} at write {n}", target, answer
                n = n + 1 if ALL else n * 4
            assert n > 3, f"{work} was done with hardly a write: the fault did not reach it"
        for kind in ("cut", "limit"):
            for n in [10**power for power in range(1, 6)] if ALL else [1000]:
                answer = self.do(work, target := folder / f"{kind}-{n}", kind, n)
                if answer["status"]:
                    yield f"{kind} at byte {n}", target, answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.kill()  # all is answered; on busy cores its own end takes more than a minute
        self.process.wait()
        self.process.stdout.close()


def assert_told(fault: str, answer: dict) -> None:
    """A killed process dies of its signal; one without room ends with one line that says what to do."""
    if fault.startswith(("kill", "cut")):
        assert answer["status"] < 0, (fault, answer)
        return
    assert answer["status"] == 2, (fault, answer)
    assert re.search(r"lorautils: .* [Nn]ext: make room", answer["said"]), (fault, answer)


def same(folder: Path, reference: Path) -> bool:
    """Say whether two adapters (or models) hold the same numbers."""
    name = "adapter_model.safetensors" if (reference / "adapter_model.safetensors").exists() else "model.safetensors"
    ours, theirs = load_file(folder / name), load_file(reference / name)
    return ours.keys() == theirs.keys() and all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in theirs)


def test_a_training_that_is_ended_at_a_write_is_taken_up_again(tiny_model, tmp_path):  # noqa: F811
    pairs = lines(tmp_path / "pairs.jsonl", *PAIRS)
    with Worker(PAIRS=pairs) as worker:
        assert worker.do("train", tmp_path / "whole")["status"] == 0
        for fault, folder, answer in worker.each_fault("train", tmp_path):
            assert_told(fault, answer)
            if (folder / "adapter_config.json").exists():  # written last: who sees it may load
                with contextlib.suppress(OSError, ValueError):  # or is told that it is damaged
                    PeftModel.from_pretrained(load_base_model(), folder)
                    assert same(folder, tmp_path / "whole"), fault
            again = worker.do("train", folder)
            assert again["status"] == 0 and same(folder, tmp_path / "whole"), (fault, again)


@pytest.mark.long("21 s; a training and a conversion meet the same faults")
def test_a_merged_model_is_written_whole_or_not_loaded(tiny_model, tmp_path):  # noqa: F811
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    get_peft_model(load_base_model(), config).save_pretrained(tmp_path / "adapter")
    with Worker(ADAPTER=str(tmp_path / "adapter")) as worker:
        assert worker.do("merge", tmp_path / "whole")["status"] == 0
        for fault, folder, answer in worker.each_fault("merge", tmp_path):
            assert answer["status"] != 0
            try:
                load_base_model(folder)
            except (OSError, ValueError) as problem:
                assert "Next: " in str(problem), fault
            else:
                assert same(folder, tmp_path / "whole"), fault
            assert worker.do("merge", folder)["status"] == 0, fault
            assert same(folder, tmp_path / "whole"), fault


def test_a_conversion_that_is_ended_at_a_write_starts_again(stand_in, cache, no_pip, tmp_path, monkeypatch):
    (tmp_path / base.WHEEL).write_bytes(stand_in.wheel)
    source = json.dumps(asdict(stand_in.source))
    with Worker(WHEEL=str(tmp_path / base.WHEEL), SOURCE=source) as worker:
        for fault, folder, answer in worker.each_fault("convert", tmp_path):
            assert_told(fault, answer)
            monkeypatch.setenv("LORAUTILS_CACHE", str(folder))
            if basemodel.damage_of(folder / FOLDER) is None:
                assert fault.startswith("kill"), fault
                for left_over in folder.glob(f"{PARTIAL}*"):  # the next build would take it away
                    left_over.rmdir()  # which raises if it is not empty
            fetch(lambda _: None)
            base.assert_good(folder, stand_in)


def test_a_run_that_was_ended_while_it_saved_is_completed(tiny_model, capsys, tmp_path, monkeypatch):  # noqa: F811
    arguments = ["train", "--data", lines(tmp_path / "pairs.jsonl", *PAIRS), "--epochs", "2", "--output"]
    assert main([*arguments, str(tmp_path / "whole")]) == 0

    def ended(model, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_adapter", ended)
        assert main([*arguments, str(tmp_path / "ended")]) == 130
    (tmp_path / "ended" / "adapter_config.json").write_text('{"peft_type": "LO')  # the file was cut off
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "ended"), "--resume", "auto"]) == 0
    assert "was complete but for its adapter" in capsys.readouterr().out
    assert same(tmp_path / "ended", tmp_path / "whole")
    assert PeftModel.from_pretrained(load_base_model(), tmp_path / "ended")


def test_odd_names_all_the_way(tiny_model, capsys, tmp_path):  # noqa: F811
    pairs = tmp_path / ODD / "páirs 1.jsonl"
    pairs.parent.mkdir()
    lines(pairs, *PAIRS)
    output = tmp_path / ODD / "mein Adapter ✓"
    assert main(["train", "--data", str(pairs), "--epochs", "1", "--output", str(output)]) == 0
    (tmp_path / ODD / "phrases.txt").write_text("jeden Tag um zwölf\n", encoding="utf-8")
    main(["ask", "--file", str(tmp_path / ODD / "phrases.txt"), "--adapter", str(output)])
    assert "cannot be loaded" not in capsys.readouterr().err
