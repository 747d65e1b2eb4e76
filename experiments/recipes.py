"""Which recipe serves notebook 08: trainings of equally many steps, judged on the validation split alone.

`python -m experiments.recipes [I/N]` runs what is missing (share I of N, so that N processes can share a GPU) and
appends to results/recipes.jsonl; `list` shows the mean of the seeds of each recipe. No test is looked at.
"""

import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import product

from peft import get_peft_model

from experiments.common import append, device, key, plain_text, recorded, share_of, train, validation_scores
from experiments.machine import machine
from lorautils import release_memory, setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import text_loss
from lorautils.results import RESULTS
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs
from lorautils.training import batches_of, held_out_loss, lora_config

RECORD = RESULTS / "recipes.jsonl"
STEPS = 240  # what two cores do in some five minutes, eight short rows a step


@dataclass(frozen=True)
class Recipe:
    """One training of STEPS steps; `replay` is the share of plain text among its pairs."""

    learning_rate: float
    human_share: float = 0.6
    batch_size: int = 8
    epochs: int = 1
    replay: float = 0.0
    method: str = "LoRA"
    seed: int = 0

    @property
    def pairs(self) -> int:
        """Return how many different pairs fill the steps."""
        return STEPS * self.batch_size // self.epochs


def recipes() -> list[Recipe]:
    """Return all recipes: rates and shares, full fine-tuning, smaller batches, fewer pairs more often, replay."""
    runs = []
    for seed in (0, 1):
        runs += [Recipe(rate, seed=seed) for rate in (1.5e-3, 2e-3, 3e-3, 4e-3)]
        runs += [Recipe(2e-3, share, seed=seed) for share in (0.45, 0.75, 0.9)]
        runs += [Recipe(rate, share, seed=seed) for rate, share in ((3e-3, 0.3), (3e-3, 0.9), (1.5e-3, 0.75))]
        runs += [Recipe(rate, batch_size=4, seed=seed) for rate in (2e-3, 3e-3)]
        runs += [Recipe(rate, epochs=3, seed=seed) for rate in (2e-3, 3e-3)]
        runs += [Recipe(rate, replay=share, seed=seed) for rate, share in product((2e-3, 3e-3), (0.05, 0.1))]
        runs += [Recipe(2e-3, 0.75, replay=0.05, seed=seed)]
        runs += [Recipe(rate, method="full fine-tuning", seed=seed) for rate in (5e-5, 1e-4, 2e-4, 4e-4, 8e-4)]
    for seed in (2, 3, 4):
        runs += [Recipe(rate, replay=share, seed=seed) for rate, share in product((2e-3, 3e-3), (0.0, 0.1))]
        runs += [Recipe(rate, method="full fine-tuning", seed=seed) for rate in (2e-4, 4e-4, 8e-4)]
    return runs


def training_pairs(recipe: Recipe) -> list:
    """Return the pairs of a recipe."""
    replayed = round(recipe.replay * recipe.pairs)
    examples = cron.train_examples(recipe.pairs - replayed, recipe.seed, recipe.human_share)
    return cron_pairs(examples) + (plain_text(replayed) if replayed else [])


def execute(recipe: Recipe) -> dict:
    """Train and measure one recipe: right answers and loss on the validation split, loss on English."""
    setup(recipe.seed)
    tokenizer, model = load_tokenizer(), load_base_model()
    if recipe.method == "LoRA":
        model = get_peft_model(model, lora_config())
    settings = {"epochs": recipe.epochs, "batch_size": recipe.batch_size, "learning_rate": recipe.learning_rate}
    history = train(model.to(device()), tokenizer, training_pairs(recipe), **settings, seed=recipe.seed, progress=False)
    kinds = {kind: cron_pairs(cron.hand_written("validation", kind)) for kind in ("hand", "library")}
    losses = {kind: held_out_loss(model, batches_of(tokenizer, pairs)) for kind, pairs in kinds.items()}
    english, tokens = text_loss(model, tokenizer, texts.read("english"))
    return {
        "steps": history.steps,
        "trained_tokens": history.trained_tokens,
        "seconds": round(history.seconds, 1),
        "last_losses": [round(loss, 4) for loss in history.loss[-10:]],
        "validation": validation_scores(model, tokenizer),
        "validation_losses": {kind: round(loss, 4) for kind, loss in losses.items()},
        "english_loss": round(english, 4),
        "english_tokens": tokens,
    }


def table(records: list[dict]) -> str:
    """Return a line for each recipe: right answers (%) and losses on the validation split, the means of its seeds."""
    same = defaultdict(list)
    for record in records:
        same[key(record["recipe"] | {"seed": None})].append(record)
    lines = ["   hand library   loss: hand library English  seeds  recipe"]
    for runs in same.values():
        kinds = [(run["validation"], run["validation_losses"], run["english_loss"]) for run in runs]
        right = [sum(v[k]["equivalent"] / v[k]["n"] for v, _, _ in kinds) for k in ("hand", "library")]
        losses = [sum(loss[k] for _, loss, _ in kinds) for k in ("hand", "library")] + [sum(e for *_, e in kinds)]
        shares = "".join(f"{100 * share / len(runs):7.1f}" for share in right)
        means = "".join(f"{loss / len(runs):8.2f}" for loss in losses)
        lines.append(f"{shares}     {means}{len(runs):7}  {runs[0]['recipe']}")
    return "\n".join(lines)


def main() -> None:
    """Run a share of what is missing, or show what is recorded."""
    records, share = recorded(RECORD), sys.argv[1:]
    if share == ["list"]:
        print(table(records))
        return
    done = {key(record["recipe"]) for record in records}
    for recipe in share_of(recipes(), share):
        if key(asdict(recipe)) not in done:
            append(RECORD, {"recipe": asdict(recipe), **execute(recipe), "machine": machine()})
            release_memory()


if __name__ == "__main__":
    main()
