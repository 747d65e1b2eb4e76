"""Do notebook 09's rules serve a task they were not made on? Help with git, at every combination of four knobs.

`python -m experiments.trial [I/N]` runs what is missing (share I of N, so that N processes can share a GPU) and appends
to results/trial.jsonl; `list` shows how far it is. A run that is recorded is not repeated. The validation split is what
somebody who tunes may look at; the test judges the choice.
"""

import random
import sys
from dataclasses import asdict, dataclass
from itertools import product

from peft import get_peft_model

from experiments.common import append, device, key, recorded, share_of, train
from experiments.machine import machine
from experiments.your_own_data import LONGEST, features, prompts, scores
from lorautils import release_memory, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate
from lorautils.results import RESULTS
from lorautils.scaling import fused
from lorautils.tasks import git_help
from lorautils.training import lora_config

RECORD = RESULTS / "trial.jsonl"
ROWS = 400
RANKS, RATES, BATCHES, EPOCHS, SEEDS = (2, 8, 32), (5e-4, 1e-3, 2e-3, 4e-3, 8e-3), (4, 16), (2, 5), range(3)


@dataclass(frozen=True)
class Run:
    """One training: the four knobs, and a seed that also draws the rows."""

    r: int
    learning_rate: float
    batch_size: int
    epochs: int
    seed: int


def runs() -> list[Run]:
    """Return all combinations."""
    return [Run(*each) for each in product(RANKS, RATES, BATCHES, EPOCHS, SEEDS)]


def execute(run: Run) -> dict:
    """Train and measure one run: validation and test, commands that do the same and sentences word for word."""
    setup(run.seed)
    tokenizer, config = load_tokenizer(), lora_config()
    config.r = run.r
    model = get_peft_model(load_base_model(), config).to(device())
    examples = random.Random(run.seed).sample(git_help.examples("train"), ROWS)
    history = train(
        model,
        tokenizer,
        features(tokenizer, examples),
        epochs=run.epochs,
        batch_size=run.batch_size,
        learning_rate=run.learning_rate,
        loss=fused.loss,
        seed=run.seed,
        progress=False,
    )
    result = {"last_losses": [round(loss, 4) for loss in history.loss[-10:]], "seconds": round(history.seconds, 1)}
    for split in ("validation", "test"):
        asked = git_help.examples(split)
        answers = evaluate(model, tokenizer, prompts(tokenizer, asked), batch_size=64, max_new_tokens=LONGEST)
        result[split] = scores(answers, asked)
    return result


def main() -> None:
    """Run a share of what is missing, or show how far it is."""
    words = sys.argv[1:]
    done = {key(record["run"]) for record in recorded(RECORD)}
    if words == ["list"]:
        print(f"{sum(key(asdict(run)) in done for run in runs())} of {len(runs())} runs recorded")
        return
    for run in share_of(runs(), words):  # of all, recorded or not: processes that start later have the same shares
        if key(asdict(run)) not in done:
            append(RECORD, {"run": asdict(run), **execute(run), "machine": machine()})
            release_memory()


if __name__ == "__main__":
    main()
