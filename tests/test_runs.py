"""`lorautils train` in its folder: refused, resumed, ended by signals or killed, and the same bytes after all that."""

import json
import random
import signal
import socket
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
    "packed": "--batch_size 2 --held_out 0.2 --keep_best true --held_out_steps 2 --learning_rate 0.01 --save_steps 2 "
    "--packing true --max_length 16 --epochs 5",
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
    assert "is a file, expected a folder" in error(capsys, *arguments[:4], data)
    assert main([*arguments, "--epochs", "1"]) == 0
    run = run_of(tmp_path / "run")
    assert run["state"] == "finished" and run["settings"]["epochs"] == 1 and len(run["files"]["data"][data]) == 64
    assert run["steps"] == run["of"] == 4 and run["versions"]["torch"].startswith("2.")
    before = adapter(tmp_path / "run")
    assert main([*arguments, "--epochs", "1"]) == 0
    assert "is finished: there is nothing to do" in capsys.readouterr().out
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
    saved = [*folder.glob("checkpoint-*")]  # a run that was killed in its first steps has none
    assert saved or kind != "term"
    again = worker.do("train", folder)
    assert again["status"] == 0 and run_of(folder)["state"] == "finished", again
    goes_on = f"the run goes on from {folder}/checkpoint-" in again["said"]
    assert kind == "kill" or goes_on == bool(saved), again
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


class Two:
    """Two workers whose processes share each batch, as if a launcher had started them."""

    def __init__(self, **environment: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        environment |= {"ACCELERATE_USE_CPU": "true"}
        self.workers = [Worker(RANK=rank, LOCAL_RANK=rank, **environment) for rank in "01"]

    def do(self, folder, kind="none", n=0, rank=0) -> list[dict]:
        """Train in both, with a fault in one of them; return what each answers."""
        for number, worker in enumerate(self.workers):
            worker.begin("train", folder, *((kind, n) if number == rank else ()))
        return [worker.answer() for worker in self.workers]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.__exit__()


def check_two(workers, folder, whole, kind, n, rank):
    """End one of two processes: the other ends too, and the same command ends the run as if nothing had happened."""
    answers = workers.do(folder, kind, n, rank)
    if kind == "term":
        assert [answer["status"] for answer in answers] == [143, 143], answers
        assert (run_of(folder)["state"], run_of(folder)["steps"]) == ("interrupted", n)
        assert "again with --resume auto" in answers[0]["said"] and not answers[1]["said"].strip(), "the first speaks"
    else:
        assert answers[rank]["status"] == -signal.SIGKILL and answers[1 - rank]["status"] == 2, answers
        assert "another process may have ended before" in answers[1 - rank]["said"], answers
    again = workers.do(folder)
    assert [answer["status"] for answer in again] == [0, 0] and run_of(folder)["state"] == "finished", again
    assert adapter(folder) == adapter(whole), (kind, n, rank)


def test_two_processes_of_which_one_is_ended_within_an_epoch_go_on_to_the_same_bytes(tiny_model, tmp_path):  # noqa: F811
    with Two(PAIRS=lines(tmp_path / "pairs.jsonl", *ROWS), OPTIONS=WAYS["by steps"]) as workers:
        assert [answer["status"] for answer in workers.do(tmp_path / "whole")] == [0, 0]
        check_two(workers, tmp_path / "run", tmp_path / "whole", "term", 7, rank=1)


@pytest.mark.long("2 minutes a way; one end within an epoch is in `make test`")
@pytest.mark.parametrize("way", ["by epochs", "by steps", "packed"])
def test_two_processes_come_to_the_same_bytes_wherever_one_is_killed(tiny_model, tmp_path, way):  # noqa: F811
    with Two(PAIRS=lines(tmp_path / "pairs.jsonl", *ROWS), OPTIONS=WAYS[way]) as workers:
        assert [answer["status"] for answer in workers.do(tmp_path / "whole")] == [0, 0]
        steps = run_of(tmp_path / "whole")["steps"]
        draw = random.Random(way)
        ends = [("step", n, draw.randrange(2)) for n in draw.sample(range(1, steps + 1), 5)]
        ends += [("term", draw.randint(1, steps), draw.randrange(2))]
        ends += [("kill", n, 0) for n in draw.sample(range(3, 25), 3)]
        for kind, n, rank in ends:
            check_two(workers, tmp_path / f"{kind}-{n}-{rank}", tmp_path / "whole", kind, n, rank)


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
