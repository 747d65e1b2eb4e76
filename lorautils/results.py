"""Read the results that experiments/ recorded, and print scores with their intervals.

Every notebook that shows a recorded number uses it. A score is a count out of n, shown with its 95 % Wilson interval.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from lorautils.cron import wilson_interval

RESULTS = Path(__file__).parent.parent / "experiments" / "results"


def read(name: str) -> dict | list[dict]:
    """Return a recorded result: a dictionary from a .json file, a list of dictionaries from a .jsonl file.

    Raises:
        OSError: there is no such result.
    """
    path = RESULTS / name
    if not path.is_file():
        known = ", ".join(sorted(p.name for p in RESULTS.glob("*.json*"))) or "none"
        raise FileNotFoundError(
            f"no recorded result {name!r} in {RESULTS.name}/ (there: {known}); see experiments/README.md"
        )
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def percent(successes: int, n: int) -> str:
    """Return a share in per cent with its 95 % Wilson interval, such as '90 % (80-95)'."""
    low, high = wilson_interval(successes, n)
    return f"{successes / n:.0%} ({100 * low:.0f}-{100 * high:.0f})".replace("%", " %")


def score_table(scores: Mapping[str, Mapping[str, int]]) -> str:
    """Return one line a test, from counts as cron.score gives them: {"A": {"n": 60, "exact": 54, ...}, ...}."""
    lines = [f"{'':8}{'cases':>6}{'exact':>18}{'equivalent':>18}{'valid':>18}"]
    for name, score in scores.items():
        cells = "".join(f"{percent(score[measure], score['n']):>18}" for measure in ("exact", "equivalent", "valid"))
        lines.append(f"Test-{name:3}{score['n']:>6}{cells}")
    return "\n".join(lines)
