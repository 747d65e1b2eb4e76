"""The examples in docstrings, which JupyterLab shows on Shift-Tab, give what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = ("linalg", "lora", "measure", "data", "results", "scaling.memory", "tasks.cron", "tasks.orders")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    ran = doctest.testmod(import_module(f"lorautils.{name}"))
    assert ran.failed == 0
    assert ran.attempted > 0
