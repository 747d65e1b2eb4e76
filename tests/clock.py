"""A reader of clock times as people say them, which knows nothing of the grammars that make them."""

import re

from lorautils.tasks.grammar import phrasings

NUMBERS = {phrasings.in_words(n): n for n in range(60)} | {"oh": 0, "o": 0, "a quarter": 15, "quarter": 15, "a": 1}
NAMES = {"midnight": 0, "12 midnight": 0, "twelve midnight": 0, "the stroke of midnight": 0, "12 at night": 0}
NAMES |= {"twelve at night": 0, "noon": 12, "midday": 12, "12 noon": 12, "high noon": 12, "twelve noon": 12}
NAMES |= {"12 o'clock noon": 12, "mid-day": 12, "12 midday": 12}
ZERO = r"^(oh|zero|o) (?=\w)"  # before a minute of one figure
EARLY, LATE = "hours|morning", "evening|afternoon"


def number(text):
    text = re.sub(ZERO, "", text)
    return int(text) if text.isdigit() else NUMBERS[text]


def read(text):
    """Read a time as its words stand: 24 hours, unless a half of the day is named."""
    if text in NAMES:
        return NAMES[text], 0
    if found := re.fullmatch(r"(an|one|1|half an|30|thirty) (?:hour|minutes) (before|after|past) (.+)", text):
        gap = (60 if found[1] in ("an", "one", "1") else 30) * (-1 if found[2] == "before" else 1)
        return (NAMES[found[3]] * 60 + gap) // 60 % 24, gap % 60
    if spelled := re.fullmatch(r"hour (\d+)(?:,? minute (\d+))?", text):
        return int(spelled[1]), int(spelled[2] or 0)
    if spelled := re.fullmatch(r"minute (\d+)(?: of|,) hour (\d+)", text):
        return int(spelled[2]), int(spelled[1])
    half, text = None, text.lower().replace("in the am", "in the morning")
    if found := re.search(r"(?<=[\d ])([ap])\.? ?m\.?( (in|of|early|late|at) .*)?$", text):
        half, text = found[1], text[: found.start()]
    elif found := re.search(r" (early in the|late in the|in the|of an?|late at|at) [a-z ]+$", text):
        night = "night" in found[0]
        half = "n" if night else "a" if re.search(EARLY, found[0]) else "p" if re.search(LATE, found[0]) else None
        text = text[: found.start()]
    text = re.sub(r"( o'clock| oclock| o clock| sharp| hrs| hours)+$", "", text.strip())

    if military := re.fullmatch(r"((?:oh|zero) \w+|.+) hundred|((?:oh|zero) \w+) (.+)", text):
        return number(military[1] or military[2]), number(military[3] or "zero")

    def on_24(hour):
        if half is None or hour > 12:
            return hour
        afternoon = half == "p" or (half == "n" and 6 <= hour <= 11)
        return hour % 12 + 12 * afternoon

    if found := re.fullmatch(r"half[ -](?:past )?(.+)", text):
        return NAMES[found[1]] if found[1] in NAMES else on_24(number(found[1])), 30
    if found := re.fullmatch(r"(.+?)(?: minutes?| mins?)? (to|of|till|before|'?til|shy of|past|after|gone) (.+)", text):
        gap = number(found[1]) * (1 if found[2] in ("past", "after", "gone") else -1)
        hour = NAMES[found[3]] if found[3] in NAMES else on_24(number(found[3]))
        return (hour * 60 + gap) // 60 % 24, gap % 60
    if found := re.fullmatch(r"(\d\d?)[:.h](\d\d)(?::00)?h?", text) or re.fullmatch(r"(\d\d?)(\d\d) ?h?", text):
        return on_24(int(found[1])), int(found[2])
    if found := re.fullmatch(r"(\d\d?)h?", text):
        return on_24(int(found[1])), 0
    for at in range(1, len(text)):
        if text[at] in " -" and {text[:at], re.sub(ZERO, "", text[at + 1 :])} <= {*NUMBERS, *map(str, range(24))}:
            return on_24(number(text[:at])), number(text[at + 1 :])
    return on_24(number(text)), 0
