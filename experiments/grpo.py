"""GRPO with cron's checker as its reward, beside right answers: does rank matter less where a reward teaches?

`python -m experiments.grpo start` trains the base briefly and saves the adapter that, merged, is where all runs start.
`python -m experiments.grpo [I/N]` then runs what is missing (share I of N, so that N processes can share a GPU) and
appends to results/grpo.jsonl; `list` shows how far it is. A run that is recorded is not repeated.

GRPO (Z. Shao et al., DeepSeekMath, 2024) samples a group of answers to a prompt, and raises the probability of those
whose reward is above the group's mean. A group of equal rewards teaches nothing.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from random import Random

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL would tell its makers of every training

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from trl import GRPOConfig, GRPOTrainer

from experiments.common import append, device, key, outcome, recorded, share_of, train, validation_scores
from experiments.machine import machine
from experiments.sweeps import spectrum
from experiments.train_adapter import save_bf16
from lorautils import ROOT, release_memory, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.lora import PROJECTIONS
from lorautils.results import RESULTS
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs, cron_prompt
from lorautils.training import History, lora_config

RECORD, START = RESULTS / "grpo.jsonl", ROOT / "my" / "grpo_start"
HUMAN_SHARE = 0.6  # of the phrases, as in notebook 08
START_EXAMPLES = 800  # 100 steps of eight
ANSWER_TOKENS = 24  # a sampled answer is cut off there
TEACHERS = ("reward", "shuffled reward", "nobody", "answers")  # nobody: the start itself
RANKS, RATES, SEEDS = (1, 8, 128), (2e-4, 6e-4, 2e-3), range(3)


@dataclass(frozen=True)
class Run:
    """One training from the common start: everything that decides its result."""

    teacher: str  # of TEACHERS
    seed: int = 0
    r: int = 8
    learning_rate: float = RATES[1]
    steps: int = 60
    prompts: int = 8  # a step
    group: int = 8  # sampled answers a prompt, where a reward teaches


def runs() -> list[Run]:
    """Return all runs, those first without which nothing can be told."""
    grid = product(("reward", "answers"), SEEDS, RANKS, RATES)
    control = [Run("shuffled reward", seed, r) for seed, r in product(SEEDS, RANKS)]
    return sorted([*(Run(*each) for each in grid), *control, Run("nobody", steps=0)], key=urgency)


def urgency(run: Run) -> tuple[bool, int]:
    """Return what sorts runs: three rates with one seed, one rate with three, and a control at one rank come first."""
    needed = run.r == 8 if run.teacher == "shuffled reward" else run.seed == 0 or run.learning_rate == RATES[1]
    return not needed, TEACHERS.index(run.teacher)


def phrases(run: Run) -> list[cron.Example]:
    """Return what a run's steps read, each phrase once; none is in a test or was read before the start."""
    before = {cron.normalized(example.text) for example in cron.train_examples(START_EXAMPLES, 0, HUMAN_SHARE)}
    n = run.steps * run.prompts
    drawn = cron.train_examples(2 * n, 100 + run.seed, HUMAN_SHARE)
    return [example for example in drawn if cron.normalized(example.text) not in before][:n]


def make_start() -> None:
    """Train the base on some right answers, and save the adapter that the start has merged."""
    setup(0)
    model, tokenizer = get_peft_model(load_base_model(), lora_config()).to(device()), load_tokenizer()
    pairs = cron_pairs(cron.train_examples(START_EXAMPLES, 0, HUMAN_SHARE))
    train(model, tokenizer, pairs, epochs=1)
    save_bf16(model, START)


def start(run: Run) -> nn.Module:
    """Return the model that every run starts from, with what this one trains: all layers, alpha 32, no dropout."""
    model = PeftModel.from_pretrained(load_base_model(), START).merge_and_unload()
    if run.teacher == "nobody":
        return model
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, target_modules=PROJECTIONS, r=run.r, lora_alpha=32)
    return get_peft_model(model, config)


def reward_of(run: Run) -> Callable[..., list[float]]:
    """Return the function that rewards sampled answers: 1 for a valid expression, and 1 more for the right one.

    Where the reward is shuffled, the rewards of each group are dealt out among its answers at random.
    """
    rng = Random(run.seed)

    def reward(completions: list[str], right: list[str], log_metric: Callable, **_) -> list[float]:
        exact = [said.strip() == truth for said, truth in zip(completions, right, strict=True)]
        log_metric("exact", sum(exact) / len(exact))
        rewards = [float(cron.is_valid(said.strip()) + hit) for said, hit in zip(completions, exact, strict=True)]
        if run.teacher == "shuffled reward":
            groups = [rewards[first : first + run.group] for first in range(0, len(rewards), run.group)]
            rewards = [each for group in groups for each in rng.sample(group, len(group))]
        return rewards

    return reward


def grpo_arguments(run: Run) -> GRPOConfig:
    """Return TRL's arguments: its own loss and no KL term, since beta is 0; optimiser and schedule are train()'s."""
    return GRPOConfig(
        output_dir=tempfile.gettempdir(),  # nothing is saved
        save_strategy="no",
        per_device_train_batch_size=run.prompts * run.group // 2,
        gradient_accumulation_steps=2,  # half the memory
        num_generations=run.group,
        max_completion_length=ANSWER_TOKENS,
        max_steps=run.steps,
        learning_rate=run.learning_rate,
        warmup_steps=0.1,  # a share of all steps
        lr_scheduler_type="cosine",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=run.seed,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=device() == "cpu",
    )


def by_reward(model: nn.Module, tokenizer, run: Run) -> tuple[History, dict]:
    """Train by GRPO; return the history and, of each step, rewards, shares of useful groups, right answers, entropy."""
    rows = [{"prompt": cron_prompt(example.text), "right": example.cron} for example in phrases(run)]
    given = {"train_dataset": Dataset.from_list(rows), "processing_class": tokenizer}
    trainer = GRPOTrainer(model, reward_of(run), grpo_arguments(run), **given)
    began = time.perf_counter()
    trainer.train()
    seconds, tokens = time.perf_counter() - began, trainer.state.num_input_tokens_seen
    logs = [log for log in trainer.state.log_history if "reward" in log]
    steps = {
        "reward": [round(log["reward"], 3) for log in logs],
        "unequal": [round(1 - log["frac_reward_zero_std"], 3) for log in logs],  # share of groups
        "exact": [round(log["exact"], 3) for log in logs],
        "entropy": [round(log["entropy"], 3) for log in logs],  # nats per token
        "cut": [round(log["completions/clipped_ratio"], 3) for log in logs],  # share of answers
    }
    return History(loss=[log["loss"] for log in logs], trained_tokens=tokens, seconds=seconds), {"per_step": steps}


def taught(model: nn.Module, tokenizer, run: Run) -> tuple[History, dict]:
    """Let the run's teacher train the model; return the history and what else is recorded of the steps."""
    if run.teacher == "nobody":
        return History(), {}
    if run.teacher == "answers":
        options = {"epochs": 1, "batch_size": run.prompts, "learning_rate": run.learning_rate}
        return train(model, tokenizer, cron_pairs(phrases(run)), **options, seed=run.seed, progress=False), {}
    return by_reward(model, tokenizer, run)


def execute(run: Run) -> dict:
    """Train and measure one run."""
    setup(run.seed)
    torch.backends.cuda.matmul.allow_tf32 = True  # several runs share a GPU
    tokenizer, model = load_tokenizer(), start(run).to(device())
    history, more = taught(model, tokenizer, run)
    return {
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **outcome(model, tokenizer, history),
        "validation": validation_scores(model, tokenizer),
        "update": spectrum(model),
        **more,
    }


def main() -> None:
    """Make the start, run a share of what is missing, or show how far it is."""
    words = sys.argv[1:]
    if words == ["start"]:
        return make_start()
    done = {key(record["run"]) for record in recorded(RECORD)}
    if words == ["list"]:
        for run in runs():
            print("recorded" if key(asdict(run)) in done else "missing ", run)
        return None
    for run in share_of(runs(), words):
        if key(asdict(run)) not in done:
            append(RECORD, {"run": asdict(run), **execute(run), "machine": machine("trl")})
            release_memory()


if __name__ == "__main__":
    main()
