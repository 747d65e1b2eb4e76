"""What a second task does to the first: schedules -> cron, then orders -> JSON, five ways. Notebook 11 plots it.

`python -m experiments.second_task [I/N]` runs what is missing (share I of N, so that N processes can share a GPU) and
appends to results/second_task.jsonl. Each run scores both tasks, and the English text, after the first training and
after the second.
"""

import sys
from itertools import product

from peft import get_peft_model

from experiments.common import append, device, share_of, train
from experiments.common import recorded as lines
from experiments.machine import machine
from lorautils import release_memory, setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate, text_loss
from lorautils.results import RESULTS
from lorautils.tasks import cron, orders
from lorautils.tasks.cron import cron_pairs, cron_prompt
from lorautils.training import lora_config

RECORD = RESULTS / "second_task.jsonl"
SEEDS = range(5)
EXAMPLES, KEPT = 400, 40  # of each task; of the first task, kept for the second training
RATES = {"full fine-tuning": 2e-4}  # the best of the grid in sweeps.jsonl; every other way has notebook 08's 2e-3
WAYS = ["same adapter", "same adapter, a tenth of the first task kept", "merged, then a new adapter", "new adapter"]
WAYS += list(RATES)


def scored(model, tokenizer, cases: int = 200) -> dict:
    """Return exact answers to `cases` schedules and half as many orders, and the loss on English text."""
    schedules, requests = cron.test_a(cases), orders.held_out(cases // 2)["combinations"]
    expressions = evaluate(model, tokenizer, [cron_prompt(case.text) for case in schedules], batch_size=256)
    prompts = [orders.order_prompt(case.text) for case in requests]
    answers = evaluate(model, tokenizer, prompts, max_new_tokens=orders.ANSWER_TOKENS, batch_size=256)
    return {
        "cron": {"n": cases, "exact": cron.score(expressions, schedules).exact},
        "orders": {"n": len(requests), "exact": orders.score(answers, requests).exact},
        "english_loss": round(text_loss(model, tokenizer, texts.read("english"))[0], 4),
    }


def ready_for_the_second(model, way: str):
    """Return the model as it goes into the second training, after the first."""
    if way == "merged, then a new adapter":
        return get_peft_model(model.merge_and_unload(), lora_config())
    if way == "new adapter":
        model.add_adapter("second", lora_config())
        model.set_adapter("second")
    return model


def execute(way: str, seed: int) -> dict:
    """Train the first task, score, train the second, score."""
    setup(seed)
    tokenizer, model = load_tokenizer(), load_base_model()
    first = cron_pairs(cron.train_examples(EXAMPLES, seed=seed))
    second = orders.order_pairs(orders.train_examples(EXAMPLES, seed=seed))
    if "kept" in way:
        second += first[:KEPT]
    options = {"learning_rate": RATES.get(way, 2e-3), "seed": seed, "progress": False}
    model = model if way in RATES else get_peft_model(model, lora_config())
    train(model.to(device()), tokenizer, first, **options)
    after_first = scored(model, tokenizer)
    model = ready_for_the_second(model, way)
    train(model.to(device()), tokenizer, second, **options)
    after_second = scored(model, tokenizer)
    if way == "new adapter":  # each task with the adapter of its own
        model.set_adapter("default")
        after_second["cron"] = scored(model, tokenizer)["cron"]
    return {"after_first": after_first, "after_second": after_second}


def main() -> None:
    """Run a share of what is missing."""
    done = {(record["way"], record["seed"]) for record in lines(RECORD)}
    for way, seed in share_of(list(product(WAYS, SEEDS)), sys.argv[1:]):
        if (way, seed) not in done:
            append(RECORD, {"way": way, "seed": seed, **execute(way, seed), "machine": machine()})
            release_memory()


if __name__ == "__main__":
    main()
