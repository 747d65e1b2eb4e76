"""The tests of the cron task that were written one by one, C to F: size, balance, and the form of the answers."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from croniter import croniter

from lorautils.tasks import cron as task

DATA = Path(__file__).parents[1] / "lorautils" / "tasks" / "cases"
TESTS = [
    [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    for name in ("test_c.jsonl", "test_d.jsonl")
]
BOTH = pytest.mark.parametrize("rows", TESTS, ids=["C", "D"])
FAMILIES = {"time", "weekday", "monthday", "date", "month", "interval", "window", "multi", "minute", "combination"}
# The first and last value of minute, hour, day of the month, month and day of the week (Sunday is 0).
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


def field_is_canonical(field, low, high):
    """Tell whether a field is sorted, within its bounds and written in its shortest agreed form."""
    if re.fullmatch(r"\*(/[1-9]\d*)?", field):
        return field != "*/1"
    if step := re.fullmatch(r"(\d+)-(\d+)/(\d+)", field):
        start, end, size = map(int, step.groups())
        return low <= start < end <= high and size > 1 and (start, end) != (low, high)
    values, lengths = [], []
    for part in field.split(","):
        if not (item := re.fullmatch(r"(\d+)(?:-(\d+))?", part)):
            return False
        start, end = int(item[1]), int(item[2] or item[1])
        lengths.append(end - start + 1)
        values += range(start, end + 1)
    in_order = values == sorted(set(values)) and low <= values[0] and values[-1] <= high
    ranges_are_long = all(length != 2 for length in lengths)
    runs = "".join("1" if value in values else " " for value in range(low, high + 1)).split()
    no_loose_run = len(lengths) == sum(1 if len(run) >= 3 else len(run) for run in runs)
    return in_order and ranges_are_long and no_loose_run and len(values) < high - low + 1


@BOTH
def test_rows_have_the_four_keys_with_their_types(rows):
    for row in rows:
        assert {key: type(value) for key, value in row.items()} == {
            "text": str,
            "cron": str,
            "family": str,
            "hard": bool,
        }


@BOTH
def test_size_and_balance(rows):
    families = Counter(row["family"] for row in rows)
    assert len(rows) >= 145
    assert 3 * sum(row["hard"] for row in rows) >= len(rows)
    assert set(families) == FAMILIES
    assert min(families.values()) >= 8


@BOTH
def test_texts_are_distinct_and_clean(rows):
    texts = [row["text"] for row in rows]
    assert all(text == " ".join(text.split()) and text for text in texts)
    assert len({text.casefold() for text in texts}) == len(texts)


@BOTH
def test_an_expression_is_asked_for_at_most_twice(rows):
    assert max(Counter(row["cron"] for row in rows).values()) <= 2


@BOTH
def test_answers_are_valid_and_canonical(rows):
    for cron in {row["cron"] for row in rows}:
        assert croniter.is_valid(cron), cron
        fields = cron.split(" ")
        assert len(fields) == 5, cron
        for field, (low, high) in zip(fields, BOUNDS, strict=True):
            assert field_is_canonical(field, low, high), f"{field!r} in {cron!r}"
        assert "*" in (fields[2], fields[4]), f"two day fields mean OR in cron: {cron!r}"


@pytest.mark.parametrize("field", ["7", "5,1", "1,2,3", "1-2", "1,1", "0-6", "*/1", "mon", "1-3,4", "0,1-3", ""])
def test_the_check_of_a_weekday_field_finds_what_is_not_canonical(field):
    assert not field_is_canonical(field, 0, 6)


NEWER = ("test_e", "test_f")  # with schedules and with phrases that cron cannot say
EACH_NEWER = pytest.mark.parametrize("name", NEWER)


@EACH_NEWER
def test_a_newer_test_is_the_file_whose_hash_is_older_than_what_was_trained_for_it(name):
    recorded = (DATA / f"{name}.sha256").read_text(encoding="utf-8").split()[0]
    assert hashlib.sha256((DATA / f"{name}.jsonl").read_bytes()).hexdigest() == recorded


@EACH_NEWER
def test_a_newer_test_has_schedules_in_canonical_form_and_phrases_that_cron_cannot_say(name):
    schedules, none, cases = (task.hand_written(name, kind) for kind in ("schedule", "none", None))
    lines = (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(schedules) >= 150 and len(none) >= 150
    assert Counter(cases) == Counter(schedules + none) and len(cases) == len(lines)
    assert all(task.is_valid(case.cron) and task.canonical(case.cron) == case.cron for case in schedules)
    assert {case.cron for case in none} == {task.NOT_CRON}
    assert min(Counter(case.family for case in none).values()) >= 8
    with pytest.raises(ValueError, match=f"expected a kind of {name}, none, schedule, or None for all, got 'hand'"):
        task.hand_written(name, "hand")


@EACH_NEWER
def test_no_text_of_a_newer_test_is_in_another_test_the_validation_split_or_training(name):
    """Only numbers are shown, so that the test stays unread."""
    cases = task.hand_written(name)
    names = [other for other in ("test_c", "test_d", *NEWER, "validation") if other != name]
    others = [case for other in names for case in task.hand_written(other)] + task.test_a() + task.test_b()
    others += task.train_examples(2000, human_share=1.0)
    texts = {task.normalized(case.text) for case in cases}
    assert len(texts) == len(cases)
    assert sum(task.normalized(case.text) in texts for case in others) == 0


def test_no_page_says_who_wrote_the_tests():
    """Known is that they were written one by one, and not by the grammars."""
    claim = re.compile(r"\b(?:people|a person|persons|humans|somebody) (?:wrote|has written|have written)\b", re.I)
    root = DATA.parents[2]
    pages = [
        *root.glob("notebooks/*.ipynb"),
        *root.glob("docs/*.md"),
        *root.glob("adapters/*/README.md"),
        root / "README.md",
    ]
    said = {path.name: claim.findall(path.read_text(encoding="utf-8")) for path in pages}
    assert {name: found for name, found in said.items() if found} == {}
