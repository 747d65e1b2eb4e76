"""The examples in docstrings, which JupyterLab shows on Shift-Tab, give what they say."""

import doctest
from importlib import import_module

import pytest

CORE = (
    "linalg",
    "lora",
    "measure",
    "data",
    "results",
    "formats.alike",
    "scaling.memory",
    "tasks.cron",
    "tasks.orders",
    "tasks.grammar.expressions",
    "export.gguf",
)
MODULES = (*(f"lorautils.{name}" for name in CORE), "experiments.records")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    ran = doctest.testmod(import_module(name))
    assert ran.failed == 0
    assert ran.attempted > 0
