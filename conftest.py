"""pytest's set-up for the tests and for the notebooks (nbval): the environment, and the comparison of outputs."""

import os
from pathlib import Path

from nbval.plugin import IPyNbCell

from tools.compare_outputs import TolerantText

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, here and in the kernels
os.environ["LORAUTILS_MY"] = str(Path(__file__).parent / "build" / "nobody")  # a learner's my/ changes no output


def pytest_configure() -> None:
    """Make nbval, whose `sanitize` sees every text it compares, compare `TolerantText`."""
    exact = IPyNbCell.sanitize

    def tolerant(cell: IPyNbCell, text: object) -> object:
        text = exact(cell, text)
        return TolerantText(text, cell.cell.metadata.get("tolerance")) if isinstance(text, str) else text

    IPyNbCell.sanitize = tolerant
