"""What goes wrong with one's own data, and how many rows it takes: notebook 14.

`python -m experiments.your_own_data gallery` provokes each fault once a seed; with `--seed 0` only that seed, some
minutes on two idle cores. `rows` trains on 50 to 800 rows, and on rows of which 5 % are wrong: an hour, or a GPU.
`list` shows how far each kind is. Each run is a line of results/your_own_data.jsonl; a run that is recorded is not
repeated.
"""

import argparse
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from peft import get_peft_model

from experiments.common import append, device, recorded, train
from experiments.machine import machine
from lorautils import release_memory, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.data import Pair, encode
from lorautils.evaluation import evaluate
from lorautils.formats import rows, tokens
from lorautils.results import RESULTS
from lorautils.scaling import fused
from lorautils.tasks import git_help
from lorautils.tasks.git_help import Example
from lorautils.training import batches_of, held_out_loss, lora_config

RECORD = RESULTS / "your_own_data.jsonl"
BATCH, STEPS, RATE = 4, 24, 2e-3
TRAINED, LOOKED_AT, ASKED = 96, 10, 6  # rows of the gallery: to train on, to look at, to ask
LONGEST = 24  # tokens of an answer
SIZES, LONG_STEPS, SEEDS, WRONG = (50, 100, 200, 400, 800), 200, (0, 1, 2), 0.05

KINDS = ("gallery", "rows")
FAULTS = (
    "healthy",
    "rate too high",
    "rate too low",
    "prompt in the loss",
    "stop token masked",
    "over-fitting",
    "frozen adapter",
    "shuffled answers",
    "wrong template",
)


class Run(NamedTuple):
    """What a run of the gallery gives: losses (nats per token with loss), looks (step, loss), and answers."""

    train: list[float]
    held_out: list[tuple[int, float]]
    right: int
    unended: int
    asked: int


def chat(example: Example) -> rows.Row:
    """Return an example as a chat, which the model's own template writes."""
    return rows.Row(example.question, rows.Chat(git_help.turns(example.question, example.answer)))


def features(tokenizer, examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """Return token ids and labels, as `lorautils train` makes them of the rows."""
    sequences, _ = tokens.encode_rows(tokenizer, [chat(example) for example in examples])
    return [sequence.feature for sequence in sequences]


def prompts(tokenizer, examples: Sequence[Example]) -> list[str]:
    """Return what the model is asked in use."""
    return [tokens.asked(tokenizer, chat(example).example)[0] for example in examples]


def shuffled(examples: Sequence[Example], seed: int, share: float = 1.0) -> list[Example]:
    """Return the examples, a share of them with one another's answers."""
    rng = random.Random(seed)
    chosen = sorted(rng.sample(range(len(examples)), round(share * len(examples))))
    answers = [examples[place].answer for place in chosen]
    mixed = dict(zip(chosen, answers[1:] + answers[:1], strict=True))
    return [row._replace(answer=mixed.get(place, row.answer)) for place, row in enumerate(examples)]


def spoiled(fault: str, tokenizer, seed: int) -> list[dict[str, list[int]]]:
    """Return the rows that a run of the gallery trains on."""
    examples = random.Random(seed).sample(git_help.examples("train"), TRAINED)
    if fault == "over-fitting":
        examples = examples[:8]
    if fault == "shuffled answers":
        examples = shuffled(examples, seed)
    if fault == "wrong template":
        return encode(tokenizer, [Pair(f"### Question:\n{e.question}\n### Answer:\n", e.answer) for e in examples])
    made = features(tokenizer, examples)
    for row in made:
        if fault == "prompt in the loss":
            row["labels"] = list(row["input_ids"])
        if fault == "stop token masked":
            del row["input_ids"][-1], row["labels"][-1]  # the same: no loss is on it, and nothing comes after it
    return made


def gallery(fault: str, seed: int = 0, *, steps: int = STEPS) -> Run:
    """Train with one fault, look at rows that were not trained on, as they are used, and ask some."""
    setup(seed)
    tokenizer, model = load_tokenizer(), get_peft_model(load_base_model(), lora_config()).to(device())
    rate = {"rate too high": 5e-2, "rate too low": 2e-5}.get(fault, RATE)
    made = spoiled(fault, tokenizer, seed)
    validation = random.Random(seed).sample(git_help.examples("validation"), LOOKED_AT)
    held_out = features(tokenizer, validation)
    others = [
        parameter.detach().clone().requires_grad_() for parameter in model.parameters() if parameter.requires_grad
    ]
    before = held_out_loss(model, batches_of(tokenizer, held_out))
    history = train(
        model,
        tokenizer,
        made,
        epochs=steps * BATCH / len(made),
        batch_size=BATCH,
        learning_rate=rate,
        loss=fused.loss,
        optimizer=torch.optim.AdamW(others, rate) if fault == "frozen adapter" else None,
        held_out=held_out,
        held_out_steps=4,
        seed=seed,
        progress=False,
    )
    asked = [row for row in validation if row.kind == "command"][:ASKED]
    answers = evaluate(model, tokenizer, prompts(tokenizer, asked), max_new_tokens=LONGEST)
    return Run(
        [round(loss, 4) for loss in history.loss],
        [(0, round(before, 4)), *((step, round(loss, 4)) for step, loss in history.held_out)],
        sum(git_help.equivalent(answer, row.answer) for answer, row in zip(answers, asked, strict=True)),
        sum(len(tokenizer(answer)["input_ids"]) >= LONGEST - 1 for answer in answers),
        len(asked),
    )


def by_rows(n: int, wrong: float, seed: int) -> dict:
    """Train on n rows, a share of them wrong, for a fixed number of steps; return losses, scores and answers."""
    setup(seed)
    tokenizer, model = load_tokenizer(), get_peft_model(load_base_model(), lora_config()).to(device())
    examples = random.Random(seed).sample(git_help.examples("train"), n)
    history = train(
        model,
        tokenizer,
        features(tokenizer, shuffled(examples, seed, wrong) if wrong else examples),
        epochs=LONG_STEPS * BATCH / n,
        batch_size=BATCH,
        learning_rate=RATE,
        loss=fused.loss,
        seed=seed,
        progress=False,
    )
    test = git_help.examples("test")
    answers = evaluate(model, tokenizer, prompts(tokenizer, test), max_new_tokens=LONGEST)
    return {
        "last_losses": [round(loss, 4) for loss in history.loss[-10:]],
        **scores(answers, test),
        "answers": [answer for answer, row in zip(answers, test, strict=True) if row.kind == "sentence"],
        "seconds": round(history.seconds, 1),
    }


def scores(answers: Sequence[str], test: Sequence[Example]) -> dict[str, int]:
    """Count the commands that are right, and the sentences that are right word for word."""
    pairs = list(zip(answers, test, strict=True))
    commands = [git_help.equivalent(answer, row.answer) for answer, row in pairs if row.kind == "command"]
    sentences = [answer == row.answer for answer, row in pairs if row.kind == "sentence"]
    return {"commands": len(commands), "right": sum(commands), "sentences": len(sentences), "exact": sum(sentences)}


def runs(kind: str) -> list[dict]:
    """Return the settings of all runs of a kind."""
    if kind == "gallery":
        return [{"kind": kind, "fault": fault, "seed": seed} for seed in SEEDS for fault in FAULTS]
    clean = [(n, 0.0) for n in SIZES]
    return [
        {"kind": kind, "n": n, "wrong": w, "seed": s} for s in SEEDS for n, w in [*clean, (200, WRONG), (800, WRONG)]
    ]


def execute(run: dict) -> dict:
    """Make one run."""
    if run["kind"] == "gallery":
        return gallery(run["fault"], run["seed"])._asdict()
    return by_rows(run["n"], run["wrong"], run["seed"])


def left(kind: str) -> list[dict]:
    """Return the settings of those runs of a kind that are not recorded."""
    settings = ("kind", "fault", "n", "wrong", "seed")
    done = [{name: old[name] for name in settings if name in old} for old in recorded(RECORD)]
    return [run for run in runs(kind) if run not in done]


def main() -> None:
    """Make the runs of a kind that are not recorded, or show how far each kind is."""
    parser = argparse.ArgumentParser(prog="python -m experiments.your_own_data")
    parser.add_argument("kind", choices=[*KINDS, "list"], help="list: how many runs of each kind are recorded")
    parser.add_argument("--seed", type=int, choices=SEEDS, help="only the runs of this seed")
    given = parser.parse_args()
    if given.kind == "list":
        for kind in KINDS:
            total, todo = len(runs(kind)), len(left(kind))
            how = f"deferred: `python -m experiments.your_own_data {kind}`" if todo else "complete"
            print(f"{kind:8} {total - todo} of {total} runs recorded; {how}")
        return
    for run in left(given.kind):
        if given.seed in (None, run["seed"]):
            result = execute(run)
            append(RECORD, {**run, **result, "machine": machine()})
            print(run, {name: result[name] for name in ("right", "exact") if name in result}, flush=True)
            release_memory()


if __name__ == "__main__":
    main()
