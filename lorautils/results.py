"""Read the results that experiments/ recorded, and print scores with their intervals.

Every notebook that shows a recorded number uses it; notebook 09 explains which interval is honest.
One model: a count out of n with its 95 % Wilson interval. Several seeds: mean ± t s / sqrt(seeds), Student's interval.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from lorautils import ROOT

RESULTS = ROOT / "experiments" / "results"


def read(name: str) -> dict | list[dict]:
    """Return a recorded result: a dictionary from a .json file, a list of dictionaries from a .jsonl file.

    OSError names the results that there are.

    Example:
        >>> read("notebooks.json")["00_start_here"]["title"]
        '00 · Start here: what LoRA buys'
    """
    known = sorted(path.name for path in RESULTS.glob("*.json*"))
    if name not in known:
        raise FileNotFoundError(f"no recorded result {name!r} (there: {', '.join(known)}); see experiments/README.md")
    text = (RESULTS / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a share (E. B. Wilson, 1927); ValueError unless 0 <= successes <= n and n > 0.

    Example:
        >>> [round(end, 2) for end in wilson_interval(54, 60)]
        [0.8, 0.95]
    """
    if not 0 <= successes <= n or n == 0:  # newer versions of scipy answer with nan
        raise ValueError(f"{successes} of {n} is no share: it must lie between 0 and n, and n above 0")
    low, high = stats.binomtest(successes, n).proportion_ci(method="wilson")
    return float(low), float(high)


def percent(successes: int, n: int) -> str:
    """Return a share in per cent with its 95 % Wilson interval, such as '90 % (80-95)'.

    Example:
        >>> percent(54, 60)
        '90 % (80-95)'
    """
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


class Interval(NamedTuple):
    """A mean over seeds with its 95 % interval; the ends are nan where there is only one seed."""

    mean: float
    low: float
    high: float


def over_seeds(values: Sequence[float]) -> Interval:
    """Return mean and 95 % interval of what several seeds gave: mean ± t s / sqrt(n), with t for n - 1 freedoms.

    Source: Student, The probable error of a mean, 1908; `scipy.stats.t`. ValueError if there are no values.

    Example:
        >>> mean, low, high = over_seeds([90.0, 92.0, 94.0])
        >>> mean, round(low), round(high)
        (92.0, 87, 97)
    """
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


class Verdict(NamedTuple):
    """The answer to a lab's question, computed from its measurement; end a cell with it.

    The notebook then also stores the numbers that it rests on, where tests/test_verdicts.py reads them.
    """

    question: str
    outcome: str  # "yes", "no" or "cannot tell"
    text: str
    measured: float
    threshold: float
    noise: float

    def __repr__(self) -> str:
        return f"Verdict: {self.outcome}. {self.text}"

    def _repr_mimebundle_(self, **given) -> tuple[dict, dict]:
        """Show the sentence, and keep the fields as the output's metadata."""
        return {"text/plain": repr(self)}, {"text/plain": {"verdict": self._asdict()}}


def verdict(
    question: str,
    measured: float | Sequence[float],
    *,
    control: float | Sequence[float],
    by: float = 0.0,
    noise: float | None = None,
    yes: str,
    no: str,
    cannot_tell: str = "{measured:.3g} is too near to {threshold:.3g}: rounding or luck can do {noise:.2g}.",
) -> Verdict:
    """Answer a question of the kind "is it more than the control, by what matters?" from what this run measured.

    Yes if `measured` exceeds the threshold, control + `by`, also after `noise` is taken off; no if it stays below it
    even with the noise; else it cannot be told. `noise` is the size of a difference that means nothing; without it,
    half of Student's 95 % interval: of the differences, where there are as many controls, else of the measurements.
    The texts may use {measured}, {threshold} and {noise}, means as numbers. ValueError asks for the noise of one
    measurement.

    Example:
        >>> print(verdict("Does it hurt?", 3.93, control=3.33, noise=0.1, yes="{measured:.1f} nats.", no="Hardly."))
        Verdict: yes. 3.9 nats.
    """
    values, controls = np.atleast_1d(measured).astype(float), np.atleast_1d(control).astype(float)
    if noise is None:
        if len(values) < 2:
            raise ValueError(f"{question!r} has one measurement and no noise=: give the noise, or several measurements")
        varying = values - controls if len(values) == len(controls) else values
        noise = over_seeds(varying.tolist()).high - varying.mean()
    threshold = controls.mean() + by
    numbers = {"measured": float(values.mean()), "threshold": float(threshold), "noise": float(noise)}
    above = numbers["measured"] - numbers["threshold"]
    outcome = "yes" if above > noise else "no" if above < -noise else "cannot tell"
    text = {"yes": yes, "no": no, "cannot tell": cannot_tell}[outcome]
    return Verdict(question, outcome, text.format(**numbers), **numbers)
