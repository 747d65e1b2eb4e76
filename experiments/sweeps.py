"""Which knob does what: many short trainings, one JSON line each. Notebooks 09 to 11 plot them.

`python -m experiments.sweeps NAME [I/N]` runs what is missing of a sweep (share I of N, so that N processes can share a
GPU) and appends to results/sweeps.jsonl; `list` shows how far each sweep is. A run that is recorded is not repeated.
Every run trains on the task of notebook 08 and records the machine, the versions, the data's hash and the scores.
"""

import hashlib
import sys
from dataclasses import asdict, dataclass, replace
from itertools import product

import torch
from peft import (
    AdaptionPromptConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    MissConfig,
    OFTConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    ShiraConfig,
    TaskType,
    VeraConfig,
    get_peft_model,
    initialize_lora_eva_weights,
)
from peft.optimizers import create_loraplus_optimizer
from torch import nn

from experiments.common import append, device, key, outcome, recorded
from experiments.machine import machine
from lorautils import release_memory, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.data import collate, encode
from lorautils.lora import PROJECTIONS
from lorautils.results import RESULTS
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs
from lorautils.training import train

RECORD = RESULTS / "sweeps.jsonl"
ATTENTION, MLP = PROJECTIONS[:4], PROJECTIONS[4:]


@dataclass(frozen=True)
class Run:
    """One training: everything that decides its result."""

    sweep: str
    seed: int
    learning_rate: float
    method: str = "LoRA"
    r: int = 8
    alpha: float = 32
    targets: tuple[str, ...] = tuple(PROJECTIONS)
    dropout: float = 0.1
    examples: int = 400
    epochs: float = 3
    batch_size: int = 8


def lora_config(run: Run, **changes) -> LoraConfig:
    """Return LoRA as the run asks for it."""
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules=list(run.targets),
        r=run.r,
        lora_alpha=run.alpha,
        lora_dropout=run.dropout,
        **changes,
    )


def everywhere(config: type, **options):
    """Return a method of PEFT on the run's targets."""
    return lambda run: config(task_type=TaskType.CAUSAL_LM, target_modules=list(run.targets), **options)


METHODS = {
    "LoRA": lora_config,
    "LoRA+": lora_config,
    "rsLoRA": lambda run: lora_config(run, use_rslora=True),
    "DoRA": lambda run: lora_config(run, use_dora=True),
    "PiSSA": lambda run: lora_config(run, init_lora_weights="pissa"),
    "OLoRA": lambda run: lora_config(run, init_lora_weights="olora"),
    "gaussian": lambda run: lora_config(run, init_lora_weights="gaussian"),
    "orthogonal": lambda run: lora_config(run, init_lora_weights="orthogonal"),
    "EVA": lambda run: lora_config(run, init_lora_weights="eva"),
    "VeRA": everywhere(VeraConfig, r=256),
    "LoHa": everywhere(LoHaConfig, r=8, alpha=32),
    "LoKr": everywhere(LoKrConfig, r=8, alpha=32),
    "OFT": everywhere(OFTConfig),
    "SHiRA": everywhere(ShiraConfig, r=8),
    "MiSS": everywhere(MissConfig, r=8),
    "LN tuning": lambda run: LNTuningConfig(task_type=TaskType.CAUSAL_LM),
    "LLaMA-Adapter": lambda run: AdaptionPromptConfig(task_type=TaskType.CAUSAL_LM, adapter_len=10, adapter_layers=30),
    "IA3": lambda run: IA3Config(
        task_type=TaskType.CAUSAL_LM,
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
    ),
    "prefix tuning": lambda run: PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=20),
    "prompt tuning": lambda run: PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=20),
}


def wrapped(run: Run) -> nn.Module:
    """Return the base model with what the run trains."""
    model = load_base_model()
    return model if run.method == "full fine-tuning" else get_peft_model(model, METHODS[run.method](run))


RATES = [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3]
FULL_RATES = [2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4]
# Sets of targets with nearly as many parameters as q, v at r = 32: 1.84 million.
BUDGET = {("q_proj", "v_proj"): 32, tuple(ATTENTION): 16, tuple(MLP): 10, tuple(PROJECTIONS): 6}
METHOD_RATES = {
    "rsLoRA": [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3],
    "DoRA": [5e-4, 1e-3, 2e-3, 4e-3],
    "PiSSA": [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3],
    "VeRA": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.3e-1],
    "IA3": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.3e-1],
    "prefix tuning": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2],
    "prompt tuning": [4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.3e-1, 2.6e-1, 5e-1],
}
INIT_RATES = {name: [5e-4, 1e-3, 2e-3, 4e-3] for name in ["gaussian", "orthogonal", "EVA"]} | {
    "OLoRA": [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3],
    "LoRA+": [1.2e-4, 2.5e-4, 5e-4, 1e-3, 2e-3],
}
MORE_METHOD_RATES = {
    "OFT": [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3],
    "LoHa": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    "LoKr": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    "SHiRA": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    "MiSS": [1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3],
    "LN tuning": [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2],
    "LLaMA-Adapter": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2],
}
SEEDS = range(5)
# (examples, epochs): 50 to 1,200 steps of eight, by reading 400 examples again or by more of them
EQUAL_STEPS = [(400, 1), (400, 3), (400, 6), (400, 12), (400, 24), (800, 3), (1600, 3), (3200, 3), (3200, 1)]


def around_the_best(grid: list[Run], seeds: range = SEEDS) -> list[Run]:
    """Return, for each cell of a recorded grid, its best learning rate and the two beside it, with every seed.

    A cell is what differs in nothing but learning rate; best is the most exact answers on Test-A. Cells whose grid is
    not complete are left out.
    """
    exact = {key(record["run"]): record["scores"]["A"]["exact"] for record in recorded(RECORD)}
    cells: dict[Run, list[Run]] = {}
    for run in grid:
        cells.setdefault(replace(run, learning_rate=0.0), []).append(run)
    chosen = []
    for runs in cells.values():
        if all(key(asdict(run)) in exact for run in runs):
            best = max(range(len(runs)), key=lambda i: exact[key(asdict(runs[i]))])
            chosen += [replace(run, seed=seed) for run in runs[max(best - 1, 0) : best + 2] for seed in seeds]
    return chosen


def sweeps() -> dict[str, list[Run]]:
    """Return the runs of every sweep: a grid of learning rates with one seed, then more seeds around the best rate."""
    rank = [Run("rank", 0, rate, r=r) for r, rate in product([1, 4, 8, 32, 128, 256], RATES)]
    targets = [Run("targets", 0, rate, targets=names, r=r) for (names, r), rate in product(BUDGET.items(), RATES[1:])]
    full = [Run("full", 0, rate, method="full fine-tuning") for rate in FULL_RATES]
    methods, inits, more = (
        [Run(sweep, 0, rate, method=name) for name, rates in tuned.items() for rate in rates]
        for sweep, tuned in [("methods", METHOD_RATES), ("inits", INIT_RATES), ("more methods", MORE_METHOD_RATES)]
    )
    alpha = [
        Run("alpha", 0, rate, r=r, alpha=2 * r) for r, rate in product([1, 8, 32, 128], [*RATES[1:], 1.6e-2, 3.2e-2])
    ]
    alpha += [Run("alpha", 0, rate, r=r, method="rsLoRA") for r, rate in product([1, 32, 128], RATES[:5])]
    full_best = [("full fine-tuning", 8, 1e-4), ("full fine-tuning", 8, 2e-4)]
    batch = [Run("batch", 0, rate, batch_size=size) for size, rate in product([2, 4, 16, 32], RATES[1:])]
    return {
        "rank": rank,
        "targets": targets,
        "full": full,
        "methods": methods,
        "full seeds": around_the_best(full, range(3)),
        "rank seeds": around_the_best(rank),
        "targets seeds": around_the_best(targets),
        "methods seeds": around_the_best(methods),
        "examples": [
            Run("examples", s, 2e-3, examples=n) for n, s in product([25, 50, 100, 200, 800, 1600, 3200], SEEDS)
        ],
        "dropout": [
            Run("dropout", s, 2e-3, dropout=p, examples=n, epochs=1200 / n)
            for n, p, s in product([50, 400], [0.0, 0.05, 0.1, 0.3], SEEDS)
        ],
        "alpha": alpha,
        "batch": batch,
        "inits": inits,
        "more methods": more,
        "alpha seeds": around_the_best(alpha),
        "batch seeds": around_the_best(batch),
        "inits seeds": around_the_best(inits),
        "more methods seeds": around_the_best(more),
        "twenty seeds": [
            Run("twenty seeds", seed, rate, method, r=r)
            for seed in range(20)
            for method, r, rate in [("LoRA", 8, 2e-3), ("LoRA", 1, 2e-3), ("LoRA", 128, 2e-3), *full_best]
        ],
        "epochs": [
            Run("epochs", seed, rate, method, examples=n, epochs=epochs)
            for seed in SEEDS
            for (method, _, rate), (n, epochs) in product([("LoRA", 8, 2e-3), full_best[1]], EQUAL_STEPS)
        ],
        "batch at equal steps": [
            Run("batch at equal steps", seed, rate, method, batch_size=size, epochs=3 * size / 8)
            for seed in SEEDS
            for (method, rates), size in product(
                [("LoRA", RATES[2:5]), ("full fine-tuning", FULL_RATES[2:5])], [2, 8, 32]
            )
            for rate in rates
        ],
    }


def spectrum(model: nn.Module) -> dict[str, float] | None:
    """Return mean stable rank and norm of dW = scaling B A over the modules where it is not zero; None without any."""
    values = []
    for module in model.modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            b, a = module.lora_B["default"].weight.detach(), module.lora_A["default"].weight.detach()
            if b.any():  # after a first step at warm-up's rate of zero nothing has moved
                core = torch.linalg.qr(b).R @ torch.linalg.qr(a.T).R.T  # (r, r), with the singular values of B A
                values.append(module.scaling["default"] * torch.linalg.svdvals(core))
    if not values:
        return None
    energy = [s.square().sum().item() for s in values]
    stable = [total / s[0].item() ** 2 for total, s in zip(energy, values, strict=True)]
    return {"stable_rank": sum(stable) / len(stable), "norm": sum(total**0.5 for total in energy) / len(energy)}


def eva(model: nn.Module, tokenizer, pairs: list) -> None:
    """Set each A to the main directions of what its layer reads, the training data given."""
    features = encode(tokenizer, pairs)
    batches = [collate(features[start : start + 8], tokenizer.pad_token_id) for start in range(0, len(features), 8)]
    batches = [{name: batch[name].to(device()) for name in ("input_ids", "attention_mask")} for batch in batches]
    initialize_lora_eva_weights(model, batches, show_progress_bar=False)


def loraplus(model: nn.Module, run: Run) -> torch.optim.Optimizer:
    """Return AdamW whose learning rate for B is 16 times that for A, as the authors of LoRA+ advise."""
    return create_loraplus_optimizer(model, torch.optim.AdamW, lr=run.learning_rate, loraplus_lr_ratio=16)


def execute(run: Run) -> dict:
    """Train and measure one run."""
    setup(run.seed)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    tokenizer, model = load_tokenizer(), wrapped(run)
    pairs = cron_pairs(cron.train_examples(run.examples, seed=run.seed))
    if run.method == "EVA":
        eva(model, tokenizer, pairs)
    history = train(
        model.to(device()),
        tokenizer,
        pairs,
        epochs=run.epochs,
        batch_size=run.batch_size,
        learning_rate=run.learning_rate,
        optimizer=loraplus(model, run) if run.method == "LoRA+" else None,
        seed=run.seed,
        progress=False,
    )
    return {
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        **outcome(model, tokenizer, history),
        "update": spectrum(model),
        "data": data_hash(pairs),
    }


def data_hash(pairs: list) -> str:
    """Return what tells one training set from another."""
    return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]


def share_of(runs: list, words: list[str]) -> list:
    """Return the runs of share I of N if the words of a command are ["I/N"], all runs if there are none."""
    index, shares = map(int, words[0].split("/")) if words else (0, 1)
    return runs[index::shares]


def main() -> None:
    """Run a share of a sweep, or show how far all sweeps are."""
    name, *share = sys.argv[1:]
    done = {key(record["run"]) for record in recorded(RECORD)}
    if name == "list":
        for sweep, runs in sweeps().items():
            print(f"{sweep:14} {sum(key(asdict(run)) in done for run in runs)} of {len(runs)} runs recorded")
        return
    for run in share_of(sweeps()[name], share):
        if key(asdict(run)) not in done:
            append(RECORD, {"run": asdict(run), **execute(run), "machine": machine()})
            release_memory()


if __name__ == "__main__":
    main()
