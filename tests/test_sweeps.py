"""The analysis of the sweeps: intervals over seeds, best rates, and what notebooks 09 to 11 say about the records.

test_experiments.py checks that each run is one of experiments/sweeps.py, made with today's data and pinned versions.
"""

import math
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from experiments import common, full_update, notebook_run, records, trial
from experiments.records import MEASURES, by, seed_interval, select, tuned
from lorautils import plots, results
from lorautils.figures import nb11
from lorautils.figures.words import alt_text
from lorautils.results import over_seeds
from lorautils.training import History

PER_RANK = {2: 57_600, 4: 115_200, 3: 190_080, 7: 305_280}  # adapter numbers a unit of rank, by number of targets


@pytest.fixture(scope="module")
def runs():
    return results.read("sweeps.jsonl")


@pytest.fixture(scope="module")
def ranks(runs):
    return by(select(runs, sweep="rank"), "r")


def run(exact=(180, 0, 20, 10), seed=0, rate=2e-3, **configuration):
    counts = zip("ABCD", exact, (200, 200, 210, 146), strict=True)
    scores = {test: {"n": n, "exact": successes} for test, successes, n in counts}
    return {"run": {"seed": seed, "learning_rate": rate, **configuration}, "scores": scores, "english_loss": 4.0}


# --- the commands ---------------------------------------------------------------------------------------------------


def test_shares_that_start_one_after_the_other_make_every_run_once(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(trial, "RECORD", tmp_path / "trial.jsonl")
    monkeypatch.setattr(trial, "execute", lambda run: made.append(run) or {})
    monkeypatch.setattr(trial, "release_memory", lambda: None)  # of a training, which is not made here
    for share in ("0/3", "1/3", "2/3", "1/3"):
        monkeypatch.setattr("sys.argv", ["trial", share])
        trial.main()
    assert len(made) == len(set(made)) == len(trial.runs())


@pytest.mark.parametrize("words", [["3/3"], ["0/0"], ["1-3"], ["0/3", "1/3"]], ids=str)
def test_what_is_no_share_is_refused(words):
    with pytest.raises(SystemExit, match="0 to N - 1"):
        common.share_of([1, 2, 3], words)


@pytest.mark.parametrize(("script", "words"), [(notebook_run, ["lora", "0"]), (full_update, ["control"])])
def test_a_misspelt_kind_records_nothing(monkeypatch, script, words):
    monkeypatch.setattr("sys.argv", ["script", *words])
    for work in {"untrained", "controls"} & set(vars(script)):
        monkeypatch.setattr(script, work, lambda *given: {})
    monkeypatch.setattr(script, "append", lambda path, record: pytest.fail(f"recorded {record}"))
    with pytest.raises(SystemExit):
        script.main()


# --- the functions --------------------------------------------------------------------------------------------------


@hypothesis_settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=8).filter(lambda values: max(values) - min(values) > 1e-3))
def test_over_seeds_is_students_interval(values):
    mean, low, high = over_seeds(values)
    expected = stats.t.interval(0.95, len(values) - 1, loc=stats.tmean(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected, abs=1e-6)
    assert mean == pytest.approx(stats.tmean(values), abs=1e-9)


def test_one_seed_has_no_interval_and_none_is_refused():
    mean, low, high = over_seeds([93.5])
    assert mean == 93.5 and math.isnan(low) and math.isnan(high)
    with pytest.raises(ValueError, match="at least one"):
        over_seeds([])


def test_a_scores_interval_stays_within_0_and_100_and_a_loss_above_0():
    assert seed_interval([run((200, 0, 0, 0)), run((160, 0, 0, 0))]).high == 100
    assert seed_interval([run((0, 0, 0, 0)), run((9, 0, 0, 0))]).low == 0
    low, high = seed_interval([run() | {"english_loss": x} for x in (1.0, 300.0)], "English")[1:]
    assert low == 0 and high > 300


def test_select_finds_by_value_and_says_what_is_missing():
    recorded = [run(r=8), run(r=4), run(r=8, seed=1)]
    assert select(recorded, r=8, seed=1) == [recorded[2]]
    with pytest.raises(ValueError, match=r"experiments\.sweeps list"):
        select(recorded, r=16)
    with pytest.raises(ValueError, match="rank"):
        select(recorded, rank=8)


def test_by_sorts_and_takes_lists_as_keys():
    recorded = [run(targets=["v"], r=32), run(targets=["q", "v"], r=8)]
    assert list(by(recorded, "r")) == [8, 32]
    assert list(by(recorded, "targets")) == [("q", "v"), ("v",)]


def test_tuned_takes_the_best_mean_and_passes_over_rates_with_fewer_seeds():
    recorded = [run((exact, 0, 0, 0), seed, rate) for rate, scores in {
        1e-3: (170, 172), 2e-3: (180, 176), 4e-3: (199, 140), 8e-3: (200,)
    }.items() for seed, exact in enumerate(scores)]  # fmt: skip
    assert {r["run"]["learning_rate"] for r in tuned(recorded)} == {2e-3}
    assert len(tuned(recorded)) == 2


def test_paired_subtracts_seed_by_seed_whatever_their_order():
    first = [run((190, 0, 20, 10), seed=1), run((180, 0, 20, 10), seed=0)]
    second = [run((170, 0, 20, 10), seed=0), run((184, 0, 20, 10), seed=1)]
    assert records.paired(first, second) == over_seeds([5.0, 3.0])
    assert records.paired(first, second, "Test-C") == (0, 0, 0)


@pytest.mark.parametrize("seeds", [(0,), (0, 2), (0, 0), (0, 1, 1)])
def test_paired_refuses_what_has_no_partner(seeds):
    two = [run(seed=0), run(seed=1)]
    for pair in ((two, [run(seed=s) for s in seeds]), ([run(seed=s) for s in seeds], two)):
        with pytest.raises(ValueError, match="one run a seed"):
            records.paired(*pair)


def test_the_table_shows_rate_seeds_mean_and_interval():
    table = records.seed_table({"r = 8": [run(), run((190, 0, 20, 10), seed=1)], "one": [run()]}, ["Test-A", "English"])
    header, two, one = table.splitlines()
    assert header.split() == ["rate", "seeds", "Test-A", "English"]
    assert two.split() == ["r", "=", "8", "2.0e-03", "2", "92", "(61-100)", "4.00", "(4.00-4.00)"]
    assert one.split() == ["one", "2.0e-03", "1", "90", "4.00"]
    wide = records.seed_table({"wide": [run() | {"english_loss": x} for x in (8, 9, 12)]}, ["Test-A", "English"])
    assert wide.split()[-4:] == ["90", "(90-90)", "9.67", "(4.50-14.84)"], "wide cells stay apart"


# --- the records ----------------------------------------------------------------------------------------------------


def test_every_record_can_be_read(runs):
    for record in runs:
        assert record["english_tokens"] == 148
        if ":" in record["run"]["sweep"]:  # another task, with one test
            assert record["scores"]["A"]["n"] == 200 and math.isfinite(MEASURES["English"](record))
            continue
        assert {test: score["n"] for test, score in record["scores"].items()} == {
            "A": 200,
            "B": 200,
            "C": 210,
            "D": 146,
        }
        for name in ("Test-A", "Test-B", "Test-C", "Test-D", "English", "training loss", "peak memory"):
            assert math.isfinite(MEASURES[name](record))
        assert {score["n"] >= score["equivalent"] >= score["exact"] for score in record["scores"].values()} == {True}


def test_every_run_was_trained_to_its_end(runs):
    """A run that a signal cut short has fewer tokens than the others with the same data and epochs."""
    trained = {}
    for one in runs:
        trained.setdefault((one["data"], float(one["run"]["epochs"])), set()).add(one["trained_tokens"])
    assert [group for group, tokens in trained.items() if len(tokens) > 1] == []


def test_a_training_that_a_signal_ends_is_not_recorded(monkeypatch):
    for signum, recorded in ((0, True), (15, False)):
        history = History(interrupted=signum)
        monkeypatch.setattr("lorautils.training.train", lambda *_, history=history, **__: history)
        with nullcontext() if recorded else pytest.raises(KeyboardInterrupt, match="signal 15"):
            assert common.train(None, None, []) is history


def test_trainable_numbers_are_those_of_the_configuration(runs):
    for record in select(runs, method="LoRA"):
        run = record["run"]
        beyond = sum(name in ("embed_tokens", "lm_head") for name in run["targets"])
        layers = len(run.get("layers", range(30)))
        a_rank = PER_RANK[len(run["targets"]) - beyond] * layers / 30 + beyond * (49_152 + 576)
        assert record["trainable"] == run["r"] * a_rank
    assert {record["trainable"] for record in select(runs, method="full fine-tuning")} == {134_515_008}


def test_the_stable_rank_of_lora_is_at_most_r(runs):
    for record in (record for record in select(runs, method="LoRA") if record["update"]):
        assert 1 - 1e-6 <= record["update"]["stable_rank"] <= record["run"]["r"] + 1e-6


# --- what notebook 11 says ------------------------------------------------------------------------------------------


def test_11_section_5_an_adapter_of_its_own_forgot_less_english_for_the_second_task():
    own = [line for line in results.read("second_task.jsonl") if line["way"] == "new adapter"]
    change = over_seeds([line["after_second"]["english_loss"] - line["after_first"]["english_loss"] for line in own])
    assert change.mean == pytest.approx(-0.2, abs=0.05) and change.high < 0


def test_11_appendix_memory_hardly_moves_up_to_32_and_256_needs_more_than_full_fine_tuning(runs, ranks):
    peak = {r: MEASURES["peak memory"](group[0]) for r, group in ranks.items()}
    full = MEASURES["peak memory"](select(runs, sweep="full")[0])
    assert 0.68 < peak[8] / full < 0.75
    assert peak[32] / peak[1] < 1.1
    assert peak[256] > full


@pytest.fixture(scope="module")
def ways():
    """Exact answers in per cent and English loss, one a seed: ways[way]["cron", "after_first"] and so on."""
    found = {}
    for record in sorted(results.read("second_task.jsonl"), key=lambda record: record["seed"]):
        cell = found.setdefault(record["way"], {})
        for when in ("after_first", "after_second"):
            for task in ("cron", "orders"):
                share = 100 * record[when][task]["exact"] / record[when][task]["n"]
                cell.setdefault((task, when), []).append(share)
            cell.setdefault(("English", when), []).append(record[when]["english_loss"])
    return found


KEPT = "same adapter, a tenth of the first task kept"


def test_11_section_5_the_first_task_is_gone_in_three_ways_and_untouched_in_one(ways):
    for way in ("same adapter", "merged, then a new adapter", "full fine-tuning"):
        assert min(ways[way]["cron", "after_first"]) > 85
        assert ways[way]["cron", "after_second"] == [0] * 5
    assert ways["new adapter"]["cron", "after_second"] == ways["new adapter"]["cron", "after_first"]
    assert len({tuple(cell["cron", "after_first"]) for way, cell in ways.items() if way != "full fine-tuning"}) == 1
    assert 91 < over_seeds(ways["same adapter"]["cron", "after_first"]).mean < 94
    assert all(min(cell["orders", "after_second"]) >= 95 for cell in ways.values())


def test_11_section_5_replay_keeps_about_two_thirds_and_the_seed_decides_how_much(ways):
    mean, low, high = over_seeds(ways[KEPT]["cron", "after_second"])
    assert 0.6 < mean / over_seeds(ways[KEPT]["cron", "after_first"]).mean < 0.75
    assert low > 40 and high < over_seeds(ways["new adapter"]["cron", "after_second"]).low


def test_11_section_5_english_moves_by_a_fifth_of_a_nat_where_the_first_task_falls_to_zero(ways):
    moved = {
        way: [b - a for a, b in zip(cell["English", "after_first"], cell["English", "after_second"], strict=True)]
        for way, cell in ways.items()
    }
    found = records.compare(moved)
    assert all(0.1 <= abs(c.mean) < 0.25 and c.word != "seen" for c in found.values())


def test_11_section_5_the_figure_tells_each_way_before_and_after(ways):
    pairs = {w: list(zip(c["cron", "after_first"], c["cron", "after_second"], strict=True)) for w, c in ways.items()}
    axes = nb11.slopes(pairs, xlabel="way", ylabel="schedules, exact (%)")
    told = alt_text(axes.figure)
    plots.plt.close(axes.figure)
    assert "same adapter, before: 5 points from 94.5 to 87.5, lowest 87.5, highest 97" in told
    assert "same adapter, after: 5 points from 0 to 0" in told
    assert f"{KEPT}, after: 5 points from 56.5 to 65, lowest 45, highest 84" in told
