"""`lorautils train` in its folder: refused, resumed, ended by signals or killed, and the same bytes after all that."""

import json
import random
import signal
import time

import pytest
from test_cli import error, lines, tiny_model  # noqa: F401  (a fixture)
from test_distributed import TORCHRUN, finish, launch
from test_faults import Worker

from lorautils.cli import main

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROWS = [json.dumps({"prompt": f"{x} ", "completion": x * (n % 5 + 1)}) for n, x in enumerate(LETTERS)]
SELECTED = "--batch_size 4 --held_out 0.2 --keep_best true --held_out_steps 2 --learning_rate 0.01"
WAYS = {
    "by epochs": "--batch_size 4 --held_out 0.2 --keep_best true --learning_rate 0.02",
    "by steps": f"{SELECTED} --save_steps 2",
    "accumulated, fused": f"{SELECTED} --save_steps 3 --gradient_accumulation_steps 2 --fused true --epochs 5",
    "ended early": "--batch_size 4 --held_out 0.2 --held_out_steps 2 --patience 2 --learning_rate 1e-30 --save_steps 3",
}


def run_of(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def adapter(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def test_a_folder_is_used_if_it_is_empty_or_holds_the_same_run(tiny_model, capsys, tmp_path):  # noqa: F811
    data = lines(tmp_path / "pairs.jsonl", *ROWS)
    arguments = ["train", "--data", data, "--output", str(tmp_path / "run"), "--resume", "auto"]
    (tmp_path / "run").mkdir()
    assert main([*arguments, "--epochs", "1"]) == 0
    run = run_of(tmp_path / "run")
    assert run["state"] == "finished" and run["settings"]["epochs"] == 1 and len(run["files"]["data"][data]) == 64
    assert run["steps"] == run["of"] == 4 and run["versions"]["torch"].startswith("2.")
    before = adapter(tmp_path / "run")
    assert main([*arguments, "--epochs", "1"]) == 0
    capsys.readouterr()
    said = error(capsys, *arguments, "--epochs", "2")
    assert "epochs is 2.0, and the run in" in said and "has 1.0: go on with the same, or name a new folder" in said
    assert "its state is finished: name a new folder" in error(capsys, *arguments[:-2], "--epochs", "1")
    lines(tmp_path / "pairs.jsonl", *ROWS[1:])
    assert "the files of data are not what they were when the run in" in error(capsys, *arguments, "--epochs", "1")
    assert adapter(tmp_path / "run") == before


def check(worker, folder, whole, kind, n):
    """End a run, and let the same command end it as if nothing had happened."""
    answer = worker.do("train", folder, kind, n)
    if kind == "term":
        assert (answer["status"], run_of(folder)["state"]) == (143, "interrupted"), answer
        assert f"Stopped after step {n}" in answer["said"] and "again with --resume auto" in answer["said"]
    else:
        assert answer["status"] == -signal.SIGKILL, answer
    again = worker.do("train", folder)
    assert again["status"] == 0 and run_of(folder)["state"] == "finished", again
    assert adapter(folder) == adapter(whole), (kind, n)


@pytest.mark.parametrize("way", ["by steps"])
def test_a_run_that_is_killed_or_ended_comes_to_the_same_bytes(tiny_model, tmp_path, way):  # noqa: F811
    with Worker(PAIRS=lines(tmp_path / "pairs.jsonl", *ROWS), OPTIONS=WAYS[way]) as worker:
        assert (whole := worker.do("train", tmp_path / "whole"))["status"] == 0, whole
        for kind, n in (("step", 6), ("kill", 30), ("term", 5)):
            check(worker, tmp_path / kind, tmp_path / "whole", kind, n)


@pytest.mark.long("a minute a way; one way and three ends are in `make test`")
@pytest.mark.parametrize("way", WAYS)
def test_a_run_comes_to_the_same_bytes_wherever_it_is_killed(tiny_model, tmp_path, way):  # noqa: F811
    with Worker(PAIRS=lines(tmp_path / "pairs.jsonl", *ROWS), OPTIONS=WAYS[way]) as worker:
        assert (whole := worker.do("train", tmp_path / "whole"))["status"] == 0, whole
        steps = run_of(tmp_path / "whole")["steps"]
        assert (steps < run_of(tmp_path / "whole")["of"]) == (way == "ended early")
        draw = random.Random(way)
        ends = [("step", n) for n in draw.sample(range(1, steps + 1), 5)] + [("term", draw.randint(1, steps))]
        ends += [("kill", n) for n in draw.sample(range(2, 25), 5)]
        for kind, n in ends:
            check(worker, tmp_path / f"{kind}-{n}", tmp_path / "whole", kind, n)


@pytest.mark.long("40 s; two processes are ended together, and go on")
def test_two_processes_end_after_the_same_step_and_go_on_to_the_same_bytes(tiny_model, tmp_path):  # noqa: F811
    train = ["-m", "lorautils", "train", "--data", lines(tmp_path / "pairs.jsonl", *ROWS), *WAYS["by steps"].split()]
    train += ["--epochs", "60", "--resume", "auto", "--output"]
    finish(launch(TORCHRUN, *train, tmp_path / "whole"))
    launcher = launch(TORCHRUN, *train, tmp_path / "run")
    while not list(tmp_path.glob("run/checkpoint-*/trainer_state.json")):
        assert launcher.poll() is None, launcher.stderr.read()
        time.sleep(0.01)
    launcher.send_signal(signal.SIGTERM)
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode != 0 and "is interrupted: to go on, start it again" in said, said
    assert run_of(tmp_path / "run")["state"] == "interrupted"
    assert 0 < run_of(tmp_path / "run")["steps"] < run_of(tmp_path / "whole")["steps"]
    finish(launch(TORCHRUN, *train, tmp_path / "run"))
    assert adapter(tmp_path / "run") == adapter(tmp_path / "whole")
