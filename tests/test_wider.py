"""The wider ways to say a schedule, and the refusals: each text means what its answer says, and they do not mix."""

import re
from collections import defaultdict
from itertools import product
from random import Random

import pytest
from clock import read

from lorautils.tasks import cron
from lorautils.tasks.cron import NOT_CRON, canonical, is_held_out, is_valid, normalized
from lorautils.tasks.grammar import lookalikes, phrasings, refusals, wider
from lorautils.tasks.grammar.adapter_data import adapter_examples
from lorautils.tasks.grammar.expressions import firing_times


@pytest.fixture(scope="module")
def schedules():
    """Texts with their expressions: they start from an expression, from words, or look like refusals."""
    rng, said = Random(1), []
    while len(said) < 10_000:
        expression, _ = cron.random_schedule(rng)
        text = wider.say(expression, rng)
        said += [(text, expression)] * (text is not None)
    said += [wider.schedule(rng)[:2] for _ in range(10_000)]
    return said + [lookalikes.lookalike(True, rng)[:2] for _ in range(10_000)]


@pytest.fixture(scope="module")
def refused():
    rng = Random(2)
    doubles = [lookalikes.lookalike(False, rng) for _ in range(10_000)]
    return [refusals.refusal(rng) for _ in range(20_000)] + [(text, family) for text, _, family in doubles]


# ------------------------------------------------------------------------------- what is said


def test_every_expression_is_valid_and_canonical(schedules):
    for expression in {expression for _, expression in schedules}:
        assert is_valid(expression) and canonical(expression) == expression


def test_the_generator_decides_everything():
    def drawn(seed):
        rng = Random(seed)
        texts = [wider.say("30 9 * * 1-5", rng) for _ in range(20)]
        return texts, [wider.schedule(rng) for _ in range(20)], [refusals.refusal(rng) for _ in range(20)]

    assert drawn(3) == drawn(3) != drawn(4)


def test_no_text_says_two_things(schedules, refused):
    answers = defaultdict(set)
    for example in cron.train_examples(10_000, seed=9, human_share=0.8):
        answers[normalized(example.text)].add(example.cron)
    for text, expression in schedules:
        answers[normalized(text)].add(expression)
    for text, _ in refused:
        answers[normalized(text)].add(NOT_CRON)
    assert {text: said for text, said in answers.items() if len(said) > 1} == {}


def test_everything_is_said_in_many_ways(schedules, refused):
    assert len({normalized(text) for text, _ in schedules}) > 28_000
    texts = defaultdict(set)
    for text, family in refused:
        texts[family].add(normalized(text))
    assert min(map(len, texts.values())) > 300, {family: len(said) for family, said in texts.items()}
    assert len(set().union(*texts.values())) > 26_000


@pytest.mark.parametrize(("rule", "parts"), [*((rule, "s") for rule in wider.FRAMES), ("split", "ab")])
def test_every_sentence_keeps_the_schedule(rule, parts):
    for form in wider.RULES[rule]:
        assert all(f"{{{part}}}" in form for part in parts), form


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0,12 * * *", "midnight and (noon|midday)"),
        ("0 9-17 * * *", r"\b9 to 5\b|nine to five"),
        ("0 8-18 * * 1-5", r"\b8-6\b|\b8 to 6\b"),
        ("0 9,17 * * *", "nine and five|9 and 5"),
        ("0 9,12,15 * * *", "(nine|9), noon (and|&) (three|3)"),
        ("30 9 * * *", r"half (nine|9)\b"),
        ("45 8 * * *", "quarter of (nine|9)"),
        ("55 23 * * *", r"(five|5)( min| mins| minutes)? to midnight"),
        ("10 12 * * *", r"(ten|10)( min| mins| minutes)? past noon"),
        ("30 21 * * *", r"\b2130\b|21\.30|9:30 ?pm"),
        ("0 21 * * *", r"\b21h\b|2100 hrs"),
        ("*/20 * * * *", "every twenty minutes|three times an hour"),
        ("*/30 * * * *", "twice an hour"),
        ("0 */2 * * *", "every second hour|every other hour"),
        ("*/2 * * * *", "every other minute"),
        ("0 1-23/2 * * *", "odd hour"),
        ("0 0 2 * *", "on the second"),
        ("0 0 1 */3 *", "quarterly on the first"),
        ("0 0 * 1,2,11,12 *", "november (to|through|till|until) february"),
        ("0 0 * * 0,1,5,6", "friday (to|through|till|until) monday"),
        ("0 0 24,25 12 *", "christmas eve and (christmas|xmas)"),
        ("0 0 14 2,3 *", "valentine's( day)? and pi day"),
        ("0 0 31 1 *", "last day of jan"),
        ("0 0 * 12 *", "last month of the year"),
    ],
)
def test_what_people_call_it(expression, words):
    rng = Random(0)
    assert canonical(expression) == expression
    said = [wider.say(expression, rng).lower() for _ in range(2500)]
    assert sum(bool(re.search(words, text)) for text in said) >= 4


# ------------------------------------------------------------------------------- clock times


@pytest.mark.parametrize("kind", wider.KINDS)
def test_every_clock_time_can_be_read_back(kind):
    rng, said = Random(1), 0
    for time in product(range(24), range(60)):
        for _ in range(12):
            text = wider.clock(kind, *time, rng)
            if text is not None:
                said += 1
                assert read(text) == time, text
    assert said > 8000


def test_several_times_are_clear_together():
    """Without marks, the hands of one dial: what comes after a later hour lies in the afternoon."""
    rng = Random(2)
    for times in ([(9, 0), (17, 0)], [(8, 0), (12, 0), (16, 0)], [(9, 30), (17, 30)], [(9, 15), (14, 40)]):
        for _ in range(200):
            text = wider.listed(times, rng)
            told = [
                read(part)
                for part in re.split(
                    r"(?:, and | and | as well as | plus |, | [&+] |/)(?:at |again at |then at |once more at |also )?",
                    text,
                )
            ]
            bare = [(h + 12, m) if h < told[0][0] else (h, m) for h, m in told]
            assert bare == times, text


def test_a_window_text_names_one_window():
    rng, windows = Random(3), defaultdict(set)
    for low, high in product(range(24), repeat=2):
        for _ in range(60 if abs(low - high) > 1 else 0):
            windows[wider.window(low, high, rng).lower()].add((low, high))
    assert {text: found for text, found in windows.items() if len(found) > 1} == {}
    assert windows["nine to five"] == windows["9-5"] == {(9, 17)} and windows["8-6"] == {(8, 18)}


# ------------------------------------------------------------------------------- slips


def test_slips_spare_numbers(schedules):
    rng = Random(4)
    for text, _ in schedules[:4000]:
        slipped = wider.misspell(text, rng)
        assert re.findall(r"\d+", slipped) == re.findall(r"\d+", text)
        numbers = [
            [word for word in re.findall(r"[a-z]+", of.lower()) if word in wider.NUMBER_WORDS] for of in (text, slipped)
        ]
        assert numbers[0] == numbers[1]


def test_no_slip_turns_a_word_into_another_that_tells_the_time():
    rng = Random(5)
    for word, meaning in wider.LEXICON.items():
        for _ in range(300 if len(word) > 4 else 0):
            slipped = wider.slip(word, rng)
            assert wider.LEXICON.get(slipped, meaning) == meaning
            assert slipped == word or not {slipped, slipped + "s"} & (
                set(wider.LEXICON) - {word, word + "s", word[:-1]}
            )


@pytest.mark.parametrize("unclear", ["tursday", "tuhsday", "munday", "sonday", "nonn"])
def test_unclear_slips_are_never_made(unclear):
    rng, words = Random(6), ("thursday", "tuesday", "monday", "sunday", "noon")
    made = {wider.slip(word, rng) for word in words for _ in range(2000) if len(word) > 4}
    assert unclear not in made and len(made) > 40


# ------------------------------------------------------------------------------- refusals


def test_two_schedules_are_no_single_line():
    """Counted by brute force: the moments that fire are fewer than any line that fires at all of them would have."""
    rng = Random(7)
    for _ in range(300):
        expressions, parts = refusals.two_schedules(rng)
        boxes = [firing_times(expression) for expression in expressions]
        days = set().union(*(dates for _, _, dates in boxes))
        if len({(minutes, hours) for minutes, hours, _ in boxes}) > 1:
            fired = {(m, h, day) for minutes, hours, dates in boxes for m, h, day in product(minutes, hours, dates)}
            least = len({m for m, _, _ in fired}) * len({h for _, h, _ in fired}) * len(days)
            assert len(fired) < least, (expressions, parts)
        else:  # dates of any weekday: a line that has both would have the other two
            calendar = {(month, day) for month, day, _ in days}
            assert len(days) == 7 * len(calendar)
            months, numbers = {month for month, _ in calendar}, {day for _, day in calendar}
            assert len(calendar) < len(months) * len(numbers), (expressions, parts)


@pytest.mark.parametrize(
    ("expressions", "one"),
    [
        (["0 9 * * 1", "0 9 * * 5"], True),
        (["0 9 * * 1-5", "0 17 * * 1-5"], True),
        (["15 9 * * *", "40 9 * * *"], True),
        (["15 9 * * *", "40 14 * * *"], False),
        (["0 9 * * 1", "0 11 * * 5"], False),
        (["0 0 25 12 *", "0 0 1 1 *"], False),
        (["0 0 1 1 *", "0 0 1 5 *"], True),
        (["*/10 * * * 1-5", "0 * * * 0,6"], False),
    ],
)
def test_what_fits_in_one_line(expressions, one):
    assert refusals.is_one_line(expressions) is one


def test_intervals_that_cron_can_say_are_not_refused(refused):
    rng = Random(8)
    for _ in range(3000):
        long, many = refusals.PARTS["long"](rng), refusals.PARTS["many"](rng)
        assert not long.isdigit() or (int(long) > 60 and int(long) % 60)
        assert not many.isdigit() or (int(many) > 12 and int(many) % 24)
    texts = {normalized(text) for text, _ in refused}
    kept = {
        "every second hour",
        "every other hour",
        "every other day",
        "every 30 minutes",
        "on the second at noon",
        "daily",
    }
    kept |= {
        "every day",
        "hourly",
        "weekly",
        "monthly",
        "on mondays",
        "every second day",
        "twice a day",
        "twice an hour",
    }
    assert not texts & kept


def test_refusals_have_no_time_that_training_withholds():
    rng = Random(9)
    times = [refusals.PARTS["hm"](rng).split(":") for _ in range(3000)]
    assert not any(is_held_out(f"{int(minute)} {hour} * * *") for hour, minute in times)
    assert len({tuple(time) for time in times}) > 500


# ------------------------------------------------------------------------------- schedules that look like refusals


def test_what_stands_for_times_of_one_line_are_all_hours_at_all_minutes():
    """Read back from the texts that name every time by four digits."""
    rng, seen = Random(10), {True: 0, False: 0}
    figures = re.compile(r"(at )?([012]\d:?[0-5]\d(, | and | / | \+ |/| |$))+(hrs|hours)?")
    for fits in (True, False) * 4000:
        said = lookalikes.several_times(fits, rng)
        for text in filter(figures.fullmatch, said[0] if said else ()):
            times = set(re.findall(r"([012]\d):?([0-5]\d)", text))
            hours, minutes = {int(h) for h, _ in times}, {int(m) for _, m in times}
            assert (len(times) == len(hours) * len(minutes)) is fits, said
            if fits:
                minute, hour, *_ = said[1].split()
                assert set(phrasings.read_field(minute, 0, 59).values) == minutes, said
                assert set(phrasings.read_field(hour, 0, 23).values) == hours, said
            seen[fits] += 1
    assert min(seen.values()) > 150, seen


def test_a_window_told_by_its_ends_fires_first_and_last_at_these():
    rng, seen = Random(11), 0
    for _ in range(2000):
        (text, *_), expression = lookalikes.first_to_last(True, rng)
        times = re.findall(r"(?<![\d:])([012]\d):([0-5]\d)(?![\d:])", text)
        minutes, hours, _ = firing_times(expression)
        if len(times) == 2 and not re.search(r"am|pm|a\.m|p\.m", text) and times[0] < times[1]:
            fired = sorted(product(hours, minutes))
            assert [fired[0], fired[-1]] == [(int(h), int(m)) for h, m in times], (text, expression)
            seen += 1
    assert seen > 40


def test_left_out_days_and_months_are_not_in_the_answer():
    rng = Random(12)
    for _ in range(1000):
        parts, expression = lookalikes.but_some_days(True, rng)
        fired = {weekday for *_, weekday in firing_times(expression)[2]}
        text = " ".join(parts)
        named = {index for index, day in enumerate(phrasings.DAYS) if day in text}
        if not re.search("Monday (to|through)|Mondays to", text):
            assert named and not named & fired, (text, expression)


def test_doubles_are_said_in_the_words_of_the_schedules():
    """No frame, no opening and no list gives the refusals away: most of their words occur in the schedules, too."""
    rng = Random(13)
    words = [
        {word for _ in range(3000) for word in re.findall("[a-z]+", lookalikes.lookalike(fits, rng)[0].lower())}
        for fits in (True, False)
    ]
    common = words[0] & words[1]
    assert len(common) > 900


# ------------------------------------------------------------------------------- the adapter's examples


def test_adapter_examples_have_their_shares_and_keep_the_splits():
    examples = adapter_examples(3000, seed=1, wider=0.5, none=0.2)
    assert examples == adapter_examples(3000, seed=1) != adapter_examples(3000, seed=2)
    assert len({normalized(example.text) for example in examples}) == 3000
    answers = [example.cron for example in examples]
    assert answers.count(NOT_CRON) == 600
    assert all(is_valid(answer) and not is_held_out(answer) for answer in answers if answer != NOT_CRON)
    assert not {cron.fingerprint(example.text) for example in examples} & cron.reserved()
    plain = {(example.text, example.cron) for example in cron.train_examples(900, 1, 0.8)}
    assert plain <= {(example.text, example.cron) for example in examples}


@pytest.mark.parametrize(("more", "none"), [(1.1, 0), (0.6, 0.5), (-0.1, 0), (0, -0.1), (0, 1.5)])
def test_adapter_examples_reject(more, none):
    with pytest.raises(ValueError, match="expected shares of 0 to 1 that add up to 1 at most"):
        adapter_examples(10, wider=more, none=none)
