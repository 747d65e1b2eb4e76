"""The run of notebook 08 over several seeds, beside full fine-tuning and the baselines without training.

`python -m experiments.notebook_run LoRA 0` appends one line to results/notebook_run.jsonl. The first word is one of
LoRA, "full fine-tuning", untouched, few-shot, nearest; the second is the seed.
"""

import sys

from peft import get_peft_model

from experiments.common import append, device, outcome, scores, tests
from experiments.machine import machine
from lorautils import setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate, text_loss
from lorautils.results import RESULTS
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs, few_shot_prompt
from lorautils.training import lora_config, train

EXAMPLES = 400
LORA_LEARNING_RATE = 2e-3
FULL_LEARNING_RATE = 2e-4


def train_examples(seed: int) -> list[cron.Example]:
    """Return the training set of notebook 08 for one seed."""
    return cron.train_examples(EXAMPLES, seed=seed)


def trained(kind: str, seed: int, learning_rate: float | None = None) -> dict:
    """Train LoRA or all weights on the notebook's examples, and return scores and forgetting."""
    setup(seed)
    tokenizer, model = load_tokenizer(), load_base_model()
    if kind == "LoRA":
        model = get_peft_model(model, lora_config())
    rate = learning_rate or (LORA_LEARNING_RATE if kind == "LoRA" else FULL_LEARNING_RATE)
    history = train(model.to(device()), tokenizer, cron_pairs(train_examples(seed)), learning_rate=rate, seed=seed)
    return {"learning_rate": rate, **outcome(model, tokenizer, history)}


def untrained(kind: str, seed: int) -> dict:
    """Score the base model as it is, with four examples in its prompt, or a look-up of the nearest example."""
    setup(seed)
    shots = train_examples(seed)
    if kind == "nearest":
        answers = {name: cron.nearest_neighbour(shots, [e.text for e in cases]) for name, cases in tests().items()}
        return {"scores": {name: cron.score(answers[name], cases)._asdict() for name, cases in tests().items()}}
    model, tokenizer = load_base_model(), load_tokenizer()
    model.to(device())
    if kind == "untouched":
        english, tokens = text_loss(model, tokenizer, texts.read("english"))
        return {"scores": scores(model, tokenizer), "english_loss": english, "english_tokens": tokens}
    counts = {}
    for name, cases in tests().items():
        answers = evaluate(model, tokenizer, [few_shot_prompt(shots[:4], e.text) for e in cases])
        counts[name] = cron.score(answers, cases)._asdict()
    return {"scores": counts}


def main() -> None:
    """Run one kind with one seed and append the result."""
    kind, seed = sys.argv[1], int(sys.argv[2])
    rate = float(sys.argv[3]) if len(sys.argv) > 3 else None
    result = trained(kind, seed, rate) if kind in ("LoRA", "full fine-tuning") else untrained(kind, seed)
    append(RESULTS / "notebook_run.jsonl", {"kind": kind, "seed": seed, **result, "machine": machine()})


if __name__ == "__main__":
    main()
