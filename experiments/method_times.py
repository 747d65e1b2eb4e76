"""How long a training step of each method takes, against one of LoRA. Notebook 10 shows it.

`python -m experiments.method_times [STEPS]` writes results/method_times.json. Run it on an otherwise idle machine.
Each method takes turns with LoRA, step by step in one process, and what counts is the median of the ratios of a turn.
"""

import json
import sys
from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter

import torch
from torch import nn

from experiments.common import device
from experiments.machine import machine
from experiments.plans import METHOD_RATES, MORE_METHOD_RATES, Run
from experiments.sweeps import wrapped
from lorautils import measure, release_memory, setup
from lorautils.basemodel import load_tokenizer
from lorautils.data import collate, encode
from lorautils.results import RESULTS
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs
from lorautils.training import answer_loss

STEPS, WARM_UP, EXAMPLES = 9, 2, 8
NAMES = ["LoRA", *METHOD_RATES, *MORE_METHOD_RATES, "full fine-tuning"]


def batch() -> dict[str, torch.Tensor]:
    """Return one batch as notebook 08 trains on: of its 400 examples, eight of middling length."""
    tokenizer = load_tokenizer()
    features = encode(tokenizer, cron_pairs(cron.train_examples(400, seed=0)))
    features.sort(key=lambda feature: len(feature["input_ids"]))
    middle = (len(features) - EXAMPLES) // 2
    tensors = collate(features[middle : middle + EXAMPLES], tokenizer.pad_token_id)
    return {name: tensor.to(device()) for name, tensor in tensors.items()}


def step(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], None]:
    """Return one training step: loss, gradients, clipping, AdamW."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)

    def run() -> None:
        answer_loss(model, inputs).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device() == "cuda":
            torch.cuda.synchronize()

    return run


def seconds(work: Callable[[], None]) -> float:
    """Return how long a piece of work took."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def kept_bytes(model: nn.Module, inputs: dict[str, torch.Tensor]) -> int:
    """Return the bytes of activations that a training step keeps for its backward pass."""
    losses = []

    def forward() -> torch.Tensor:
        losses.append(answer_loss(model, inputs))
        return losses[0]

    kept = measure.kept_bytes(model, forward)
    losses[0].backward()  # frees what was kept
    model.zero_grad()
    return kept


def compared(name: str, lora: Callable[[], None], inputs: dict[str, torch.Tensor], steps: int) -> dict:
    """Return times of a method and of LoRA in turns, and what the method trains and keeps for the backward pass."""
    setup(0)
    model = wrapped(Run("times", 0, 0.0, method=name)).to(device()).train()
    kept = kept_bytes(model, inputs)
    ours = step(model, inputs)
    for work in [lora, ours] * WARM_UP:
        work()
    turns = [(seconds(lora), seconds(ours)) for _ in range(steps)]
    ratios = [b / a for a, b in turns]
    low, _, high = quantiles(ratios, n=4) if steps > 1 else ratios * 3
    return {
        "method": name,
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "kept_bytes": kept,
        "ratio": round(median(ratios), 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "seconds": [[round(a, 4), round(b, 4)] for a, b in turns],
    }


def main(names: list[str], steps: int) -> None:
    """Measure the methods one by one, so that no more than two models are in memory."""
    inputs = batch()
    setup(0)
    lora = step(wrapped(Run("times", 0, 0.0)).to(device()).train(), inputs)
    rows = []
    for name in names:
        rows.append(compared(name, lora, inputs, steps))
        print(f"{name:18} {rows[-1]['ratio']:6.2f} times LoRA, quartiles {rows[-1]['quartiles']}", flush=True)
        release_memory()
    shape = list(inputs["input_ids"].shape)
    record = {"batch": shape, "steps": steps, "threads": torch.get_num_threads(), "methods": rows, "machine": machine()}
    (RESULTS / "method_times.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(NAMES, int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
