"""The exercises of notebook 12: four trainings to diagnose, the step that bf16 loses, hours, and how many devices.

The formulas behind them: half the distance 2^(e-7) of bf16; 4 operations a weight and token, 6 with recomputation.
"""

import math

from .engine import Exercise, Mistake

NOTEBOOK = "12_laptop_to_cluster"

diagnose = Exercise(
    name="diagnose",
    question="Which of four trainings on two GPUs is well, and what is wrong with the others? Four letters.",
    difficulty=2,
    minutes=6,
    hints=(
        "Look at the rows first: two GPUs that share a batch of 8 have 4 each.",
        "Whose loss differs from the loss alone, although the same rows were read?",
        "If both GPUs read all 8 rows of the same batch, nothing is shared, and no time is saved.",
    ),
    source='answer = ["c", "b", "a", "d"]',
    takeaway="Rows a GPU, losses beside those of one process, time: three numbers find it.",
    mistakes=(
        Mistake("Ada is well", ["a", "b", "c", "d"], "equal losses are not enough: Ada's two GPUs saved no time."),
        Mistake("Bo has another batch", ["c", "d", "a", "b"], "Bo's GPUs have 4 rows each, which is the batch of 8."),
        Mistake("Dee's work apart", ["d", "b", "a", "c"], "Ada's epoch has as many steps as alone; Dee's has half."),
        Mistake("Ada and Dee alike", ["c", "b", "a", "c"], "apart, an epoch would have as many steps as alone."),
        Mistake("Bo and Cem alike", ["c", "a", "a", "d"], "Bo's losses are not those of the same rows alone."),
    ),
)

lost_step = Exercise(
    name="lost_step",
    question="Write lost_step(w): the length that a step must exceed to move a bf16 weight w > 0 upwards.",
    difficulty=2,
    minutes=6,
    hints=(
        "Which power of two is at most w? math.floor(math.log2(w)) is its exponent; that of math.frexp(w) is one more.",
        "The result is rounded to the nearest number. Half of the way to the neighbour decides.",
    ),
    source="""import math


def lost_step(w):
    e = math.floor(math.log2(w))  # 2^e <= w < 2^(e+1)
    return 2 ** (e - 7) / 2""",
    takeaway="At w = 0.1 that is 0.00024: some 25 steps of 0.00001, if they were added up before they are rounded.",
    mistakes=(
        Mistake(
            "the whole way",
            lambda w: 2.0 ** (math.floor(math.log2(w)) - 7),
            "that is the distance to the neighbour. Rounding goes to the nearer one, so half of the way is enough.",
        ),
        Mistake(
            "a quarter",
            lambda w: 2.0 ** (math.floor(math.log2(w)) - 9),
            "halved once too often: the neighbour is 2^(e-7) away.",
        ),
        Mistake(
            "no power of two",
            lambda w: w * 2.0**-8,
            "the distance is the same for all weights between 2^e and 2^(e+1); it does not grow with each w.",
        ),
        Mistake(
            "rounded up",
            lambda w: 2.0 ** (math.ceil(math.log2(w)) - 8),
            "that takes the power of two above w. The one at or below it counts.",
        ),
        Mistake(
            "cut towards zero",
            lambda w: 2.0 ** (int(math.log2(w)) - 8),
            "log2 of a small weight is negative, and int() rounds it up. math.floor rounds down.",
        ),
    ),
    cases=((0.1,), (1.5,), (0.25,), (0.003,), (12.0,)),
)

gpu_hours = Exercise(
    name="gpu_hours",
    question="Write gpu_hours(weights, tokens, peak, used, recomputed): LoRA's hours on one GPU.",
    difficulty=2,
    minutes=8,
    hints=(
        "Operations a token: 2 a weight forwards, 2 for the gradient that is passed on; frozen weights need no more.",
        "Recomputation is one more forward pass, 2 a weight. The share `used` counts it, so the operations must too.",
        "Divide by what the GPU really does in a second, peak * used, and then by the seconds in an hour.",
    ),
    source="""def gpu_hours(weights, tokens, peak, used, recomputed):
    operations = (6 if recomputed else 4) * weights * tokens  # forwards, backwards, forwards again
    return operations / (peak * used) / 3600""",
    takeaway="With the share that counts the model's own operations alone, it would be 4 in both cases.",
    mistakes=(
        Mistake(
            "never recomputed",
            lambda weights, tokens, peak, used, recomputed: 4 * weights * tokens / (peak * used * 3600),
            "right without recomputation. With it the card computes one more forward pass, and `used` counts that.",
        ),
        Mistake(
            "always six",
            lambda weights, tokens, peak, used, recomputed: 6 * weights * tokens / (peak * used * 3600),
            "6 is right with recomputation: 2 + 2 + 2. Without it, 6 would be full fine-tuning; LoRA's base is frozen.",
        ),
        Mistake(
            "full fine-tuning",
            lambda weights, tokens, peak, used, recomputed: (
                (8 if recomputed else 6) * weights * tokens / (peak * used * 3600)
            ),
            "that is full fine-tuning. LoRA's base is frozen: its weights have no gradients of their own.",
        ),
        Mistake(
            "forwards only",
            lambda weights, tokens, peak, used, recomputed: (
                (4 if recomputed else 2) * weights * tokens / (peak * used * 3600)
            ),
            "the gradient must be passed back through every frozen layer, too.",
        ),
        Mistake(
            "seconds",
            lambda weights, tokens, peak, used, recomputed: (6 if recomputed else 4) * weights * tokens / (peak * used),
            "those are seconds. An hour has 3,600.",
        ),
        Mistake(
            "the data sheet's speed",
            lambda weights, tokens, peak, used, recomputed: (6 if recomputed else 4) * weights * tokens / (peak * 3600),
            "that assumes that all of the peak is used. Only the share `used` is.",
        ),
    ),
    cases=((8e9, 1e7, 1e15, 0.25, True), (1e9, 3e6, 3e14, 0.5, False)),
)


def _fewest(enough):
    """Count up to the first number of devices that is enough, as a mistaken rule for `enough` sees it."""

    def smallest_number(copied, split, card):
        return next((n for n in range(1, 1000) if enough(copied, split, card, n)), 0)

    return smallest_number


smallest_number = Exercise(
    name="smallest_number",
    question="Write smallest_number(copied, split, card): the fewest devices on which it fits, or 0.",
    difficulty=3,
    minutes=10,
    hints=(
        "On N devices each holds copied + split / N. When is that at most card?",
        "If copied alone fills the card, more never help. Otherwise N is at least split / (card - copied).",
        "Round up with math.ceil, and remember that there is at least one device.",
    ),
    source="""import math


def smallest_number(copied, split, card):
    if copied >= card:
        return 0  # what every device holds does not fit: more of them do not help
    return max(1, math.ceil(split / (card - copied)))""",
    takeaway="Sharding divides only what it splits: what is copied sets the floor.",
    mistakes=(
        Mistake(
            "everything is split",
            _fewest(lambda copied, split, card, n: (copied + split) / n <= card),
            "that divides the copied part, too. Every device holds all of it.",
        ),
        Mistake(
            "nothing is copied",
            _fewest(lambda copied, split, card, n: split / n <= card),
            "the copied part needs its room on every card.",
        ),
        Mistake(
            "rounded down",
            lambda copied, split, card: max(1, int(split / (card - copied))) if copied < card else 0,
            "with one device fewer than the quotient says it does not fit: round up.",
        ),
        Mistake(
            "one too many",
            lambda copied, split, card: int(split / (card - copied)) + 1 if copied < card else 0,
            "where the quotient is a whole number, it is the answer. math.ceil leaves it alone.",
        ),
        Mistake(
            "full to the brim",
            lambda copied, split, card: max(1, math.ceil(split / (card - copied))) if copied <= card else 0,
            "a card that copied alone fills has no room for split: 0, not a division by zero.",
        ),
        Mistake(
            "no way out",
            lambda copied, split, card: max(1, math.ceil(split / (card - copied))),
            "if copied alone is more than the card, no number of devices will do: 0.",
        ),
    ),
    cases=((4, 100, 24), (2, 10, 80), (30, 100, 24), (24, 8, 24), (4, 40, 24), (4, 50, 24)),
)
