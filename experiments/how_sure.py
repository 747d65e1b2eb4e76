"""Choose below which probability `lorautils ask` warns: `python -m experiments.how_sure`, eight minutes on a CPU.

Every phrase of the validation split is answered, with the product of the answer's token probabilities. An answer is
right where it fires at the right times, or says NOT_CRON where five fields cannot say it. `lorautils ask` prints only
what is valid cron, so only that can be flagged. The rule: the highest of 0.00, 0.01 ... 0.99 that flags at most one in
ten right answers to what people say. The library's phrasing does not count: nobody types it, and it is hardly ever
flagged. All cases go to results/how_sure.json, and what the threshold then flags of Test-F, which has no part in it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from experiments.machine import machine
from lorautils import setup
from lorautils.evaluation import answers_with_probability, load_adapter
from lorautils.results import RESULTS
from lorautils.tasks import cron

KINDS = ("hand", "library", "none")  # of phrases in the validation split
FLAGGED_RIGHT = 0.1


def judged(model, tokenizer, kind: str, test: str = "validation") -> list[dict]:
    """Answer each phrase of a kind; return it with the answer, its probability, and whether it is right and is cron."""
    examples = cron.hand_written(test, kind)
    prompts = [cron.cron_prompt(example.text) for example in examples]
    answers = answers_with_probability(model, tokenizer, prompts, batch_size=64)
    cases = []
    for example, (answer, probability) in zip(examples, answers, strict=True):
        told = {"kind": kind, "text": example.text, "answer": answer, "probability": round(probability, 4)}
        right = answer == example.cron or cron.equivalent(answer, example.cron)
        cases.append(told | {"right": right, "cron": cron.is_valid(answer)})
    return cases


def flagged(cases: Sequence[dict], threshold: float, kind: str, right: bool) -> tuple[int, int]:
    """Count the right, or wrong, cron answers to a kind of phrase: those less probable than a threshold, and all."""
    printed = [case for case in cases if case["cron"] and case["kind"] == kind and case["right"] == right]
    return sum(case["probability"] < threshold for case in printed), len(printed)


def choose(cases: Sequence[dict]) -> float:
    """Return the highest threshold that flags at most one in ten right answers to what people say."""
    for hundredths in reversed(range(100)):
        count, of = flagged(cases, hundredths / 100, "hand", right=True)
        if count <= FLAGGED_RIGHT * of:
            return hundredths / 100


def table(cases: Sequence[dict], thresholds: Sequence[float]) -> str:
    """Return a line for each threshold: what it flags, of the right and wrong answers to each kind of phrase."""
    columns = [("hand", True), ("hand", False), ("library", True), ("library", False), ("none", False)]
    lines = ["flagged     " + "".join(f"{kind + (', right' if right else ', wrong'):>16}" for kind, right in columns)]
    for threshold in thresholds:
        counts = ["{} of {}".format(*flagged(cases, threshold, kind, right)) for kind, right in columns]
        lines.append(f"below {threshold:.2f}  " + "".join(f"{count:>16}" for count in counts))
    return "\n".join(lines)


def main() -> None:
    """Answer the validation split, record every case, and print what some thresholds flag and the one to choose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", type=Path, default=cron.ADAPTER, help="default: adapters/cron")
    options = parser.parse_args()
    setup()
    model, tokenizer = load_adapter(options.adapter)
    cases = [case for kind in KINDS for case in judged(model, tokenizer, kind)]
    threshold = choose(cases)
    unseen = [case for kind in ("schedule", "none") for case in judged(model, tokenizer, kind, "test_f")]
    test = {
        f"{kind}, {'right' if right else 'wrong'}": flagged(unseen, threshold, kind, right)
        for kind, right in (("schedule", True), ("schedule", False), ("none", False))
    }
    record = {"machine": machine(), "threshold": threshold, "test_f": test, "cases": cases}
    (RESULTS / "how_sure.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for kind in KINDS:
        refused = [case["right"] for case in cases if case["kind"] == kind and not case["cron"]]
        print(f"{kind}: {len(refused)} answers are no cron, {sum(refused)} of them rightly")
    print(table(cases, [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, threshold]))
    print(
        f"chosen: {threshold:.2f}; of Test-F it flags",
        *(f"{of}: {n} of {all_}" for of, (n, all_) in test.items()),
        sep="\n  ",
    )


if __name__ == "__main__":
    main()
