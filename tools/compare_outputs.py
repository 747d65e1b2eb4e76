"""How a notebook's stored outputs are compared with new ones; conftest.py hands `TolerantText` to nbval.

Decimals may differ by 0.2 %, since thread counts and instruction sets change their last digits; integers and all other
text must be the same. A code cell's metadata may hold a tolerance of its own: `{"relative": 0.05}` for its decimals,
`{"absolute": 4, "of": 40}` for its integers, except the total, 40. How wide it may be: tests/notebook_rules.py.
"""

import math
import re

RTOL = 2e-3
# A number with decimals or an exponent (or NumPy's "0."), its sign, and the blanks that pad it to a width.
# Not an integer that ends a sentence, not a version such as 2.13.0.
NUMBER = r"\d+\.\d+(?:e[-+]?\d+)?|\d+\.?e[-+]?\d+|0\."
DECIMAL = re.compile(rf" *(?<![\w.])[-+]?(?:{NUMBER})(?!\.?\d)", re.IGNORECASE)
# Or an integer, perhaps with commas between its thousands: not a part of a name (r8, layer-10, q_proj.3), of a version,
# a date, a time or a range.
INTEGER = r" *(?<![\w.,:-])[-+]?\d+(?:,\d{3})*(?![.,:-]?\w)"
DECIMAL_OR_INTEGER = re.compile(f"{DECIMAL.pattern}|{INTEGER}", re.IGNORECASE)


def value(number: str) -> int | float:
    """Return what a match of `DECIMAL_OR_INTEGER` stands for."""
    return float(number) if DECIMAL.fullmatch(number) else int(number.replace(",", ""))


class TolerantText(str):
    """A stored text that equals a new one if their numbers are close and everything else is the same."""

    def __new__(cls, text: str, tolerance: dict | None = None) -> "TolerantText":
        """Take a text and the tolerance in its cell's metadata, if there is one."""
        tolerant = super().__new__(cls, text)
        tolerant.tolerance = tolerance or {}
        return tolerant

    def __eq__(self, other: object) -> bool:
        """Compare the texts between the numbers exactly and the numbers with their tolerances."""
        if not isinstance(other, str):
            return NotImplemented
        number = DECIMAL_OR_INTEGER if "absolute" in self.tolerance else DECIMAL
        if number.split(self) != number.split(other):
            return False
        return all(map(self.close, number.findall(self), number.findall(other)))

    def close(self, stored: str, new: str) -> bool:
        """Compare two numbers; a stored integer that equals the total has no tolerance."""
        a, b = value(stored), value(new)
        if type(a) is not type(b):
            return False
        if isinstance(a, float):
            return math.isclose(a, b, rel_tol=self.tolerance.get("relative", RTOL))
        return a == b or (a != self.tolerance["of"] and abs(a - b) <= self.tolerance["absolute"])

    def __ne__(self, other: object) -> bool:
        """Negate `__eq__`; `str` has a `!=` of its own."""
        return not self == other

    __hash__ = str.__hash__
