"""Which schedules there are: families of cron expressions with their weights, from which `tasks.cron` draws.

Notebooks 00 and 08 train on what it draws. A family is (weight, times, days, months), each a template with holes.
"""

from collections.abc import Callable, Sequence
from random import Random

from lorautils.tasks.grammar import phrasings


def _some(count: int, low: int, high: int) -> Callable[[Random], str]:
    return lambda rng: ",".join(str(value) for value in sorted(rng.sample(range(low, high + 1), count)))


def _span(low: int, high: int, longest: int, shortest: int = 2) -> Callable[[Random], str]:
    def draw(rng: Random) -> str:
        start = rng.randint(low, high - shortest)
        return f"{start}-{rng.randint(start + shortest, min(high, start + longest))}"

    return draw


def _steps(low: int, high: int, latest: int, steps: Sequence[int]) -> Callable[[Random], str]:
    """Draw steps that begin after the field's first value: 5-59/10, 9-17/2."""

    def draw(rng: Random) -> str:
        start, step = rng.randint(low, latest), rng.choice(steps)
        end = rng.choice((high, high, rng.randint(start + step, high), start + (high - start) // step * step))
        return f"{start}-{end}/{step}"

    return draw


def _all_but_one(low: int, high: int) -> Callable[[Random], str]:
    def draw(rng: Random) -> str:
        out = rng.randint(low, high)
        return ",".join(str(value) for value in range(low, high + 1) if value != out)

    return draw


def _both_halves(rng: Random) -> str:
    hour = rng.randint(1, 11)
    return f"{hour},{hour + 12}"


def _holiday(rng: Random) -> str:
    day, month = rng.choice([*phrasings.HOLIDAYS, *phrasings.HOLIDAYS, *phrasings.NEAR_HOLIDAYS])
    return f"{day} {month}"


# What a {hole} in the tables below is filled with: m minutes, h hours, d days of the month, o months, w weekdays.
HOLES: dict[str, Callable[[Random], object]] = {
    "m": lambda rng: rng.choice((0, rng.choice((15, 30, 45)), 5 * rng.randrange(12), *rng.choices(range(60), k=2))),
    "h": lambda rng: rng.choice((rng.randrange(24), rng.randrange(24), rng.randint(6, 19))),
    "d": lambda rng: rng.choice((1, 15, rng.randint(1, 31), rng.randint(1, 31), rng.randint(1, 28))),
    "o": lambda rng: rng.randint(1, 12),
    "w": lambda rng: rng.randrange(7),
    **{f"m{count}": _some(count, 0, 59) for count in (2, 3, 4)},
    **{f"h{count}": _some(count, 0 if count == 2 else 6, 23) for count in (2, 3, 4)},
    **{f"d{count}": _some(count, 1, 31) for count in (2, 3, 4)},
    **{f"o{count}": _some(count, 1, 12) for count in (2, 3, 4, 10)},
    **{f"w{count}": _some(count, 0, 6) for count in (2, 3, 4, 5, 6)},
    "step": lambda rng: rng.choice(
        (5, 10, 15, 20, 30, 2, 3, 4, 6, 12, 25, 40, 45, *rng.choices((5, 10, 15, 20, 30), k=9))
    ),
    "hours": _span(0, 23, 16, shortest=1),
    "day hours": _span(7, 20, 12, shortest=1),
    "morning": _span(5, 12, 5, shortest=1),
    "afternoon": _span(13, 22, 6, shortest=1),
    "m span": _span(0, 59, 40),
    "d span": _span(1, 31, 20),
    "o span": _span(1, 12, 8),
    "w span": _span(0, 6, 5),
    "m steps": _steps(1, 59, 29, (5, 5, 10, 10, 15, 20, 30, 2, 3, 6, 8, 12, 25)),
    "h steps": _steps(1, 23, 14, (2, 2, 2, 3, 3, 4, 5, 6)),
    "d steps": _steps(2, 31, 10, (2, 2, 3, 3, 4, 5, 7, 10)),
    "o steps": _steps(2, 12, 5, (2, 3, 4, 6)),
    "n": lambda rng: rng.randint(2, 12),
    "other hours": _all_but_one(0, 23),
    "other days": _all_but_one(1, 31),
    "other months": _all_but_one(1, 12),
    "am and pm": _both_halves,
    "holiday": _holiday,
}

# Templates: (a|b) is a choice. Times are "minute hour"; days are "day-of-month @ weekday", where @ is the month.
CLOCK, MIDNIGHT = "{m} {h}", "0 0"
OFTEN_MIDNIGHT = [MIDNIGHT, CLOCK, CLOCK]
TIMES = "(0|0|{m}) ({h2}|{h2}|{h3}|{h4}|{am and pm})"
CROSSING = "(0,30|0,30|15,45|0,15,30,45|0,20,40|{m2}|{m3}) ({h}|{h2}|{h3})"
INTERVAL, HOUR_INTERVAL = "*/{step} *", "(0|0|0|{m}) */(2|2|3|4|5|6|8|12|{n})"
HOURS = "(9-17|{hours}|{day hours})"
WINDOW = f"(*/{{step}}|*/{{step}}|*/{{step}}|0|0|*|{{m}}) {HOURS}"
NIGHT = "0-(1|2|3|4|5|6|7),(18|19|20|21|22|23)-23"
BUT_ONE_HOUR = "(0|0|{m}|*/{step}) {other hours}"
TWO_WINDOWS = f"((*/{{step}}|*/{{step}}|0) ({{morning}},{{afternoon}}|{NIGHT})|({BUT_ONE_HOUR}|*/{{step}} {NIGHT}))"
PAST_HOUR = f"({{m}}|{{m}}|0,30|15,45|0,15,30,45|0,20,40|{{m2}}|{{m2}}|{{m3}}|{{m4}}) (*|*|*|{HOURS}|*/(2|3|4|6))"
EVERY_MINUTE = f"(*|*|0-(4|9|14|19|29)|(30|45|50|55)-59|{{m span}}) (*|{{h}}|{{h}}|{{h2}}|{HOURS})"
MINUTE_STEPS, HOUR_STEPS = f"{{m steps}} (*|*|*|{HOURS}|*/(2|3|4|6))", "(0|0|0|{m}|0,30|*/15) {h steps}"
DAILY, MONTHDAY = "* @ *", "{d} @ *"
WELL_KNOWN = "(1-4|2-5|1-3,5|1,2,4,5|1,3-5|1,3,5|1,3,5|2,4|2,4)"  # MWF, TTh, weekdays except one
WEEKDAYS = f"* @ ({{w}}|{{w}}|{{w}}|1-5|1-5|0,6|{{w2}}|{{w2}}|{{w3}}|({{w4}}|{{w5}}|{{w6}})|{{w span}}|{WELL_KNOWN})"
MONTHDAYS = "({d2}|{d2}|{d3}|{d4}|{d span}|1-(3|5|7|10|14|20)|(15|16|20|25|28)-31|1,15|1-7,(10|21)|{other days}) @ *"
DAY_STEPS = "(*/(2|3)|*/(2|3|4|5|7|10)|{d steps}) @ *"
SOME_DAYS = [DAILY] * 3 + [WEEKDAYS] * 4 + [MONTHDAY]
FEW_DAYS = [WEEKDAYS] * 3 + [MONTHDAY] * 2 + [MONTHDAYS, DAY_STEPS]
MONTHS = (
    "({o2}|{o3}|{o4}|{o span}|{o span}|{o}|{o}|1-3|4-6|7-9|10-12|6-8|1,2,12|1,4,7,10|1-6|7-12|{other months}|{o10})"
)
MONTH_STEPS = "(*/(2|3|4|5|6)|*/(2|3|3|6)|{o steps})"

RECURRING = [INTERVAL, HOUR_INTERVAL, WINDOW, TIMES, PAST_HOUR, HOUR_STEPS, MINUTE_STEPS, EVERY_MINUTE]

# Family: weight, times, days, months. Test-A is drawn from the first four; the first ten are the everyday ones.
FAMILIES = {
    "daily time": (9, CLOCK, DAILY, "*"),
    "weekday time": (13, CLOCK, WEEKDAYS, "*"),
    "monthday time": (8, CLOCK, MONTHDAY, "*"),
    "date time": (7, CLOCK, MONTHDAY, "{o}"),
    "days only": (6, MIDNIGHT, FEW_DAYS, "*"),
    "date only": (2, MIDNIGHT, MONTHDAY, "{o}"),
    "minute interval": (5, INTERVAL, SOME_DAYS, "*"),
    "hour interval": (4, HOUR_INTERVAL, SOME_DAYS, "*"),
    "window": (8, WINDOW, SOME_DAYS, "*"),
    "hourly": (3, "(0|{m}|{m}) *", SOME_DAYS, "*"),
    "holiday": (2, [*OFTEN_MIDNIGHT * 4, *RECURRING], "{holiday} *", "*"),
    "several times": (4, TIMES, SOME_DAYS, "*"),
    "several times, few days": (1, TIMES, FEW_DAYS, "*"),
    "times crossing": (1.5, CROSSING, SOME_DAYS, "*"),
    "minutes past": (2.5, PAST_HOUR, SOME_DAYS, "*"),
    "every minute": (1.5, EVERY_MINUTE, SOME_DAYS, "*"),
    "one hour": (1, "*/{step} ({h}|{h}|{h2})", SOME_DAYS, "*"),
    "minute steps": (1.5, MINUTE_STEPS, SOME_DAYS, "*"),
    "hour steps": (2.5, HOUR_STEPS, SOME_DAYS, "*"),
    "two windows": (1, TWO_WINDOWS, SOME_DAYS, "*"),
    "monthdays time": (3, CLOCK, MONTHDAYS, "*"),
    "day steps": (2.5, OFTEN_MIDNIGHT, DAY_STEPS, ["*", "*", MONTHS]),
    "months time": (1.5, CLOCK, DAILY, MONTHS),
    "months only": (0.7, MIDNIGHT, DAILY, MONTHS),
    "weekdays months": (2, OFTEN_MIDNIGHT, WEEKDAYS, MONTHS),
    "dates": (2.5, [*OFTEN_MIDNIGHT * 4, *RECURRING], [MONTHDAYS, MONTHDAYS, MONTHDAY], "{o}"),
    "monthday months": (2, OFTEN_MIDNIGHT, MONTHDAY, MONTHS),
    "monthdays months": (0.7, CLOCK, MONTHDAYS, MONTHS),
    "first of months": (1.5, OFTEN_MIDNIGHT, "1 @ *", MONTH_STEPS),
    "days, month steps": (1, CLOCK, FEW_DAYS, MONTH_STEPS),
    "interval, few days": (1.5, [INTERVAL, HOUR_INTERVAL], FEW_DAYS, "*"),
    "interval, months": (1, [INTERVAL, HOUR_INTERVAL, "{m} *"], DAILY, MONTHS),
    "window, few days": (1, WINDOW, FEW_DAYS, "*"),
    "window, months": (1, WINDOW, DAILY, MONTHS),
    "times, months": (1, TIMES, DAILY, MONTHS),
    "three parts": (3, RECURRING, [WEEKDAYS, *FEW_DAYS], [MONTHS, MONTHS, MONTH_STEPS]),
    "either day": (0.7, CLOCK, "({d}|{d2}|{d span}) @ ({w}|{w2}|1-5|0,6)", "(*|*|{o})"),
    "weekday steps": (0.5, CLOCK, "* @ (*/2|*/3|1-5/2|0-4/2|1-6/2|2-6/2)", "*"),
}
CLOCK_FAMILIES, EVERYDAY = list(FAMILIES)[:4], list(FAMILIES)[:10]

# Compositions that only Test-B has: time, days, restricted months. Each two of the three parts occur in training.
HELD_OUT = {
    ("window", "weekday", "month"): (WINDOW, WEEKDAYS, MONTHS),
    ("times", "weekday", "month"): (TIMES, WEEKDAYS, MONTHS),
    ("interval", "monthday", "month"): (INTERVAL, MONTHDAYS, MONTHS),
}
