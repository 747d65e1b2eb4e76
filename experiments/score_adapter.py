"""Score the shipped adapter on the six tests: `python -m experiments.score_adapter`.

Six minutes on a laptop CPU. With --record the counts go to results/adapter_scores.json. Test-E and Test-F also hold
what five fields cannot say: there the right answer is to refuse, and of their schedules none should be refused.
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
    none = {}
    for test in "EF":
        name = f"test_{test.lower()}"
        counts[test] = scores_with_refusals(model, tokenizer, cron.hand_written(name, "schedule"))
        none[test] = scores_with_refusals(model, tokenizer, cron.hand_written(name, "none"))
    print(score_table(counts))
    for test, refusals in none.items():
        print(f"Test-{test}: refused, of its schedules: {percent(counts[test]['refused'], counts[test]['n'])}")
        print(f"        of what five fields cannot say: {percent(refusals['refused'], refusals['n'])}")
    if options.record:
        refused = {test: {"n": counted["n"], "refused": counted["refused"]} for test, counted in none.items()}
        result = {"machine": machine(), "scores": counts, "none": refused}
        (RESULTS / "adapter_scores.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
