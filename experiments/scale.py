"""Tokens a second, peak memory and utilisation of a training step, for models of random weights. Notebook 12 shows it.

`python -m experiments.scale 1B` (or 135M, 8B, 70B) measures what is missing of a model and appends to
results/scale.jsonl; `list` shows how far each model is. On N devices: `torchrun --standalone --nproc-per-node N
-m experiments.scale 8B DDP FSDP` (either, or both). With `--tiny` a toy is measured and printed, for a test.
The batch is the largest power of two that `lorautils.scaling.memory` predicts to fit on a card of 80 GB.
"""

import json
import os
import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import product

import torch
import torch.distributed as dist
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaForCausalLM

from experiments.common import append, key, recorded
from experiments.machine import machine
from lorautils import release_memory
from lorautils.data import IGNORED
from lorautils.measure import peak_bytes
from lorautils.results import RESULTS
from lorautils.scaling.memory import (
    PROJECTIONS,
    SHAPES,
    SHARDINGS,
    Ledger,
    Shape,
    Step,
    communicated,
    configuration,
    lora_parameters,
    predict,
)
from lorautils.training import answer_loss

RECORD = RESULTS / "scale.jsonl"
BUDGET = 72e9  # bytes: 80 GB without the CUDA context, fragmentation and kernels' buffers
WARM_UP, TIMED = 3, 5
BF16_PEAK = {"H100": 989e12, "H200": 989e12}  # FLOP/s without sparsity, SXM: NVIDIA's data sheets
TINY = Shape(64, 2, 4, 2, 16, 160, 512, tied=True)


@dataclass(frozen=True)
class Run:
    """One configuration; `answers` is the share of the tokens that the output head sees."""

    model: str
    method: str
    dropout: float
    checkpointing: bool
    answers: float = 1.0
    length: int = 2048
    devices: int = 1
    sharding: str = "DDP"


def runs(model: str, devices: int, sharding: str) -> list[Run]:
    """Return the configurations of a model: method, dropout, checkpointing; and a tenth of the tokens as answers."""
    methods = [("LoRA", 0.1), ("LoRA", 0.0), ("QLoRA", 0.1), ("full", 0.0)]
    grid = [Run(model, method, p, ck) for (method, p), ck in product(methods, [False, True])]
    grid += [Run(model, "LoRA", 0.0, ck, answers=0.1) for ck in (False, True)]
    return [replace(run, devices=devices, sharding=sharding) for run in grid]


def step_of(run: Run, batch: int, device: str) -> Step:
    """Return what the ledger needs to know of a run."""
    return Step(
        batch,
        run.length,
        method=run.method,
        dropout=run.dropout,
        checkpointing=run.checkpointing,
        predicted=batch * answers(run),
        device=device,
        devices=run.devices,
        sharding=run.sharding,
    )


def answers(run: Run) -> int:
    """Return how many tokens of a row the output head sees; the first token is predicted by nothing."""
    return min(run.length - 1, max(1, round(run.answers * run.length)))


def fitting(run: Run, device: str) -> int:
    """Return the largest power of two up to 8 that is predicted to fit as a batch; 0 if one row does not fit."""
    sizes = [b for b in (8, 4, 2, 1) if predict(run.model, step_of(run, b, device)).total < BUDGET]
    return sizes[0] if sizes else 0


def build(run: Run, shape: Shape, device: torch.device) -> nn.Module:
    """Return the model with what the run trains, made of random bf16 weights on the device itself."""
    config = configuration(shape, max_position_embeddings=run.length, attn_implementation="sdpa")
    with device:
        model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
        if run.checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        if run.method == "QLoRA":
            quantise(model)
        if run.method != "full":
            lora = LoraConfig(
                task_type=TaskType.CAUSAL_LM,
                target_modules=list(PROJECTIONS),
                r=8,
                lora_alpha=32,
                lora_dropout=run.dropout,
            )
            model = get_peft_model(model, lora)
    return model.train()


def quantise(model: nn.Module) -> None:
    """Replace the seven projections of each layer by bitsandbytes' NF4 layers, as `BitsAndBytesConfig` would."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for layer in model.model.layers:
        for block, name in product((layer.self_attn, layer.mlp), PROJECTIONS):
            if name in dict(block.named_children()):
                weight = getattr(block, name).weight.detach()  # (out, in)
                out_features, in_features = weight.shape
                nf4 = {"quant_type": "nf4", "compress_statistics": False}  # float32 scales, the default of transformers
                small = Linear4bit(
                    in_features, out_features, bias=False, compute_dtype=torch.bfloat16, device="meta", **nf4
                )
                small.weight = Params4bit(weight, requires_grad=False, module=small, **nf4).to(weight.device)
                setattr(block, name, small)
    model.requires_grad_(False)
    model.is_loaded_in_4bit = True  # PEFT asks


def distribute(model: nn.Module, run: Run, device: torch.device) -> nn.Module:
    """Return the model as it trains on several devices."""
    if run.devices == 1:
        return model
    if run.sharding == "DDP":
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
    for layer in (module for module in model.modules() if type(module).__name__ == "LlamaDecoderLayer"):
        fully_shard(layer)
    return fully_shard(model)


def batch_of(
    rows: int, tokens: int, answers: int, vocabulary: int, device: str | torch.device
) -> dict[str, torch.Tensor]:
    """Return random tokens, the last ones of each row as answers: three tensors (rows, tokens)."""
    ids = torch.randint(vocabulary, (rows, tokens), device=device)
    labels = ids.clone()
    labels[:, : tokens - answers] = IGNORED
    return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}


def execute(run: Run, shape: Shape, batch: int, device: torch.device) -> dict:
    """Train a few steps and return what they cost on this device."""
    torch.manual_seed(0)
    model = distribute(build(run, shape, device), run, device)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
    data = batch_of(batch, run.length, answers(run), shape.vocabulary, device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = answer_loss(model, data) / (batch * answers(run))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    for _ in range(WARM_UP):
        step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = [timed(step, device) for _ in range(TIMED)]
    rate = batch * run.length / statistics.median(seconds)  # tokens a second on this device
    return {
        "tokens_per_second": rate * run.devices,
        "utilisation": utilisation(rate * flops_per_token(run, shape)),
        "seconds": [round(s, 5) for s in seconds],
        "measured": {"held": held(model, optimiser), **peak(model, optimiser, step, run, device)},
    }


def timed(step, device: torch.device) -> float:
    """Return the seconds of a step, to the end of the last kernel."""
    wait = torch.cuda.synchronize if device.type == "cuda" else nullcontext
    wait()
    begin = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - begin


def flops_per_token(run: Run, shape: Shape) -> float:
    """Return the model's own operations for a token, forward and backward; recomputation does not count.

    2 a weight forward, 2 for the input's gradient, 2 for the weight's where it trains; causal attention 6 L hidden.
    """
    head = shape.embedding * run.answers
    weights = shape.layers * shape.layer_weights + head
    attention = 6 * run.length * shape.heads * shape.head_size * shape.layers
    adapter = lora_parameters(shape, step_of(run, 1, "cuda"))
    return (6 if run.method == "full" else 4) * weights + 6 * adapter + attention


def utilisation(flops_per_second: float) -> float | None:
    """Return the share of the card's bf16 peak; None for a device whose peak is not listed."""
    name = machine()["device"]
    peaks = [peak for card, peak in BF16_PEAK.items() if card in name]
    return round(flops_per_second / peaks[0], 4) if peaks else None


def held(model: nn.Module, optimiser) -> int:
    """Return the bytes of weights, adapter and moments on this device."""
    kept = [*model.parameters(), *(t for state in optimiser.state.values() for t in state.values() if t.ndim)]
    scales = [p.quant_state.absmax for p in model.parameters() if getattr(p, "quant_state", None) is not None]
    return sum((t.to_local() if isinstance(t, DTensor) else t).nbytes for t in [*kept, *scales])


def peak(model: nn.Module, optimiser, step, run: Run, device: torch.device) -> dict[str, int | None]:
    """Return the peak bytes of tensors; on a GPU also what the allocator reserved, and the whole card's use."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        reserved = torch.cuda.max_memory_reserved()
        return {"peak": torch.cuda.max_memory_allocated(), "reserved": reserved, "card": total - free}
    if run.devices > 1 and run.sharding == "FSDP":
        return {"peak": None}  # FSDP resizes memory in place, which peak_bytes cannot follow
    return {"peak": held(model, optimiser) + peak_bytes(step)}


def report(run: Run, batch: int, ledger: Ledger, result: dict) -> str:
    """Return one line: what was predicted beside what was measured."""
    layout = f"{run.method:6}{run.dropout:4}{' checkpointing' if run.checkpointing else '':15}{run.answers:4}"
    used = f"{result['utilisation']:.0%}" if result["utilisation"] else "-"
    measured = f"{result['measured']['peak'] / 1e9:.3f} GB" if result["measured"]["peak"] else "-"
    return (
        f"{run.model:5}{layout} batch {batch} on {run.devices} {run.sharding}: {result['tokens_per_second']:.0f} tok/s"
        f", {used} of the peak; predicted {ledger.total / 1e9:.3f} GB, measured {measured}"
    )


def measure(run: Run, device: torch.device, tiny: bool) -> dict | None:
    """Predict and measure one run; None, with the reason printed, where it cannot be measured here."""
    shape, main = TINY if tiny else SHAPES[run.model], not dist.is_initialized() or dist.get_rank() == 0
    batch = 2 if tiny else fitting(run, device.type)
    reason = None
    if run.method == "QLoRA" and find_spec("bitsandbytes") is None:
        reason = "bitsandbytes is not installed"
    elif run.method == "QLoRA" and run.devices > 1 and run.sharding == "FSDP":
        reason = "4-bit weights are not split by fully_shard"
    elif not batch:
        needed = predict(shape, step_of(run, 1, device.type)).total
        reason = f"one row is predicted to need {needed / 1e9:.0f} GB"
    if reason is None:
        step = step_of(run, batch, device.type)
        ledger = predict(shape, step)
        try:
            result = execute(run, shape, batch, device)
        except torch.OutOfMemoryError:
            reason = f"out of memory, {ledger.total / 1e9:.1f} GB were predicted"
    release_memory()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if reason:
        if main:
            print(f"skipped: {run.model} {run.method}, checkpointing {run.checkpointing}: {reason}", flush=True)
        return None
    if main:
        print(report(run, batch, ledger, result), flush=True)
    return {
        "run": asdict(run),
        "batch": batch,
        **result,
        "predicted": {**ledger._asdict(), "total": ledger.total},
        "communicated": communicated(shape, step),
    }


def main() -> None:
    """Measure what is missing of a model, or show how far all models are."""
    tiny = "--tiny" in sys.argv
    name, *shardings = [word for word in sys.argv[1:] if word != "--tiny"]
    shardings = shardings or SHARDINGS[:1]
    devices, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    done = {key(record["run"]) for record in recorded(RECORD)}
    if name == "list":
        for model in SHAPES:
            planned = [key(asdict(run)) for run in runs(model, devices, SHARDINGS[0])]
            print(f"{model:6} {sum(run in done for run in planned)} of {len(planned)} runs recorded")
        return
    device = (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")
    )
    if devices > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    planned = [run for sharding in shardings for run in runs(name, devices, sharding)]
    if tiny:
        planned = [replace(run, length=64) for run in planned if run.answers == 1 and not run.checkpointing]
    for run in planned:
        if tiny or key(asdict(run)) not in done:
            record = measure(run, device, tiny)
            if record and rank == 0:
                record = {**record, "machine": machine()}
                print(json.dumps(record)) if tiny else append(RECORD, record)
    if devices > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
