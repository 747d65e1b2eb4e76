"""Read the results that experiments/ recorded, and print scores with their intervals.

Every notebook that shows a recorded number uses it. A score is a count out of n, shown with its 95 % Wilson interval.
"""

import json
from collections.abc import Iterable, Mapping
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


def pooled(runs: Iterable[Mapping], measure: str = "exact") -> dict[str, tuple[int, int]]:
    """Add up the counts of several runs, such as seeds: {"A": (successes, cases), ...}."""
    total: dict[str, tuple[int, int]] = {}
    for run in runs:
        for test, score in run["scores"].items():
            successes, n = total.get(test, (0, 0))
            total[test] = (successes + score[measure], n + score["n"])
    return total


def intervals(counts: Mapping[str, tuple[int, int]]) -> dict[str, tuple[float, float, float]]:
    """Turn pooled counts into shares with their 95 % Wilson intervals, for plots: {"Test-A": (share, low, high)}."""
    return {f"Test-{test}": (successes / n, *wilson_interval(successes, n)) for test, (successes, n) in counts.items()}


def comparison(recorded: Mapping[str, Mapping[str, tuple[int, int]]]) -> str:
    """Return a table of pooled counts, one line a method and one column a test."""
    tests = list(next(iter(recorded.values())))
    lines = [" " * 18 + "".join(f"{'Test-' + test:>16}" for test in tests)]
    for method, counts in recorded.items():
        lines.append(f"{method:18}" + "".join(f"{percent(*counts[test]):>16}" for test in tests))
    return "\n".join(lines)


def score_table(scores: Mapping[str, Mapping[str, int]]) -> str:
    """Return one line a test, from counts as cron.score gives them: {"A": {"n": 60, "exact": 54, ...}, ...}."""
    lines = [f"{'':8}{'cases':>6}{'exact':>18}{'equivalent':>18}{'valid':>18}"]
    for name, score in scores.items():
        cells = "".join(f"{percent(score[measure], score['n']):>18}" for measure in ("exact", "equivalent", "valid"))
        lines.append(f"Test-{name:3}{score['n']:>6}{cells}")
    return "\n".join(lines)
