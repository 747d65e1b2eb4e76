"""The validation split of the cron task: its size, its balance, its answers, and that it is apart from the tests."""

import json
from collections import Counter
from pathlib import Path

import pytest

from lorautils.tasks import cron
from lorautils.tasks.cron import NOT_CRON, canonical, is_valid, normalized

FILE = Path(cron.__file__).parent / "cases" / "validation.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
SIZES = {"hand": 150, "library": 150, "none": 60}
HAND = {"time", "weekday", "monthday", "date", "month", "interval", "window", "multi", "minute", "combination"}
NONE = {"seconds", "nth weekday", "last day", "every other week", "two schedules", "no schedule", "another language"}
NONE |= {"contradiction", "other"}


def families(kind):
    return Counter(example.family for example in cron.hand_written("validation", kind))


def test_size_and_balance():
    assert Counter(row["kind"] for row in ROWS) == SIZES
    assert set(families("hand")) == HAND and min(families("hand").values()) >= 8
    assert set(families("library")) <= set(cron.FAMILIES) and len(families("library")) >= 30
    assert set(families("none")) == NONE and min(families("none").values()) >= 5


def test_rows_have_the_four_keys_and_no_answer_where_five_fields_have_none():
    for row in ROWS:
        answer = type(None) if row["kind"] == "none" else str
        types = {key: type(value) for key, value in row.items()}
        assert types == {"text": str, "cron": answer, "family": str, "kind": str}


def test_every_kind_is_loaded_in_the_order_of_the_file():
    everything = [example for kind in SIZES for example in cron.hand_written("validation", kind)]
    assert cron.hand_written("validation") == everything and len(everything) == len(ROWS)
    assert {example.cron for example in cron.hand_written("validation", "none")} == {NOT_CRON}
    assert not is_valid(NOT_CRON)
    with pytest.raises(
        ValueError, match="expected a kind of validation, hand, library, none, or None for all, got 'test'"
    ):
        cron.hand_written("validation", "test")


def test_answers_are_valid_and_canonical():
    for example in cron.hand_written("validation", "hand") + cron.hand_written("validation", "library"):
        assert is_valid(example.cron) and canonical(example.cron) == example.cron, example


def test_people_name_one_kind_of_day_and_ask_for_an_expression_at_most_twice():
    answers = [example.cron for example in cron.hand_written("validation", "hand")]
    assert max(Counter(answers).values()) <= 2
    for answer in answers:
        _, _, day, _, weekday = answer.split()
        assert "*" in (day, weekday), f"two day fields mean OR in cron: {answer!r}"


def test_the_library_describes_each_of_its_expressions_once():
    library = cron.hand_written("validation", "library")
    assert all(example.text == cron.describe(example.cron) for example in library)
    assert len({example.cron for example in library}) == len(library)


def test_texts_are_distinct_and_clean():
    texts = [row["text"] for row in ROWS]
    assert all(text == " ".join(text.split()) and text for text in texts)
    assert len({normalized(text) for text in texts}) == len(texts)


def test_the_split_is_apart_from_the_tests():
    """The tests stay unread: only the numbers of common texts and expressions are shown."""
    tests = cron.test_a() + cron.test_b() + cron.test_c() + cron.hand_written("test_d")
    texts = {normalized(example.text) for example in tests}
    assert sum(normalized(example.text) in texts for example in cron.hand_written("validation")) == 0
    expressions = {example.cron for example in tests}
    assert sum(example.cron in expressions for example in cron.hand_written("validation", "library")) == 0


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_training_has_none_of_its_texts(share):
    texts = {normalized(example.text) for example in cron.hand_written("validation")}
    for seed in range(3):
        trained = {normalized(example.text) for example in cron.train_examples(2000, seed=seed, human_share=share)}
        assert not texts & trained
