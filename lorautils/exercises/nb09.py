"""The exercises of notebook 09: a shared rate, an equal budget, how many seeds, and what else moved.

The formulas behind them: B (out, r) and A (r, in) have r (out + in) numbers; the error of a mean of n differences is
s / sqrt(n); steps = examples x epochs / batch, rounded up in each epoch; the scaling is alpha / r.
"""

import math

from .engine import Exercise, Mistake

NOTEBOOK = "09_lora_knobs"

fair_gain = Exercise(
    name="fair_gain",
    question="By how many points is rsLoRA ahead of LoRA, each at its own best rate?",
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


def _seeds(spread, difference, factor=2.8, power=2, round_to=math.ceil):
    return round_to((factor * spread / difference) ** power)


seeds_needed = Exercise(
    name="seeds_needed",
    question="Write seeds_needed(spread, difference): how many pairs of seeds show it in four of five experiments?",
    difficulty=2,
    minutes=8,
    hints=(
        "The error of a mean of n differences is spread / sqrt(n). It has to be 2.8 times smaller than the difference.",
        "Solve spread / sqrt(n) = difference / 2.8 for n, and round up: half a seed does not exist.",
    ),
    source="""import math


def seeds_needed(spread, difference):
    return math.ceil((2.8 * spread / difference) ** 2)""",
    takeaway="Half the difference costs four times the seeds. That is why nobody has seen one point on Test-A.",
    mistakes=(
        Mistake(
            "no square",
            lambda spread, difference: _seeds(spread, difference, power=1),
            "the error falls with the square root of n: to halve it takes four times the seeds. Square the ratio.",
        ),
        Mistake(
            "half of them missed",
            lambda spread, difference: _seeds(spread, difference, factor=1.96),
            "1.96 errors away is seen in every second experiment only. For four of five it takes 2.8.",
        ),
        Mistake(
            "rounded down",
            lambda spread, difference: _seeds(spread, difference, round_to=math.floor),
            "one seed too few: round up.",
        ),
        Mistake(
            "no whole number",
            lambda spread, difference: _seeds(spread, difference, round_to=lambda n: n),
            "a seed is a whole training: round up.",
        ),
        Mistake(
            "two groups",
            lambda spread, difference: math.ceil(2 * (2.8 * spread / difference) ** 2),
            "twice as many is right for two groups of different seeds. Here spread is that of paired differences.",
        ),
        Mistake(
            "upside down",
            lambda spread, difference: _seeds(difference, spread),
            "a smaller difference should need more seeds. Which of the two belongs below the line?",
        ),
    ),
    cases=((6.0, 3.0), (9.0, 4.0), (6.0, 9.0), (10.0, 1.0)),
)


def _derived(run, steps=lambda run: run["epochs"] * math.ceil(run["examples"] / run["batch_size"])):
    return {
        "steps": steps(run),
        "scaling": run["alpha"] / run["r"],
        "numbers": run["r"] * run["targets"],
        "examples": run["examples"],
    }


def _moved(first, second, **changes):
    before, after = _derived(first, **changes), _derived(second, **changes)
    return {name for name in before if before[name] != after[name]}


_RUN = {"r": 8, "alpha": 32, "targets": 7, "examples": 400, "epochs": 3, "batch_size": 8}


def _turned(**fields):
    """The run after other fields were turned; these stand first, so that they are seen where a call is shown."""
    return fields | {name: value for name, value in _RUN.items() if name not in fields}


what_moved = Exercise(
    name="what_moved",
    question="Write what_moved(first, second): which of steps, scaling, numbers, examples differ, as a set of words.",
    difficulty=3,
    minutes=12,
    hints=(
        "Nobody turns steps or scaling. They follow from what is turned: from which fields of a run?",
        "steps: epochs times the batches of an epoch, the last of which may be smaller. scaling: alpha / r. "
        "numbers: those of the adapter grow with r and with the targets.",
        "Make a dictionary of the four for each run, and keep the names whose values differ.",
    ),
    source="""import math


def what_moved(first, second):
    def derived(run):
        return {
            "steps": run["epochs"] * math.ceil(run["examples"] / run["batch_size"]),
            "scaling": run["alpha"] / run["r"],
            "numbers": run["r"] * run["targets"],
            "examples": run["examples"],
        }

    before, after = derived(first), derived(second)
    return {name for name in before if before[name] != after[name]}""",
    takeaway="A comparison with more than one word in its answer has more than one explanation.",
    mistakes=(
        Mistake(
            "the fields as they stand",
            lambda first, second: {name for name in first if first[name] != second[name]},
            "these fields were turned. Asked is what follows from them: steps, scaling, numbers, examples.",
        ),
        Mistake(
            "scaling is alpha",
            lambda first, second: (
                _moved(first, second) - {"scaling"} | ({"scaling"} if first["alpha"] != second["alpha"] else set())
            ),
            "the scaling is alpha / r. A larger r with the same alpha has a smaller one.",
        ),
        Mistake(
            "examples instead of steps",
            lambda first, second: _moved(first, second, steps=lambda run: run["examples"] * run["epochs"]),
            "that counts the examples that are read. A batch of them makes one step.",
        ),
        Mistake(
            "a part of a batch",
            lambda first, second: _moved(
                first, second, steps=lambda run: run["epochs"] * run["examples"] / run["batch_size"]
            ),
            "100 examples in batches of 8 are 13 steps: the last batch is smaller. Round up in each epoch.",
        ),
        Mistake(
            "numbers from r alone",
            lambda first, second: (
                _moved(first, second) - {"numbers"} | ({"numbers"} if first["r"] != second["r"] else set())
            ),
            "more targets are more numbers, too.",
        ),
        Mistake(
            "what stayed",
            lambda first, second: {"steps", "scaling", "numbers", "examples"} - _moved(first, second),
            "these stayed the same. Asked is what differs.",
        ),
    ),
    cases=(
        (_RUN, _turned(batch_size=32)),
        (_RUN, _turned(r=64)),
        (_RUN, _turned(r=64, alpha=256)),
        (_RUN, _turned(examples=800)),
        (_RUN, _turned(examples=100, epochs=12, batch_size=8)),
        (_RUN, _turned(targets=2, r=28, alpha=112)),
        (_RUN, _turned(targets=2)),
        (_RUN, _turned(batch_size=16, epochs=6)),
    ),
)
