"""What a trained model competes with on English -> cron, without any training: rules, and a prompt with examples.

Notebook 08 sets both beside its run. The rules read the one phrasing of the library cron-descriptor, and no other.
"""

import re
from collections.abc import Iterable, Sequence

from lorautils.tasks.cron import Example, few_shot_prompt, nearest

DAY = "Sunday|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday"
MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
NUMBERS = {name: str(i) for names, first in ((DAY, 0), (MONTH, 1)) for i, name in enumerate(names.split("|"), first)}


def by_rules(text: str) -> str:
    """Answer the library's sentences about a time of day with regular expressions; "" for all other phrases.

    Example:
        >>> by_rules("At 09:30 PM, Monday through Friday"), by_rules("at half past nine")
        ('30 21 * * 1-5', '')
    """

    def field(pattern: str) -> str:
        found = re.search(pattern, text)
        words = found[1].replace(" through ", "-") if found else "*"
        listed = re.sub(r",? and |, ", ",", words)
        return re.sub(f"{DAY}|{MONTH}", lambda name: NUMBERS[name[0]], listed)

    if not (time := re.match(r"At (\d\d):(\d\d) ([AP])M", text)):
        return ""
    hour = int(time[1]) % 12 + 12 * (time[3] == "P")
    day = field(r"on day (.+?) of the month")
    month = field(rf"(?:only in |, )((?:{MONTH}).*)")
    weekday = field(rf"(?:only on |, )((?:{DAY})(?:,? (?:and |through )?(?:{DAY}))*)")
    return f"{int(time[2])} {hour} {day} {month} {weekday}"


def instructed(train: Sequence[Example], texts: Iterable[str]) -> list[str]:
    """Return for each text a prompt that says what is asked for and shows the four training examples most like it.

    They stand as earlier turns of the chat, the most alike last.
    """
    texts = list(texts)
    told = (
        "<|im_start|>system\nAnswer with a cron expression alone: minute, hour, day of the month, month, day of the "
        "week, five fields with a blank between them.<|im_end|>\n"
    )
    shots = nearest(train, texts, 4)
    return [told + few_shot_prompt(near[::-1], text) for near, text in zip(shots, texts, strict=True)]
