"""What a cron expression means: its English by cron-descriptor, its one canonical form, and when it fires.
Notebooks 00 and 08 call these functions as `cron.describe`, `cron.is_valid` and `cron.equivalent`.
Format: "minute hour day-of-month month day-of-week"; each field allows a set of values, here by croniter."""

import re
import reprlib
from functools import lru_cache
from itertools import groupby

from cron_descriptor import ExpressionDescriptor, FormatException, Options
from croniter import croniter

from lorautils.tasks.grammar.phrasings import BOUNDS

FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ENGLISH = Options(locale_code="en_US", use_24hour_time_format=False)


def describe(cron: str) -> str:
    """Return cron-descriptor's English for an expression, e.g. "At 09:30 AM, Monday through Friday".

    ValueError for what is not a standard five-field expression.

    Example:
        >>> describe("30 9 * * 1-5")
        'At 09:30 AM, Monday through Friday'
    """
    expanded = _expand(cron)
    try:
        return ExpressionDescriptor(cron, _ENGLISH).get_description()
    except FormatException:  # it cannot read some lists with steps in them, such as "*/5,0" hours
        values = [",".join(map(str, sorted(of))) for of in expanded]
        fields = [text if text == "*" else spelled for text, spelled in zip(cron.split(), values, strict=True)]
        return ExpressionDescriptor(" ".join(fields), _ENGLISH).get_description()


_ITEM = r"(\*|[0-9]+(-[0-9]+)?|[a-z]{3}(-[a-z]{3})?)(/[0-9]+)?"
_FIELD = re.compile(rf"{_ITEM}(,{_ITEM})*", re.IGNORECASE)


@lru_cache(maxsize=100_000)
def allowed(field: str, index: int) -> frozenset[int]:
    """Return the values that one field allows, by croniter; ValueError if it is not standard cron."""
    if not _FIELD.fullmatch(field):
        shown = reprlib.repr(field)
        raise ValueError(f"{shown} is no field of standard cron: use numbers, three-letter names, * , - and /")
    fields = ["*"] * 5
    fields[index] = re.sub(r"\b(\w+)-\1(/\d+)?\b", r"\1", field)  # 9-9: croniter reads the whole cycle, cron reads 9
    low, high = BOUNDS[index]
    try:
        values = croniter.expand(" ".join(fields))[0][index]
    except ValueError:  # croniter's errors are ValueErrors
        raise ValueError(f"{reprlib.repr(field)} is no {FIELDS[index]}: expected values from {low} to {high}") from None
    return frozenset(range(low, high + 1) if "*" in values else values)


def _expand(cron: str) -> list[frozenset[int]]:
    """Return the values that each of the five fields allows; ValueError if it is not standard cron."""
    fields = cron.split()
    if len(fields) != 5:
        shown = reprlib.repr(cron)
        raise ValueError(f"{shown} has {len(fields)} fields: write minute hour day-of-month month day-of-week")
    return [allowed(field, index) for index, field in enumerate(fields)]


def is_valid(cron: str | None) -> bool:
    """Tell whether this is a standard cron expression of exactly five fields.

    Example:
        >>> is_valid("30 9 * * 1-5"), is_valid("30 25 * * *"), is_valid(None)
        (True, False, False)
    """
    try:
        return isinstance(cron, str) and bool(_expand(cron))
    except ValueError:
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
            values |= allowed(item, index)
    if len(values) == high - low + 1:
        return "*"
    neighbours = groupby(enumerate(sorted(values)), lambda place: place[1] - place[0])
    parts = [[value for _, value in run] for _, run in neighbours]
    plain = [(p[0], f"{p[0]}-{p[-1]}" if len(p) > 2 else ",".join(map(str, p))) for p in parts]
    spans = [(a, "*" if (a, b) == (low, high) else f"{a}-{b}", s) for a, b, s in steps]
    return ",".join(text for _, text in sorted(plain + [(a, f"{span}/{s}") for a, span, s in spans]))


def canonical(cron: str) -> str:
    """Write an expression in the one form that the course trains on; it fires at the same times.

    Numbers only, Sunday is 0, lists sorted, three or more neighbours as a range, `*` for all, `*/15` for `0-59/15`.
    ValueError for what is not a standard five-field expression.

    Example:
        >>> canonical("0-59/15 9 * * MON,TUE,WED,7")
        '*/15 9 * * 0-3'
    """
    _expand(cron)
    fields = [_canonical_field(text, index) for index, text in enumerate(cron.lower().split())]
    for one, other in ((2, 4), (4, 2)):  # days of the month and of the week: 1-31 OR Mondays is every day
        if fields[one] == "*" and cron.split()[one] not in ("*", "*/1") and "*" not in fields[other]:
            fields[other] = "*"
    return " ".join(fields)


def equivalent(a: str, b: str) -> bool:
    """Tell whether two expressions fire at the same times; False if one of them is not valid.

    Example:
        >>> equivalent("0 9 * * 7", "0 9 * * SUN")
        True
    """
    if not (is_valid(a) and is_valid(b)):
        return False
    a, b = canonical(a), canonical(b)
    return a == b or firing_times(a) == firing_times(b)


def firing_times(cron: str) -> tuple[frozenset[int], frozenset[int], frozenset[tuple[int, int, int]]]:
    """Return minutes, hours, and days as (month, day, day of the week): over 400 years each date meets each weekday."""
    minutes, hours, days, months, weekdays = _expand(cron)
    _, _, day_text, _, weekday_text = cron.split()
    either = "*" not in (day_text, weekday_text)
    dates = frozenset(
        (month, day, weekday)
        for month in months
        for day in range(1, MONTH_DAYS[month - 1] + 1)
        for weekday in range(7)
        if ((day in days or weekday in weekdays) if either else (day in days and weekday in weekdays))
    )
    return (minutes, hours, dates) if dates else (frozenset(), frozenset(), dates)
