"""The comparison of notebook outputs: decimals with a relative tolerance of 2e-3, everything else exactly.

A cell may have a tolerance of its own, for its decimals and for its integers.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.compare_outputs import TolerantText

SAME = [
    ("0.1234", "0.1235"),
    ("loss 0.45120, 12 tokens", "loss 0.45121, 12 tokens"),
    ("-0.0", "0.0"),
    ("[ 0.  1.]", "[-0.  1.]"),
    ("1.2345e-08", "1.2346e-08"),
    ("1.000E+05", "1.001E+05"),
    ("[1.e-05 2.e+00]", "[1.001e-05 2.e+00]"),
    ("12.50%", "12.51%"),
    ("| 9.999|", "|10.001|"),
    ("mean=3.1415.", "mean=3.1416."),
    ("<td>0.3333</td>", "<td>0.3334</td>"),
    ("nan inf", "nan inf"),
    ("", ""),
]
DIFFERENT = [
    ("3", "4"),
    ("1000", "1001"),
    ("12.5", "12.6"),
    ("0.45", "-0.45"),
    ("12.5%", "12.6%"),
    ("1e-08", "2e-08"),
    ("1.2e-08", "1.2e-07"),
    ("0.0", "0.001"),
    ("It took 1000. Then", "It took 1001. Then"),
    ("0.5 of 3", "0.5 of 4"),
    ("loss 0.5", "Loss 0.5"),
    ("0.5 0.5", "0.5"),
    ("0.5\n0.5", "0.5 0.5"),
    ("3", "3.0"),
    ("nan", "0.0"),
    ("torch 2.13.0", "torch 2.13.1"),
    ("torch 2.1300.0", "torch 2.1301.0"),
    ("layer.1000.5", "layer.1001.5"),
    ("r1000.5", "r1001.5"),
    ("  9", " 9"),
]
COUNT = {"absolute": 4, "of": 40}
OWN_SAME = [
    (COUNT, "exact: 27 of 40", "exact: 31 of 40"),
    (COUNT, "exact: 27 of 40", "exact: 23 of 40"),
    (COUNT, "36 of 40", "40 of 40"),
    (COUNT, "|  9 of 40|", "| 10 of 40|"),
    (COUNT, "[27, -2] of 40.", "[28, 2] of 40."),
    (COUNT, "<td>27</td>", "<td>28</td>"),
    (COUNT, "999 tokens", "1,001 tokens"),
    (COUNT, "27 of 40, loss 0.4512", "28 of 40, loss 0.4513"),
    ({"relative": 0.1}, "loss 0.50", "loss 0.46"),
    (COUNT | {"relative": 0.1}, "27 of 40, loss 0.50", "28 of 40, loss 0.46"),
]
OWN_DIFFERENT = [
    (COUNT, "27 of 40", "32 of 40"),
    (COUNT, "27 of 40", "22 of 40"),
    (COUNT, "27 of 40", "27 of 41"),
    (COUNT, "40 of 40", "39 of 40"),
    (COUNT, "27 of 40", "27.0 of 40"),
    (COUNT, "27 of 40", "of 40"),
    (COUNT, "27 of 40 right", "27 of 40 wrong"),
    (COUNT, "1,000 tokens", "2,000 tokens"),
    (COUNT, "1,000.5 MB", "2,000.5 MB"),
    (COUNT, "1000000", "1000005"),
    (COUNT, "loss 0.450", "loss 0.452"),
    (COUNT, "r8", "r9"),
    (COUNT, "layer10", "layer11"),
    (COUNT, "layer-10", "layer-11"),
    (COUNT, "8-bit", "4-bit"),
    (COUNT, "q_proj.3", "q_proj.4"),
    (COUNT, "layers.3.mlp", "layers.4.mlp"),
    (COUNT, "torch 2.13.0", "torch 2.13.1"),
    (COUNT, "torch 2.13.0", "torch 3.13.0"),
    (COUNT, "at 08:09", "at 08:10"),
    (COUNT, "2026-07-01", "2026-07-02"),
    ({"relative": 0.1}, "loss 0.50", "loss 0.44"),
    ({"relative": 0.1}, "27 of 40", "28 of 40"),
]


@pytest.mark.parametrize(("stored", "new"), SAME)
def test_equal(stored, new):
    assert TolerantText(stored) == TolerantText(new)
    assert (TolerantText(stored) != TolerantText(new)) is False


@pytest.mark.parametrize(("stored", "new"), DIFFERENT)
def test_different(stored, new):
    assert TolerantText(stored) != TolerantText(new)
    assert (TolerantText(stored) == TolerantText(new)) is False


@pytest.mark.parametrize(("tolerance", "stored", "new"), OWN_SAME)
def test_equal_by_a_tolerance_of_its_own(tolerance, stored, new):
    assert TolerantText(stored) != TolerantText(new)
    assert TolerantText(stored, tolerance) == TolerantText(new, tolerance)
    assert (TolerantText(stored, tolerance) != TolerantText(new, tolerance)) is False


@pytest.mark.parametrize(("tolerance", "stored", "new"), OWN_DIFFERENT)
def test_different_in_spite_of_a_tolerance_of_its_own(tolerance, stored, new):
    assert TolerantText(stored, tolerance) != TolerantText(new, tolerance)
    assert (TolerantText(stored, tolerance) == TolerantText(new, tolerance)) is False


@settings(derandomize=True, deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e6), st.floats(min_value=-1, max_value=1))
def test_the_tolerance_is_two_in_a_thousand(value, share):
    stored = TolerantText(f"x = {value:.9f} here")
    assert stored == f"x = {value * (1 + 1.9e-3 * share):.9f} here" or value < 1e-5  # few digits: rounding is coarser
    assert stored != f"x = {value * 1.0021:.9f} here" or value < 1e-5


@settings(derandomize=True, deadline=None)
@given(st.text(), st.text())
def test_text_without_digits_compares_as_text(a, b):
    if not any(c.isdigit() for c in a + b):
        assert (TolerantText(a) == b) == (a == b)
