"""What the processes of one training settle before its first step; the first speaks for all, and none waits in vain.

Used by `lorautils train` under torchrun or accelerate launch. A process that is alone settles everything with itself.
"""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from lorautils import processes, rank
from lorautils.cli import runs, said_by

Result = TypeVar("Result")


def told(value: object) -> list:
    """Return what each process tells the others here, the first's first; all of them must come to this line."""
    if processes() == 1:
        return [value]
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from lorautils import training

    PartialState(cpu=not training.uses_accelerator())  # they meet, the first time
    return gather_object([value])


def done(work: Callable[[], Result]) -> Result:
    """Return what a piece of work returns; where it fails in one process, none goes on.

    The first raises its own error or, if it has none, that of another; the others end without a word, with the code 2.
    """
    result = error = None
    try:
        result = work()
    except Exception as caught:
        error = caught
    failed = {number: text for number, text in enumerate(told(error and f"{_here()}: {said_by(error)}")) if text}
    if failed and rank():
        time.sleep(2)  # a launcher ends all when one ends, and the first is to speak before
        raise SystemExit(2)
    if error:
        raise error
    if failed:
        number, text = next(iter(failed.items()))
        raise ValueError(f"process {number} on {text}")
    return result


def same(run: dict) -> None:
    """Raise ValueError where another process has other settings, or files with other contents, than the first."""
    first, *others = told((_here(), run))
    for number, (host, other) in enumerate(others, start=1):
        for name, ours, theirs in runs.differences(first[1], other):
            differs = f"{name} is {theirs!r} in process {number} on {host}, and {ours!r} in the first on {first[0]}"
            if isinstance(theirs, dict):
                differs = f"the files of {name} that process {number} reads on {host} are not those of {first[0]}"
            raise ValueError(f"{differs}: give all machines the same")


def see(folder: Path) -> None:
    """Raise ValueError unless all processes see one folder, and the same last checkpoint in it."""
    if processes() == 1:
        return
    from lorautils import training

    # For a while the first puts an empty file there, with a name that no machine has asked its cache for.
    name, last = told((f".seen-{token_hex(8)}", training.last_checkpoint(folder)))[0]
    mark = folder / name
    done(lambda: None if rank() else mark.touch())
    seen = told((_here(), mark.exists(), training.last_checkpoint(folder) == last))
    if rank() == 0:
        mark.unlink()
    for number, (host, sees, agrees) in enumerate(seen):
        if not sees:
            raise ValueError(
                f"process {number} on {host} does not see the folder {folder} of the first on {seen[0][0]}, which "
                "could not go on from a checkpoint later: name a folder on a disk that all machines share, with its "
                "whole path, in --output"
            )
        if not agrees:
            raise ValueError(
                f"process {number} on {host} does not see the last checkpoint in {folder} that the first sees: "
                "the shared disk is late, start the run again in a minute"
            )


def _here() -> str:
    return socket.gethostname()
