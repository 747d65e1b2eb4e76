"""Several processes on this CPU: the same losses as one, a sharded model, a killed worker, settings in a file.

Launched by torchrun, and by accelerate with the shipped file. Every test asserts how many processes worked together,
since some launch commands run one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from distributed_worker import PAIRS, four_bits, held, run
from peft import PeftModel
from test_cli import error, lines, tiny_model  # noqa: F401  (a fixture)
from test_training import PAIRS as EVEN_PAIRS
from test_training import tiny_llama, tiny_lora

from lorautils import training
from lorautils.basemodel import load_tokenizer
from lorautils.cli import main
from lorautils.cli.options import Train, plain
from lorautils.cli.train import parser as train_parser

ROOT = Path(__file__).parent.parent
COPIED = "DistributedDataParallel"
SHARDED = "FSDPPeftModelForCausalLM"
WORKER = Path(__file__).with_name("distributed_worker.py")


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ACCELERATE = ["accelerate.commands.accelerate_cli", "launch", "--config_file=configs/ddp.yaml", "--num_processes=2"]


def launch(launcher, *arguments):
    """Start two processes that work together, and return their launcher."""
    command = [sys.executable, "-m", *launcher, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finish(launcher) -> str:
    _, said = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, said
    return said


# --- the same losses ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone():
    return run()


def test_two_processes_reach_the_losses_of_one(alone, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    finish(launch(TORCHRUN, WORKER, tmp_path))
    model, history = alone
    four, in_4_bits = run(make=lambda: four_bits(tmp_path / "base"))
    assert len(history.loss) == 9 and history.processes == 1
    for rank in range(2):
        seen = json.loads((tmp_path / f"{rank}.json").read_text())
        for how, wrapper, share in (("copied", COPIED, 1), ("fused", COPIED, 1), ("sharded", SHARDED, 1 / 2)):
            assert (seen[how]["processes"], seen[how]["wrapper"]) == (2, wrapper)
            assert seen[how]["loss"] == pytest.approx(history.loss, rel=1e-6)  # measured: 1e-7
            assert (seen[how]["held"], seen[how]["first"]) == (share * held(model), rank == 0)
        assert seen["four bits"]["wrapper"] == SHARDED and seen["four bits"]["held"] == held(four) / 2
        assert seen["four bits"]["loss"] == pytest.approx(in_4_bits.loss, rel=1e-6)
        assert re.search(r"batch size \(7\) needs to be a round multiple of the number of processes \(2\)", seen["odd"])
    for how in ("copied", "fused", "sharded"):
        saved = PeftModel.from_pretrained(tiny_llama(), tmp_path / how).state_dict()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(saved[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("processes", [2, 4, 8])
@pytest.mark.parametrize("examples", [1, 8, 19, 24])
def test_any_number_of_processes_gets_the_same_batches(processes, examples):
    """As accelerate deals them out: mini-batch by mini-batch, round and round."""
    lengths = [10 + 7 * i % 50 for i in range(examples)]
    whole = list(training.LengthSortedSampler(lengths, 8, seed=0))
    shared = list(training.LengthSortedSampler(lengths, 8, seed=0, fill=True))
    assert len(shared) % 8 == 0 and len(shared) - len(whole) < 8
    assert shared[: len(whole)] == whole
    assert set(shared[len(whole) :]) <= {examples}, "only rows without loss are added"


def test_checkpointing_changes_nothing_but_memory(alone):
    _, history = run(gradient_checkpointing=True)
    assert history.loss == pytest.approx(alone[1].loss, rel=1e-6)


def test_checkpointing_recomputes_the_layers():
    model, calls = tiny_lora(), []
    model.get_base_model().model.layers[0].self_attn.q_proj.register_forward_hook(lambda *_: calls.append(1))
    training.train(model, load_tokenizer(), EVEN_PAIRS, epochs=1, gradient_checkpointing=True, progress=False)
    assert len(calls) == 4, "two steps, each forwards and once more backwards"


def test_processes_that_do_not_know_of_one_another_are_refused(monkeypatch):
    monkeypatch.setattr(training, "processes", lambda: 2)
    with pytest.raises(ValueError, match="2 processes were launched, but this one works with 1"):
        training.train(tiny_lora(), load_tokenizer(), EVEN_PAIRS, progress=False)


# --- the command line: kill one, resume -------------------------------------------------------------------------------


def losses(folder: Path) -> list[float]:
    state = json.loads((training.last_checkpoint(folder) / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"]]


def worker_of_rank(launcher, rank: int) -> psutil.Process:
    children = psutil.Process(launcher.pid).children(recursive=True)
    return next(child for child in children if child.environ().get("RANK") == str(rank))


@pytest.mark.long("36 s; two processes train, and one that the launcher ends says what to do")
def test_a_killed_worker_ends_the_job_and_a_resume_reaches_the_same_losses(tiny_model, tmp_path):  # noqa: F811
    config = tmp_path / "run.yaml"
    data = lines(tmp_path / "pairs.jsonl", *(json.dumps(pair._asdict()) for pair in PAIRS))
    config.write_text(yaml.safe_dump({"data": data, "epochs": 30, "learning_rate": 2e-3}))
    train = ["-m", "lorautils", "train", "--config", config, "--output"]

    launcher = launch(TORCHRUN, *train, tmp_path / "run")
    while not list(tmp_path.glob("run/checkpoint-9/trainer_state.json")):
        assert launcher.poll() is None, launcher.stderr.read()
        time.sleep(0.01)
    worker_of_rank(launcher, 1).kill()
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert "rank      : 1" in said and "SIGKILL" in said, said
    assert "start it again with --resume auto" in said, said
    assert not (tmp_path / "run" / "adapter_config.json").exists(), "there is no adapter before the end"

    seen = losses(tmp_path / "run")
    shutil.rmtree(training.last_checkpoint(tmp_path / "run"))  # so that some steps are repeated
    assert 6 <= len(losses(tmp_path / "run")) < len(seen) < 90
    finish(launch(ACCELERATE, *train, tmp_path / "run", "--resume", "auto"))
    assert losses(tmp_path / "run")[: len(seen)] == seen
    finish(launch(TORCHRUN, *train, tmp_path / "whole"))
    whole, resumed = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "run")]
    assert resumed == whole and len(losses(tmp_path / "run")) == 90


# --- settings in a file ---------------------------------------------------------------------------------------------


def settings_file(folder: Path, text: str) -> str:
    (folder / "run.yaml").write_text(text, encoding="utf-8")
    return str(folder / "run.yaml")


BAD = [
    ("epoch: 3", "does not accept option 'epoch'"),
    ("epochs: three", '"epochs": '),
    ("epochs: 0", '"epochs": Not of type Positive: 0'),
    ("learning_rate: .inf", '"learning_rate": '),
    ("learning_rate: .nan", '"learning_rate": '),
    ("learning_rate: -1", '"learning_rate": '),
    ("batch_size: 8.5", '"batch_size": '),
    ("batch_size: true", '"batch_size": Not of type PositiveInt: True'),
    ("seed: x", '"seed": '),
    ("bf16: 1", '"bf16": '),
    ("data: 3", '"data": '),
    ("r: 0", '"r": '),
    ("held_out: 1", '"held_out": '),
    ("too_long: cut", '"too_long": '),
    ("data: {class_path: os.system}", "only plain values"),
    ("- epochs", "only plain values"),
    ("a: [", "config"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_setting_is_named_in_one_line(capsys, tmp_path, text, message):
    config = settings_file(tmp_path, text)
    assert message in error(capsys, "train", "--config", config)
    assert list(tmp_path.iterdir()) == [tmp_path / "run.yaml"], "a refused run leaves nothing behind"


def test_a_missing_file_of_settings(capsys, tmp_path):
    assert "nowhere.yaml" in error(capsys, "train", "--config", str(tmp_path / "nowhere.yaml"))


def read(*arguments: str) -> dict:
    """The options of a training as they are read."""
    options = vars(plain(train_parser().parse_args(arguments)))
    kinds = set(map(type, options.values()))
    assert kinds <= {str, int, float, bool, type(None)}, "they end in checkpoints"
    return options


@pytest.mark.parametrize("dump", [yaml.safe_dump, json.dumps])
def test_options_survive_the_file(tmp_path, dump):
    fields = {"output": "b/c", "data": "a", "epochs": 0.5, "batch_size": 16, "learning_rate": 3e-4, "seed": 3}
    fields |= {"bf16": True, "gradient_checkpointing": True, "fused": True, "model": "m", "examples": 10}
    fields |= {"rename": "a=b", "chat": True, "max_length": 9, "too_long": "drop", "held_out": 0.1, "keep_best": True}
    fields |= {"held_out_steps": 2, "patience": 3, "gradient_accumulation_steps": 2, "save_steps": 5}
    fields |= {"report_to": "tensorboard", "packing": True, "mix": "c", "mix_share": 0.2, "load_in_4bit": True}
    fields |= {"from_adapter": "d", "r": 4, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "q_proj,v_proj"}
    fields |= {"exclude_modules": "lm_head", "layers_to_transform": "0,1", "layers_pattern": "layers"}
    fields |= {"target_parameters": "e", "use_rslora": True, "use_dora": True, "rank_pattern": "q_proj=2"}
    fields |= {
        "alpha_pattern": "q_proj=4",
        "init_lora_weights": "gaussian",
        "bias": "all",
        "modules_to_save": "lm_head",
    }
    fields |= {"trainable_token_indices": "3,5", "ensure_weight_tying": True}
    assert read("--config", settings_file(tmp_path, dump(fields))) == fields
    assert fields.keys() == Train.__annotations__.keys()


def test_a_rate_without_a_dot_is_a_number(tmp_path):
    assert read("--config", settings_file(tmp_path, "learning_rate: 2e-3"))["learning_rate"] == 0.002


def test_options_win_over_the_file_and_the_file_over_defaults(tiny_model, capsys, tmp_path):  # noqa: F811
    data = lines(tmp_path / "pairs.jsonl", *(json.dumps(pair._asdict()) for pair in EVEN_PAIRS))
    config = settings_file(tmp_path, f"data: {data}\nepochs: 5\nbatch_size: 4\noutput: {tmp_path / 'file'}")
    assert main(["train", "--config", config, "--epochs", "1"]) == 0
    assert capsys.readouterr().out.startswith("4 steps, ")
    assert (tmp_path / "file" / "adapter_model.safetensors").exists()


def test_a_whole_adapter_is_saved_by_the_first_process_alone(monkeypatch, tmp_path):
    model = tiny_lora()
    monkeypatch.setenv("RANK", "1")
    assert not training.save_adapter(model, tmp_path / "second") and not (tmp_path / "second").exists()
    monkeypatch.setenv("RANK", "0")
    assert training.save_adapter(model, tmp_path / "first")
    again = PeftModel.from_pretrained(tiny_llama(), tmp_path / "first")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("name", ["run", "ddp", "fsdp"])
def test_the_shipped_files_are_read(name):
    path = ROOT / "configs" / f"{name}.yaml"
    if name == "run":
        assert Train(**read("--config", str(path))) == Train()
        return
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(str(path))
    assert config.num_processes == -1, "the launcher asks for --num_processes, so that no number is assumed"
    assert (config.fsdp_config.get("fsdp_version") == 2) is (name == "fsdp")
