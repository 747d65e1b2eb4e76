"""pytest for tests and notebooks (nbval): the environment, what is too long, and the comparison of outputs."""

import gc
import os
import tempfile
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from tools.compare_outputs import TolerantText
from tools.pages import FRAMES

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, here and in the kernels
os.environ["LORAUTILS_MY"] = str(Path(__file__).parent / "build" / "nobody")  # a learner's my/ changes no output


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked as long, with its reason, unless `make test-long` asks for it."""
    if os.environ.get("LORAUTILS_TEST_LONG") != "1":
        for item in items:
            if long := item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason=f"long, {long.args[0]}: `make test-long` runs it, every night"))


def pytest_collection_finish() -> None:
    """Leave what the imports made out of every later garbage collection: half a million objects, half a second."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Make nbval, whose `sanitize` sees every text it compares, compare `TolerantText`; clear up after its kernels."""
    config.addinivalue_line("markers", "long(why): not for every `make test`; says how long, and what is left to it")
    exact = IPyNbCell.sanitize

    def tolerant(cell: IPyNbCell, text: object) -> object:
        text = "frames" if str(text).startswith(FRAMES) else exact(cell, text)  # pictures are not compared
        return TolerantText(text, cell.cell.metadata.get("tolerance")) if isinstance(text, str) else text

    IPyNbCell.sanitize = tolerant
    if not hasattr(config, "workerinput"):  # nbval kills its kernels, which then leave what they wrote: 1.5 GB in all
        pytests_own = tempfile.gettempdir()  # asked for before TMPDIR is set, so that `tmp_path` stays where it is
        kernels = tempfile.TemporaryDirectory(prefix="lora-", dir=pytests_own, ignore_cleanup_errors=True)
        os.environ["TMPDIR"] = kernels.name
        config.add_cleanup(kernels.cleanup)
