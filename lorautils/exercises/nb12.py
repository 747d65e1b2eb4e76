"""The exercises of notebook 12: bytes of full fine-tuning, a mean over processes, a cache, hours, and how many devices.

The formulas behind them: 16 bytes a trained number; sum of sums / sum of counts; 4 operations a weight and token.
"""

import math

from .engine import Exercise, Mistake

NOTEBOOK = "12_laptop_to_cluster"

full_bytes = Exercise(
    name="full_bytes",
    question="How many GB hold float32 weights, gradients and AdamW's moments of 8 billion trained parameters?",
    difficulty=1,
    minutes=2,
    hints=(
        "How many numbers does training keep for each parameter? AdamW's moments are two of them.",
        "Four numbers of four bytes each, for each of the 8 billion parameters.",
    ),
    source="answer = 8 * 4 * 4  # billions of parameters x numbers for each x bytes a number",
    takeaway="On two cards of 80 GB little room is left: there are no activations in it yet.",
    mistakes=(
        Mistake("weights only", 32, "those are the weights. Gradient and two moments come on top for each."),
        Mistake("no moments", 64, "that is weights and gradients. AdamW keeps two more numbers for each."),
        Mistake("one number missing", 96, "four numbers a parameter: weight, gradient, and both of AdamW's moments."),
        Mistake("bytes", 128e9, "those are bytes. A GB is 10^9 of them."),
        Mistake("bits", 1024, "those are bits. A byte has eight."),
        Mistake("GiB", 128e9 / 2**30, "that is in GiB, of 2^30 bytes. Here GB are asked for, of 10^9."),
    ),
)

whole_mean = Exercise(
    name="whole_mean",
    question="Write whole_mean(sums, counts): the mean loss per answer token over all processes.",
    difficulty=1,
    minutes=4,
    hints=(
        "The mean over all tokens is the sum over all tokens, divided by how many there are.",
        "Add up the sums, add up the counts, then divide once.",
    ),
    source="""def whole_mean(sums, counts):
    return sum(sums) / sum(counts)""",
    takeaway="One more exchange, of the counts, is all that it costs.",
    mistakes=(
        Mistake(
            "mean of the means",
            lambda sums, counts: sum(s / n for s, n in zip(sums, counts, strict=True)) / len(sums),
            "a process with few tokens would weigh as much as one with many.",
        ),
        Mistake(
            "sum of the means",
            lambda sums, counts: sum(s / n for s, n in zip(sums, counts, strict=True)),
            "that adds the means up; with more processes the loss would grow.",
        ),
        Mistake(
            "divided by the processes",
            lambda sums, counts: sum(sums) / len(sums),
            "that is the mean sum of a process. Divide by the number of tokens, not of processes.",
        ),
        Mistake(
            "divided by the mean count",
            lambda sums, counts: sum(sums) / (sum(counts) / len(counts)),
            "that is what each process divides its own sum by, before the average. Here the sums are added already.",
        ),
    ),
    cases=(([6.0, 2.0], [2, 4]), ([1.5, 4.0, 0.5], [5, 1, 2]), ([3.0], [4])),
)

cache_bytes = Exercise(
    name="cache_bytes",
    question="Write cache_bytes(layers, kv_heads, head_size, rows, tokens): bytes of the KV cache, two a number.",
    difficulty=2,
    minutes=6,
    hints=(
        "Each layer keeps, for each token, a key and a value in each of its key-value heads.",
        "A key has head_size numbers, and so has a value.",
    ),
    source="""def cache_bytes(layers, kv_heads, head_size, rows, tokens):
    numbers = 2 * layers * kv_heads * head_size * rows * tokens  # keys and values
    return 2 * numbers""",
    takeaway="For the 8B model that is 128 KiB a token: thirty conversations of 4,096 tokens hold as much as it does.",
    mistakes=(
        Mistake(
            "keys only",
            lambda layers, kv_heads, head_size, rows, tokens: 2 * layers * kv_heads * head_size * rows * tokens,
            "half of it is missing: keys and values are kept, and each number has two bytes.",
        ),
        Mistake(
            "numbers, one of the two",
            lambda layers, kv_heads, head_size, rows, tokens: layers * kv_heads * head_size * rows * tokens,
            "that is how many numbers the keys have. There are values too, and a number has two bytes.",
        ),
        Mistake(
            "tokens squared",
            lambda layers, kv_heads, head_size, rows, tokens: 4 * layers * kv_heads * head_size * rows * tokens**2,
            "scores are tokens x tokens; keys and values are kept once a token.",
        ),
        Mistake(
            "one layer",
            lambda layers, kv_heads, head_size, rows, tokens: 4 * kv_heads * head_size * rows * tokens,
            "that is one layer. Each layer has keys and values of its own.",
        ),
    ),
    cases=((30, 3, 64, 1, 10), (32, 8, 128, 2, 7)),
)

gpu_hours = Exercise(
    name="gpu_hours",
    question="Write gpu_hours(weights, tokens, peak, used): the hours of LoRA on one GPU.",
    difficulty=2,
    minutes=8,
    hints=(
        "Operations a token: 2 a weight forwards, 2 for the gradient that is passed on; frozen weights need no more.",
        "Divide by what the GPU really does in a second, peak * used, and then by the seconds in an hour.",
    ),
    source="""def gpu_hours(weights, tokens, peak, used):
    operations = (2 + 2) * weights * tokens  # forwards, backwards
    return operations / (peak * used) / 3600""",
    takeaway="On N GPUs the hours of the clock are N times fewer at best; the GPU-hours are not.",
    mistakes=(
        Mistake(
            "six operations",
            lambda weights, tokens, peak, used: 6 * weights * tokens / (peak * used * 3600),
            "that is full fine-tuning. LoRA's base is frozen: its weights have no gradients of their own.",
        ),
        Mistake(
            "forwards only",
            lambda weights, tokens, peak, used: 2 * weights * tokens / (peak * used * 3600),
            "that is the forward pass. The gradient must be passed back through every frozen layer, too.",
        ),
        Mistake(
            "seconds",
            lambda weights, tokens, peak, used: 4 * weights * tokens / (peak * used),
            "those are seconds. An hour has 3,600.",
        ),
        Mistake(
            "the data sheet's speed",
            lambda weights, tokens, peak, used: 4 * weights * tokens / (peak * 3600),
            "that assumes that all of the peak is used. Only the share `used` is.",
        ),
        Mistake(
            "minutes",
            lambda weights, tokens, peak, used: 4 * weights * tokens / (peak * used * 60),
            "those are minutes. An hour has 3,600 seconds.",
        ),
    ),
    cases=((8e9, 1e7, 1e15, 0.25), (1e9, 3e6, 3e14, 0.5)),
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
            "no way out",
            lambda copied, split, card: max(1, math.ceil(split / (card - copied))),
            "if copied alone is more than the card, no number of devices will do: 0.",
        ),
    ),
    cases=((4, 100, 24), (2, 10, 80), (30, 100, 24), (24, 8, 24), (4, 40, 24), (4, 50, 24)),
)
