"""How people say a schedule: small grammars that turn a cron expression into an English sentence.
Used by lorautils.cron to write the training data of notebooks 00 and 08: say("30 9 * * 1-5", random.Random(0)).
time x days x months -> word order -> frame ("please ...", "cron for ...") -> capitals, punctuation, slips."""

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

# ---------------------------------------------------------------------------------------------- fields
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))  # minute, hour, day of month, month, day of week


class Field(NamedTuple):
    """One field of a canonical cron expression: `values` it allows, or for a step its two bounds."""

    kind: str  # any, value, list, range, step
    values: tuple[int, ...]
    step: int = 1


def _field(text: str, low: int, high: int) -> Field | None:
    """Read one field; None for a list that contains a step, which nobody says."""
    if text == "*":
        return Field("any", tuple(range(low, high + 1)))
    if "/" in text:
        span, step = text.split("/", 1)
        if "," in text:
            return None
        bounds = (low, high) if span == "*" else tuple(int(v) for v in span.split("-"))
        return Field("step", bounds, int(step))
    items = [[int(v) for v in item.split("-")] for item in text.split(",")]
    values = tuple(v for item in items for v in range(item[0], item[-1] + 1))
    kind = "value" if len(values) == 1 else "range" if len(items) == 1 else "list"
    return Field(kind, values)


def _runs(values: Sequence[int], low: int, high: int) -> list[tuple[int, int]]:
    """Consecutive stretches of a sorted list, joined over the end of the cycle: 0,5,6 -> (5, 0)."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    if len(runs) > 1 and runs[0][0] == low and runs[-1][1] == high:
        runs = [*runs[1:-1], (runs[-1][0], runs[0][1])]
    return runs


# ---------------------------------------------------------------------------------------------- words
GROUP = re.compile(r"\(([^()]*)\)")
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "- - twenty thirty forty fifty".split()
ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split() + [f"twenty-{unit}" for unit in "first second third fourth fifth sixth seventh eighth ninth".split()]
ORDINALS += ["thirtieth", "thirty-first"]
DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()
DAYS_SHORT = ("Sun", "Mon", "(Tue|Tues)", "(Wed|Weds)", "(Thu|Thur|Thurs)", "Fri", "Sat")
MONTHS = (
    "- January February March April May June July August September October November December"
).split()
MONTHS_SHORT = "- Jan Feb Mar Apr May Jun Jul Aug (Sep|Sept) Oct Nov Dec".split()
HOLIDAYS = {
    (1, 1): "(New Year's Day|New Year's day|New Years Day|New Year's)",
    (14, 2): "(Valentine's Day|Valentines Day|St Valentine's Day|Valentine's)",
    (29, 2): "(leap day|Leap Day)",
    (14, 3): "(Pi Day|pi day)",
    (17, 3): "(St Patrick's Day|St. Patrick's Day|Saint Patrick's Day|St Paddy's Day)",
    (1, 4): "(April Fools' Day|April Fool's Day|April Fools|April fools day)",
    (1, 5): "(May Day|May day)",
    (4, 7): "(US Independence Day|Independence Day|the Fourth of July|American Independence Day)",
    (14, 7): "Bastille Day",
    (31, 10): "(Halloween|Hallowe'en|Halloween night|Halloween)",
    (24, 12): "(Christmas Eve|Xmas Eve|Christmas eve)",
    (25, 12): "(Christmas|Christmas Day|Xmas|Christmas day|X-mas)",
    (26, 12): "(Boxing Day|Boxing day)",
    (31, 12): "(New Year's Eve|New Years Eve|New Year's eve|NYE)",
}


def grow(rng: Random, template: str, **parts: object) -> str:
    """Replace every (a|b|c), innermost first, by one of its alternatives, then every {name} by its part."""
    while group := GROUP.search(template):
        choice = rng.choice(group[1].split("|"))
        template = template[: group.start()] + choice + template[group.end() :]
    return template.format(**parts)


def words(n: int) -> str:
    """0 to 59 in words: 25 -> twenty-five."""
    return UNITS[n] if n < 20 else TENS[n // 10] + (f"-{UNITS[n % 10]}" if n % 10 else "")


def _number(n: int, rng: Random) -> str:
    return words(n) if rng.random() < 0.35 else str(n)


def _suffix(n: int) -> str:
    return "th" if 10 < n < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")


def _ordinals(numbers: Sequence[int], rng: Random) -> list[str]:
    in_words = rng.random() < 0.3
    return [ORDINALS[n] if in_words else f"{n}{_suffix(n)}" for n in numbers]


def join(items: Sequence[str], rng: Random, last: str = "( and | and | and | & |, |, and | plus | as well as )") -> str:
    """a and b; a, b and c; a & b; a, b, c."""
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + grow(rng, last) + items[-1]


# ---------------------------------------------------------------------------------------------- clock times
def parts_of_day(hour: int) -> list[str]:
    """The phrases that tell morning from evening for a time in this hour."""
    spans = (("morning", 0, 11), ("afternoon", 12, 18), ("evening", 17, 23), ("night", 0, 5), ("night", 18, 23))
    return [name for name, low, high in spans if low <= hour <= high]


def _twelve(hour: int) -> int:
    return (hour - 1) % 12 + 1


def _in_part(part: str) -> str:
    return "at night" if part == "night" else f"in the {part}"


def _half_of_day(hours: Sequence[int], rng: Random) -> str | None:
    """'in the morning' or 'pm', true of all the hours; None if there is none."""
    shared = [part for part in parts_of_day(hours[0]) if all(part in parts_of_day(h) for h in hours)]
    if shared and rng.random() < 0.6:
        return " " + _in_part(rng.choice(shared))
    if len({h < 12 for h in hours}) == 1:
        return grow(rng, "( am|am| a.m.| AM)" if hours[0] < 12 else "( pm|pm| p.m.| PM)")
    return None


def _clock24(h: int, m: int, rng: Random) -> str:
    return grow(rng, f"({h}:{m:02}|{h:02}:{m:02}|{h:02}:{m:02})")


def _clock24_rare(h: int, m: int, rng: Random) -> str:
    short = f"{h}h" if m == 0 else f"{h}h{m:02}"
    return grow(
        rng,
        f"({h:02}{m:02}|{h:02}{m:02}( hrs| hours|h)|{short}|{h:02}h{m:02}|{h}.{m:02}|{h:02}.{m:02}"
        f"|{h:02}:{m:02}( hrs|h| hours| o'clock))",
    )


def _clock12(h: int, m: int, rng: Random) -> str:
    mark = "a" if h < 12 else "p"
    minutes = grow(rng, "(|||:00|.00)") if m == 0 else grow(rng, f"(:|:|:|.){m:02}")
    return grow(rng, f"{_twelve(h)}{minutes}({mark}m| {mark}m|{mark}m| {mark.upper()}M|{mark.upper()}M| {mark}.m.)")


def _bare(h: int, m: int, rng: Random) -> str | None:
    if m or not h:
        return None
    return words(h) if h <= 12 and rng.random() < 0.4 else str(h)


def _oclock(h: int, m: int, rng: Random) -> str | None:
    if m:
        return None
    number = _number(_twelve(h), rng)
    literal = 1 <= h <= 12 and rng.random() < 0.5
    part = "" if literal else " " + _in_part(rng.choice(parts_of_day(h)))
    return grow(rng, f"{number} (o'clock|o'clock|o'clock|oclock|o clock){part}")


def _spoken(h: int, m: int, rng: Random) -> str | None:
    if m == 0:
        return None
    hour = words(_twelve(h))
    minute = grow(rng, f"(oh|oh|o) {words(m)}") if m < 10 else words(m)
    literal = 1 <= h <= 12 and rng.random() < 0.5
    return f"{hour} {minute}" + ("" if literal else _half_of_day([h], rng) or "")


def _past_to(h: int, m: int, rng: Random) -> str | None:
    """Half past nine, a quarter to five, ten to midnight, seven minutes past 3 in the afternoon."""
    if m == 0:
        return None
    to = m > 30
    gap, after = (60 - m, (h + 1) % 24) if to else (m, h)
    minutes = {15: "(quarter|quarter|a quarter)", 30: "half", 1: "(one|1|a) minute"}.get(gap)
    if minutes is None:
        minutes = _number(gap, rng) + "( minutes| minutes| mins" + ("|||)" if gap % 5 == 0 else ")")
    link = "(to|to|before|till)" if to else "past" if gap == 30 else "(past|past|after)"
    if after in (0, 12) and rng.random() < 0.6:
        return grow(rng, f"{minutes} {link} " + ("midnight" if after == 0 else "(noon|midday)"))
    if after > 12 and rng.random() < 0.15:
        return grow(rng, f"{minutes} {link} {after}")
    literal = (2 if to else 1) <= after <= 12 and rng.random() < 0.6
    half = "" if literal else _half_of_day([h, after], rng)
    return None if half is None else grow(rng, f"{minutes} {link} {_number(_twelve(after), rng)}{half}")


def _named(h: int, m: int, rng: Random) -> str | None:
    if m or h not in (0, 12):
        return None
    return grow(rng, "(midnight|midnight|midnight|12 midnight|twelve midnight|12 at night)" if h == 0 else
                "(noon|noon|noon|12 noon|midday|twelve noon|12 midday)")


def _parted(h: int, m: int, rng: Random) -> str:
    number = f"{_twelve(h)}(:|:|.){m:02}" if m else _number(_twelve(h), rng)
    part = _in_part(rng.choice(parts_of_day(h)))
    return grow(rng, number) + " " + (part.replace("the m", grow(rng, "the (m|m|early m)")) if 1 <= h <= 6 else part)


def _hundred(h: int, m: int, rng: Random) -> str:
    """Military time in words: oh nine hundred, seventeen thirty."""
    hour = words(h) if h >= 10 else grow(rng, "(oh|zero) ") + words(h)
    if m == 0:
        return grow(rng, f"{hour} hundred( hours| hours|)")
    if m < 10:
        return grow(rng, f"{hour} (oh|zero) {words(m)} hours")
    return grow(rng, f"{hour} {words(m)}( hours|)")


def _spelled(h: int, m: int, rng: Random) -> str:
    return grow(rng, f"(hour {h}, minute {m}|hour {h} minute {m}|{h} hours {m} minutes|{h} hours and {m} minutes)")


# Every way to say a time of day: (hour, minute, rng) -> words without "at", or None where it cannot.
CLOCKS = {
    "clock24": _clock24,
    "clock12": _clock12,
    "clock24_rare": _clock24_rare,
    "bare": _bare,
    "oclock": _oclock,
    "spoken": _spoken,
    "past_to": _past_to,
    "named": _named,
    "parted": _parted,
    "hundred": _hundred,
    "spelled": _spelled,
}
CLOCK_MIX = (
    ["clock24"] * 6 + ["clock12"] * 8 + ["clock24_rare"] * 3 + ["bare"] * 3 + ["oclock"] * 2 + ["spoken"] * 3
    + ["past_to"] * 5 + ["named"] * 4 + ["parted"] * 3 + ["hundred"]
)  # fmt: skip
WINDOW_MIX = ["clock24"] * 5 + ["clock12"] * 8 + ["clock24_rare"] * 2 + ["bare"] * 5 + ["parted"] * 3 + ["oclock"]
NEEDS_AT = ("bare", "past_to", "spelled", "hundred")


def clocks(times: Sequence[tuple[int, int]], rng: Random, mix: Sequence[str]) -> tuple[str, list[str]]:
    """Say several times in one style, noon and midnight by name now and then; (style, texts)."""
    while True:
        style = rng.choice(mix)
        texts = [CLOCKS[style](h, m, rng) for h, m in times]
        if None not in texts:
            break
        named = [_named(h, m, rng) or text for (h, m), text in zip(times, texts, strict=True)]
        if None not in named:
            texts = named
            break
    if style == "clock12" and len(times) > 1:  # one spelling of am and pm in one sentence
        texts = _one_spelling(times, rng)
    if len(times) > 1 and rng.random() < 0.5:
        texts = [_named(h, m, rng) or text for (h, m), text in zip(times, texts, strict=True)]
    return style, texts


def _one_spelling(times: Sequence[tuple[int, int]], rng: Random) -> list[str]:
    am, pm = rng.choice((("am", "pm"), (" am", " pm"), (" AM", " PM"), ("AM", "PM"), (" a.m.", " p.m.")))
    texts = [f"{_twelve(h)}:{m:02}" if m or rng.random() < 0.1 else str(_twelve(h)) for h, m in times]
    shared = len({h < 12 for h, _ in times}) == 1 and all(h % 12 for h, _ in times) and rng.random() < 0.4
    marks = [am if h < 12 else pm for h, _ in times]
    return texts[:-1] + [texts[-1] + marks[-1]] if shared else [t + k for t, k in zip(texts, marks, strict=True)]


def clock_phrase(times: Sequence[tuple[int, int]], rng: Random) -> str:
    """One or several times of day: at 9, at 8am, noon and 6pm, twice a day at 9:00 and 17:00."""
    style, texts = clocks(times, rng, CLOCK_MIX)
    if len(times) == 1:
        at = "at" if style in NEEDS_AT or rng.random() < 0.75 else grow(rng, "(|||@|at exactly|exactly at)")
        sharp = grow(rng, "(sharp|on the dot)") if rng.random() < 0.02 else ""
        return f"{at} {texts[0]} {sharp}"
    if len(times) == 2:
        link = grow(rng, "( and | and | and | & |/| and again at | and at | and then at | as well as at | plus )")
        listed = texts[0] + ("/" if link == "/" and style.startswith("clock") else link.replace("/", " and ")) + texts[1]
    else:
        listed = join(texts, rng, "( and | and | & |, and |, | and finally at | and at )")
    count = grow(rng, TIMES.get(len(times), f"{len(times)} times"))
    lead = grow(rng, f"(at|at|at|at|at|@|{count} (a|per) day at|{count} a day, at|{count} daily, at|{count} daily at)")
    return f"{lead} {listed}"


TIMES = {1: "once", 2: "(twice|twice|two times)", 3: "(three times|3 times|thrice|3x)", 4: "(four times|4 times|4x)"}


# ---------------------------------------------------------------------------------------------- intervals
UNIT = {
    "minute": "( minutes| minutes| minutes| minutes| mins| min|min|m| minute)",
    "hour": "( hours| hours| hours| hours| hrs| hr|h|hrs| hour)",
    "day": "( days| days| days| day)",
    "month": "( months| months| months| month)",
}


def every(n: int, unit: str, rng: Random) -> str:
    """Every 15 minutes, once every two hours, every other day, every third month."""
    number = _number(n, rng)
    units = grow(rng, UNIT[unit])
    if number.isalpha() and not units.startswith(" "):
        units = f" {unit}s"
    forms = ["every {n}{units}"] * 8 + ["each {n}{units}", "once every {n}{units}", "once in {n}{units}"]
    forms += ["every {nth} {unit}"] * (3 if n < 11 else 1)
    if unit in ("minute", "hour"):
        forms += ["(at|in) {n} {unit} intervals", "at intervals of {n}{units}", "at {n}-{unit} intervals"]
        forms += ["q{figure}" + unit[0] if unit == "hour" else "q{figure}min"] if rng.random() < 0.3 else []
    if n == 2:
        forms += ["every (other|other|second|2nd) {unit}"] * 6
    nth = _ordinals([n], rng)[0] if n < 32 else f"{n}{_suffix(n)}"
    return grow(rng, rng.choice(forms), n=number, units=units, unit=unit, nth=nth, figure=n)


def every_minutes(n: int, rng: Random) -> str:
    """An interval in minutes, also by its other names: half-hourly, four times an hour."""
    if n in (15, 30) and rng.random() < 0.4:
        return grow(rng, QUARTER_HOUR if n == 15 else HALF_HOUR)
    if 60 % n == 0 and n >= 5 and rng.random() < 0.15:
        count = 60 // n
        times = TIMES.get(count, f"({count} times|{words(count)} times|{count}x)")
        return grow(rng, f"{times} (an|an|per|every|each) hour")
    return every(n, "minute", rng)


QUARTER_HOUR = (
    "(every quarter of an hour|every quarter hour|each quarter hour|every quarter-hour|quarter-hourly"
    "|on the quarter hour|once every quarter of an hour|once a quarter of an hour)"
)
HALF_HOUR = "(every half hour|every half an hour|half-hourly|half hourly|each half hour|every half-hour|once every half hour)"


def every_hours(n: int, rng: Random) -> str:
    """An interval in hours, also by its other names: twice a day, every even hour."""
    if n in (6, 8, 12) and rng.random() < 0.35:
        return grow(rng, f"{TIMES[24 // n]} (a day|a day|per day|daily|each day|every day)")
    if n in (2, 3, 4) and rng.random() < 0.05:
        return grow(rng, f"({24 // n} times|{words(24 // n)} times|{24 // n}x) (a|per) day")
    if n == 2 and rng.random() < 0.06:
        return grow(rng, "(every even hour|on even hours|on every even hour)")
    return every(n, "hour", rng)


def window(low: int, high: int, rng: Random, minute: int = 0) -> str:
    """The hours low to high, both included: between 9am and 5pm, from 9 until 17, during office hours."""
    if (low, high, minute) == (9, 17, 0) and rng.random() < 0.35:
        return grow(rng, "(during|during|in|within) (business|business|office|working|work) hours( only||)")
    style, (start, end) = clocks([(low, minute), (high, minute)], rng, WINDOW_MIX)
    if not minute and rng.random() < 0.06:
        start, end = rng.choice(
            ((f"{low}:00", f"{high}:59"), (_clock12(low, 0, rng), f"{_twelve(high)}:59{'am' if high < 12 else 'pm'}"))
        )
    if high == 23 and rng.random() < 0.3:
        return grow(rng, f"(from {start} (on|onwards|onward)|from {start} (until|to) the end of the day)")
    night = "(|||overnight |overnight, |at night, )" if low > high else ""
    forms = ["between {a} and {b}"] * 5 + ["from {a} to {b}"] * 5 + ["from {a} (until|till|through|thru) {b}"] * 2
    forms += ["during the hours of {a} to {b}", "starting at {a} and ending at {b}", "(only|but only) between {a} and {b}"]
    forms += ["(only|but only) from {a} to {b}", "while (the office is|the shop is|we are) open, {a} to {b}"]
    forms += ["in the (window|period) {a} to {b}", "within {a} and {b}", "not before {a} and not after {b}"]
    if style.startswith("clock"):
        forms += ["{a}-{b}", "{a} - {b}", "{a} to {b}", "{a} till {b}", "(during|in) the hours {a}-{b}", "within {a}-{b}"]
    if style == "bare" and start.isdigit() and end.isdigit():
        forms += ["{a}-{b}", "(in|during) the hours {a}-{b}", "(during|in|for) hours {a}(-| to | through ){b}"] * 2
    return grow(rng, night + rng.choice(forms), a=start, b=end)


def _one_hour(hour: int, rng: Random) -> str:
    """The sixty minutes that start at this hour."""
    twelve, half = _twelve(hour), "am" if hour < 12 else "pm"
    return grow(
        rng,
        f"((in|during|within) the {twelve}( |){half} hour|during hour {hour}|between {hour}:00 and {hour}:59"
        f"|from {hour:02}:00 (to|until|through) {hour:02}:59|between {twelve}:00{half} and {twelve}:59{half}"
        f"|between {twelve}{half} and {twelve}:59{half}|from {twelve} to {twelve}:59( |){half}|in hour {hour}"
        f"|in the hour from {hour}:00 to {hour}:59|while the hour is {hour}|in the hour (after|following|starting at) "
        f"{twelve}( |){half})",
    )


def hours(hour: Field, rng: Random, minute: int = 0) -> str:
    """The hours in which something that repeats by the minute may run; empty for all of them."""
    if hour.kind == "any":
        return ""
    if hour.kind == "step":
        low, high = hour.values
        text = every_hours(hour.step, rng) if (low, high) == (0, 23) else every(hour.step, "hour", rng)
        if (low, high) == (0, 23):
            return text
        if high == 23:
            start = clocks([(low, minute)], rng, WINDOW_MIX)[1][0]
            return f"{text} " + grow(
                rng,
                "(from {s}|from {s}|starting at {s}|starting from {s}|beginning at {s}|from {s} (on|onwards|onward)"
                "|, (the first|first one|first) at {s}|, starting at {s})",
                s=start,
            )
        return f"{text} {window(low, high, rng, minute)}"
    runs = _runs(hour.values, 0, 23)
    if all(low == high for low, high in runs):
        if len(runs) == 1:
            return _one_hour(hour.values[0], rng)
        return grow(rng, "(during|in) (the hours|hours) ") + join([str(h) for h in hour.values], rng)
    return grow(rng, "( and | and again | and also )").join(
        window(low, high, rng, minute) if low != high else _one_hour(low, rng) for low, high in runs
    )


# ---------------------------------------------------------------------------------------------- minutes
def past_hour(minutes: Sequence[int], anchor: str, rng: Random) -> str:
    """Minutes of the hour: at 20 past every hour, at :05 and :35, on the half hour, ten to each hour."""
    figures = [str(m) for m in minutes]
    colons = [f":{m:02}" for m in minutes]
    forms = ["at {n} past {hour}"] * 2 + ["at {n} minutes (past|past|after) {hour}", "{n} minutes (past|after|into) {hour}"]
    forms += ["at minute{s} {n} of {hour}", "at minute{s} {n} past {hour}", "at {colons} (past |of |){hour}"]
    forms += ["at {n} (min|mins|m) past {hour}", "on minute{s} {n} of {hour}"]
    if len(minutes) == 1:
        minute = minutes[0]
        named = {0: "(on|on|at the top of) {hour}", 15: "(at |)(a |)quarter (past|after) {hour}"}
        named |= {30: "(at |)half past {hour}", 45: "(at |)(a |)quarter (to|before) {hour}"}
        if minute in named:
            forms = forms[-3:] + [named[minute]] * 8
        elif minute > 30 and minute % 5 == 0:
            before = _number(60 - minute, rng)
            forms += [f"at {before} to {{hour}}", f"{before} minutes (before|to) {{hour}}"] * 3
    else:
        pairs = {(0, 30): "on {hour} and (at half past|on the half hour|half past)"}
        pairs |= {(15, 45): "(at |)quarter past and quarter to {hour}"}
        forms += [pairs[tuple(minutes)]] * 6 if tuple(minutes) in pairs else []
        if minutes[0] == 0:
            rest = join(figures[1:], rng)
            forms += [f"on {{hour}} and at {rest} past"]
    n = join(figures if rng.random() < 0.75 else [words(m) for m in minutes], rng)
    plural = "s" if len(minutes) > 1 and rng.random() < 0.9 else ""
    return grow(rng, rng.choice(forms), n=n, colons=join(colons, rng), hour=anchor, s=plural)


EVERY_HOUR = "(every hour|each hour|hourly|once an hour|once per hour|every single hour|every hour|every 1 hour)"
ON_THE_HOUR = (
    "(every hour on the hour|on the hour, every hour|at the top of (every|each|the) hour|every full hour|on the hour"
    "|every 60 min(utes|s|)|at minute (0|zero) of every hour|every hour at :00|hourly on the hour|every hour, on the hour)"
)
EVERY_MINUTE = "(every minute|every minute|each minute|once a minute|every single minute|once per minute|every 1 minute|every min)"


def _hourly(minutes: Sequence[int], rng: Random) -> str:
    if minutes == (0,):
        return grow(rng, f"({EVERY_HOUR}|{EVERY_HOUR}|{ON_THE_HOUR})")
    if rng.random() < 0.5:
        return past_hour(minutes, grow(rng, "(every|every|each|the) hour"), rng)
    lead = grow(rng, "(every hour|each hour|hourly|once an hour|every hour,)" if len(minutes) == 1 else "(every|each) hour")
    return f"{lead} {past_hour(minutes, 'the hour', rng)}"


def _minute_range(low: int, high: int, rng: Random) -> str:
    minute = grow(rng, "(every minute|every minute|each minute)")
    forms = ["{m} from minute {a} (to|through|until) (minute |){b}", "{m} from :{a:02} to :{b:02}", "{m} between minutes {a} and {b}"]
    forms += ["{m} from {a} to {b} (minutes |)past", "{m} between :{a:02} and :{b:02}", "(at|on|in) minutes {a}( through |-| to ){b}"]
    size = high - low + 1
    part = {15: "(quarter|quarter|15 minutes|fifteen minutes)", 30: "(half|half|30 minutes|thirty minutes)"}
    size_text = part.get(size, f"({size}|{words(size)}) minutes" if size > 1 else "minute")
    if low == 0:
        forms += [f"{{m}} (during|in|of|for) the first {size_text}"] * 4
    if high == 59:
        forms += [f"{{m}} (during|in|of|for) the last {size_text}"] * 4
    return grow(rng, rng.choice(forms), m=minute, a=low, b=high)


def _stepped_minutes(minute: Field, rng: Random) -> str:
    low, high = minute.values
    if (low, high) == (0, 59):
        return every_minutes(minute.step, rng)
    text = every(minute.step, "minute", rng)
    if high == 59:
        return f"{text} " + grow(
            rng,
            f"((from|starting at|starting from|beginning at) (minute {low}|:{low:02}|minute {low}|minute {words(low)}"
            f"|{low} (minutes |)past( the hour|))|, first at minute {low}|starting {low} minutes past the hour)",
        )
    return f"{text} " + grow(
        rng,
        f"(from (minute |):{low:02} to :{high:02}|between minutes {low} and {high}|from minute {low} (to|through|until) "
        f"(minute |){high})",
    ).replace("minute :", ":")


def time_phrase(minute: Field, hour: Field, rng: Random) -> str:
    """Say the first two fields of an expression."""
    single_hours = hour.kind in ("value", "list") and all(a == b for a, b in _runs(hour.values, 0, 23))
    two_hours = hour.kind == "list" and len(hour.values) == 2
    if minute.kind in ("value", "list") and (single_hours or two_hours):
        return _listed_times(minute, hour, rng)
    if minute.kind == "value":
        return _by_the_hour(minute.values[0], hour, rng)
    if minute.kind == "list":
        if hour.kind == "any":
            return _hourly(minute.values, rng)
        within = hours(hour, rng)
        if hour.kind == "step":
            return grow(rng, "(({w}|{w},) {p}|{p}, {w})", w=within, p=past_hour(minute.values, "the hour", rng))
        return f"{past_hour(minute.values, grow(rng, '(every|each|the) hour'), rng)} {within}"
    if minute.kind == "range" and hour.kind == "value" and rng.random() < 0.7:
        times = [(hour.values[0], minute.values[0]), (hour.values[0], minute.values[-1])]
        _, (start, end) = clocks(times, rng, ["clock24", "clock12"])
        return grow(rng, f"(every|every|each) minute (from {start} (to|until|till|through) {end}|between {start} and {end})")
    text = {"any": grow(rng, EVERY_MINUTE)}.get(minute.kind) or (
        _minute_range(minute.values[0], minute.values[-1], rng) if minute.kind == "range" else _stepped_minutes(minute, rng)
    )
    if minute.kind == "any" and hour.kind == "value" and rng.random() < 0.3:
        twelve, half = _twelve(hour.values[0]), "am" if hour.values[0] < 12 else "pm"
        return f"{text} of " + grow(rng, f"(the {twelve}( |){half} hour|hour {hour.values[0]}|the hour after {twelve}( |){half})")
    if hour.kind == "any":
        of_hour = minute.kind == "range" or (minute.kind == "step" and minute.values != (0, 59))
        return text + (grow(rng, "( of (every|each|the) hour| of every hour|, every hour)") if of_hour else "")
    within = hours(hour, rng)
    if hour.kind == "step":
        return f"{text}, {within}" if rng.random() < 0.4 else grow(rng, "{t} (of|in|during) {w}", t=text, w=within)
    of_hour = grow(rng, "( of every hour| of each hour|)") if minute.kind == "range" else ""
    return grow(rng, "({t}{o} {w}|{t}{o} {w}|{t}{o}, {w}|{w}, {t}{o})", t=text, w=within, o=of_hour)


def _listed_times(minute: Field, hour: Field, rng: Random) -> str:
    """A few times of day: every listed minute of every listed hour."""
    times = [(h, m) for h in hour.values for m in minute.values]
    crossing = len(minute.values) > 1
    if crossing and (len(times) > 4 or rng.random() < 0.5):
        _, texts = clocks([(h, 0) for h in hour.values], rng, ["clock12", "clock12", "bare"] if 0 not in hour.values else ["clock12"])
        return past_hour(minute.values, join(texts, rng), rng)
    if len(hour.values) > 1 and not crossing and minute.values[0] and rng.random() < 0.15:
        _, texts = clocks([(h, 0) for h in hour.values], rng, ["clock12"])
        return past_hour(minute.values, join(texts, rng), rng)
    return clock_phrase(times, rng)


def _by_the_hour(minute: int, hour: Field, rng: Random) -> str:
    """One minute of many hours: hourly at 20 past, every two hours from 9:30, every hour between 9 and 17."""
    if hour.kind == "any":
        return _hourly((minute,), rng)
    in_window = minute and hour.values[-1] < 23 and rng.random() < 0.35  # the minute is told by the window: 9:30 to 17:30
    if hour.kind == "step":
        low, high = hour.values
        if minute and (low, high) != (0, 23) and rng.random() < 0.4:
            return hours(hour, rng, minute)
        text = hours(hour, rng)
        if minute == 0:
            return text + (grow(rng, "(, on the hour| on the hour)") if rng.random() < 0.1 else "")
        past = past_hour((minute,), "the hour", rng)
        return grow(rng, "({t}|{t}|{t},) {p}", t=text, p=past) if rng.random() < 0.8 else f"{past}, {text}"
    if in_window and hour.kind == "range":
        every_hour = grow(rng, "(every hour|hourly|once an hour|each hour)")
        return f"{every_hour} {window(hour.values[0], hour.values[-1], rng, minute)}"
    within, text = hours(hour, rng), _hourly((minute,), rng)
    return grow(rng, "({t} {w}|{t} {w}|{t}, {w}|{w}, {t})", t=text, w=within)


# ---------------------------------------------------------------------------------------------- days of the week
WEEKDAYS = (
    "((on |)(weekdays|week days|work days|workdays|working days|business days|weekdays only)|on weekdays|weekdays"
    "|(every|each) (weekday|working day|business day|work day|week day)|every weekday|every day of the (working|work) week"
    "|during the (week|working week|work week)|every day (except|but not on|apart from|excluding|other than) weekends"
    "|daily (except|excluding|but not on) (weekends|the weekend)|every day except (Saturday|Saturdays) and (Sunday|Sundays)"
    "|every day, (not on|but not|no) weekends|M-F|M-F|on all (weekdays|working days))"
)
WEEKENDS = (
    "((on |)weekends|(on|at) (the weekend|weekends)|every weekend|on weekend days|each weekend|at the weekends|every weekend day"
    "|(on |)weekends only|only (on|at) weekends|(both days|every day) of the weekend|on days of the weekend|Sat/Sun"
    "|on both weekend days)"
)


def _day_names(days: Sequence[int], form: str, rng: Random) -> list[str]:
    if form == "short":
        return [grow(rng, DAYS_SHORT[day]) + dot for day in days for dot in [""]]
    return [DAYS[day] + ("s" if form == "plural" else "") for day in days]


def weekdays(dow: Field, rng: Random) -> str:
    """A set of days of the week: on Mondays, Mon-Fri, every day except Sunday, Tuesday & Thursday."""
    days = dow.values
    form = rng.choice(("long", "long", "plural", "plural", "short"))
    name = _day_names(range(7), form, rng)
    singular = name if form == "short" else DAYS
    if len(days) == 1:
        forms = ["every {d}", "every {d}", "each {d}", "on {d}", "on {ds}", "on {ds}", "{ds}", "{d}", "on every {d}", "on each {d}"]
        forms += ["weekly on {ds}", "every week on {d}", "once a week on {ds}", "once a week, on {d}", "on a {d}", "{ds} only"]
        forms += ["each week on {d}", "only on {ds}", "on {d} (each|every) week", "on the {d} of every week"]
        return grow(rng, rng.choice(forms), d=singular[days[0]], ds=name[days[0]])
    if days == (1, 2, 3, 4, 5) and rng.random() < 0.65:
        return grow(rng, WEEKDAYS)
    if days == (0, 6) and rng.random() < 0.7:
        return grow(rng, WEEKENDS)
    missing = [day for day in range(7) if day not in days]
    if len(days) > 3 and len(missing) <= 2 and rng.random() < 0.6:
        return _days_except(missing, name, rng)
    if days == (1, 2, 3, 4, 5, 6) and rng.random() < 0.3:
        return grow(rng, "(on|) weekdays (and|plus|and also|as well as) (on |)(Saturday|Saturdays)")
    if len(days) == 4 and 0 not in days and 6 not in days and rng.random() < 0.5:
        out = next(day for day in range(1, 6) if day not in days)
        all_days = "(weekdays|on weekdays|every weekday|every working day|Mon-Fri)"
        return grow(rng, f"{all_days} (except|but not|apart from|excluding|other than) (on |){{d}}", d=name[out])
    if days == (1, 3, 5) and rng.random() < 0.1:
        return grow(rng, "(MWF|on MWF|M/W/F)")
    runs = _runs(days, 0, 6)
    ranges = [run for run in runs if len(range(run[0], run[1] + (7 if run[1] < run[0] else 0) + 1)) > 2]
    if ranges and rng.random() < 0.9:
        return _day_ranges(runs, name, singular, rng)
    ordered = list(days) if rng.random() < 0.7 else [*days[1:], 0] if days[0] == 0 else list(days)
    lead = grow(rng, "(on|on|on|every|each|on every|)")
    shown = singular if lead.endswith(("every", "each")) else name
    listed = join([shown[day] for day in ordered], rng, "( and | and | and | & |, |/| + | as well as | plus |, and )")
    return f"{lead} {listed}"


def _days_except(missing: Sequence[int], name: Sequence[str], rng: Random) -> str:
    every_day = "(every day|every day|daily|each day|all days|any day|7 days a week,)"
    link = "(except|except|except on|but|but not|but not on|apart from|other than|excluding|bar|save|without|, not on|, not)"
    text = grow(rng, f"{every_day} {link} " + join([name[day] for day in missing], rng, "( and | and | & | or )"))
    return text.replace(" ,", ",")


def _day_ranges(runs: Sequence[tuple[int, int]], name: Sequence[str], singular: Sequence[str], rng: Random) -> str:
    lead = grow(rng, "(on|on|from|from|every|every day from|each day from|daily from||||between)")
    if len(runs) > 1 and lead == "between":
        lead = "on"
    link = "and" if lead == "between" else grow(rng, "(to|to|through|till|until|-|-| - |thru)")
    if lead.endswith("from") and "-" in link:
        link = "to"
    shown = singular if lead in ("every", "every day from") else name
    gap = "" if link.strip() == "-" else " "
    texts = []
    for low, high in runs:
        if low == high:
            texts.append(shown[low])
        elif (high - low) % 7 == 1:
            texts += [shown[low], shown[high]]
        else:
            texts.append(f"{shown[low]}{gap}{link}{gap}{shown[high]}")
    return f"{lead} " + join(texts, rng, "( and | and | and | & |, | plus |, and )")


def part_phrase(part: str, dow: Field, rng: Random) -> str:
    """Days with a part of the day: every morning, on Monday evenings, weekday afternoons."""
    if dow.kind == "any":
        forms = "(every {p}|every {p}|each {p}|every single {p}|" + ("nightly|at night)" if part == "night" else "in the {p})")
        return grow(rng, forms, p=part)
    if dow.values == (1, 2, 3, 4, 5) and rng.random() < 0.8:
        if part == "night" and rng.random() < 0.5:
            return grow(rng, "(weeknights|on weeknights|every weeknight|week nights)")
        return grow(rng, "((on |)weekday {p}s|every weekday {p}|every weekday in the {p}|each weekday {p})", p=part)
    if dow.values == (0, 6) and rng.random() < 0.7:
        return grow(rng, "(weekend {p}s|on weekend {p}s|every weekend {p})", p=part)
    plural = rng.random() < 0.5
    lead = grow(rng, "(on|on|)" if plural else "(every|on|each|every)")
    names = [DAYS[day] for day in dow.values]
    return f"{lead} {join(names, rng, '( and | & )')} {part}" + ("s" if plural else "")


# ---------------------------------------------------------------------------------------------- days of the month
def monthdays(dom: Field, of: str, monthly: bool, lead: bool, rng: Random) -> str:
    """Days of the month; `of` ends the phrase, `monthly` allows 'every month', `lead` a start without 'on'."""
    on = grow(rng, "(on|on|on|)" if lead else "on")
    every_month = grow(rng, "(every month|monthly|each month|every month,)") if monthly and rng.random() < 0.25 else ""
    of = "" if every_month else of
    if dom.kind == "step":
        return _stepped_days(dom, of, rng)
    if dom.kind == "range" and rng.random() < 0.85:
        return f"{every_month} {_day_range(dom.values[0], dom.values[-1], of, rng)}"
    if len(dom.values) == 1:
        return f"{every_month} {_one_monthday(dom.values[0], on, of, monthly and not every_month, rng)}"
    runs = _runs(dom.values, 0, 32)
    figures = rng.random() < 0.25
    ends = [end for run in runs for end in run]
    texts = [str(n) for n in ends] if figures else _ordinals(ends, rng)
    link = grow(rng, "( to | through |-)")
    items = []
    for (low, high), a, b in zip(runs, texts[::2], texts[1::2], strict=True):
        items += [a] if low == high else [a, b] if high == low + 1 else [f"{a}{link}{b}"]
    if figures:
        return f"{every_month} {on} days {join(items, rng)} {of}"
    if len(items) == 2 and monthly and not every_month and rng.random() < 0.1:
        on = grow(rng, "(twice a month,|twice a month|two times a month,) on")
    return f"{every_month} {on} the {join(items, rng, grow(rng, '( and | and the | and | & |, and |, )'))} {of}"


def _one_monthday(day: int, on: str, of: str, once: bool, rng: Random) -> str:
    ordinal = _ordinals([day], rng)[0]
    forms = ["{on} the {nth} {of}"] * 5 + ["{on} day {d} {of}"] * 2 + ["{on} the {nth} day {of}", "{on} day number {d} {of}"]
    if once:
        forms += ["once a month on the {nth}", "once a month, on the {nth}", "monthly on day {d}"]
        forms += [f"(every|each) {day}{_suffix(day)} of the month"] if day > 3 else []
    if day == 1:
        forms += ["{on} the first {of}", "(at|on) the (start|beginning) {of}", "on the first day {of}"] if of else []
    return grow(rng, rng.choice(forms), on=on, nth=ordinal, d=day, of=of)


def _day_range(low: int, high: int, of: str, rng: Random) -> str:
    a, b = _ordinals([low, high], rng)
    daily = grow(rng, "(every day|daily|each day|)")
    if high == 31 and rng.random() < 0.7:
        end = of.replace("of ", "of ") or "of the month"
        return grow(rng, "{e} from the {a} (on|onwards|onward|to the end {of}|until the end {of})", e=daily, a=a, of=end)
    forms = ["{e} from the {a} (to|until|through|till) the {b} {of}"] * 4 + ["{e} between the {a} and (the |){b} {of}"] * 2
    forms += ["on days {l}( to | through |-){h} {of}", "on the {a} (to|through) (the |){b} {of}", "{e} from day {l} to day {h} {of}"]
    if low == 1:
        forms += ["(on|during|for) the first ({h}|{hw}) days {of}", "(every day for|each of) the first ({h}|{hw}) days {of}"] * 2
    return grow(rng, rng.choice(forms), e=daily, a=a, b=b, l=low, h=high, hw=words(high), of=of)


def _stepped_days(dom: Field, of: str, rng: Random) -> str:
    low, high = dom.values
    text = every(dom.step, "day", rng)
    a, b = _ordinals([low, high], rng)
    if (low, high) == (1, 31):
        if dom.step == 2 and rng.random() < 0.1:
            return grow(rng, "(on|on all|on the) odd( |-numbered )days {of}", of=of)
        return text
    if high == 31:
        return grow(rng, f"{text} (from|starting on|starting from|beginning on|starting) the {a} {of}")
    return grow(rng, f"{text} (from the {a} to the {b}|between the {a} and the {b}) {of}")


# ---------------------------------------------------------------------------------------------- months and dates
def _month_names(values: Sequence[int], rng: Random, short: float = 0.3) -> list[str]:
    table = MONTHS_SHORT if rng.random() < short else MONTHS
    return [grow(rng, table[value]) for value in values]


def months(month: Field, rng: Random) -> str:
    """Months in which something runs: in January, from June to August, in Q1, every other month."""
    if month.kind == "step":
        return grow(rng, "(in|during|) ") + stepped_months(month, rng)
    values = month.values
    missing = [m for m in range(1, 13) if m not in values]
    if len(missing) <= 2 and rng.random() < (0.8 if len(missing) == 1 else 0.3):
        out = join(_month_names(missing, rng), rng, "( and | & | or )")
        return grow(rng, "((in |)every month (except|but|other than|apart from)|except in|but not in|, not in|, except|excluding) {m}", m=out)
    if len(values) == 1:
        name = _month_names(values, rng)[0]
        return grow(rng, "(in|in|in|in|during|every|each|throughout|in the month of|only in|all through) {m}", m=name)
    runs = _runs(values, 1, 12)
    span = {(1, 3): "first quarter|Q1", (4, 6): "second quarter|Q2", (7, 9): "third quarter|Q3", (10, 12): "fourth quarter|Q4"}
    span |= {(1, 6): "first half of the year", (7, 12): "second half of the year"}
    if len(runs) == 1 and runs[0] in span and rng.random() < 0.3:
        text = grow(rng, f"({span[runs[0]]})")
        return grow(rng, "(in|during|only in)") + (f" {text}" if text[0] == "Q" else f" the {text}" + ("" if "half" in text else grow(rng, "( of the year|)")))
    names = dict(zip(range(1, 13), _month_names(range(1, 13), rng), strict=True))
    if len(runs) == 1 and len(values) > 2:
        a, b = names[runs[0][0]], names[runs[0][1]]
        return grow(rng, "(from {a} (to|until|through|till|thru) {b}|(in|during|) {a}( to | through |-| - ){b}|between {a} and {b}"
                    "|in the months (of |){a} (to|through) {b}|{a} to {b}|from {a} to {b})", a=a, b=b)  # fmt: skip
    items = []
    for low, high in runs:
        items += [names[low]] if low == high else [names[low], names[high]] if (high - low) % 12 == 1 else [f"{names[low]} to {names[high]}"]
    return grow(rng, "(in|in|in|during|only in|in the months of)") + " " + join(items, rng)


def stepped_months(month: Field, rng: Random) -> str:
    """Every other month, quarterly, every third month from February."""
    low, high = month.values
    names = _month_names((low, high), rng)
    if (low, high) == (1, 12):
        if month.step == 3 and rng.random() < 0.5:
            return grow(rng, "(every quarter|each quarter|once a quarter|every quarter|every calendar quarter|once per quarter)")
        if month.step == 6 and rng.random() < 0.4:
            return grow(rng, "(every half year|every half-year|every 6 months)")
        return every(month.step, "month", rng)
    text = every(month.step, "month", rng)
    if high == 12:
        return grow(rng, "{t} (from|starting in|starting from|beginning in|starting) {a}", t=text, a=names[0])
    return grow(rng, "{t} (from {a} (to|until|through) {b}|between {a} and {b})", t=text, a=names[0], b=names[1])


def _holiday(day: int, month: int, rng: Random) -> str:
    return grow(rng, "(on|on|on|every|each year on|every year on|)") + " " + grow(rng, HOLIDAYS[day, month])


def date(days: Sequence[int], month: int, lead: bool, rng: Random) -> str:
    """One or several dates in one month: on March 3rd, every 3 March, on the 1st and 15th of May, July 1-7."""
    if len(days) == 1 and (days[0], month) in HOLIDAYS and rng.random() < 0.6:
        return _holiday(days[0], month, rng)
    name = _month_names([month], rng)[0]
    runs = _runs(days, 0, 32)
    on = grow(rng, "(on|on|on|on|every year on|each year on|annually on|once a year on|yearly on|every||)" if lead else
              "(on|on|on|on|every year on|annually on|every)")
    if len(days) > 2 and len(runs) == 1:
        low, high = days[0], days[-1]
        a, b = _ordinals([low, high], rng)
        return grow(rng, "(from {m} {l} (to|until|through) {m} {h}|from (the |){a} to (the |){b} of {m}|between {l} and {h} {m}|from {m} {a} to {b}"
                    "|(on |){m} {l}-{h}|on {l}-{h} {m}|between {m} {l} and {m} {h}|every day from {l} {m} to {h} {m}|from {l} to {h} {m}"
                    "|daily from {m} {l} through {m} {h}|(on|for) the first {h} days of {m})" if low == 1 else
                    "(from {m} {l} (to|until|through) {m} {h}|from (the |){a} to (the |){b} of {m}|between {l} and {h} {m}|from {m} {a} to {b}"
                    "|(on |){m} {l}-{h}|on {l}-{h} {m}|every day from {l} {m} to {h} {m}|daily from {m} {l} through {m} {h})",
                    m=name, l=low, h=high, a=a, b=b)  # fmt: skip
    figures, ordinals = [str(day) for day in days], _ordinals(days, rng)
    if len(days) == 1:
        form = rng.choice(("{m} {d}", "{d} {m}", "{m} {nth}", "{nth} {m}", "the {nth} of {m}", "{nth} of {m}", "{m} the {nth}"))
        return f"{on} " + form.format(m=name, d=figures[0], nth=ordinals[0])
    last = "( and | and | & |, and |, )"
    if rng.random() < 0.3:
        texts = [form.format(m=name, d=d) for form in [rng.choice(("{m} {d}", "{d} {m}"))] for d in figures]
        return f"{on} {join(texts, rng, last)}"
    form = rng.choice(("{m} {d}", "{d} {m}", "{m} {nth}", "the {nth} of {m}", "the {nth} {m}", "the {nth} of {m}"))
    return f"{on} " + form.format(m=name, d=join(figures, rng, last), nth=join(ordinals, rng, last))


def _same_day_of_months(day: int, month: Field, lead: bool, rng: Random) -> str:
    on = grow(rng, "(on|on|)" if lead else "on")
    names = _month_names(month.values, rng)
    if len(names) <= 4 and rng.random() < 0.5:
        form = rng.choice(("{m} {d}", "{d} {m}", "{m} {nth}", "the {nth} of {m}"))
        nth = _ordinals([day], rng)[0]
        return f"{on} " + join([form.format(m=name, d=day, nth=nth) for name in names], rng, "( and | and | & |, and )")
    of = grow(rng, "(of |of every month |every month |of each month )") if month.kind == "range" else "of "
    runs = _runs(month.values, 1, 12)
    if month.kind == "range" or (len(runs) == 1 and len(names) > 2):
        a, b = _month_names((runs[0][0], runs[0][1]), rng)
        of = "of every month " if of == "of " else of
        return f"{on} the {_ordinals([day], rng)[0]} {of}" + grow(rng, f"(from {a} (to|until|through) {b}|between {a} and {b}|, {a} to {b})")
    return f"{on} the {_ordinals([day], rng)[0]} {of}{join(names, rng)}"


# ---------------------------------------------------------------------------------------------- the schedule
EVERY_DAY = "(every day|every day|daily|daily|each day|everyday|once a day|every single day|seven days a week|7 days a week|all days)"
NICKNAMES = {  # what is said of days and months together: (day of month, month, day of week)
    ("*", "*", "0"): "(weekly|once a week|every week|each week)",
    ("1", "*", "*"): "(monthly|once a month|every month|each month|once every month)",
    ("1", "1", "*"): "(yearly|annually|once a year|every year|each year)",
    ("1", "*/2", "*"): "(every other month|every second month|every two months|every 2 months|six times a year|6 times a year)",
    ("1", "*/3", "*"): "(quarterly|every quarter|each quarter|once a quarter|once per quarter|every three months|every 3 months"
    "|every third month|four times a year|4 times a year|(on|at) the (start|beginning|first day) of (every|each) quarter)",
    ("1", "*/4", "*"): "(every four months|every 4 months|three times a year|3 times a year|every fourth month|every 4th month)",
    ("1", "*/6", "*"): "(twice a year|every six months|every 6 months|half-yearly|half yearly|two times a year|every half year|semi-annually)",
}  # fmt: skip


def day_phrases(texts: Sequence[str], dom: Field, month: Field, dow: Field, lead: bool, rng: Random) -> list[str]:
    """Say day of month, month and day of week: up to two phrases, none for every day."""
    if tuple(texts) in NICKNAMES and rng.random() < (0.1 if texts[2] == "0" else 0.2 if texts[1] == "*" else 0.5):
        return [grow(rng, NICKNAMES[tuple(texts)])]
    if dow.kind != "any":
        return [weekdays(dow, rng)] + ([months(month, rng)] if month.kind != "any" else [])
    if dom.kind == "any":
        every_day = grow(rng, EVERY_DAY) if rng.random() < 0.6 else ""
        return [every_day, months(month, rng)] if month.kind != "any" else [every_day]
    if month.kind == "any":
        of = grow(rng, "(|of the month|of the month|of each month|of every month|of month)")
        return [monthdays(dom, of, True, lead, rng)]
    if month.kind == "step":
        stepped = stepped_months(month, rng)
        if rng.random() < 0.5 and stepped.startswith("every"):
            return [monthdays(dom, "of " + stepped, False, lead, rng)]
        return [monthdays(dom, "", False, lead, rng), stepped] if rng.random() < 0.4 else [f"{stepped} {monthdays(dom, '', False, False, rng)}"]
    if len(month.values) == 1 and dom.kind != "step":
        return [date(dom.values, month.values[0], lead, rng)]
    if dom.kind == "value" and len(month.values) < 7 and rng.random() < 0.8:
        return [_same_day_of_months(dom.values[0], month, lead, rng)]
    return [monthdays(dom, "", False, lead, rng), months(month, rng)]


def _part_of_day(hour: int, minute: int, dow: Field, rng: Random) -> list[str] | None:
    """The part of the day told by the days, the time without it: on Friday evenings, at half past six."""
    after = hour + 1 if minute > 30 else hour
    parts = [p for p in parts_of_day(hour) if after == hour or p in parts_of_day(after % 24)]
    parts = [p for p in parts if not (p == "night" and hour < 6 and dow.kind != "any") and (hour or p != "morning")]
    if not parts:
        return None
    twelve = _twelve(hour)
    if rng.random() < 0.3:
        time = _clock12(hour, minute, rng)
    elif minute == 0:
        time = grow(rng, f"({twelve}|{twelve}|{words(twelve)}|{twelve}:00|{twelve} o'clock|{words(twelve)} o'clock)")
    else:
        told = {15: f"(a |)quarter past {words(twelve)}", 30: f"half past ({twelve}|{words(twelve)})"}
        told[45] = f"(a |)quarter to ({_twelve(after)}|{words(_twelve(after))})"
        time = grow(rng, told.get(minute, "") if rng.random() < 0.4 else "") or f"{twelve}:{minute:02}"
    return [f"at {time}", part_phrase(rng.choice(parts), dow, rng)]


STARTS_CLEARLY = re.compile(r"(on|every|each|in|at|during|daily|from|week|once|only|except|between|, )\b", re.I)


def glue(parts: Sequence[str], rng: Random) -> str:
    """Put the phrases in a row; a comma now and then, and always where two numbers would touch."""
    text = ""
    for part in filter(None, (" ".join(p.split()) for p in parts)):
        if not text:
            text = part
        elif part.startswith(","):
            text += part
        else:
            touching = text[-1].isalnum() and not STARTS_CLEARLY.match(part) and (part[0].isdigit() or text[-1].isdigit())
            text += (", " if touching or rng.random() < 0.15 else " ") + part
    return text


def schedule(cron: str, rng: Random) -> str | None:
    """The bare schedule in words; None for what people do not say in one sentence."""
    texts = cron.split()
    fields = [_field(text, low, high) for text, (low, high) in zip(texts, BOUNDS, strict=True)]
    minute, hour, dom, month, dow = fields
    if None in fields or dow.kind == "step" or (dom.kind != "any" and dow.kind != "any"):
        return None
    one_time = minute.kind == hour.kind == "value"
    if one_time and dom.kind == "any" and rng.random() < 0.15:
        parts = _part_of_day(hour.values[0], minute.values[0], dow, rng)
        if parts:
            parts = parts if rng.random() < 0.4 else parts[::-1]
            return glue([*parts, months(month, rng)] if month.kind != "any" else parts, rng)
    silent = texts[:2] == ["0", "0"] and rng.random() < 0.65
    days_lead = silent or rng.random() < 0.5
    days = day_phrases(texts[2:], dom, month, dow, days_lead, rng)
    if silent:
        if not "".join(days):
            days = [grow(rng, EVERY_DAY), *days[1:]] if month.kind == "any" or rng.random() < 0.8 else days
        return glue(days if rng.random() < 0.7 else days[::-1], rng)
    if one_time or days[0] not in ("", "daily"):
        time = time_phrase(minute, hour, rng)
    else:
        time, days = time_phrase(minute, hour, rng), days if rng.random() < 0.2 else ["", *days[1:]]
    if len(days) == 2 and rng.random() < 0.4:
        order = rng.choice(([days[1], days[0], time], [days[1], time, days[0]], [days[0], time, days[1]]))
        if order[0].startswith((",", "except", "but")):
            order = [days[0], days[1], time]
        return glue(order, rng)
    return glue([*days, time] if days_lead else [time, *days], rng)


# ---------------------------------------------------------------------------------------------- the sentence
TASKS = [row.split("|") for row in """
run the backup|backup
back up the database|database backup
rotate the logs|log rotation
send the newsletter|newsletter
email me the sales report|sales report
clean up temp files|temp file cleanup
restart the web server|server restart
reboot the router|router reboot
sync the calendars|calendar sync
water the plants|plant watering
feed the cat|cat feeding
take my pills|pill reminder
check the oven|oven check
change the dressings|dressing change
measure the blood pressure|blood pressure check
turn the patient|patient turning
pay the rent|rent payment
submit the timesheets|timesheet reminder
call mum|call with mum
renew the certificates|certificate renewal
purge the cache|cache purge
fetch the exchange rates|exchange rate update
import the orders|order import
send invoices to the customers|invoice run
update the dashboard|dashboard refresh
post the menu|menu post
ring the bell|school bell
open the gates|gate opening
lock the doors|door lock
turn on the lights|light switch
turn off the heating|heating shutdown
charge the robot|robot charging
mow the lawn|lawn mowing
take out the bins|bin collection
scan for viruses|virus scan
check the disk space|disk space check
ping the server|server ping
compress old files|file compression
archive the emails|email archive
generate the payroll|payroll run
rebuild the search index|index rebuild
train the model|model training
deploy to staging|staging deployment
run the tests|test run
poll the sensors|sensor polling
read the meter|meter reading
record the temperature|temperature log
play the jingle|jingle
publish the podcast|podcast upload
write the summary|summary
review the tickets|ticket review
hold the stand-up|stand-up
start the team meeting|team meeting
clean the kitchen|kitchen cleaning
vacuum the living room|vacuum cleaner
stretch my legs|stretching break
drink a glass of water|water reminder
study vocabulary|vocabulary practice
practise the piano|piano practice
go to the gym|gym session
check on the baby|baby check
give the antibiotics|antibiotics round
order new supplies|supply order
count the stock|stock count
move the data to the warehouse|data export
refresh the materialized views|view refresh
delete old sessions|session cleanup
pull the latest prices|price update
run backup.sh|backup script
run the etl job|ETL job
vacuum postgres|postgres vacuum
restart nginx|nginx restart
snapshot the VM|VM snapshot
reboot web01|web01 reboot
send a tweet|tweet
check my email|email check
pray|prayer
wake me up|alarm
walk the dog|dog walk
do the laundry|laundry
""".strip().splitlines()]  # fmt: skip

SCHEDULE_FRAMES = """
run {s}|run this {s}|run it {s}|please run this {s}|it should run {s}|I want it to run {s}|make it run {s}|let it run {s}
schedule: {s}|when: {s}|cron: {s}|cron for {s}|cron expression for {s}|a cron that runs {s}|crontab for {s}|crontab entry: {s}
what is the cron expression for {s}?|what's the cron for {s}?|how do I write {s} in cron?|how do I run a job {s}?
give me a cron for {s}|I need a cron expression for {s}|give me the cron expression that fires {s}|job that runs {s}
a job which should run {s}|something that fires {s}|execute {s}|fire {s}|trigger {s}|trigger it {s}|the job must run {s}
the script must run {s}|the task is due {s}|this has to happen {s}|I need this {s}|we need this to run {s}|do it {s}
should go off {s}|{s} please|{s}, please|{s} pls|{s}, thanks|hi, {s}|ok so {s}|hmm, {s}|just {s}|so basically {s}|remind me {s}
notify me {s}|ping me {s}|send me a reminder {s}|set an alarm {s}|it needs to be done {s}|set it to {s}|repeat {s}|to be run {s}
how would I say {s} in crontab syntax?|can you make it run {s}?|could you run this {s}?|would you run it {s}, please
we want the job to start {s}|the process starts {s}|it goes out {s}|happens {s}|it happens {s}|start it {s}|start {s}
translate to cron: {s}|convert to cron: {s}|need cron {s}|task scheduled {s}|make a schedule: {s}|{s}, that's when it should run
"""
TASK_FRAMES = """
{do} {s}|{do} {s}|{do} {s}|{do} {s}|please {do} {s}|{s} {do}|{s}, {do}|{s}, {do}|{s}, please {do}|can you {do} {s}?|could you {do} {s}?
could you please {do} {s}|would you {do} {s}?|remind me to {do} {s}|remind us to {do} {s}|I want to {do} {s}|I need to {do} {s}
we have to {do} {s}|we need to {do} {s}|I'd like to {do} {s}|I have to {do} {s}|set up a job to {do} {s}|create a cron job to {do} {s}
a cron job to {do} {s}|the script should {do} {s}|the system must {do} {s}|don't forget to {do} {s}|it should {do} {s}
make sure to {do} {s}|let's {do} {s}|you must {do} {s}|{s} we {do}|{s} I {do}|{s} you should {do}|tell the bot to {do} {s}
we {do} {s}|I {do} {s}|schedule a task to {do} {s}|my job is to {do} {s}|how can I {do} {s}?|I would like you to {do} {s}
"""
NOUN_FRAMES = """
{noun} {s}|{noun} {s}|{noun} {s}|{noun}: {s}|{noun} - {s}|{s}: {noun}|{s} - {noun}|the {noun} runs {s}|{noun} should run {s}|the {noun} must run {s}
the {noun} should happen {s}|schedule the {noun} {s}|schedule {noun} {s}|please schedule the {noun} {s}|cron for the {noun} {s}
the {noun} is {s}|the {noun} is due {s}|plan the {noun} {s}|kick off the {noun} {s}|trigger the {noun} {s}|start the {noun} {s}
launch the {noun} {s}|do the {noun} {s}|execute the {noun} {s}|our {noun} starts {s}|we need the {noun} to run {s}
I want the {noun} {s}|I need the {noun} {s}|can we have the {noun} {s}?|the {noun} takes place {s}|set the {noun} {s}
make the {noun} happen {s}|{noun} job {s}|{noun} is to be run {s}|{noun} scheduled {s}|{s} the {noun} starts|{s} {noun}
put the {noun} {s} in the crontab|crontab line for the {noun} {s}|move the {noun}, it should now run {s}|set up the {noun} {s}
"""
FRAMES = [frames.replace("\n", "|").strip("|").split("|") for frames in (SCHEDULE_FRAMES, TASK_FRAMES, NOUN_FRAMES)]


def _adjective(texts: Sequence[str], rng: Random) -> str | None:
    """The adjective that fits the schedule: daily report, monthly invoice."""
    minute, hour, dom, month, dow = texts
    if not (minute.isdigit() and hour.isdigit()):
        return "hourly" if texts == ["0", "*", "*", "*", "*"] else None
    if texts[2:] == ["*", "*", "*"]:
        return "nightly" if int(hour) > 21 or int(hour) < 5 else "daily"
    kinds = {(True, True, False): "weekly", (False, True, True): "monthly", (False, False, True): "(yearly|annual)"}
    key = (dom == "*" and dow.isdigit(), month == "*", dow == "*" and dom.isdigit())
    adjective = kinds.get(key) if month == "*" or month.isdigit() else None
    return adjective and grow(rng, adjective)


def frame(core: str, cron: str, rng: Random) -> str:
    """Put the schedule into a sentence: bare, or with a task, a request, a question."""
    kind = rng.random()
    if kind < 0.45:
        return core
    frames = FRAMES[0] if kind < 0.62 else FRAMES[1] if kind < 0.84 else FRAMES[2]
    do, noun = rng.choice(TASKS)
    if frames is FRAMES[2] and rng.random() < 0.3:
        adjective = _adjective(cron.split(), rng)
        noun = f"{adjective} {noun}" if adjective else noun
    return rng.choice(frames).format(s=core, do=do, noun=noun)


# ---------------------------------------------------------------------------------------------- capitals and slips
MISSPELT = {
    "wednesday": ["wensday", "wendsday", "wednsday", "wedensday"], "tuesday": ["teusday", "tusday"],
    "thursday": ["thrusday", "thursdy"], "saturday": ["saterday", "satuday"], "february": ["febuary", "feburary"],
    "every": ["evry", "evrey", "ervery", "evey"], "minutes": ["minuts", "mintues", "minutse"], "midnight": ["midnite", "midnigt"],
    "quarter": ["quater", "qarter"], "twelve": ["twelv"], "fifteen": ["fiveteen", "fiften"], "forty": ["fourty"],
    "through": ["trough", "throught"], "schedule": ["shedule", "schedual"], "between": ["betwen", "beetween", "inbetween"],
    "business": ["bussiness", "buisness"], "weekdays": ["week days", "weekday", "wekdays"], "until": ["untill", "untl"],
    "afternoon": ["afternon", "after noon"], "evening": ["evenning", "evning"], "morning": ["mornning", "moring"],
    "september": ["septmber", "setember"], "january": ["janurary", "januray"], "except": ["exept", "expect"],
    "monday": ["modnay", "munday"], "friday": ["firday", "fryday"], "sunday": ["sundy"], "twelfth": ["twelth"],
    "eighth": ["eigth"], "ninth": ["nineth"], "starting": ["startng"], "please": ["pls", "plz", "plese"], "night": ["nite"],
    "weekends": ["week ends", "wekends"], "weekend": ["week end"], "beginning": ["begining"], "o'clock": ["oclock", "o clock"],
    "hours": ["houres", "huors"], "month": ["mounth", "monht"], "past": ["pst"], "daily": ["dayly", "daliy"],
}  # fmt: skip
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
WORD = re.compile(r"[A-Za-z']{5,}")


def _slip(word: str, rng: Random) -> str:
    """One typing slip in a word: a known misspelling, two letters swapped, one lost, doubled or mistaken."""
    if word.lower() in MISSPELT and rng.random() < 0.6:
        return rng.choice(MISSPELT[word.lower()])
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    row = next((row for row in KEYS if word[at].lower() in row), None)
    if row is None:
        return word
    near = row.index(word[at].lower()) + rng.choice((-1, 1))
    return word[:at] + row[max(0, min(near, len(row) - 1))] + word[at + 1 :]


def _misspell(text: str, rng: Random) -> str:
    found = list(WORD.finditer(text))
    for match in sorted(rng.sample(found, min(len(found), rng.choice((1, 1, 2)))), key=lambda m: -m.start()):
        text = text[: match.start()] + _slip(match[0], rng) + text[match.end() :]
    return text


def _drop_small_words(text: str, rng: Random) -> str:
    """As a hurried or a foreign writer: no articles, or no 'at' and 'on' before what stays clear without."""
    if rng.random() < 0.6:
        return re.sub(r"\b(the|an?) (?=[a-z0-9])", "", text)
    return re.sub(r"\b(on|in) (?=[A-Z][a-z])|\bat (?=\d\d?[:h]\d\d)", "", text)


def finish(text: str, rng: Random) -> str:
    """Capitals, full stop and slips, as different people would type the sentence."""
    question = text.endswith("?")
    if rng.random() < 0.06:
        text = _drop_small_words(text, rng)
    if rng.random() < 0.1:
        text = _misspell(text, rng)
    if rng.random() < 0.3:
        text = text.replace("-", " ") if not re.search(r"\d ?-|- |[A-Za-z]{3}-[A-Z]", text) else text
    text = " ".join(text.replace(" ,", ",").split())
    case = rng.random()
    if case < 0.4:
        text = text[0].upper() + text[1:]
    elif case < 0.83:
        text = text.lower()
    elif case < 0.89:
        text = text.upper()
    elif case < 0.92:
        text = " ".join(word[0].upper() + word[1:] for word in text.split())
    if not question:
        text += rng.choice(("", "", "", "", "", "", "", ".", ".", ".", "!", " .", "...", "!!")) if rng.random() < 0.6 else ""
    elif rng.random() < 0.3:
        text = text[:-1]
    return text.replace(" ", "  ", 1) if rng.random() < 0.02 else text


def say(cron: str, rng: Random) -> str | None:
    """Say a canonical cron expression as a person might; None if it is not the kind of thing people say.

    `rng` decides the wording: the same state gives the same sentence.
    """
    core = schedule(cron, rng)
    return None if core is None else finish(frame(core, cron, rng), rng)
