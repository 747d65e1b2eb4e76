"""The run of notebook 08 over several seeds, beside full fine-tuning and what needs no training.

`python -m experiments.notebook_run LoRA 0` appends one line to results/notebook_run.jsonl. The first word is one of
TRAININGS or of UNTRAINED; the second is the seed. `rescue 0` trains LoRA and saves it in
adapters/run, from which notebook 08 goes on where its training is too slow.
"""

import argparse
import json
from dataclasses import asdict

from peft import get_peft_model

from experiments.common import append, device, outcome, plain_text, scores, tests, train
from experiments.forgetting import skills, text_losses
from experiments.machine import machine
from experiments.train_adapter import save_bf16
from experiments.train_orders import BASE
from lorautils import ROOT, setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate, text_loss
from lorautils.results import RESULTS
from lorautils.scaling import fused
from lorautils.tasks import cron
from lorautils.tasks.baselines import by_rules, instructed
from lorautils.tasks.cron import cron_pairs
from lorautils.training import History, lora_config, plain_loss

RECORD, RESCUE = RESULTS / "notebook_run.jsonl", ROOT / "adapters" / "run"
RECIPE = {"examples": 2640, "human_share": 0.6, "epochs": 1, "batch_size": 8, "learning_rate": 2e-3}
TRAININGS = {
    "LoRA": RECIPE,
    "LoRA with replay": RECIPE,
    "full fine-tuning": RECIPE | {"learning_rate": 4e-4},  # its best rate on the validation split
    "full, half rate": RECIPE | {"learning_rate": 2e-4},
    "long run": RECIPE | {"examples": 3200, "epochs": 3},
}
REPLAYED = 1 / 20  # of the pairs, where plain text is mixed in
UNTRAINED = ("untouched", "few-shot", "nearest", "rules")
LOOKS = 6  # at the held-out loss, in a training


def recipe_of(kind: str) -> dict:
    """Return the recipe of a kind of run; without a training, its examples are those that are looked up."""
    return TRAININGS.get(kind, RECIPE)


def held_out() -> list[cron.Example]:
    """Return the cases that a training looks at and never learns: each fifth of two kinds of the validation split."""
    return [case for kind in ("hand", "library") for case in cron.hand_written("validation", kind)[::5]]


def run(model, tokenizer, recipe: dict, seed: int, replayed: int = 0) -> History:
    """Train as notebook 08 does, and give the model the state in which the held-out loss was lowest."""
    settings = dict(recipe)
    examples = cron.train_examples(settings.pop("examples") - replayed, seed, settings.pop("human_share"))
    pairs = cron_pairs(examples) + (plain_text(replayed) if replayed else [])
    steps = -(-len(pairs) // recipe["batch_size"]) * recipe["epochs"]
    loss = fused.loss if hasattr(model, "peft_config") else plain_loss
    looks = {"held_out": cron_pairs(held_out()), "held_out_steps": steps // LOOKS, "keep_best": True}
    return train(model, tokenizer, pairs, **settings, **looks, loss=loss, seed=seed)


def trained(kind: str, seed: int, recipe: dict) -> dict:
    """Train LoRA or all weights, and return scores and forgetting."""
    setup(seed)
    tokenizer, model = load_tokenizer(), load_base_model()
    if not kind.startswith("full"):
        model = get_peft_model(model, lora_config())
    replayed = round(REPLAYED * recipe["examples"]) if kind == "LoRA with replay" else 0
    history = run(model.to(device()), tokenizer, recipe, seed, replayed)
    return {**outcome(model, tokenizer, history), "held_out": history.held_out}


def untrained(kind: str, seed: int) -> dict:
    """Score what needs no training: the base as it is, a prompt with the nearest examples, a look-up, and rules."""
    setup(seed)
    known = cron.train_examples(RECIPE["examples"], seed, RECIPE["human_share"])
    if kind in ("nearest", "rules"):
        by_look_up = {name: cron.nearest_neighbour(known, [e.text for e in cases]) for name, cases in tests().items()}
        by_rule = {name: [by_rules(e.text) for e in cases] for name, cases in tests().items()}
        answers = by_rule if kind == "rules" else by_look_up
        return {"scores": {name: cron.score(answers[name], cases)._asdict() for name, cases in tests().items()}}
    model, tokenizer = load_base_model(), load_tokenizer()
    model.to(device())
    if kind == "untouched":
        english, tokens = text_loss(model, tokenizer, texts.read("english"))
        return {
            "scores": scores(model, tokenizer),
            "english_loss": english,
            "english_tokens": tokens,
            "text_losses": text_losses(model, tokenizer),
            "skills": skills(model, tokenizer),
        }
    counts = {}
    for name, cases in tests().items():
        prompts = instructed(known, [e.text for e in cases])
        counts[name] = cron.score(evaluate(model, tokenizer, prompts), cases)._asdict()
    return {"scores": counts}


CARD = """---
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: peft
license: apache-2.0
---
# English to cron, one run of notebook 08

From which notebook 08 goes on where its training is too slow. Made by `python -m experiments.notebook_run rescue 0`;
`training.json` holds the recipe, the seed, the losses and the machine. The adapter that answers well is adapters/cron.
"""


def rescue(seed: int) -> None:
    """Train LoRA once and save it with what notebook 08 shows of a training, in bf16: 5 MB."""
    setup(seed)
    tokenizer, model = load_tokenizer(), get_peft_model(load_base_model(), lora_config())
    history = run(model.to(device()), tokenizer, RECIPE, seed)
    record = {"recipe": RECIPE, "seed": seed, "history": asdict(history), "machine": machine()}
    model.peft_config["default"].base_model_name_or_path = BASE  # not a folder of this machine
    save_bf16(model, RESCUE)
    (RESCUE / "README.md").write_text(CARD)
    (RESCUE / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Run one kind with one seed and append the result, or make the rescue adapter."""
    parser = argparse.ArgumentParser(prog="python -m experiments.notebook_run")
    parser.add_argument("kind", choices=[*TRAININGS, *UNTRAINED, "rescue"])
    parser.add_argument("seed", type=int)
    kind, seed = vars(parser.parse_args()).values()
    if kind == "rescue":
        return rescue(seed)
    result = trained(kind, seed, recipe_of(kind)) if kind in TRAININGS else untrained(kind, seed)
    append(RECORD, {"kind": kind, "seed": seed, "recipe": recipe_of(kind), **result, "machine": machine()})


if __name__ == "__main__":
    main()
