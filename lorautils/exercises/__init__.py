"""Exercises that answer back: `check(answer)`, `hint()`, `solution()`, and the blank `____`; builds in steps.

Used at the end of every notebook; one module a notebook (`nb00`, `nb08`, ...), found by `registry()`.
In a cell: `from lorautils.exercises import nb00, ____`, then `nb00.count_trainable.check(____)`.
"""

import importlib
import pkgutil

from .build import Build, Case, Step
from .engine import Blank, Exercise, Mistake

__all__ = ["Build", "Case", "Exercise", "Mistake", "Step", "____", "registry"]  # import * skips _ but for these

____ = Blank()


def registry() -> dict[str, list[Exercise | Build]]:
    """All exercises in the order in which they are asked, keyed by the notebook's file name without .ipynb."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("nb"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {
        module.NOTEBOOK: [value for value in vars(module).values() if isinstance(value, Exercise | Build)]
        for module in modules
    }
