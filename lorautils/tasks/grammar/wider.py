"""More ways to say a schedule than phrasings.py has: how the shipped adapter's training data widens.

Clocks of two countries, 9 to 5, half nine, tickets, comments, chat, slips of the keyboard; wider.txt holds the words.
say("30 9 * * 1-5", random.Random(0)) says an expression; schedule(random.Random(0)) draws one that people say so.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random

from lorautils.tasks import cron
from lorautils.tasks.grammar import phrasings
from lorautils.tasks.grammar.phrasings import (
    BOUNDS,
    DAYS,
    DAYS_SHORT,
    HOLIDAYS,
    INITIALS,
    MONTHS,
    MONTHS_SHORT,
    NUMBER_WORDS,
    ORDINALS,
    PARTS_OF_YEAR,
    Field,
    choose,
    glue,
    in_words,
    load_rules,
    parts_of_day,
    read_field,
)  # fmt: skip
from lorautils.tasks.grammar.schedules import CLOCK, DAILY, INTERVAL, MIDNIGHT, MONTHDAY, SOME_DAYS, WEEKDAYS

RULES = load_rules("wider.txt") | load_rules("refusals.txt")
FEASTS = HOLIDAYS | {  # (day, month): more days that have a name and a date in every year
    (6, 1): "(Epiphany|Three Kings' Day)",
    (25, 1): "Burns Night",
    (26, 1): "Australia Day",
    (2, 2): "Groundhog Day",
    (8, 3): "(International Women's Day|Women's Day)",
    (22, 4): "Earth Day",
    (23, 4): "(St George's Day|St. George's Day)",
    (25, 4): "(Anzac Day|ANZAC Day)",
    (4, 5): "Star Wars Day",
    (5, 5): "Cinco de Mayo",
    (19, 6): "Juneteenth",
    (1, 7): "Canada Day",
    (1, 11): "(All Saints' Day|All Saints Day)",
    (5, 11): "(Bonfire Night|Guy Fawkes Night|Guy Fawkes Day)",
    (11, 11): "(Armistice Day|Veterans Day|Remembrance Day on 11 November)",
    (30, 11): "(St Andrew's Day|St Andrews Day)",
    (6, 12): "(St Nicholas' Day|Saint Nicholas Day)",
}
MONTH_ENDS = [(31, month) for month in (1, 3, 5, 7, 8, 10, 12)] + [(30, month) for month in (4, 6, 9, 11)]

# ------------------------------------------------------------------------------- rules


class _Parts(dict):
    """The parts of a sentence: a text, or a function that draws one; any other name is that of a rule."""

    def __init__(self, rng: Random, parts: dict[str, object]):
        super().__init__(parts)
        self.rng = rng

    def __getitem__(self, name: str) -> object:
        part = self.get(name)
        if part is None:
            return choose(self.rng.choice(RULES[name]), self.rng).format_map(self)
        return part(self.rng) if callable(part) else part


def filled(rng: Random, parts: dict[str, object]) -> dict:
    """Return the parts that a text of these rules is filled with, for str.format_map."""
    return _Parts(rng, parts)


def expand(rng: Random, rule: str, **parts: object) -> str:
    """Choose one alternative of a rule; put in the parts, and for all other names what their own rules say."""
    return choose(rng.choice(RULES[rule]), rng).format_map(_Parts(rng, parts))


def join(items: Sequence[str], rng: Random, rule: str = "and") -> str:
    """Write a and b; a, b and c; a/b/c."""
    link = expand(rng, rule)
    if len(items) == 2:
        return link.removeprefix(",").join(items) if link != ", " else ", ".join(items)
    comma = link if link in (" & ", " + ", "/", ", ") else ", "
    return comma.join(items[:-1]) + link + items[-1] if len(items) > 1 else items[0]


def _number(n: int, rng: Random) -> str:
    return in_words(n) if n < 60 and rng.random() < 0.45 else str(n)


def _nth(n: int, rng: Random) -> str:
    return ORDINALS[n] if n < len(ORDINALS) and rng.random() < 0.4 else phrasings.ordinal(n)


# ------------------------------------------------------------------------------- clock times


def _on_dial(hour: int) -> int:
    return (hour - 1) % 12 + 1


def _tail(h: int, m: int, told: int, rng: Random) -> str | None:
    """Say pm, or in the evening: true of the time and of the hour `told` that it is named by; None if nothing is."""
    if (h < 12) == (told < 12) and rng.random() < 0.5:
        return expand(rng, "am" if h < 12 else "pm")
    shared = [part for part in parts_of_day(h, m) if part in parts_of_day(told, m)]
    if min(h, told) >= 1 and max(h, told) <= 4:
        shared.append("small hours")
    if min(h, told) >= 21:
        shared.append("late")
    return expand(rng, rng.choice(shared)) if shared else None


def _past_to(h: int, m: int, literal: bool, rng: Random) -> str | None:
    """Say a quarter of nine, ten to midnight, five past noon, half nine; None where the words would be unclear."""
    gap, told = (60 - m, (h + 1) % 24) if m > 30 else (m, h)
    if m == 0 or (literal and not (2 if m > 30 else 1) <= told <= 12):
        return None
    if told % 12 == 0 and m != 30 and rng.random() < 0.6:
        name = expand(rng, "noon" if told else "midnight")
    else:
        tail = "" if literal else _tail(h, m, told, rng)
        if tail is None:
            return None
        name = f"{rng.choice((in_words, in_words, str))(_on_dial(told))} {tail}".strip()
    if m == 30:
        past = "half " if rng.random() < 0.45 else rng.choice(("half past ", "half past ", "half-past "))
        return past + name
    unit = rng.choice((" minutes", " mins", " min") if gap % 5 or rng.random() < 0.25 else ("",))
    gap_text = expand(rng, "a quarter") if gap == 15 else _number(gap, rng) + (" minute" if gap == 1 else unit)
    return f"{gap_text} {expand(rng, 'to the hour' if m > 30 else 'past the hour')} {name}"


HOUR, HALF = "(an hour|one hour|1 hour)", "(half an hour|30 minutes|thirty minutes)"
AROUND = {  # (hour, minute): how far it is from the time with a name
    (23, 0): (f"{HOUR} before", "midnight"),
    (23, 30): (f"{HALF} before", "midnight"),
    (0, 30): (f"{HALF} (after|past)", "midnight"),
    (1, 0): (f"{HOUR} (after|past)", "midnight"),
    (11, 0): (f"{HOUR} before", "noon"),
    (11, 30): (f"{HALF} before", "noon"),
    (12, 30): (f"{HALF} (after|past)", "noon"),
    (13, 0): (f"{HOUR} (after|past)", "noon"),
}


def clock(kind: str, h: int, m: int, rng: Random) -> str | None:
    """Say a time of day without "at": on 24 hours, "marked" by its half of the day, or as a "dial" of 12 has it.

    A dial's words are read as they stand: nine is 9:00, never 21:00. None where the kind cannot say the time.
    """
    if kind == "24":
        if h > 12 and m == 0 and rng.random() < 0.15:
            return rng.choice((f"{h}", f"{h} o'clock"))
        return expand(rng, "clock24" if m else "clock24 0", h=h, hh=f"{h:02}", mm=f"{m:02}")
    if kind == "dial" and not 1 <= h <= 12:
        return None
    if rng.random() < (0.5 if m % 15 == 0 else 0.35 if m % 5 == 0 else 0.1):
        text = _past_to(h, m, kind == "dial", rng)
        if text is not None or m:
            return text
    if kind == "marked" and m == 0 and h % 12 == 0 and rng.random() < 0.75:
        return expand(rng, "noon" if h else "midnight")
    if kind == "marked" and (h, m) in AROUND and rng.random() < 0.06:
        gap, name = AROUND[h, m]
        return f"{choose(gap, rng)} {expand(rng, name)}"
    if kind == "dial" and m and rng.random() < 0.15 and h < 10:
        return f"{h}{m:02}"
    minute = in_words(m) if m > 9 else f"{rng.choice(('oh', 'oh', 'o'))} {in_words(m)}"
    part = parts_of_day(h, m) + ["small hours"] * (1 <= h <= 4) + ["late"] * (h >= 21)
    return expand(
        rng, kind if m else f"{kind} 0", mm=f"{m:02}", t=_on_dial(h), w=in_words(_on_dial(h)), minute=minute,
        am=lambda rng: expand(rng, "am" if h < 12 else "pm"), part=lambda rng: expand(rng, rng.choice(part)),
    )  # fmt: skip


KINDS = ("marked", "24", "dial")


def any_clock(h: int, m: int, rng: Random) -> tuple[str, str]:
    """Say a time of day in any kind; return the kind and the text."""
    while True:
        kind = rng.choices(KINDS, (45, 30, 25))[0]
        text = clock(kind, h, m, rng)
        if text is not None:
            return kind, text


def at(h: int, m: int, rng: Random) -> str:
    """Say one time of day: at half nine, 2130, @ 9am."""
    kind, text = any_clock(h, m, rng)
    bare = kind != "dial" and not text.isdigit() and rng.random() < 0.35
    exact = rng.choice((" sharp", " on the dot", " exactly", " precisely")) if rng.random() < 0.03 else ""
    return ("" if bare else f"{expand(rng, 'at')} ") + text + exact


def _over_noon(times: Sequence[tuple[int, int]]) -> bool:
    """Tell whether the dial alone makes these times clear: 8, 12 and 4; nine and five."""
    hours = [_on_dial(h) for h, _ in times]
    morning, later = [h for h, _ in times if h < 12], [t for (h, _), t in zip(times, hours, strict=True) if h > 12]
    alike = len({m for _, m in times}) == 1
    return bool(alike and later and morning and min(morning) > 5 and max(later) < min(morning) and times[-1][0] < 21)


def listed(times: Sequence[tuple[int, int]], rng: Random) -> str:
    """Say several times of day, so that none of them is unclear beside the others."""
    if _over_noon(times) and rng.random() < 0.5:
        spell = rng.choice((str, in_words))
        texts = [spell(_on_dial(h)) + (f":{m:02}" if spell is str else f" {in_words(m)}") * (m > 0) for h, m in times]
        if rng.random() < 0.5:
            texts = [expand(rng, "noon") if time == (12, 0) else text for time, text in zip(times, texts, strict=True)]
        return join(texts, rng)
    while True:
        kind = rng.choices(KINDS, (50, 30, 20))[0]
        before_noon = "dial" if kind == "marked" and (12, 0) in times and rng.random() < 0.4 else kind
        seed = rng.random() if rng.random() < 0.7 else None  # one style for all, or each in its own
        texts = [
            clock(before_noon if h < 12 else kind, h, m, Random(seed) if seed else rng) if (h, m) != (12, 0) or
            kind != "marked" else expand(rng, "noon") for h, m in times
        ]  # fmt: skip
        if None not in texts:
            return join(texts, rng, "and times")


def _times(times: Sequence[tuple[int, int]], rng: Random) -> str:
    """Say several times of day: at nine, noon and three in the afternoon; twice a day at nine and five."""
    count = {2: "twice", 3: "thrice", 4: "four times"}.get(len(times))
    lead = f"{expand(rng, count)}{rng.choice((' at', ' at', ':', ','))} " if count and rng.random() < 0.25 else ""
    return (lead or rng.choice(("at ", "at ", "at ", "@ ", ""))) + listed(times, rng)


# ------------------------------------------------------------------------------- intervals and windows
SHORT = {"minute": ("min", "mins", "m"), "hour": ("hr", "hrs", "h")}
FRACTIONS = {30: "half hour", 15: "quarter hour", 20: "third of an hour"}


def every(n: int, unit: str, rng: Random) -> str:
    """Say an interval in minutes or hours: every twenty minutes, two-hourly, four times an hour, every 120 minutes."""
    if unit == "minute" and n in FRACTIONS and rng.random() < 0.45:
        return expand(rng, FRACTIONS[n])
    if n == 2 and rng.random() < 0.5:
        rule = f"even {unit}s" if rng.random() < 0.15 else "every other"
        return expand(rng, rule, unit=unit, units=f"{unit}s")
    whole, times = (60, "n times an hour") if unit == "minute" else (24, "n times a day")
    if whole % n == 0 and whole // n > 1 and rng.random() < (0.12 if n > 2 else 0):
        count = {2: "twice", 3: "thrice", 4: "four times"}.get(whole // n)
        if unit == "hour" and count and rng.random() < 0.6:
            return expand(rng, count)
        return expand(rng, times, n=in_words(whole // n), d=whole // n)
    if rng.random() < 0.05:  # in the next smaller unit
        smaller = rng.choice(("seconds", "secs") if unit == "minute" else ("minutes", "mins", "min"))
        return f"{rng.choice(('every', 'every', 'each', 'once every'))} {60 * n} {smaller}"
    if unit == "hour" and rng.random() < 0.08:
        return expand(rng, "n-ly", n=_number(n, rng), unit=unit)
    short = rng.choice(SHORT[unit])
    return expand(
        rng, "every n", n=_number(n, rng), d=n, unit=unit, units=f"{unit}s", short=short, tight=short, nth=_nth(n, rng)
    )


def _past(minute: int, rng: Random) -> str:
    """Say one minute of every hour: hourly at ten past, on the half hour, at ten to every hour."""
    if minute == 0:
        return expand(rng, "every hour")
    if minute in (15, 30, 45) and rng.random() < 0.6:
        return expand(rng, f"minute {minute}")
    if minute > 30 and rng.random() < (0.5 if minute % 5 == 0 or minute > 55 else 0.1):
        rule = "minute to" if minute % 5 == 0 and rng.random() < 0.6 else "minutes to"
        return expand(rng, rule, g=_number(60 - minute, rng), gm=_minutes(60 - minute, rng))
    n, counted = _number(minute, rng), _minutes(minute, rng)
    return expand(rng, "minute past", n=n, nm=counted, m=minute, mm=f"{minute:02}")


def _minutes(n: int, rng: Random) -> str:
    return rng.choice(("a minute", "one minute", "1 minute")) if n == 1 else f"{_number(n, rng)} minutes"


def _past_or_to(minute: int) -> str:
    told = {0: "on the hour", 15: "quarter past", 30: "half past", 45: "quarter to"}.get(minute)
    return told or (f"{in_words(minute)} past" if minute < 35 else f"{in_words(60 - minute)} to")


def _minutes_past(minutes: Sequence[int], rng: Random) -> str:
    """Say some minutes of every hour: twice an hour, at :15 and :45; at ten and forty past every hour."""
    if all(minute % 5 == 0 for minute in minutes) and rng.random() < 0.25:
        rules = ["past and to"] * 2 + [f"{len(minutes)} minutes"] * (len(minutes) in (2, 3))
        return expand(rng, rng.choice(rules), l=join([_past_or_to(minute) for minute in minutes], rng))
    write = rng.choice(("{:02}".format, ":{:02}".format, ":{:02}".format, str, in_words))
    rules = ["minutes past"] + ["2 minutes"] * (len(minutes) == 2) + ["3 minutes"] * (len(minutes) == 3)
    rules += ["quarters"] * 2 * (tuple(minutes) == (15, 45))
    return expand(rng, rng.choice(rules), l=join([write(minute) for minute in minutes], rng))


def window(low: int, high: int, rng: Random, sharp: bool = False) -> str:
    """Say the hours low to high, both included, as people do: 9 to 5, 8-6, from noon to six, 7am-7pm.

    Where it fires on the hour alone, `sharp`, the last hour is the last time, too, and may be called so.
    """
    if (low, high) == (9, 17) and rng.random() < 0.4:
        return expand(rng, "office hours")
    start, end = _on_dial(low), _on_dial(high)
    over_noon = 6 <= low <= 12 < high <= 21 and (end < start or (end == start and low > 6)) and low < high
    if over_noon and rng.random() < 0.5:
        spell = rng.choice((str, str, in_words))
        ends = [expand(rng, "noon") if low == 12 else spell(start), spell(end)]
        ends[1] += rng.choice(("", "", "", " o'clock")) if spell is in_words or rng.random() < 0.2 else ""
        if rng.random() < 0.15:
            ends[1] = f"{end}{expand(rng, 'pm')}"  # 9 to 5pm
    else:
        kinds, seed = ("marked", "24") if low > high else KINDS, rng.random()
        kind = rng.choices(kinds, (50, 40, 10)[: len(kinds)])[0]
        ends = [clock(kind, h, 0, Random(seed)) for h in (low, high)]
        if None in ends:  # a dial has no 17
            ends = [clock("24", h, 0, Random(seed)) for h in (low, high)]
    rule = "first and last hour" if sharp and rng.random() < 0.3 else "in hours"
    form = choose(rng.choice(RULES[rule]), rng)
    tight = " " not in "".join(ends)
    return (form if tight else re.sub("}([-–]){", r"} \1 {", form)).format(a=ends[0], b=ends[1])


def _time(minute: Field, hour: Field, rng: Random) -> str | None:
    """Say the minute and the hour of an expression; None if this file has no way of its own."""
    if minute.kind == hour.kind == "value":
        return at(hour.values[0], minute.values[0], rng)
    if minute.kind == "value" and hour.kind == "list" and len(hour.values) < 5:
        return _times([(h, minute.values[0]) for h in hour.values], rng)
    if minute.kind == "list" and hour.kind == "value" and len(minute.values) < 4:
        return _times([(hour.values[0], m) for m in minute.values], rng)
    often = _often(minute, rng)
    if often is None or hour.kind == "any":
        return often
    if hour.kind == "step" and minute.values == (0,):
        if hour.values == (0, 23):
            return every(hour.step, "hour", rng)
        return expand(rng, "odd hours") if (*hour.values, hour.step) == (1, 23, 2) else None
    runs = phrasings.stretches(hour.values, 0, 23)
    if hour.kind not in ("range", "list") or len(runs) > 1 or runs[0][0] == runs[0][1]:
        return None
    parts = [often, window(*runs[0], rng, sharp=minute.values == (0,))]
    return rng.choice((" ", " ", ", ")).join(parts if rng.random() < 0.6 else parts[::-1])


def _often(minute: Field, rng: Random) -> str | None:
    """Say the minute of an expression whose hours are said apart."""
    if minute.kind == "any":
        return expand(rng, "every minute")
    if minute.kind == "value":
        return _past(minute.values[0], rng)
    if minute.kind in ("list", "range") and len(minute.values) < 5:
        return _minutes_past(minute.values, rng)
    if (*minute.values, minute.step) == (1, 59, 2):
        return expand(rng, "odd minutes")
    if minute.kind == "step" and minute.values == (0, 59):
        return every(minute.step, "minute", rng)
    return None


# ------------------------------------------------------------------------------- days
def _weekday_names(rng: Random) -> tuple[list[str], list[str]]:
    """Return the names of the days, and of more than one of each, in one person's way of writing."""
    form = rng.choices(("long", "short", "dotted"), (70, 26, 4))[0]
    names = [choose(name, rng) for name in (DAYS if form == "long" else DAYS_SHORT)]
    names = [f"{day[:3]}." for day in DAYS] if form == "dotted" else names
    plural = rng.choices(("s", "'s", ""), (85, 5, 10))[0] if form == "long" else ""
    return names, [name + plural for name in names]


def _weekdays(dow: Field, rng: Random) -> str:
    """Say a set of days of the week: every Tuesday, Fri-Mon, workdays, every day but Sunday."""
    days, (name, names) = dow.values, _weekday_names(rng)
    missing, runs = [day for day in range(7) if day not in days], phrasings.stretches(days, 0, 6)
    if missing == [0, 6] and rng.random() < 0.75:
        return expand(rng, "weekdays")
    if days == (0, 6) and rng.random() < 0.8:
        return expand(rng, "weekends")
    if len(days) == 1:
        return expand(rng, "one weekday", d=name[days[0]], ds=names[days[0]])
    if len(missing) == 1 and rng.random() < 0.55:
        return expand(rng, "days but", d=rng.choice((name, names))[missing[0]])
    if len(runs) == 1 and len(days) > 2 and rng.random() < 0.8:
        return expand(rng, "weekday range", a=name[runs[0][0]], b=name[runs[0][1]])
    if days in INITIALS and rng.random() < 0.2:
        return rng.choice(("", "on ")) + rng.choice(INITIALS[days].split())
    if len(days) in (2, 3) and rng.random() < 0.05:
        return expand(rng, f"{len(days)} days", l=join([name[day] for day in days], rng))
    order = days if rng.random() < 0.5 else sorted(days, key=lambda day: (day - 1) % 7)
    rule = rng.choice(RULES["weekday list"])
    listed = [(name if re.match("every|each|days", rule) else names)[day] for day in order]
    link = rng.choice(("/", " ", ", ", ",", " + ")) if rng.random() < 0.2 else None
    return choose(rule, rng).format(l=link.join(listed) if link else join(listed, rng))


def _monthdays(dom: Field, rng: Random) -> str | None:
    low, high = dom.values[0], dom.values[-1]
    if (dom.kind, dom.step) == ("step", 2) and high > 29 and low < 3 and rng.random() < 0.6:
        return expand(rng, "odd days" if low == 1 else "even days")
    if dom.kind == "value" and low == 1 and rng.random() < 0.4:
        return expand(rng, "the first")
    if dom.kind == "value":
        text = expand(rng, "monthday", d=low, nth=_nth(low, rng))
        return re.sub(r"(every|each) second", r"\1 2nd", text)  # which is not every other one
    if dom.kind == "range" and low == 1 and high < 16 and rng.random() < 0.4:
        return expand(rng, "first days", n=_number(high, rng), hi=high, b=_nth(high, rng))
    if dom.kind == "range" and len(dom.values) < 28:
        return expand(rng, "monthday range", a=_nth(low, rng), b=_nth(high, rng), lo=low, hi=high)
    if dom.kind == "list" and len(phrasings.stretches(dom.values, 0, 32)) == len(dom.values) < 6:
        write = rng.choice((phrasings.ordinal, ORDINALS.__getitem__))
        texts = [write(day) for day in dom.values]
        listed = join(texts, rng) if rng.random() < 0.88 else rng.choice((" ", "/", " n ", "+")).join(texts)
        listed = listed.replace("and ", "and the ") if rng.random() < 0.3 else listed
        return expand(rng, "monthday list", l=listed)
    return None


def _date(day: int, month: int, rng: Random) -> str:
    """Say one date of the year: every 3 March, on Christmas Day, on the last day of June, 25/12."""
    name = _month_names([month], rng)[0]
    if (day, month) in FEASTS and rng.random() < 0.5:
        return expand(rng, "holiday", x=choose(FEASTS[day, month], rng))
    edge = "last of" if (day, month) in MONTH_ENDS else "first of" if day == 1 else ""
    if edge and rng.random() < 0.4:
        year = (day, month) in ((1, 1), (31, 12)) and rng.random() < 0.4
        return expand(rng, f"{edge} year" if year else f"{edge} month name", m=name)
    if day > 12 and rng.random() < 0.08:
        return expand(rng, "date in figures", d=day, o=month)
    return expand(rng, "date", m=name, d=day, nth=_nth(day, rng))


def _month_names(values: Sequence[int], rng: Random) -> list[str]:
    table = MONTHS_SHORT if rng.random() < 0.3 else MONTHS
    return [choose(table[value], rng) for value in values]


def _months(month: Field, rng: Random) -> str | None:
    runs, names = phrasings.stretches(month.values, 1, 12), _month_names(range(1, 13), rng)
    missing = [value for value in range(1, 13) if value not in month.values]
    if month.kind == "step":
        return None
    if month.kind == "value":
        edge = {1: "first month", 12: "last month"}.get(month.values[0])
        return expand(rng, edge) if edge and rng.random() < 0.25 else expand(rng, "month", m=names[month.values[0] - 1])
    if len(missing) == 1 and rng.random() < 0.7:
        return expand(rng, "month but", m=names[missing[0] - 1])
    if len(runs) == 1 and runs[0] in PARTS_OF_YEAR and rng.random() < 0.3:
        return None
    if len(runs) == 1 and len(month.values) > 2:
        return expand(rng, "month range", a=names[runs[0][0] - 1], b=names[runs[0][1] - 1])
    if len(runs) == len(month.values) < 6 or len(month.values) == 2:
        told = [names[value - 1] for value in month.values]
        listed = join(told, rng) if rng.random() < 0.88 else rng.choice((" ", "/", " + ")).join(told)
        return expand(rng, "month list", l=listed)
    return None


def _feasts(days: Sequence[int], months: Sequence[int], rng: Random) -> str | None:
    """Say two or three holidays of one month or of one day; None unless all of the dates have a name."""
    dates = [(day, month) for month in months for day in days]
    if (
        len(months) == 1 < len(days) == days[-1] - days[0] + 1
        and {dates[0], dates[-1]} <= set(FEASTS)
        and rng.random() < 0.7
    ):
        return expand(rng, "feast range", a=choose(FEASTS[dates[0]], rng), b=choose(FEASTS[dates[-1]], rng))
    if not 2 <= len(dates) <= 3 or not all(date in FEASTS for date in dates):
        return None
    return expand(rng, "holiday", x=join([choose(FEASTS[date], rng) for date in dates], rng))


def _days(dom: Field, month: Field, dow: Field, rng: Random) -> list[str] | None:
    """Say days and months in one or two phrases, every day with an empty one; None if this file has no way."""
    if dom.kind == "any":
        days = "" if dow.kind == "any" else _weekdays(dow, rng)
        in_months = _months(month, rng) if month.kind != "any" else ""
        return None if in_months is None else [days, in_months] if in_months else [days]
    if month.kind == "any":
        days = _monthdays(dom, rng)
    elif (month.kind, month.values, month.step) == ("step", (1, 12), 3) and dom.kind == "value":
        first = dom.values[0] == 1 and rng.random() < 0.7
        days = expand(rng, "first of quarter" if first else "quarterly", nth=_nth(dom.values[0], rng))
    elif dom.kind == month.kind == "value":
        days = _date(dom.values[0], month.values[0], rng)
    elif dom.kind == "step" or month.kind == "value":
        days = _feasts(dom.values, month.values, rng)
    else:
        days = _feasts(dom.values, month.values, rng) if rng.random() < 0.8 else None
        return [days] if days else _days_of_months(dom, month, rng)
    return None if days is None else [days]


def _days_of_months(dom: Field, month: Field, rng: Random) -> list[str] | None:
    """Say days of several months: on the 10th of March and June; on the 1st of the month, except in August."""
    if rng.random() < 0.2:
        return None
    runs = phrasings.stretches(month.values, 1, 12)
    if dom.kind == "value" and month.kind == "list" and len(runs) == len(month.values) < 6 and rng.random() < 0.5:
        names = join(_month_names(month.values, rng), rng)
        return [expand(rng, "day of months", l=names, d=dom.values[0], nth=_nth(dom.values[0], rng))]
    days, in_months = _monthdays(dom, rng), _months(month, rng)
    return None if days is None or in_months is None else [days, in_months]


# ------------------------------------------------------------------------------- the schedule
def _fields(expression: str) -> list[Field | None]:
    return [read_field(text, *bounds) for text, bounds in zip(expression.split(), BOUNDS, strict=True)]


def days(expression: str, rng: Random) -> str:
    """Say only the days and months of an expression; every day, too."""
    fields = _fields(expression)
    said = _days(*fields[2:], rng) or phrasings.day_phrases(None, *fields[2:], True, rng)
    return glue(said, rng) or expand(rng, "every day")


def time(expression: str, rng: Random) -> str:
    """Say only the minutes and hours of an expression."""
    minute, hour, *_ = _fields(expression)
    return _time(minute, hour, rng) or phrasings.time_phrase(minute, hour, rng)


def _every_day(h: int, m: int, rng: Random) -> str:
    """Say every day, once in 24 hours, or every evening."""
    parts = parts_of_day(h, m)
    if rng.random() < 0.25 and parts:
        return expand(rng, "every part of the day", p=rng.choice(parts))
    return expand(rng, "every 24 hours" if rng.random() < 0.06 else "every day")


EXCEPTION = re.compile(r",|(not|except|but|no|excluding|apart|minus|bar|never|without)\b", re.I)


def phrases(expression: str, rng: Random) -> list[str] | None:
    """Say a canonical expression in one to three phrases, in an order that reads well; None if nobody would say it."""
    texts = expression.split()
    minute, hour, dom, month, dow = fields = _fields(expression)
    if None in fields or dow.kind == "step" or "*" not in (texts[2], texts[4]):
        return None
    parts = _days(dom, month, dow, rng)
    if parts is None:
        return phrasings.phrases(expression, rng)
    silent = texts[:2] == ["0", "0"] and texts[2:] != ["*"] * 3 and rng.random() < 0.55
    once = minute.kind == hour.kind == "value"
    if once and dom.kind == month.kind == "any" and rng.random() < 0.14:
        by_part = phrasings.told_by_part(hour.values[0], minute.values[0], dow, rng)
        if by_part:  # on Friday evenings, at half past six
            return by_part if rng.random() < 0.5 else by_part[::-1]
    told = "" if silent else time(expression, rng)
    if not parts[0] and rng.random() < (1 if silent else 0.75 if once else 0.12):
        often = "every day to an interval" if hour.kind in ("any", "step") else "every day base"
        parts[0] = _every_day(hour.values[0], minute.values[0], rng) if once else expand(rng, often)
    if any(EXCEPTION.match(text) for text in parts):
        return [told, *parts]
    return rng.choice(([told, *parts], [*parts, told], rng.sample([told, *parts], len(parts) + 1)))


# ------------------------------------------------------------------------------- the sentence
FRAMES = {"plain": 24, "asking": 8, "with task": 19, "with noun": 14, "ticket": 8, "comment": 7, "voice": 6, "chat": 14}
FRAMES |= {"chatty": 13}


def frame(parts: Sequence[str], rng: Random) -> str:
    """Put phrases into a sentence: with a task, as a ticket, a comment, chat; some as phrasings.py does."""
    parts = [text for text in (part.strip() for part in parts) if text]
    if rng.random() < 0.18:
        return phrasings.frame(parts, rng)
    do = rng.choice(phrasings.TASKS)[0] if rng.random() < 0.15 else expand(rng, "do")
    at = rng.randrange(1, len(parts)) if len(parts) > 1 and rng.random() < 0.12 else 0
    if at and phrasings.CLEAR_START.match(parts[at]) and not phrasings.LEFT_OUT.match(parts[at]):
        return expand(rng, "split", a=glue(parts[:at], rng), b=glue(parts[at:], rng), do=do)
    return expand(rng, rng.choices(list(FRAMES), FRAMES.values())[0], s=glue(parts, rng), do=do)


LEXICON = {  # words that carry the schedule, by what they mean: a slip must not turn one into another
    **{form: day for day in DAYS for form in (day.lower(), f"{day.lower()}s")},
    **{month.lower(): month for month in MONTHS[1:]},
    **{word: word for word in NUMBER_WORDS},
    **{form: word for word in RULES["telling words"] for form in (word, f"{word}s")},
}
WORD = re.compile(r"[A-Za-z']{5,}")


def _one_letter_less(word: str) -> set[str]:
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


NEAR: dict[str, set[str]] = {}  # a telling word with a letter left out, and what it means
for _word, _meaning in LEXICON.items():
    for _less in _one_letter_less(_word):
        NEAR.setdefault(_less, set()).add(_meaning)


@lru_cache(maxsize=100_000)
def _keeps_its_meaning(wrong: str, word: str) -> bool:
    """Tell whether a misspelt word is nearer to the word itself than to any other that carries a schedule."""
    near = set().union(*(NEAR.get(less, ()) for less in _one_letter_less(wrong)))
    return near <= {LEXICON.get(word, word)}


def slip(word: str, rng: Random) -> str:
    """Make one typing slip in a word: two letters swapped, one lost, doubled or mistaken; numbers stay as they are."""
    at, low = rng.randrange(1, len(word) - 1), word.lower()
    row = next((row for row in phrasings.KEYS if low[at] in row), low[at])
    near = row[max(0, min(row.index(low[at]) + rng.choice((-1, 1)), len(row) - 1))]
    start, end = word[:at], word[at + 1 :]
    wrong = rng.choice(
        (start + end[0] + word[at] + end[1:], start + end, start + word[at] + word[at:], start + near + end)
    )
    return word if low in NUMBER_WORDS or not _keeps_its_meaning(wrong.lower(), low) else wrong


def misspell(text: str, rng: Random) -> str:
    """Make one to three slips in the words of five letters and more."""
    found = list(WORD.finditer(text))
    for match in sorted(rng.sample(found, min(len(found), rng.choice((1, 1, 2, 3)))), key=lambda match: -match.start()):
        text = text[: match.start()] + slip(match[0], rng) + text[match.end() :]
    return text


PHONE = {"please": "plz", "you": "u", "your": "ur", "thanks": "thx", "and": "n", "to": "2", "for": "4", "are": "r"}
CASES = {str: 40, str.lower: 36, str.upper: 4}


def finish(text: str, rng: Random, slips: bool = True) -> str:
    """Add capitals, final marks and, unless told not to, slips: as different people type."""
    text = text.replace("⟨", "(").replace("⟩", ")")
    if slips and rng.random() < 0.2:
        text = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text)
    if slips and rng.random() < 0.05:
        text = re.sub(r"\b(the|an?) (?=[a-z0-9])(?!m\b)", "", text)
    if slips and rng.random() < 0.16:
        text = misspell(text, rng)
    if rng.random() < 0.25:
        text = re.sub(r"(?<=[a-z])'(?=[a-z])", "", text)
    if slips and rng.random() < 0.04:
        text = re.sub(r"\b(please|you|your|thanks|are)\b", lambda word: PHONE[word[0]], text)
    text = " ".join(text.replace(" ,", ",").replace(" ?", "?").split()).strip(",; ")
    text = rng.choices(list(CASES), CASES.values())[0](text)
    if rng.random() < 0.5:
        text = text[:1].upper() + text[1:]
    if text[-1:].isalnum() and rng.random() < 0.25:
        text += rng.choice((".", ".", ".", ".", "!", "...", "!!", " ."))
    elif text.endswith(("?", ".")) and rng.random() < 0.3:
        text = text[:-1]
    return text


def say(expression: str, rng: Random) -> str | None:
    """Say a canonical expression as one person or another might; None if it is not the kind of thing people say.

    `rng` decides the wording: the same state gives the same sentence.
    """
    parts = (phrasings.phrases if rng.random() < 0.2 else phrases)(expression, rng)
    return None if parts is None else finish(frame(parts, rng), rng)


# ------------------------------------------------------------------------------- schedules that people say so
def _two_feasts() -> str:
    """List the pairs of holidays that one line can hold: both in one month, or both on one day of it."""
    same_month = [f"{a},{b} {o}" for a, o in FEASTS for b, other in FEASTS if o == other and a < b]
    same_day = [f"{d} {a},{b}" for d, a in FEASTS for other, b in FEASTS if d == other and a < b]
    return f"({'|'.join(same_month + same_day)}) *"


EACH_HOUR = "(0|0|*/{step}|*/(15|20|30|10|5))"
OPENING = "(9-17|8-18|8-16|7-15|10-18|7-19|9-18|8-17|10-16|9-15|8-20|6-18|10-17|9-16|12-18|10-19|11-19|9-13|13-17|6-14)"
DAY_AND_TIME = [DAILY, WEEKDAYS, WEEKDAYS, WEEKDAYS, MONTHDAY]
MONTH_DATES = f"({'|'.join(f'{day} {month}' for day, month in MONTH_ENDS)}|1 {{o}}) *"
OFTEN_MIDNIGHT = [MIDNIGHT, CLOCK]

TWO_HOURS = "(9,17|8,16|8,17|7,12|8,12,16|9,13,17|10,14|10,14,18|9,12,15|8,13|7,18)"
NAMED_HOURS = "(0,12|0,12|0,12,18|6,12|0,6,12,18|12,18|8,12,20|7,12|12,22)"
MOST_MONTHS = "(1-7,9-12|1-6,9-12|1-6,8-12|1-5,9-12|1-11|2-12|{other months}|{other months})"
SOME_MONTHS = "({o2}|{o2}|{o3}|{o4}|{o span}|1,7|4,10|3,9|3,6,9,12)"
WINTERS = "(1,11,12|1,2,11,12|1,2,12|1-3,11,12|1,10-12|1,2,10-12|1-3,10-12|1-4,9-12|1-3,12|1-5,11,12)"
LONG_WEEKENDS = "* @ (0,1,5,6|0,1,5,6|0,5,6|0,5,6|0,1,6|0,4-6|0-2,6|0,1,4-6|0-2,5,6|0-3,6)"

# Family: weight, times, days, months; as in schedules.FAMILIES.
WIDER = {
    "nine to five": (6, f"{EACH_HOUR} {OPENING}", [DAILY, WEEKDAYS, WEEKDAYS, "* @ 1-5"], "*"),
    "nine and five": (3, f"(0|0|0|30|15) {TWO_HOURS}", SOME_DAYS, "*"),
    "noon and midnight": (1.5, f"0 {NAMED_HOURS}", SOME_DAYS, "*"),
    "half hours": (3, "30 {h}", DAY_AND_TIME, "*"),
    "quarters and fives": (4, "(15|45|5|10|20|25|35|40|50|55) {h}", DAY_AND_TIME, "*"),
    "full hours": (4, "0 {h}", DAY_AND_TIME, "*"),
    "any minute": (3, CLOCK, DAY_AND_TIME, "*"),
    "near midnight and noon": (1, "(5|10|15|30|45|50|55|20|1|59) (0|23|11|12)", DAY_AND_TIME, "*"),
    "minute interval": (4, [*[INTERVAL] * 4, "(1-59/2|*/2) *"], [DAILY, DAILY, WEEKDAYS], "*"),
    "hour interval": (3, "0 (*/(2|3|4|6|8|12)|*/2|1-23/2)", [DAILY, DAILY, WEEKDAYS], "*"),
    "hourly": (3, "(0|*|{m}|{m}|15|30|45|50|55|59|40) *", [DAILY, WEEKDAYS], "*"),
    "minutes past": (2, "(15,45|0,30|10,40|{m2}|{m2}|{m3}) (*|*|9-17|8-18)", [DAILY, DAILY, WEEKDAYS], "*"),
    "over the year's end": (2, OFTEN_MIDNIGHT, [DAILY, WEEKDAYS], WINTERS),
    "over the week's end": (2.5, [CLOCK, CLOCK, MIDNIGHT, INTERVAL, "0 *"], LONG_WEEKENDS, "*"),
    "weekday list": (2.5, OFTEN_MIDNIGHT, "* @ ({w2}|{w2}|{w3}|{w}|1-5|0,6)", "*"),
    "two holidays": (2, OFTEN_MIDNIGHT, _two_feasts(), "*"),
    "holiday": (2, OFTEN_MIDNIGHT, f"({'|'.join(f'{day} {month}' for day, month in FEASTS)}) *", "*"),
    "ends of months": (2, OFTEN_MIDNIGHT, MONTH_DATES, "*"),
    "date": (2.5, OFTEN_MIDNIGHT, "{d} {o} *", "*"),
    "months": (2, OFTEN_MIDNIGHT, [DAILY, WEEKDAYS], "({o}|1|12|{o2}|{o span})"),
    "months but": (1.5, OFTEN_MIDNIGHT, [DAILY, WEEKDAYS, MONTHDAY, "1 @ *"], MOST_MONTHS),
    "day of months": (2, OFTEN_MIDNIGHT, [MONTHDAY, "(1|1|15|{d}) @ *"], SOME_MONTHS),
    "odd and even days": (1, OFTEN_MIDNIGHT, "(*/2|2-30/2) @ *", "*"),
    "feast ranges": (0.5, OFTEN_MIDNIGHT, "(24-26|24-25|24-31|25-26|25-31|26-31) 12 *", "*"),
    "quarterly": (1.5, OFTEN_MIDNIGHT, "(1|1|1|15|{d}) */3 *", "*"),
    "monthly": (4, OFTEN_MIDNIGHT, "({d}|1|2|3|{d2}|1,15|{d span}) @ *", "*"),
}


def schedule(rng: Random) -> tuple[str, str, str]:
    """Draw a schedule of those that people say in ways of their own: its text, its expression and its family."""
    family = rng.choices(list(WIDER), [weight for weight, *_ in WIDER.values()])[0]
    while True:
        expression = cron.draw_expression(WIDER[family][1:], rng)
        parts = phrases(expression, rng)
        if parts is not None:
            return finish(frame(parts, rng), rng), expression, family
