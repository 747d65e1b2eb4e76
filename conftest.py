"""pytest's set-up for the tests and for the notebooks (nbval): the environment, and a tolerant comparison of outputs.

nbval compares stored and new outputs with `!=`. Here the texts it compares are `TolerantText`: decimals may differ by
0.2 %, since thread counts and instruction sets change their last digits; integers and all other text must be the same.
"""

import math
import os
import re

from nbval.plugin import IPyNbCell

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, here and in the kernels

RTOL = 2e-3
# A number with decimals or an exponent (or NumPy's "0."), its sign, and the blanks that pad it to a width.
# Not an integer that ends a sentence, not a version such as 2.13.0.
NUMBER = r"\d+\.\d+(?:e[-+]?\d+)?|\d+\.?e[-+]?\d+|0\."
DECIMAL = re.compile(rf" *(?<![\w.])[-+]?(?:{NUMBER})(?!\.?\d)", re.IGNORECASE)


class TolerantText(str):
    """A string that equals another one if their decimals are close and everything else is the same."""

    def __eq__(self, other: object) -> bool:
        """Compare the texts between the decimals exactly and the decimals with a relative tolerance."""
        if not isinstance(other, str):
            return NotImplemented
        if DECIMAL.split(self) != DECIMAL.split(other):
            return False
        pairs = zip(DECIMAL.findall(self), DECIMAL.findall(other), strict=True)
        return all(math.isclose(float(a), float(b), rel_tol=RTOL) for a, b in pairs)

    def __ne__(self, other: object) -> bool:
        """Negate `__eq__`; `str` has a `!=` of its own."""
        return not self == other

    __hash__ = str.__hash__


def pytest_configure() -> None:
    """Make nbval, whose `sanitize` sees every text it compares, compare `TolerantText`."""
    exact = IPyNbCell.sanitize

    def tolerant(cell: IPyNbCell, value: object) -> object:
        value = exact(cell, value)
        return TolerantText(value) if isinstance(value, str) else value

    IPyNbCell.sanitize = tolerant
