"""The folder of a training and its run.json: all that repeats the run, and whether it is finished.

Used by `lorautils train`. A run is its settings and the contents of its files; `--resume auto` goes on with the same.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from lorautils import basemodel, rank
from lorautils.cli.options import Train

NAME, PART = "run.json", "run.json.part"
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "lorautils")


def described(options: Train, paths: dict[str, list[str]]) -> dict:
    """Return what makes a run: its settings, the SHA-256 of the files that each setting names, and versions."""
    settings = {name: value for name, value in asdict(options).items() if name != "output"}
    settings["model"] = options.model or os.environ.get("LORAUTILS_MODEL")
    hashes = {name: {path: basemodel.sha256_of(Path(path)) for path in found} for name, found in paths.items()}
    versions = {"python": sys.version.split()[0]} | {name: version(name) for name in LIBRARIES}
    return {"settings": settings, "files": hashes, "versions": versions}


def state_of(folder: Path, run: dict, resume: bool) -> str:
    """Return new, or the state of the same run, which is there already and may go on.

    FileExistsError says that there are other files; ValueError names the setting that differs.
    """
    if folder.is_file():
        raise FileExistsError(f"{folder} is a file, expected a folder: name a new one with --output")
    if all(path.name == PART for path in folder.glob("*")):
        return "new"
    try:
        there = json.loads((folder / NAME).read_text(encoding="utf-8"))
        state, differing = there["state"], list(differences(there, run))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FileExistsError(
            f"{folder} holds files, but no run.json that can be read: name a new folder with --output"
        ) from None
    if not resume:
        raise FileExistsError(
            f"{folder} holds a run already, its state is {state}: name a new folder with --output, or let this run go "
            "on with --resume auto"
        )
    for name, old, new in differing:
        differs = f"{name} is {new!r}, and the run in {folder} has {old!r}"
        if isinstance(new, dict):
            differs = f"the files of {name} are not what they were when the run in {folder} began"
        raise ValueError(f"{differs}: go on with the same, or name a new folder with --output")
    return state


def differences(one: dict, other: dict) -> Iterator[tuple[str, object, object]]:
    """Yield (name, value in the one, value in the other) for each setting, or files, that two runs have otherwise."""
    for part in ("settings", "files"):
        for name, value in other[part].items():
            if (own := one[part].get(name)) != value:
                yield name, own, value


def write(folder: Path, run: dict, **more) -> None:
    """Write run.json, whole or not at all."""
    run |= more
    (folder / PART).write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    (folder / PART).replace(folder / NAME)


@contextlib.contextmanager
def recorded(folder: Path, run: dict) -> Iterator[None]:
    """Note in run.json that a run goes on, and, if it does not come to its end, whether it was interrupted or failed.

    Only the first process writes.
    """
    if rank():
        yield
        return
    write(folder, run, state="running")
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, SystemExit | KeyboardInterrupt)
        with contextlib.suppress(OSError):  # there may be no room
            write(folder, run, state="interrupted" if stopped else "failed")
        raise


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process with the code 143, where the training does not listen to it itself."""

    def end(signum, frame):
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
