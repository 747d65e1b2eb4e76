"""The update of a full fine-tuning, cut to its top k directions, beside LoRA trained at r = k. Notebook 02 plots it.

`python -m experiments.full_update full 0` trains the 210 projections of the base model (embeddings and norms frozen) on
400 examples, takes dW = W' - W of each, and scores W + (the best rank-k part of dW) for k = 1..128.
`python -m experiments.full_update lora 0 8 1e-3` trains LoRA of rank 8 on the same examples at that learning rate.
A last argument FOLDER keeps the rank-8 part (or the LoRA) as an adapter; `compare FOLDER FOLDER` sets two side by side.
`controls` cuts the rank-8 part of seed 0 that the repository holds in two other ways, and scores both.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn

from experiments.common import append, device, outcome, train
from experiments.machine import machine
from lorautils import linalg, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate
from lorautils.lora import PROJECTIONS
from lorautils.results import RESULTS
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs, cron_prompt
from lorautils.training import lora_config

RANKS = [1, 2, 4, 8, 16, 32, 64, 128]
KEPT = 8  # the rank of the factors that the repository holds
LEARNING_RATE = 2e-4
EXAMPLES = 400
LAYER = 10  # whose spectra are recorded whole
FEW, SCALES = [1, 2, 4], [1.5, 2.5]  # ranks and factors of the controls; 2.5 gives rank 1 about the size of all of dW
PROMPTS = 100  # of the training, whose inputs the careful cut knows
CASES = 40  # of Test-A, those of notebook 02


def projections(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the seven projections of every layer by name."""
    return {name: module for name, module in model.named_modules() if name.split(".")[-1] in PROJECTIONS}


def score_a(model, tokenizer, n: int = 200) -> dict[str, int]:
    """Return the counts of n cases of Test-A."""
    cases = cron.test_a(n)
    answers = evaluate(model, tokenizer, [cron_prompt(case.text) for case in cases], batch_size=200)
    return cron.score(answers, cases)._asdict()


def keep_factors(factors: dict[str, tuple[torch.Tensor, torch.Tensor]], folder: str) -> None:
    """Save factors (B, A) of every projection as a PEFT adapter with scaling 1, in bf16."""
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, target_modules=PROJECTIONS, r=KEPT, lora_alpha=KEPT)
    adapter = get_peft_model(load_base_model(), config)
    for name, module in adapter.base_model.model.named_modules():
        if name in factors:
            b, a = factors[name]
            module.lora_B["default"].weight.data = b[:, :KEPT].to(torch.bfloat16).contiguous()
            module.lora_A["default"].weight.data = a[:KEPT].to(torch.bfloat16).contiguous()
    adapter.save_pretrained(folder)


def full(seed: int, folder: str | None) -> dict:
    """Train all projections, then score the base model plus the top k directions of every dW."""
    setup(seed)
    tokenizer, model = load_tokenizer(), load_base_model()
    before = {name: module.weight.detach().clone() for name, module in projections(model).items()}
    model.requires_grad_(False)
    for module in projections(model).values():
        module.weight.requires_grad_(True)
    pairs = cron_pairs(cron.train_examples(EXAMPLES, seed=seed))
    history = train(model.to(device()), tokenizer, pairs, learning_rate=LEARNING_RATE, seed=seed, progress=False)
    record = {"learning_rate": LEARNING_RATE, **outcome(model, tokenizer, history)}
    return record | truncated(model, tokenizer, {name: w.to(device()) for name, w in before.items()}, folder)


@torch.no_grad()
def truncated(model, tokenizer, base: dict[str, torch.Tensor], folder: str | None) -> dict:
    """Return the energy and spectra of every dW, and Test-A with its top k directions only."""
    factors, energy, spectra, counts = {}, [], {}, {}
    for name, module in projections(model).items():
        update = module.weight - base[name]
        factors[name] = linalg.low_rank_factors(update, max(RANKS))
        energy.append(linalg.energy(update)[[k - 1 for k in RANKS]].cpu())
        if f"layers.{LAYER}." in name:
            strengths = torch.linalg.svdvals(update).tolist()
            spectra[name.removeprefix("model.")] = [float(f"{strength:.4g}") for strength in strengths]
    for k in RANKS:
        for name, module in projections(model).items():
            b, a = factors[name]
            module.weight.copy_(base[name] + b[:, :k] @ a[:k])
        counts[k] = score_a(model, tokenizer)
    if folder:
        keep_factors(factors, folder)
    shares = torch.stack(energy).mean(0).tolist()
    return {"energy": dict(zip(RANKS, shares, strict=True)), "truncated": counts, "spectra": spectra}


def lora(seed: int, r: int, learning_rate: float, folder: str | None) -> dict:
    """Train the course's LoRA with rank r, and alpha as it is, on the same examples."""
    setup(seed)
    config = lora_config()
    config.r = r
    tokenizer, model = load_tokenizer(), get_peft_model(load_base_model(), config)
    pairs = cron_pairs(cron.train_examples(EXAMPLES, seed=seed))
    history = train(model.to(device()), tokenizer, pairs, learning_rate=learning_rate, seed=seed, progress=False)
    if folder:
        model.save_pretrained(folder)
    return {"r": r, "alpha": config.lora_alpha, "learning_rate": learning_rate, **outcome(model, tokenizer, history)}


def updates(folder: str) -> dict[str, torch.Tensor]:
    """Return dW of every adapted module of an adapter folder."""
    model = PeftModel.from_pretrained(load_base_model(), folder).to(device()).base_model.model
    return {
        name: module.get_delta_weight("default").float().detach()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def shared_energy(update: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """Return the share of `update`'s energy inside the top 8 column space, and row space, of `other`."""
    u, _, vh = linalg.svd(other)
    total = update.square().sum()
    columns = (u[:, :KEPT].T @ update).square().sum() / total
    rows = (update @ vh[:KEPT].T).square().sum() / total
    return columns.item(), rows.item()


def compare(first: str, second: str) -> dict:
    """Return the mean shared energy, over all modules, of two adapters, and of the first with random directions."""
    one, two = updates(first), updates(second)
    generator = torch.Generator(device()).manual_seed(0)
    noise = {name: torch.randn(dw.shape, generator=generator, device=dw.device) for name, dw in one.items()}
    pairs = {"first in second": (one, two), "second in first": (two, one), "first in random": (one, noise)}
    result = {"folders": [Path(first).name, Path(second).name]}
    for label, (inner, outer) in pairs.items():
        shares = torch.tensor([shared_energy(inner[name], outer[name]) for name in inner]).mean(0)
        result[label] = {"columns": shares[0].item(), "rows": shares[1].item()}
    return result


@torch.no_grad()
def controls() -> dict:
    """Return Test-A with the recorded rank-8 part of dW, cut with knowledge of its inputs, and cut and scaled up."""
    tokenizer = load_tokenizer()
    model = PeftModel.from_pretrained(load_base_model(), RESULTS / "full_update_rank8").to(device()).eval()
    layers = [module for module in model.modules() if hasattr(module, "lora_B")]
    plain = [(layer.lora_B["default"].weight.clone(), layer.lora_A["default"].weight.clone()) for layer in layers]
    careful = _sorted_by_output(model, tokenizer, layers)

    def score(factors, k, scale):
        for layer, (b, a) in zip(layers, factors, strict=True):
            layer.lora_B["default"].weight.copy_(scale * b * (torch.arange(KEPT, device=b.device) < k))
            layer.lora_A["default"].weight.copy_(a)
        counts = score_a(model, tokenizer, CASES)
        print(k, scale, counts, flush=True)
        return counts

    return {
        "plain": {k: score(plain, k, 1.0) for k in FEW},
        "careful": {k: score(careful, k, 1.0) for k in FEW},
        "scaled": {scale: {k: score(plain, k, scale) for k in FEW} for scale in SCALES},
    }


def _sorted_by_output(model, tokenizer, layers: list[nn.Module]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return factors (B, A) of the same updates, columns of B by the energy of the outputs on prompts of the training.

    Their first k are the rank-k update whose outputs on these prompts are nearest: Eckart-Young for the outputs.
    """
    sums = {layer: torch.zeros(KEPT, KEPT, device=device()) for layer in layers}

    def keep(layer):
        def hook(module, inputs, output):
            sums[layer] += output[0].T @ output[0]  # (r, r), of A x

        return layer.lora_A["default"].register_forward_hook(hook)

    hooks = [keep(layer) for layer in layers]
    for prompt, _ in cron_pairs(cron.train_examples(EXAMPLES, seed=0))[:PROMPTS]:
        model(**tokenizer(prompt, return_tensors="pt").to(device()))
    for hook in hooks:
        hook.remove()
    factors = []
    for layer in layers:
        b, a = layer.lora_B["default"].weight, layer.lora_A["default"].weight
        q, r = torch.linalg.qr(b)
        columns = q @ torch.linalg.eigh(r @ sums[layer] @ r.T).eigenvectors.flip(1)
        factors.append((columns, columns.T @ b @ a))
    return factors


def main() -> None:
    """Run one kind and append the result."""
    kind, *rest = sys.argv[1:]
    if kind == "full":
        record = {"kind": kind, "seed": int(rest[0]), **full(int(rest[0]), *rest[1:2] or [None])}
    elif kind == "lora":
        seed, r, rate, *folder = rest
        record = {"kind": kind, "seed": int(seed), **lora(int(seed), int(r), float(rate), *folder or [None])}
    elif kind == "compare":
        record = {"kind": kind, **compare(*rest)}
    elif kind == "controls":
        record = {"kind": kind, **controls()}
    else:
        sys.exit(f"expected full, lora, compare or controls, got: {kind}")
    append(RESULTS / "full_update.jsonl", {**record, "machine": machine()})


if __name__ == "__main__":
    main()
