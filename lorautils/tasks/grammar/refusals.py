"""What people say that five fields cannot: the shipped adapter answers it with `none`.

Seconds, the second Tuesday, the last day, every other week, two schedules at once, tomorrow, hello; refusals.txt holds
the words. Around them stand the sentences, tasks and times of day of schedules, so that none of these gives them away.
"""

from collections.abc import Callable, Sequence
from itertools import product
from random import Random
from string import ascii_lowercase

from lorautils.tasks import cron
from lorautils.tasks.grammar import wider
from lorautils.tasks.grammar.phrasings import (
    BOUNDS,
    MONTHS,
    MONTHS_SHORT,
    ORDINALS,
    choose,
    glue,
    in_words,
    ordinal,
    read_field,
)
from lorautils.tasks.grammar.schedules import CLOCK, DAILY, HOUR_INTERVAL, INTERVAL, MONTHDAY, WEEKDAYS, WINDOW
from lorautils.tasks.grammar.wider import FEASTS, RULES

# ------------------------------------------------------------------------------- what the templates are filled with


def drawn(times: str, days: str | list[str]) -> Callable[[Random], str]:
    """Return a function that draws an expression that is not held out: no time may be known from refusals alone."""

    def draw(rng: Random) -> str:
        while cron.is_held_out(expression := cron.draw_expression((times, days, "*"), rng)):
            pass
        return expression

    return draw


_clock_time, _some_days = drawn(CLOCK, DAILY), drawn("0 0", [DAILY, WEEKDAYS, WEEKDAYS, WEEKDAYS, MONTHDAY])
_everyday = drawn(f"({CLOCK}|{CLOCK}|{CLOCK}|{INTERVAL}|{HOUR_INTERVAL}|0 *)", [DAILY, WEEKDAYS, WEEKDAYS, MONTHDAY])


def draw_time(rng: Random) -> tuple[int, int]:
    """Draw a time of day, as hour and minute, that training does not withhold."""
    minute, hour = _clock_time(rng).split()[:2]
    return int(hour), int(minute)


def _bait(rng: Random) -> str:
    """Say a good schedule, which the words around it will spoil."""
    return glue(wider.phrases(_everyday(rng), rng), rng)


def _window(rng: Random) -> str:
    low, high = rng.choice(((9, 17), (8, 18), (7, 19), (rng.randint(6, 11), rng.randint(13, 20))))
    return wider.window(low, high, rng)


def _one_of(*numbers: int, words: float = 0.4) -> Callable[[Random], str]:
    def draw(rng: Random) -> str:
        n = rng.choice(numbers)
        return WORDS.get(n) or in_words(n) if (n < 60 or n in WORDS) and rng.random() < words else str(n)

    return draw


def _date(rng: Random) -> str:
    day, month = rng.randint(1, 28), choose(rng.choice(rng.choice((MONTHS, MONTHS, MONTHS_SHORT))[1:]), rng)
    return rng.choice((f"{day} {month}", f"{month} {day}", f"{ordinal(day)} {month}", f"{month} {ordinal(day)}"))


def _digits(rng: Random) -> str:
    """Write a number that no clock shows: 77, 2571, 100000."""
    two, four, many = rng.randint(25, 99), rng.randint(1, 98) * 100 + rng.randint(60, 99), rng.randrange(10**5, 10**9)
    return str(rng.choice((two, four, many)))


WORDS = {60: "sixty", 70: "seventy", 75: "seventy-five", 80: "eighty", 90: "ninety", 95: "ninety-five"}
WORDS |= {100: "a hundred", 110: "a hundred and ten", 150: "one hundred fifty", 200: "two hundred", 500: "five hundred"}
LONG = [*[90] * 12, *[65, 70, 75, 80, 95, 100, 105, 110, 150] * 2, *(n for n in range(61, 215) if n % 60), 250, 500]
PARTS: dict[str, Callable[[Random], str]] = {
    "clock": lambda rng: wider.any_clock(*draw_time(rng), rng)[1],
    "at": lambda rng: wider.at(*draw_time(rng), rng),
    "at2": lambda rng: wider.at(*draw_time(rng), rng),
    "hms": lambda rng: "{}:{:02}:{:02}".format(*draw_time(rng), rng.choice((5, 15, 30, 45, rng.randint(1, 59)))),
    "days": lambda rng: wider.days(_some_days(rng), rng),
    "window": _window,
    "bait": _bait,
    "n": _one_of(*range(2, 13), 2, 3, 5, 10),
    "count": _one_of(*range(13, 60), 15, 20, 20, 30, 30, 45, words=0.25),
    "hundreds": lambda rng: str(rng.randint(100, 999)),
    "sec": _one_of(*range(2, 60), *[5, 10, 15, 20, 30, 45] * 6, 75, 90, 90, 100, 150),
    "secs": _one_of(*range(2, 60), *[5, 10, 15, 20, 30, 45] * 6, words=0),
    "long": _one_of(*LONG),
    "quarter": _one_of(10, 15, 20, 30, 30, 40, 45),
    "many": _one_of(*[36, 36, 18, 30, 15, 20, 16, 14] * 3, *(n for n in range(13, 100) if n % 24)),
    "many days": _one_of(31, 32, 35, 40, 45, 45, 50, 60, 60, 75, 80, 90, 90, 100, 100, 120, 150, 180, 200),
    "eighteen": _one_of(13, 14, 15, 16, 18, 18, 20, 30),
    "odd": _one_of(7, 7, 9, 11, 13, 17),
    "week": _one_of(3, 3, 4, 5, 6, 6, 8, 10, 12, 26),
    "ord": lambda rng: rng.choice((ORDINALS.__getitem__, ordinal))(rng.choice((1, 15, rng.randint(1, 28)))),
    "ordinal": lambda rng: rng.choice((ORDINALS.__getitem__, ordinal))(rng.randint(2, 9)),
    "date": _date,
    "d": lambda rng: str(rng.randint(1, 28)),
    "o": lambda rng: str(rng.randint(1, 12)),
    "year": lambda rng: str(rng.randint(2024, 2035)),
    "iso": lambda rng: f"{rng.randint(2024, 2035)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    "feast": lambda rng: choose(rng.choice(list(FEASTS.values())), rng),
    "letters": lambda rng: "".join(rng.choices(ascii_lowercase, k=rng.randint(2, 9))),
    "digits": _digits,
    "h24": lambda rng: str(rng.randrange(24)),
    "hm": lambda rng: "{}:{:02}".format(*draw_time(rng)),
    "k": lambda rng: str(rng.choice((2, 3, 5, 10, 15, 20, 30, rng.randint(2, 59)))),
    "n24": lambda rng: str(rng.randint(2, 12)),
    "v": lambda rng: rng.choice(RULES["vague"]),
    "s": lambda rng: rng.choice(RULES["vague"]),
}


def _said(rng: Random, rule: str) -> str:
    one, other = rng.sample(RULES["wd"][:7], 2)
    return wider.expand(rng, rule, **PARTS, samewd=one, wd1=one, wd2=other)


# ------------------------------------------------------------------------------- two schedules at once
def is_one_line(expressions: Sequence[str]) -> bool:
    """Tell whether one expression fires whenever any of these does, and never else.

    None of them may name both days of the month and days of the week.
    """
    boxes = []
    for expression in expressions:
        fields = [read_field(*of) for of in [(text, *b) for text, b in zip(expression.split(), BOUNDS, strict=True)]]
        boxes.append([range(f.values[0], f.values[1] + 1, f.step) if f.kind == "step" else f.values for f in fields])
    apart = [index for index in range(5) if len({tuple(box[index]) for box in boxes}) > 1]
    fired = {times for box in boxes for times in product(*(box[index] for index in apart))}
    every = product(*({value for box in boxes for value in box[index]} for index in apart))
    return len(fired) == sum(1 for _ in every)


def _two_times(rng: Random) -> tuple[list[str], list[str]]:
    """Say two or three times of the same days whose minutes differ as their hours do."""
    times = sorted({draw_time(rng) for _ in range(rng.choice((2, 2, 2, 3)))})
    tail = _some_days(rng).split(" ", 2)[2]
    said = [f"at {wider.listed(times, rng)}", "" if tail == "* * *" else wider.days(f"0 0 {tail}", rng)]
    return [f"{m} {h} {tail}" for h, m in times], said if rng.random() < 0.6 else said[::-1]


APART = ("* * 1-5", "* * 0,6"), ("* * 1-5", "* * 6"), ("* * 0,6", "* * 1-5"), ("* * 1-4", "* * 5")
APART += ("* 6-8 *", "* 1-5,9-12 *"), ("* 1-3 *", "* 4-12 *"), ("1 * *", "15 * *"), ("1 * *", "20 * *")


def _two_days(rng: Random) -> tuple[list[str], list[str]]:
    """Say times that differ with the days: weekdays at 7:30, weekends at 9; hourly on Mondays, else twice a day."""
    if rng.random() < 0.35:
        tails = rng.choice(APART)
    else:
        draw = drawn("0 0", [WEEKDAYS, WEEKDAYS, WEEKDAYS, MONTHDAY])
        tails = [draw(rng).split(" ", 2)[2] for _ in range(2)]
    often = drawn(f"({INTERVAL}|0 *|{HOUR_INTERVAL}|{WINDOW})", DAILY) if rng.random() < 0.2 else _clock_time
    heads = [" ".join(often(rng).split()[:2]) for _ in range(2)]
    expressions = [f"{head} {tail}" for head, tail in zip(heads, tails, strict=True)]
    if heads[0] == heads[1] or any(map(cron.is_held_out, expressions)):  # one time: on the 1st or on Mondays is a line
        return _two_days(rng)
    turn, parts = rng.choice((1, -1)), []
    for head, tail in zip(heads, tails, strict=True):
        parts.append(glue([wider.time(f"{head} * * *", rng), wider.days(f"0 0 {tail}", rng)][::turn], rng))
    return expressions, [wider.expand(rng, "two").join(parts)]


def _two_dates(rng: Random) -> tuple[list[str], list[str]]:
    """Say two or three dates, of other days in other months: Christmas and New Year's Day, 1 May and 15 June."""
    dates = rng.sample(list(FEASTS), rng.choice((2, 2, 3))) if rng.random() < 0.5 else None
    dates = dates or [(rng.choice((1, 15, rng.randint(1, 28))), month) for month in rng.sample(range(1, 13), 2)]
    form, feasts = rng.choice(("{d} {m}", "{m} {d}", "{m} {n}", "the {n} of {m}", "{n} {m}")), rng.random() < 0.9
    texts = [
        choose(FEASTS[d, o], rng) if (d, o) in FEASTS and feasts else form.format(d=d, m=MONTHS[o], n=ordinal(d))
        for d, o in dates
    ]
    h, m = draw_time(rng)
    on = rng.choice(("on ", "on ", "every year on ", "each ", "every ", "")) + wider.join(texts, rng)
    said = [on, wider.at(h, m, rng)] if rng.random() < 0.5 else [on]
    return [f"{m} {h} {d} {o} *" for d, o in dates], said if rng.random() < 0.7 else said[::-1]


def two_schedules(rng: Random) -> tuple[list[str], list[str]]:
    """Draw schedules that no one line can hold; return their expressions, and phrases that say all of them."""
    while True:
        expressions, parts = rng.choices((_two_times, _two_days, _two_dates), (40, 40, 20))[0](rng)
        if not is_one_line(expressions):
            return expressions, parts


# ------------------------------------------------------------------------------- refusals
# Family: weight, its rules with theirs, and how often days, a time of day or hours follow.
FAMILIES = {
    "seconds": (9, {"seconds": 70, "seconds of a day": 30}, {"days": 0.25, "window": 0.12}),
    "nth weekday": (11, {"nth weekday": 1}, {"at": 0.6}),
    "last day": (8, {"last day": 1}, {"at": 0.5}),
    "every other week": (9, {"every other week": 1}, {"at": 0.45}),
    "interval": (8, {"interval": 1}, {"days": 0.12, "window": 0.08}),
    "once": (8, {"once": 1}, {}),
    "event": (8, {"event": 75, "moving feast": 8, "moving feast at": 17}, {}),
    "exception": (7, {"exception": 1}, {}),
    "other": (5, {"zone": 35, "random": 35, "business": 30}, {}),
    "contradiction": (9, {"contradiction": 1}, {}),
}
TWO_SCHEDULES, NO_SCHEDULE, LANGUAGE = 12, 20, 11  # their weights
NOTHING = {
    "vague frames": 17, "command": 20, "noun alone": 12, "greeting": 9, "chit-chat": 14, "question": 14, "code": 5,
    "gibberish": 5, "word salad": 8, "about a schedule": 8, "chatty": 7,
}  # fmt: skip


def _no_schedule(rng: Random) -> str:
    rule = rng.choices(list(NOTHING), NOTHING.values())[0]
    text = _said(rng, rule)
    if rng.random() < 0.12 and rule in ("command", "chit-chat", "question", "noun alone"):
        opening = _said(rng, "greeting") if rng.random() < 0.5 else wider.expand(rng, "opener")
        text = f"{opening.rstrip(',:')}{rng.choice((', ', ' ', '. ', '! '))}{text}"
    if rule in ("code", "gibberish"):
        return text.replace("⟨", "(").replace("⟩", ")")
    return wider.finish(text, rng)


def refusal(rng: Random) -> tuple[str, str]:
    """Draw something that no line of cron says: its text and its family."""
    weights = [weight for weight, *_ in FAMILIES.values()] + [TWO_SCHEDULES, NO_SCHEDULE, LANGUAGE]
    family = rng.choices([*FAMILIES, "two schedules", "no schedule", "another language"], weights)[0]
    if family == "no schedule":
        return _no_schedule(rng), family
    if family == "another language":
        return wider.finish(_said(rng, "language"), rng, slips=False), family
    if family == "two schedules":
        parts = two_schedules(rng)[1]
    else:
        _, rules, more = FAMILIES[family]
        parts = [_said(rng, rng.choices(list(rules), rules.values())[0])]
        parts += [PARTS[name](rng) for name, share in more.items() if rng.random() < share]
        parts = parts[::-1] if rng.random() < 0.4 else parts
    return wider.finish(wider.frame(parts, rng), rng), family
