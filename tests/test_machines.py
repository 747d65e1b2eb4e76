"""Two machines, emulated: two torchruns on this one, with a folder that both see or folders of their own.

configs/slurm.sbatch runs as it is, with stand-ins for Slurm's commands on the PATH.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from test_cli import tiny_model  # noqa: F401  (a fixture)
from test_runs import ROWS, adapter, run_of

from lorautils.cli import together

SBATCH = Path(__file__).parent.parent / "configs" / "slurm.sbatch"
SETTINGS = {"data": "pairs.jsonl", "batch_size": 4, "epochs": 20, "save_steps": 5, "learning_rate": 0.01}
SETTINGS |= {"held_out": 0.2, "held_out_steps": 5, "keep_best": True}
STAND_INS = {
    "scontrol": 'if [[ $1 == show ]]; then echo 127.0.0.1; else echo "$@" >> "$SLURM/requeued"; fi',
    # A task for each machine, in its folder where it has one; the code is the highest, as srun has it.
    "srun": """
while [[ $1 == --* ]]; do shift; done
for node in $(seq 0 $((SLURM_NNODES - 1))); do
  ( [[ -d machine-$node ]] && cd "machine-$node"; SLURM_NODEID=$node exec "$@" ) & tasks+=($!)
done
echo "${tasks[@]}" > "$SLURM/tasks"
highest=0
for task in "${tasks[@]}"; do wait "$task"; code=$?; (( code > highest )) && highest=$code; done
exit $highest
""",
}


class Job:
    """A job of Slurm: starts the file again and again, and tells its tasks what Slurm would."""

    def __init__(self, folder: Path, **more: str):
        self.folder, self.slurm = folder, folder / "slurm"
        self.slurm.mkdir(parents=True)
        for name, text in (STAND_INS | more).items():
            (self.slurm / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
            (self.slurm / name).chmod(0o755)
        path = os.pathsep.join([str(self.slurm), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = os.environ | {"PATH": path, "SLURM": str(self.slurm), "SLURM_NNODES": "2", "PROCESSES": "1"}
        self.environment |= {"SLURM_JOB_NODELIST": "a,b", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}

    def start(self) -> None:
        self.environment["SLURM_JOB_ID"] = str(free_port() - 20000)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.script = subprocess.Popen(["bash", SBATCH], cwd=self.folder, env=self.environment, **pipes)

    def ended(self) -> tuple[int, str]:
        said, _ = self.script.communicate(timeout=300)
        return self.script.returncode, said

    def requeues(self) -> int:
        asked = self.slurm / "requeued"
        return len(asked.read_text(encoding="utf-8").splitlines()) if asked.exists() else 0

    def after_checkpoint(self, folder: Path, step: int) -> list[psutil.Process]:
        """Wait for a checkpoint of this step or a later one; return the two torchruns."""
        while not any(int(path.parent.name.split("-")[1]) >= step for path in checkpoints(folder)):
            assert self.script.poll() is None, self.ended()
            time.sleep(0.01)
        return [psutil.Process(int(task)) for task in (self.slurm / "tasks").read_text().split()]


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("checkpoint-*/trainer_state.json"))


def free_port() -> int:
    """Return a port of those that the file takes."""
    while True:
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port := random.randint(20000, 29999)))
            except OSError:
                continue
            return port


def settings(folder: Path) -> None:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "run.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    (folder / "pairs.jsonl").write_text("".join(row + "\n" for row in ROWS), encoding="utf-8")


def undisturbed(folder: Path) -> bytes:
    job = Job(folder)
    settings(folder)
    job.start()
    return finish(job, before=0)


def end_by_sigterm(job: Job, after: int, machine: int) -> None:
    """Let one machine be told to end, as Slurm tells it; both end, and the file asks for another start."""
    before, run = job.requeues(), job.folder / "my-adapter"
    job.after_checkpoint(run, after)[machine].terminate()
    code, said = job.ended()
    assert code == 1 and said.count("is interrupted: to go on, start it again") == 1, said
    assert run_of(run)["state"] == "interrupted" and job.requeues() == before + 1


def finish(job: Job, before: int) -> bytes:
    code, said = job.ended()
    assert code == 0 and job.requeues() == before and "2 processes (DistributedDataParallel)" in said, said
    assert said.count("LoRA on") == said.count("last loss") == 1, "the first process speaks alone"
    assert run_of(job.folder / "my-adapter")["state"] == "finished"
    return adapter(job.folder / "my-adapter")


@pytest.mark.long("a minute; two processes of which one is ended go on in test_runs.py")
def test_two_machines_of_which_one_is_ended_go_on_to_the_end(tiny_model, tmp_path):  # noqa: F811
    """That the bytes are those of a run without an end: in the test below, of two processes in test_runs.py."""
    job = Job(tmp_path)
    settings(tmp_path)
    job.start()
    end_by_sigterm(job, 5, machine=1)
    job.start()
    assert finish(job, before=1)


@pytest.mark.long("two minutes; two processes of which one is ended go on in test_runs.py")
@pytest.mark.parametrize("draw", range(2))
def test_two_machines_that_are_ended_and_then_lost_go_on_to_the_same_bytes(tiny_model, tmp_path, draw):  # noqa: F811
    rng = random.Random(draw)
    whole = undisturbed(tmp_path / "whole")
    job = Job(tmp_path / "run")
    settings(tmp_path / "run")
    job.start()
    first = rng.randrange(5, 40)
    end_by_sigterm(job, first, machine=rng.randrange(2))
    job.start()
    for torchrun in job.after_checkpoint(tmp_path / "run" / "my-adapter", rng.randrange(first + 10, 85)):
        for process in [*torchrun.children(recursive=True), torchrun]:
            process.kill()
    code, said = job.ended()
    assert code == 128 + signal.SIGKILL, said
    assert run_of(tmp_path / "run" / "my-adapter")["state"] == "running"
    assert job.requeues() == 1, "a lost machine is for Slurm to see, which starts the job again itself"
    job.start()
    assert finish(job, before=1) == whole


@pytest.mark.long("20 s; what the processes tell one another is held below, with stand-ins for the others")
def test_two_machines_with_folders_of_their_own_are_refused_before_the_first_step(tiny_model, tmp_path):  # noqa: F811
    job = Job(tmp_path)
    for machine in range(2):
        settings(tmp_path / f"machine-{machine}")
    job.start()
    code, said = job.ended()
    assert code == 1 and job.requeues() == 0
    assert said.count("lorautils: ") == 1 and "process 1 on" in said and "does not see the folder my-adapter" in said
    assert not list(tmp_path.glob("machine-*/my-adapter")), "a refused run leaves nothing behind"


# --- what the processes tell one another, with stand-ins for the others -------------------------------------------


RUN = {"settings": {"epochs": 3.0}, "files": {"data": {"pairs.jsonl": "1f"}}}
OTHERS = [
    (RUN, None),
    (RUN | {"settings": {"epochs": 2.0}}, "epochs is 2.0 in process 1 on b, and 3.0 in the first on a: give all"),
    (
        RUN | {"files": {"data": {"pairs.jsonl": "2e"}}},
        "the files of data that process 1 reads on b are not",
    ),
]


@pytest.mark.parametrize(("other", "message"), OTHERS)
def test_a_machine_with_another_run_is_named(monkeypatch, other, message):
    monkeypatch.setattr(together, "told", lambda value: [("a", RUN), ("b", other)])
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        together.same(RUN)


def missing():
    raise FileNotFoundError(2, "No such file or directory", "pairs.jsonl")


def test_what_one_machine_lacks_is_said_by_the_first_alone(monkeypatch, capsys):
    monkeypatch.setattr(together.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(together, "told", lambda value: [None, "b: pairs.jsonl is not there"])
    with pytest.raises(ValueError, match=r"process 1 on b: pairs\.jsonl is not there"):
        together.done(lambda: "read")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended:
        together.done(missing)
    assert ended.value.code == 2 and capsys.readouterr() == ("", "")


def test_what_all_lack_is_said_in_the_words_of_one_process(monkeypatch):
    monkeypatch.setattr(together, "told", lambda value: [value] * 2)
    with pytest.raises(FileNotFoundError):
        together.done(missing)


# --- the file's own logic, with a stand-in for torchrun too ---------------------------------------------------------


def state(name: str, steps: int) -> str:
    return json.dumps({"state": name, "steps": steps}, indent=1)


LOGIC = [
    # what torchrun leaves in run.json (None: as it was), its code, whether the job is to start again
    (state("finished", 9), 0, False),
    (state("interrupted", 6), 1, True),
    (state("failed", 6), 1, False),
    (state("running", 6), 137, False),
    (None, 1, False),
]


@pytest.mark.parametrize(("left", "code", "again"), LOGIC)
def test_only_a_run_that_was_interrupted_later_than_before_starts_again(tmp_path, left, code, again):
    """Where nothing was trained, run.json is that of the last start: starting again would never end."""
    (tmp_path / "my-adapter").mkdir()
    (tmp_path / "my-adapter" / "run.json").write_text(state("interrupted", 3), encoding="utf-8")
    (tmp_path / "left").write_text(left or state("interrupted", 3), encoding="utf-8")
    job = Job(tmp_path, torchrun=f'echo "$@" > asked-$SLURM_NODEID; cp left my-adapter/run.json; exit {code}')
    job.start()
    assert job.ended()[0] == code
    assert job.requeues() == again
    for machine in range(2):
        asked = (tmp_path / f"asked-{machine}").read_text()
        assert f"--nnodes 2 --node_rank {machine} " in asked and "--output my-adapter --resume auto" in asked
