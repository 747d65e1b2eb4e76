"""The recorded results are those of the scripts as they stand, and complete enough for what the notebooks show."""

import json
import math
import re
from itertools import product
from pathlib import Path

import pytest
from safetensors import safe_open

from experiments import full_update, fused_run, how_sure, second_task, sweeps
from lorautils import results
from lorautils.cli.ask import THRESHOLD
from lorautils.tasks import cron

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def updates():
    return results.read("full_update.jsonl")


def pinned(library: str) -> str:
    return re.search(rf"^{library}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


MACHINE_NAMED = [
    "full_update.jsonl",
    "sweeps.jsonl",
    "notebook_run.jsonl",
    "scale.jsonl",
    "orders.json",
    "method_times.json",
    "combined_adapters.json",
    "preferences.json",
    "second_task.jsonl",
    "fused_run.jsonl",
    "how_sure.json",
    "adapter_trial.json",
    "adapter_bands.json",
    "serving.json",
    "lessons.jsonl",
]


@pytest.mark.parametrize("name", MACHINE_NAMED)
def test_results_name_machine_and_the_versions_that_are_installed(name):
    found = results.read(name)
    for record in [found] if isinstance(found, dict) else found:
        assert record["machine"]["device"]
        for library in ("transformers", "peft"):
            assert record["machine"][library] == pinned(library)


def test_every_rank_was_truncated_and_trained_with_three_seeds(updates):
    full = {record["seed"]: record for record in updates if record["kind"] == "full"}
    assert sorted(full) == [0, 1, 2]
    for record in full.values():
        assert [int(k) for k in record["truncated"]] == full_update.RANKS
        assert record["learning_rate"] == full_update.LEARNING_RATE
    trained = {(r["seed"], r["r"], r["learning_rate"]) for r in updates if r["kind"] == "lora"}
    assert trained == {(s, r, rate) for s in (0, 1, 2) for r in full_update.RANKS for rate in (1e-3, 2e-3)}


def test_the_cut_update_was_controlled_at_every_small_rank_and_its_plain_cut_agrees_with_the_whole_run(updates):
    (controls,) = (record for record in updates if record["kind"] == "controls")
    assert [float(scale) for scale in controls["scaled"]] == full_update.SCALES
    for counts in (controls["plain"], controls["careful"], *controls["scaled"].values()):
        assert [(int(k), score["n"]) for k, score in counts.items()] == [
            (k, full_update.CASES) for k in full_update.FEW
        ]
    whole = next(record for record in updates if record["kind"] == "full" and record["seed"] == 0)
    for k, score in controls["plain"].items():  # 40 of the 200 cases, another processor
        assert score["exact"] / score["n"] == pytest.approx(whole["truncated"][k]["exact"] / 200, abs=0.15)


def test_energy_agrees_with_the_spectra(updates):
    """The recorded shares are means over 210 matrices; those of layer 10 lie in the same range."""
    for record in (record for record in updates if record["kind"] == "full"):
        shares = [
            sum(s**2 for s in spectrum[:8]) / sum(s**2 for s in spectrum) for spectrum in record["spectra"].values()
        ]
        assert min(shares) < record["energy"]["8"] < max(shares)


def test_the_recorded_factors_fit_in_six_megabytes_and_carry_scaling_one():
    folder = results.RESULTS / "full_update_rank8"
    weights = folder / "adapter_model.safetensors"
    assert weights.stat().st_size < 6e6
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == full_update.KEPT
    with safe_open(weights, "pt") as tensors:
        assert len(list(tensors.keys())) == 2 * 7 * 30


def test_sweeps_hold_no_run_twice_and_none_that_the_script_does_not_know():
    known = {sweeps.key(run.fields()) for runs in sweeps.sweeps().values() for run in runs}
    recorded = [sweeps.key(record["run"]) for record in results.read("sweeps.jsonl")]
    assert len(recorded) == len(set(recorded))
    assert set(recorded) <= known


def test_the_data_is_still_the_one_that_was_trained_on():
    runs = [sweeps.Run(**record["run"]) for record in results.read("sweeps.jsonl")]
    recorded = {
        (run.task, run.examples, run.seed): r["data"] for run, r in zip(runs, results.read("sweeps.jsonl"), strict=True)
    }
    for (task, n, seed), data in recorded.items():
        assert data == sweeps.data_hash(sweeps.training_pairs(task, n, seed))


def test_every_way_to_a_second_task_has_every_seed_once_and_scores_both_tasks_twice():
    recorded = results.read("second_task.jsonl")
    found = sorted((record["way"], record["seed"]) for record in recorded)
    assert found == sorted(product(second_task.WAYS, second_task.SEEDS))
    for record in recorded:
        for when in ("after_first", "after_second"):
            assert [record[when][task]["n"] for task in ("cron", "orders")] == [200, 100]
            assert math.isfinite(record[when]["english_loss"])


def test_the_whole_run_was_timed_once_and_scored_with_every_seed_all_three_ways():
    recorded = results.read("fused_run.jsonl")
    timed = [record for record in recorded if record["seconds"]]
    scored = [(record["way"], record["seed"]) for record in recorded if not record["seconds"]]
    assert sorted(record["way"] for record in timed) == sorted(fused_run.WAYS)
    assert all(record["seconds"] > 0 and record["machine"]["device"] == "CPU" for record in timed)
    assert sorted(scored) == sorted(product(fused_run.WAYS, {seed for _, seed in scored}))
    assert all(record["n"] == fused_run.CASES for record in recorded)


def test_the_readme_tells_the_mean_of_twenty_seeds():
    recorded = [line for line in results.read("fused_run.jsonl") if line["way"] == "train()" and not line["seconds"]]
    mean, low, high = results.over_seeds([100 * line["exact"] / line["n"] for line in recorded])
    told = f"{mean:.0f} % on unseen times\n(the mean of twenty seeds; {low:.0f} to {high:.0f})"
    assert len(recorded) == 20 and told in (ROOT / "README.md").read_text(encoding="utf-8")


def case(probability: float, right: bool = True, kind: str = "hand", valid: bool = True) -> dict:
    return {"kind": kind, "probability": probability, "right": right, "cron": valid}


def test_the_threshold_flags_at_most_one_in_ten_right_answers_to_what_people_say():
    right = [case(0.3), case(0.75), *[case(0.99)] * 18]
    others = [case(0.9, right=False), case(0.1, kind="library"), case(0.2, right=False, valid=False)]
    assert how_sure.choose(right + others) == 0.99, "two of twenty are below it, and the others are not counted"
    assert how_sure.choose([*right, case(0.74)]) == 0.75
    assert how_sure.flagged(right + others, 0.99, "hand", right=False) == (1, 1)


RECORD = results.RESULTS / "how_sure.json"


def test_ask_warns_below_the_threshold_that_the_record_gives():
    record = results.read(RECORD.name)
    assert record["threshold"] == how_sure.choose(record["cases"]) == THRESHOLD
    assert [case["text"] for case in record["cases"]] == [
        example.text for kind in how_sure.KINDS for example in cron.hand_written("validation", kind)
    ]


def test_notebook_12_tells_what_recomputation_costs_by_the_clock():
    speeds = {}  # with the same rows on one card
    for line in results.read("scale.jsonl"):
        run = {name: value for name, value in line["run"].items() if name != "checkpointing"}
        if run["model"] != "8B" and run["devices"] == 1:
            key = (*run.values(), line["batch"], line["machine"]["device"])
            speeds.setdefault(key, {})[line["run"]["checkpointing"]] = line["tokens_per_second"]
    ratios = {"1B": [], "135M": []}
    for key, of in speeds.items():
        if len(of) == 2:
            ratios[key[0]].append(of[False] / of[True])
    assert len(ratios["1B"]) == len(ratios["135M"]) == 5
    assert 1.2 < min(ratios["1B"]) < max(ratios["1B"]) < 1.5
    assert (round(min(ratios["135M"]), 1), round(max(ratios["135M"]), 1)) == (1.6, 2.2)
