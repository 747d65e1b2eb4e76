"""The analysis of the sweeps: intervals over seeds, best rates, and what notebook 09 says about the recorded runs.

test_experiments.py checks that each run is one of experiments/sweeps.py, made with today's data and pinned versions.
"""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from lorautils import plots, results
from lorautils.results import MEASURES, by, over_seeds, overlap, seed_interval, seed_intervals, select, tuned

PER_RANK = {2: 57_600, 4: 115_200, 3: 190_080, 7: 305_280}  # adapter numbers a unit of rank, by number of targets


@pytest.fixture(scope="module")
def runs():
    return results.read("sweeps.jsonl")


@pytest.fixture(scope="module")
def ranks(runs):
    return by(select(runs, sweep="rank"), "r")


@pytest.fixture(scope="module")
def targets(runs):
    return {len(names): group for names, group in by(select(runs, sweep="targets"), "targets").items()}


def run(exact=(180, 0, 20, 10), seed=0, rate=2e-3, **configuration):
    counts = zip("ABCD", exact, (200, 200, 210, 146), strict=True)
    scores = {test: {"n": n, "exact": successes} for test, successes, n in counts}
    return {"run": {"seed": seed, "learning_rate": rate, **configuration}, "scores": scores, "english_loss": 4.0}


def of_seeds(group, measure="Test-A") -> dict[int, float]:
    return {record["run"]["seed"]: MEASURES[measure](record) for record in group}


def paired(group, other, measure="Test-A"):
    """The interval of the differences, seed by seed."""
    first, second = of_seeds(group, measure), of_seeds(other, measure)
    return over_seeds([first[seed] - second[seed] for seed in first])


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
    with pytest.raises(ValueError, match="one value a seed"):
        over_seeds([])


def test_a_scores_interval_stays_within_0_and_100_and_a_loss_above_0():
    assert seed_interval([run((200, 0, 0, 0)), run((160, 0, 0, 0))]).high == 100
    assert seed_interval([run((0, 0, 0, 0)), run((9, 0, 0, 0))]).low == 0
    low, high = seed_interval([run() | {"english_loss": x} for x in (1.0, 300.0)], "English")[1:]
    assert low == 0 and high > 300


def test_select_finds_by_value_and_says_what_is_missing():
    recorded = [run(r=8), run(r=4), run(r=8, seed=1)]
    assert select(recorded, r=8, seed=1) == [recorded[2]]
    with pytest.raises(ValueError, match=r"sweeps\.py list"):
        select(recorded, r=16)


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


def test_intervals_overlap_where_they_share_a_value():
    low, middle, high = (results.Interval(m, m - 1, m + 1) for m in (1, 2.5, 5))
    assert overlap(low, middle) and overlap(middle, low)
    assert not overlap(low, high) and not overlap(high, low)


def test_the_table_shows_rate_seeds_mean_and_interval():
    table = results.seed_table({"r = 8": [run(), run((190, 0, 20, 10), seed=1)], "one": [run()]}, ["Test-A", "English"])
    header, two, one = table.splitlines()
    assert header.split() == ["rate", "seeds", "Test-A", "English"]
    assert two.split() == ["r", "=", "8", "2.0e-03", "2", "92", "(61-100)", "4.00", "(4.00-4.00)"]
    assert one.split() == ["one", "2.0e-03", "1", "90", "4.00"]


# --- the records ----------------------------------------------------------------------------------------------------


def test_every_record_can_be_read(runs):
    for record in runs:
        assert record["english_tokens"] == 148
        assert {test: score["n"] for test, score in record["scores"].items()} == {
            "A": 200,
            "B": 200,
            "C": 210,
            "D": 146,
        }
        for name in ("Test-A", "Test-B", "Test-C", "Test-D", "English", "training loss", "peak memory"):
            assert math.isfinite(MEASURES[name](record))
        assert {score["n"] >= score["equivalent"] >= score["exact"] for score in record["scores"].values()} == {True}


def test_trainable_numbers_are_those_of_the_configuration(runs):
    for record in select(runs, method="LoRA"):
        r, names = record["run"]["r"], record["run"]["targets"]
        assert record["trainable"] == r * PER_RANK[len(names)]
    assert {record["trainable"] for record in select(runs, method="full fine-tuning")} == {134_515_008}


def test_the_stable_rank_of_lora_is_at_most_r(runs):
    for record in (record for record in select(runs, method="LoRA") if record["update"]):
        assert 1 - 1e-6 <= record["update"]["stable_rank"] <= record["run"]["r"] + 1e-6


def test_the_best_rate_of_every_cell_has_five_seeds_and_those_of_full_fine_tuning_three(runs, ranks, targets):
    for group in [*ranks.values(), *targets.values()]:
        assert sorted(record["run"]["seed"] for record in tuned(group)) == [0, 1, 2, 3, 4]
    assert sorted(record["run"]["seed"] for record in tuned(select(runs, sweep="full"))) == [0, 1, 2]


# --- what notebook 09 says ------------------------------------------------------------------------------------------


def test_section_2_one_seed_is_ten_points_wide_and_the_winner_falls(ranks, targets):
    five = [MEASURES["Test-A"](record) for record in select(ranks[8], learning_rate=2e-3)]
    assert 8 <= max(five) - min(five) <= 12
    falls = []  # with each seed as the one that chooses the rate
    for group in [*ranks.values(), *targets.values()]:
        rates = [of_seeds(cell) for cell in by(group, "learning_rate").values() if len(cell) == 5]
        for seed in range(5):
            best = max(rates, key=lambda scores: scores[seed])
            falls.append(best[seed] - sum(score for other, score in best.items() if other != seed) / 4)
    assert 2 < sum(falls) / len(falls) < 3.5


def test_section_3_one_range_of_rates_serves_all_ranks(ranks):
    for group in ranks.values():
        scores = seed_intervals(by(group, "learning_rate"))
        assert {tuned(group)[0]["run"]["learning_rate"]} <= {2e-3, 4e-3}
        assert scores[2.5e-4].mean < scores[5e-4].mean < scores[1e-3].mean
        assert overlap(scores[2e-3], scores[4e-3])
        assert scores[8e-3].mean < 25


def test_section_3_the_rate_of_full_fine_tuning_is_5_to_40_times_smaller(runs):
    rates = by(select(runs, sweep="full"), "learning_rate")
    top = seed_interval(tuned(select(runs, sweep="full")))
    equal = [rate for rate, group in rates.items() if len(group) > 1 and overlap(seed_interval(group), top)]
    assert equal == [1e-4, 2e-4, 4e-4]
    assert MEASURES["Test-A"](rates[2.5e-5][0]) < 60


def test_section_3_the_shared_rate_turns_the_order_of_the_ranks_round(ranks):
    low, high = ([seed_interval(select(g, learning_rate=rate)).mean for g in ranks.values()] for rate in (2.5e-4, 8e-3))
    assert low[0] == max(low) and low[-1] == min(low)
    assert max(high[:3]) < min(high[3:])


def test_section_4_no_rank_differs_from_8_where_intervals_are_compared(ranks):
    for test in ("Test-A", "Test-C", "Test-D"):
        eight = seed_interval(tuned(ranks[8]), test)
        assert all(overlap(seed_interval(tuned(group), test), eight) for group in ranks.values())


def test_section_4_seed_1_is_the_best_and_seed_4_the_worst_at_every_rank(ranks):
    for group in ranks.values():
        seeds = {s: MEASURES["Test-A"](g[0]) for s, g in by(select(group, learning_rate=2e-3), "seed").items()}
        assert max(seeds, key=seeds.get) == 1 and min(seeds, key=seeds.get) == 4


def test_section_4_the_update_uses_one_or_two_directions(ranks):
    stable = {r: seed_interval(tuned(group), "stable rank").mean for r, group in ranks.items()}
    assert all(1 <= value < 2 for value in stable.values())
    assert stable[256] < stable[4]
    norms = [seed_interval(select(group, learning_rate=2e-3), "norm").mean for group in ranks.values()]
    assert all(larger > smaller for larger, smaller in pairwise(norms))


def test_section_5_alpha_moves_the_hill_and_rslora_is_not_told_apart(runs, ranks):
    stable, doubled = select(runs, sweep="methods", method="rsLoRA"), select(runs, sweep="alpha", method="LoRA")
    assert overlap(seed_interval(tuned(stable)), seed_interval(tuned(ranks[8])))
    assert tuned(stable)[0]["run"]["learning_rate"] == 1e-3 and len(tuned(stable)) == 5
    hills = [select(doubled, r=8), ranks[8], stable]  # scaling 2, 4, 11.3
    begin, end = ([seed_interval(select(h, learning_rate=x)).mean for h in hills] for x in (5e-4, 4e-3))
    assert begin[0] < begin[1] < begin[2]
    assert end[2] < 50 < min(end[:2])
    assert (
        seed_interval(select(hills[0], learning_rate=8e-3)).mean
        > 50
        > seed_interval(select(ranks[8], learning_rate=8e-3)).mean
    )


def test_section_5_with_alpha_2_r_rank_128_breaks_at_rates_at_which_rank_8_works(runs):
    """The two grids with alpha = 2 r that the notebook draws are complete, with one seed."""
    for r, peaks in ((8, [2e-3, 8e-3]), (128, [1e-3])):
        grid = by(select(runs, sweep="alpha", method="LoRA", r=r), "learning_rate")
        assert list(grid) == [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2]
        scores = {rate: seed_interval(group).mean for rate, group in grid.items()}
        assert [rate for rate, score in scores.items() if score == max(scores.values())] == peaks
        assert (min(scores[4e-3], scores[8e-3]) > 70) if r == 8 else (scores[4e-3] == scores[8e-3] == 0)


def test_section_6_q_and_v_alone_are_worse_at_equal_budget_and_the_others_are_not_told_apart(targets):
    best = {n: tuned(group) for n, group in targets.items()}
    budgets = [group[0]["trainable"] for group in best.values()]
    assert max(budgets) / min(budgets) < 1.04
    scores = seed_intervals(best)
    assert all(scores[2].high < scores[n].low for n in (3, 4, 7))
    assert overlap(scores[4], scores[7]) and overlap(scores[3], scores[7]) and overlap(scores[3], scores[4])
    assert paired(best[3], best[4]).low > 0 and paired(best[7], best[4]).low > 0, "attention is behind, seed by seed"
    assert paired(best[3], best[7]).low < 0 < paired(best[3], best[7]).high
    english = seed_intervals(best, "English")
    assert english[3].high < english[2].low and english[3].high < english[4].low and overlap(english[3], english[7])


@pytest.fixture(scope="module")
def sizes(runs):
    return by(select(runs, sweep="examples"), "examples")


def test_section_7_a_is_solved_with_800_examples_and_the_others_rise_to_the_end(sizes, ranks):
    sizes = dict(sorted((sizes | {400: select(ranks[8], learning_rate=2e-3)}).items()))
    assert list(sizes) == [25, 50, 100, 200, 400, 800, 1600, 3200]
    assert seed_interval(sizes[800]).low > 98
    for test in ("Test-B", "Test-C", "Test-D"):
        means = [seed_interval(group, test).mean for group in sizes.values()]
        assert means[4] < 10 and all(a < b for a, b in pairwise(means[3:]))
    assert 80 < seed_interval(sizes[3200], "Test-B").mean < 95
    for test in ("Test-C", "Test-D"):
        assert 45 < seed_interval(sizes[3200], test).mean < 55
    english = {n: seed_interval(sizes[n], "English") for n in (25, 400, 3200)}
    assert english[25].high < english[400].low and english[400].high < english[3200].low
    assert overlap(english[3200], seed_interval(select(ranks[8], learning_rate=4e-3), "English"))


def test_section_7_the_readers_run_at_4e_3_lies_above_the_recorded_interval(sizes):
    """On a CPU it gives 1.08 nats, with 60 questions as with 200; seed 0 at 2e-3 repeats the record."""
    assert seed_interval(sizes[50], "held-out loss").high < 1.0
    repeated = MEASURES["held-out loss"](select(sizes[50], seed=0)[0])
    assert repeated == pytest.approx(0.795, abs=0.03)


def test_section_7_more_steps_help_and_more_examples_help_more(runs, sizes, ranks):
    again = seed_interval(select(runs, sweep="dropout", examples=50, dropout=0.1))
    assert seed_interval(sizes[50]).high < again.low
    assert again.high < seed_interval(select(ranks[8], learning_rate=2e-3)).low


def test_section_8_over_fitting_shows_and_dropout_changes_nothing(runs, ranks):
    for n in (50, 400):
        cells = by(select(runs, sweep="dropout", examples=n), "dropout")
        if n == 400:  # dropout 0.1 is the setting of r = 8 at 2e-3: recorded in two sweeps, and the same to the digit
            twins = by(select(ranks[8], learning_rate=2e-3), "seed")
            for seed, (again,) in by(cells[0.1], "seed").items():
                assert again["scores"] == twins[seed][0]["scores"]
                assert again["english_loss"] == twins[seed][0]["english_loss"]
        assert list(cells) == [0.0, 0.05, 0.1, 0.3] and {len(group) for group in cells.values()} == {5}
        for measure in ("Test-A", "Test-C", "held-out loss"):
            none = seed_interval(cells[0.0], measure)
            assert all(overlap(seed_interval(group, measure), none) for group in cells.values())
        for group in cells.values():
            held_out, training = (seed_interval(group, measure).mean for measure in ("held-out loss", "training loss"))
            assert (training < 0.01 and held_out > 0.4) if n == 50 else held_out < training


def test_section_9_learning_less_is_a_hint_and_forgetting_follows_the_rate(runs, ranks, targets):
    full, lora, mlp = (by(g, "learning_rate") for g in (select(runs, sweep="full"), ranks[8], targets[3]))
    rows = [full[2e-4], full[4e-4], lora[2e-3], lora[4e-3], mlp[2e-3], mlp[4e-3]]
    for measure, equal in {"Test-A": True, "English": False}.items():
        found = [seed_interval(row, measure) for row in rows]
        assert all(overlap(a, b) for a in found[:2] for b in found[2:]) is equal
    assert seed_interval(lora[2e-3], "Test-C").high < seed_interval(full[4e-4], "Test-C").low
    assert overlap(seed_interval(mlp[2e-3], "Test-C"), seed_interval(full[4e-4], "Test-C"))
    english = {name: seed_interval(row, "English") for name, row in zip("abcd", [full[1e-4], *rows[:3]], strict=True)}
    assert english["a"].high < min(seed_interval(row, "English").low for row in rows[2:])
    assert english["d"].high < english["c"].low


def test_section_9_memory_hardly_moves_up_to_32_and_256_needs_more_than_full_fine_tuning(runs, ranks):
    peak = {r: MEASURES["peak memory"](group[0]) for r, group in ranks.items()}
    full = MEASURES["peak memory"](select(runs, sweep="full")[0])
    assert 0.68 < peak[8] / full < 0.75
    assert peak[32] / peak[1] < 1.1
    assert peak[256] > full


def test_section_9_the_update_of_full_fine_tuning_is_spread_wider():
    for record in (record for record in results.read("full_update.jsonl") if record["kind"] == "full"):
        assert 0.14 < record["energy"]["1"] < 0.2 and 0.5 < record["energy"]["8"] < 0.6


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


def test_section_10_the_first_task_is_gone_in_three_ways_and_untouched_in_one(ways):
    for way in ("same adapter", "merged, then a new adapter", "full fine-tuning"):
        assert min(ways[way]["cron", "after_first"]) > 85
        assert ways[way]["cron", "after_second"] == [0] * 5
    assert ways["new adapter"]["cron", "after_second"] == ways["new adapter"]["cron", "after_first"]
    assert len({tuple(cell["cron", "after_first"]) for way, cell in ways.items() if way != "full fine-tuning"}) == 1
    assert 91 < over_seeds(ways["same adapter"]["cron", "after_first"]).mean < 94
    assert all(min(cell["orders", "after_second"]) >= 95 for cell in ways.values())


def test_section_10_replay_keeps_about_two_thirds_and_the_seed_decides_how_much(ways):
    mean, low, high = over_seeds(ways[KEPT]["cron", "after_second"])
    assert 0.6 < mean / over_seeds(ways[KEPT]["cron", "after_first"]).mean < 0.75
    assert low > 40 and high < over_seeds(ways["new adapter"]["cron", "after_second"]).low


def test_section_10_english_moves_by_a_fifth_of_a_nat_and_only_full_fine_tuning_shows_a_difference(ways):
    for way, cell in ways.items():
        first, second = (over_seeds(cell["English", when]) for when in ("after_first", "after_second"))
        assert abs(second.mean - first.mean) < 0.25
        assert overlap(first, second) is (way != "full fine-tuning")


def test_section_10_the_figure_tells_each_way_before_and_after(ways):
    pairs = {w: list(zip(c["cron", "after_first"], c["cron", "after_second"], strict=True)) for w, c in ways.items()}
    axes = plots.slopes(pairs, xlabel="way", ylabel="schedules, exact (%)")
    told = plots.alt_text(axes.figure)
    plots.plt.close(axes.figure)
    assert "same adapter, before: 5 points from 94.5 to 87.5, lowest 87.5, highest 97" in told
    assert "same adapter, after: 5 points from 0 to 0" in told
    assert f"{KEPT}, after: 5 points from 56.5 to 65, lowest 45, highest 84" in told


def test_the_answer_about_pairs_of_seeds(ranks):
    apart = {}
    for test in ("Test-A", "Test-C", "Test-D"):
        gaps = {r: paired(tuned(group), tuned(ranks[8]), test) for r, group in ranks.items() if r != 8}
        apart[test] = {r: round(gap.mean) for r, gap in gaps.items() if gap.low > 0 or gap.high < 0}
    assert apart == {"Test-A": {256: -3}, "Test-C": {}, "Test-D": {4: 2, 256: 2}}


def test_vera_is_behind_lora_seed_by_seed_and_three_methods_are_not(runs, ranks):
    lora = select(ranks[8], learning_rate=2e-3)
    gaps = {
        name: paired(tuned(select(runs, sweep="methods", method=name)), lora) for name in ("rsLoRA", "DoRA", "VeRA")
    }
    assert gaps["VeRA"].high < 0
    assert all(gaps[name].low < 0 < gaps[name].high for name in ("rsLoRA", "DoRA"))
