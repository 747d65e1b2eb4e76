"""Notebook 14: its drawings show what is so; the rows that ship are apart, scored rightly, with the planted faults."""

import matplotlib.pyplot as plt
import pytest

from experiments import your_own_data
from lorautils import ROOT
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
    with pytest.raises(ValueError, match="expected one of train, validation, test, got 'valid'"):
        git_help.examples("valid")
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
        ("git commit -m Fix the date", 'git commit -m "Fix the date"'),  # git takes the last two words for files
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


@pytest.mark.parametrize(
    ("words", "named"),
    [(["lines"], "lines gallery rows list"), ([], "kind"), (["rows", "--seed", "7"], "7 0 1 2"), (["rows", "x"], "x")],
)
def test_a_word_that_the_experiment_does_not_know_starts_no_training(monkeypatch, capsys, words, named):
    monkeypatch.setattr("sys.argv", ["your_own_data", *words])
    monkeypatch.setattr(your_own_data, "execute", lambda run: pytest.fail(f"trained {run}"))
    with pytest.raises(SystemExit) as ended:
        your_own_data.main()
    *_, said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and all(word in said for word in named.split())


def test_the_experiment_lists_what_is_recorded_and_makes_the_rest(monkeypatch, capsys, tmp_path):
    record = tmp_path / "record.jsonl"
    monkeypatch.setattr(your_own_data, "RECORD", record)
    monkeypatch.setattr(your_own_data, "execute", lambda run: {"right": 1})
    monkeypatch.setattr(your_own_data, "release_memory", lambda: None)  # of a training, which is not made here
    for words in (["rows"], ["gallery", "--seed", "1"], ["rows"], ["list"]):
        monkeypatch.setattr("sys.argv", ["your_own_data", *words])
        your_own_data.main()
    *made, gallery, whole = (line.split() for line in capsys.readouterr().out.splitlines())
    assert len(made) == len(record.read_text().splitlines()) == 21 + 9
    assert gallery[:4] == ["gallery", "9", "of", "27"] and "deferred:" in gallery
    assert whole[:4] == ["rows", "21", "of", "21"] and whole[-1] == "complete"


def test_the_curve_of_rows_is_whole_and_its_notebook_says_what_it_trained():
    runs = [run for run in read("your_own_data.jsonl") if run["kind"] == "rows"]
    settings = [{name: run[name] for name in ("kind", "n", "wrong", "seed")} for run in runs]
    assert settings == your_own_data.runs("rows")
    assert {(run["commands"], run["sentences"], len(run["answers"])) for run in runs} == {(60, 24, 24)}
    text = " ".join((ROOT / "notebooks" / "14_your_own_data.ipynb").read_text(encoding="utf-8").split())
    seen = {n: your_own_data.LONG_STEPS * your_own_data.BATCH / n for n in your_own_data.SIZES}
    assert (seen[50], seen[800]) == (16, 1) and "The 50 rows are seen sixteen times, the 800 once" in text
    assert your_own_data.LONG_STEPS == 200 and your_own_data.WRONG == 0.05


def test_the_drawing_of_ones_own_rows_shows_each_training_once():
    groups = {(50, 0.0): [10.0, 20.0, 15.0], (200, 0.0): [30.0, 30.0, 30.0], (200, 0.05): [28.0, 29.0, 27.0]}
    figure = figures.own_rows(groups)
    (axes,) = figure.axes
    dots = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert sorted(y for line in dots for y in line.get_ydata()) == sorted(share for g in groups.values() for share in g)
    assert len({x for line in dots for x in line.get_xdata()}) == 9  # none hides another
    assert "200 rows, 5 % wrong: 27, 28, 29" in figure.words
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all rows right", "5 % wrong"]
    plt.close("all")


def test_packed_rows_keep_every_token_with_loss():
    data = rows.read([git_help.FILES["test"]])
    features = [sequence.feature for sequence in tokens.encode_rows(load_tokenizer(), data.rows)[0]]
    packed = packing.packed(features, 128)
    counts = [sum(label != IGNORED for row in kind for label in row["labels"]) for kind in (features, packed)]
    assert counts[0] == counts[1]
