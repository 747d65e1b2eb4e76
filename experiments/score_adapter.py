"""Score the shipped adapter on the three tests: `python -m experiments.score_adapter`.

Two to three minutes on a laptop CPU. With --record the counts go to results/adapter_scores.json.
"""

import argparse
import json

from experiments.common import scores
from experiments.machine import machine
from lorautils import setup
from lorautils.evaluation import load_adapter
from lorautils.results import RESULTS, score_table
from lorautils.tasks.cron import ADAPTER


def main() -> None:
    """Score an adapter and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", default=ADAPTER, help="folder of the adapter (default: adapters/cron)")
    parser.add_argument("--record", action="store_true", help="write results/adapter_scores.json")
    options = parser.parse_args()
    setup()
    counts = scores(*load_adapter(options.adapter))
    print(score_table(counts))
    if options.record:
        result = {"machine": machine(), "scores": counts}
        (RESULTS / "adapter_scores.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
