"""The settings of a training run, as a file that every process of the run can read: `lorautils train --config FILE`.

Notebook 12 teaches it. YAML (or JSON, which is YAML): any of the fields of `Settings`, one a line, such as `epochs: 3`.
"""

import contextlib
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Settings:
    """What `lorautils train` does, and with what; the fields from `epochs` on are arguments of `training.train`."""

    output: str = "my-adapter"  # a new folder: checkpoints, and the adapter at the end
    data: str | None = None  # JSONL, {"prompt": ..., "completion": ...} a line; without it, cron examples are made
    examples: int = 400  # how many
    model: str | None = None  # a folder or a hub name; default: the model of the course
    epochs: float = 3
    batch_size: int = 8  # of all processes together
    learning_rate: float = 2e-3
    seed: int = 0
    bf16: bool = False  # the frozen weights too
    gradient_checkpointing: bool = False
    fused: bool = False


KINDS = {field.name: field.type for field in fields(Settings)}


def read_settings(path: str | Path) -> dict[str, object]:
    """Return the settings in a file, checked, as keyword arguments of `Settings`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML, or a field is unknown or has a value of another kind; the message names the field.
    """
    written = Path(path).read_bytes()
    try:
        given = yaml.safe_load(written.decode("utf-8"))
    except Exception as error:  # YAMLError, or what PyYAML runs into where a scalar is none: !!bool x, 2001-99-99
        raise ValueError(f"{path} is not YAML ({error}): write one field a line, such as epochs: 3") from None
    if not isinstance(given, Mapping):
        raise ValueError(f"{path} holds no fields: write one a line, such as epochs: 3")
    if unknown := [name for name in given if name not in KINDS]:
        raise ValueError(f"{path}: unknown field {_shown(unknown[0])}; the fields are {', '.join(KINDS)}")
    if given.get("data") is not None and "examples" in given:
        raise ValueError(f"{path}: data and examples exclude one another: the examples are made, the data are yours")
    return {name: _checked(f"{path}: {name}", name, value) for name, value in given.items()}


def _checked(where: str, name: str, value: object) -> object:
    """Return the value of a field, or raise a ValueError that says what it must be."""
    kind, expected = KINDS[name], "a path or a name"
    if kind is float:
        expected = "a positive number"
        if isinstance(value, str):  # YAML takes 2e-3, which has no dot, for text
            with contextlib.suppress(ValueError):
                value = float(value)
    if kind is int:
        expected = "a whole number" if name == "seed" else "a positive whole number"
    if kind is bool:
        expected = "true or false"
    plain = {float: int | float, int: int, bool: bool, str: str}.get(kind, str | None)
    good = isinstance(value, plain) and (kind is bool or not isinstance(value, bool))
    if good and kind in (int, float) and name != "seed":
        good = 0 < value < math.inf
    if not good or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{where} must be {expected}, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """Return a value in few words: a few lines of YAML can describe a list of billions."""
    return reprlib.repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
