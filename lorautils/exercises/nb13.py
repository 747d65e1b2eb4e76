"""The exercises of notebook 13: a part made faster, the largest thief, the head's share, a control, two shares.

The formulas behind them: 1 / (1 - share + share / times); 4 operations a frozen weight and token, 6 a trained one, and
2 more for each where the forward pass is made again.
"""

from .engine import Exercise, Mistake

NOTEBOOK = "13_where_the_step_goes"

speedup = Exercise(
    name="speedup",
    question="Write speedup(share, times): a part takes `share` of a step and gets `times` as fast. And the step?",
    difficulty=1,
    minutes=4,
    hints=(
        "Let the step take 1 second. How long does the part take now, and how long the rest?",
        "The rest takes 1 - share as before, the part share / times. Speed is one over the time.",
    ),
    source="""def speedup(share, times):
    return 1 / (1 - share + share / times)  # old time / new time""",
    takeaway="A tenth of a step, made infinitely fast, makes it 1.11 times as fast. Profile first, then write.",
    mistakes=(
        Mistake(
            "the part alone", lambda share, times: times, "so much faster is the part. The rest is as slow as ever."
        ),
        Mistake(
            "a mean of speeds",
            lambda share, times: 1 - share + share * times,
            "seconds add up, speeds do not. Add up the seconds of the part and of the rest.",
        ),
        Mistake(
            "the time",
            lambda share, times: 1 - share + share / times,
            "that is how long the step takes now, of 1. How many times as fast is it?",
        ),
        Mistake(
            "no rest",
            lambda share, times: times / share,
            "that is one over the part's own time. The rest of the step takes time as well.",
        ),
        Mistake(
            "the part is gone",
            lambda share, times: 1 / (1 - share),
            "that is the limit, for a part that takes no time at all. This one still takes share / times.",
        ),
    ),
    cases=((0.25, 2), (0.1, 10), (0.6, 3)),
)


def _name_of_largest(key):
    """Answer with the kernel for which `key` is largest, as a mistaken rule sees it."""

    def largest_thief(kernels, needed):
        return max(kernels, key=lambda row: key(*row, needed))[0]

    return largest_thief


largest_thief = Exercise(
    name="largest_thief",
    question="Write largest_thief(kernels, needed): the name of the kernel to look at first.",
    difficulty=1,
    minutes=5,
    hints=(
        "What can be won is seconds. What the step must compute in any case cannot be won.",
        "Leave out the rows whose name is in needed; of the others, take the one with the most seconds.",
    ),
    source="""def largest_thief(kernels, needed):
    others = [(seconds, name) for name, calls, seconds in kernels if name not in needed]
    return max(others)[1]""",
    takeaway="On a real step: rows = [(n, *v) for n, v in measure.kernels(step).items()]. And again after each.",
    mistakes=(
        Mistake(
            "what is needed, too",
            _name_of_largest(lambda name, calls, seconds, needed: seconds),
            "the products take longest, as they should. Look for what the step can do without.",
        ),
        Mistake(
            "most calls",
            _name_of_largest(lambda name, calls, seconds, needed: (name not in needed, calls)),
            "many calls may still be short ones. What you wait for is their sum, in seconds.",
        ),
        Mistake(
            "calls times seconds",
            _name_of_largest(lambda name, calls, seconds, needed: (name not in needed, calls * seconds)),
            "the seconds are those of all its calls already.",
        ),
        Mistake(
            "longest call",
            _name_of_largest(lambda name, calls, seconds, needed: (name not in needed, seconds / calls)),
            "that is the longest single call. A kernel takes its calls times that.",
        ),
        Mistake(
            "least time",
            _name_of_largest(lambda name, calls, seconds, needed: (name not in needed, -seconds)),
            "that one has the least to give.",
        ),
    ),
    cases=(
        ([("mm", 800, 0.60), ("add", 900, 0.05), ("copy_", 200, 0.12), ("sdpa", 3, 0.04), ("ge", 9, 0.01)], ["mm"]),
        ([("bmm", 10, 0.03), ("rsqrt", 61, 0.01), ("mul", 700, 0.21), ("bernoulli_", 1, 0.05)], ["mm", "bmm"]),
        ([("mm", 9, 0.70), ("ge", 20, 0.001), ("sum", 8, 0.03), ("exp", 2, 0.04), ("addmm", 2, 0.5)], ["mm", "addmm"]),
        ([("mm", 9, 0.60), ("addmm", 2, 0.30), ("mul", 40, 0.20)], ["mm"]),
    ),
)

head_saves = Exercise(
    name="head_saves",
    question="Write head_saves(layers, head, tokens, answers): the share of operations that a shorter head saves.",
    difficulty=2,
    minutes=6,
    hints=(
        "In a step of LoRA each weight costs the same for each row that it sees. So count weights times rows.",
        "Before, all weights see all tokens. Of these, head * (tokens - answers) are saved.",
    ),
    source="""def head_saves(layers, head, tokens, answers):
    before = (layers + head) * tokens
    return head * (tokens - answers) / before""",
    takeaway="With 106 and 28 million weights, 172 tokens and 48 answers it is 15 %. At 8B the whole head is 7 %.",
    mistakes=(
        Mistake(
            "all of the head",
            lambda layers, head, tokens, answers: head / (layers + head),
            "that is a step without a head. It still has to see the answers.",
        ),
        Mistake(
            "what is left",
            lambda layers, head, tokens, answers: head * answers / ((layers + head) * tokens),
            "that is what the head still costs. What is saved are the tokens that are no answers.",
        ),
        Mistake(
            "of the head alone",
            lambda layers, head, tokens, answers: (tokens - answers) / tokens,
            "that is the share of the head's own operations. The layers see every token, as before.",
        ),
        Mistake(
            "of the layers",
            lambda layers, head, tokens, answers: head * (tokens - answers) / (layers * tokens),
            "the head belongs to the step as well: divide by all operations.",
        ),
        Mistake(
            "of the new step",
            lambda layers, head, tokens, answers: head * (tokens - answers) / (layers * tokens + head * answers),
            "that divides by what is left. A share saved is a share of what there was before.",
        ),
    ),
    cases=((106e6, 28e6, 172, 48), (7.0e9, 0.5e9, 2048, 512), (90, 10, 4, 4)),
)


def _judged(faster, noise):
    """Answer with a rule about the ratios of first / other, and the noise in first / again, as a mistake sees them."""

    def is_faster(first, other, again):
        gains = [a / b for a, b in zip(first, other, strict=True)]
        spread = noise([a / b for a, b in zip(first, again, strict=True)])
        return "yes" if faster(gains) > 1 + spread else "cannot tell"

    return is_faster


def _widest(ratios):
    return max(max(ratio, 1 / ratio) for ratio in ratios) - 1


is_faster = Exercise(
    name="is_faster",
    question="Write is_faster(first, other, again): 'yes' where the gain exceeds the noise in each turn.",
    difficulty=2,
    minutes=8,
    hints=(
        "Of each turn take two ratios: first / other is the gain, first / again is noise.",
        "Noise goes both ways: of first / again = 0.8 take 1 / 0.8. The smallest gain must exceed the largest noise.",
    ),
    source="""def is_faster(first, other, again):
    gains = [a / b for a, b in zip(first, other)]
    noise = [max(a / b, b / a) for a, b in zip(first, again)]
    return "yes" if min(gains) > max(noise) else "cannot tell"  # of each turn""",
    takeaway="The control is the thing itself, timed again in the same turns. Without it each gain looks real.",
    mistakes=(
        Mistake(
            "no control",
            _judged(min, lambda ratios: 0),
            "it was faster in each turn, but `again` shows that the first differs from itself by as much.",
        ),
        Mistake(
            "the mean",
            _judged(lambda gains: sum(gains) / len(gains), _widest),
            "one turn with a large gain pulls the mean up. Asked is the gain of each turn.",
        ),
        Mistake(
            "seconds, not ratios",
            lambda first, other, again: (
                "yes"
                if min(a - b for a, b in zip(first, other, strict=True))
                > max(abs(a - c) for a, c in zip(first, again, strict=True))
                else "cannot tell"
            ),
            "a second is much of a short turn and little of a long one. Compare ratios.",
        ),
        Mistake(
            "one turn is enough",
            _judged(max, _widest),
            "in one turn, yes. Asked is the gain of each turn: take the smallest.",
        ),
        Mistake(
            "the noise of the same turn",
            lambda first, other, again: (
                "yes"
                if all(a / b > max(a / c, c / a) for a, b, c in zip(first, other, again, strict=True))
                else "cannot tell"
            ),
            "a turn may be quiet by luck. Compare each gain with the largest noise of all turns.",
        ),
        Mistake(
            "one side of the noise",
            _judged(min, lambda ratios: max(ratios) - 1),
            "noise goes both ways. Where `again` took longer than the first, first / again is below 1: turn it over.",
        ),
        Mistake(
            "upside down",
            lambda first, other, again: is_faster.reference(other, first, again),
            "that asks whether the first is faster. A gain is first / other.",
        ),
        Mistake(
            "across the turns",
            lambda first, other, again: "yes" if max(other) < min(*first, *again) else "cannot tell",
            "that compares seconds of different turns. If all get slower together, the ratios in each turn still tell.",
        ),
    ),
    cases=(
        ([2.0, 2.2, 2.1], [1.0, 1.2, 1.1], [2.1, 2.1, 2.0]),
        ([2.0, 2.2, 2.1], [1.7, 1.8, 1.8], [1.6, 2.1, 2.2]),
        ([2.0, 2.0, 2.0], [1.8, 1.0, 1.9], [2.2, 1.9, 2.0]),
        ([2.0, 2.0, 2.0], [1.8, 1.8, 1.8], [2.5, 2.0, 2.0]),
        ([2.0, 2.0, 2.0], [2.1, 0.7, 1.7], [2.2, 2.0, 2.2]),
        ([2.0, 2.0, 2.0], [1.8, 1.8, 1.2], [3.0, 2.0, 2.0]),
        ([2.0, 4.0, 20.0], [1.0, 2.5, 12.0], [2.1, 3.9, 22.0]),
        ([1.0, 1.1, 1.0], [2.0, 2.1, 2.2], [1.0, 1.1, 1.0]),
    ),
)


def _shares(own, again):
    """Return (MFU, HFU) with so many operations a frozen and a trained weight, and so many made again."""

    def two_shares(frozen, trained, tokens, seconds, peak):
        first = (own[0] * frozen + own[1] * trained) * tokens / (peak * seconds)
        return first, first + again * (frozen + trained) * tokens / (peak * seconds)

    return two_shares


two_shares = Exercise(
    name="two_shares",
    question="Write two_shares(frozen, trained, tokens, seconds, peak): the pair (MFU, HFU) of a step that recomputes.",
    difficulty=3,
    minutes=8,
    hints=(
        "A frozen weight costs a token 4 operations: 2 forwards, 2 to pass the gradient on. A trained one costs 6.",
        "Recomputation is one more forward pass: 2 for each weight, frozen or trained. Divide by peak * seconds.",
    ),
    source="""def two_shares(frozen, trained, tokens, seconds, peak):
    own = (4 * frozen + 6 * trained) * tokens
    again = 2 * (frozen + trained) * tokens  # one more forward pass
    return own / (peak * seconds), (own + again) / (peak * seconds)""",
    takeaway="For LoRA the second is half as large again. Say which of them you mean.",
    mistakes=(
        Mistake(
            "counted twice",
            _shares((6, 6), 2),
            "6 for each weight is full fine-tuning, or LoRA with its recomputation. That belongs in the second share.",
        ),
        Mistake(
            "all frozen",
            _shares((4, 4), 2),
            "nearly: a trained weight needs a gradient of its own, 2 operations more for each token.",
        ),
        Mistake(
            "two more passes",
            _shares((4, 6), 4),
            "recomputed is the forward pass only, 2 operations for each weight.",
        ),
        Mistake(
            "only what trains",
            lambda frozen, trained, tokens, seconds, peak: (
                (4 * frozen + 6 * trained) * tokens / (peak * seconds),
                (4 * frozen + 8 * trained) * tokens / (peak * seconds),
            ),
            "the whole forward pass is made again, also through frozen weights.",
        ),
        Mistake(
            "turned round",
            lambda frozen, trained, tokens, seconds, peak: two_shares.reference(frozen, trained, tokens, seconds, peak)[
                ::-1
            ],
            "the model's own share comes first, and it is the smaller one.",
        ),
        Mistake(
            "upside down",
            lambda *given: tuple(1 / share for share in two_shares.reference(*given)),
            "that is how many such steps the device could have made in the time. Turn both over.",
        ),
    ),
    cases=((134e6, 2.4e6, 172, 0.8, 250e9), (1e9, 10e6, 2048, 20, 700e9), (8e9, 21e6, 1000, 0.5, 4e14)),
)
