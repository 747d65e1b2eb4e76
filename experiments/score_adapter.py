"""Score the shipped adapter on the five tests: `python -m experiments.score_adapter`.

Four minutes on a laptop CPU. With --record the counts go to results/adapter_scores.json. Test-E also holds what five
fields cannot say: there the right answer is to refuse, and of its schedules none should be refused.
"""

import argparse
import json

from experiments.common import scores, scores_with_refusals
from experiments.machine import machine
from lorautils import setup
from lorautils.evaluation import load_adapter
from lorautils.results import RESULTS, percent, score_table
from lorautils.tasks import cron


def main() -> None:
    """Score an adapter and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", default=cron.ADAPTER, help="folder of the adapter (default: adapters/cron)")
    parser.add_argument("--record", action="store_true", help="write results/adapter_scores.json")
    options = parser.parse_args()
    setup()
    model, tokenizer = load_adapter(options.adapter)
    counts = scores(model, tokenizer)
    counts["E"] = scores_with_refusals(model, tokenizer, cron.hand_written("test_e", "schedule"))
    none = scores_with_refusals(model, tokenizer, cron.hand_written("test_e", "none"))
    print(score_table(counts))
    print(f"refused, of what five fields cannot say: {percent(none['refused'], none['n'])}")
    print(f"refused, of Test-E's schedules: {percent(counts['E']['refused'], counts['E']['n'])}")
    if options.record:
        result = {"machine": machine(), "scores": counts, "none": {"n": none["n"], "refused": none["refused"]}}
        (RESULTS / "adapter_scores.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
