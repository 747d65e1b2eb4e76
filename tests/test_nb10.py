"""Notebook 10: its figures tell what they draw, its words are those of the records, PEFT's table is copied whole."""

import json
import subprocess
from statistics import mean, median

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from experiments import metamath, records
from lorautils import ROOT, results
from lorautils.figures import nb10 as figures
from lorautils.figures.words import alt_text
from tools import comparisons

NOTEBOOK = nbformat.read(ROOT / "notebooks" / "10_beyond_lora.ipynb", as_version=4)
CELLS = {cell.id: cell for cell in NOTEBOOK.cells}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def space():
    """What the cells of sections 2 to 4 compute, without their figures."""
    names = {"results": results, "records": records, "mean": mean, "figures": figures}
    names["slider"] = lambda draw, options, **start: None
    exec("from collections import defaultdict", names)
    for cell in ("methods-read", "methods-verdict", "matched", "matched-figure"):
        exec(CELLS[cell].source, names)
    return names


def prose(cell: str) -> str:
    return CELLS[cell].source


# --- the figures ----------------------------------------------------------------------------------------------------


def test_a_forest_tells_each_difference_and_what_the_course_says_of_it():
    found = records.compare({"IA3": [-22.0, -23.0, -24.5], "DoRA": [-1.0, 0.5, 1.0]})
    figure = figures.forest({"points": found, "nats": found})
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["IA3", "DoRA"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("points", "nats")
    assert "IA3 -23.2" in alt_text(figure) and "seen; DoRA 0.2" in alt_text(figure)
    shapes = {line.get_marker() for line in left.get_lines()} - {"None"}
    assert len(shapes) == 3, "seen, hint and not seen differ without colour, too"


def test_costs_draw_a_row_a_method_in_the_given_order():
    figure = figures.costs({"numbers": {"b": 10, "LoRA": 1000}, "time": {"b": 0.5, "LoRA": 1}}, logarithmic="numbers")
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["b", "LoRA"]
    assert (first.get_xscale(), second.get_xscale()) == ("log", "linear")
    assert "b 10, 0.5; LoRA 1,000, 1" in alt_text(figure)


def test_a_ranking_names_an_entry_at_its_place():
    figure = figures.ranking({"b": (40.0, 1.0), "a": (50.0, 1.0), "c": (0.0, 0.0)}, {"b": "Bee"})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["Bee"]
    assert axes.texts[0].xy == (2, 42.0)
    assert "Bee 40.0 at place 2" in alt_text(figure)


def test_luck_is_counted_from_the_real_best_on():
    assert "25.0% of them reach" in alt_text(figures.luck([50.0, 51.0, 52.0, 53.0], 52.6))


def test_the_drawing_writes_inside_its_ground():
    (axes,) = figures.places().axes
    axes.figure.canvas.draw()
    ground = axes.get_window_extent()
    assert len(axes.texts) > 8
    for text in axes.texts:
        box = text.get_window_extent()
        assert ground.x0 < box.x0 and box.x1 < ground.x1 and ground.y0 < box.y0 and box.y1 < ground.y1, text


# --- what the notebook says about the records -----------------------------------------------------------------------


def test_each_word_is_that_of_the_page_of_records(space):
    (family,) = (f for f in comparisons.families() if f.title == "Is another method better than LoRA?")
    page = {key: found for key, (_, found) in comparisons.judged(family).items()}
    here = {(f"{name} minus LoRA", test): found for (name, test), found in space["found"].items()}
    assert len(here) == 30
    assert {key: found.word for key, found in page.items()} == {key: found.word for key, found in here.items()}
    assert family.notebook.partition("#")[2] in CELLS


def test_five_seeds_of_each_method_stand_at_a_rate_between_two_others(space):
    assert len(space["cells"]) == 16
    for name, cell in space["cells"].items():
        assert sorted(run["run"]["seed"] for run in cell) == list(range(5)), name
        tried = records.by(space["of_method"][name], "learning_rate")
        full = [rate for rate, runs in tried.items() if len(runs) == 5]
        at = full.index(cell[0]["run"]["learning_rate"])
        assert 0 < at < len(full) - 1, name
    rates = [cell[0]["run"]["learning_rate"] for cell in space["cells"].values()]
    assert 600 < max(rates) / min(rates) < 700
    rate = {name: cell[0]["run"]["learning_rate"] for name, cell in space["cells"].items()}
    assert rate["SHiRA"] / rate["OFT"] == 32


def test_the_lists_after_the_forest_are_those_of_the_words(space):
    words = {word: {name for name, one in space["on_a"].items() if one.word == word} for word in figures.LOOKS}
    told = prose("read-verdict")
    assert "Six methods and full fine-tuning are not told" in told
    assert words["not seen"] == {"OFT", "full fine-tuning", "rsLoRA", "DoRA", "SHiRA", "MiSS", "LoHa"}
    for word, listed in (("hint", "LoKr, VeRA, LN tuning, PiSSA"), ("seen", "IA3, LLaMA-Adapter")):
        assert listed in told and set(listed.split(", ")) <= words[word]
        assert all(space["on_a"][name].high < 0 for name in words[word])
    assert words["hint"] == {"LoKr", "VeRA", "LN tuning", "PiSSA"}
    assert words["seen"] == {"IA3", "LLaMA-Adapter", "prefix tuning", "prompt tuning"}
    assert round(-space["on_a"]["LoHa"].low, 1) == 9.5
    assert sum(one.smallest >= 10 for one in space["on_a"].values()) > 10
    assert 2.5 < space["on_a"]["DoRA"].smallest < 3


def test_the_numbers_that_the_methods_train_against_those_of_lora(space):
    numbers = {name: cell[0]["trainable"] for name, cell in space["cells"].items()}
    fewer = {name: round(numbers["LoRA"] / number) for name, number in numbers.items()}
    assert [fewer[name] for name in ("LoKr", "VeRA", "IA3", "LN tuning")] == [11, 12, 42, 70]
    assert round(numbers["full fine-tuning"] / numbers["LoRA"]) == 55
    assert numbers["PiSSA"] == numbers["LoRA"]
    assert (min(numbers.values()), max(n for name, n in numbers.items() if name[:4] != "full")) == (11_520, 4_884_480)


def test_at_the_same_score_full_fine_tuning_forgets_least_however_near_the_scores(space):
    for within, word in ((1, "seen"), (2, "seen"), (3, "seen"), (5, "hint")):
        name, found = next(iter(space["forgetting"](within).items()))
        assert (name, found.word) == ("full fine-tuning, 5 seeds", word) and found.high < 0
    assert space["forgetting"](2)["MiSS, 3 seeds"].word == "not seen"
    assert space["forgetting"](3)["MiSS, 5 seeds"].word == "seen"
    for kind in ("prose", "code", "dialogue", "tables"):
        gaps = space["beside_lora"]("full fine-tuning", 3, lambda run, kind=kind: run["text_losses"][kind])
        assert len(gaps) == 5 and results.over_seeds(gaps).high < 0, kind
    for probe in ("facts", "copying"):
        assert results.over_seeds(space["beside_lora"]("full fine-tuning", 3, records.MEASURES[probe])).low > 0
    lora = records.by(space["of_method"]["LoRA"], "learning_rate")[2e-3]
    assert 3 < np.std([records.MEASURES["Test-A"](run) for run in lora], ddof=1) < 4  # what a seed moves


def test_none_of_the_other_starts_is_ahead_and_what_would_have_been_seen(space):
    names = dict(space)
    exec(CELLS["starts-figure"].source, names)
    assert all(one.word == "not seen" or one.mean < 0 for one in names["on_a"].values())
    missed = max(one.smallest for one in names["on_a"].values() if one.word == "not seen")
    assert f"none was seen ahead; {missed:.0f} points" in prose("settled").lower()


def test_a_prefix_leaves_little_of_english(space):
    english = records.seed_interval(space["cells"]["prefix tuning"], "English").mean
    assert english > 8 and "English is gone" in prose("read-verdict")


def test_no_step_takes_half_of_loras_time_and_three_methods_take_half_as_much_again():
    ratio = {row["method"]: row["ratio"] for row in results.read("method_times.json")["methods"]}
    assert min(ratio.values()) > 0.5
    assert {name for name, times in ratio.items() if times > 1.4} == {"DoRA", "LoHa", "LoKr"}
    assert max(ratio.values()) < 2 and ratio["full fine-tuning"] == pytest.approx(1, abs=0.1)


def test_on_the_shared_gpu_full_fine_tuning_was_the_faster_one():
    runs = records.select(results.read("sweeps.jsonl"), sweep="batch at equal steps", batch_size=8)
    tuned = (("full fine-tuning", 2e-4), ("LoRA", 2e-3))
    seconds = [median(run["seconds"] for run in records.select(runs, method=m, learning_rate=r)) for m, r in tuned]
    assert "{:.0f} seconds a training, LoRA {:.0f}".format(*seconds) in prose("read-times")


def test_full_fine_tuning_is_a_hint_ahead_on_test_c_and_takes_twice_the_memory(space):
    assert space["on_c"]["full fine-tuning"].word == "hint" and space["on_c"]["full fine-tuning"].low > 0
    base = 4 * 134_515_008
    memory = {
        row["method"]: base + 12 * row["trainable"] + row["kept_bytes"]
        for row in results.read("method_times.json")["methods"]
    }
    assert memory["full fine-tuning"] / memory["LoRA"] == pytest.approx(2, abs=0.1)


# --- PEFT's comparison ----------------------------------------------------------------------------------------------


def result(day: str, accuracy: float, rate: float, status: str = "success") -> str:
    train = {"status": status, "metrics": [{"test accuracy": accuracy}], "num_trainable_params": 8, "train_time": 90.0}
    config = {"optimizer_kwargs": {"lr": rate}, "max_steps": 5000}
    return json.dumps({"run_info": {"created_at": f"{day}T00:00:00", "train_config": config}, "train_info": train})


def test_an_entry_has_its_earlier_runs_of_the_same_settings(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    for text in (
        result("2025-06-01", 0.5, rate=1e-3),
        result("2025-07-01", 0.6, rate=1e-4),
        result("2025-08-01", 0.0, rate=1e-4, status="failed"),
        result("2026-01-01", 0.7, rate=1e-4),
    ):
        (tmp_path / "lora--llama-3.2-3B-rank32.json").write_text(text)
        git("add", ".")
        git("commit", "-qm", "results")
    found = metamath.entry(tmp_path, "lora--llama-3.2-3B-rank32.json")
    assert found["name"] == "lora rank32"
    assert found["runs"] == [["2025-07-01", 791], ["2026-01-01", 923]]
    assert (found["rate"], found["trained"], found["minutes"]) == (1e-4, 8, 1.5)


def test_the_record_holds_the_whole_table_best_first():
    record = results.read("metamath.json")
    right = [entry["runs"][-1][1] for entry in record["entries"]]
    assert len(right) == 63 and right == sorted(right, reverse=True)
    assert all(0 <= count <= record["of"] for count in right)


def test_the_29_equals_have_the_mean_that_the_text_names_and_luck_adds_what_it_says():
    names = {"results": results, "mean": mean, "np": np}
    for cell in ("benchmark-data", "benchmark-table", "lab-luckiest"):
        exec(CELLS[cell].source.partition("_ = figures")[0], names)
    assert names["equals"] == 29 and f"as good as their mean, {names['level']:.1f} %" in prose("read-benchmark")
    points = names["needed"] * 2**0.5 * names["error"]
    assert f"{points:.1f} points would have been" in prose("read-benchmark")
    added = names["luckiest"](29, 0.0).mean() - names["level"]
    assert 2.5 < added < 3 and "by nearly three points" in prose("runs-move")
