"""lorautils.results: the interval of a share, and verdicts that follow a measurement."""

import pytest

from lorautils import results
from lorautils.results import verdict


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),  # statsmodels: proportion_confint(successes, n, method="wilson")
    [(8, 10, 0.490162, 0.943318), (0, 20, 0.0, 0.161125), (20, 20, 0.838875, 1.0), (190, 200, 0.910424, 0.972610)],
)
def test_wilson_interval(successes, n, low, high):
    assert results.wilson_interval(successes, n) == pytest.approx((low, high), abs=2e-5)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (5, 4), (-1, 4)])
def test_a_share_that_is_none_is_refused(successes, n):
    with pytest.raises(ValueError, match=r"(n|k)\b.*must|must"):
        results.wilson_interval(successes, n)


# --- verdict --------------------------------------------------------------------------------------------------------

TEXTS = {"yes": "It does.", "no": "It does not."}


@pytest.mark.parametrize(
    ("measured", "outcome"), [(3.5, "yes"), (3.451, "yes"), (3.449, "cannot tell"), (3.351, "cannot tell"), (3.3, "no")]
)
def test_a_verdict_follows_the_measurement_across_the_threshold(measured, outcome):
    found = verdict("Does it hurt?", measured, control=3.3, by=0.1, noise=0.05, **TEXTS)
    assert found.outcome == outcome
    assert found.threshold == pytest.approx(3.4)
    assert str(found).startswith(f"Verdict: {outcome}. {TEXTS.get(outcome, '3.')}")


def test_several_measurements_bring_their_own_noise():
    measured, control = [3.0, 3.2, 3.4], [2.0, 2.21, 2.39]
    assert verdict("?", measured, control=control, **TEXTS).outcome == "yes"
    assert verdict("?", control, control=measured, **TEXTS).outcome == "no"
    assert verdict("?", measured, control=2.8, **TEXTS).outcome == "cannot tell"  # unpaired: 3.2 +- 0.5
    assert verdict("?", measured, control=control, by=0.99, **TEXTS).outcome == "cannot tell"


def test_the_texts_may_say_the_numbers():
    said = verdict("?", [3.0, 5.0], control=1.0, noise=0.5, yes="{measured:.1f}, {threshold:.1f}, {noise}", no="")
    assert str(said) == "Verdict: yes. 4.0, 1.0, 0.5"


def test_one_measurement_without_noise_is_refused():
    with pytest.raises(ValueError, match=r"'Is it so\?' has one measurement and no noise="):
        verdict("Is it so?", 3.0, control=2.0, **TEXTS)
