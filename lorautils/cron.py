"""The course's task, English -> cron: random schedules, their descriptions, honest splits, and scoring.
Notebooks 00 and 08-10 train and test on it; the phrasings of people come from lorautils.phrasings.
Format: "minute hour day-of-month month day-of-week", e.g. "At 09:30 AM, Monday through Friday" -> "30 9 * * 1-5"."""

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from random import Random
from typing import NamedTuple

from cron_descriptor import ExpressionDescriptor, Options
from croniter import croniter

from lorautils import phrasings

BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))  # of minute, hour, day of month, month, day of week
_ENGLISH = Options(locale_code="en_US", use_24hour_time_format=False)


@dataclass(frozen=True)
class Example:
    """One schedule: how it is said, its canonical cron expression, and the family of schedules it belongs to."""

    text: str
    cron: str
    family: str


# ------------------------------------------------------------------------------- what an expression means


def describe(cron: str) -> str:
    """Return cron-descriptor's English for an expression, e.g. "At 09:30 AM, Monday through Friday"."""
    return ExpressionDescriptor(cron, _ENGLISH).get_description()


_ITEM = r"(\*|[0-9]+(-[0-9]+)?|[a-z]{3}(-[a-z]{3})?)(/[0-9]+)?"
_FIELD = re.compile(rf"{_ITEM}(,{_ITEM})*", re.IGNORECASE)


@lru_cache(maxsize=100_000)
def _allowed(field: str, index: int) -> frozenset[int]:
    """Return the values that one field allows, by croniter; ValueError if it is not standard cron."""
    if not _FIELD.fullmatch(field):
        raise ValueError(f"{field!r} is no field of standard cron: use numbers, three-letter names, * , - and /")
    fields = ["*"] * 5
    fields[index] = re.sub(r"\b(\w+)-\1\b", r"\1", field)  # croniter reads 9-9 as the whole cycle; to cron it is 9
    values = croniter.expand(" ".join(fields))[0][index]
    low, high = BOUNDS[index]
    return frozenset(range(low, high + 1) if values == ["*"] else values)


def _expand(cron: str) -> list[frozenset[int]]:
    """Return the values that each of the five fields allows; ValueError if it is not standard cron."""
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(f"{cron!r} has {len(fields)} fields: write minute hour day-of-month month day-of-week")
    return [_allowed(field, index) for index, field in enumerate(fields)]


def is_valid(cron: str | None) -> bool:
    """Tell whether this is a standard cron expression of exactly five fields."""
    try:
        return isinstance(cron, str) and bool(_expand(cron))
    except ValueError:  # croniter's errors are ValueErrors too
        return False


def _stepped(item: str, low: int, high: int) -> tuple[int, int, int] | None:
    """Read `*/s`, `a/s` or `a-b/s` as (a, b, s); None if it is no step that reaches at least two values."""
    match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)/(\d+)", item)
    if match is None:
        return None
    start, end, step = (int(group) if group else None for group in match.groups())
    start, end = (low, high) if start is None else (start, high if end is None else end)
    return (start, end, step) if step > 1 and low <= start and start + step <= end <= high else None


@lru_cache(maxsize=100_000)
def _canonical_field(text: str, index: int) -> str:
    low, high = BOUNDS[index]
    values, steps = set(), set()
    for item in text.split(","):
        step = _stepped(item, low, high)
        if step:
            steps.add(step)
        else:
            values |= _allowed(item, index)
    if len(values) == high - low + 1:
        return "*"
    parts: list[list[int]] = []
    for value in sorted(values):
        if parts and parts[-1][-1] == value - 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    plain = [(p[0], f"{p[0]}-{p[-1]}" if len(p) > 2 else ",".join(map(str, p))) for p in parts]
    spans = [(a, "*" if (a, b) == (low, high) else f"{a}-{b}", s) for a, b, s in steps]
    return ",".join(text for _, text in sorted(plain + [(a, f"{span}/{s}") for a, span, s in spans]))


def canonical(cron: str) -> str:
    """Write an expression in the one form that the course trains on; it fires at the same times.

    Numbers only, Sunday is 0, lists sorted, three or more neighbours as a range, `*` for all, `*/15` for `0-59/15`.
    ValueError for what is not a standard five-field expression.
    """
    _expand(cron)
    fields = [_canonical_field(text, index) for index, text in enumerate(cron.lower().split())]
    for one, other in ((2, 4), (4, 2)):  # days of the month and of the week: 1-31 OR Mondays is every day
        if fields[one] == "*" and cron.split()[one] not in ("*", "*/1"):
            fields[other] = "*"
    return " ".join(fields)


def equivalent(a: str, b: str) -> bool:
    """Tell whether two expressions fire at the same times; False if one of them is not valid."""
    if not (is_valid(a) and is_valid(b)):
        return False
    a, b = canonical(a), canonical(b)
    return a == b or _firing_times(a) == _firing_times(b)


def _firing_times(cron: str) -> tuple[frozenset[int], frozenset[int], frozenset[tuple[int, int, int]]]:
    """Minutes, hours, and days as (month, day, day of the week): over 400 years each date meets each weekday."""
    minutes, hours, days, months, weekdays = _expand(cron)
    _, _, day_text, _, weekday_text = cron.split()
    either = "*" not in (day_text, weekday_text)
    dates = frozenset(
        (month, day, weekday)
        for month in months
        for day in range(1, (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1] + 1)
        for weekday in range(7)
        if ((day in days or weekday in weekdays) if either else (day in days and weekday in weekdays))
    )
    return (minutes, hours, dates) if dates else (frozenset(), frozenset(), dates)


# ------------------------------------------------------------------------------- random schedules, part by part
# A time is "minute hour", days are (day of month, day of week), months one field.


def _values(rng: Random, count: int, low: int, high: int) -> str:
    return ",".join(str(value) for value in sorted(rng.sample(range(low, high + 1), count)))


def _span(rng: Random, low: int, high: int, longest: int) -> str:
    start = rng.randint(low, high - 2)
    return f"{start}-{rng.randint(start + 2, min(high, start + longest))}"


def _minute(rng: Random) -> int:
    return rng.choice((0, rng.choice((15, 30, 45)), 5 * rng.randrange(12), rng.randrange(60), rng.randrange(60)))


def _clock(rng: Random) -> str:
    hour = rng.choice((rng.randrange(24), rng.randrange(24), rng.randint(6, 19)))
    return f"{_minute(rng)} {hour}"


def _midnight(rng: Random) -> str:
    return "0 0"


def _times(rng: Random) -> str:
    count = rng.choice((2, 2, 2, 3, 3, 4))
    return f"{rng.choice((0, 0, _minute(rng)))} {_values(rng, count, *rng.choice(((6, 22), (0, 23))))}"


def _grid(rng: Random) -> str:
    minutes = rng.choice(("0,30", "0,30", "15,45", "0,15,30,45", "0,20,40", _values(rng, 2, 0, 59), _values(rng, 3, 0, 59)))
    hours = rng.choice((str(rng.randrange(24)), _values(rng, 2, 6, 20), _values(rng, 3, 6, 20)))
    return f"{minutes} {hours}"


def _minute_step(rng: Random) -> str:
    return f"*/{rng.choice((2, 3, 4, 5, 5, 6, 10, 10, 12, 15, 15, 20, 20, 25, 30, 30, 40, 45, rng.randint(2, 45)))}"


def _interval(rng: Random) -> str:
    return f"{_minute_step(rng)} *"


def _hour_step(rng: Random) -> str:
    return f"{rng.choice((0, 0, 0, _minute(rng)))} */{rng.choice((2, 2, 3, 4, 5, 6, 8, 12, rng.randint(2, 12)))}"


def _hours(rng: Random) -> str:
    low = rng.choice((rng.randint(0, 21), rng.randint(6, 14), rng.randint(7, 10)))
    return rng.choice(("9-17", f"{low}-{rng.randint(low + 1, 23)}", f"{low}-{rng.randint(low + 1, 23)}"))


def _window(rng: Random) -> str:
    minute = rng.choice((_minute_step(rng), _minute_step(rng), _minute_step(rng), "0", "0", "*", str(_minute(rng))))
    return f"{minute} {_hours(rng)}"


def _two_windows(rng: Random) -> str:
    late, early = rng.randint(18, 23), rng.randint(1, 7)
    first, second = rng.randint(5, 10), rng.randint(13, 18)
    day = f"{first}-{rng.randint(first + 1, 12)},{second}-{rng.randint(second + 1, 22)}"
    return f"{rng.choice((_minute_step(rng), _minute_step(rng), '0'))} {rng.choice((day, f'0-{early},{late}-23'))}"


def _past_hour(rng: Random) -> str:
    count = rng.choice((1, 1, 1, 2, 2, 3, 4))
    minutes = rng.choice((str(_minute(rng)), "0,30", "15,45", "0,15,30,45", "0,20,40", *[_values(rng, count, 0, 59)] * 4))
    return f"{minutes} {rng.choice(('*', '*', '*', _hours(rng), f'*/{rng.randint(2, 6)}'))}"


def _hourly(rng: Random) -> str:
    return rng.choice(("0 *", f"{_minute(rng)} *", f"{_minute(rng)} *"))


def _every_minute(rng: Random) -> str:
    some = rng.choice((f"0-{rng.choice((4, 9, 14, 19, 29))}", f"{rng.choice((30, 45, 50, 55))}-59", _span(rng, 0, 59, 40)))
    return f"{rng.choice(('*', some))} {rng.choice(('*', str(rng.randrange(24)), str(rng.randrange(24)), _hours(rng)))}"


def _one_hour(rng: Random) -> str:
    return f"{_minute_step(rng)} {rng.randrange(24)}"


def _minute_start(rng: Random) -> str:
    step = rng.choice((5, 10, 15, 20, 30, rng.randint(2, 25)))
    start = rng.randint(1, min(step, 29))
    end = rng.choice((59, 59, 59, rng.randint(start + step, 59)))
    return f"{start}-{end}/{step} {rng.choice(('*', '*', '*', _hours(rng), f'*/{rng.randint(2, 6)}'))}"


def _hour_start(rng: Random) -> str:
    step, start = rng.choice((2, 2, 3, 4, rng.randint(2, 6))), rng.randint(1, 14)
    end = rng.choice((23, rng.randint(start + step, 23), start + step * rng.randint(1, (23 - start) // step)))
    minute = rng.choice(("0", "0", "0", str(_minute(rng)), "0,30", "*/15"))
    return f"{minute} {start}-{end}/{step}"


def _any_day(rng: Random) -> tuple[str, str]:
    return "*", "*"


def _weekdays(rng: Random) -> tuple[str, str]:
    count = rng.choice((2, 2, 2, 3, 3, 4, 5, 6))
    one, some = str(rng.randrange(7)), _values(rng, count, 0, 6)
    return "*", rng.choice((one, one, one, "1-5", "1-5", "0,6", some, some, some, _span(rng, 0, 6, 5)))


def _monthday(rng: Random) -> tuple[str, str]:
    return str(rng.choice((1, 15, rng.randint(1, 31), rng.randint(1, 31), rng.randint(1, 28)))), "*"


def _monthdays(rng: Random) -> tuple[str, str]:
    some = _values(rng, rng.choice((2, 2, 2, 3, 4)), 1, 31)
    span = rng.choice((_span(rng, 1, 31, 12), _span(rng, 1, 31, 29), f"1-{rng.randint(3, 20)}", f"{rng.randint(15, 28)}-31"))
    return rng.choice((some, some, span, span, "1,15", f"{_span(rng, 1, 15, 8)},{rng.randint(18, 31)}")), "*"


def _day_step(rng: Random) -> tuple[str, str]:
    step, start = rng.choice((2, 2, 2, 3, 3, 4, 5, 7, 10)), rng.randint(2, 10)
    some = f"{start}-{rng.choice((31, rng.randint(start + step, 31)))}/{step}"
    return rng.choice((f"*/{step}", f"*/{step}", some)), "*"


def _either_day(rng: Random) -> tuple[str, str]:
    return rng.choice((_monthday, _monthdays))(rng)[0], _weekdays(rng)[1]


def _weekday_step(rng: Random) -> tuple[str, str]:
    return "*", rng.choice(("*/2", "*/3", "1-5/2", "0-4/2", "1-6/2", "2-6/2"))


def _some_days(rng: Random) -> tuple[str, str]:
    return rng.choice((_any_day, _any_day, _any_day, _weekdays, _weekdays, _weekdays, _weekdays, _monthday))(rng)


def _few_days(rng: Random) -> tuple[str, str]:
    return rng.choice((_weekdays, _weekdays, _weekdays, _monthday, _monthday, _monthdays, _day_step))(rng)


def _any_month(rng: Random) -> str:
    return "*"


def _month(rng: Random) -> str:
    return str(rng.randint(1, 12))


def _months(rng: Random) -> str:
    some, span = _values(rng, rng.choice((2, 2, 3, 4)), 1, 12), _span(rng, 1, 12, 8)
    quarter = rng.choice(("1-3", "4-6", "7-9", "10-12", "1-6", "7-12", "6-8", "1,2,12", "1,4,7,10", "3,6,9,12"))
    out = rng.randint(1, 12)
    all_but_one = ",".join(str(month) for month in range(1, 13) if month != out)
    return rng.choice((some, some, span, span, quarter, _month(rng), _month(rng), all_but_one))


def _month_step(rng: Random) -> str:
    step, start = rng.choice((2, 2, 3, 3, 3, 4, 6, 6, 5)), rng.randint(2, 5)
    end = rng.choice((12, rng.randint(start + step, 12))) if start + step <= 12 else 12
    return rng.choice((f"*/{step}", f"*/{step}", f"*/{step}", f"{start}-{end}/{step}"))


def _dates(days: Callable[[Random], tuple[str, str]], months: Callable[[Random], str] = _any_month) -> Callable[[Random], str]:
    def draw(rng: Random) -> str:
        (day, weekday), month = days(rng), months(rng)
        return f"{day} {month} {weekday}"

    return draw


def _holiday(rng: Random) -> str:
    day, month = rng.choice(list(phrasings.HOLIDAYS))
    return f"{day} {month} *"


# Family: weight, time, dates. The first ten, the everyday ones, are two thirds of what is drawn.
FAMILIES: dict[str, tuple[float, Callable[[Random], str], Callable[[Random], str]]] = {
    "daily time": (9, _clock, _dates(_any_day)),
    "weekday time": (13, _clock, _dates(_weekdays)),
    "monthday time": (8, _clock, _dates(_monthday)),
    "date time": (7, _clock, _dates(_monthday, _month)),
    "days only": (6, _midnight, _dates(_few_days)),
    "date only": (2, _midnight, _dates(_monthday, _month)),
    "minute interval": (5, _interval, _dates(_some_days)),
    "hour interval": (4, _hour_step, _dates(_some_days)),
    "window": (8, _window, _dates(_some_days)),
    "hourly": (3, _hourly, _dates(_some_days)),
    "holiday": (1.5, lambda rng: rng.choice((_midnight, _clock))(rng), _holiday),
    "several times": (4, _times, _dates(_some_days)),
    "several times, more days": (1, _times, _dates(_few_days)),
    "times crossing": (1.5, _grid, _dates(_some_days)),
    "minutes past": (2.5, _past_hour, _dates(_some_days)),
    "every minute": (1.5, _every_minute, _dates(_some_days)),
    "one hour": (1, _one_hour, _dates(_some_days)),
    "minute start": (1.5, _minute_start, _dates(_some_days)),
    "hour start": (2.5, _hour_start, _dates(_some_days)),
    "two windows": (1, _two_windows, _dates(_some_days)),
    "monthdays time": (3, _clock, _dates(_monthdays)),
    "day step": (2, _clock, _dates(_day_step)),
    "month time": (1.5, _clock, _dates(_any_day, _months)),
    "month only": (0.7, _midnight, _dates(_any_day, _months)),
    "weekday month": (2, lambda rng: rng.choice((_midnight, _clock, _clock))(rng), _dates(_weekdays, _months)),
    "monthdays month": (2.5, lambda rng: rng.choice((_midnight, _clock, _clock))(rng), _dates(_monthdays, _month)),
    "monthday months": (2, lambda rng: rng.choice((_midnight, _clock, _clock))(rng), _dates(_monthday, _months)),
    "monthdays months": (0.7, _clock, _dates(_monthdays, _months)),
    "first of months": (1.5, lambda rng: rng.choice((_midnight, _clock))(rng), _dates(lambda rng: ("1", "*"), _month_step)),
    "day month step": (1, _clock, _dates(_few_days, _month_step)),
    "interval days": (1.5, lambda rng: rng.choice((_interval, _hour_step))(rng), _dates(_few_days)),
    "interval months": (1, lambda rng: rng.choice((_interval, _hour_step, _hourly))(rng), _dates(_any_day, _months)),
    "window days": (1, _window, _dates(_few_days)),
    "window months": (1, _window, _dates(_any_day, _months)),
    "times months": (1, _times, _dates(_any_day, _months)),
    "either day": (0.7, _clock, _dates(_either_day, lambda rng: rng.choice((_any_month, _month))(rng))),
    "weekday step": (0.5, _clock, _dates(_weekday_step)),
}
_NAMES = list(FAMILIES)
_WEIGHTS = [weight for weight, _, _ in FAMILIES.values()]


def random_schedule(rng: Random) -> tuple[str, str]:
    """Draw a canonical expression and its family, everyday schedules more often than rare ones."""
    family = rng.choices(_NAMES, _WEIGHTS)[0]
    _, time, dates = FAMILIES[family]
    return canonical(f"{time(rng)} {dates(rng)}"), family


# ------------------------------------------------------------------------------- splits

# Compositions that only Test-B has: time, days, restricted months. Each two of the three parts occur in training.
HELD_OUT = {
    ("window", "weekday", "month"): (_window, _weekdays, _months),
    ("times", "weekday", "month"): (_times, _weekdays, _months),
    ("interval", "monthday", "month"): (_interval, _monthdays, _months),
}


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


def _writes_unseen_time(cron: str) -> bool:
    minutes, hours = (re.findall(r"(?<![/\d])\d+", field) for field in cron.split()[:2])
    return any(_unseen_time(int(hour), int(minute)) for hour in hours for minute in minutes)


def normalized(text: str) -> str:
    """Return a text without case, spacing and final punctuation: what two phrasings must differ in to count as two."""
    return " ".join(text.lower().split()).rstrip(" .!?")


def train_examples(n: int, seed: int = 0, human_share: float = 0.5) -> list[Example]:
    """Make n training examples with distinct texts: `human_share` of them in people's phrasing, the rest the library's.

    The same arguments give the same examples. None has a time of Test-A or a composition of Test-B.
    """
    if n < 0 or not 0 <= human_share <= 1:
        raise ValueError(f"expected n >= 0 and human_share between 0 and 1, got n={n} and human_share={human_share}")
    rng, examples, described, human_count = Random(seed), {}, set(), 0
    while len(examples) < n:
        cron, family = random_schedule(rng)
        human = human_count < human_share * (len(examples) + 1)
        if _writes_unseen_time(cron) or composition(cron) in HELD_OUT or (not human and cron in described):
            continue
        text = phrasings.say(cron, rng) if human else describe(cron)
        if text is None or normalized(text) in examples:
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
    """Make Test-A: everyday schedules at times of day that no training example has, in the library's phrasing."""

    def draw(rng: Random) -> tuple[str, str] | None:
        cron, family = random_schedule(rng)
        minute, hour = cron.split()[:2]
        everyday = family in ("daily time", "weekday time", "monthday time", "date time")
        return (cron, family) if everyday and _unseen_time(int(hour), int(minute)) else None

    return _test(n, 1, draw)


def test_b(n: int = 200) -> list[Example]:
    """Make Test-B: compositions of three parts that training has only in pairs, in the library's phrasing."""

    def draw(rng: Random) -> tuple[str, str] | None:
        kinds = rng.choice(list(HELD_OUT))
        time, days, months = HELD_OUT[kinds]
        cron = canonical(f"{time(rng)} {_dates(days, months)(rng)}")
        return (cron, " + ".join(kinds)) if composition(cron) == kinds else None

    return _test(n, 2, draw)


def test_c() -> list[Example]:
    """Load Test-C: phrasings written by hand before the first training, which no training code reads.

    OSError if the file is missing.
    """
    path = resources.files("lorautils") / "data" / "test_c.jsonl"
    if not path.is_file():
        raise OSError(f"{path} is missing: install lorautils from a clone of the repository (pip install -e .)")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Example(row["text"], row["cron"], row["family"]) for row in rows]


# Functions called test_* in a module that tests import: pytest shall not collect them.
test_a.__test__ = test_b.__test__ = test_c.__test__ = False


# ------------------------------------------------------------------------------- scoring


class Score(NamedTuple):
    """How many of n answers are exactly right, fire at the right times, and are valid cron at all."""

    n: int
    exact: int
    equivalent: int
    valid: int


def score(predictions: Sequence[str], examples: Sequence[Example]) -> Score:
    """Count right answers; ValueError if there is not one prediction for each example."""
    if len(predictions) != len(examples):
        raise ValueError(f"got {len(predictions)} predictions for {len(examples)} examples: give one for each, in order")
    answers = [(str(prediction).strip(), example.cron) for prediction, example in zip(predictions, examples, strict=True)]
    return Score(
        n=len(answers),
        exact=sum(answer == truth for answer, truth in answers),
        equivalent=sum(answer == truth or equivalent(answer, truth) for answer, truth in answers),
        valid=sum(is_valid(answer) for answer, _ in answers),
    )


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval for a share, by default at 95 % (E. B. Wilson, 1927); ValueError unless 0 <= successes <= n."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected n >= 1 and 0 <= successes <= n, got {successes} of {n}")
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def nearest_neighbour(train: Sequence[Example], texts: Iterable[str]) -> list[str]:
    """Answer each text with the expression of the training text most like it (TF-IDF of character 2- to 4-grams)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    known = vectorizer.fit_transform(example.text for example in train)
    similarity = vectorizer.transform(texts) @ known.T  # (texts, train), sparse
    return [train[index].cron for index in similarity.argmax(axis=1).A1]
