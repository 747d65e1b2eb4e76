"""Notebook 09: its page to copy and its prose say what the records say, and its drawing can be read."""

import re

import nbformat
import numpy as np
import pytest

from experiments import knobs, records
from lorautils import ROOT, plots, results
from lorautils.figures import nb09 as figures
from lorautils.figures.words import alt_text

DRAWINGS = {"knobs": figures.knobs}
NOTEBOOK = nbformat.read(ROOT / "notebooks" / "09_lora_knobs.ipynb", as_version=4)
CELLS = {cell.id: cell.source for cell in NOTEBOOK.cells}


@pytest.fixture(scope="module")
def runs():
    return results.read("sweeps.jsonl")


@pytest.fixture(scope="module")
def page(runs):
    return knobs.page(runs)


@pytest.fixture(scope="module")
def ranks(runs):
    return knobs.ranks(runs)


def scores(group, measure="Test-A") -> list[float]:
    return [records.MEASURES[measure](run) for run in group]


# --- the page to copy -----------------------------------------------------------------------------------------------

ROWS = {  # the line of the page, and the comparison that it quotes
    "rate": "half the best rate",
    "examples": "1,600 examples, equal steps",
    "epochs": "400 examples 12 times, not 3",
    "batch": "batches of 32, equal steps",
    "targets": "all seven, not q, v",
    "r": "r = 128, not 8",
    "alpha": "alpha = 2 r, at r = 8",
    "dropout": "dropout 0.1 on 50 examples",
    "start": "LoRA+",
    "LoRA at all": "full fine-tuning, not LoRA",
}
QUOTED = re.compile(r"([AC]) ([+-][\d.]+) \(([+-][\d.]+) to ([+-][\d.]+)\), (not seen|seen|hint)")


def line(knob: str) -> list[str]:
    (row,) = re.findall(rf"^\| \*\*{knob}\*\* \|.+$", CELLS["page-table"].replace("−", "-"), re.MULTILINE)
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("knob", ROWS)
def test_each_line_of_the_page_quotes_its_record(page, knob):
    test, *numbers, word = QUOTED.search(line(knob)[2]).groups()
    found = page[f"Test-{test}"][ROWS[knob]]
    assert list(map(float, numbers)) == pytest.approx(found[:3], abs=0.051) and word == found.word
    power = re.findall(r"not seen: (\d+) would be", line(knob)[2])
    assert power == ([f"{found.smallest:.0f}"] if word == "not seen" else [])


def test_the_page_has_no_other_line():
    assert CELLS["page-table"].count("\n| **") == len(ROWS)


def held(runs, rule: str) -> str:
    words = [records.direction(records.compare(knobs.transfer(runs, task))[rule]) for task in knobs.TASKS]
    return f"{words.count('seen')} of {len(words)}"


def test_the_page_counts_the_tasks_on_which_a_rule_held(runs, page):
    assert line("rate")[4] == held(runs, "LoRA's best rate is above full fine-tuning's") + ": above full fine-tuning's"
    assert line("targets")[4] == held(runs, "all seven are ahead of q, v")
    assert line("r")[4] == held(runs, "r = 8 is ahead of r = 128") + ", five runs each"
    assert line("batch")[4] == held(runs, "batches of 32 are ahead of 8, equal steps")
    for knob in set(ROWS) - {"rate", "targets", "r", "batch"}:  # asked of cron alone
        assert line(knob)[4] == f"{int(line(knob)[2].endswith(', seen'))} of 1"


# --- the rule of inference ------------------------------------------------------------------------------------------


def test_the_noise_of_a_comparison_is_where_it_turns_into_seen():
    family = {
        "clear": [9.0, 10.0, 11.0, 10.0, 8.0],
        "near": [1.0, 2.0, 6.0, 3.0, 2.0],
        "none": [-1.0, 1.0, 0.5, -2.0, 2],
    }
    for found in records.compare(family).values():
        assert (abs(found.mean) > found.noise) == (found.word == "seen")


def test_told_names_what_would_have_been_seen_beside_a_null_only():
    seen, null = records.told(
        records.compare({"a": [9.0, 10.0, 11.0, 10.0, 8.0], "b": [-1.0, 1.0, 0.5, -2.0, 2.0]})
    ).splitlines()[1:]
    assert seen.endswith("seen") and "from" not in seen
    assert re.search(r"not seen; would be seen from \d+\.\d$", null)


@pytest.mark.parametrize("asks", [ask for _, ask, _ in knobs.HEADLINES], ids=lambda ask: ask.__name__)
def test_a_verdict_says_what_compare_says(runs, asks):
    for name, found in records.compare(records.family(asks(runs), *knobs.TESTS)).items():
        verdict = results.verdict(name, found.mean, control=0, noise=found.noise, yes="a", no="b")
        assert (verdict.outcome != "cannot tell") == (found.word == "seen"), name


def test_shares_of_variance_find_what_was_put_in():
    generator = np.random.default_rng(0)
    rows, columns = generator.normal(0, 3, (40, 1)), generator.normal(0, 1, (1, 40))
    found = knobs.shares(rows + columns + generator.normal(0, 1, (40, 40)))
    assert found == pytest.approx((9 / 11, 1 / 11, 1 / 11), abs=0.12) and sum(found) == pytest.approx(1)


def test_scatter_tells_rows_that_differ_from_rows_that_do_not():
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 1, (5, 5))
    for rows, tells in ((np.zeros((5, 1)), False), (generator.normal(0, 5, (5, 1)), True)):
        scatter, median, luck = knobs.scatter(rows + noise)
        assert median < luck and (scatter > luck) == tells


def test_apart_compares_within_rows_and_across():
    assert knobs.apart(np.array([[0.0, 1.0], [10.0, 11.0]])) == (1.0, 10.0)


def test_matched_runs_share_their_seed_and_nearly_their_score():
    def run(method, seed, exact, prose):
        configuration = {"sweep": "rank", "method": method, "r": 8, "seed": seed, "learning_rate": 1e-3}
        scored = {"A": {"n": 200, "exact": exact}}
        return {"run": configuration, "scores": scored, "text_losses": {"prose": prose}}

    full = "full fine-tuning"
    pairs = [run("LoRA", 0, 190, 4.0), run(full, 0, 188, 3.5), run("LoRA", 0, 180, 9.0), run(full, 1, 190, 3.0)]
    weak = [run("LoRA", 2, 100, 4.0), run(full, 2, 100, 3.0)]
    assert knobs.matched(pairs + weak, "prose") == [0.5]


# --- what the prose says --------------------------------------------------------------------------------------------


def test_section_2_five_seeds_span_ten_points_and_twenty_see_what_five_cannot(runs, ranks):
    five = scores(records.select(ranks[8], learning_rate=2e-3))
    assert 8 <= max(five) - min(five) < 10
    twenty = records.by(records.select(runs, sweep="twenty seeds", method="LoRA"), "r")
    assert (min(scores(twenty[8])), max(scores(twenty[8]))) == (77, 97.5) and max(scores(twenty[1])) > 96
    for cell in ("read-twenty-scores", "questions"):
        assert "between 77 and 98" in CELLS[cell]
    for seeds, word in ((5, "not seen"), (20, "seen")):
        few = {r: [run for run in cell if run["run"]["seed"] < seeds] for r, cell in twenty.items()}
        pairs = knobs.against({r: few[r] for r in (1, 128)}, "8", few[8])
        assert {c.word for c in records.compare(records.family(pairs, "Test-A")).values()} == {word}


def test_section_2_data_and_order_move_the_score_together_and_rounding_does_not(runs):
    table = knobs.chances(runs)
    data, order, meeting = knobs.shares(table)
    assert meeting > data + order and order < 0.02 and 0.25 < data < 0.35
    for by_seed in (table, table.T):
        scatter, _, luck = knobs.scatter(by_seed)
        assert scatter < luck
    once, again = (records.select(runs, sweep=f"rounding, {which}") for which in ("once", "again"))
    assert records.differences(once, again) == records.differences(once, again, "English") == [0] * 5
    assert sorted(np.diagonal(table)) == sorted(scores(once))


def test_sections_3_to_6_every_best_rate_lies_between_others_with_five_seeds(runs, ranks):
    targets = records.by(records.select(runs, sweep="targets"), "targets").values()
    rules = (group for cells in knobs.rules(runs).values() for group in cells.values())
    for group in [*ranks.values(), knobs.full(runs), *targets, *rules]:
        cells = records.by(group, "learning_rate")
        at = list(cells).index(records.tuned(group)[0]["run"]["learning_rate"])
        assert [len(cell) for cell in list(cells.values())[at - 1 : at + 2]] == [5, 5, 5]


def test_section_3_one_hill_with_a_cliff_and_full_fine_tuning_ten_times_lower(runs, ranks):
    for group in ranks.values():
        means = {rate: found.mean for rate, found in records.seed_intervals(records.by(group, "learning_rate")).items()}
        assert means[2.5e-4] < means[5e-4] < means[1e-3] < means[2e-3] and means[8e-3] < 20
    times = 2 ** np.mean(knobs.ratio(ranks[8], knobs.full(runs)))
    assert round(times) == 10
    found = records.compare(knobs.transfer(runs, "cron"))["LoRA's best rate is above full fine-tuning's"]
    assert 2**found.low > 5 and 2**found.high < 20


def test_section_4_over_twenty_seeds_r_1_and_r_128_are_behind_and_full_fine_tuning_ahead_on_peoples_words(runs):
    found = records.compare(records.family(knobs.twenty_seeds(runs), *knobs.TESTS))
    assert {name for name, c in found.items() if c.word == "seen"} == {
        "r = 1 minus r = 8, Test-A",
        "r = 128 minus r = 8, Test-A",
        "r = 128 minus r = 8, Test-C",
        "full at 0.0002 minus r = 8, Test-C",
    }
    assert found["full at 0.0002 minus r = 8, Test-A"].word == "hint"
    behind = -found["r = 128 minus r = 8, Test-C"].mean
    assert f"r = 128 is {behind:.1f} points behind; of r = 1 that was not seen" in CELLS["read-rank-verdict"]
    lost = -found["r = 1 minus r = 8, Test-A"].mean
    assert round(lost) == 6 and "r = 1 loses only six points" in CELLS["read-stable-rank"]


def test_section_4_small_ranks_are_behind_where_the_pairs_are_too_many_and_nowhere_else(runs):
    losses = knobs.capacity(runs, "training loss")
    assert max(max(cell) for n in (200, 800) for cell in losses[n].values()) < 0.002
    found = records.compare(records.family(knobs.too_many(runs), "training loss"))
    assert {name.split(" ")[2] for name, c in found.items() if c.word == "seen"} == {"1", "2"}
    assert found["r = 32 minus r = 8"].word == "not seen" and 0 < found["r = 128 minus r = 8"].mean < 0.15
    right = {n: np.concatenate(list(cells.values())) for n, cells in knobs.capacity(runs, "Test-A").items()}
    assert {n: (values.min(), values.max()) for n, values in right.items()} == {
        200: (100, 100),
        800: (100, 100),
        3200: (0, 10.5),
    }


def test_appendix_the_update_uses_one_or_two_directions(ranks):
    stable = [records.seed_interval(records.tuned(group), "stable rank").mean for group in ranks.values()]
    assert all(0.999 < value < 2 for value in stable)


def test_section_5_the_best_rate_stays_with_one_rule_and_falls_with_two(runs):
    best = {rule: {r: knobs.alike(g)[0] for r, g in cells.items()} for rule, cells in knobs.rules(runs).items()}
    falls = {rule: cells[1] / cells[128] for rule, cells in best.items()}
    assert falls == {"alpha = 32": 1, "rsLoRA": 4, "alpha = 2 r": 8}
    doubled = knobs.rules(runs)["alpha = 2 r"]
    for r in (32, 128):
        assert scores(records.select(doubled[r], learning_rate=best["alpha = 2 r"][1])) == [0]


def test_section_5_hints_at_128_and_one_point_at_rank_1(runs):
    found = records.compare(records.family(knobs.alpha(runs), *knobs.TESTS))
    assert {name for name, c in found.items() if c.word == "seen"} == {"alpha = 2 r minus alpha = 32, r = 1, Test-C"}
    assert round(found["alpha = 2 r minus alpha = 32, r = 1, Test-C"].mean) == -1
    assert all(name.split(", ")[1] == "r = 128" for name, c in found.items() if c.word == "hint")


def test_section_6_ten_neighbours_are_behind_and_every_third_layer_is_not_seen_to_be(runs):
    found = records.compare(records.family(knobs.places(runs), "Test-A", "English"))
    tens = [found[f"{place} minus all thirty, Test-A"] for place in ("first ten", "middle ten", "last ten")]
    assert [c.word for c in tens] == ["hint", "seen", "seen"] and all(-28 < c.mean < -22 for c in tens)
    assert found["every third minus all thirty, Test-A"].word == "not seen"
    both = found["embeddings and head minus all thirty, English"]
    assert both.word == "seen" and round(both.mean, 1) == 1.2
    alone = found["embeddings minus all thirty, English"]
    assert alone.word == "hint" and round(alone.mean / both.mean, 1) == 0.5
    assert all(
        found[f"{what} minus all thirty, Test-A"].word == "not seen" for what in ("embeddings", "embeddings and head")
    )
    for group in records.by(records.select(runs, sweep="layers"), "layers").values():
        assert records.tuned(group)[0]["run"]["learning_rate"] == 4e-3 == max(records.by(group, "learning_rate"))


def test_section_7_the_lines_part_on_peoples_words_and_english_is_the_price(runs):
    cells = knobs.reading(runs)
    on_c = [records.seed_interval(cells[key], "Test-C").mean for key in ((400, 3), (400, 12), (400, 24), (3200, 3))]
    assert on_c[1] > 2 * on_c[0] and on_c[2] < 25 and 48 < on_c[3] < 55
    english = [round(records.seed_interval(cells[400, epochs], "English").mean, 1) for epochs in (3, 24)]
    assert english == [4.0, 4.5]


def test_section_8_at_equal_steps_one_best_rate_of_each_method_is_the_last_of_three(runs):
    best = {
        "LoRA": {2: 2e-3, 8: 2e-3, 32: 4e-3},
        "full fine-tuning": {2: 1e-4, 8: 2e-4, 32: 2e-4},
    }
    tried = {"LoRA": [1e-3, 2e-3, 4e-3], "full fine-tuning": [1e-4, 2e-4, 4e-4]}
    for method in best:
        cells = knobs.batch_cells(runs, method)
        assert {size: cell[0]["run"]["learning_rate"] for size, cell in cells.items()} == best[method]
        group = records.select(runs, sweep="batch at equal steps", method=method)
        assert list(records.by(group, "learning_rate")) == tried[method]


def test_section_8_at_equal_examples_batches_of_2_and_32_are_best_at_their_lowest_rate_of_five_seeds(runs):
    for size in (2, 32):
        cells = records.by(records.select(runs, sweep="batch", batch_size=size), "learning_rate")
        often = [rate for rate, cell in cells.items() if len(cell) == 5]
        assert knobs.at_equal_examples(runs)[size][0]["run"]["learning_rate"] == min(often)


def test_section_8_at_equal_examples_the_smaller_batch_wins(runs):
    means = [round(records.seed_interval(cell).mean) for cell in knobs.at_equal_examples(runs).values()]
    assert means == [99, 98, 92, 72, 36]


def test_section_9_over_fitting_shows_and_dropout_gives_a_point_on_test_c(runs):
    none = records.select(runs, sweep="dropout", examples=50, dropout=0.0)
    assert records.seed_interval(none, "training loss").mean < 0.01
    assert records.seed_interval(none, "held-out loss").mean == pytest.approx(0.5, abs=0.05)
    found = records.compare(records.family(knobs.dropout(runs), *knobs.TESTS))
    assert {name for name, c in found.items() if c.word == "seen"} == {"50 examples, 0.05 minus none, Test-C"}


def test_section_10_at_the_same_score_lora_has_forgotten_more_of_everything(runs):
    names = ("prose", "programs", "dialogue", "tables", "copying", "facts")
    found = records.compare({name: knobs.matched(runs, name) for name in names})
    assert {c.word for c in found.values()} == {"seen"}
    assert all(found[name].mean > 0 for name in names[:4]) and all(found[name].mean < 0 for name in names[4:])


def test_section_11_the_mlp_is_ahead_on_orders_at_the_last_of_three_rates(runs):
    found = records.compare(knobs.transfer(runs, "orders"))
    assert found["all seven are ahead of MLP"].word == "seen" and found["all seven are ahead of MLP"].mean < 0
    for task in ("cron", "family"):
        assert records.compare(knobs.transfer(runs, task))["all seven are ahead of MLP"].word == "not seen"
    assert found["all seven are ahead of q, v"].word == found["MLP is ahead of attention"].word == "seen"
    rates = records.by(records.select(runs, sweep="orders: targets"), "learning_rate")
    assert len(rates) == 3 and knobs.sets(runs, "orders")["MLP"][0]["run"]["learning_rate"] == max(rates)
    assert round(2 ** found["LoRA's best rate is above full fine-tuning's"].mean) == 17
    large = found["batches of 32 are ahead of 8, equal steps"]
    assert large.word == "not seen" and round(large.smallest) == 22


def test_section_11_on_family_large_batches_are_far_ahead_and_no_place_is(runs):
    found = records.compare(knobs.transfer(runs, "family"))
    assert [name for name, c in found.items() if c.word == "seen"] == [
        "LoRA's best rate is above full fine-tuning's",
        "batches of 32 are ahead of 8, equal steps",
    ]
    assert round(2 ** found["LoRA's best rate is above full fine-tuning's"].mean) == 8
    cells = knobs.batch_cells(runs, "LoRA", "family")
    assert [round(np.mean(scores(cells[size]))) for size in (8, 32)] == [65, 91]
    rates = records.by(records.select(runs, sweep="family: rank", r=8), "learning_rate")
    assert cells[8][0]["run"]["learning_rate"] == min(rates) and len(rates) == 3
    assert round(found["all seven are ahead of q, v"].smallest) == 22


def test_section_11_what_was_not_seen_could_be_as_large_as_it_says(runs):
    judged = {task: records.compare(knobs.transfer(runs, task)).values() for task in knobs.TASKS}
    power = {task: max(c.smallest for c in found if c.word == "not seen") for task, found in judged.items()}
    others = max(power["cron"], power["orders"])
    told = f"What was not seen could be {others:.0f} points, on family {power['family']:.0f}."
    assert told in CELLS["read-transfer"]


def test_every_task_was_asked_the_same_with_five_seeds(runs):
    asked = {task: {rule: len(values) for rule, values in knobs.transfer(runs, task).items()} for task in knobs.TASKS}
    assert asked["family"] == asked["orders"] == asked["cron"] and set(asked["cron"].values()) == {5}


def test_section_12_the_pages_choice_beside_sixty_settings():
    trial = results.read("trial.jsonl")
    asked = knobs.by_the_page(trial)
    right = {(rate, batch): of_36 for (_, rate, batch, _), (of_36, _) in asked.items()}
    assert max(right, key=right.get) == (4e-3, 16) and (right[4e-3, 16], right[2e-3, 16]) == (17, 12)
    cells = knobs.settings(trial)
    assert len(cells) == 60 and {len(group) for group in cells.values()} == {3}
    assert [round(asked[8, rate, 16, 5][1]) for rate in (2e-3, 4e-3)] == [39, 36]
    found = knobs.tried(trial)
    words = {name: c.word for name, c in records.compare(found).items()}
    assert [name for name, word in words.items() if word != "not seen"] == ["epochs 5 minus epochs 2"]
    assert words["epochs 5 minus epochs 2"] == "hint"
    assert min(found["epochs 5 minus epochs 2"]) > 0 and min(found["batch 4 minus batch 16"]) > 0


# --- the figures ----------------------------------------------------------------------------------------------------


def test_a_forest_tells_each_row_with_its_word(page):
    figure = figures.forests(page)
    told = alt_text(figure)
    plots.plt.close(figure)
    found = page["Test-A"]["half the best rate"]
    assert f"half the best rate {found.mean:.3g}, from {found.low:.3g} to {found.high:.3g}, seen" in told
    assert told.count("r = 1, not 8") == 2


def test_small_multiples_tell_the_best_of_each_panel(ranks):
    figure = figures.panels({"r = 8": {1e-3: [80.0, 82.0], 2e-3: [90.0, 92.0]}}, xlabel="rate", ylabel="%", columns=1)
    told = alt_text(figure)
    plots.plt.close(figure)
    assert "r = 8: 0.001 81, 0.002 91; the best 0.002" in told


def test_a_heat_map_tells_its_numbers():
    figure = figures.heat([[86, 97], [92, 98]], ["r = 1", "r = 4"], [0, 1], ylabel="rank", xlabel="seed")
    told = alt_text(figure)
    plots.plt.close(figure)
    assert "r = 1: 86, 97; r = 4: 92, 98" in told
