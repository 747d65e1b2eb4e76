"""`lorautils doctor`: look at everything the course stands on, and say what to do where it does not hold.

Notebook 00 sends its reader here when something breaks. A check yields findings and imports what it needs by itself,
so that it runs in a broken environment. A line is: ok, note or PROBLEM, the subject, the finding; below it the remedy.
With --adapter it looks at a saved adapter instead, as checkup.py does.
"""

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import lorautils
from lorautils.cli import at_work, say

SUMMARY = "Check everything that the course stands on, or a saved adapter, with remedies."
CODES = "Exit code: 1 if a line begins with PROBLEM, 2 if there is no adapter to examine, else 0."
INSTALL = 'run `make setup`, or `python -m pip install -c constraints.txt -e ".[lab]"` in the clone of the course'
OTHER_CACHE = "set LORAUTILS_CACHE to a folder that you can write to, on a disk with room"
GB = 10**9
MEMORY, DISK = 4 * GB, 1 * GB  # what notebook 08 and the conversion of the base model need


class Finding(NamedTuple):
    """One line of the report: the level is ok, note (works, but) or PROBLEM (does not work)."""

    level: str
    text: str
    remedy: str = ""


ok, note, problem = (partial(Finding, level) for level in ("ok", "note", "PROBLEM"))


def parser():
    """Return the parser of the adapter to look at, if any."""
    from lorautils.cli.options import Parser

    options = Parser(epilog=f"docs/symptoms.md goes from what you see to its cause. {CODES}")
    options.add_argument(
        "--adapter", type=str, metavar="DIR", help="a saved adapter; its base's weights are not needed"
    )
    options.add_argument("--model", type=str, help="its base, a folder or a hub name; default: as the adapter says")
    return options


def check_python() -> Iterator[Finding]:
    """The version of Python, and where it lives."""
    found = f"{platform.python_version()} in {sys.prefix}"
    supported = (3, 11) <= sys.version_info[:2] <= (3, 14)
    yield ok(found) if supported else problem(f"{found}; 3.11 to 3.14 is needed", "make setup PYTHON=python3.12")


def check_packages() -> Iterator[Finding]:
    """The installed versions against the ranges in the package's metadata and the pins in constraints.txt."""
    from packaging.requirements import Requirement

    wrong = set()
    for requirement in map(Requirement, metadata.requires("lorautils")):
        core = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not core and not requirement.marker.evaluate({"extra": "lab"}):
            continue  # what only the tests need
        installed = _version(requirement.name)
        if installed is None:
            wrong.add(requirement.name)
            yield (problem if core else note)(f"{requirement.name} is missing", INSTALL)
        elif not requirement.specifier.contains(installed, prereleases=True):
            wrong.add(requirement.name)
            yield problem(f"{requirement.name} is {installed}, needed is {requirement.specifier}", INSTALL)
    unpinned = [f"{name} {found} (pinned: {pin})" for name, pin, found in _off_the_pins() if name not in wrong]
    if unpinned:
        yield note(f"not the versions that the course is tested with: {', '.join(unpinned)}", INSTALL)
    if not wrong and not unpinned:
        yield ok("all there, in the versions that the course is tested with")


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _off_the_pins():
    """Name, pin and version of each installed package that is not as constraints.txt, in a clone, has it."""
    from packaging.requirements import Requirement

    file = lorautils.ROOT / "constraints.txt"
    for pin in map(Requirement, file.read_text().splitlines() if file.is_file() else ()):
        installed = _version(pin.name) if pin.marker is None or pin.marker.evaluate() else None
        if installed and not pin.specifier.contains(installed, prereleases=True):
            yield pin.name, pin.specifier, installed


def check_imports() -> Iterator[Finding]:
    """Whether the large libraries can be imported; the first that cannot explains the others."""
    for name in ("torch", "transformers", "peft"):
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken binary can raise anything
            yield problem(f"import {name} fails: {_first_line(error)}", INSTALL)
            return
    yield ok("torch, transformers and peft can be imported")


def check_memory() -> Iterator[Finding]:
    """Memory in all, and free."""
    import psutil

    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    found = f"{free / GB:.1f} of {total / GB:.1f} GB free"
    if total < 0.9 * MEMORY:
        yield problem(f"{found}; notebook 08 needs {MEMORY / GB:.0f} GB", "use a machine or a container with more")
    elif free < 0.6 * MEMORY:
        yield note(f"{found}; a training run may not fit", "shut down other notebooks' kernels, close programs")
    else:
        yield ok(found)


def check_cores() -> Iterator[Finding]:
    """The cores that this process may use, and torch's threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = importlib.import_module("torch").get_num_threads()
    found = f"{cores} cores, torch uses {threads} threads"
    if cores > 1 and threads == 1:
        yield note(found, "unset OMP_NUM_THREADS and MKL_NUM_THREADS, and training is faster")
    else:
        yield ok(found) if cores > 1 else note(found, "expect twice the minutes that the notebooks state")


def check_processor() -> Iterator[Finding]:
    """The instruction set, and a one-second probe of matrix products in float32 and bf16."""
    import torch

    from lorautils.measure import gigaflops

    instructions = torch.backends.cpu.get_cpu_capability()
    has_bf16 = any(present for name, present in torch.cpu.get_capabilities().items() if "bf16" in name)
    single, half = gigaflops(torch.float32), gigaflops(torch.bfloat16)
    times, advice = single / half, "slower here, stay with float32 as the course does"
    if half > single:
        times, advice = half / single, "faster here: load_base_model(dtype=torch.bfloat16) uses it, the course does not"
    speeds = f"float32 {single:.0f} GFLOP/s, bf16 {half:.0f} GFLOP/s: bf16 is {times:.1f} times {advice}"
    yield ok(f"{instructions}, {'with' if has_bf16 else 'without'} bf16 instructions; {speeds}")
    if single < 20:
        yield note("the processor is slow or busy: the notebooks count on 100 GFLOP/s", "close other programs")


def check_threads() -> Iterator[Finding]:
    """Whether idle OpenMP threads sleep: spinning, they slow a second open notebook thirty times."""
    policy = lorautils.INHERITED_WAIT_POLICY
    if (policy or "").upper() == "PASSIVE":
        yield ok("OMP_WAIT_POLICY is PASSIVE: two open notebooks share the cores")
    else:
        found = f"OMP_WAIT_POLICY is {policy or 'not set'} here"
        effect = "where Jupyter runs so, two open notebooks slow each other"
        yield note(f"{found}: {effect}", "set OMP_WAIT_POLICY=PASSIVE before JupyterLab starts (`make lab` does)")


def check_cache() -> Iterator[Finding]:
    """The folder of the base model: can it be written, has its disk room, is the model there and whole?"""
    from lorautils import basemodel

    if other := os.environ.get("LORAUTILS_MODEL"):
        path = os.path.expanduser(other)
        if os.path.isdir(path) and not os.path.isfile(os.path.join(path, "config.json")):
            yield problem(f"LORAUTILS_MODEL is {other}, a folder without a model: it has no config.json", "unset it")
        elif not os.path.isdir(path) and not _on_this_machine(other):
            yield problem(
                f"LORAUTILS_MODEL is {other}, which is not on this machine", "correct it, download it, or unset it"
            )
        else:
            yield note(f"LORAUTILS_MODEL is {other}: the notebooks' outputs and adapters/cron are not its", "unset it")
    try:
        cache = basemodel.cache_dir()
    except OSError as error:  # there is no home directory
        yield problem(_first_line(error), OTHER_CACHE)
        return
    damage = basemodel.damage_of(cache / basemodel.FOLDER)
    if damage is None:
        yield ok(f"the base model is in {cache}; {shutil.disk_usage(cache).free / GB:.1f} GB free there")
        return
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        yield problem(f"{cache} cannot be written: {_first_line(error)}", OTHER_CACHE)
        return
    if free < DISK:
        yield problem(f"{free / GB:.1f} GB free in {nearest}, {DISK / GB:.0f} GB is needed", OTHER_CACHE)
    state = f"is damaged ({damage})" if (cache / basemodel.FOLDER).exists() else f"is not in {cache} yet"
    yield note(f"the base model {state}; {free / GB:.1f} GB free there", "`lorautils fetch` downloads and converts it")


def _on_this_machine(name):
    """Whether a model of the hub has been downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # a path, not a name
        return False


def check_adapter() -> Iterator[Finding]:
    """The adapter that notebook 00 and `lorautils ask` load."""
    from safetensors import safe_open

    folder = lorautils.ROOT / "adapters" / "cron"
    remedy = "`git checkout -- adapters` in the clone of the course brings it back"
    try:
        weights = folder / "adapter_model.safetensors"
        with safe_open(weights, framework="numpy") as file:
            found = f"{len(file.keys())} tensors, {weights.stat().st_size / 1e6:.1f} MB in {folder}"
        if not (folder / "adapter_config.json").is_file():
            raise FileNotFoundError("adapter_config.json is missing")
    except Exception as error:  # safetensors has an error class of its own
        yield problem(f"no adapter in {folder}: {_first_line(error)}", remedy)
    else:
        yield ok(found)


def check_kernel() -> Iterator[Finding]:
    """Whether the notebooks' kernel, python3, is this Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError as error:
        yield note(f"no Jupyter here ({_first_line(error)}): notebooks cannot run", INSTALL)
        return
    spec = KernelSpecManager().get_kernel_spec("python3")
    program = Path(spec.argv[0])
    if not program.is_absolute() or program.parent == Path(sys.executable).parent:  # Jupyter puts its own Python first
        yield ok("notebooks run in this Python")
    else:
        found = f"notebooks run in {program}, not in {sys.executable} (by {spec.resource_dir})"
        yield problem(found, f"{sys.executable} -m ipykernel install --sys-prefix, and start JupyterLab by `make lab`")


CHECKS = {name.removeprefix("check_"): check for name, check in dict(globals()).items() if name.startswith("check_")}


def examine(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check, and a problem if it cannot even be made."""
    try:
        yield from check()
    except Exception as error:  # a report must not stop at what it reports
        yield problem(f"cannot be checked: {_first_line(error)}", INSTALL)


def run(options) -> int:
    """Print every finding with its remedy; return 1 if there is a problem."""
    if options is None or options.adapter is None:
        if options is not None and options.model:
            raise ValueError("--model names the base of an adapter: name the adapter too, with --adapter")
        return report((subject, finding) for subject, check in CHECKS.items() for finding in examine(check))
    from lorautils.cli import checkup

    with at_work():
        found = list(checkup.findings(Path(options.adapter), options.model))
    return report(found)


def report(found: Iterable[tuple[str, Finding]]) -> int:
    """Print findings, each with its subject, and how many are problems; return 1 if any is."""
    problems = 0
    for subject, (level, text, remedy) in found:
        problems += level == "PROBLEM"
        say(f"{level:8} {subject:10} {text}")
        if remedy:
            say(f"{'':19} -> {remedy}")
    say(f"{problems} problem{'' if problems == 1 else 's'} found.")
    return 1 if problems else 0


def _first_line(error):
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
