"""GRPO with cron's checker: the reward is what it says, a run trains, and the record says what the page tells of it."""

import re
from collections import Counter
from dataclasses import asdict, replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_experiments import pinned
from transformers import LlamaConfig, LlamaForCausalLM

from experiments import grpo, records
from experiments.common import key
from lorautils import ROOT, results
from lorautils.basemodel import load_tokenizer
from lorautils.figures import nb11 as figures
from lorautils.lora import PROJECTIONS
from lorautils.tasks import cron

RATE = {"reward": 6e-4, "answers": 2e-3}
SAMPLED = ["0 9 * * *", "every day", " 5 9 * * 1 ", "0 9 * *"]  # right, invalid, valid, invalid
PAGE = (ROOT / "docs" / "records.md").read_text(encoding="utf-8").partition("## A reward as the teacher")[2]


@pytest.fixture(scope="module")
def runs():
    return results.read("grpo.jsonl")


def cell(runs, teacher: str, r: int) -> list:
    """The three seeds that the page compares."""
    return records.select(runs, teacher=teacher, r=r, learning_rate=RATE[teacher])


# ------------------------------------------------------------------------------- the experiment


def test_the_reward_is_1_for_a_valid_answer_and_2_for_the_right_one():
    logged = {}
    reward = grpo.reward_of(grpo.Run("reward"))
    assert reward(completions=SAMPLED, right=["0 9 * * *"] * 4, log_metric=logged.__setitem__, prompts=[]) == [
        2,
        0,
        1,
        0,
    ]
    assert logged == {"exact": 0.25}


def test_a_shuffled_reward_stays_in_its_group():
    run = grpo.Run("shuffled reward", group=4)
    asked = {"completions": SAMPLED + SAMPLED[1:2] * 4, "right": ["0 9 * * *"] * 8, "log_metric": Counter().__setitem__}
    reward = grpo.reward_of(run)
    dealt = [reward(**asked) for _ in range(20)]
    assert all(sorted(each[:4]) == [0, 0, 1, 2] and each[4:] == [0] * 4 for each in dealt)
    assert len({tuple(each) for each in dealt}) > 3


def test_no_phrase_was_read_before_or_twice_and_both_teachers_read_the_same():
    run = grpo.Run("reward", seed=1)
    texts = [cron.normalized(example.text) for example in grpo.phrases(run)]
    before = cron.train_examples(grpo.START_EXAMPLES, 0, grpo.HUMAN_SHARE)
    assert len(set(texts)) == run.steps * run.prompts
    assert not {cron.normalized(example.text) for example in before} & set(texts)
    assert not {cron.fingerprint(text) for text in texts} & cron.reserved()
    assert grpo.phrases(replace(run, teacher="answers", r=128)) == grpo.phrases(run)


def test_all_answers_fit_into_what_is_sampled():
    tokenizer = load_tokenizer()
    right = [example.cron + tokenizer.eos_token for example in grpo.phrases(grpo.Run("reward"))]
    assert max(map(len, tokenizer(right)["input_ids"])) <= grpo.ANSWER_TOKENS


@pytest.mark.parametrize("teacher", ["reward", "answers"])
def test_a_run_changes_the_adapter_alone(teacher, monkeypatch):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=PROJECTIONS, r=2)
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(vocab_size=49_152, eos_token_id=2, **sizes)), config)
    before = {name: torch.clone(p.detach()) for name, p in model.named_parameters()}
    monkeypatch.setattr(grpo.cron, "is_valid", lambda said: len(said) % 2 == 0)  # random text is never a schedule
    run = grpo.Run(teacher, steps=3, prompts=2, group=4, learning_rate=1e-2)
    history, more = grpo.taught(model, load_tokenizer(), run)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all("lora_" in name for name in moved)
    assert len(history.loss) == 3 and history.trained_tokens > 0
    if teacher == "reward":
        assert all(len(values) == 3 for values in more["per_step"].values()) and max(more["per_step"]["unequal"]) > 0


# ------------------------------------------------------------------------------- the record


def test_the_record_has_runs_of_the_plan_once_each_from_one_machine_and_one_start(runs):
    done, planned = [key(run["run"]) for run in runs], [key(asdict(run)) for run in grpo.runs()]
    assert len(set(done)) == len(done) and set(done) <= set(planned)
    assert re.search(r"(\d+) of the (\d+) runs", PAGE).groups() == (str(len(done)), str(len(planned)))
    (machine,) = {tuple(run["machine"].items()) for run in runs}
    assert all(dict(machine)[library] == pinned(library) for library in ("transformers", "peft", "trl"))
    for teacher in RATE:
        assert all(len(cell(runs, teacher, r)) == 3 for r in grpo.RANKS)


def test_the_pages_table_is_that_of_the_record(runs):
    groups = {"none, the start": records.select(runs, teacher="nobody")}
    for name, teacher in (("reward", "reward"), ("right answers", "answers")):
        groups |= {f"{name}, r = {r}": cell(runs, teacher, r) for r in grpo.RANKS}
    groups["shuffled reward, r = 8, one seed"] = records.select(runs, teacher="shuffled reward")
    shown = [re.split(r" *\| *", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in shown] == list(groups)
    for (_, *numbers), group in zip(shown, groups.values(), strict=True):
        means = [records.seed_interval(group, m).mean for m in ("valid", "validation", "Test-A", "programs")]
        assert list(map(float, numbers)) == pytest.approx(means, abs=0.51)
        assert float(numbers[-1]) == pytest.approx(means[-1], abs=0.0051)


def test_the_rates_are_the_best_at_rank_8(runs):
    for teacher, rate in RATE.items():
        tried = records.select(runs, teacher=teacher, r=8, seed=0)
        assert len(tried) == 3
        best = max(tried, key=lambda run: records.MEASURES["valid"](run) + records.MEASURES["validation"](run))
        assert best["run"]["learning_rate"] == rate


def test_no_difference_between_ranks_is_seen_with_either_teacher(runs):
    asked = {
        (teacher, r, measure): records.differences(cell(runs, teacher, r), cell(runs, teacher, 8), measure)
        for teacher in RATE
        for r in (1, 128)
        for measure in ("valid", "validation", "Test-A")
    }
    found = records.compare(asked)
    assert {comparison.word for comparison in found.values()} == {"not seen"}
    for measure, ends in (("validation", "5 to 18 points of *right*"), ("Test-A", "33 to 50 of Test-A")):
        smallest = [comparison.smallest for (*_, asked_of), comparison in found.items() if asked_of == measure]
        assert ends.startswith(f"{min(smallest):.0f} to {max(smallest):.0f} ") and ends in " ".join(PAGE.split())


def test_the_reward_raises_valid_answers_and_not_right_ones_and_forgets_more(runs):
    valid, right, programs = (records.MEASURES[name] for name in ("valid", "validation", "programs"))
    (start,) = records.select(runs, teacher="nobody")
    for r in grpo.RANKS:
        for rewarded, plain in zip(
            *(sorted(cell(runs, t, r), key=lambda x: x["run"]["seed"]) for t in RATE), strict=True
        ):
            assert valid(rewarded) > valid(start) + 8 and valid(rewarded) > valid(plain)
            assert right(rewarded) < right(start) < right(plain)
            assert programs(rewarded) > programs(plain)
        assert 10.5 < records.seed_interval(cell(runs, "reward", r), "valid").mean - valid(start) < 13.5


def test_groups_become_equal_and_a_high_rate_ends_in_valid_answers_that_are_not_right(runs):
    steps = [run["per_step"] for r in grpo.RANKS for run in cell(runs, "reward", r)]
    for what, first, last in (("unequal", 0.87, 0.26), ("entropy", 0.57, 0.17), ("exact", 0.12, 0.22)):
        values = np.array([each[what] for each in steps])  # (runs, steps)
        assert values[:, :6].mean() == pytest.approx(first, abs=0.005)
        assert values[:, -6:].mean() == pytest.approx(last, abs=0.005)
    for run in records.select(runs, teacher="reward", learning_rate=2e-3):
        assert records.MEASURES["valid"](run) > 99 and records.MEASURES["validation"](run) < 1
        assert np.mean(run["per_step"]["unequal"][-6:]) < 0.05


def test_the_figure_tells_the_means_that_it_draws(runs):
    lines = {f"r = {r}": np.mean([run["per_step"]["reward"] for run in cell(runs, "reward", r)], 0) for r in grpo.RANKS}
    figure = figures.rewarded({"mean reward": lines, "again": lines})
    first, last = lines["r = 8"][:6].mean(), lines["r = 8"][-6:].mean()
    assert f"mean reward, r = 8: from {first:.2f} to {last:.2f}" in figure.words
    assert [len(line.get_xdata()) for line in figure.axes[0].get_lines()] == [10] * 3
    plt.close(figure)
