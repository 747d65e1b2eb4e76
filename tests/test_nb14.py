"""Notebook 14: its drawings show what is so; the rows that ship are apart, scored rightly, with the planted faults."""

import matplotlib.pyplot as plt
import pytest

from lorautils.basemodel import load_tokenizer
from lorautils.data import IGNORED
from lorautils.exercises import nb14 as exercises
from lorautils.figures import nb14 as figures
from lorautils.formats import packing, report, rows, tokens
from lorautils.results import read
from lorautils.tasks import cron, git_help

TOKENS = ["<|im_start|>", "user", "\n", "Hi", "<|im_end|>", "\n", "<|im_start|>", "bot", "\n", "Yes", "<|im_end|>"]
LABELS = [IGNORED] * 9 + [7, 2]
DRAWINGS = {
    "tokens": lambda: figures.token_lines(TOKENS, LABELS),
    "rows": lambda: figures.rows_filled([30, 20, 25, 40], [[60, 40], [50, 50, 28]], 128),
}


def test_the_drawing_of_a_chat_names_the_tokens_with_loss_and_begins_a_line_with_each_turn():
    figure = DRAWINGS["tokens"]()
    assert "2 have a solid bar below them, which means loss: Yes <|im_end|>." in figure.words
    starts = [text.get_position() for text in figure.axes[0].texts if text.get_text() == "<|im_start|>"]
    assert starts[0][0] == starts[1][0] and starts[0][1] > starts[1][1]
    plt.close("all")


def test_the_drawing_of_rows_counts_what_is_empty():
    words = DRAWINGS["rows"]().words
    assert "28% of the batch is padding" in words and "11% is empty" in words
    plt.close("all")


# --- the rows that ship ----------------------------------------------------------------------------------------------


def test_the_files_are_what_the_grammar_makes():
    assert {part: git_help.examples(part) for part in git_help.FILES} == {p: git_help.made(p) for p in git_help.FILES}
    data = rows.read([git_help.CHATS])
    assert len(data.rows) == 300
    first = git_help.conversations()[0]["conversations"]
    assert [turn["content"] for turn in data.rows[0].example.turns[1:]] == [turn["value"] for turn in first]


def test_the_parts_share_no_question_and_the_tests_have_values_that_training_has_not():
    asked = {part: {cron.normalized(e.question) for e in git_help.examples(part)} for part in git_help.FILES}
    assert [len(asked[part]) for part in git_help.FILES] == [800, 60, 84]
    assert not asked["train"] & asked["validation"] and not asked["train"] & asked["test"]
    assert not asked["validation"] & asked["test"]
    answers = {part: {e.answer for e in git_help.examples(part)} for part in git_help.FILES}
    new = [e for e in git_help.examples("test")[:60] if e.answer not in answers["train"]]
    assert len(new) > 40  # those without a slot cannot be new


def test_all_that_ships_is_small():
    files = [*git_help.FILES.values(), git_help.CHATS, git_help.PAIRS]
    assert sum(path.stat().st_size for path in files) < 300_000


@pytest.mark.parametrize(
    "answer",
    ["git switch -c login", "$ git switch --create login", "git checkout -b login", "git switch -c 'login'\n"],
)
def test_a_command_may_be_spelled_otherwise(answer):
    assert git_help.equivalent(answer, "git switch -c login")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("git switch login", "git switch -c login"),
        ("git switch -c Login", "git switch -c login"),
        ("", "git status"),
        ("You can use git status", "git status"),
        ('git commit -m "Fix', 'git commit -m "Fix"'),
        ("git rm notes.txt", "git rm --cached notes.txt"),
        ("git reset --hard HEAD~2", "git reset --soft HEAD~2"),
        ("git log --oneline -n 4", "git log --oneline -n 40"),
    ],
)
def test_another_command_is_another_command(answer, wanted):
    assert not git_help.equivalent(answer, wanted)


def test_a_number_of_commits_may_be_written_in_three_ways():
    assert git_help.equivalent("git log --oneline -5", "git log --oneline -n 5")
    assert git_help.equivalent("git reset --soft HEAD^", "git reset --soft HEAD~1")


def test_the_three_planted_faults_are_found_and_no_other():
    data, tokenizer = rows.read([git_help.CHATS]), load_tokenizer()
    sequences, refused = tokens.encode_rows(tokenizer, data.rows)
    found = [text for level, text in report.findings(tokenizer, data, sequences, refused, 1024) if level == "PROBLEM"]
    assert len(found) == 3 and len(refused) == 1
    for item, text in zip(("233", "41", "120"), found, strict=True):
        assert f"item {item}" in text
    assert exercises.faults.reference == [41, 120, 233]


def test_a_contradiction_in_an_earlier_answer_of_a_chat_is_found():
    turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "this"}]
    more = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "yes"}]
    other = [turns[0], {"role": "assistant", "content": "that"}]
    data = rows.Data([rows.Row("one", rows.Chat(turns + more)), rows.Row("two", rows.Chat(other + more))])
    sequences, refused = tokens.encode_rows(load_tokenizer(), data.rows)
    found = [text for _, text in report.findings(load_tokenizer(), data, sequences, refused, 1024)]
    assert any("several answers" in text and "one; two" in text for text in found)


def test_no_judge_is_right_by_the_order_of_the_pairs():
    pairs = git_help.pairs()
    assert 12 <= sum(pair["better"] == "A" for pair in pairs) <= 24
    assert all(pair["A"] != pair["B"] for pair in pairs)


# --- the records -----------------------------------------------------------------------------------------------------


def test_each_provoked_run_shows_its_fault():
    runs = {run["fault"]: run for run in read("your_own_data.jsonl") if run["kind"] == "gallery" and run["seed"] == 0}
    last = {fault: run["held_out"][-1][1] for fault, run in runs.items()}
    assert len(runs) == 9 and min(last, key=last.get) == "healthy"
    assert len({loss for _, loss in runs["frozen adapter"]["held_out"]}) == 1


def test_packed_rows_keep_every_token_with_loss():
    data = rows.read([git_help.FILES["test"]])
    features = [sequence.feature for sequence in tokens.encode_rows(load_tokenizer(), data.rows)[0]]
    packed = packing.packed(features, 128)
    counts = [sum(label != IGNORED for row in kind for label in row["labels"]) for kind in (features, packed)]
    assert counts[0] == counts[1]
