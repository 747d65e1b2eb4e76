"""The engine of the exercises: compare an answer with the reference and with the known mistakes, and say what is so.

Used by every notebook through `lorautils.exercises`; no notebook teaches it. A known mistake is an example of a
wrong answer: whoever gives the same value, or a function that behaves alike on all cases, is told its name.
"""

import copy
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Any


class Blank:
    """The blank `____`: whatever is done with it gives a blank again, so that an untouched notebook runs."""

    def _stay_blank(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        if name.startswith("_"):  # what Python and IPython ask for behind the scenes
            raise AttributeError(name)
        return self

    @classmethod
    def __torch_function__(cls, *args, **kwargs):
        return cls()

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0  # also makes it false, so that `while ____:` ends

    def __index__(self):
        return 0

    def __float__(self):
        return math.nan

    def __repr__(self):
        return "____"

    def __format__(self, spec):
        return "____"


_OPERATORS = "add sub mul matmul truediv floordiv mod pow and or xor"
_OTHERS = "call enter exit getitem setitem lt le gt ge eq ne neg pos abs invert round array_ufunc"
for _name in [*_OTHERS.split(), *_OPERATORS.split(), *("r" + name for name in _OPERATORS.split())]:
    setattr(Blank, f"__{_name}__", Blank._stay_blank)


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: its name, an example of it, and the message that leads on from there."""

    name: str
    answer: Any
    message: str


MOST_NUMBERS = 10_000  # in an answer; a weight of the model would fill a gigabyte as a list


@dataclass(frozen=True)
class Large:
    """A tensor or an array that is too large for an answer."""

    shape: tuple


@dataclass(frozen=True)
class Raised:
    """What a call gave that raised: its error in words, and the error itself, which says where."""

    text: str
    error: BaseException = field(compare=False)


@dataclass(eq=False, repr=False)
class Question:
    """What an exercise and a step of a build have: a question, hints, known mistakes, and what a right answer tells.

    Tab offers what `__dir__` names and what the class has: no field has its default there, and nothing is a property.
    """

    name: str
    question: str
    difficulty: int  # 1 to 3
    minutes: int
    hints: Sequence[str]
    takeaway: str
    mistakes: Sequence[Mistake]
    _hints_given: int = field(default=0, init=False)

    def __repr__(self):
        return f"{self.name} (difficulty {self.difficulty} of 3, {self.minutes} minutes): {self.question}"

    def __dir__(self):
        return ["check", "hint", "solution"]

    def hint(self) -> None:
        """Print the next hint."""
        if self._hints_given == len(self.hints):
            print("That was the last hint; solution() prints the answer.")
            return
        self._hints_given += 1
        print(f"Hint {self._hints_given} of {len(self.hints)}: {self.hints[self._hints_given - 1]}")

    def solution(self) -> None:
        """Print the solution as code."""
        print(self.source)


@dataclass(eq=False, repr=False)
class Exercise(Question):
    """A question in a cell, whose answer is a value or a function.

    `source` is the solution as code that assigns `answer` or defines a function of the exercise's name. With
    `cases`, tuples of arguments, the answer is a function that is tried on them; without, it is a value.
    """

    source: str
    cases: Sequence[tuple] = field(default_factory=tuple)

    def __getattr__(self, name):
        """Compute `reference`, the answer that the solution gives, when it is first asked for."""
        if name != "reference":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        namespace = {}
        exec(self.source, namespace)
        self.reference = namespace[self.name if self.cases else "answer"]
        return self.reference

    def check(self, *answers: Any, **named: Any) -> None:
        """Print whether the answer is still to do, right or wrong, and which known mistake it is; never raise."""
        answers = (*answers, *named.values())
        try:
            print(self._verdict(answers[0]) if len(answers) == 1 else self._miscounted(len(answers)))
        except (Exception, SystemExit) as error:  # an answer's own methods can raise anything
            found = f"{type(error).__name__}, type {type(answers[0]).__name__}"
            print(f"Not yet: the answer cannot be read ({found}); expected was {self._wanted()}.")

    def _wanted(self):
        """What an answer is, without giving it away."""
        return f"the function {self.name} itself" if self.cases else kind(plain(self.reference))

    def _miscounted(self, number):
        if number == 0:
            return f"Still to do: check() was given no answer; expected was {self._wanted()}. Stuck? Try hint()."
        found = f"check() takes one answer, got {number}; expected was {self._wanted()}"
        return f"Not yet: {found}. " + ("Leave out the rest." if self.cases else "Several values go into one tuple.")

    def _verdict(self, answer):
        if answer is ... or has_blank(answer):
            return "Still to do: replace ____ with your answer and run the cell again. Stuck? Try hint()."
        if self.cases and not callable(answer):
            return f"Not yet: pass the function itself, check({self.name}), not {kind(plain(answer))}."
        got, expected = self._observe(answer), self._observe(self.reference)
        if self.cases and (any(has_blank(result) for result, _ in got) or all(result is None for result, _ in got)):
            return "Still to do: the function returns ____ or None. Replace ____ and end with a return."
        if same(got, expected):
            return f"\x1b[32mCorrect.\x1b[0m {self.takeaway}"  # in green
        for mistake in self.mistakes:
            if same(got, self._observe(mistake.answer)):
                return f"Not yet ({mistake.name}): {mistake.message}"
        if not self.cases:
            return f"Not yet: {self._told(answer)}. Stuck? Try hint()."
        trials = zip(self.cases, got, expected, strict=True)
        case, result, wanted = next(trial for trial in trials if not same(*trial[1:]))
        call = f"{self.name}({', '.join(map(_argument, case))})"
        return f"Not yet: {call}\n{call_difference(result, wanted)}."

    def _told(self, answer):
        """What is wrong with a value that is no known mistake."""
        return _difference(plain(answer), plain(self.reference))

    def _observe(self, answer):
        """The answer as plain data; of a function, case by case, what it returns and leaves in its arguments."""
        return [call(answer, case) for case in self.cases] if self.cases else plain(answer)


def plain(value: Any) -> Any:
    """Tensors, arrays and tuples as nested lists, but for large ones; everything else as it is."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if not callable(getattr(value, "tolist", None)):
        return value
    shape = tuple(getattr(value, "shape", ()))
    return value.tolist() if math.prod(shape) <= MOST_NUMBERS else Large(shape)


def same(got: Any, expected: Any, absolute: float = 1e-6) -> bool:
    """Equality of plain data: decimals to one part in a thousand or to `absolute`, the rest exactly.

    Whole numbers count as equal where rounding alone tells them apart.
    """
    if isinstance(expected, list):
        alike = partial(same, absolute=absolute)
        return isinstance(got, list) and len(got) == len(expected) and all(map(alike, got, expected))
    if not (_is_number(got) and _is_number(expected)):
        return type(got) is type(expected) and got == expected
    if got != got or expected != expected:  # nan
        return got != got and expected != expected
    if abs(got) > sys.float_info.max or not (isinstance(got, float) or isinstance(expected, float)):
        return got == expected
    whole = isinstance(expected, int)  # 0.1 * 3 * 630 is 189.00000000000003
    return math.isclose(got, expected, rel_tol=1e-6 if whole else 1e-3, abs_tol=0.0 if whole else absolute)


def call(function: Callable, arguments: tuple) -> list:
    """Return [what the call gives or raises, its arguments afterwards] as plain data."""
    arguments = copy.deepcopy(arguments)
    try:
        return [plain(function(*arguments)), plain(arguments)]
    except (Exception, SystemExit) as error:
        return [Raised(in_words(error), error), None]


def in_words(error: BaseException) -> str:
    """Return the first line of an error, without its full stop and the place that a SyntaxError names."""
    message = error.msg if isinstance(error, SyntaxError) else error
    return _cut(f"{type(error).__name__}: {message}".splitlines()[0].rstrip(": ."), 150)


def has_blank(value: Any) -> bool:
    """Return whether there is a blank in plain data."""
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, Blank) or (isinstance(value, (list, tuple, set)) and any(map(has_blank, value)))


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def flat(value: Any) -> list:
    """Return the leaves of nested lists."""
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list) else [value]


def _shape(value):
    """The shape of nested lists, down to where their lengths begin to differ."""
    if not isinstance(value, list):
        return ()
    shapes = {_shape(item) for item in value}
    return (len(value), *(shapes.pop() if len(shapes) == 1 else ()))


def kind(value: Any) -> str:
    """Return what plain data is, without its values."""
    if isinstance(value, (list, Large)):
        shape = value.shape if isinstance(value, Large) else _shape(value)
        return f"values of shape {shape}" if len(shape) > 1 else f"{shape[0]} value" + "s" * (shape[0] != 1)
    if _is_number(value):
        return "a number"
    if value is None or isinstance(value, bool):
        return str(value)
    return "a function" if callable(value) else f"something of type {type(value).__name__}"


def _unquoted(value):
    return [show(leaf).strip("'") for leaf in flat(value)]


def _difference(got, expected):
    """What is wrong with a value, without giving the answer away."""
    if _is_number(got) and got != got:
        return "nan is not a number; perhaps a ____ is left in the formula"
    if same(flat(got), flat(expected)):
        return f"the values are right, the shape is not: expected {kind(expected)}, got {kind(got)}"
    if _unquoted(got) == _unquoted(expected):
        return f"the values are right, but numbers have no quotes: expected {kind(expected)}"
    if kind(got) != kind(expected):
        return f"expected {kind(expected)}, got {kind(got)}"
    if same(_spelt_alike(got), _spelt_alike(expected)):
        return "the words are right, their spelling is not: look at capitals, blanks and marks"
    if _is_near(got, expected):
        return f"{show(got)} is near: write the formula, and let Python keep the digits"
    return f"{show(got)} is not it"


def _spelt_alike(value):
    """The leaves, their texts in small letters and without blanks and marks around."""
    return [leaf.casefold().strip(" \n.()") if isinstance(leaf, str) else leaf for leaf in flat(value)]


def _is_near(got, expected):
    """Whether decimals are what somebody gives who rounds to two digits."""
    pairs = list(zip(flat(got), flat(expected), strict=False))
    return any(isinstance(leaf, float) for leaf, _ in pairs) and all(
        _is_number(leaf) and _is_number(wanted) and math.isclose(leaf, wanted, rel_tol=0.02) for leaf, wanted in pairs
    )


def call_difference(result: list, wanted: list) -> str:
    """Return what is wrong with a call: both sides are [returned value, arguments afterwards]."""
    if isinstance(result[0], Raised):
        return f"raises {result[0].text}"
    got, expected = result[0], wanted[0]
    if same(got, expected):
        return "returns the right value, but changes what it was given"
    if same(flat(got), flat(expected)) and kind(got) != kind(expected):
        return f"gives the right values in the wrong shape: expected {kind(expected)}, got {kind(got)}"
    if kind(got) != kind(expected) and (len(_shape(expected)) > 1 or show(got) == show(expected)):
        return f"should give {kind(expected)}, got {kind(got)}"
    place = ""
    if show(got) == show(expected):  # the part that is shown is right
        place, got, expected = _first_difference(got, expected)
    return f"should give {show(expected)}{place}, got {show(got)}"


def _first_difference(got, expected, place=" at "):
    """Where two nested lists begin to differ, as " at [0][2]", and what stands there."""
    if not (isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected)):
        return place, got, expected
    index = next(i for i, pair in enumerate(zip(got, expected, strict=True)) if not same(*pair))
    return _first_difference(got[index], expected[index], f"{place}[{index}]")


def _argument(value):
    """An argument as it is shown: a function by its name."""
    return value.__name__.strip("_") if inspect.isfunction(value) else show(plain(value))


def _cut(text, most):
    return text if len(text) <= most else text[: most - 3] + "..."


def show(value: Any) -> str:
    """Plain data in at most 72 characters, the same on every machine."""
    if isinstance(value, list):
        text = "[" + ", ".join(map(show, value[:12])) + (", ..." if len(value) > 12 else "") + "]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{show(key)}: {show(plain(item))}" for key, item in list(value.items())[:12]) + "}"
    elif isinstance(value, (set, frozenset)):
        text = "{" + ", ".join(sorted(map(show, value))[:12]) + "}" if value else "an empty set"
    elif isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, int) and abs(value) > sys.float_info.max:
        text = "a number of more than 300 digits"  # Python refuses to write out the longest ones
    else:
        text = repr(value) if isinstance(value, (str, int, type(None))) else kind(value)
    return _cut(text, 72)
