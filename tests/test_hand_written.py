"""The hand-written cases of the cron task, C to F and the validation split: frozen, valid, apart from one another.

The tests stay unread: only numbers are shown.
"""

import hashlib
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from lorautils.tasks import cron

CASES = Path(cron.__file__).parent / "cases"
HASHES = {  # records rest on these files
    "test_c": "95d1e7ec2b75ebd686ddf972cfe2f704d02304eb9c2027f09261e56439e1e803",
    "test_d": "2a3703636d9b4f45ee1ab6eca343dd4db122ae1b88294df9bd1cce65f93fff6c",
    "test_e": "58a7d6a9cb93fd462c4e3d97c7a0eea8508a59af0ff413acbbbb0a2b9dc74741",
    "test_f": "4f6f0cd04381c8d683cca4b1c9a9117df826717787cd1501e168aa6e2ba13f6a",
    "validation": "22a99bc47a88b36d3e60aaa0eb2f63ea38e70a3ad3953a886f5559251311637a",
}


@pytest.mark.parametrize("name", HASHES)
def test_a_file_is_the_one_that_was_frozen(name):
    assert hashlib.sha256((CASES / f"{name}.jsonl").read_bytes()).hexdigest() == HASHES[name]
    if (told := CASES / f"{name}.sha256").exists():  # older than what was trained for it
        assert told.read_text(encoding="utf-8").split()[0] == HASHES[name]


@pytest.mark.parametrize("name", HASHES)
def test_answers_are_valid_and_canonical_or_say_that_cron_cannot(name):
    for answer in {case.cron for case in cron.hand_written(name)} - {cron.NOT_CRON}:
        assert cron.is_valid(answer) and cron.canonical(answer) == answer
        _, _, day, _, weekday = answer.split()
        assert "*" in (day, weekday) or name == "validation", f"two day fields mean OR in cron: {answer!r}"
    assert not cron.is_valid(cron.NOT_CRON)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("test_e", "none schedule"), ("test_f", "none schedule"), ("validation", "hand library none")],
)
def test_cases_are_loaded_by_kind_or_all_in_the_order_of_the_file(name, kinds):
    every = cron.hand_written(name)
    parts = [cron.hand_written(name, kind) for kind in kinds.split()]
    assert Counter(every) == Counter(case for part in parts for case in part) and all(parts)
    assert len(every) == len((CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    assert {case.cron for case in cron.hand_written(name, "none")} == {cron.NOT_CRON}
    with pytest.raises(ValueError, match=f"expected a kind of {name}, {', '.join(kinds.split())}, or None for all"):
        cron.hand_written(name, "a kind")


def test_a_test_without_kinds_says_so():
    with pytest.raises(ValueError, match="expected a kind of test_c, or None for all, got 'schedule'"):
        cron.hand_written("test_c", "schedule")


def test_no_text_stands_twice_and_one_alone_in_two_of_all_tests_and_the_validation_split():
    """That training has none of them is held in test_cron.py, by their fingerprints."""
    cases = {name: cron.hand_written(name) for name in HASHES} | {"A": cron.test_a(), "B": cron.test_b()}
    texts = {name: {cron.normalized(case.text) for case in of} for name, of in cases.items()}
    assert {name: len(of) for name, of in cases.items()} == {name: len(of) for name, of in texts.items()}
    common = {pair: len(texts[pair[0]] & texts[pair[1]]) for pair in combinations(texts, 2)}
    assert {pair: n for pair, n in common.items() if n} == {("test_c", "test_d"): 1}, "so they were frozen"
