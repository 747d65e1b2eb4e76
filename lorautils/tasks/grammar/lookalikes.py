"""Schedules that look like what five fields cannot say, and their doubles, which five fields cannot say indeed.

9:15 and 14:15 are one line, 9:15 and 14:40 are not; every other day is one, every other week is not. The shipped
adapter must tell them apart by what they mean, so the same words say both; wider.txt holds them.
"""

from collections.abc import Callable, Sequence
from random import Random

from lorautils.tasks import cron
from lorautils.tasks.cron import NOT_CRON, canonical
from lorautils.tasks.grammar import phrasings, wider
from lorautils.tasks.grammar.phrasings import (
    DAYS,
    DAYS_SHORT,
    MONTHS,
    MONTHS_SHORT,
    ORDINALS,
    choose,
    glue,
    in_words,
    parts_of_day,
)
from lorautils.tasks.grammar.refusals import PARTS, draw_time, drawn, is_one_line
from lorautils.tasks.grammar.schedules import CLOCK, DAILY, HOUR_INTERVAL, INTERVAL, MONTHDAY, WEEKDAYS, WINDOW
from lorautils.tasks.grammar.wider import FEASTS, clock, expand, join

Said = tuple[list[str], str]  # the phrases of a sentence, and its expression or NOT_CRON
_some_days = drawn("0 0", [DAILY, DAILY, DAILY, WEEKDAYS, WEEKDAYS, MONTHDAY])
_head = drawn(f"({CLOCK}|{CLOCK}|{CLOCK}|{CLOCK}|{INTERVAL}|{HOUR_INTERVAL}|0 *|{WINDOW})", DAILY)


def _csv(values) -> str:
    return ",".join(map(str, sorted(set(values))))


def _mixed(parts: Sequence[str], rng: Random, loose: float = 0.4) -> list[str]:
    return list(parts)[::-1] if rng.random() < loose else list(parts)


def _tail(rng: Random, every_day: str = "every day to an interval") -> tuple[str, str]:
    """Draw the days of an expression and say them; every day often without a word."""
    tail = _some_days(rng).split(" ", 2)[2]
    if tail == "* * *":
        return tail, "" if rng.random() < 0.5 else expand(rng, every_day)
    return tail, wider.days(f"0 0 {tail}", rng)


def _clocks(kind: str, times: Sequence[tuple[int, int]], rng: Random) -> list[str]:
    """Say times of day in one style."""
    while True:
        seed = rng.random()
        texts = [clock(kind, *time, Random(seed)) for time in times]
        if None not in texts:
            return texts


# ------------------------------------------------------------------------------- several times of a day
Times = list[tuple[int, int]]
KINDS = ("marked", "marked", "24")
LABELS = {  # what happens at two to four times of a day, and within which hours
    ("coffee", "soup", "cake"): ((9, 10), (11, 13), (15, 17)),
    ("early shift", "late shift", "night shift"): ((5, 7), (13, 15), (20, 23)),
    ("open", "close"): ((6, 11), (16, 22)),
    ("start", "break", "end"): ((6, 9), (10, 13), (14, 18)),
    ("morning round", "evening round"): ((6, 10), (17, 20)),
}
NEUTRAL = [("first bell", "second bell", "third bell"), ("group A", "group B", "group C"), ("bus one", "bus two")]
NEUTRAL += [("Anna", "Tom", "Priya"), ("first feed", "second feed", "third feed"), ("ward A", "ward B", "ward C")]


def _draw_times(fits: bool, rng: Random) -> Times:
    h, m = draw_time(rng)
    if not fits:
        times = {draw_time(rng) for _ in range(rng.choice((2, 2, 3, 3, 4)))}
        if rng.random() < 0.5:  # all but one of them share their minute
            times = {(hour, m) for hour in rng.sample(range(5, 23), rng.choice((1, 2, 2, 3)))} | {draw_time(rng)}
        return sorted(times)
    shape = rng.random()
    if shape < 0.55:
        return sorted((hour, m) for hour in {h, *rng.sample(range(5, 23), rng.choice((1, 1, 2, 2, 3)))})
    minutes = {m, *rng.choices((0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55), k=rng.choice((1, 2, 2, 3)))}
    hours = [h] if shape < 0.9 else [h, rng.randrange(6, 22)]
    return sorted({(hour, minute) for hour in hours for minute in list(minutes)[: 4 if shape < 0.9 else 2]})


def _in_figures(times: Times, rng: Random) -> str:
    """Say 0715 1115 1515; 9.05, 9.25; 7h30/19h30."""
    form, tight = rng.choice((("{h:02}{m:02}", 1), ("{h:02}{m:02}", 1), ("{h}:{m:02}", 0), ("{h:02}:{m:02}", 0),
                              ("{h}.{m:02}", 0), ("{h}h{m:02}", 0)))  # fmt: skip
    links = (" ", " ", "/", ", ", " and ") if tight else (", ", ", ", " / ", " + ", " ", " and ")
    link, texts = rng.choice(links), [form.format(h=h, m=m) for h, m in times]
    text = link.join(texts) if link != ", " or rng.random() < 0.5 else join(texts, rng, "and times")
    return text + (rng.choice((" hrs", " hours", "")) if tight and rng.random() < 0.3 else "")


def _in_one_half(times: Times, rng: Random) -> str | None:
    """Say 8.05, 8.25 and 8.50am; twenty past five and twenty past ten, both in the morning; None for other hours."""
    shared = [part for part in ("morning", "afternoon", "evening") if all(part in parts_of_day(h, m) for h, m in times)]
    if not shared or not all(1 <= h % 12 <= 10 for h, _ in times):
        return None
    half = "am" if times[0][0] < 12 else "pm"
    form = rng.choice(("{h}.{m:02}", "{h}:{m:02}", "{h}:{m:02}", ""))
    on_dial = [(h % 12, m) for h, m in times]
    texts = [form.format(h=h, m=m) for h, m in on_dial] if form else _clocks("dial", on_dial, rng)
    if form and rng.random() < 0.5:
        return join(texts, rng) + rng.choice((" ", "")) + expand(rng, half)
    part = expand(rng, shared[0])
    together = rng.choice(("", f", {'both' if len(times) == 2 else 'all'}", ", each"))
    return f"{join(texts, rng)}{together} {part}"


def _labelled(times: Times, rng: Random) -> str | None:
    """Say breakfast 7:30, lunch 12:30, dinner 18:30; None for times that no label fits."""
    names = [labels for labels, hours in LABELS.items() if len(labels) == len(times) and
             all(low <= h <= high for (low, high), (h, _) in zip(hours, times, strict=True))]  # fmt: skip
    names = names or [labels[: len(times)] for labels in NEUTRAL if len(labels) >= len(times)]
    if not names:
        return None
    form, clocks = rng.choice(("{} {}", "{} at {}", "{}: {}", "{} {}")), _clocks(rng.choice(KINDS), times, rng)
    texts = [form.format(*pair) for pair in zip(rng.choice(names), clocks, strict=True)]
    return rng.choice((", ", ", ", "; ", " and ", " / ")).join(texts)


def _later(times: Times, rng: Random) -> str | None:
    """Say at 7 and half an hour later; None for more than two times and for gaps that nobody counts."""
    gap = (times[-1][0] - times[0][0]) * 60 + times[-1][1] - times[0][1]
    if len(times) != 2 or (gap > 60 and gap % 30) or gap % 5:
        return None
    hours, minutes = divmod(gap, 60)
    named = {15: "a quarter of an hour", 30: "half an hour", 60: "an hour", 90: "an hour and a half"}
    count = rng.choice((str, in_words))
    told = f"{count(hours)} and a half hours" if minutes else f"{count(hours)} hours"
    gap_text = named.get(gap) or (f"{count(gap)} minutes" if gap < 60 else told)
    return expand(rng, "again later", at=wider.at(*times[0], rng), gap=gap_text)


def _past_one_hour(times: Times, rng: Random) -> str | None:
    """Say 5, 10 and 20 minutes past 3 in the morning; None for times of several hours."""
    if len({h for h, _ in times}) > 1 or not all(0 < m < 45 for _, m in times):
        return None
    write = rng.choice((str, str, in_words))
    told = _clocks(rng.choice(KINDS), [(times[0][0], 0)], rng)[0]
    return expand(rng, "minutes of an hour", l=join([write(m) for _, m in times], rng), c=told)


def _both_halves(times: Times, rng: Random) -> str | None:
    """Say at 3:20, am and pm; None unless each time comes twice a day."""
    morning = [(h, m) for h, m in times if 1 <= h <= 10]
    if not morning or sorted(morning + [(h + 12, m) for h, m in morning]) != times:
        return None
    return expand(rng, "two halves", l=join(_clocks("dial", morning, rng), rng))


def _told(times: Times, rng: Random) -> str | None:
    """Say the times one by one, now and then the later one first."""
    kind = rng.choice(KINDS)
    texts = _clocks(kind, times, rng) if rng.random() < 0.6 else [_clocks(kind, [time], rng)[0] for time in times]
    if rng.random() < 0.35:
        rng.shuffle(texts)
    return join(texts, rng, "and times")


def _once_each(times: Times, rng: Random) -> str | None:
    """Say once at 8am and once at 8pm; None for more than two times."""
    if len(times) != 2:
        return None
    texts = _clocks(rng.choice(KINDS), times, rng)
    return rng.choice((" and ", ", ", " and then ", " and ")).join(f"once at {text}" for text in texts)


WAYS = {
    _in_figures: 4,
    _in_one_half: 5,
    _labelled: 3,
    _later: 3,
    _past_one_hour: 3,
    _both_halves: 3,
    _told: 5,
    _once_each: 2,
}
WAYS |= {wider.listed: 3}


def several_times(fits: bool, rng: Random) -> Said | None:
    """Say times of a day that are all hours at all minutes, or that are not."""
    times = _draw_times(fits, rng)
    if fits and rng.random() < 0.12:
        h, m = rng.randint(1, 10), draw_time(rng)[1]
        times = [(h, m), (h + 12, m)]
    tail, days = _tail(rng, "every day")
    expressions = [f"{m} {h} {tail}" for h, m in times]
    if len(times) < 2 or is_one_line(expressions) != fits or any(map(cron.is_held_out, expressions)):
        return None
    way = rng.choices(list(WAYS), WAYS.values())[0]
    text = way(times, rng)
    if text is None:
        return None
    lead = "" if way in (_labelled, _later, _past_one_hour, _once_each) else rng.choice(("at ", "at ", ""))
    expression = f"{_csv(m for _, m in times)} {_csv(h for h, _ in times)} {tail}"
    return _mixed([lead + text, days], rng), canonical(expression) if fits else NOT_CRON


# ------------------------------------------------------------------------------- dates
DATE_FORMS = ("{d} {m}", "{m} {d}", "{m} {n}", "the {n} of {m}", "{n} of {m}", "{n} {m}", "{d} {s}", "{s} {d}")


def dates(fits: bool, rng: Random) -> Said | None:
    """Say dates of a year: all days in all months, 15 April and 15 October, or not, 15 April and 1 October."""
    days = [rng.choice((1, 1, 15, 15, rng.randint(1, 28), rng.randint(1, 28)))]
    months = sorted(rng.sample(range(1, 13), 2) if rng.random() < 0.6 else rng.choice(([1, 7], [3, 9], [1, 4, 7, 10])))
    if rng.random() < 0.3:
        days, months = sorted(rng.sample(range(1, 29), rng.choice((2, 2, 3)))), months[:1]
    said = [(day, month) for month in months for day in days]
    if not fits:
        said = sorted({(rng.choice((1, 15, rng.randint(1, 28))), month) for _, month in said}, key=lambda date: date[1])
    h, m = draw_time(rng) if rng.random() < 0.6 else (0, 0)
    expressions = [f"{m} {h} {day} {month} *" for day, month in said]
    if len(said) < 2 or is_one_line(expressions) != fits:
        return None
    form = rng.choice(DATE_FORMS)
    names = {month: (MONTHS[month], choose(MONTHS_SHORT[month], rng)) for _, month in said}
    texts = [form.format(d=d, n=phrasings.ordinal(d), m=names[o][0], s=names[o][1]) for d, o in said]
    lead = rng.choice(("on ", "on ", "on ", "every year on ", "each year on ", "yearly on ", ""))
    if not form.startswith("the") and rng.random() < 0.25:
        lead = rng.choice(("every ", "each "))
    if len(said) == 2 and rng.random() < 0.2:
        lead = f"{expand(rng, 'twice a year')}{rng.choice((', on ', ': ', ', ', ' on '))}"
    at = wider.at(h, m, rng) if (h, m) != (0, 0) else rng.choice(("", "", f"at {expand(rng, 'midnight')}"))
    expression = f"{m} {h} {_csv(day for day, _ in said)} {_csv(month for _, month in said)} *"
    return _mixed([lead + join(texts, rng), at], rng, 0.25), canonical(expression) if fits else NOT_CRON


# ------------------------------------------------------------------------------- days, each with its time
def days_and_times(fits: bool, rng: Random) -> Said | None:
    """Say two days of the week with a time each: the same one, or another."""
    names, end = (DAYS, rng.choice(("", "s"))) if rng.random() < 0.7 else ([choose(d, rng) for d in DAYS_SHORT], "")
    one, other = rng.sample(range(7), 2)
    sets = [([one], names[one] + end), ([other], names[other] + end)]
    if rng.random() < 0.25:
        sets = _mixed([([1, 2, 3, 4, 5], "weekdays"), ([day := rng.choice((0, 6))], DAYS[day] + "s")], rng)
    (h, m), second = draw_time(rng), draw_time(rng)
    at = wider.at(h, m, rng)
    if fits:
        again = at if rng.random() < 0.4 else wider.at(h, m, rng)
        too = again if rng.random() < 0.5 else expand(rng, "same time", at=again)
    elif second == (h, m):
        return None
    else:
        too = wider.at(*second, rng)
    text = expand(rng, "day and time", d=sets[0][1], e=sets[1][1], at=at, too=too)
    return [text], canonical(f"{m} {h} * * {_csv(sets[0][0] + sets[1][0])}") if fits else NOT_CRON


# ------------------------------------------------------------------------------- exceptions
NO_DAYS = ["{feast}", "public holidays", "bank holidays", "the first {wd} of the month", "the last {wd} of the month"]
NO_DAYS += ["every other {wd}", "the last day of the month", "{date}", "school holidays", "the third {wd}"]
NO_DAYS += ["Easter Monday", "Good Friday", "the {ord} of {mon}"]
NO_MONTHS = ["leap years", "odd years", "even weeks", "the school holidays", "the week of Easter", "week {week}"]
NO_MONTHS += [
    "the last week of {mon}",
    "the first week of {mon}",
    "months with a public holiday",
    "years without an audit",
]
BASES = {"weekdays base": (1, 2, 3, 4, 5), "every day base": (0, 1, 2, 3, 4, 5, 6), "six days base": (1, 2, 3, 4, 5, 6)}


def but_some_days(fits: bool, rng: Random) -> Said:
    """Say days of the week without one or two of them, or without days that no field knows."""
    base = rng.choices(list(BASES), (5, 4, 2))[0]
    out = rng.sample(BASES[base], rng.choice((1, 1, 1, 2)))
    plural = rng.random() < 0.6
    left_out = join([DAYS[day] + "s" * plural for day in sorted(out)], rng)
    if not fits:
        left_out = choose(rng.choice(NO_DAYS), rng).format_map(wider.filled(rng, PARTS))
    head = " ".join(_head(rng).split()[:2])
    text = expand(rng, "not on these", base=lambda rng: expand(rng, base), x=left_out)
    said = [text, wider.time(f"{head} * * *", rng)]
    loose = 0 if text.startswith(("not ", "no ", "never ", "closed ", "on ", left_out)) else 0.4
    days = _csv(day for day in BASES[base] if day not in out)
    return _mixed(said, rng, loose), canonical(f"{head} * * {days}") if fits else NOT_CRON


def but_some_months(fits: bool, rng: Random) -> Said:
    """Say days of all months but one to three, or without weeks and years that no field knows."""
    head, tail = " ".join(_head(rng).split()[:2]), _some_days(rng).split(" ", 2)[2]
    count, first = rng.choice((1, 1, 2, 2, 3)), rng.randint(1, 12)
    out = [(first + index - 1) % 12 + 1 for index in range(count)]
    names = [choose((MONTHS if rng.random() < 0.8 else MONTHS_SHORT)[month], rng) for month in out]
    left_out = join(names, rng) if fits else choose(rng.choice(NO_MONTHS), rng).format_map(wider.filled(rng, PARTS))
    said = expand(rng, "every day base") if tail == "* * *" else wider.days(f"0 0 {tail}", rng)
    parts = _mixed([said, wider.time(f"{head} * * *", rng)], rng)
    text = rng.choice((", ", " ", ", ")) + expand(rng, "not in these", x=left_out)
    day, _, weekday = tail.split()
    expression = f"{head} {day} {_csv(month for month in range(1, 13) if month not in out)} {weekday}"
    return [glue(parts, rng) + text], canonical(expression) if fits else NOT_CRON


def short_months(fits: bool, rng: Random) -> Said:
    """Say a day that not every month has: the others are left out, or another day stands in."""
    day, (h, m) = rng.choice((29, 30, 31, 31, 31)), draw_time(rng)
    nth = rng.choice((phrasings.ordinal, ORDINALS.__getitem__))(day)
    note = expand(rng, "no such day" if fits else "another day instead", d=day, nth=nth)
    days, at = expand(rng, "monthday", d=day, nth=nth), wider.at(h, m, rng)
    parts = rng.choice(([f"{days}, {note}", f", {at}"], [days, at, f", {note}"], [at, f"{days}, {note}"]))
    return parts, canonical(f"{m} {h} {day} * *") if fits else NOT_CRON


# ------------------------------------------------------------------------------- from the first time to the last
OFTEN_A_MINUTE = ("every minute", "once a minute", "each minute", "minute by minute")
OFTEN_AN_HOUR = ("every hour", "hourly", "once an hour", "each hour", "every 60 minutes", "one time an hour")
STEPS = (5, 10, 15, 20, 30, 5, 10, 15, 20, 30, 2, 4, 6, 12)


def _between(often: str, times: Sequence[tuple[int, int]], rng: Random) -> str:
    a, b = _clocks(rng.choice(("24", "24", "marked")), times, rng)
    return expand(rng, "first to last", often=often, a=a, b=b)


def _often(step: int, rng: Random) -> str:
    if step == 1:
        return rng.choice(OFTEN_A_MINUTE)
    return expand(rng, "every n", n=rng.choice((str, in_words))(step), d=step, unit="minute", units="minutes",
                  short=rng.choice(("min", "mins")), tight="min", nth=phrasings.ordinal(step))  # fmt: skip


def _whole_window(rng: Random) -> tuple[str, str]:
    """Draw the minutes and hours of an expression, and say them by their first time and their last."""
    low, high = sorted(rng.sample(range(5, 24), 2)) if rng.random() < 0.85 else sorted(rng.sample(range(24), 2))
    if rng.random() < 0.12:  # over midnight
        low, high = rng.randint(18, 23), rng.randint(0, 6)
    hours = _csv(range(low, high + 1) if low < high else (*range(low, 24), *range(high + 1)))
    shape, step, m = rng.random(), rng.choice(STEPS), draw_time(rng)[1]
    if shape < 0.4:
        return f"*/{step} {hours}", _between(_often(step, rng), ((low, 0), (high, 60 - step)), rng)
    if shape < 0.65:
        return f"{m} {hours}", _between(rng.choice(OFTEN_AN_HOUR), ((low, m), (high, m)), rng)
    if shape < 0.8 and low + 4 < high:
        step = rng.choice((2, 2, 3, 4))
        last = low + (high - low) // step * step
        often = expand(rng, "every n", n=rng.choice((str, in_words))(step), d=step, unit="hour", units="hours",
                       short="hrs", tight="h", nth=ORDINALS[step])  # fmt: skip
        return f"{m} {low}-{last}/{step}", _between(often, ((low, m), (last, m)), rng)
    step = rng.choice((1, 1, 5, 10, 2))
    first = rng.choice((0, 0, 30, 5 * rng.randrange(8)))
    last = first + step * rng.randint(2, (59 - first) // step)
    return f"{first}-{last}/{step} {low}", _between(_often(step, rng), ((low, first), (low, last)), rng)


def _cut_window(rng: Random) -> str:
    """Say an interval that begins within an hour and ends in another."""
    low = rng.randint(5, 20)
    high = rng.randint(low + 2, 23)
    step = rng.choice((1, 5, 10, 15, 20, 30, 5, 10, 15))
    start, end = rng.choice((30, 30, 45, 15, 40, 50, 20)), rng.choice((0, 15, 30, 30, 45, 20, 40))
    if start < step:
        start = 30
    return _between(_often(step, rng), ((low, start), (high, end)), rng)


def first_to_last(fits: bool, rng: Random) -> Said:
    """Say an interval by its first time and its last: whole hours of it, or hours cut in two."""
    tail, days = _tail(rng, "every day base")
    if not fits:
        return _mixed([_cut_window(rng), days], rng), NOT_CRON
    head, text = _whole_window(rng)
    return _mixed([text, days], rng), canonical(f"{head} {tail}")


# ------------------------------------------------------------------------------- one in two
NEVER = ["week", "fortnight", "weekend", "year", "working day", "business day", "night shift", "Sunday", "Monday"]
NEVER += ["Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Friday night", "payday", "calendar week"]


def one_in_some(fits: bool, rng: Random) -> Said:
    """Say every other day, every third hour, alternate months; or every other week, every third Friday."""
    n, (h, m) = rng.choice((2, 2, 2, 2, 3, 3, 4, 5, 6)), draw_time(rng)
    unit = rng.choice(("minute", "hour", "day", "day", "day", "month", "month") if fits else NEVER)
    n = 6 if (unit, n) == ("month", 5) else n
    nth, count = rng.choice((phrasings.ordinal, ORDINALS.__getitem__))(n), rng.choice((str, in_words))(n)
    text = expand(rng, "one in two" if n == 2 else "one in n", x=unit, xs=f"{unit}s", nth=nth, n=count)
    at = wider.at(h, m, rng)
    if not fits:
        return _mixed([text, at if rng.random() < 0.6 else ""], rng), NOT_CRON
    if unit in ("minute", "hour"):
        tail, days = _tail(rng)
        head = f"*/{n} *" if unit == "minute" else f"0 */{n}"
        return _mixed([text, days], rng), canonical(f"{head} {tail}")
    if unit == "month":
        day = rng.choice((1, 15, rng.randint(1, 28)))
        on = f"{text}{rng.choice((', ', ' '))}on the {phrasings.ordinal(day)}"
        return _mixed([on, at], rng), canonical(f"{m} {h} {day} */{n} *")
    if rng.random() < 0.15:
        counted = rng.choice(("counted from the 1st of the month", "beginning on the 1st of each month"))
        return [f"{text}, {counted}", f", {at}"], canonical(f"{m} {h} */{n} * *")
    if rng.random() < 0.25:
        return [text], canonical(f"0 0 */{n} * *")
    return _mixed([text, at], rng), canonical(f"{m} {h} */{n} * *")


def resets(fits: bool, rng: Random) -> Said:
    """Say hours counted from midnight each day, or hours that a day cannot hold counted on and on."""
    n = rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 12) if fits else (5, 7, 9, 10, 11, 13, 15, 18))
    every = rng.choice(("every {} hours", "every {} hours", "every {} hrs", "once every {} hours", "each {} hours"))
    note = expand(rng, "from midnight" if fits else "without a reset")
    text = f"{every.format(rng.choice((str, in_words))(n))}{rng.choice((', ', ', ', ' '))}{note}"
    if fits and 24 % n == 0 and n < 12 and rng.random() < 0.35:
        times, gap = rng.choice((str, in_words))(24 // n), rng.choice((str, in_words))(n)
        text = f"{times} times a day, {gap} hours apart, {note}"
    return [text], canonical(f"0 */{n} * * *") if fits else NOT_CRON


# ------------------------------------------------------------------------------- one thing, said twice
DAYS_TWICE = {
    "* * 1-5": [("on working days", "Monday to Friday"), ("on weekdays", "Mon-Fri"), ("Monday to Friday", "workdays")],
    "* * 0,6": [("at the weekend", "on Saturday and Sunday"), ("Sat and Sun", "both days of the weekend")],
    "* * *": [("every day", "seven days a week"), ("daily", "weekends included"), ("once every 24 hours", "daily")],
    "1 * *": [("at the start of the month", "on the 1st"), ("on the 1st", "the first day of every month")],
    "15 * *": [("in the middle of the month", "on the 15th"), ("on the 15th", "day 15")],
    "1,15 * *": [("twice a month", "on the 1st and the 15th"), ("on the 1st and 15th", "two times a month")],
    "*/2 * *": [("on odd days of the month", "the 1st, 3rd, 5th and so on"), ("on odd dates", "1, 3, 5, 7 and so on")],
    "2-30/2 * *": [("on even days of the month", "the 2nd, 4th, 6th and so on"), ("on even dates", "2, 4, 6, 8 …")],
    "1 */3 *": [("once a quarter", "on the 1st of January, April, July and October")],
    "* 6-8 *": [("every day in the summer months", "June to August"), ("daily in summer", "June, July and August")],
    "* 1,2,12 *": [("every day in winter", "December to February"), ("daily in winter", "December, January, February")],
    "* 3-5 *": [("every day in spring", "March to May"), ("daily in the spring", "March, April and May")],
    "* 9-11 *": [("every day in autumn", "September to November"), ("daily in the fall", "from September to November")],
    "* 1-6,9-12 *": [("every day in term time", "September to June"), ("daily in the season", "September to June")],
    "* 4-10 *": [("every day in the season", "April to October")],
    "* 1-3 *": [("every day of the first quarter", "January to March")],
    "* 10-12 *": [("every day of Q4", "October to December")],
    "* 1-6 *": [("every day of the first half of the year", "January to June")],
}


def _days_twice(rng: Random) -> tuple[str, str, str]:
    shape = rng.random()
    if shape < 0.4:
        tail = rng.choice(list(DAYS_TWICE))
        return tail, *rng.choice(DAYS_TWICE[tail])
    day = rng.randrange(1, 29)
    if shape < 0.55:
        return f"{day} * *", expand(rng, "named day of the month"), f"on the {phrasings.ordinal(day)}"
    day %= 7
    if shape < 0.65:
        return f"* * {day}", expand(rng, "named day of the week"), f"on {DAYS[day]}s"
    if shape < 0.75:
        once = rng.choice(("once a week", "weekly", "every seven days", "every 7 days"))
        return f"* * {day}", once, f"on {DAYS[day]}s"
    day, month = rng.choice(list(FEASTS)) if shape < 0.9 else (rng.randint(1, 28), rng.randint(1, 12))
    form = rng.choice(("{d} {m}", "{m} {d}", "the {n} of {m}", "{m} {n}"))
    date = form.format(d=day, m=MONTHS[month], n=phrasings.ordinal(day))
    if shape >= 0.9:
        return f"{day} {month} *", expand(rng, "named date"), date
    return f"{day} {month} *", f"{rng.choice(('on ', 'every ', ''))}{choose(FEASTS[day, month], rng)}", date


def _often_twice(rng: Random) -> tuple[str, str, str]:
    n = rng.choice((2, 5, 10, 12, 15, 20, 30))
    if rng.random() < 0.5:
        listed = [f"{rng.choice(('at ', ''))}{join([f':{m:02}' for m in range(0, 60, n)], Random(0))}"] * 2 * (n > 9)
        again = rng.choice((f"{60 // n} times an hour", f"every {60 * n} seconds", *listed))
        return f"*/{n} *", f"every {rng.choice((str, in_words))(n)} minutes", again
    n = rng.choice((2, 3, 4, 6, 8, 12))
    listed = f"at {join([str(h) for h in range(0, 24, n)], Random(0))} o'clock" if n > 2 else "at 0, 2, 4 and so on"
    return f"0 */{n}", f"every {rng.choice((str, in_words))(n)} hours", rng.choice((f"{24 // n} times a day", listed))


def said_twice(_: bool, rng: Random) -> Said:
    """Say a time, days or an interval in two ways, one to explain the other."""
    shape, (h, m) = rng.random(), draw_time(rng)
    if shape < 0.35:
        tail, days = _tail(rng, "every day")
        texts = [_clocks(kind, [(h, m)], rng)[0] for kind in _mixed(("marked", "24"), rng)]
        said = f"at {expand(rng, 'said twice', x=texts[0], y=texts[1])}"
        return _mixed([said, days], rng), canonical(f"{m} {h} {tail}")
    if shape < 0.75:
        tail, x, y = _days_twice(rng)
        said = [expand(rng, "said twice", x=x, y=y), wider.at(h, m, rng)]
        return _mixed(said, rng), canonical(f"{m} {h} {tail}")
    head, x, y = _often_twice(rng)
    tail, days = _tail(rng)
    return _mixed([expand(rng, "said twice", x=x, y=y), days], rng), canonical(f"{head} {tail}")


# ------------------------------------------------------------------------------- an occasion, with its time or without
OCCASIONS = {"before breakfast": (5, 9), "at lunchtime": (11, 13), "after school": (14, 17), "after dinner": (19, 22)}
OCCASIONS |= {"while all sleep": (0, 4)}


def occasions(fits: bool, rng: Random) -> Said | None:
    """Say after lunch, at 13:30; or after lunch alone."""
    (h, m), (tail, days) = draw_time(rng), _tail(rng, "every day")
    fitting = [rule for rule, (low, high) in OCCASIONS.items() if low <= h <= high]
    if not fitting:
        return None
    occasion = expand(rng, fitting[0])
    if not fits:
        return _mixed([occasion, days], rng), NOT_CRON
    at, expression = wider.at(h, m, rng), canonical(f"{m} {h} {tail}")
    if rng.random() < 0.35:
        return [days, f"{at}, {occasion}"], expression
    return _mixed([f"{occasion}{rng.choice((', ', ' '))}{at}", days], rng), expression


# ------------------------------------------------------------------------------- all of them
MAKERS: dict[str, tuple[float, Callable[[bool, Random], Said | None]]] = {
    "several times": (12, several_times), "dates": (6, dates), "days and times": (3, days_and_times),
    "but some days": (6, but_some_days), "but some months": (5, but_some_months), "short months": (2, short_months),
    "first to last": (9, first_to_last), "one in some": (6, one_in_some), "resets": (2, resets),
    "said twice": (6, said_twice), "occasions": (2.5, occasions),
}  # fmt: skip


def lookalike(fits: bool, rng: Random) -> tuple[str, str, str]:
    """Draw a schedule that looks like what cron cannot say, or its double: the text, the answer and the family."""
    names = [name for name in MAKERS if fits or name != "said twice"]
    family = rng.choices(names, [MAKERS[name][0] for name in names])[0]
    while True:
        said = MAKERS[family][1](fits, rng)
        if said is not None and (said[1] == NOT_CRON) != fits:
            return wider.finish(wider.frame(said[0], rng), rng), said[1], family
