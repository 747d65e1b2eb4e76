"""How people say a schedule: small grammars that turn a cron expression into an English sentence.
Used by lorautils.tasks.cron to write the training data of notebooks 00 and 08: say("30 9 * * 1-5", random.Random(0)).
time x days x months -> word order -> frame ("please ...", "cron for ...") -> capitals, punctuation, slips."""

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from random import Random
from typing import NamedTuple

# ------------------------------------------------------------------------------- the tables of alternatives


def _alternatives(line: str) -> list[str]:
    """Split a line of rules at the bars outside brackets; "3 x" before it repeats them."""
    times, line = (line.split(" x ", 1)) if re.match(r"\d+ x ", line) else ("1", line)
    depth, parts = 0, [""]
    for char in line:
        depth += (char == "(") - (char == ")")
        parts[-1] += char
        if char == "|" and not depth:
            parts[-1:] = [parts[-1][:-1], ""]
    return [part.strip().replace("_", " ") for part in parts] * int(times)


def load_rules(name: str) -> dict[str, list[str]]:
    """Read the rules of a file beside this one, and the alternatives of each."""
    rules: dict[str, list[str]] = {}
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    for line in filter(None, text.splitlines()):
        if line.startswith("["):
            current = rules.setdefault(line[1:-1], [])
        elif not line.startswith("#"):
            current += _alternatives(line)
    return rules


RULES = load_rules("phrasings.txt")
TASKS = [task.split(" = ") for task in RULES["tasks"]]
MISSPELT = {word: wrong.split() for word, wrong in (row.split(" = ") for row in RULES["misspelt"])}
GROUP = re.compile(r"\(([^()]*)\)")


def choose(template: str, rng: Random) -> str:
    """Choose one alternative of every (a|b|c), innermost first."""
    while group := GROUP.search(template):
        template = template[: group.start()] + rng.choice(group[1].split("|")) + template[group.end() :]
    return template


def fill(template: str, rng: Random, **parts: object) -> str:
    """Choose within every (a|b|c), then put the parts in for their {names}."""
    return choose(template, rng).format(**parts)


def pick(rng: Random, *rules: str, **parts: object) -> str:
    """Choose one alternative of the named rules and fill it."""
    return fill(rng.choice([form for rule in rules for form in RULES[rule]]), rng, **parts)


# ------------------------------------------------------------------------------- fields
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))  # of minute, hour, day of month, month, day of week


class Field(NamedTuple):
    """One field of a canonical expression: the values that it allows, or the two bounds of a step."""

    kind: str  # any, value, list, range, step
    values: tuple[int, ...]
    step: int = 1


@lru_cache(maxsize=10_000)
def read_field(text: str, low: int, high: int) -> Field | None:
    """Read one field; None for a list with a step in it, which nobody says."""
    if text == "*":
        return Field("any", tuple(range(low, high + 1)))
    if "/" in text:
        span, step = text.split("/", 1)
        bounds = (low, high) if span == "*" else tuple(int(value) for value in span.split("-") if "," not in text)
        return Field("step", bounds, int(step)) if len(bounds) == 2 else None
    items = [[int(value) for value in item.split("-")] for item in text.split(",")]
    values = tuple(value for item in items for value in range(item[0], item[-1] + 1))
    return Field("value" if len(values) == 1 else "range" if len(items) == 1 else "list", values)


def stretches(values: Sequence[int], low: int, high: int) -> list[tuple[int, int]]:
    """Return the consecutive stretches of a sorted list, joined over the end of the cycle: 0,5,6 -> (5, 0)."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    if len(runs) > 1 and (runs[0][0], runs[-1][1]) == (low, high):
        runs = [*runs[1:-1], (runs[-1][0], runs[0][1])]
    return runs


# ------------------------------------------------------------------------------- numbers and names
_words = str.split
UNITS = _words("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen")
UNITS += _words("seventeen eighteen nineteen")
TENS = _words("- - twenty thirty forty fifty")
NINTHS = _words("first second third fourth fifth sixth seventh eighth ninth")
ORDINALS = ["zeroth", *NINTHS, *_words("tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth")]
ORDINALS += [*_words("seventeenth eighteenth nineteenth twentieth"), *(f"twenty-{ninth}" for ninth in NINTHS)]
ORDINALS += ["thirtieth", "thirty-first"]
DAYS = _words("Sunday Monday Tuesday Wednesday Thursday Friday Saturday")
DAYS_SHORT = _words("Sun Mon (Tue|Tues) (Wed|Weds) (Thu|Thur|Thurs) Fri Sat")
MONTHS = _words("- January February March April May June July August September October November December")
MONTHS_SHORT = _words("- Jan Feb Mar Apr May Jun Jul Aug (Sep|Sept) Oct Nov Dec")
HOLIDAYS = {  # (day, month)
    (1, 1): "(New Year's Day|New Year's day|New Years Day|New Year's)",
    (14, 2): "(Valentine's Day|Valentines Day|St Valentine's Day|Valentine's)",
    (29, 2): "(leap day|Leap Day)",
    (14, 3): "(Pi Day|pi day)",
    (17, 3): "(St Patrick's Day|St. Patrick's Day|Saint Patrick's Day|St Paddy's Day)",
    (1, 4): "(April Fools' Day|April Fool's Day|April Fools|April fools day)",
    (1, 5): "(May Day|May day)",
    (4, 7): "(US Independence Day|Independence Day|the Fourth of July|American Independence Day)",
    (14, 7): "(Bastille Day|Bastille day)",
    (31, 10): "(Halloween|Hallowe'en|Halloween)",
    (24, 12): "(Christmas Eve|Xmas Eve|Christmas eve)",
    (25, 12): "(Christmas|Christmas Day|Xmas|Christmas day|X-mas)",
    (26, 12): "(Boxing Day|Boxing day)",
    (31, 12): "(New Year's Eve|New Years Eve|New Year's eve|NYE)",
}

NEAR_HOLIDAYS = {  # the days around them, where the year is no matter
    (2, 1): "(the day after New Year's Day|the day after New Year's)",
    (13, 2): "the day before (Valentine's Day|Valentines Day)",
    (15, 2): "the day after (Valentine's Day|Valentine's|Valentines Day)",
    (13, 3): "the day before Pi Day",
    (15, 3): "the day after Pi Day",
    (16, 3): "the day before (St Patrick's Day|St. Patrick's Day)",
    (18, 3): "the day after (St Patrick's Day|St Paddy's Day)",
    (31, 3): "the day before April (Fools' Day|Fools)",
    (2, 4): "the day after April (Fools' Day|Fools)",
    (30, 4): "the day before May Day",
    (2, 5): "the day after May Day",
    (3, 7): "the day before (US |)Independence Day",
    (5, 7): "the day after (US |)Independence Day",
    (13, 7): "the day before Bastille Day",
    (15, 7): "the day after Bastille Day",
    (30, 10): "the day before Halloween",
    (1, 11): "the day after Halloween",
    (23, 12): "the day before Christmas Eve",
    (24, 12): "the day before Christmas (Day|Day|)",
    (26, 12): "the day after Christmas (Day|Day|)",
    (27, 12): "the day after Boxing Day",
    (30, 12): "the day before New Year's Eve",
}


def in_words(n: int) -> str:
    """Write 0 to 59 in words: 25 -> twenty-five."""
    return UNITS[n] if n < 20 else TENS[n // 10] + (f"-{UNITS[n % 10]}" if n % 10 else "")


def _number(n: int, rng: Random) -> str:
    return in_words(n) if rng.random() < 0.35 else str(n)


def ordinal(n: int) -> str:
    """Write 1st, 2nd, 23rd."""
    return f"{n}th" if 10 < n < 14 else f"{n}" + {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")


def _ordinals(numbers: Sequence[int], rng: Random) -> list[str]:
    write = rng.choices((ORDINALS.__getitem__, ordinal, str), (30, 67, 3))[0]  # str: on the 15 of May
    return [write(n) if n < len(ORDINALS) else ordinal(n) for n in numbers]


def join(items: Sequence[str], rng: Random, *rules: str) -> str:
    """Write a and b; a, b and c; a & b; a, b, c: the last link is one of the rules' alternatives."""
    link = pick(rng, *(rules or ["and"]))
    link = link.removeprefix(",") if len(items) == 2 and link.startswith(", ") and link != ", " else link
    comma = link if link in ("/", " + ", " & ", " n ") and rng.random() < 0.8 else ", "
    return comma.join(items[:-1]) + link + items[-1] if len(items) > 1 else items[0]


# ------------------------------------------------------------------------------- clock times
def parts_of_day(hour: int, minute: int = 0) -> list[str]:
    """Return the parts of the day that this time may be said to lie in."""
    spans = [("morning", 1, 11), ("afternoon", 12, 18), ("evening", 17, 23), ("night", 0, 5), ("night", 18, 23)]
    spans += [("morning", 0, 0)] * (minute > 0)
    return [name for name, low, high in spans if low <= hour <= high]


def _twelve(hour: int) -> int:
    return (hour - 1) % 12 + 1


def _am(hour: int) -> str:
    return "am" if hour < 12 else "pm"


def _in_part(parts: Sequence[str], rng: Random) -> str:
    part = rng.choice(parts)
    return "at night" if part == "night" else f"in the {part}"


def _half_of_day(h: int, m: int, after: int, rng: Random) -> str | None:
    """Say in the evening, pm: true of the time and of the hour that it is told by; None if nothing is."""
    shared = [part for part in parts_of_day(h, m) if part in parts_of_day(after, m)]
    if shared and rng.random() < 0.6:
        return _in_part(shared, rng)
    return pick(rng, _am(h)).strip() if (h < 12) == (after < 12) else None


def _past_to(h: int, m: int, rng: Random) -> str | None:
    """Say half past nine, a quarter to five pm, ten to midnight, seven minutes past 3 in the afternoon."""
    if m == 0:
        return None
    gap, after = (60 - m, (h + 1) % 24) if m > 30 else (m, h)
    minutes = {15: "(quarter|quarter|a quarter)", 30: "(half|half|half-)", 1: "(one minute|1 minute|a minute)"}.get(gap)
    if minutes is None:
        minutes = _number(gap, rng) + ("( minutes| minutes| mins|||)" if gap % 5 == 0 else "( minutes| minutes| mins)")
    link = "(to|to|to|before|till)" if m > 30 else "past" if m == 30 else "(past|past|past|after)"
    start = fill(f"{minutes} {link} ", rng).replace("- ", "-")
    if after % 12 == 0 and rng.random() < 0.6:
        return start + ("midnight" if after == 0 else rng.choice(("noon", "midday")))
    if after > 12 and rng.random() < 0.15:
        return f"{start}{after}"
    literal = (2 if m > 30 else 1) <= after <= 12 and rng.random() < 0.6
    half = "" if literal else _half_of_day(h, m, after, rng)
    return None if half is None else f"{start}{_number(_twelve(after), rng)} {half}".strip()


def _military(n: int, rng: Random) -> str:
    return in_words(n) if n > 9 else rng.choice(("oh ", "zero ")) + in_words(n)


def clock(style: str, h: int, m: int, rng: Random) -> str | None:
    """Say a time of day in one of the styles, without "at"; None where the style cannot say it."""
    rule = style if m else f"{style} 0"
    if style == "past to":
        return _past_to(h, m, rng)
    if style == "named":
        return pick(rng, "noon" if h else "midnight") if m == 0 and h % 12 == 0 else None
    literal = 1 <= h <= 12  # read on the 24-hour clock, the words mean what they say
    if rule not in RULES or (style == "bare" and h == 0) or (style in ("bare words", "oclock") and not literal):
        return None
    return pick(
        rng, rule, h=h, hh=f"{h:02}", m=m, mm=f"{m:02}", t=_twelve(h), w=in_words(_twelve(h)),
        n=_number(_twelve(h), rng), am=pick(rng, _am(h)), part=_in_part(parts_of_day(h, m), rng),
        hw=_military(h, rng), mw=_military(m, rng),
        minute=in_words(m) if m > 9 else rng.choice(("oh ", "oh ", "o ")) + in_words(m),
        half="" if literal and rng.random() < 0.5 else " " + (_half_of_day(h, m, h, rng) or ""),
    ).strip()  # fmt: skip


STYLES = {  # how often each is taken for times of day, and for the ends of windows
    "clock24": (12, 5), "clock24 rare": (6, 2), "clock12": (16, 8), "bare": (5, 4), "bare words": (3, 1),
    "oclock": (2, 0.5), "oclock part": (2, 0.5), "spoken": (7, 0), "past to": (11, 0), "named": (8, 0),
    "parted": (6, 2), "pleonasm": (1.5, 0), "hundred": (3, 0), "spelled": (1.5, 0),
}  # fmt: skip
CLOCK_MIX, SPAN_MIX = ((list(STYLES), [weights[use] for weights in STYLES.values()]) for use in (0, 1))
NEEDS_AT = ("bare", "bare words", "past to", "hundred", "spelled")
MARK = re.compile(r" ?[ap]\.? ?m\.?$", re.IGNORECASE)
Mix = tuple[Sequence[str], Sequence[float]]


def clocks(times: Sequence[tuple[int, int]], rng: Random, mix: Mix) -> tuple[str, list[str]]:
    """Say several (hour, minute) in one style, noon and midnight by name now and then; return style and texts."""
    while True:
        style, seed = rng.choices(*mix)[0], rng.random()
        texts = [clock(style, h, m, Random(seed)) for h, m in times]
        if len(times) > 1 and (None in texts or rng.random() < 0.5):
            texts = [clock("named", h, m, Random(seed)) or text for (h, m), text in zip(times, texts, strict=True)]
        if None not in texts:
            break
    same_half = len({h < 12 for h, _ in times}) == 1 and all(h % 12 for h, _ in times)
    if style == "clock12" and same_half and rng.random() < 0.4:
        texts = [MARK.sub("", text) for text in texts[:-1]] + texts[-1:]  # 9 and 11am
    return style, texts


def _count(n: int, rng: Random) -> str:
    return pick(rng, f"{n} times") if n in (2, 3, 4) else fill(f"({n} times|{in_words(n)} times|{n}x)", rng)


def _on_the_dial(h: int, m: int, rng: Random) -> str:
    """Say 1 to 11 o'clock as both halves of the day have it: twenty past one, 1:20, one twenty, 9."""
    told = [str(h), in_words(h), f"{_number(h, rng)} o'clock"]
    if m:
        link, gap, to = ("past", m, h) if m <= 30 else ("to", 60 - m, _twelve(h + 1))
        gap = {15: "quarter", 30: "half"}.get(gap) or _number(gap, rng) + " minutes" * (gap % 5 > 0)
        spoken = in_words(m) if m > 9 else f"oh {in_words(m)}"
        told = [f"{h}:{m:02}", f"{h}:{m:02}", f"{in_words(h)} {spoken}"]
        told += [f"{gap} {link} {_number(to, rng)}"] * 2 * (h < 11 or m <= 30)
    return rng.choice(told)


def clock_phrase(times: Sequence[tuple[int, int]], rng: Random) -> str:
    """Say one or several times of day: at 9, at 8am, noon and 6pm, twice a day at 9:00 and 17:00."""
    style, texts = clocks(times, rng, CLOCK_MIX)
    if len(times) == 1:
        at = "at" if style in NEEDS_AT or rng.random() < 0.75 else rng.choice(("", pick(rng, "at")))
        return f"{at} {texts[0]} " + (rng.choice(("sharp", "on the dot")) if rng.random() < 0.04 else "")
    (hour, minute), last_hour = times[0], times[-1][0]
    if len(times) == 2 and last_hour == hour + 12 and 5 <= hour <= 11 and rng.random() < 0.25:
        return pick(rng, "morning and evening", t=f"{hour}:{minute:02}" if minute else _number(hour, rng))
    if len(times) == 2 and last_hour == hour + 12 and hour and rng.random() < 0.35:
        return pick(rng, "both halves", t=_on_the_dial(hour, minute, rng))
    texts = texts[::-1] if rng.random() < 0.06 and (MARK.search(texts[0]) or style == "named") else texts
    more = "and between two times" if len(times) == 2 else "and between more times"
    return f"{pick(rng, 'times at', count=_count(len(times), rng))} {join(texts, rng, 'and between times', more)}"


# ------------------------------------------------------------------------------- intervals and windows
def every(n: int, unit: str, rng: Random) -> str:
    """Say an interval: every 15 minutes, once every two hours, every other day, every third month."""
    number, units = _number(n, rng), pick(rng, f"{unit}s")
    units = units if number.isdigit() or units[0] == " " else f" {unit}s"
    if unit in ("minute", "hour") and rng.random() < 0.02:
        return f"q{n}h" if unit == "hour" else f"q{n}min"  # a nurse's notes
    rules = ["every", "every in a day"] if unit in ("minute", "hour") else ["every"]
    rules = ["every two"] if n == 2 and rng.random() < 0.4 else rules
    return pick(rng, *rules, n=number, units=units, unit=unit, nth=_ordinals([n], rng)[0])


def every_minutes(n: int, rng: Random) -> str:
    """Say an interval in minutes, also by its other names: half-hourly, four times an hour."""
    if n in (15, 30) and rng.random() < 0.4:
        return pick(rng, "quarter hour" if n == 15 else "half hour")
    if 60 % n == 0 and n >= 5 and rng.random() < 0.15:
        return f"{_count(60 // n, rng)} {pick(rng, 'an hour')}"
    return every(n, "minute", rng) + (" starting on the hour" if rng.random() < 0.02 else "")


def every_hours(n: int, rng: Random) -> str:
    """Say an interval in hours, also by its other names: twice a day, every even hour."""
    if 24 % n == 0 and rng.random() < (0.35 if n > 4 else 0.05):
        return f"{_count(24 // n, rng)} {pick(rng, 'a day')}"
    if n == 2 and rng.random() < 0.06:
        return pick(rng, "even hours")
    return every(n, "hour", rng) + (" starting at midnight" if rng.random() < 0.04 else "")


def window(low: int, high: int, rng: Random, minute: int = 0, alone: bool = True) -> str:
    """Say the hours low to high, both included: between 9am and 5pm, from 9 until 17, during office hours."""
    if alone and (low, high, minute) == (9, 17, 0) and rng.random() < 0.35:
        return pick(rng, "work hours")
    style, (start, end) = clocks([(low, minute), (high, minute)], rng, SPAN_MIX)
    if style == "clock12" and low < 12 < high and low % 12 > high % 12 and rng.random() < 0.3:
        start = MARK.sub("", start)  # 9 to 5pm
    if not minute and rng.random() < 0.06:
        ends = (f"{low}:00", f"{high}:59"), (f"{_twelve(low)}{_am(low)}", f"{_twelve(high)}:59{_am(high)}")
        start, end = rng.choice(ends)
    if high == 23 and rng.random() < 0.3:
        return pick(rng, "window to midnight", a=start)
    rules = ["window"] + ["window alone"] * alone + ["window in figures"] * style.startswith("clock")
    rules += ["window in bare figures"] if style == "bare" and (start + end).isdigit() else []
    night = fill("(|||overnight |overnight, |at night, )", rng) if low > high else ""
    return night + pick(rng, *rules, a=start, b=end)


def hours(hour: Field, rng: Random) -> str:
    """Say the hours in which something happens more than once an hour."""
    if hour.kind == "step":
        nth = rng.choice(("other", "second")) if hour.step == 2 else _ordinals([hour.step], rng)[0]
        return f"every {nth} hour" + ("" if hour.values == (0, 23) else f" {_steps_between(*hour.values, 0, rng)}")
    runs = stretches(hour.values, 0, 23)
    missing = [value for value in range(24) if value not in hour.values]
    if len(missing) == 1:
        return _one_hour("not one hour", missing[0], rng)
    if len(runs) > 1 and all(low == high for low, high in runs):
        if rng.random() < 0.6:
            return rng.choice(("in ", "during ", "within ")) + join(
                [_one_hour("several hours", value, rng) for value in hour.values], rng
            )
        return fill("(during|in) (the hours|hours) ", rng) + join([str(value) for value in hour.values], rng)
    alone = len(runs) == 1
    texts = [_one_hour("one hour", a, rng) if a == b else window(a, b, rng, alone=alone) for a, b in runs]
    return rng.choice((" and ", " and again ", " and also ")).join(texts)


def _one_hour(rule: str, hour: int, rng: Random) -> str:
    return pick(rng, rule, t=_twelve(hour), h=hour, hh=f"{hour:02}", am=pick(rng, _am(hour)))


def _steps_between(low: int, high: int, minute: int, rng: Random) -> str:
    """Say where steps of hours begin and end: from 9am on, between 8 and 18."""
    if high < 23:
        return window(low, high, rng, minute)
    return pick(rng, "start of steps", a=clocks([(low, minute)], rng, SPAN_MIX)[1][0])


# ------------------------------------------------------------------------------- minutes of the hour
def past_hour(minutes: Sequence[int], hour: str, rng: Random) -> str:
    """Say minutes past an hour: at 20 past every hour, at :05 and :35, on the half hour, ten to each hour."""
    rules, named = ["past", "past by number"], "past " + " ".join(map(str, minutes))
    every_hour = hour.endswith("hour")  # else times of day: past 9 and 17
    if every_hour and named in RULES:
        rules = [named, "past by number"]
    elif every_hour and len(minutes) == 1:
        rules += ["nth minute"] + ["before the hour"] * (minutes[0] > 30 and minutes[0] % 5 == 0)
    rules += ["past in colons"] * (hour == "the hour")
    number = in_words if rng.random() < 0.25 else str
    plural, before = "s" if len(minutes) > 1 and rng.random() < 0.9 else "", _number((60 - minutes[0]) % 60, rng)
    n, colons = join([number(m) for m in minutes], rng), join([f":{m:02}" for m in minutes], rng)
    return pick(rng, *rules, hour=hour, n=n, colons=colons, s=plural, nth=ordinal(minutes[0]), before=before)


def _past_bare(minute: int, rng: Random) -> str:
    """Say a minute of an hour that the words before have named: at a quarter past, at 20 past, on the half hour."""
    rule = f"past bare {minute}"
    return pick(rng, rule if rule in RULES else "past bare", n=_number(minute, rng))


def _hourly(minutes: Sequence[int], rng: Random) -> str:
    if minutes == (0,):
        return pick(rng, "every hour" if rng.random() < 0.6 else "on the hour")
    if rng.random() < 0.5:
        return past_hour(minutes, rng.choice(("every hour", "every hour", "each hour", "the hour")), rng)
    half = minutes == (30,) and rng.random() < 0.3
    past = "on the half hour" if half else past_hour(minutes, "the hour", rng)
    return f"{pick(rng, 'each hour' if len(minutes) > 1 else 'hourly')} {past}"


def _minute_range(low: int, high: int, hour: str, rng: Random) -> str:
    size = high - low + 1
    part = {15: "(quarter|15 minutes|fifteen minutes)", 30: "(half|30 minutes|thirty minutes)"}
    part = fill(part.get(size, f"({size}|{in_words(size)}) minutes"), rng)
    rules, end = ["minute range"] + ["first minutes"] * (low == 0 or high == 59), "last" if low else "first"
    parts = {"m": rng.choice(("every minute", "every minute", "each minute")), "part": part, "end": end, "hour": hour}
    return pick(rng, *rules, a=low, b=high, aa=f"{low:02}", bb=f"{high:02}", **parts)


def _stepped_minutes(minute: Field, hour: str, rng: Random) -> str:
    low, high = minute.values
    if (low, high) == (0, 59):
        return every_minutes(minute.step, rng)
    rule, step = "start of minutes" if high == 59 else "span of minutes", every(minute.step, "minute", rng)
    return f"{step} {pick(rng, rule, a=low, b=high, aa=f'{low:02}', bb=f'{high:02}', hour=hour)}"


def _listable(minute: Field, hour: Field, rng: Random) -> bool:
    """Tell whether the hours are to be said one by one rather than as windows or steps."""
    few = minute.kind == "value" and len(hour.values) < {"list": 6, "range": rng.randint(2, 5)}.get(hour.kind, 0)
    scattered = hour.kind == "list" and all((b - a) % 24 < 2 for a, b in stretches(hour.values, 0, 23))
    return minute.kind in ("value", "list") and (hour.kind == "value" or few or scattered)


def time_phrase(minute: Field, hour: Field, rng: Random) -> str:
    """Say the minute and the hour of an expression."""
    if _listable(minute, hour, rng):
        return _listed_times(minute, hour, rng)
    if minute.kind == "value":
        return _by_the_hour(minute.values[0], hour, rng)
    if minute.kind == "list" and hour.kind == "any":
        return _hourly(minute.values, rng)
    if minute.kind == "range" and hour.kind == "value" and rng.random() < 0.7:
        ends = [(hour.values[0], minute.values[0]), (hour.values[0], minute.values[-1])]
        _, (start, end) = clocks(ends, rng, (["clock24", "clock12"], (1, 1)))
        return pick(rng, "minutes of a clock", a=start, b=end)
    the_hour = "every hour" if hour.kind == "any" else rng.choice(("the hour", "each hour", "every hour"))
    past = {
        "list": lambda: past_hour(minute.values, "the hour" if hour.kind == "step" else the_hour, rng),
        "range": lambda: _minute_range(minute.values[0], minute.values[-1], the_hour, rng),
        "step": lambda: _stepped_minutes(minute, the_hour, rng),
        "any": lambda: pick(rng, "every minute"),
    }[minute.kind]()
    if hour.kind == "any":
        return past
    if hour.kind == "value" and minute.kind == "any" and rng.random() < 0.3:
        return f"{past} {_one_hour('of one hour', hour.values[0], rng)}"
    return pick(rng, "minutes of hours" if hour.kind == "step" else "minutes in hours", p=past, w=hours(hour, rng))


def _listed_times(minute: Field, hour: Field, rng: Random) -> str:
    """Say a few times of day: every listed minute of every listed hour."""
    times = [(h, m) for h in hour.values for m in minute.values]
    crossing = 0.5 if len(minute.values) > 1 else 0.15 if len(times) > 1 and minute.values[0] else 0
    if len(times) <= (6 if rng.random() < 0.2 else 4) and rng.random() >= crossing:
        return clock_phrase(times, rng)
    figures = "bare" if hour.values[0] else "clock24"
    _, texts = clocks([(h, 0) for h in hour.values], rng, (["clock12", figures], (2, 1)))
    return past_hour(minute.values, join(texts, rng), rng)


def _by_the_hour(minute: int, hour: Field, rng: Random) -> str:
    """Say one minute of many hours: hourly at 20 past, every two hours from 9:30, every hour between 9 and 17."""
    if hour.kind == "any":
        bare = minute > 0 and rng.random() < 0.15
        return f"{pick(rng, 'hourly')} {_past_bare(minute, rng)}" if bare else _hourly((minute,), rng)
    told_by_span = minute > 0 and rng.random() < 0.35  # every hour from 9:30 to 17:30
    if hour.kind == "range" and told_by_span:
        return f"{pick(rng, 'hourly')} {window(hour.values[0], hour.values[-1], rng, minute)}"
    missing = [value for value in range(24) if value not in hour.values]
    if minute == 0 and hour.kind != "step" and len(missing) == 1:
        return pick(rng, "every hour but", a=clocks([(missing[0], 0)], rng, CLOCK_MIX)[1][0])
    if hour.kind != "step":
        return pick(rng, "minutes in hours", p=_hourly((minute,), rng), w=hours(hour, rng))
    whole_day = hour.values == (0, 23)
    text = every_hours(hour.step, rng) if whole_day else every(hour.step, "hour", rng)
    if not whole_day:
        text += " " + _steps_between(*hour.values, minute if told_by_span else 0, rng)
    if (told_by_span and not whole_day) or (minute == 0 and rng.random() < 0.9):
        return text
    past = _past_bare(minute, rng) if rng.random() < 0.4 else past_hour((minute,), "the hour", rng)
    return fill("({t} {p}|{t} {p}|{t}, {p}|{p}, {t})", rng, t=text, p=past)


# ------------------------------------------------------------------------------- days of the week
INITIALS = {
    (1, 3, 5): "MWF MWF M/W/F M/W/F Mo/We/Fr M-W-F M,W,F M+W+F Mon/Wed/Fri",
    (2, 4): "TTh TTh T/Th Tu/Th TuTh Tue/Thu Tu+Th Tu&Th",
    (1, 2, 3, 4): "M-Th Mo-Th Mon-Thu MTWTh",
    (1, 3): "M/W MW Mo/We Mon/Wed M+W",
    (3, 5): "W/F Wed/Fri We/Fr",
    (1, 2, 3, 4, 5): "M-F M-F Mo-Fr Mon-Fri MTWThF M/T/W/Th/F",
    (2, 3, 4, 5): "Tu-F Tue-Fri Tu-Fr",
    (1, 2, 3, 4, 5, 6): "M-Sa Mo-Sa Mon-Sat",
    (0, 6): "Sat/Sun Sat+Sun Sa/Su Sat&Sun",
    (5, 6): "Fri/Sat Fri+Sat",
}


def weekdays(dow: Field, lead: bool, rng: Random) -> str:
    """Say a set of days of the week: on Mondays, Mon-Fri, every day except Sunday, Tuesday & Thursday."""
    days, form = dow.values, rng.choice(("long", "long", "plural", "plural", "short"))
    singular = [fill(name, rng) for name in (DAYS_SHORT if form == "short" else DAYS)]
    if form == "short" and rng.random() < 0.15:
        two_letters = len(days) > 1 and rng.random() < 0.5
        singular = [day[:2] if two_letters else f"{day[:3]}." for day in DAYS]
    name = [day + "s" for day in DAYS] if form == "plural" else singular
    missing = [day for day in range(7) if day not in days]
    if len(days) == 1:
        return pick(rng, "one weekday", d=singular[days[0]], ds=name[days[0]])
    if missing == [0, 6] and rng.random() < 0.65:
        return pick(rng, *(["weekdays"] if lead else ["weekdays", "not on weekends"]))
    if days == (0, 6) and rng.random() < 0.7:
        return pick(rng, "weekends")
    if len(missing) == 1 and rng.random() < 0.35:
        return pick(rng, "days of the week but", d=rng.choice((singular, name))[missing[0]])
    if len(missing) <= 2 and missing != [0, 6] and rng.random() < 0.6:
        everyday = pick(rng, "every day") if lead or rng.random() < 0.8 else ""
        link = pick(rng, "except") if everyday else rng.choice(("except", "except on", "but not on", "not on"))
        return f"{everyday} {link} {join([name[day] for day in missing], rng, 'or')}"
    if missing == [0] and rng.random() < 0.3:
        return pick(rng, "weekdays and Saturday")
    if len(missing) == 3 and {0, 6} <= set(missing) and rng.random() < 0.5:
        return pick(rng, "weekdays but", d=name[next(day for day in missing if day % 6)])
    if days in INITIALS and rng.random() < 0.25:
        return rng.choice(("on ", "on ", "")) + rng.choice(INITIALS[days].split())
    return _day_list(days, name, singular, rng)


def _day_list(days: Sequence[int], name: Sequence[str], singular: Sequence[str], rng: Random) -> str:
    runs = stretches(days, 0, 6) if rng.random() < 0.9 else [(day, day) for day in days]
    ranges = any((high - low) % 7 > 1 for low, high in runs)
    lead = pick(rng, "before a range" if ranges and len(runs) == 1 else "before days")
    shown = singular if "e" in lead else name  # every Monday, on Mondays
    link, items = pick(rng, "from to" if "from" in lead else "to"), []
    for low, high in runs if rng.random() < 0.8 else sorted(runs):
        ends = [shown[day] for day in dict.fromkeys((low, high))]
        items += [link.join(ends)] if (high - low) % 7 > 1 else ends
    if not ranges and lead in ("", "on") and rng.random() < 0.2:
        return f"{lead} {rng.choice((' ', ' ', '/', ',')).join(items)}"  # mon wed fri
    if not ranges and lead == "on" and len(items) == 2 and rng.random() < 0.08:
        return f"on both {items[0]} and {items[1]}"
    inclusive = " inclusive" if ranges and len(runs) == 1 and rng.random() < 0.03 else ""
    return f"{lead} {join(items, rng, 'and' if ranges else 'and between days')}{inclusive}"


def part_phrase(part: str, dow: Field, rng: Random) -> str:
    """Say days with a part of the day: every morning, on Monday evenings, weekday afternoons."""
    missing = [day for day in range(7) if day not in dow.values]
    if dow.kind == "any":
        return pick(rng, "every night" if part == "night" and rng.random() < 0.2 else "every part", p=part)
    if missing == [0, 6] and rng.random() < 0.8:
        if part == "night" and rng.random() < 0.5:
            return rng.choice(("weeknights", "on weeknights", "every weeknight", "week nights"))
        return pick(rng, "weekday parts", p=part)
    if dow.values == (0, 6) and rng.random() < 0.7:
        return pick(rng, "weekend parts", p=part)
    if len(missing) == 1 and rng.random() < 0.7:
        return pick(rng, "parts but", p=part, d=DAYS[missing[0]] + rng.choice(("", "s")))
    plural = rng.choice(("", "s"))
    lead = rng.choice(("on", "on", "") if plural else ("every", "on", "each", "every"))
    return f"{lead} {join([DAYS[day] for day in dow.values], rng)} {part}{plural}"


# ------------------------------------------------------------------------------- days of the month
def monthdays(dom: Field, of: str, monthly: bool, lead: bool, rng: Random) -> str:
    """Say days of the month; `of` may end the phrase, `monthly` allows "every month", `lead` a start without "on"."""
    on = rng.choice(("on", "on", "on", "") if lead else ("on",))
    every_month = pick(rng, "every month") if monthly and rng.random() < 0.25 else ""
    of = "" if every_month else of
    if dom.kind == "step":
        return _stepped_days(dom, of, rng)
    missing = [day for day in range(1, 32) if day not in dom.values]
    if len(missing) == 1:
        return f"{every_month} {pick(rng, 'days but', nth=_ordinals(missing, rng)[0], of=of)}"
    if dom.kind == "range" and rng.random() < 0.85:
        return f"{every_month} {_day_range(dom.values[0], dom.values[-1], of, rng)}"
    if dom.kind == "value":
        return f"{every_month} {_one_monthday(dom.values[0], on, of, monthly and not every_month, rng)}"
    figures = rng.random() < 0.25
    texts = dict(zip(dom.values, map(str, dom.values) if figures else _ordinals(dom.values, rng), strict=True))
    link, items = rng.choice((" to ", " through ", " to the " if not figures else "-")), []
    for low, high in stretches(dom.values, 0, 32):
        ends = [texts[day] for day in dict.fromkeys((low, high))]
        items += [link.join(ends)] if high - low > 1 else ends
    if figures:
        return f"{every_month} {on} days {join(items, rng)} {of}"
    if len(items) == 2 and monthly and not every_month and rng.random() < 0.1:
        on = fill("(twice a month,|twice a month|two times a month,) on", rng)
    if rng.random() < 0.2:  # on 1st and 15th; on the 1st, the 10th and the 15th
        items = [f"the {item}" for item in items] if rng.random() < 0.5 else items
        return f"{every_month} {on} {join(items, rng)} {of}"
    return f"{every_month} {on} the {join(items, rng, 'and between nths')} {of}"


def _one_monthday(day: int, on: str, of: str, once: bool, rng: Random) -> str:
    rules = ["monthday"] + (["monthly on"] if once else []) + (["every 4th of the month"] if once and day > 3 else [])
    rules += ["first of"] if day == 1 and of.strip() else []
    return pick(rng, *rules, on=on, nth=_ordinals([day], rng)[0], d=day, of=of, figure=ordinal(day))


def _day_range(low: int, high: int, of: str, rng: Random) -> str:
    a, b = _ordinals([low, high], rng)
    rules = ["days to the end"] if high == 31 and rng.random() < 0.7 else ["day range"] + ["first days"] * (low == 1)
    of = of.strip() or "of the month" if rules == ["days to the end"] else of
    daily = rng.choice(("every day", "daily", "each day", "", ""))
    return pick(rng, *rules, e=daily, a=a, b=b, l=low, h=high, w=in_words(high), of=of)


def _stepped_days(dom: Field, of: str, rng: Random) -> str:
    (low, high), text = dom.values, every(dom.step, "day", rng)
    a, b = _ordinals([low, high], rng)
    if (low, high) == (1, 31):
        return pick(rng, "odd days", of=of) if dom.step == 2 and rng.random() < 0.08 else text
    if high == 31:
        return f"{text} {rng.choice(('from', 'starting on', 'starting from', 'beginning on', 'starting'))} the {a} {of}"
    return f"{text} " + fill(f"(from the {a} (to|until) the {b}|between the {a} and the {b}) {of}", rng)


# ------------------------------------------------------------------------------- months and dates
PARTS_OF_YEAR = {
    (1, 3): "(Q1|Q1|the 1st quarter|quarter 1|quarter one|the first quarter|the first three months of the year)",
    (4, 6): "(Q2|Q2|the 2nd quarter|quarter 2|quarter two|the second quarter|the second quarter of the year)",
    (7, 9): "(Q3|Q3|the 3rd quarter|quarter 3|quarter three|the third quarter|the third quarter of the year)",
    (10, 12): "(Q4|Q4|the 4th quarter|quarter 4|quarter four|the fourth quarter|the last quarter of the year)",
    (
        1,
        6,
    ): "(the first half of the year|H1|the first half-year|the first six months of the year|the 1st half of the year)",
    (
        7,
        12,
    ): "(the second half of the year|H2|the second half-year|the last six months of the year|the 2nd half of the year)",
}


def _month_names(values: Sequence[int], rng: Random) -> list[str]:
    table = MONTHS_SHORT if rng.random() < 0.3 else MONTHS
    return [fill(table[value], rng) for value in values]


def months(month: Field, rng: Random) -> str:
    """Say the months in which something runs: in January, from June to August, in Q1, every other month."""
    if month.kind == "step":
        text = stepped_months(month, rng)
        return f"{rng.choice(('in', 'during', ''))} {text}" if text.startswith("every") else text
    missing = [value for value in range(1, 13) if value not in month.values]
    if len(missing) <= 2 and rng.random() < (0.8 if len(missing) == 1 else 0.6):
        return pick(rng, "months but", m=join(_month_names(missing, rng), rng, "or"))
    if month.kind == "value":
        return pick(rng, "month", m=_month_names(month.values, rng)[0])
    runs = stretches(month.values, 1, 12)
    if len(runs) == 1 and runs[0] in PARTS_OF_YEAR and rng.random() < 0.5:
        return pick(rng, "part of year", p=fill(PARTS_OF_YEAR[runs[0]], rng))
    names = dict(zip(range(1, 13), _month_names(range(1, 13), rng), strict=True))
    if len(runs) == 1 and len(month.values) > 2:
        return pick(rng, "months from to", a=names[runs[0][0]], b=names[runs[0][1]])
    items = []
    for low, high in runs:
        ends = [names[value] for value in dict.fromkeys((low, high))]
        items += [" to ".join(ends)] if (high - low) % 12 > 1 else ends
    return f"{rng.choice(('in', 'in', 'in', 'during', 'only in', 'in the months of'))} {join(items, rng)}"


def stepped_months(month: Field, rng: Random) -> str:
    """Say a step of months: every other month, quarterly, every third month from February."""
    (low, high), text = month.values, every(month.step, "month", rng)
    a, b = _month_names((low, high), rng)
    if (low, high) == (1, 12):
        return pick(rng, "every quarter") if month.step == 3 and rng.random() < 0.5 else text
    if high == 12:
        return f"{text} {rng.choice(('from', 'starting in', 'starting from', 'beginning in', 'starting'))} {a}"
    return f"{text} " + fill(f"(from {a} (to|until|through) {b}|between {a} and {b})", rng)


def date(days: Sequence[int], month: int, lead: bool, rng: Random) -> str:
    """Say dates in one month: on March 3rd, every 3 March, on the 1st and 15th of May, July 1-7, on Christmas."""
    on, last = rng.choice(("", pick(rng, "on date"))) if lead else pick(rng, "on date"), "and between dates"
    if len(days) == 1 and (days[0], month) in HOLIDAYS and rng.random() < 0.6:
        return f"{rng.choice((on, 'every', 'on', 'each year on'))} {fill(HOLIDAYS[days[0], month], rng)}"
    if len(days) == 1 and (days[0], month) in NEAR_HOLIDAYS and rng.random() < 0.5:
        return f"{rng.choice((on, 'on', 'each year on'))} {fill(NEAR_HOLIDAYS[days[0], month], rng)}"
    if len(days) < 4 and all((day, month) in HOLIDAYS for day in days):
        return f"on {join([fill(HOLIDAYS[day, month], rng) for day in days], rng, last)}"
    name, figures, ordinals = _month_names([month], rng)[0], [str(day) for day in days], _ordinals(days, rng)
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        rules = ["dates from to"] + ["first days of month"] * (days[0] == 1) + ["dates from to, short"] * lead
        return pick(rng, *rules, m=name, l=days[0], h=days[-1], a=ordinals[0], b=ordinals[-1])
    if len(days) == 1:
        text = pick(rng, "date", m=name, d=figures[0], nth=ordinals[0])
        if rng.random() < 0.05:
            return f"{pick(rng, 'birthday')} {text}"
        return f"{rng.choice(('every', 'each'))} {text}" if text[:3] != "the" and rng.random() < 0.1 else f"{on} {text}"
    if rng.random() < 0.3:
        form = rng.choice(("{m} {d}", "{d} {m}"))
        return f"{on} {join([form.format(m=name, d=day) for day in figures], rng, last)}"
    return f"{on} {pick(rng, 'dates', m=name, d=join(figures, rng, last), nth=join(ordinals, rng, last))}"


def _same_day_of_months(day: int, month: Field, lead: bool, rng: Random) -> str:
    """Say one day in several months: on 1 March and 1 June, on the 1st of every month from March to June."""
    on, nth = rng.choice(("on", "on", "") if lead else ("on",)), _ordinals([day], rng)[0]
    names, runs = _month_names(month.values, rng), stretches(month.values, 1, 12)
    if len(runs) == 1 and runs[0] in PARTS_OF_YEAR and rng.random() < 0.4:
        return f"{on} the {nth} of {pick(rng, 'every month in part', p=fill(PARTS_OF_YEAR[runs[0]], rng))}"
    if len(names) <= 4 and rng.random() < 0.5:
        form = rng.choice(RULES["dates"])
        return f"{on} {join([form.format(m=name, d=day, nth=nth) for name in names], rng, 'and between dates')}"
    if len(runs) == 1 and len(names) > 2:
        a, b = (names[month.values.index(end)] for end in runs[0])
        return f"{on} the {nth} of {pick(rng, 'every month from to', a=a, b=b)}"
    return f"{on} the {nth} of {join(names, rng)}"


# ------------------------------------------------------------------------------- the schedule
def day_phrases(dates: str | None, dom: Field, month: Field, dow: Field, lead: bool, rng: Random) -> list[str]:
    """Say the days and the months in up to two phrases; an empty one stands for every day."""
    if dates in RULES and rng.random() < {"* * 0": 0.1, "1 * *": 0.2}.get(dates, 0.5):
        return [pick(rng, dates)]
    if dow.kind != "any":
        return [weekdays(dow, lead, rng)] + ([months(month, rng)] if month.kind != "any" else [])
    if dom.kind == "any":
        return [""] + ([months(month, rng)] if month.kind != "any" else [])
    if month.kind == "any":
        return [monthdays(dom, pick(rng, "of the month"), True, lead, rng)]
    if month.kind == "step":
        stepped = stepped_months(month, rng)
        if stepped.startswith("every") and dom.kind != "step" and rng.random() < 0.5:
            return [monthdays(dom, f"of {stepped}", False, lead, rng)]
        return [f"{stepped} {monthdays(dom, '', False, False, rng)}"]
    scattered = dom.kind == "list" and all(b - a < 2 for a, b in stretches(dom.values, 0, 32))
    if month.kind == "value" and (dom.kind in ("value", "range") or scattered):
        return [date(dom.values, month.values[0], lead, rng)]
    if dom.kind == "value" and len(month.values) < 7 and rng.random() < 0.8:
        return [_same_day_of_months(dom.values[0], month, lead, rng)]
    return [monthdays(dom, "", False, lead, rng), months(month, rng)]


def told_by_part(hour: int, minute: int, dow: Field, rng: Random) -> list[str] | None:
    """Say the part of the day with the days, and the time without it: on Friday evenings, at half past six."""
    after = (hour + 1) % 24 if minute > 30 else hour
    parts = [part for part in parts_of_day(hour) if part in parts_of_day(after)]
    if hour < 6 and dow.kind != "any":  # Friday night at 2 is Saturday
        parts = [part for part in parts if part != "night"]
    if not parts:
        return None
    h, later = _twelve(hour), _twelve(after)
    if rng.random() < 0.3:
        time = clock("clock12", hour, minute, rng)
    elif minute == 0:
        time = fill(f"({h}|{h}|{in_words(h)}|{h}:00|({h}|{in_words(h)}) o'clock)", rng)
    else:
        told = {15: f"(a |)quarter past ({h}|{in_words(h)})", 30: f"half past ({h}|{in_words(h)})"}
        told |= {45: f"(a |)quarter to ({later}|{in_words(later)})"}
        time = fill(rng.choice((told.get(minute, f"{h}:{minute:02}"), f"{h}:{minute:02}", f"{h}.{minute:02}")), rng)
    return [f"at {time}", part_phrase(rng.choice(parts), dow, rng)]


CLEAR_START = re.compile(r"(on|every|each|in|at|during|daily|from|week|once|only|except|between|twice|while)\b", re.I)
LEFT_OUT = re.compile(r"except|only|in every month", re.I)  # what the words before it must carry
NUMBER_START = re.compile(rf"\d|(a )?(quarter|half)|({'|'.join(UNITS + TENS[2:])})\b")


def glue(parts: Sequence[str], rng: Random) -> str:
    """Put phrases in a row; with a comma now and then, and always where two numbers would touch."""
    text = ""
    for part in filter(None, (" ".join(part.split()) for part in parts)):
        touching = text and not CLEAR_START.match(part) and (NUMBER_START.match(part) or text[-1].isdigit())
        link = "" if not text or part[0] == "," else ", " if touching or rng.random() < 0.13 else " "
        text += (rng.choice(("; ", " - ", ", ")) if link and rng.random() < 0.01 else link) + part
    return text


def schedule(cron: str, rng: Random) -> str | None:
    """Say the bare schedule; None for what people do not say in one sentence."""
    parts = phrases(cron, rng)
    return None if parts is None else glue(parts, rng)


def phrases(cron: str, rng: Random) -> list[str] | None:
    """Say time, days and months in one to three phrases, in an order that reads well; None where nobody says it."""
    texts = cron.split()
    fields = [read_field(text, *bounds) for text, bounds in zip(texts, BOUNDS, strict=True)]
    minute, hour, dom, month, dow = fields
    if None in fields or dow.kind == "step" or (dom.kind != "any" and dow.kind != "any"):
        return None
    one_time = minute.kind == hour.kind == "value"
    parts = told_by_part(hour.values[0], minute.values[0], dow, rng) if one_time and dom.kind == "any" else None
    if parts and rng.random() < 0.15:
        in_months = [months(month, rng)] if month.kind != "any" else []
        return [*(parts if rng.random() < 0.4 else parts[::-1]), *in_months]
    silent = texts[:2] == ["0", "0"] and rng.random() < 0.65  # days without a time begin at midnight
    lead = silent or rng.random() < 0.5
    days = day_phrases(" ".join(texts[2:]) if one_time else None, dom, month, dow, lead, rng)
    if days[0] == "" and rng.random() < (0.85 if silent else 0.6 if one_time else 0.15):
        more = "once a day" if one_time else "all day" if hour.kind == "any" else "every day"
        days[0] = pick(rng, *(["every day", more] if silent or rng.random() < 0.5 else ["any day"]))
    if silent and not any(days):
        days = [pick(rng, "every day")]
    time = "" if silent else time_phrase(minute, hour, rng)
    if not days[0] and days[-1][:1] in (*",eb",):  # except in May, but not in May
        return [time, *days]
    if len(days) == 2 and rng.random() < 0.5 and days[1][0] not in ",eb":
        a, b = days
        return rng.choice(([b, a, time], [b, time, a], [a, time, b], [time, b, a]))
    return [*days, time] if lead else [time, *days]


# ------------------------------------------------------------------------------- the sentence
ADJECTIVES = {"* * *": "daily", "* * 0": "weekly", "1 * *": "monthly", "1 1 *": "(yearly|annual)"}
ADJECTIVES |= {"1 */3 *": "quarterly", "1 */6 *": "(half-yearly|six-monthly|semi-annual)"}


def _with_adjective(cron: str, rng: Random) -> str | None:
    """Say the days as an adjective: weekly backup, monthly invoice run at 9am; None where none fits."""
    minute, hour, dates = cron.split(" ", 2)
    adjective = ADJECTIVES.get(dates) if (minute + hour).isdigit() else "hourly" if cron == "0 * * * *" else None
    if adjective is None:
        return None
    time = "" if minute == "0" and hour in ("0", "*") else clock_phrase([(int(hour), int(minute))], rng)
    if dates == "* * *" and time and not 5 <= int(hour) <= 21:
        adjective = "(nightly|daily)"
    return pick(rng, "with adjective", adjective=fill(adjective, rng), noun=rng.choice(TASKS)[1], time=time)


FRAMES = {"no frame": 36, "schedule frames": 15, "task frames": 18, "noun frames": 14, "context frames": 17}


def frame(parts: Sequence[str], rng: Random) -> str:
    """Put the schedule into a sentence: bare, with a task, a request, a reason, or split around the task."""
    parts = [text for text in (part.strip() for part in parts) if text]
    do, noun = rng.choice(TASKS)
    told = {"do": do, "noun": noun, "why": pick(rng, "why"), "who": pick(rng, "who"), "place": pick(rng, "place")}
    splits = [at for at in range(1, len(parts)) if CLEAR_START.match(parts[at]) and not LEFT_OUT.match(parts[at])]
    if splits and rng.random() < 0.16:
        at = rng.choice(splits)
        return pick(rng, "split frames", a=glue(parts[:at], rng), b=glue(parts[at:], rng), **told)
    return pick(rng, rng.choices(list(FRAMES), FRAMES.values())[0], s=glue(parts, rng), **told)


# ------------------------------------------------------------------------------- capitals and slips
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NUMBER_WORDS = {*UNITS, *TENS, *ORDINALS}
WORD = re.compile(r"[A-Za-z']{5,}")


def _slip(word: str, rng: Random) -> str:
    """Make one typing slip: a known misspelling, two letters swapped, one lost, doubled or mistaken."""
    if word.lower() in MISSPELT and rng.random() < 0.6:
        return rng.choice(MISSPELT[word.lower()])
    if word.lower() in NUMBER_WORDS:  # three is not to become there
        return word
    at = rng.randrange(1, len(word) - 1)
    row = next((row for row in KEYS if word[at].lower() in row), word[at].lower())
    near = row[max(0, min(row.index(word[at].lower()) + rng.choice((-1, 1)), len(row) - 1))]
    start, end = word[:at], word[at + 1 :]
    swapped, doubled = start + end[0] + word[at] + end[1:], start + word[at] + word[at:]
    return rng.choice((swapped, start + end, doubled, start + near + end))


def _misspell(text: str, rng: Random) -> str:
    found = list(WORD.finditer(text))
    telling = [match for match in found if match[0].lower() in MISSPELT or match[0].title() in (*DAYS, *MONTHS)]
    found = telling if telling and rng.random() < 0.5 else found
    slips = rng.sample(found, min(len(found), rng.choice((1, 1, 1, 2, 3))))
    for match in sorted(slips, key=lambda match: -match.start()):
        text = text[: match.start()] + _slip(match[0], rng) + text[match.end() :]
    return text


def _drop_small_words(text: str, rng: Random) -> str:
    """Leave out articles as a foreign writer does, or 'on', 'in' and 'at' as a hurried one."""
    if rng.random() < 0.6:
        return re.sub(r"\b(the|an?) (?=[a-z0-9])(?!m\b)", "", text)
    return re.sub(r"\b(on|in) (?=[A-Z][a-z])|\bat (?=\d\d?[:h]\d\d)", "", text)


PHONE = {"please": "pls", "you": "u", "your": "ur", "thanks": "thx"}


def finish(text: str, rng: Random) -> str:
    """Add capitals, a full stop and slips, as different people type."""
    if rng.random() < 0.3:
        text = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text)  # twenty five, half hourly
    if rng.random() < 0.08:
        text = _drop_small_words(text, rng)
    if rng.random() < 0.18:
        text = _misspell(text, rng)
    if rng.random() < 0.04:
        text = re.sub(r"\b(please|you|your|thanks)\b", lambda word: PHONE[word[0]], text)
    if rng.random() < 0.03:
        text = re.sub(r", (?=[A-Za-z])", ",", text)
    text = " ".join(text.replace(" ,", ",").split()).strip(",; ")
    title = " ".join(word[0].upper() + word[1:] for word in text.split())
    text = rng.choices((text[0].upper() + text[1:], text.lower(), text, text.upper(), title), (40, 42, 8, 8, 2))[0]
    if text.endswith("?"):
        text = text[:-1] if rng.random() < 0.3 else text
    elif rng.random() < 0.35:
        text += rng.choice((".", ".", ".", ".", "!", " .", "...", "!!"))
    return text.replace(" ", "  ", 1) if rng.random() < 0.02 else text


def say(cron: str, rng: Random) -> str | None:
    """Say a canonical cron expression as a person might; None if it is not the kind of thing people say.

    `rng` decides the wording: the same state gives the same sentence.
    """
    whole = _with_adjective(cron, rng) if rng.random() < 0.04 else None
    if whole is None:
        parts = phrases(cron, rng)
        whole = None if parts is None else frame(parts, rng)
    return None if whole is None else finish(whole, rng)
