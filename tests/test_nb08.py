"""Notebook 08: its drawings can be read, its recipe is the recorded one, its rules and checkers do what is said."""

import ast
import json
from collections import defaultdict
from itertools import product

import matplotlib.pyplot as plt
import nbformat
import pytest

from experiments import lessons, notebook_run, recipes
from lorautils import ROOT, data, results
from lorautils.audit import audit_folder
from lorautils.exercises import nb08 as exercises
from lorautils.figures import nb08
from lorautils.figures.field import field
from lorautils.figures.words import alt_text
from lorautils.tasks import cron
from lorautils.tasks.baselines import by_rules, instructed

NOTEBOOK = nbformat.read(ROOT / "notebooks" / "08_peft_lora_run.ipynb", as_version=4)
CELLS = {cell.id: cell.source for cell in NOTEBOOK.cells}
TOKENS = ["<|im_start|>", "user", "\n", " every", " 6", "<|im_end|>", "*", "/", "6", " *", " *", "<|im_end|>"]
DRAWINGS = {
    "flow": nb08.flow,
    "tests": lambda: nb08.test_map({"A": 60, "B": 60, "C": 70, "D": 73}),
    "labels": lambda: nb08.label_strip(TOKENS * 2, [data.IGNORED] * 18 + [1] * 6),
}


def recipe() -> dict:
    """The recipe in the notebook's one cell that holds it."""
    for node in ast.walk(ast.parse(CELLS["make-data"])):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "recipe":
            return ast.literal_eval(node.value)
    raise AssertionError("cell make-data assigns no recipe")


def test_the_recipe_of_the_notebook_is_the_recorded_one():
    assert recipe() == notebook_run.RECIPE
    for run in results.read("notebook_run.jsonl"):
        assert run["recipe"] == notebook_run.recipe_of(run["kind"]), run["kind"]


def test_every_competitor_is_recorded_and_lora_from_five_seeds():
    runs = results.read("notebook_run.jsonl")
    kinds = {kind: sorted(run["seed"] for run in runs if run["kind"] == kind) for kind in {r["kind"] for r in runs}}
    assert kinds["LoRA"] == [0, 1, 2, 3, 4]
    five = ("LoRA with replay", "full fine-tuning", "full, half rate")
    assert all(kinds[kind] == [0, 1, 2, 3, 4] for kind in five)
    assert {"nearest", "rules", "untouched", "few-shot", "long run"} <= kinds.keys()
    assert all(list(run["scores"]) == ["A", "B", "C", "D"] for run in runs)


def test_what_the_long_run_pays_with_english_is_recorded():
    (run,) = (run for run in results.read("notebook_run.jsonl") if run["kind"] == "long run")
    assert f"pays with English: {run['english_loss']:.1f} nats a token" in CELLS["read-recorded"]


def test_the_held_out_cases_of_the_notebook_are_half_of_the_record_s():
    held_out = [case for kind in ("hand", "library") for case in cron.hand_written("validation", kind)[::10]]
    assert held_out == notebook_run.held_out()[::2]
    assert 'for case in cron.hand_written("validation", kind)[::10]' in CELLS["make-tests"]


def test_rules_solve_test_a_and_read_no_people():
    a, c = cron.test_a(), cron.test_c()
    assert cron.score([by_rules(case.text) for case in a], a).exact == len(a)
    assert cron.score([by_rules(case.text) for case in c], c).exact == 0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("At 12:05 AM", "5 0 * * *"),
        ("At 12:05 PM, only on Sunday, Monday, and Friday", "5 12 * * 0,1,5"),
        ("At 01:00 PM, on day 1 and 15 of the month, March through May", "0 13 1,15 3-5 *"),
        ("at noon", ""),
    ],
)
def test_rules_read_halves_of_the_day_lists_and_spans(text, answer):
    assert by_rules(text) == answer


def test_the_nearest_example_stands_last_in_the_prompt():
    known = [cron.Example("each Sunday", "0 0 * * 0", "b"), cron.Example("every day at 9", "0 9 * * *", "a")]
    (prompt,) = instructed(known, ["every day at ten"])
    assert prompt.index("each Sunday") < prompt.index("every day at 9") < prompt.index("every day at ten")
    assert prompt.endswith(cron.cron_prompt("every day at ten"))
    assert [example.cron for example in cron.nearest(known, ["every day at ten"], 2)[0]] == ["0 9 * * *", "0 0 * * 0"]


def test_the_recipe_is_the_best_of_those_that_were_tried_on_the_validation_split():
    tried = defaultdict(list)
    for record in recipes.recorded(recipes.RECORD):
        right = [counts["equivalent"] / counts["n"] for kind, counts in record["validation"].items() if kind != "none"]
        tried[recipes.key(record["recipe"] | {"seed": None})].append((record["recipe"], sum(right) / 2))
    means = [
        (group[0][0], sum(score for _, score in group) / len(group)) for group in tried.values() if len(group) >= 5
    ]
    for method, rate in (
        ("LoRA", notebook_run.RECIPE),
        ("full fine-tuning", notebook_run.TRAININGS["full fine-tuning"]),
    ):
        best, _ = max((pair for pair in means if pair[0]["method"] == method), key=lambda pair: pair[1])
        assert best["learning_rate"] == rate["learning_rate"]
        assert best["replay"] == 0
        assert best["human_share"] == rate["human_share"]


def test_the_adapter_that_rescues_a_slow_laptop_is_of_this_recipe_and_sound():
    record = json.loads((notebook_run.RESCUE / "training.json").read_text())
    assert record["recipe"] == notebook_run.RECIPE
    assert len(record["history"]["loss"]) == record["history"]["steps"]
    assert not [warning for warning in audit_folder(notebook_run.RESCUE) if "zero" in warning or "wraps" in warning]
    assert (notebook_run.RESCUE / "adapter_model.safetensors").stat().st_size < 5e6


def test_the_recorded_lessons_are_the_notebook_s_in_five_trades():
    assert f"examples[:{lessons.OLD}] + {lessons.TIMES} * new" in CELLS["teach"]
    assert 'recipe["learning_rate"] / 2' in CELLS["teach"]
    shown = next(node.value for node in ast.parse(CELLS["lesson"]).body if isinstance(node, ast.Assign))
    assert lessons.TRADES["bakery"] == {phrase: list(more) for phrase, more in ast.literal_eval(shown).items()}
    for trade in lessons.TRADES:
        trained, asked = (
            {cron.normalized(case.text) for case in of(trade)} for of in (lessons.taught, lessons.paraphrases)
        )
        assert (len(trained), len(asked), trained & asked) == (10, 20, set()), trade


def test_the_bill_of_a_lesson_is_the_recorded_one():
    recorded = results.read("lessons.jsonl")
    assert sorted((run["trade"], run["seed"]) for run in recorded) == sorted(product(lessons.TRADES, lessons.SEEDS))

    def right(when: str, test: str) -> str:
        counts = [run[when]["scores"][test] for run in recorded]
        return f"{100 * sum(c['equivalent'] for c in counts) / sum(c['n'] for c in counts):.0f}"

    for test in "ABCD":
        assert f"on Test-{test} from {right('before', test)} to {right('after', test)} %" in CELLS["read-teach"]
    assert f"{right('after', 'paraphrases')} % of the paraphrases" in CELLS["read-teach"]


def test_the_live_scores_are_told_with_the_recorded_range():
    live, there = {"A": {"n": 60, "exact": 53}}, [{"A": {"n": 200, "exact": n}} for n in (180, 190)]
    words = alt_text(nb08.headline(live, there, 3.9, [3.8, 4.2], 3.33))
    assert "Test-A: 53 of 60" in words
    assert "recorded from 3.80 to 4.20" in words
    plt.close("all")


def test_the_looks_at_what_is_held_out_and_the_lowest_are_drawn():
    axes = nb08.loss_curve([4.0, 3.0, 2.0, 1.0], [[2, 2.5], [4, 2.7]], window=2)
    assert "held out: 2 points from 2.5 to 2.7" in alt_text(axes.figure)
    assert "lowest, step 2" in [text.get_text() for text in axes.get_legend().get_texts()]
    plt.close("all")


def test_a_field_is_told_in_words_and_answers_what_is_typed():
    heard = []
    box = field("Phrase:", heard.append)
    assert "widget" not in repr(box)
    box.children[0].value = " at noon "
    assert heard == ["at noon"]


def test_four_copies_three_of_them_broken(tmp_path):
    folders = exercises.sabotaged(cron.ADAPTER, tmp_path)
    names, scale, untrained, sound = (audit_folder(folder) for folder in folders)
    assert any("not in the configuration" in warning for warning in names)
    assert any("zero" in warning for warning in untrained)
    assert scale == sound == []
    assert json.loads((folders[1] / "adapter_config.json").read_text())["lora_alpha"] == 64


def test_pairs_decide_where_totals_cannot():
    better = exercises.better.reference
    assert better([True] * 6 + [False] * 94, [False] * 100) == "first"  # 6 % and 0 %: Wilson's intervals overlap
    assert better([True] * 10 + [False] * 8, [False] * 10 + [True] * 8) == "cannot tell"
