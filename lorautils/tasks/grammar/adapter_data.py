"""What the shipped adapter is trained on: `cron.train_examples`, more ways to say a schedule, and refusals."""

from random import Random

from lorautils.tasks import cron
from lorautils.tasks.cron import NOT_CRON, Example
from lorautils.tasks.grammar.lookalikes import lookalike
from lorautils.tasks.grammar.refusals import refusal
from lorautils.tasks.grammar.wider import say, schedule

FROM_WORDS = 0.24  # of the wider sayings: schedules that people say in ways of their own, instead of any schedule
ALIKE = 0.25  # of the wider sayings and of the refusals: those that look like one another


def adapter_examples(
    n: int, seed: int = 0, *, wider: float = 0.5, none: float = 0.2, human_share: float = 0.8
) -> list[Example]:
    """Make n examples with distinct texts, shuffled: shares of wider sayings and of refusals, the rest train_examples'.

    The same arguments give the same examples. None has a time of Test-A, a composition of Test-B, or a text of Test-C,
    of Test-D, E, F or of the validation split. A refusal is answered with NOT_CRON. ValueError for no shares.

    Example:
        >>> examples = adapter_examples(20, none=0.5)
        >>> sum(example.cron == "none" for example in examples)
        10
    """
    if not (0 <= wider <= 1 and 0 <= none <= 1 and wider + none <= 1):
        raise ValueError(f"expected shares of 0 to 1 that add up to 1 at most, got wider={wider} and none={none}")
    schedules = n - round(n * none)
    plain = cron.train_examples(max(0, schedules - round(n * wider)), seed, human_share)
    examples, rng, kept_out = (
        {cron.normalized(example.text): example for example in plain},
        Random(seed),
        cron.reserved(),
    )
    for draw, total in ((_wider, schedules), (_refusal, n)):
        while len(examples) < total:
            example = draw(rng)
            if cron.fingerprint(example.text) not in kept_out:
                examples.setdefault(cron.normalized(example.text), example)
    shuffled = list(examples.values())
    rng.shuffle(shuffled)
    return shuffled


def _wider(rng: Random) -> Example:
    while True:
        kind = rng.random()
        if kind < ALIKE:
            text, expression, family = lookalike(True, rng)
        elif kind < ALIKE + FROM_WORDS:
            text, expression, family = schedule(rng)
        else:
            expression, family = cron.random_schedule(rng)
            text = say(expression, rng)
        if text is not None and not cron.is_held_out(expression):
            return Example(text, expression, family)


def _refusal(rng: Random) -> Example:
    if rng.random() < ALIKE:
        return Example(*lookalike(False, rng))
    text, family = refusal(rng)
    return Example(text, NOT_CRON, family)
