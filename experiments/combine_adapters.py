"""What is left of two tasks when their adapters are combined. Notebook 11 plots it.

`python -m experiments.combine_adapters [CASES]` writes results/combined_adapters.json: exact answers to CASES questions
of each task, for mixtures (1 - w) cron + w orders, for the sum, and for PEFT's three ways to make one adapter of two.
"""

import json
import sys

from peft import PeftModel

from experiments.common import device
from experiments.machine import machine
from lorautils import setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate
from lorautils.results import RESULTS
from lorautils.tasks import cron, orders
from lorautils.tasks.cron import ADAPTER, cron_prompt

CASES = 100
MIXTURES = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
SETTINGS = [("cat", round(1 - w, 1), w) for w in MIXTURES]
SETTINGS += [("linear", 0.5, 0.5), ("svd", 0.5, 0.5)] + [(kind, 1.0, 1.0) for kind in ("cat", "linear", "svd")]


def two_adapters() -> PeftModel:
    """Return the base model with both adapters of the course."""
    model = PeftModel.from_pretrained(load_base_model(), ADAPTER, adapter_name="cron")
    model.load_adapter(orders.ADAPTER, adapter_name="orders")
    return model.to(device()).eval()


def exact(model: PeftModel, tokenizer, cases: int) -> dict[str, int]:
    """Return how many answers to each task are exact with the adapter that is active."""
    schedules, requests = cron.test_a(cases), orders.held_out(cases)["combinations"]
    expressions = evaluate(model, tokenizer, [cron_prompt(case.text) for case in schedules], max_new_tokens=24)
    answers = evaluate(model, tokenizer, [orders.order_prompt(case.text) for case in requests], max_new_tokens=96)
    return {"cron": cron.score(expressions, schedules).exact, "orders": orders.score(answers, requests).exact}


def main(cases: int) -> None:
    """Combine, score, record."""
    setup(0)
    model, tokenizer, rows = two_adapters(), load_tokenizer(), []
    for kind, for_cron, for_orders in SETTINGS:
        options = {"combination_type": kind, "svd_full_matrices": False}
        model.add_weighted_adapter(["cron", "orders"], [for_cron, for_orders], "both", **options)
        model.set_adapter("both")
        row = {"kind": kind, "weights": [for_cron, for_orders], "exact": exact(model, tokenizer, cases)}
        rows.append(row)
        print(row, flush=True)
        model.delete_adapter("both")
    record = {"cases": cases, "settings": rows, "machine": machine()}
    (RESULTS / "combined_adapters.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CASES)
