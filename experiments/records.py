"""Read the runs that sweeps.py recorded: select them, group them, compare them, put them into a table.

Notebooks 09 to 11 use it. After `lorautils.setup()` they can import it, since that makes the course's folder known.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from lorautils.results import Interval, over_seeds


def _exact(test: str) -> Callable[[Mapping], float]:
    return lambda run: 100 * run["scores"][test]["exact"] / run["scores"][test]["n"]


def _of_validation(what: str) -> Callable[[Mapping], float]:
    def share(run: Mapping) -> float:
        counts = [run["validation"][kind] for kind in ("hand", "library")]
        return 100 * sum(count[what] for count in counts) / sum(count["n"] for count in counts)

    return share


def _right(counts: Mapping[str, int]) -> float:
    return 100 * counts["right"] / counts["n"]


MEASURES: dict[str, Callable[[Mapping], float]] = {
    **{f"Test-{test}": _exact(test) for test in "ABCD"},  # exact answers in per cent
    "validation": _of_validation("exact"),  # exact answers in per cent, of the split's 300 schedules
    "valid": _of_validation("valid"),  # valid expressions, of the same
    "English": lambda run: run["english_loss"],  # nats per token; the untouched model has 3.33
    "prose": lambda run: run["text_losses"]["prose"],  # nats per token, on some 6,000 tokens each
    "programs": lambda run: run["text_losses"]["code"],  # untouched 1.99
    "dialogue": lambda run: run["text_losses"]["dialogue"],
    "tables": lambda run: run["text_losses"]["tables"],
    "copying": lambda run: _right(run["skills"]["copy"]),  # of random tokens, the second time; untouched 64 %
    "facts": lambda run: _right(run["skills"]["facts"]),  # of forty; untouched 60 %
    "training loss": lambda run: statistics.mean(run["last_losses"]),  # nats per answer token, of the last ten steps
    "held-out loss": lambda run: run["held_out_losses"]["A"],  # nats per answer token, on Test-A
    "stable rank": lambda run: run["update"]["stable_rank"],  # of dW, a mean over the matrices
    "norm": lambda run: run["update"]["norm"],  # of dW, a mean over the matrices
    "git": lambda run: (
        100 * run["test"]["right"] / run["test"]["commands"]
    ),  # of trial.jsonl, right commands in per cent
    "peak memory": lambda run: run["peak_bytes"] / 1e9,  # gigabytes, on the GPU, while training
}


def select(runs: Iterable[Mapping], **wanted) -> list[Mapping]:
    """Return the recorded runs whose configuration has the wanted values: select(runs, r=8, learning_rate=2e-3).

    Raises:
        ValueError: there is no such run.
    """
    found = [run for run in runs if all(run["run"].get(name) == value for name, value in wanted.items())]
    if not found:
        raise ValueError(f"no recorded run has {wanted}: `python -m experiments.sweeps list` shows what is recorded")
    return found


def by(runs: Iterable[Mapping], field: str) -> dict[object, list[Mapping]]:
    """Group recorded runs by one field of their configuration, in the order of its values; a list becomes a tuple."""
    groups: dict[object, list[Mapping]] = {}
    for run in sorted(runs, key=lambda run: run["run"][field]):
        value = run["run"][field]
        groups.setdefault(tuple(value) if isinstance(value, list) else value, []).append(run)
    return groups


def seed_interval(runs: Iterable[Mapping], measure: str = "Test-A") -> Interval:
    """Return mean and 95 % interval over seeds of one of MEASURES, which ends at 0, and for a score at 100 %."""
    mean, low, high = over_seeds([MEASURES[measure](run) for run in runs])
    if not math.isnan(low):
        low, high = max(low, 0.0), min(high, 100.0) if measure.startswith("Test-") else high
    return Interval(mean, low, high)


def seed_intervals(cells: Mapping[object, Iterable[Mapping]], measure: str = "Test-A") -> dict[object, Interval]:
    """Return `seed_interval` of each group of runs, for plots."""
    return {name: seed_interval(runs, measure) for name, runs in cells.items()}


def tuned(runs: Iterable[Mapping]) -> list[Mapping]:
    """Return the runs at the best learning rate: the highest mean of Test-A among the rates with the most seeds."""
    rates = by(runs, "learning_rate").values()
    most = max(len(group) for group in rates)
    return max((group for group in rates if len(group) == most), key=lambda group: seed_interval(group).mean)


def differences(first: Sequence[Mapping], second: Sequence[Mapping], measure: str = "Test-A") -> list[float]:
    """Return by how much `first` is ahead of `second`, one number a seed, in the order of the seeds.

    Raises:
        ValueError: the two do not hold one run of each of the same seeds.
    """
    scores = [{run["run"]["seed"]: MEASURES[measure](run) for run in group} for group in (first, second)]
    if scores[0].keys() != scores[1].keys() or not len(first) == len(second) == len(scores[0]):
        seeds = [sorted(run["run"]["seed"] for run in group) for group in (first, second)]
        raise ValueError(f"seeds {seeds[0]} and {seeds[1]} do not pair up: give one run a seed, the same seeds in both")
    return [scores[0][seed] - scores[1][seed] for seed in sorted(scores[0])]


def paired(first: Sequence[Mapping], second: Sequence[Mapping], measure: str = "Test-A") -> Interval:
    """Return by how much `first` is ahead of `second`, seed by seed: mean and 95 % interval of `differences`.

    Runs of one seed share their examples and the order of them, so part of the luck cancels.
    """
    return over_seeds(differences(first, second, measure))


class Comparison(NamedTuple):
    """A difference: mean with its 95 % interval, p value after Holm, what to say of it, and what could have been seen.

    `word` is "seen" (p after Holm below 0.05), "hint" (below 0.05 only if nothing else had been asked) or "not seen".
    `smallest` is the true difference that four of five such comparisons would have seen. `noise` is how far the mean
    must lie from zero to be seen: half the interval, made wider as Holm asks.
    """

    mean: float
    low: float
    high: float
    p: float
    word: str
    smallest: float
    noise: float = math.nan


def compare(family: Mapping[str, Sequence[float]]) -> dict[str, Comparison]:
    """Judge differences by the course's one rule: family[name] holds one difference a seed, as of two runs of a seed.

    The interval is Student's; where the differences are visibly skewed (eight or more of them, D'Agostino's test below
    0.05) the studentised bootstrap's. All that is asked of one experiment belongs into one family: Holm's correction
    keeps the chance that any "seen" of it is luck at 5 %.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, 1979; B. Efron and R. Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 12; R. D'Agostino, Biometrika 57, 1970 (`scipy.stats.skewtest`).

    Raises:
        ValueError: a comparison has fewer than two differences.

    Example:
        >>> compare({"r = 1 and r = 8": [-7.0, -5.0, -9.0, -8.0, -6.0]})["r = 1 and r = 8"].word
        'seen'
    """
    if few := [name for name, values in family.items() if len(values) < 2]:
        raise ValueError(f"{few[0]!r} has fewer than two differences: give one a seed, of two or more seeds")
    alone = {name: _difference(np.asarray(values, dtype=float)) for name, values in family.items()}
    p = np.array([found[1] for found in alone.values()])
    order, adjusted, asked = np.argsort(p), np.empty(len(p)), np.empty(len(p))
    asked[order] = np.arange(len(p), 0, -1)  # how many questions Holm counts for each
    adjusted[order] = np.minimum(1, np.maximum.accumulate((p * asked)[order]))
    found = {}
    for (name, ((mean, low, high), own, reach)), holm, n in zip(alone.items(), adjusted, asked, strict=True):
        word = "seen" if holm < 0.05 else "hint" if own < 0.05 else "not seen"
        smallest = _smallest(family[name], 0.05 / len(family))
        found[name] = Comparison(mean, low, high, float(holm), word, smallest, reach(0.05 / n))
    return found


def family(pairs: Mapping[str, tuple[Sequence[Mapping], Sequence[Mapping]]], *measures: str) -> dict[str, list[float]]:
    """Return the differences of pairs of settings in some measures, for `compare`: found["r = 1 minus r = 8, Test-A"].

    With a single measure, its name is left out.
    """
    return {
        name if len(measures) == 1 else f"{name}, {measure}": differences(*cells, measure)
        for measure in measures
        for name, cells in pairs.items()
    }


def told(found: Mapping[str, Comparison], unit: str = "points") -> str:
    """Return one line a comparison: mean, interval, word, and where it was not seen what would have been."""
    width, lines = max(map(len, found)) + 2, []
    digits = 1 if unit == "points" else 2
    for name, c in found.items():
        interval = f"{c.mean:+.{digits}f} ({c.low:+.{digits}f} to {c.high:+.{digits}f})"
        missed = "" if c.word == "seen" else f"; would be seen from {c.smallest:.{digits}f}"
        lines.append(f"{name:{width}}{interval:25}{c.word}{missed}")
    return "\n".join([f"{'':{width}}{unit}", *lines])


def missed(found: Mapping[str, Comparison]) -> str:
    """Return a sentence on the power of a figure: between which true differences those that were not seen would be."""
    reach = [c.smallest for c in found.values() if c.word != "seen" and c.smallest > 0]
    return f"To be seen, those that were not would have to be {min(reach):.1f} to {max(reach):.1f} points."


def _difference(values: np.ndarray) -> tuple[Interval, float, Callable[[float], float]]:
    """Return mean and interval of differences, the p value of a mean of zero, and which mean has p = level."""
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    if error == 0:
        return Interval(mean, mean, mean), float(mean == 0), lambda level: 0.0
    if len(values) < 8 or stats.skewtest(values).pvalue >= 0.05:
        p = float(stats.ttest_1samp(values, 0).pvalue)
        reach = stats.t(len(values) - 1).ppf
        return over_seeds(values.tolist()), p, lambda level: float(error * reach(1 - level / 2))
    samples = np.random.default_rng(0).choice(values, (9999, len(values)))
    errors = samples.std(axis=1, ddof=1) / math.sqrt(len(values))
    t = (samples.mean(axis=1) - mean)[errors > 0] / errors[errors > 0]
    low, high = mean - error * np.quantile(t, (0.975, 0.025))
    beyond = np.mean(t >= mean / error), np.mean(t <= mean / error)
    side = math.copysign(1, mean)
    return (
        Interval(mean, low, high),
        float(min(1.0, 2 * min(beyond))),
        lambda level: float(error * np.quantile(side * t, 1 - level / 2)),
    )


def _smallest(values: Sequence[float], level: float) -> float:
    """Return the difference that four of five comparisons at that level would have seen, by Student's t."""
    freedom = len(values) - 1
    factor = stats.t.ppf(1 - level / 2, freedom) + stats.t.ppf(0.8, freedom)
    return float(factor * statistics.stdev(values) / math.sqrt(len(values)))


def direction(found: Comparison) -> str:
    """Return what a comparison says of a rule: its word, or "reversed" if the opposite is seen."""
    return "reversed" if found.word == "seen" and found.mean < 0 else found.word


def seed_table(cells: Mapping[object, Sequence[Mapping]], measures: Sequence[str]) -> str:
    """Return one line a cell: its learning rate, number of seeds, and the mean of each measure with its interval."""
    width = max(len(str(name)) for name in cells) + 2
    lines = [f"{'':{width}}{'rate':>8}{'seeds':>7}" + "".join(f"{measure:>17}" for measure in measures)]
    for name, runs in cells.items():
        rates = {run["run"]["learning_rate"] for run in runs}
        rate = f"{rates.pop():.1e}" if len(rates) == 1 else "several"
        shown = "".join(f" {_shown(seed_interval(runs, measure), measure):>16}" for measure in measures)
        lines.append(f"{name!s:{width}}{rate:>8}{len(runs):7}{shown}")
    return "\n".join(lines)


def _shown(interval: Interval, measure: str) -> str:
    digits = 0 if measure.startswith("Test-") else 1 if measure == "norm" else 2
    mean, low, high = (f"{value:.{digits}f}" for value in interval)
    return mean if math.isnan(interval.low) else f"{mean} ({low}-{high})"
