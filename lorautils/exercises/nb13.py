"""The exercises of notebook 13: a part made faster, the largest thief, the head's share, a short kernel, speed in use.

The formulas behind them: 1 / (1 - share + share / times); 4 operations a frozen weight and token, 6 a trained one.
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
        ([("addmm", 2, 0.50), ("mm", 9, 0.70), ("sum", 8, 0.02), ("exp", 2, 0.04)], ["mm", "addmm"]),
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

shortest_kernel = Exercise(
    name="shortest_kernel",
    question="Write shortest_kernel(wake, cores): how long a kernel must be on one core for sharing to be no loss.",
    difficulty=2,
    minutes=6,
    hints=(
        "Alone the kernel takes t. Shared by all cores it takes wake + t / cores. When are the two equal?",
        "t - t / cores = wake, so t * (cores - 1) / cores = wake.",
    ),
    source="""def shortest_kernel(wake, cores):
    return wake * cores / (cores - 1)  # t = wake + t / cores""",
    takeaway="On two cores it is twice the waking; on a hundred hardly more than the waking itself.",
    mistakes=(
        Mistake(
            "the waking",
            lambda wake, cores: wake,
            "after the waking the work itself is still to be done: wake + t / cores is more than wake.",
        ),
        Mistake(
            "times the cores",
            lambda wake, cores: wake * cores,
            "right for two cores only. With more of them each has less to do, so sharing pays earlier, not later.",
        ),
        Mistake(
            "each one woken",
            lambda wake, cores: wake * (cores - 1),
            "`wake` is the whole wait, however many wake up. Set t equal to wake + t / cores.",
        ),
        Mistake(
            "upside down",
            lambda wake, cores: wake * (cores - 1) / cores,
            "that is less than the waking alone. Solve t = wake + t / cores once more.",
        ),
        Mistake(
            "a share of the waking",
            lambda wake, cores: wake / cores,
            "the work is shared by the cores, the waking is not.",
        ),
    ),
    cases=((10, 2), (10, 4), (6, 3)),
)

speed_used = Exercise(
    name="speed_used",
    question="Write speed_used(frozen, trained, tokens, seconds, gigaflops): the share of its speed that a step uses.",
    difficulty=3,
    minutes=8,
    hints=(
        "A frozen weight costs a token 4 operations: 2 forwards, 2 to pass the gradient on. A trained one costs 6.",
        "How many operations would the machine have made in these seconds? gigaflops * 1e9 * seconds.",
    ),
    source="""def speed_used(frozen, trained, tokens, seconds, gigaflops):
    operations = (4 * frozen + 6 * trained) * tokens
    return operations / (gigaflops * 1e9 * seconds)""",
    takeaway="Near 1, only fewer operations or another machine help. Far below it, profile.",
    mistakes=(
        Mistake(
            "all trained",
            lambda frozen, trained, tokens, seconds, gigaflops: (
                6 * (frozen + trained) * tokens / (gigaflops * 1e9 * seconds)
            ),
            "that is full fine-tuning. Frozen weights have no gradients of their own.",
        ),
        Mistake(
            "all frozen",
            lambda frozen, trained, tokens, seconds, gigaflops: (
                4 * (frozen + trained) * tokens / (gigaflops * 1e9 * seconds)
            ),
            "nearly: the trained ones need a gradient of their own, 2 operations more for each token.",
        ),
        Mistake(
            "forwards only",
            lambda frozen, trained, tokens, seconds, gigaflops: (
                2 * (frozen + trained) * tokens / (gigaflops * 1e9 * seconds)
            ),
            "that is the forward pass. A step goes back as well.",
        ),
        Mistake(
            "giga",
            lambda frozen, trained, tokens, seconds, gigaflops: (
                (4 * frozen + 6 * trained) * tokens / (gigaflops * seconds)
            ),
            "giga is 10^9: that many times too much. A share is at most 1.",
        ),
        Mistake(
            "upside down",
            lambda frozen, trained, tokens, seconds, gigaflops: (
                gigaflops * 1e9 * seconds / ((4 * frozen + 6 * trained) * tokens)
            ),
            "that is how many such steps the machine could have made in the time. Turn it over.",
        ),
        Mistake(
            "the bound in seconds",
            lambda frozen, trained, tokens, seconds, gigaflops: (4 * frozen + 6 * trained) * tokens / (gigaflops * 1e9),
            "that is how long the products would take. Which share is it of the time that was taken?",
        ),
    ),
    cases=((134e6, 2.4e6, 172, 0.8, 160), (1e9, 10e6, 2048, 20, 700), (8e9, 21e6, 1000, 0.5, 400_000)),
)
