"""The course's task, English -> cron: random schedules, honest splits, prompts, and scoring.
Notebooks 00 and 08 to 15 train and test on it; grammar/ says what an expression means, and how people say it.
Format: "minute hour day-of-month month day-of-week", e.g. "At 09:30 AM, Monday through Friday" -> "30 9 * * 1-5"."""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from numbers import Integral
from random import Random
from typing import NamedTuple

from lorautils import ROOT
from lorautils.data import Pair
from lorautils.tasks.grammar import phrasings
from lorautils.tasks.grammar.expressions import MONTH_DAYS, allowed, canonical, describe, equivalent, is_valid
from lorautils.tasks.grammar.schedules import CLOCK_FAMILIES, FAMILIES, HELD_OUT, HOLES

ADAPTER = ROOT / "adapters" / "cron"
NOT_CRON = "none"  # what a phrase is answered with that five fields cannot say


@dataclass(frozen=True)
class Example:
    """One schedule: how it is said, its canonical cron expression, and the family of schedules it belongs to."""

    text: str
    cron: str
    family: str


# ------------------------------------------------------------------------------- random schedules


def draw_expression(parts: Sequence[str | list[str]], rng: Random) -> str:
    """Fill templates of times, days and months; draw again if the day never comes, such as 31 June."""
    while True:
        times, days, months = (part if isinstance(part, str) else rng.choice(part) for part in parts)
        chosen = phrasings.choose(f"{times} {days}".replace("@", months), rng)
        cron = re.sub(r"{(.+?)}", lambda hole: str(HOLES[hole[1]](rng)), chosen)
        *_, day, month, _ = cron.split()
        if not month.isdigit() or day == "*" or max(allowed(day, 2)) <= MONTH_DAYS[int(month) - 1] or "/" in day:
            return canonical(cron)


def random_schedule(rng: Random, variety: float = 1.0) -> tuple[str, str]:
    """Draw a canonical expression and its family; `variety` below 1 makes all but the clock families rarer."""
    weights = [row[0] * (1 if name in CLOCK_FAMILIES else variety) for name, row in FAMILIES.items()]
    family = rng.choices(list(FAMILIES), weights)[0]
    return draw_expression(FAMILIES[family][1:], rng), family


# ------------------------------------------------------------------------------- splits


def composition(cron: str) -> tuple[str, str, str]:
    """Return the kinds of time, days and months that a canonical expression puts together."""
    minute, hour, day, month, weekday = cron.split()
    if minute.isdigit() and hour.isdigit():
        time = "clock"
    elif re.fullmatch(r"[\d,]+", minute) and re.fullmatch(r"[\d,]+", hour):
        time = "times"
    elif hour == "*":
        time = "interval" if "/" in minute else "minutes"
    else:
        time = "hours" if "/" in hour else "window"
    days = "day" if day == weekday == "*" else "weekday" if day == "*" else "monthday" if weekday == "*" else "either"
    return time, days, "any" if month == "*" else "month"


def _unseen_time(hour: int, minute: int) -> bool:
    """Tell whether this time of day belongs to Test-A: one in eight, but never a full or quarter hour."""
    return minute % 15 != 0 and zlib.crc32(f"{hour:02}:{minute:02}".encode()) % 8 == 0


def is_held_out(cron: str) -> bool:
    """Tell whether a canonical expression has a time of Test-A or a composition of Test-B: no training may have it."""
    minutes, hours = (re.findall(r"(?<![/\d])\d+", field) for field in cron.split()[:2])
    unseen = any(_unseen_time(int(hour), int(minute)) for hour in hours for minute in minutes)
    return unseen or composition(cron) in HELD_OUT


def normalized(text: str) -> str:
    """Return a text without case, spacing and final punctuation: what two phrasings must differ in to count as two."""
    return " ".join(text.lower().split()).rstrip(" .!?")


def fingerprint(text: str) -> str:
    """Return a hash of the normalized text: training avoids the reserved ones, and reads no test."""
    return hashlib.sha256(normalized(text).encode()).hexdigest()[:16]


def reserved() -> set[str]:
    """Return the fingerprints of the texts of Test-C, D, E, F and the validation split."""
    return set(_lines("test_hashes.txt"))


def _lines(name: str) -> list[str]:
    return resources.files("lorautils.tasks").joinpath("cases", name).read_text(encoding="utf-8").splitlines()


def train_examples(n: int, seed: int = 0, human_share: float = 0.3) -> list[Example]:
    """Make n training examples with distinct texts: `human_share` of them in people's phrasing, the rest the library's.

    The same arguments give the same examples. None has a time of Test-A, a composition of Test-B, or a text of Test-C,
    of Test-D, E, F or of the validation split.
    A small budget is spent on clock times: the rest is rare at first and has its full share from 5,000 on.

    Example:
        >>> len(train_examples(20)), train_examples(20) == train_examples(20)
        (20, True)
    """
    if not isinstance(n, Integral) or n < 0 or not 0 <= human_share <= 1:
        raise ValueError(
            f"expected a whole n >= 0 and human_share between 0 and 1, got n={n} and human_share={human_share}"
        )
    rng, examples, described, human_count = Random(seed), {}, set(), 0
    kept_out, variety = reserved(), min(1.0, max(0.15, n / 5000))
    while len(examples) < n:
        cron, family = random_schedule(rng, variety)
        human = human_count < human_share * (len(examples) + 1)
        if is_held_out(cron) or (not human and cron in described):
            continue
        text = phrasings.say(cron, rng) if human else describe(cron)
        if text is None or normalized(text) in examples or fingerprint(text) in kept_out:
            continue
        examples[normalized(text)] = Example(text, cron, family)
        human_count += human
        described |= set() if human else {cron}
    return list(examples.values())


def _test(n: int, seed: int, draw: Callable[[Random], tuple[str, str] | None]) -> list[Example]:
    rng, crons = Random(seed), {}
    while len(crons) < n:
        drawn = draw(rng)
        if drawn is not None:
            crons.setdefault(*drawn)
    return [Example(describe(cron), cron, family) for cron, family in crons.items()]


def test_a(n: int = 200) -> list[Example]:
    """Make Test-A: everyday schedules at times of day that no training example has, in the library's phrasing.

    Example:
        >>> len(test_a())
        200
    """

    def draw(rng: Random) -> tuple[str, str] | None:
        cron, family = random_schedule(rng)
        minute, hour = cron.split()[:2]
        return (cron, family) if family in CLOCK_FAMILIES and _unseen_time(int(hour), int(minute)) else None

    return _test(n, 1, draw)


def test_b(n: int = 200) -> list[Example]:
    """Make Test-B: compositions of three parts that training has only in pairs, in the library's phrasing."""

    def draw(rng: Random) -> tuple[str, str] | None:
        kinds = rng.choice(list(HELD_OUT))
        cron = draw_expression(HELD_OUT[kinds], rng)
        return (cron, " + ".join(kinds)) if composition(cron) == kinds else None

    return _test(n, 2, draw)


def test_c() -> list[Example]:
    """Load Test-C: phrases written one by one before the first training, which no training code reads."""
    return hand_written("test_c")


def hand_written(name: str, kind: str | None = None) -> list[Example]:
    """Load the cases of cases/NAME.jsonl, or those of one kind; training avoids their texts by `reserved`, unread.

    "test_c" was written before the first training; then "test_d", "test_e" and "test_f", each after the one before it
    had guided the grammars. The shipped adapter rests on no look at "test_f". Kinds of E and F are "schedule", and
    "none" for what five fields cannot say, answered with NOT_CRON. "validation" alone chooses learning rates, recipes
    and thresholds. Its kinds are "hand" for what people say, "library" for the library's phrasing of random schedules,
    and "none". ValueError for another kind.

    Example:
        >>> len(hand_written("validation")), hand_written("test_e", "none")[0].cron
        (360, 'none')
    """
    rows = [json.loads(line) for line in _lines(f"{name}.jsonl")]
    kinds = sorted({row["kind"] for row in rows if "kind" in row})
    if kind not in (None, *kinds):
        raise ValueError(f"expected a kind of {name}, {', '.join([*kinds, 'or None for all'])}, got {kind!r:.60}")
    return [Example(r["text"], r["cron"] or NOT_CRON, r["family"]) for r in rows if kind in (None, r.get("kind"))]


# ------------------------------------------------------------------------------- prompts


def cron_prompt(text: str) -> str:
    """Return the prompt, in the base model's chat format, that asks for the cron expression of a phrase.

    Example:
        >>> cron_prompt("every day at nine")
        '<|im_start|>user\\nCron: every day at nine<|im_end|>\\n<|im_start|>assistant\\n'
    """
    return f"<|im_start|>user\nCron: {text}<|im_end|>\n<|im_start|>assistant\n"


def few_shot_prompt(shots: Iterable[Example], text: str) -> str:
    """Return `cron_prompt(text)` with solved examples before it, as earlier turns of the chat."""
    solved = "".join(f"{cron_prompt(shot.text)}{shot.cron}<|im_end|>\n" for shot in shots)
    return solved + cron_prompt(text)


def cron_pairs(examples: Iterable[Example]) -> list[Pair]:
    """Turn cron examples into training pairs."""
    return [Pair(cron_prompt(example.text), example.cron) for example in examples]


# ------------------------------------------------------------------------------- scoring


class Score(NamedTuple):
    """How many of n answers are exactly right, fire at the right times, and are valid cron at all."""

    n: int
    exact: int
    equivalent: int
    valid: int


def score(predictions: Sequence[str], examples: Sequence[Example]) -> Score:
    """Count right answers; ValueError if there is not one prediction for each example.

    Example:
        >>> case = Example("every day at 9", "0 9 * * *", "daily")
        >>> score(["0 9 * * *", "0 9 */1 * *", "nine"], [case] * 3)
        Score(n=3, exact=1, equivalent=2, valid=2)
    """
    if len(predictions) != len(examples):
        raise ValueError(
            f"got {len(predictions)} predictions for {len(examples)} examples: give one for each, in order"
        )
    answers = [(str(said).strip(), case.cron) for said, case in zip(predictions, examples, strict=True)]
    return Score(
        n=len(answers),
        exact=sum(answer == truth for answer, truth in answers),
        equivalent=sum(answer == truth or equivalent(answer, truth) for answer, truth in answers),
        valid=sum(is_valid(answer) for answer, _ in answers),
    )


def nearest(train: Sequence[Example], texts: Iterable[str], k: int = 1) -> list[list[Example]]:
    """Return for each text the k training examples whose texts are most like it (TF-IDF of character 2- to 4-grams).

    The nearest comes first. ValueError if there is nothing to compare with.

    Example:
        >>> known = [Example("every day at 9", "0 9 * * *", "a"), Example("each Sunday", "0 0 * * 0", "b")]
        >>> [example.cron for example in nearest(known, ["on a sunday"])[0]]
        ['0 0 * * 0']
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = list(texts)
    if not train:
        raise ValueError("no training examples were given: give at least one, which can then be near")
    if not texts:
        return []
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    known = vectorizer.fit_transform(example.text for example in train)
    similarity = (vectorizer.transform(texts) @ known.T).toarray()  # (texts, train)
    return [[train[index] for index in row] for row in (-similarity).argsort(axis=1, kind="stable")[:, :k]]


def nearest_neighbour(train: Sequence[Example], texts: Iterable[str]) -> list[str]:
    """Answer each text with the expression of the training text most like it, as `nearest` finds it.

    ValueError if there is nothing to compare with.

    Example:
        >>> known = [Example("every day at 9", "0 9 * * *", "a"), Example("each Sunday", "0 0 * * 0", "b")]
        >>> nearest_neighbour(known, ["on a sunday"])
        ['0 0 * * 0']
    """
    return [first.cron for first, *_ in nearest(train, texts)]
