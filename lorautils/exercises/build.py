"""A build: an exercise in named steps, written in a file of the learner's own, my/NAME.py, and checked step by step.

Steps may be written in any order: what a step needs and does not stand yet is lent by the package, whose code is also
the solution, and whose signatures and docstrings are the skeleton that `start()` writes.
"""

import ast
import importlib.util
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import SourceFileLoader
from typing import NamedTuple

import lorautils

from .engine import Question, Raised, call, call_difference, flat, has_blank, in_words, plain, same, show


def _call_it(answer, *arguments):
    return answer(*arguments)


class Case(NamedTuple):
    """A check with a name: small arguments, which are copied and shown, and how an answer is tried on them."""

    name: str
    arguments: tuple
    use: Callable = _call_it
    follows: bool = False  # from the cases before it, so that it tells no mistake from another

    def observe(self, answer: Callable) -> list:
        """Return what an answer gives and what it leaves in its arguments, as plain data."""
        return call(partial(self.use, answer), self.arguments)


class Outcome(NamedTuple):
    """What became of a step, in words."""

    stands: bool
    text: str


@dataclass(eq=False, repr=False)
class Step(Question):
    """A step of a build: the learner writes a function or a class of the reference's name that does what it does.

    The cases run from hand-sized to real. `needs` names the earlier steps that this one calls, `given` the methods
    that stand in the skeleton with their bodies.
    """

    reference: Callable
    cases: Sequence[Case]
    needs: Sequence[str] = field(default_factory=tuple)
    given: Collection[str] = field(default_factory=tuple)

    def __post_init__(self):
        self.source = inspect.getsource(self.reference).rstrip()
        self.target = self.reference.__name__  # what the learner writes

    def check(self) -> None:
        """Print whether the step stands, fails and why, or is not started; never raise."""
        self.build._report([self])

    def _skeleton(self):
        """The question, signatures and docstrings of the solution, and the bodies of the methods that are given."""
        lines, tree = self.source.splitlines(), ast.parse(self.source).body[0]
        functions = [node for node in getattr(tree, "body", []) if isinstance(node, ast.FunctionDef)]
        for node in reversed([tree] if isinstance(tree, ast.FunctionDef) else functions):
            if node.name not in self.given:
                first = node.body[0]
                begin = first.end_lineno if ast.get_docstring(node) else first.lineno - 1
                lines[begin : node.end_lineno] = [" " * first.col_offset + "raise NotImplementedError"]
        return "\n".join([f"# {self.question}", *lines])

    def _judge(self, answer, place):
        """Try an answer on the cases up to the first that fails; `place` says where in the file an error arose."""
        first = self.cases[0].observe(answer)[0]
        if isinstance(first, Raised) and first.text == "NotImplementedError":
            return Outcome(False, "not started.")
        if has_blank(first):
            return Outcome(False, "not started: returns ____.")
        if first is None:
            return Outcome(False, "not yet: it returns None. Is a return missing?")
        for case in self.cases:
            got, expected = case.observe(answer), case.observe(self.reference)
            if not _alike(got, expected):
                given = ", ".join(show(plain(argument)) for argument in case.arguments)
                where = (place(got[0].error) or " (where the check uses it)") if isinstance(got[0], Raised) else ""
                told = f'not yet, at "{case.name}":\n    given {given}\n    {call_difference(got, expected)}{where}.'
                return Outcome(False, self._recognised(answer) or told)
        return Outcome(True, f"\x1b[32mstands.\x1b[0m {self.takeaway}")  # in green

    def _recognised(self, answer):
        for mistake in self.mistakes:
            telling = [case for case in self.cases if not case.follows]
            if all(_alike(case.observe(answer), case.observe(mistake.answer)) for case in telling):
                return f"not yet ({mistake.name}): {mistake.message}"
        return ""


def with_weights(answer: Callable, config, weights: dict):
    """Build a learner's module, and give it weights that have the names of transformers; ValueError if they differ."""
    module = answer(config)
    found = module.state_dict()
    for name, weight in weights.items():
        if name not in found:
            yours = ", ".join(found) or "none: wrap a tensor in nn.Parameter, and a list of layers in nn.ModuleList"
            raise ValueError(f"no weight is called {name!r}, as in transformers; yours are {yours}")
        if found[name].shape != weight.shape:
            raise ValueError(f"{name} has shape {tuple(found[name].shape)}, expected {tuple(weight.shape)}")
    if extra := [name for name, _ in module.named_parameters() if name not in weights]:
        raise ValueError(f"transformers has no weight {extra[0]!r} there; expected are {', '.join(weights)}")
    module.load_state_dict(weights, strict=False, assign=True)
    return module.eval()


def _alike(got, expected):
    """Whether two answers give the same, but for what float32 rounds off the largest of the numbers."""
    sizes = [abs(leaf) for leaf in flat(expected[0]) if isinstance(leaf, float) and math.isfinite(leaf)]
    return same(got, expected, absolute=max([1e-6, *(1e-5 * size for size in sizes)]))


class _Fresh(SourceFileLoader):
    """Reads the file itself each time; the cache does not see a second change within a second."""

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


@dataclass(eq=False, repr=False)
class Build:
    """An exercise in steps, each an attribute; the learner's code lies in my/NAME.py, which begins with `header`.

    Builds of several notebooks may share a name, and so a file: each adds its steps at the end.
    """

    name: str
    question: str
    header: str
    steps: Sequence[Step]

    def __post_init__(self):
        for step in self.steps:
            step.build = self
            setattr(self, step.name, step)

    def __repr__(self):
        return "\n    ".join([f"{self.name}: {self.question}", *map(repr, self.steps)])

    def __dir__(self):
        return ["check", "hint", "start", *(step.name for step in self.steps)]

    def start(self) -> None:
        """Write what my/NAME.py has not yet, a skeleton of each step, at its end, and say where the file is."""
        path, state = self._path(), "is there already, and stays as it is"
        written = path.read_text(encoding="utf-8") if path.exists() else ""
        missing = [
            step for step in self.steps if not re.search(rf"^(def|class) {step.target}\b", written, re.MULTILINE)
        ]
        if missing:
            path.parent.mkdir(parents=True, exist_ok=True)
            parts = [written.rstrip() or self.header.strip(), *(step._skeleton() for step in missing)]
            path.write_text("\n\n\n".join(parts) + "\n", encoding="utf-8")
            state = f"has at its end what is to do now, {' and '.join(step.target for step in missing)}"
        print(
            f"my/{self.name}.py {state if written else 'is written'}. "
            f"Open it in JupyterLab's file browser: the folder my, then {self.name}.py. Save it before you check."
        )

    def check(self) -> None:
        """Print of each step whether it stands, fails and why, or is not started; never raise."""
        self._report(self.steps)

    def hint(self) -> None:
        """Print which hints there are: each step has its own."""
        print("Each step has hints of its own:", ", ".join(f".{step.name}.hint()" for step in self.steps))

    def _report(self, steps):
        if not self._path().exists():
            print(f"Not started: start() writes my/{self.name}.py.")
            return
        try:
            module = self._load()
        except (Exception, SystemExit) as error:
            print(f"my/{self.name}.py cannot be run: {in_words(error)}{self._place(error)}.")
            return
        outcomes = {}
        for step in steps:
            print(f"{step.name}: {self._outcome(step, module, outcomes).text}")

    def _outcome(self, step, module, known):
        """Try a step, after those that it needs; those that do not stand are replaced by the package's."""
        if step.name in known:
            return known[step.name]
        needed = [getattr(self, name) for name in step.needs]
        lent = [need.reference for need in needed if not self._outcome(need, module, known).stands]
        for reference in lent:
            setattr(module, reference.__name__, reference)
        name = step.target
        if name not in vars(module):
            outcome = Outcome(False, f"not started: there is no {name} in my/{self.name}.py.")
        else:
            try:
                outcome = step._judge(getattr(module, name), self._place)
            except (Exception, SystemExit) as error:  # what an answer gives can raise when it is looked at
                outcome = Outcome(False, f"not yet: what {name} gives cannot be read ({type(error).__name__}).")
        if lent and outcome.stands:
            names = " and ".join(reference.__name__ for reference in lent)
            outcome = Outcome(True, f"{outcome.text} (It was tried with the package's {names}.)")
        known[step.name] = outcome
        return outcome

    def _path(self):
        return lorautils.my_folder() / f"{self.name}.py"

    def _load(self):
        """Run the learner's file; the next `import my.NAME` reads it anew, too."""
        name, path = f"my.{self.name}", str(self._path())
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, _Fresh(name, path)))
        sys.modules[name] = module  # where a dataclass looks for its module
        try:
            module.__spec__.loader.exec_module(module)
        finally:
            sys.modules.pop(name, None)
        return module

    def _place(self, error):
        """Where in the learner's file an error arose, if it arose there."""
        path = str(self._path())
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        if isinstance(error, SyntaxError) and error.filename == path:
            lines.append(error.lineno)
        return f" (my/{self.name}.py, line {lines[-1]})" if lines else ""
