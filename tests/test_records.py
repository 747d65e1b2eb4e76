"""experiments.records.compare, the one rule of inference: how often it sees what is not there, and what is."""

import numpy as np
import pytest
from scipy import stats

from experiments.records import compare
from lorautils import results


def recorded_scores() -> np.ndarray:
    """Test-A of twenty seeds of one configuration: their skew is what the course's seeds have."""
    runs = [run for run in results.read("fused_run.jsonl") if run["way"] == "train()"]
    scores = np.array([100 * run["exact"] / run["n"] for run in runs])
    assert len(scores) >= 20
    return scores - scores.mean()


WORLDS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "pairs of recorded seeds": lambda rng, n: rng.choice(SCORES, n) - rng.choice(SCORES, n),
    "recorded seeds": lambda rng, n: rng.choice(SCORES, n),
}
SCORES = recorded_scores()


@pytest.mark.parametrize(("world", "n", "most"), [("normal", 5, 0.065), ("pairs of recorded seeds", 5, 0.085)])
def test_in_six_hundred_worlds_without_a_difference_one_in_twenty_sees_one(world, n, most):
    rng, seen, missed = np.random.default_rng(0), 0, 0
    for _ in range(600):
        found = compare({name: WORLDS[world](rng, n) for name in "abcd"})
        seen += any(one.word == "seen" for one in found.values())
        missed += not found["a"].low <= 0 <= found["a"].high
    assert 0.02 < seen / 600 < most  # of four questions at once
    assert 0.03 < missed / 600 < most  # of one interval


@pytest.mark.parametrize("world", ["normal", "recorded seeds"])
def test_twenty_seeds_are_enough_also_where_they_are_skewed(world):
    rng = np.random.default_rng(0)
    intervals = [compare({"a": WORLDS[world](rng, 20)})["a"] for _ in range(400)]
    missed = np.mean([not one.low <= 0 <= one.high for one in intervals])
    assert 0.02 < missed < 0.085


def test_of_true_differences_of_the_smallest_size_four_in_five_are_seen():
    rng, n = np.random.default_rng(0), 5
    factor = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
    found = [compare({"a": rng.normal(factor / np.sqrt(n), 1, n)})["a"] for _ in range(2000)]
    assert 0.75 < np.mean([one.word == "seen" for one in found]) < 0.9
    assert np.median([one.smallest for one in found]) == pytest.approx(factor / np.sqrt(n), rel=0.15)


def test_holm_turns_what_is_seen_alone_into_a_hint_among_others():
    values = [1.0, 2.0, 3.0, 1.5, 2.5]  # p = 0.005
    nothing = [1.0, -1.0, 0.5, -0.5, 0.1]
    assert compare({"one": values})["one"].word == "seen"
    family = compare({"one": values, **{f"{i}": nothing for i in range(12)}})
    assert family["one"].word == "hint" and family["0"].word == "not seen"
    assert family["one"].p == pytest.approx(13 * compare({"one": values})["one"].p)
    assert family["one"].smallest > compare({"one": values})["one"].smallest


def test_equal_differences_need_no_interval():
    assert compare({"same": [0.0, 0.0, 0.0], "shift": [2.0, 2.0, 2.0]})["same"].word == "not seen"
    assert compare({"shift": [2.0, 2.0, 2.0]})["shift"].word == "seen"


def test_one_difference_is_no_comparison():
    with pytest.raises(ValueError, match="'r = 1' has fewer than two differences"):
        compare({"r = 8": [1.0, 2.0], "r = 1": [3.0]})
