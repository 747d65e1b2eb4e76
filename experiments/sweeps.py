"""Which knob does what: many short trainings, one JSON line each. Notebooks 09 to 11 plot them.

`python -m experiments.sweeps NAME [I/N]` runs what is missing of a sweep (share I of N, so that N processes can share a
GPU) and appends to results/sweeps.jsonl; `list` shows how far each sweep is. A run that is recorded is not repeated.
plans.py says which runs there are. Each records the machine, the versions, the data's hash and the scores.
"""

import hashlib
import sys

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

from experiments.common import append, device, elsewhere, key, outcome, recorded, share_of, train
from experiments.machine import machine
from experiments.other_tasks import right_answers, training_pairs
from experiments.plans import RECORD, Run, minutes, sweeps
from lorautils import release_memory, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.data import collate, encode


def lora_config(run: Run, **changes) -> LoraConfig:
    """Return LoRA as the run asks for it."""
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules=list(run.targets),
        r=run.r,
        lora_alpha=run.alpha,
        lora_dropout=run.dropout,
        layers_to_transform=list(run.layers) if run.layers else None,
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
    chance = run.seed if run.chance is None else run.chance
    setup(chance)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    tokenizer, model = load_tokenizer(), wrapped(run)
    pairs = training_pairs(run.task, run.examples, run.seed)
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
        seed=chance,
        progress=False,
    )
    result = (
        outcome(model, tokenizer, history)
        if run.task == "cron"
        else {**elsewhere(model, tokenizer, history), "scores": right_answers(run.task, model, tokenizer, pairs)}
    )
    return {
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        **result,
        "update": spectrum(model),
        "data": data_hash(pairs),
    }


def data_hash(pairs: list) -> str:
    """Return what tells one training set from another."""
    return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]


def main() -> None:
    """Run a share of a sweep, or show how far all sweeps are."""
    name, *share = sys.argv[1:]
    done = {key(record["run"]) for record in recorded(RECORD)}
    if name == "list":
        for sweep, runs in sweeps().items():
            left = [run for run in runs if key(run.fields()) not in done]
            how = f"deferred: `python -m experiments.sweeps {sweep!r}`, {minutes(left):.0f} GPU minutes"
            print(f"{sweep:20} {len(runs) - len(left)} of {len(runs)} runs recorded;", how if left else "complete")
        return
    for run in share_of(sweeps()[name], share):
        if key(run.fields()) not in done:
            append(RECORD, {"run": run.fields(), **execute(run), "machine": machine()})
            release_memory()


if __name__ == "__main__":
    main()
