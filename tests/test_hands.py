"""The course in learners' hands: wrong kinds of answers, cells out of order and twice, a restart, a deleted model."""

import copy
import functools
import math
import re
import warnings
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

import lorautils.exercises as exercises
from lorautils.exercises import Exercise, registry
from lorautils.exercises.engine import plain

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
EXERCISES = [entry for entries in registry().values() for entry in entries if isinstance(entry, Exercise)]
VALUES = [exercise for exercise in EXERCISES if not exercise.cases]
FUNCTIONS = [exercise for exercise in EXERCISES if exercise.cases]


def each(exercises):
    return pytest.mark.parametrize("exercise", exercises, ids=lambda exercise: exercise.name)


class Said(str):
    """What a check printed."""

    @property
    def right(self) -> bool:
        return self.startswith("\x1b[32mCorrect.")

    @property
    def to_do(self) -> bool:
        return self.startswith("Still to do: ")


EXPECTATION = re.compile(
    r"expected|should give|raises \w+|pass the function itself|^Not yet \(|is not it\. Stuck\? Try hint"
    r"|nan is not a number|but changes what it was given|is near: write the formula"
)


@pytest.fixture
def said(capsys):
    """Check an answer and return what was printed, after a look at whether it helps."""

    def check(exercise: Exercise, *answers, **named) -> Said:
        assert exercise.check(*answers, **named) is None
        captured = capsys.readouterr()
        text = Said(captured.out)
        assert captured.err == "" and "Traceback" not in text and " at 0x" not in text
        assert 1 <= len(text.splitlines()) <= 2 and len(text) < 400, text
        assert text.right or text.to_do or (text.startswith("Not yet") and EXPECTATION.search(text)), text
        return text

    return check


# --- answers of the wrong kind ----------------------------------------------------------------------------------------


def endless(*arguments):
    return endless(*arguments)


def generator(*arguments):
    yield 1


class Callable:
    def __call__(self):
        return 1


class Hostile:
    """Raises at every touch, also where Python itself reaches in."""

    def __getattribute__(self, name):
        raise RuntimeError("hands off")

    __eq__ = __repr__ = __str__ = __len__ = __bool__ = __iter__ = __float__ = __hash__ = lambda self, *a: 1 / 0


class RaisingArray:
    def tolist(self):
        raise MemoryError


def in_itself():
    inner = []
    inner.append(inner)
    return inner


def raiser(error):
    def function(*arguments):
        raise error

    return function


class Wordless(Exception):
    def __str__(self):
        raise ValueError("no words")


NEVER_RIGHT = {
    "None": None,
    "a text": "twelve",
    "an empty text": "",
    "nan": math.nan,
    "nan in a tensor": torch.tensor(math.nan),
    "infinity": math.inf,
    "huge": 1e30,
    "a whole number beyond all floats": 10**400,
    "a number too long to print": -(10**5000),
    "a complex number": 1j,
    "bytes": b"12",
    "empty list": [],
    "empty tensor": torch.empty(0),
    "a weight of the model": torch.empty(49152, 576),
    "a large array": np.zeros((300, 300)),
    "a list with None": [None, None],
    "a list with a text": ["1", "2"],
    "ragged lists": [[1.0], [2.0, 3.0]],
    "a dictionary": {"answer": 3},
    "a set": {3},
    "a generator": (i for i in range(3)),
    "a range": range(3),
    "a module of Python": math,
    "a layer": torch.nn.Linear(2, 2),
    "a class": torch.nn.Linear,
    "an exercise": EXERCISES[0],
    "half a character": "\ud800",
    "a long text": "x" * 10_000,
    "a list in itself": in_itself(),
    "hostile": Hostile(),
    "a list with something hostile": [None, Hostile()],
    "an array that raises": RaisingArray(),
    "an array of objects": np.array(["a", None], dtype=object),
    "an object": object(),
    "a function that raises": raiser(RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)")),
    "a function that ends the process": raiser(SystemExit(1)),
    "a function that raises without words": raiser(Wordless()),
    "a function that returns something hostile": lambda *arguments: Hostile(),
    "a function that returns a list in itself": lambda *arguments: in_itself(),
    "a function that returns half a character": lambda *arguments: "\ud800" * 200,
    "a function that calls itself": endless,
    "a function without arguments": lambda: 1,
    "a function of one argument": lambda one: 1,
    "a function of nine arguments": lambda a, b, c, d, e, f, g, h, i: 1,
    "a function of keywords": lambda *, key: 1,
    "a function that is unfinished": functools.partial(raiser(RuntimeError()), 1),
    "a function that yields": generator,
    "a function that returns a function": lambda *arguments: endless,
    "an object that can be called": Callable(),
    "a sparse tensor": torch.eye(2).to_sparse(),
    "a tensor without values": torch.empty(2, device="meta"),
    "torch.Tensor": torch.Tensor,
}


@each(EXERCISES)
def test_what_is_no_answer_is_told_what_was_expected(said, exercise):
    for name, answer in NEVER_RIGHT.items():
        text = said(exercise, answer)
        assert not text.right and not text.to_do, name


@each(EXERCISES)
def test_no_answer_and_too_many_are_told_what_was_expected(said, exercise):
    assert "expected was" in said(exercise) and said(exercise).to_do
    for arguments in [(1, 2), (exercise.reference, 3), (1536, 576, None)]:
        assert f"takes one answer, got {len(arguments)}; expected was" in said(exercise, *arguments)
    assert said(exercise, answer=exercise.reference).right
    assert "takes one answer, got 2" in said(exercise, a=1, b=2)


@each(FUNCTIONS)
def test_the_result_instead_of_the_function(said, exercise):
    for case in exercise.cases:
        result = exercise.reference(*copy.deepcopy(case))
        assert f"pass the function itself, check({exercise.name})" in said(exercise, result)


@each(VALUES)
def test_the_function_instead_of_the_result(said, exercise):
    assert ", got a function" in said(exercise, lambda: exercise.reference)


# --- the right values in another form ---------------------------------------------------------------------------------

SAME = {  # what a right answer may become without being wrong
    "plain lists": plain,
    "an array": np.asarray,
    "a tensor": torch.as_tensor,
    "float64": lambda value: torch.as_tensor(value).double(),
    "with a gradient": lambda value: torch.as_tensor(value).double().requires_grad_(),
    "a parameter": lambda value: torch.nn.Parameter(torch.as_tensor(value).double()),
}
OTHER = {  # right or not, as the numbers go: never an error
    "bf16": lambda value: torch.as_tensor(value).bfloat16(),
    "float16": lambda value: torch.as_tensor(value).half(),
    "int64": lambda value: torch.as_tensor(value).long(),
    "complex": lambda value: torch.as_tensor(value).to(torch.complex64),
    "a text": str,
    "numbers as texts": lambda value: [str(number) for number in np.asarray(value).ravel()],
}
WRONG = {  # what makes any right answer of numbers wrong
    "in a list": lambda value: [plain(value)],
    "one axis more": lambda value: torch.as_tensor(value)[..., None],
    "doubled": lambda value: [plain(value)] * 2,
    "nan": lambda value: torch.full_like(torch.as_tensor(value, dtype=torch.float64), math.nan),
    "infinite": lambda value: torch.full_like(torch.as_tensor(value, dtype=torch.float64), math.inf),
    "huge": lambda value: torch.as_tensor(value, dtype=torch.float64) * 1e30 + 1e30,
    "the negative, shifted": lambda value: -torch.as_tensor(value, dtype=torch.float64) - 7,
}


def is_numbers(value) -> bool:
    try:
        return np.asarray(plain(value)).dtype.kind in "if"
    except ValueError:  # two factors of different shapes
        return False


def after(change, function):
    def answer(*arguments):
        value = function(*arguments)  # several tensors of one shape are one block, too
        return change(torch.stack(value) if isinstance(value, tuple) and torch.is_tensor(value[0]) else value)

    return answer


def changed(exercise: Exercise, change):
    """The right answer after `change`; None where it does not consist of numbers in one block."""
    results = [exercise.reference(*copy.deepcopy(case)) for case in exercise.cases] or [exercise.reference]
    if not all(map(is_numbers, results)):
        return None
    return after(change, exercise.reference) if exercise.cases else change(exercise.reference)


@each(EXERCISES)
def test_the_right_values_in_another_type_are_right(said, exercise):
    for name, change in SAME.items():
        answer = changed(exercise, change)
        assert answer is None or said(exercise, answer).right, name


@each(EXERCISES)
def test_the_right_values_in_a_coarser_type_are_answered(said, exercise):
    for change in OTHER.values():
        if (answer := changed(exercise, change)) is not None:
            assert not said(exercise, answer).to_do


@each(EXERCISES)
def test_the_right_values_in_another_shape_and_wrong_values_are_wrong(said, exercise):
    for name, change in WRONG.items():
        if (answer := changed(exercise, change)) is not None:
            text = said(exercise, answer)
            assert not text.right and not text.to_do, name
            if name in ("in a list", "one axis more") and "Not yet (" not in text:
                assert "the right values in the wrong shape" in text or "values are right, the shape is not" in text


@each(FUNCTIONS)
def test_transposed_and_flattened_results_are_wrong_where_they_differ(said, exercise):
    if changed(exercise, plain) is None:
        return
    results = [np.asarray(plain(exercise.reference(*copy.deepcopy(case)))) for case in exercise.cases]
    tables = [result for result in results if result.ndim == 2 and min(result.shape) > 1]
    if tables:
        flat = after(lambda value: torch.as_tensor(value).flatten(), exercise.reference)
        assert "wrong shape" in said(exercise, flat)
    if not all(table.shape == table.T.shape and np.allclose(table, table.T) for table in tables):
        assert not said(exercise, after(lambda value: torch.as_tensor(value).mT, exercise.reference)).right


@each(FUNCTIONS)
def test_a_wrong_last_number_is_shown(said, exercise):
    """Not "should give [1, 2, ...], got [1, 2, ...]", with the difference behind the dots."""

    def spoil(value):
        value = np.array(plain(value), dtype=float)
        value.flat[-1] += 100
        return value.tolist()

    if changed(exercise, plain) is not None:
        text = said(exercise, after(spoil, exercise.reference))
        wanted, given = re.search(r"should give (.*?), got (.*)\.$", text, re.DOTALL).groups()
        assert re.sub(r" at (\[\d+\])+$", "", wanted) != given, text


def test_the_place_of_a_difference_is_named(said):
    exercise = exercises.nb04.to_neighbours
    spoiled = after(lambda value: (value[-1:].fill_(99.0), value)[1], exercise.reference)
    assert re.search(r"should give \S+ at \[7\]\[0\], got 99\.", said(exercise, spoiled))


def test_whole_numbers_may_be_off_by_rounding(said):
    assert said(exercises.nb07.fused_count, 0.1 * 3 * 81920).right  # 24576.000000000004
    assert not said(exercises.nb07.fused_count, 24576.5).right


def test_errors_are_cut_to_one_line(said):
    for exercise in FUNCTIONS:
        assert "..." in said(exercise, raiser(ValueError("x" * 5000 + "\nsecond line")))
        assert "raises RuntimeError." in said(exercise, raiser(RuntimeError()))


def test_an_interrupt_reaches_the_learner_and_does_no_harm(said):
    exercise = exercises.nb08.keep_the_stop
    with pytest.raises(KeyboardInterrupt):
        exercise.check(raiser(KeyboardInterrupt()))
    assert said(exercise, exercise.reference).right


# --- right answers, whatever the notebook has set ---------------------------------------------------------------------


@contextmanager
def default_float64():
    torch.set_default_dtype(torch.float64)  # as notebook 03 does
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


SETTINGS = {
    "no gradients": torch.no_grad,  # as notebooks 04 and 05 do
    "inference": torch.inference_mode,
    "float64": default_float64,
    "warnings are errors": warnings_as_errors,
    "floating-point errors": lambda: np.errstate(all="raise"),
    "autocast": lambda: torch.autocast("cpu", enabled=False),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_solutions_are_right_whatever_the_notebook_has_set(said, setting):
    for exercise in EXERCISES:
        namespace = {}
        exec(exercise.source, namespace)
        with setting():
            assert said(exercise, namespace[exercise.name if exercise.cases else "answer"]).right, exercise.name
            for mistake in exercise.mistakes:
                assert said(exercise, mistake.answer).startswith(f"Not yet ({mistake.name})")


# --- cells out of order -----------------------------------------------------------------------------------------------


def code_cells(name: str) -> list:
    nb = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    return [cell for cell in nb.cells if cell.cell_type == "code"]


NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_exercises_before_everything_else_miss_a_name_or_are_still_to_do(name, capsys):
    cells = [cell for cell in code_cells(name) if re.search(r"nb\d\d\.\w+\.check\(", cell.source)]
    imports = next(cell for cell in code_cells(name) if "import ____" in cell.source)
    assert len(cells) == len(registry()[name])
    for cell in cells:
        with pytest.raises(NameError, match=r"name '(____|nb\d\d|\w+)' is not defined"):
            exec(cell.source, {})
        namespace = {}
        exec(imports.source, namespace)
        capsys.readouterr()
        try:
            exec(cell.source, namespace)
        except NameError as error:
            assert any(error.name in before.source for before in code_cells(name)), error
        else:
            assert capsys.readouterr().out.startswith(("Still to do: ", "Not started: "))


class Learner:
    """A notebook in a kernel, whose cells are run by their ids, in any order."""

    def __init__(self, name: str):
        self.nb = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        self.places = {cell.id: index for index, cell in enumerate(self.nb.cells)}
        folder = {"metadata": {"path": str(NOTEBOOKS)}}
        self.client = NotebookClient(self.nb, timeout=120, kernel_name="python3", allow_errors=True, resources=folder)

    def run(self, *ids: str) -> list[str]:
        """Run cells, and return their errors as a learner reads them."""
        errors = []
        for index in map(self.places.get, ids):
            outputs = self.client.execute_cell(self.nb.cells[index], index).outputs
            errors += [f"{out.ename}: {out.evalue}" for out in outputs if out.output_type == "error"]
        return errors

    def type(self, source: str) -> list[str]:
        """Run a line of the learner's own."""
        self.nb.cells.append(nbformat.v4.new_code_cell(source, id="typed"))
        self.places["typed"] = len(self.nb.cells) - 1
        return self.run("typed")


def test_cells_twice_out_of_order_after_a_restart_and_after_the_model_is_gone():
    learner = Learner("03_projection_matrices")
    ids = [cell.id for cell in code_cells("03_projection_matrices")]
    before_the_model = ids[: ids.index("svd-large")]
    with learner.client.setup_kernel():
        assert learner.run("plane-projector") == ["NameError: name 'torch' is not defined"]
        for cell in before_the_model:
            assert learner.run(cell, cell) == []
        assert learner.run("svd-large", "svd-large", "one-hot", "one-hot") == []
        assert learner.type("del model") == []
        assert learner.run("one-hot") == ["NameError: name 'model' is not defined"]
        assert learner.run("svd-large", "one-hot") == []
    with learner.client.setup_kernel():  # restarted in the middle
        assert learner.run("pca") == ["NameError: name 'X' is not defined"]
        assert learner.run("imports", "svd-large", "one-hot", "words", "vectors", "pca") == []
        assert learner.run("exercise-pca-cell") == ["NameError: name 'nb03' is not defined"]
        assert learner.run("exercise-imports", "exercise-pca-cell", "exercise-pca-cell") == []
