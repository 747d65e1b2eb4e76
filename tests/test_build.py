"""A build in the hands of a learner: a file with code of every kind, right, wrong, broken, and in any order."""

import copy
import importlib
import sys

import notebook_rules as rules
import pytest
import torch
from IPython.core.completer import IPCompleter
from nbformat.v4 import new_code_cell, new_notebook

import lorautils
from lorautils.exercises import Build, Case, Mistake, Step, nb00, nb03, registry
from lorautils.exercises.engine import Large, flat
from tools import generated

STANDS = "\x1b[32mstands.\x1b[0m"


def softmax(x):
    """Map scores (..., n) to shares of the same shape that sum to 1 over the last dimension."""
    powers = torch.exp(x - x.max(dim=-1, keepdim=True).values)
    return powers / powers.sum(dim=-1, keepdim=True)


class Attention(torch.nn.Module):
    """Attention without weights."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, q, k, v):
        """Map q, k, v (tokens, size) to (tokens, size)."""
        return softmax(q @ k.T / self.scale) @ v


def over_the_rows(x):
    return torch.exp(x) / torch.exp(x).sum(dim=0, keepdim=True)


def naive(x):
    return torch.exp(x) / torch.exp(x).sum(dim=-1, keepdim=True)


class Unscaled(Attention):
    def forward(self, q, k, v):
        return softmax(q @ k.T) @ v


def attend(answer, scale, *tensors):
    return answer(scale)(*tensors)


X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]])
BUILD = Build(
    name="toy",
    question="Write attention without weights.",
    header="import torch",
    steps=(
        Step(
            name="softmax",
            question="Turn scores into shares.",
            difficulty=1,
            minutes=3,
            hints=("Exponentiate first.", "Divide by the sum over the last dimension."),
            takeaway="The largest share goes to the largest score.",
            mistakes=(
                Mistake("sum over the rows", over_the_rows, "the shares of one token sum to 1: dim=-1."),
                Mistake("overflow", naive, "exp(1000) is inf: subtract the largest score first."),
            ),
            reference=softmax,
            cases=(
                Case("two scores", (torch.tensor([0.0, 1.0]),)),
                Case("three tokens", (X,)),
                Case("large scores", (torch.tensor([1000.0, 999.0]),)),
            ),
        ),
        Step(
            name="attention",
            question="Let each token take a weighted mean of v.",
            difficulty=2,
            minutes=5,
            hints=("Scores are q @ k.T.",),
            takeaway="That is a head.",
            mistakes=(Mistake("no scale", Unscaled, "divide the scores by the scale."),),
            reference=Attention,
            cases=(
                Case("one token", (2.0, X[:1], X[:1], X[:1]), attend),
                Case("three tokens", (2.0, X, X.flip(0), X + 1), attend),
            ),
            needs=("softmax",),
            given=("__init__",),
        ),
    ),
)
SOFTMAX, ATTENTION = (step.source for step in BUILD.steps)
HEAD = "import torch\n\n\n"


@pytest.fixture
def my(tmp_path, monkeypatch):
    """The learner's folder."""
    monkeypatch.delenv("LORAUTILS_MY")  # which conftest.py sets
    monkeypatch.setattr(lorautils, "ROOT", tmp_path)
    return tmp_path / "my"


@pytest.fixture
def said(my, capsys):
    """Put code into my/toy.py and return what a check prints, with the folder's own checks of every text."""

    def check(source, checker=BUILD):
        my.mkdir(exist_ok=True)
        (my / "toy.py").write_text(source)
        assert checker.check() is None
        captured = capsys.readouterr()
        assert captured.err == "" and "Traceback" not in captured.out and str(my) not in captured.out
        return captured.out

    return check


def test_before_the_start_there_is_one_line_and_nothing_is_written(my, capsys):
    BUILD.check()
    BUILD.attention.check()
    assert capsys.readouterr().out == "Not started: start() writes my/toy.py.\n" * 2
    assert not my.exists()


def test_what_a_notebook_in_ci_prints_does_not_depend_on_the_learners_files(my, monkeypatch, capsys):
    my.mkdir()
    (my / "toy.py").write_text(HEAD + SOFTMAX)
    monkeypatch.setenv("LORAUTILS_MY", str(my / "nobody"))
    BUILD.check()
    assert capsys.readouterr().out.startswith("Not started: ")


def test_the_skeleton_has_signatures_docstrings_and_what_is_given_and_is_not_started(my, capsys):
    BUILD.start()
    assert capsys.readouterr().out.startswith("my/toy.py is written. Open it in JupyterLab")
    text = (my / "toy.py").read_text()
    for line in ("import torch", "def softmax(x):", "(..., n)", "self.scale = scale", "def forward(self, q, k, v):"):
        assert line in text
    assert "exp" not in text and "q @ k" not in text and text.count("raise NotImplementedError") == 2
    BUILD.check()
    assert capsys.readouterr().out == "softmax: not started.\nattention: not started.\n"


def test_a_second_start_keeps_the_learners_file(my, capsys):
    BUILD.start()
    written = (my / "toy.py").read_text().replace("raise NotImplementedError", "pass  # mine")
    (my / "toy.py").write_text(written)
    BUILD.start()
    assert (my / "toy.py").read_text() == written
    assert "stays as it is" in capsys.readouterr().out


def test_a_second_build_of_a_file_adds_its_steps_at_the_end(my, capsys):
    first, second = (
        Build("toy", "Write it.", "import torch", [copy.copy(step) for step in BUILD.steps[:n]]) for n in (1, 2)
    )
    first.start()
    written = (my / "toy.py").read_text().replace("raise NotImplementedError", "return x.softmax(dim=-1)")
    (my / "toy.py").write_text(written)
    capsys.readouterr()
    second.start()
    assert "my/toy.py has at its end what is to do now, Attention." in capsys.readouterr().out
    text = (my / "toy.py").read_text()
    assert text.startswith(written) and text.count("import torch") == text.count("class Attention") == 1
    second.check()
    assert capsys.readouterr().out == f"softmax: {STANDS} {BUILD.softmax.takeaway}\nattention: not started.\n"


def test_the_solutions_stand(said):
    text = said(HEAD + SOFTMAX + "\n\n\n" + ATTENTION)
    assert text == "".join(f"{step.name}: {STANDS} {step.takeaway}\n" for step in BUILD.steps)


@pytest.mark.parametrize(("wrong", "name"), [(over_the_rows, "sum over the rows"), (naive, "overflow")])
def test_a_known_mistake_is_named(said, wrong, name):
    axis = 0 if wrong is over_the_rows else -1
    text = said(HEAD + f"def softmax(x):\n    return x.exp() / x.exp().sum({axis}, keepdim=True)\n", BUILD.softmax)
    assert text.startswith(f"softmax: not yet ({name}): ")


def test_a_known_mistake_in_a_class_is_named(said):
    text = said(HEAD + SOFTMAX + "\n\n\n" + ATTENTION.replace(" / self.scale", ""), BUILD.attention)
    assert text == "attention: not yet (no scale): divide the scores by the scale.\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("return x", 'not yet, at "two scores":\n    given [0, 1]\n    should give [0.2689, 0.7311], got [0, 1].'),
        ("y = 1\n    return y / 0", "raises ZeroDivisionError: division by zero (my/toy.py, line 6)."),
        ("return softmax(x)", "raises RecursionError: maximum recursion depth exceeded"),
        ("raise SystemExit", "raises SystemExit (my/toy.py, line 5)."),
        ("raise NotImplementedError('on a GPU')", "raises NotImplementedError: on a GPU (my/toy.py, line 5)."),
        ("return torch.softmax(x, -1)[None]", "right values in the wrong shape"),
        (
            "y = torch.softmax(x, -1)\n    return y[:1] if x.dim() > 1 else y",
            'not yet, at "three tokens":\n    given [[1, 2], [0.5, -1], [0, 3]]\n    '
            "should give values of shape (3, 2), got values of shape (1, 2).",
        ),
        ("y = torch.softmax(x, -1)\n    x.zero_()\n    return y", "changes what it was given"),
        ("return None", "not yet: it returns None. Is a return missing?"),
        ("from lorautils.exercises import ____\n    return ____ / 2", "not started: returns ____."),
    ],
)
def test_a_wrong_step_is_told_what_and_where(said, code, told):
    text = said(f"{HEAD}def softmax(x):\n    {code}\n", BUILD.softmax)
    assert text.startswith("softmax: not ") and told in text and len(text) < 400


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def softmax():\n    return 1\n", "but 1 was given (where the check uses it)."),
        ("softmax = 3\n", "raises TypeError: 'int' object is not callable"),
        ("def sofmax(x):\n    return x\n", "softmax: not started: there is no softmax in my/toy.py."),
        (
            "class Odd(float):\n    __ne__ = lambda self, other: 1 / 0\n\n\ndef softmax(x):\n    return [Odd(), 1]\n",
            "not yet: what softmax gives cannot be read (ZeroDivisionError).",
        ),
    ],
)
def test_what_is_no_step_is_told(said, code, told):
    assert told in said(HEAD + code, BUILD.softmax)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import torch\ndef softmax(x:\n", "SyntaxError: '(' was never closed (my/toy.py, line 2)."),
        ("import torch\n  x = 1\n", "IndentationError: unexpected indent (my/toy.py, line 2)."),
        ("import numby\n", "ModuleNotFoundError: No module named 'numby' (my/toy.py, line 1)."),
        ("x = 1\nx.y\n", "AttributeError: 'int' object has no attribute 'y' (my/toy.py, line 2)."),
        ("def f():\n    return f()\nf()\n", "RecursionError: maximum recursion depth exceeded"),
        ("raise SystemExit(1)\n", "SystemExit: 1 (my/toy.py, line 1)."),
        ("x = '\0'\n", "cannot be run: "),
    ],
)
def test_a_file_that_cannot_be_run_is_told_in_one_line(said, source, told):
    for checker in (BUILD, BUILD.attention):
        text = said(source, checker)
        assert text.startswith("my/toy.py cannot be run: ") and told in text and text.count("\n") == 1


def test_a_later_step_stands_on_the_packages_where_an_earlier_one_fails(said):
    for first in ("def softmax(x):\n    return x * 0", "def softmax(x):\n    raise NotImplementedError", "pass"):
        lines = said(HEAD + first + "\n\n\n" + ATTENTION).splitlines()
        assert lines[0].startswith("softmax: not ")
        assert lines[-1].startswith(f"attention: {STANDS}") and lines[-1].endswith("with the package's softmax.)")
        assert said(HEAD + first + "\n\n\n" + ATTENTION, BUILD.attention) == lines[-1] + "\n"


def test_a_later_step_uses_the_learners_own_where_it_stands(said):
    own = "def softmax(x):\n    print('mine')\n    return torch.softmax(x, -1)\n\n\n"
    text = said(HEAD + own + ATTENTION, BUILD.attention)
    assert text.count("mine") > len(BUILD.softmax.cases) and "package's" not in text


def test_the_file_is_read_anew_each_time_and_so_is_the_next_import(said, my, monkeypatch):
    monkeypatch.syspath_prepend(str(my.parent))
    monkeypatch.delitem(sys.modules, "my", raising=False)
    wrong, right = (f"def softmax(x):\n    return torch.softmax(x, {dim})\n" for dim in (" 0", "-1"))
    assert "not yet" in said(HEAD + wrong, BUILD.softmax)
    assert importlib.import_module("my.toy").softmax(X)[0, 0] != softmax(X)[0, 0]
    assert STANDS in said(HEAD + right, BUILD.softmax)  # as long, and within the same second
    assert "my.toy" not in sys.modules
    monkeypatch.delitem(sys.modules, "my")


def test_a_dataclass_in_the_file_finds_its_module(said):
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + HEAD
    assert STANDS in said(source + "@dataclass\nclass Config:\n    size: int\n\n\n" + SOFTMAX, BUILD.softmax)


def test_rounding_in_float32_is_no_mistake(said):
    step = copy.copy(BUILD.softmax)
    step.cases = (Case("unequal sizes", (torch.tensor([1e4, 1e-3]),), lambda answer, x: x * answer(torch.ones(2))),)
    step.build = build = copy.copy(BUILD)
    build.steps = (step,)
    nearly = "def softmax(x):\n    return torch.tensor([0.5, 0.500{}])\n"
    assert STANDS in said(HEAD + nearly.format("01"), step)
    step.cases = (Case("sizes of one", (torch.tensor([1.0, 1.0]),)),)
    assert "not yet" in said(HEAD + nearly.format("9"), step)


def test_hints_come_one_by_one_and_the_solution_is_the_packages_code(capsys):
    step = copy.copy(BUILD.softmax)
    for _ in range(3):
        step.hint()
    step.solution()
    assert capsys.readouterr().out.splitlines() == [
        "Hint 1 of 2: Exponentiate first.",
        "Hint 2 of 2: Divide by the sum over the last dimension.",
        "That was the last hint; solution() prints the answer.",
        *SOFTMAX.splitlines(),
    ]


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (nb00.count_trainable, "check hint solution"),
        (BUILD.softmax, "check hint solution"),
        (BUILD, "attention check hint softmax start"),
    ],
)
def test_tab_offers_what_a_learner_needs_and_not_the_answer(offered, expected):
    completer = IPCompleter(shell=None, namespace={"it": offered}, use_jedi=False)
    found = [word for word in completer.attr_matches("it.") if "._" not in word]
    assert sorted(found) == [f"it.{name}" for name in expected.split()]


def test_the_page_of_wrong_answers_names_the_steps(monkeypatch):
    monkeypatch.setattr("tools.generated.registry", lambda: {"05_mlp": [BUILD]})
    page = generated.wrong_answers()
    assert "### `toy.softmax`" in page and "| no scale | divide the scores by the scale. |" in page


def test_a_notebook_may_have_one_build_which_a_cell_checks(monkeypatch):
    monkeypatch.setattr(rules, "registry", lambda: {"05_mlp": [BUILD, BUILD, BUILD]})
    nb = new_notebook(cells=[new_code_cell("nb05.tool.check()")])
    problems = list(rules.exercises(nb, "05_mlp"))
    assert "more than one build in lorautils.exercises for '05_mlp'" in problems
    assert "exercise toy: no cell calls its check()" in problems
    assert "exercise attention: fewer than two named wrong answers" in problems


def test_columns_that_are_dependent_but_for_rounding_do_not_stand():
    def orthonormal(A):
        columns = []
        for a in A.T:
            for q in columns:
                a = a - (q @ a) * q
            if a.norm() > 0:
                columns.append(a / a.norm())
        return torch.stack(columns, dim=1)

    assert not nb03.linalg.orthonormal._judge(orthonormal, lambda error: "").stands


BUILDS = [BUILD, *(entry for entries in registry().values() for entry in entries if isinstance(entry, Build))]
each_build = pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)


@each_build
def test_a_build_is_complete(build, my, capsys):
    build.start()
    capsys.readouterr()
    build.check()
    assert capsys.readouterr().out == "".join(f"{step.name}: not started.\n" for step in build.steps)
    earlier = set()
    for step in build.steps:
        assert step.hints and step.mistakes and len(step.question) < 118 and set(step.needs) <= earlier
        earlier.add(step.name)
        results = [case.observe(step.reference)[0] for case in step.cases]
        assert not any(isinstance(leaf, Large) for result in results for leaf in flat(result)), "returns too much"
        skeletons = [other._skeleton() for other in build.steps if other is not step]
        (my / f"{build.name}.py").write_text("\n\n\n".join([build.header, *skeletons, step.source]) + "\n")
        step.check()
        assert capsys.readouterr().out.startswith(f"{step.name}: {STANDS}"), (
            "does it call a step that it does not need?"
        )
        for mistake in step.mistakes:
            assert step._judge(mistake.answer, lambda error: "").text == f"not yet ({mistake.name}): {mistake.message}"
