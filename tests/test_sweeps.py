"""The analysis of the sweeps: intervals over seeds, best rates, and what notebooks 09 to 11 say about the records.

test_experiments.py checks that each run is one of experiments/sweeps.py, made with today's data and pinned versions.
"""

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from experiments import records
from experiments.records import MEASURES, by, overlap, seed_interval, seed_intervals, select, tuned
from lorautils import plots, results
from lorautils.figures import nb11
from lorautils.figures.words import alt_text
from lorautils.results import over_seeds

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
    assert overlap(over_seeds([90.0]), high)  # one seed: no ends, so no difference is seen


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


def test_section_3_rank_1_at_4e_3_is_behind_although_the_intervals_overlap(ranks):
    fast, slow = (select(ranks[1], learning_rate=rate) for rate in (4e-3, 2e-3))
    assert records.paired(fast, slow).mean == pytest.approx(-13, abs=0.5)


def test_section_4_the_order_of_the_examples_may_matter_more_than_the_examples():
    on_gpus = [line for line in results.read("fused_run.jsonl") if line["machine"]["device"] != "CPU"]
    scores = {
        way: {line["seed"]: line["exact"] for line in on_gpus if line["way"] == way}
        for way in ("Trainer", "train()", "train(fused=True)")
    }
    other_order, plain, fused = ([of_seed[seed] for seed in range(20)] for of_seed in scores.values())
    assert stats.pearsonr(plain, fused).statistic == pytest.approx(0.58, abs=0.005)
    assert stats.pearsonr(plain, other_order).statistic == pytest.approx(-0.15, abs=0.005)


def test_section_5_half_of_a_lowest_rate_is_worse_and_a_repeated_run_may_differ(runs, ranks):
    doubled = by(select(runs, sweep="alpha", method="LoRA"), "r")
    for group in (ranks[8], ranks[32], ranks[128], doubled[32]):
        best = min(record["run"]["learning_rate"] for record in tuned(group))
        assert best == min(rate for rate, cell in by(group, "learning_rate").items() if len(cell) == 5)
        (half,) = select(group, learning_rate=best / 2)
        (same_seed,) = select(group, learning_rate=best, seed=half["run"]["seed"])
        assert 5.9 < MEASURES["Test-A"](same_seed) - MEASURES["Test-A"](half) < 15.1
    once, again = select(ranks[1], learning_rate=4e-3), select(runs, method="rsLoRA", r=1, learning_rate=4e-3)
    gaps = [
        abs(MEASURES["Test-A"](a) - MEASURES["Test-A"](b))
        for a in once
        for b in again
        if a["run"]["seed"] == b["run"]["seed"]
    ]
    assert sorted(gaps) == [0, 0, 0, 0, 7.5]


def test_section_6_at_equal_rates_the_mlp_forgets_less_and_the_others_are_alike(targets):
    seen = 0
    for rate in (2e-3, 4e-3):
        qv, mlp, attention, seven = (select(targets[number], learning_rate=rate) for number in (2, 3, 4, 7))
        more = [records.paired(other, mlp, "English") for other in (qv, attention, seven)]
        assert all(gap.mean > 0 for gap in more)
        seen += sum(gap.low > 0 for gap in more)
        for first, second in combinations((qv, attention, seven), 2):
            gap = records.paired(first, second, "English")
            assert gap.low < 0 < gap.high
    assert seen == 5


def test_section_8_dropout_has_three_of_24_pairs_all_on_test_c(runs):
    cells = by(select(runs, sweep="dropout"), "examples")
    cells = {examples: by(group, "dropout") for examples, group in cells.items()}
    cells[400][0.1] = select(runs, sweep="rank", r=8, learning_rate=2e-3)
    pairs = {
        (examples, dropout, test): records.paired(group, of_dropout[0], test)
        for examples, of_dropout in cells.items()
        for dropout, group in of_dropout.items()
        for test in ("Test-A", "Test-B", "Test-C", "Test-D")
        if dropout
    }
    ahead = {cell for cell, gap in pairs.items() if gap.low > 0}
    assert len(pairs) == 24 and not any(gap.high < 0 for gap in pairs.values())
    assert ahead == {(50, 0.05, "Test-C"), (50, 0.1, "Test-C"), (400, 0.05, "Test-C")}
    assert all(0.9 < pairs[cell].mean < 2 for cell in ahead)


def test_11_section_5_an_adapter_of_its_own_forgot_less_english_for_the_second_task():
    own = [line for line in results.read("second_task.jsonl") if line["way"] == "new adapter"]
    change = over_seeds([line["after_second"]["english_loss"] - line["after_first"]["english_loss"] for line in own])
    assert change.mean == pytest.approx(-0.2, abs=0.05) and change.high < 0


def test_section_4_the_update_uses_one_or_two_directions(ranks):
    stable = {r: seed_interval(tuned(group), "stable rank").mean for r, group in ranks.items()}
    assert all(1 <= value < 2 for value in stable.values())
    assert stable[256] < stable[4]
    norms = [seed_interval(select(group, learning_rate=2e-3), "norm").mean for group in ranks.values()]
    assert all(larger > smaller for larger, smaller in pairwise(norms))


@pytest.fixture(scope="module")
def rules(runs, ranks):
    return {
        "alpha = 32": {r: ranks[r] for r in (1, 8, 32, 128)},
        "rsLoRA": by(select(runs, method="rsLoRA"), "r"),
        "alpha = 2 r": by(select(runs, sweep="alpha", method="LoRA"), "r"),
    }


def best_rates(group) -> tuple[float, list[float]]:
    """The best rate, and those with five seeds that are not told apart from it, seed by seed."""
    top, rates = tuned(group), by(group, "learning_rate")
    same = [rate for rate, cell in rates.items() if len(cell) == 5 and paired(top, cell).low <= 0]
    return top[0]["run"]["learning_rate"], same


def test_section_5_the_best_rate_stays_with_one_rule_and_falls_with_two(rules):
    found = {rule: {r: best_rates(group) for r, group in cells.items()} for rule, cells in rules.items()}
    assert {rule: [best for best, _ in cells.values()] for rule, cells in found.items()} == {
        "alpha = 32": [2e-3, 2e-3, 2e-3, 2e-3],
        "rsLoRA": [2e-3, 1e-3, 1e-3, 5e-4],
        "alpha = 2 r": [8e-3, 4e-3, 1e-3, 1e-3],
    }
    for rule in ("rsLoRA", "alpha = 2 r"):
        assert min(found[rule][1][1]) > max(found[rule][128][1]), "the bars of r = 1 and r = 128 share no rate"
    scaling = {"alpha = 32": lambda r: 32 / r, "rsLoRA": lambda r: 32 / r**0.5, "alpha = 2 r": lambda r: 2}
    for rule, cells in found.items():
        for r, (_, same) in cells.items():
            assert min(same) <= 2e-3 * (32 / r / scaling[rule](r)) ** 0.5 <= max(same)


def test_section_5_one_best_rate_is_the_highest_with_five_seeds_and_the_single_run_above_is_no_worse(rules):
    rates = by(rules["alpha = 2 r"][8], "learning_rate")
    assert max(rate for rate, group in rates.items() if len(group) == 5) == 4e-3
    assert of_seeds(rates[8e-3])[0] >= of_seeds(rates[4e-3])[0] and len(rates[8e-3]) == 1


def test_section_5_no_rule_scores_better_up_to_32_and_at_128_there_is_a_hint(rules):
    apart = {
        (test, rule, r): round(gap.mean)
        for test in ("Test-A", "Test-C")
        for rule in ("rsLoRA", "alpha = 2 r")
        for r, group in rules[rule].items()
        if (gap := paired(tuned(group), tuned(rules["alpha = 32"][r]), test)).low > 0 or gap.high < 0
    }
    assert apart == {
        ("Test-A", "rsLoRA", 128): 8,
        ("Test-C", "rsLoRA", 128): 3,
        ("Test-C", "alpha = 2 r", 128): 4,
        ("Test-C", "alpha = 2 r", 1): -1,
    }
    against_8 = paired(tuned(rules["rsLoRA"][128]), tuned(rules["alpha = 32"][8]))
    assert against_8.low < 0 < against_8.high


def test_section_5_at_rank_1_rslora_is_alpha_32_on_the_other_gpu(rules):
    one, other = (tuned(rules[rule][1]) for rule in ("rsLoRA", "alpha = 32"))
    assert sorted(record["machine"]["device"][:11] for record in one) == ["NVIDIA H100"] + 4 * ["NVIDIA H200"]
    first, second = of_seeds(one), of_seeds(other)
    assert sorted(abs(first[seed] - second[seed]) for seed in first) == [0, 0, 0, 0, 0.5]


def test_section_5_with_alpha_2_r_the_best_rate_of_rank_1_breaks_rank_128(rules):
    doubled = rules["alpha = 2 r"]
    low, high = ({r: seed_interval(select(g, learning_rate=x)) for r, g in doubled.items()} for x in (1e-3, 8e-3))
    assert low[8].high < low[128].low and low[1].mean < 50
    assert high[1].low > 70 and high[32].mean == high[128].mean == 0


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


@pytest.fixture(scope="module")
def batches(runs, ranks):
    return dict(sorted((by(select(runs, sweep="batch"), "batch_size") | {8: ranks[8]}).items()))


def test_section_9_at_equal_tokens_small_batches_win_and_no_rate_makes_up_for_steps(batches, ranks, sizes):
    best = {size: tuned(group) for size, group in batches.items()}
    assert list(best) == [2, 4, 8, 16, 32]
    assert {len(group) for group in best.values()} == {5}
    assert len({record["trained_tokens"] for group in best.values() for record in select(group, seed=0)}) == 1
    scores = seed_intervals(best)
    assert [round(scores[size].mean) for size in best] == [99, 98, 92, 72, 36]
    for test in ("Test-A", "Test-C"):
        assert paired(best[4], best[8], test).low > 0 and paired(best[16], best[8], test).high < 0
        assert paired(best[32], best[16], test).high < 0
    assert paired(best[2], best[4]).low < 0 < paired(best[2], best[4]).high
    assert max(seed_interval(select(group, learning_rate=8e-3)).mean for group in batches.values()) < 30
    rates = {size: group[0]["run"]["learning_rate"] for size, group in best.items()}
    assert rates == {2: 1e-3, 4: 2e-3, 8: 2e-3, 16: 4e-3, 32: 2e-3}
    peaks = [seed_interval(group, "peak memory") for group in best.values()]
    assert all(small.high < large.low for small, large in pairwise(peaks))


def test_section_9_at_equal_steps_the_larger_batch_has_the_higher_score(batches, sizes):
    for size, n in ((32, 100), (16, 200)):
        assert -(-400 // size) == -(-n // 8), "as many steps"
        assert seed_interval(sizes[n]).high < seed_interval(tuned(batches[size])).low


def test_section_9_no_start_is_ahead_and_all_lose_more_english(runs, ranks):
    starts, plain = by(select(runs, sweep="inits"), "method"), tuned(ranks[8])
    assert set(starts) == {"gaussian", "orthogonal", "EVA", "OLoRA", "LoRA+"}
    gaps = {name: paired(tuned(group), plain) for name, group in starts.items()}
    assert {name for name, gap in gaps.items() if gap.low <= 0 <= gap.high} == {"gaussian", "orthogonal", "LoRA+"}
    assert round(gaps["EVA"].mean) == -5 and gaps["EVA"].high < 0 and gaps["OLoRA"].mean < -70
    assert all(paired(tuned(group), plain, "English").low > 0 for group in starts.values())
    assert tuned(starts["OLoRA"])[0]["run"]["learning_rate"] == max(by(starts["OLoRA"], "learning_rate"))


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


def test_the_answer_about_pairs_of_seeds(ranks):
    apart = {}
    for test in ("Test-A", "Test-C", "Test-D"):
        gaps = {r: paired(tuned(group), tuned(ranks[8]), test) for r, group in ranks.items() if r != 8}
        apart[test] = {r: round(gap.mean) for r, gap in gaps.items() if gap.low > 0 or gap.high < 0}
    assert apart == {"Test-A": {256: -3}, "Test-C": {}, "Test-D": {4: 2, 256: 2}}
