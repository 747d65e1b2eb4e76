"""Pairs of a right and a wrong answer, which the checker of cron tells apart. Notebook 11 trains and tests DPO on them.

`python -m experiments.preferences` asks the recorded run of notebook 08, adapters/run, phrases that its training never
had, and writes results/preferences.json: those of the training set that it answers wrongly, and a held-out set with
all answers.
"""

import json

from peft import PeftModel

from experiments.common import device
from experiments.machine import machine
from experiments.notebook_run import RECIPE, RESCUE
from lorautils import setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate
from lorautils.results import RESULTS
from lorautils.tasks import cron
from lorautils.tasks.cron import Example, cron_prompt

ASKED, HELD_OUT = 300, 100  # phrases


def phrases() -> tuple[list[Example], list[Example]]:
    """Return the phrases for training and the held-out ones; no text occurs twice, or in the run's own training."""
    share = RECIPE["human_share"]
    seen = {cron.normalized(example.text) for example in cron.train_examples(RECIPE["examples"], 0, share)}
    train = [e for e in cron.train_examples(ASKED, 11, share) if cron.normalized(e.text) not in seen]
    seen |= {cron.normalized(example.text) for example in train}
    held_out = [e for e in cron.train_examples(ASKED, 12, share) if cron.normalized(e.text) not in seen]
    return train, held_out[:HELD_OUT]


def rows(examples: list[Example], answers: list[str]) -> list[dict]:
    """Return one row a phrase: what is right, what the model answered, and whether that does the same."""
    return [
        {"text": e.text, "cron": e.cron, "answer": answer, "right": cron.equivalent(answer, e.cron)}
        for e, answer in zip(examples, answers, strict=True)
    ]


def main() -> None:
    """Ask, check, record."""
    setup(0)
    model = PeftModel.from_pretrained(load_base_model(), RESCUE).to(device()).eval()
    train, held_out = (
        rows(examples, evaluate(model, load_tokenizer(), [cron_prompt(e.text) for e in examples], max_new_tokens=16))
        for examples in phrases()
    )
    wrong = [row for row in train if not row["right"]]
    record = {"asked": len(train), "wrong": wrong, "held_out": held_out, "machine": machine()}
    (RESULTS / "preferences.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
