"""What ten phrases of a reader's own trade cost a run of notebook 08, on whole tests: its section *Teach it*.

`python -m experiments.lessons [I/N]` teaches `adapters/run` what is missing of five trades and three seeds (share I of
N, so that N processes can share a GPU) and appends to results/lessons.jsonl; `list` shows which runs there are.
A trade of data/lessons.json is ten phrases, each with its expression and two paraphrases, which are only asked.
"""

import json
import sys
from itertools import product
from pathlib import Path

from experiments.common import append, device, recorded, scores, share_of, train
from experiments.machine import machine
from experiments.notebook_run import RECIPE, RESCUE
from lorautils import release_memory, setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate, put_adapter, text_loss
from lorautils.results import RESULTS
from lorautils.scaling import fused
from lorautils.tasks import cron
from lorautils.tasks.cron import Example, cron_pairs, cron_prompt

RECORD, DATA = RESULTS / "lessons.jsonl", Path(__file__).parent / "data" / "lessons.json"
TRADES = json.loads(DATA.read_text(encoding="utf-8"))
SEEDS = range(3)
OLD, TIMES = 40, 15  # examples that the run has read; how often the lesson holds each new phrase
RATE = RECIPE["learning_rate"] / 2


def taught(trade: str) -> list[Example]:
    """Return the ten phrases that a trade teaches."""
    return [Example(phrase, answer, "own") for phrase, (answer, *_) in TRADES[trade].items()]


def paraphrases(trade: str) -> list[Example]:
    """Return what is only asked: other ways to say the ten."""
    return [Example(text, answer, "own") for answer, *more in TRADES[trade].values() for text in more]


def lesson(trade: str, seed: int) -> list[Example]:
    """Return what is trained: seed 0 repeats the old examples of the notebook, the others the next ones."""
    old = cron.train_examples(RECIPE["examples"], 0, RECIPE["human_share"])[OLD * seed :][:OLD]
    return old + TIMES * taught(trade)


def measured(model, tokenizer, trade: str) -> dict:
    """Return the counts of the four tests, of the ten phrases and of their paraphrases, and the loss on English."""
    counts = scores(model, tokenizer, batch_size=256)
    for name, cases in {"taught": taught(trade), "paraphrases": paraphrases(trade)}.items():
        answers = evaluate(model, tokenizer, [cron_prompt(case.text) for case in cases])
        counts[name] = cron.score(answers, cases)._asdict()
    return {"scores": counts, "english_loss": round(text_loss(model, tokenizer, texts.read("english"))[0], 4)}


def execute(trade: str, seed: int) -> dict:
    """Teach the recorded run one trade, as notebook 08 does, and measure it before and after."""
    setup(seed)
    tokenizer, model = load_tokenizer(), put_adapter(load_base_model(), RESCUE, trained=True).to(device())
    before = measured(model, tokenizer, trade)
    settings = {"epochs": 1, "learning_rate": RATE, "loss": fused.loss, "seed": seed, "progress": False}
    history = train(model, tokenizer, cron_pairs(lesson(trade, seed)), **settings)
    after = measured(model, tokenizer, trade)
    return {"before": before, "after": after, "steps": history.steps, "seconds": round(history.seconds, 1)}


def main() -> None:
    """Run a share of what is missing, or show what is recorded."""
    words, runs = sys.argv[1:], list(product(TRADES, SEEDS))
    done = {(record["trade"], record["seed"]) for record in recorded(RECORD)}
    if words == ["list"]:
        for trade, seed in runs:
            print("recorded" if (trade, seed) in done else "missing ", trade, seed)
        return
    for trade, seed in share_of(runs, words):
        if (trade, seed) not in done:
            append(RECORD, {"trade": trade, "seed": seed, **execute(trade, seed), "machine": machine()})
            release_memory()


if __name__ == "__main__":
    main()
