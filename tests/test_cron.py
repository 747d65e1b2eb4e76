import re
from collections import defaultdict
from datetime import datetime
from importlib import resources
from itertools import islice
from random import Random

import pytest
from clock import read
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from lorautils.tasks import cron
from lorautils.tasks.cron import Example, Score, canonical, composition, equivalent, is_valid, normalized
from lorautils.tasks.grammar import phrasings, schedules

HAND_WRITTEN = ("test_c", "test_d", "test_e", "test_f", "validation")


def firings(expression, count):
    return list(islice(croniter(expression, datetime(2023, 12, 30, 23, 59)).all_next(float), count))


# ------------------------------------------------------------------------------- expressions


@st.composite
def fields(draw, low, high):
    value = st.integers(low, high)
    pair = st.tuples(value, value).filter(lambda ends: ends[0] < ends[1]).map(lambda ends: f"{ends[0]}-{ends[1]}")
    step = st.integers(2, high)
    item = st.one_of(
        value.map(str),
        pair,
        st.tuples(pair, step).map(lambda parts: f"{parts[0]}/{parts[1]}"),
        step.map(lambda number: f"*/{number}"),
    )
    return draw(st.one_of(st.just("*"), item, st.lists(item, min_size=2, max_size=4).map(",".join)))


# No 29th to 31st here: a day that no month of the list has would make croniter search for half a century.
times = st.tuples(fields(0, 59), fields(0, 23)).map(" ".join)
dates = st.tuples(fields(1, 28), fields(1, 12), fields(0, 7)).map(" ".join)


@given(times, dates)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_canonical_is_stable_and_keeps_the_firing_times(time, date):
    for expression in (f"{time} {date}", f"{time} * * *", f"0 0 {date}"):
        written = canonical(expression)
        assert canonical(written) == written
        assert firings(written, 40) == firings(expression, 40)
        assert equivalent(expression, written)


@given(times, times, dates, dates)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_equivalent_agrees_with_brute_force(time, other_time, date, other_date):
    for a, b in ((time, other_time), (time, canonical(f"{time} * * *")[:-6])):
        assert equivalent(f"{a} {date}", f"{b} {date}") == (firings(f"{a} * * *", 500) == firings(f"{b} * * *", 500))
    a, b = f"0 0 {date}", f"0 0 {other_date}"
    assert equivalent(a, b) == (firings(a, 100) == firings(b, 100))


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("0-59/15 09 * JAN mon-fri", "*/15 9 * 1 1-5"),
        ("00 7 * * 7", "0 7 * * 0"),
        ("0 0 * * sun,sat", "0 0 * * 0,6"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("30,0,15,15 8 * * *", "0,15,30 8 * * *"),
        ("1,2,3 0 * * 1,2,4", "1-3 0 * * 1,2,4"),
        ("*/1 0-23 1-31 1-12 0-6", "* * * * *"),
        ("5/10 9-9 * * *", "5-59/10 9 * * *"),
        ("0 9-23/2 * * *", "0 9-23/2 * * *"),
        ("0 1-1/2 * * *", "0 1 * * *"),
        ("0 0 */1 * 1", "0 0 * * 1"),
        ("0 0 1-31 * 1", "0 0 * * *"),  # the 1st to the 31st OR Mondays: every day
    ],
)
def test_canonical_form(expression, written):
    assert canonical(expression) == written


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("0 0 * * 0", "0 0 * * 7", True),
        ("*/20 * * * *", "0,20,40 * * * *", True),
        ("0 9-17 * * *", "0 9,10,11,12,13,14,15,16,17 * * *", True),
        ("0 0 13 * 5", "0 0 13 * *", False),  # the 13th or a Friday
        ("0 0 13 * 5", "0 0 13 * 5,5", True),
        ("0 0 * * 1", "0 0 1-31 * 1", False),
        ("0 0 30 2 *", "5 5 31 2,4 *", True),  # neither ever comes
        ("0 0 29 2 *", "0 0 29,30 2 *", True),
        ("0 9 * * *", "0 9 * *", False),
        ("nonsense", "nonsense", False),
    ],
)
def test_equivalent(a, b, same):
    assert equivalent(a, b) is same


@pytest.mark.parametrize(
    "garbage",
    [None, "", " ", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
     "* * * * 8", "*/0 * * * *", "a b c d e", "0 0 L * *", "0 0 15W * *", "0 0 * * 5#2", "? * * * *", "h h * * *",
     "r * * * *", "-1 * * * *", "1-2-3 * * * *", ", * * * *", "1,,2 * * * *", "* * * foo *", "٣ * * * *",
     "* * * * *\x00", "9 * * * *\nand so on", 7, 2.5, b"* * * * *", ["*"] * 5, "\0 * * * *", "0-99999999999/1 * * * *",
     "ſat * * * *", "* * * ĳan *", "* * * * ſun", "* * * * mon-", "*" * 5000, f"{'9' * 5000} * * * *"],
    ids=lambda garbage: repr(garbage)[:30],
)  # fmt: skip
def test_garbage_is_not_valid(garbage):
    assert is_valid(garbage) is False and not equivalent(garbage, "* * * * *")
    if isinstance(garbage, str):
        with pytest.raises(ValueError):
            canonical(garbage)


def test_canonical_says_what_is_wrong():
    with pytest.raises(ValueError, match="has 4 fields: write minute hour"):
        canonical("0 9 * *")
    with pytest.raises(ValueError, match="'L' is no field"):
        canonical("0 9 L * *")


# ------------------------------------------------------------------------------- splits


@pytest.fixture(scope="module")
def train():
    return cron.train_examples(20_000)


@pytest.fixture(scope="module")
def human():
    """50,000 human phrasings of anything, with the core of the sentence said apart from case and slips."""
    rng, said = Random(5), []
    while len(said) < 50_000:
        expression, family = cron.random_schedule(rng)
        text = phrasings.say(expression, rng)
        if text is not None:
            said.append(Example(text, expression, family))
    return said


def test_splits_are_disjoint(train):
    tests = {"A": cron.test_a(), "B": cron.test_b()}
    for name, test in tests.items():
        assert len({example.text for example in test}) == len({example.cron for example in test}) == 200
        assert not {normalized(e.text) for e in test} & {normalized(e.text) for e in train}, name
        assert not {e.cron for e in test} & {e.cron for e in train}, name
    assert not {e.cron for e in tests["A"]} & {e.cron for e in tests["B"]}


def test_a_asks_for_unseen_times_of_seen_hours_and_minutes(train):
    def times(examples):
        clocks = [e.cron.split()[:2] for e in examples if composition(e.cron)[0] == "clock"]
        return {(int(hour), int(minute)) for minute, hour in clocks}

    seen, asked = times(train), times(cron.test_a())
    assert not seen & asked
    assert {hour for hour, _ in asked} <= {hour for hour, _ in seen} == set(range(24))
    assert {minute for _, minute in asked} <= {minute for _, minute in seen} == set(range(60))
    assert {e.family for e in cron.test_a()} == {"daily time", "weekday time", "monthday time", "date time"}
    assert all(re.fullmatch(r"At \d\d:\d\d [AP]M.*", example.text) for example in cron.test_a())


def test_b_asks_for_unseen_compositions_of_seen_parts(train):
    seen = {composition(e.cron) for e in train}
    asked = {composition(e.cron) for e in cron.test_b()}
    assert asked == set(schedules.HELD_OUT) and not seen & asked
    for time, days, months in asked:
        pairs = {(time, days), (time, months), (days, months)}
        assert all(any(set(pair) <= set(parts) for parts in seen) for pair in pairs)


def test_training_avoids_the_hand_written_tests_and_the_validation_split():
    """The tests stay unread: only hashes are compared, and only their number is shown."""
    kept_out = [example for name in HAND_WRITTEN for example in cron.hand_written(name)]
    hashes = sorted({cron.fingerprint(example.text) for example in kept_out})
    stored = resources.files("lorautils").joinpath("tasks", "cases", "test_hashes.txt").read_text().split()
    what = "C to F or the validation split has changed"
    assert hashes == stored, f"{what}: write the sorted fingerprints of all their texts to cases/test_hashes.txt"
    trained = {cron.fingerprint(example.text) for example in cron.train_examples(30_000, seed=1, human_share=1)}
    assert len(trained & set(hashes)) == 0


def test_training_examples_are_deterministic_and_distinct(train):
    assert cron.train_examples(300, seed=3) == cron.train_examples(300, seed=3)
    assert cron.train_examples(300, seed=3) != cron.train_examples(300, seed=4)
    assert len({normalized(example.text) for example in train}) == len(train)
    assert all(example.cron == canonical(example.cron) for example in train)
    assert cron.test_a(20) == cron.test_a()[:20] and cron.test_b(20) == cron.test_b()[:20]


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_human_share(share):
    examples = cron.train_examples(400, human_share=share)
    library = sum(example.text == cron.describe(example.cron) for example in examples)
    assert abs(library - 400 * (1 - share)) <= 4


def test_a_small_budget_is_spent_on_clock_times(train):
    def share(examples, families):
        return sum(example.family in families for example in examples) / len(examples)

    assert {example.family for example in train} == set(schedules.FAMILIES)
    assert share(train, schedules.EVERYDAY) > 0.5
    few = cron.train_examples(400)
    assert share(few, schedules.CLOCK_FAMILIES) > 0.6 > 0.4 > share(train, schedules.CLOCK_FAMILIES)


def test_descriptions_are_the_librarys_own_and_tell_expressions_apart(train):
    assert cron.describe("30 9 * * 1-5") == "At 09:30 AM, Monday through Friday"
    assert cron.describe("*/15 9-17 * 6-8 *") == "Every 15 minutes, between 09:00 AM and 05:59 PM, June through August"
    assert cron.describe("6 */5,0 * 5 *") == "At 12:06 AM, 05:06 AM, 10:06 AM, 03:06 PM and 08:06 PM, only in May"
    with pytest.raises(ValueError, match="'61' is no minute"):
        cron.describe("61 9 * * 1-5")
    said = defaultdict(set)
    for example in train:
        said[normalized(example.text)].add(example.cron)
    assert all(len(crons) == 1 for crons in said.values())


# ------------------------------------------------------------------------------- phrasings


def test_no_phrasing_says_two_things(human):
    said = defaultdict(set)
    for example in human:
        said[normalized(example.text)].add(example.cron)
    assert [text for text, crons in said.items() if len(crons) > 1] == []


def test_every_family_is_said_in_many_ways(human):
    unsaid = {"either day", "weekday steps"}  # cron-descriptor says them, people do not
    texts = defaultdict(set)
    for example in human:
        texts[example.family].add(normalized(example.text))
    assert {family for family, said in texts.items() if len(said) >= 300} == set(schedules.FAMILIES) - unsaid


@pytest.mark.parametrize("expression", ["0 9 * * 1-5", "*/15 9-17 * * *", "0 0 1 */3 *", "30 18 25 12 *", "20 * * * *"])
def test_one_schedule_has_hundreds_of_phrasings(expression):
    rng = Random(0)
    assert len({normalized(phrasings.schedule(expression, rng)) for _ in range(3000)}) > 100


def test_say_is_decided_by_its_generator():
    say = [[phrasings.say("0 9 * * 1-5", rng) for _ in range(20)] for rng in (Random(7), Random(7), Random(8))]
    assert say[0] == say[1] != say[2]


@pytest.mark.parametrize("style", phrasings.STYLES)
def test_every_clock_time_can_be_read_back(style):
    rng, said = Random(1), 0
    for time in ((hour, minute) for hour in range(24) for minute in range(60)):
        for _ in range(6):
            text = phrasings.clock(style, *time, rng)
            if text is not None:
                said += 1
                assert read(text) == time, text
    assert said > 5


def test_every_unsayable_time_has_another_style():
    rng = Random(2)
    for time in ((hour, minute) for hour in range(24) for minute in range(60)):
        styles = {phrasings.clocks([time], rng, phrasings.CLOCK_MIX)[0] for _ in range(30)}
        assert len(styles) >= 4


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9-17 * * *", "(business|office|working) hours"),
        ("*/15 * * * *", "quarter"),
        ("*/30 * * * *", "half"),
        ("0 0 */2 * *", "every other day"),
        ("0 0 1 */3 *", "quarter"),
        ("0 0 25 12 *", "christmas"),
        ("0 0 * * 1-6", "except|but|apart from|excluding"),
        ("0 0 * * 1-5", "weekdays"),
        ("0 0 * * 0,6", "weekend"),
        ("0 0 * 1-7,9-12 *", "august"),
        ("45 16 * * *", "quarter to (five|5)"),
        ("0 12 * * *", "noon"),
        ("0 0 * * *", "midnight"),
        ("0 8,20 * * *", "twice"),
        ("45 * * * *", "quarter to"),
        ("0 0 1 * *", "monthly"),
        ("0 0 20-31 * *", "end of"),
        ("*/10 0-5,22,23 * * *", "overnight"),
        ("0 0 * * 5,6,0", "friday.{1,9}sunday"),
        ("0 0 15 6-8 *", "june.{1,9}august"),
    ],
)
def test_what_people_call_it(expression, words):
    rng = Random(0)
    said = [phrasings.schedule(canonical(expression), rng).lower() for _ in range(400)]
    assert sum(bool(re.search(words, text)) for text in said) >= 8


@pytest.mark.parametrize("never", ["second monday", "fortnight", "last day", "every other week", "biweekly", "summer"])
def test_what_cron_cannot_say_is_never_said(human, never):
    assert not any(never in example.text.lower() for example in human)


def test_slips_spare_figures_and_number_words(human):
    rng = Random(3)
    for example in human[:3000]:
        slipped = phrasings._misspell(example.text, rng)
        assert re.findall(r"\d+", slipped) == re.findall(r"\d+", example.text)
    assert all(phrasings._slip(word, rng) == word for word in ("three", "seven", "eleven", "seventeenth"))


# ------------------------------------------------------------------------------- scoring


def test_score_counts():
    examples = [Example("", expression, "") for expression in ("0 9 * * 1-5", "*/20 * * * *", "0 0 1 * *", "5 5 * * *")]
    answers = [" 0 9 * * 1-5\n", "0,20,40 * * * *", "0 0 2 * *", "I do not know"]
    assert cron.score(answers, examples) == Score(n=4, exact=1, equivalent=2, valid=3)
    assert cron.score([example.cron for example in examples], examples) == Score(4, 4, 4, 4)
    assert cron.score([], []) == Score(0, 0, 0, 0)
    with pytest.raises(ValueError, match="got 1 predictions for 4 examples"):
        cron.score(["* * * * *"], examples)


def test_nearest_neighbour_copies_the_most_similar_example(train):
    known = train[:400]
    assert cron.nearest_neighbour(known, [example.text for example in known[:50]]) == [e.cron for e in known[:50]]
    answers = cron.nearest_neighbour(known, ["At 09:31 AM, only on Mondey"])
    assert answers[0] in {example.cron for example in known}
    with pytest.raises(ValueError):
        cron.nearest_neighbour([], ["noon"])
