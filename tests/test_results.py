"""lorautils.results: the interval of a share, and what is read from the records."""

import pytest

from lorautils import results


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
