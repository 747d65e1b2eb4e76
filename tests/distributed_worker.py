"""One of the processes of test_distributed.py: trains a tiny model with train() and writes what it saw as JSON."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from peft import get_peft_model
from test_training import tiny_lora
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lorautils import setup
from lorautils.basemodel import load_tokenizer
from lorautils.cli.options import Train
from lorautils.cli.train import _base
from lorautils.data import Pair
from lorautils.scaling import fused
from lorautils.training import lora_config, save_adapter, train

# Nineteen pairs of unequal lengths: no batch of eight holds as many answer tokens for one process as for the other.
PAIRS = [Pair(f"Cron: minute {m}\n" + "or so " * (m % 7), f"{m} * * * *" + " 1" * (m % 5)) for m in range(19)]


def run(prepare=lambda model: model, make=tiny_lora, **options):
    """Train for three epochs; the same model, data and order of examples whoever calls."""
    setup(0)
    model = prepare(make())
    options = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "seed": 0, "progress": False} | options
    return model, train(model, load_tokenizer(), PAIRS, **options)


def four_bits(folder: Path):
    """Return LoRA over the model of a folder in 4 bits, as `lorautils train` loads it."""
    config = lora_config()
    config.lora_dropout = 0.0
    base = _base(Train(model=str(folder), load_in_4bit=True))
    torch.manual_seed(0)
    return get_peft_model(base, config).train()


def shard(model):
    """Split every parameter of the model over the processes."""
    mesh = init_device_mesh("cpu", (int(os.environ["WORLD_SIZE"]),))
    for layer in model.get_base_model().model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def held(model) -> int:
    """Return how many of the model's numbers this process holds."""
    return sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in model.parameters())


if __name__ == "__main__":
    torch.set_num_threads(1)
    seen = {}
    ways = {"copied": {}, "fused": {"loss": fused.loss}, "sharded": {"prepare": shard, "loss": fused.loss}}
    ways["four bits"] = {"make": lambda: four_bits(Path(sys.argv[1], "base")), "prepare": shard}
    for how, options in ways.items():
        model, history = run(**options)
        seen[how] = asdict(history) | {"held": held(model), "first": save_adapter(model, Path(sys.argv[1], how))}
    try:
        run(batch_size=7)
    except ValueError as error:
        seen["odd"] = str(error)
    Path(sys.argv[1], f"{os.environ['RANK']}.json").write_text(json.dumps(seen))
