"""The exercises of notebook 09: an interval over seeds, the best rate, a shared rate, an equal budget, pairs of seeds.

The formula behind them: mean ± t s / sqrt(n), with s the standard deviation over n seeds and t = 2.776 for n = 5.
"""

import statistics

from .engine import Exercise, Mistake

NOTEBOOK = "09_lora_knobs"


def _moments(scores):
    mean = sum(scores) / len(scores)
    return mean, sum((score - mean) ** 2 for score in scores)


def _interval(scores, factor=2.776, freedom=None, root=0.5):
    mean, squares = _moments(scores)
    half = factor * (squares / (freedom or len(scores) - 1)) ** 0.5 / len(scores) ** root
    return mean - half, mean + half


over_five_seeds = Exercise(
    name="over_five_seeds",
    question="Write over_five_seeds(scores): the 95 % interval (low, high) of the mean of five scores, with t = 2.776.",
    difficulty=1,
    minutes=6,
    hints=(
        "The formula is mean ± t s / sqrt(n). Which s does statistics.stdev give, and which statistics.pstdev?",
        "half = 2.776 * statistics.stdev(scores) / 5**0.5; return mean - half and mean + half.",
    ),
    source="""import statistics


def over_five_seeds(scores):
    mean = statistics.mean(scores)
    half = 2.776 * statistics.stdev(scores) / len(scores) ** 0.5
    return mean - half, mean + half""",
    takeaway="With three seeds t is 4.303: the interval would be twice as wide. Seeds are worth their price.",
    mistakes=(
        Mistake(
            "z instead of t",
            lambda scores: _interval(scores, factor=1.96),
            "1.96 is for a spread that is known. Five seeds only estimate it, and t = 2.776 pays for that.",
        ),
        Mistake(
            "divided by n",
            lambda scores: _interval(scores, root=1),
            "the error of a mean falls with the square root of n, not with n.",
        ),
        Mistake(
            "not divided",
            lambda scores: _interval(scores, root=0),
            "that is where single runs land. The mean of five is steadier: divide by sqrt(5).",
        ),
        Mistake(
            "spread divided by n",
            lambda scores: _interval(scores, freedom=len(scores)),
            "that is pstdev, which takes the five for all runs that there are. A sample divides by n - 1: stdev.",
        ),
        Mistake(
            "mean and reach",
            lambda scores: (_moments(scores)[0], _moments(scores)[0] - _interval(scores)[0]),
            "that is the mean and how far the interval reaches. Return its two ends: mean - half and mean + half.",
        ),
    ),
    cases=(([94.0, 91.0, 96.0, 92.0, 93.0],), ([50.0, 70.0, 60.0, 55.0, 65.0],)),
)

best_rate = Exercise(
    name="best_rate",
    question="Write best_rate(scores): the learning rate with the highest mean. scores[rate] is a list, one a seed.",
    difficulty=1,
    minutes=5,
    hints=(
        "max(scores, key=...) returns a key of the dictionary. What should be large for the best rate?",
        "The mean of its list: sum(scores[rate]) / len(scores[rate]).",
    ),
    source="""def best_rate(scores):
    return max(scores, key=lambda rate: sum(scores[rate]) / len(scores[rate]))""",
    takeaway="The mean, not the best seed: the luckiest single run may well have another rate.",
    mistakes=(
        Mistake(
            "luckiest seed",
            lambda scores: max(scores, key=lambda rate: max(scores[rate])),
            "the single best run decides there, and luck with it. Take the mean over the seeds.",
        ),
        Mistake(
            "worst seed",
            lambda scores: max(scores, key=lambda rate: min(scores[rate])),
            "the single worst run decides there, and bad luck with it. Take the mean over the seeds.",
        ),
        Mistake(
            "median",
            lambda scores: max(scores, key=lambda rate: statistics.median(scores[rate])),
            "a median does not see the run that broke down. The mean does.",
        ),
        Mistake(
            "most seeds",
            lambda scores: max(scores, key=lambda rate: sum(scores[rate])),
            "a sum favours the rate that was run most often. Divide by the number of seeds.",
        ),
        Mistake(
            "score instead of rate",
            lambda scores: max(sum(values) / len(values) for values in scores.values()),
            "that is the best mean score. The question asks which rate gave it.",
        ),
        Mistake("largest rate", lambda scores: max(scores), "max over a dictionary compares its keys. Give it a key=."),
    ),
    cases=(
        ({1e-3: [80.0, 84.0], 2e-3: [90.0, 88.0], 4e-3: [97.0, 60.0]},),
        ({1e-3: [91.0, 93.0], 2e-3: [85.0, 86.0, 88.0, 84.0], 4e-3: [70.0, 92.0]},),
        ({1e-3: [80.0, 81.0, 82.0], 2e-3: [78.0, 89.0, 90.0], 4e-3: [60.0, 92.0, 93.0]},),
    ),
)

fair_gain = Exercise(
    name="fair_gain",
    question="By how many points is rsLoRA ahead of LoRA, each at its own best rate (seed 0, Test-A)?",
    difficulty=1,
    minutes=4,
    hints=(
        "A shared rate favours the method that it suits. What is the best that each of the two can do?",
        "rsLoRA: 94.0 at 1e-3. LoRA: 95.5 at 4e-3. The lead is rsLoRA minus LoRA.",
    ),
    source="answer = 94.0 - 95.5  # the best of rsLoRA minus the best of LoRA",
    takeaway="At 1e-3 it led by 5.5 points; each at its best it is 1.5 behind. One seed cannot tell either from luck.",
    mistakes=(
        Mistake("shared rate", 5.5, "94.0 - 88.5 compares both at 1e-3, which suits rsLoRA and not LoRA."),
        Mistake("other shared rate", -8.5, "86.0 - 94.5 compares both at 2e-3, which suits LoRA and not rsLoRA."),
        Mistake(
            "shared rate of LoRA", -48.0, "47.5 - 95.5 compares both at LoRA's best rate: as unfair the other way."
        ),
        Mistake("sign", 1.5, "asked is how far rsLoRA is ahead: its best minus LoRA's."),
        Mistake(
            "mean over the rates", -2.6, "that averages over rates that nobody would choose. Take the best of each."
        ),
    ),
)

equal_budget = Exercise(
    name="equal_budget",
    question="Write equal_budget(budget, shapes, layers): the largest rank whose adapter has at most budget numbers.",
    difficulty=2,
    minutes=8,
    hints=(
        "A matrix of shape (out, in) gets B (out, r) and A (r, in): how many numbers for each unit of rank?",
        "layers * sum(rows + columns for rows, columns in shapes) a unit of rank; divide and round down with //.",
    ),
    source="""def equal_budget(budget, shapes, layers):
    per_rank = layers * sum(rows + columns for rows, columns in shapes)
    return budget // per_rank""",
    takeaway="q, v at r = 32 costs as much as all seven at r = 6: compare those two, not r = 8 with r = 8.",
    mistakes=(
        Mistake(
            "product of the sides",
            lambda budget, shapes, layers: budget // (layers * sum(m * n for m, n in shapes)),
            "that counts the full matrix. Its two factors have r (out + in) numbers.",
        ),
        Mistake(
            "one layer",
            lambda budget, shapes, layers: budget // sum(m + n for m, n in shapes),
            "every layer has its own pair of factors: multiply by layers.",
        ),
        Mistake(
            "only A",
            lambda budget, shapes, layers: budget // (layers * sum(n for _, n in shapes)),
            "that counts A only. B has r numbers for each output.",
        ),
        Mistake(
            "rounded up",
            lambda budget, shapes, layers: -(-budget // (layers * sum(m + n for m, n in shapes))),
            "rounded up, the adapter no longer fits the budget.",
        ),
        Mistake(
            "no whole number",
            lambda budget, shapes, layers: budget / (layers * sum(m + n for m, n in shapes)),
            "a rank is a whole number: round down.",
        ),
    ),
    cases=(
        (1_843_200, [(576, 576), (192, 576)], 30),
        (1_843_200, [(1536, 576), (1536, 576)], 30),
        (1_000_000, [(576, 1536)], 30),
    ),
)


def _excludes_zero(low, high):
    return low > 0 or high < 0


def _differences(first, second):
    return [b - a for a, b in zip(first, second, strict=True)]


def _apart(first, second):
    (low_1, high_1), (low_2, high_2) = _interval(first), _interval(second)
    return low_1 > high_2 or low_2 > high_1


pairs_of_seeds = Exercise(
    name="pairs_of_seeds",
    question="Seeds match pairwise. Write pairs_of_seeds(first, second): with t = 2.776, does a difference show?",
    difficulty=3,
    minutes=10,
    hints=(
        "The same seed means the same examples in the same order: part of the luck is shared. Subtract first.",
        "Take the five differences, and their mean ± 2.776 s / sqrt(5). Does that interval contain 0?",
        "Return low > 0 or high < 0.",
    ),
    source="""import statistics


def pairs_of_seeds(first, second):
    differences = [b - a for a, b in zip(first, second)]
    half = 2.776 * statistics.stdev(differences) / len(differences) ** 0.5
    mean = statistics.mean(differences)
    return mean - half > 0 or mean + half < 0""",
    takeaway="Pairs can see what two overlapping intervals hide: this is records.paired of sections 5, 6 and 9.",
    mistakes=(
        Mistake(
            "two intervals",
            _apart,
            "that asks whether the two intervals are apart. The luck that both share is still in them.",
        ),
        Mistake(
            "means compared",
            lambda first, second: sum(first) != sum(second),
            "two means are hardly ever equal. Is the difference larger than its own uncertainty?",
        ),
        Mistake(
            "z instead of t",
            lambda first, second: _excludes_zero(*_interval(_differences(first, second), factor=1.96)),
            "1.96 is for a spread that is known. Five differences only estimate it: t = 2.776.",
        ),
        Mistake(
            "only the signs",
            lambda first, second: len({difference > 0 for difference in _differences(first, second)}) == 1,
            "five differences of one sign can still be one lucky seed: how large are they beside their spread?",
        ),
        Mistake(
            "only upwards",
            lambda first, second: _interval(_differences(first, second))[0] > 0,
            "the second can also be worse: then the whole interval lies below 0.",
        ),
        Mistake(
            "the wrong way round",
            lambda first, second: not _excludes_zero(*_interval(_differences(first, second))),
            "an interval that contains 0 shows no difference. Yours says that it does.",
        ),
    ),
    cases=(
        ([90.0, 80.0, 85.0, 95.0, 70.0], [92.0, 83.0, 87.0, 96.0, 73.0]),
        ([90.0, 80.0, 85.0, 95.0, 70.0], [88.0, 84.0, 80.0, 96.0, 74.0]),
        ([92.0, 83.0, 87.0, 96.0, 73.0], [90.0, 80.0, 85.0, 95.0, 70.0]),
        ([60.0, 62.0, 61.0, 60.0, 63.0], [80.0, 81.0, 83.0, 79.0, 82.0]),
        ([90.0, 80.0, 85.0, 95.0, 70.0], [90.5, 89.0, 86.0, 95.5, 71.0]),  # one seed makes the gain
        ([90.0, 80.0, 85.0, 95.0, 70.0], [89.2, 82.2, 88.2, 99.2, 72.2]),  # t and z disagree
    ),
)
