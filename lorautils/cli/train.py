"""`lorautils train`: notebook 08's run on a file of the reader's own pairs, or on its examples; resumable."""

import argparse
import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lorautils.cli import fail
from lorautils.cli.options import KINDS, Settings, read_settings

SUMMARY = "Train a LoRA adapter, as notebook 08 does, and save it."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that one changes most; all of them may stand in the file of --config."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings in YAML, as in configs/run.yaml; options given here win"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    parser.argument_default = argparse.SUPPRESS  # an option that is not given leaves the file's value
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", metavar="FILE", help='JSONL, {"prompt": ..., "completion": ...} a line')
    data.add_argument("--examples", type=_positive(int), help="how many cron examples to make (default: 400)")
    parser.add_argument("--output", metavar="DIR", help="a new folder (default: my-adapter)")
    parser.add_argument("--epochs", type=_positive(float), help="default: 3")
    parser.add_argument("--learning-rate", type=_positive(float), help="default: 0.002")
    parser.add_argument("--seed", type=int, help="default: 0")


def _positive(kind: type) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if 0 < (value := kind(text)) < math.inf:
                return value
        raise argparse.ArgumentTypeError(f"a positive {'whole ' * (kind is int)}number is needed, got {text!r}")

    return parse


def run(options: argparse.Namespace) -> int:
    """Train an adapter on the reader's pairs, or on notebook 08's examples with its test, and save it."""
    settings = _settings(options)
    output = Path(settings.output)
    if _is_saved(output) and not options.resume:
        raise FileExistsError(f"{output} already holds an adapter: name a new folder with --output")
    from lorautils import data, evaluation, results, training
    from lorautils.tasks import cron

    if training.checkpoints(output) and not options.resume:
        raise FileExistsError(
            f"{output} holds the checkpoints of an earlier run: --resume, or a new folder with --output"
        )
    if settings.data is None:
        pairs = cron.cron_pairs(cron.train_examples(settings.examples, seed=settings.seed))
    else:
        pairs = data.load_pairs(settings.data)
    with _explained(output):
        output.mkdir(parents=True, exist_ok=True)  # now, not after the training: it may be refused
        with contextlib.redirect_stdout(sys.stderr):
            model, tokenizer, history = _trained(settings, pairs, options.resume)
        if not history.loss and (history.interrupted or _is_saved(output)):
            raise ValueError(f"no step was made: the run in {output} was stopped, or was complete; nothing is saved")
        first = training.save_adapter(model, output)
    if not history.loss:  # it was ended while it saved: the model is that of its last checkpoint
        print(f"the run was complete but for its adapter, which is now in {output}")
        return 0
    if first and history.processes > 1:
        print(f"{history.processes} processes ({history.wrapper}) shared batches of {settings.batch_size}")
    if first:
        print(f"{history.steps} steps, last loss {history.loss[-1]:.2f}, adapter in {output}")
    if settings.data is None and history.processes == 1:
        test = cron.test_a(60)
        answers = evaluation.evaluate(model, tokenizer, [cron.cron_prompt(example.text) for example in test])
        print(f"Test-A: {results.percent(cron.score(answers, test).exact, len(test))} exact of {len(test)}")
    return 0


def _is_saved(folder: Path) -> bool:
    """Say whether a folder holds a whole adapter: its configuration is the last file that is written."""
    try:
        return isinstance(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Raise an OSError that says what to do where a library, in one of several ways, could not write its file."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())
        if not any(sign in said.lower() for sign in _CANNOT_WRITE):
            raise
        again = "--resume" if any(output.glob("checkpoint-*/trainer_state.json")) else "the same command"
        raise OSError(
            f"{output} could not be written ({said[:200]}); expected: a folder with room for the adapter and two "
            f"checkpoints; next: make room, or name another folder with --output, then start again with {again}"
        ) from error


# No room, no right, a limit on files; and what torch says of all of them.
_CANNOT_WRITE = ("no space left", "quota exceeded", "file too large", "read-only file", "permission denied")
_CANNOT_WRITE += ("writer failed", "write failed")


def _settings(options: argparse.Namespace):
    """Return the settings of a training: the options that were given, then the file's, then the defaults."""
    given = {name: value for name, value in vars(options).items() if name in KINDS}
    file = {} if options.config is None else read_settings(options.config)
    if "examples" in given:
        file.pop("data", None)
    return Settings(**file | given)


def _trained(settings, pairs: Sequence, resume: bool):
    """Train as the settings say; return the model, the tokenizer and the history."""
    import torch
    from accelerate import PartialState
    from peft import get_peft_model

    from lorautils import basemodel, setup, training
    from lorautils.scaling import fused

    setup(settings.seed)
    if training.launched_processes() > 1:  # the processes meet before they load, so that under FSDP only one reads
        signal.signal(signal.SIGTERM, _end)
        PartialState(cpu=not training.uses_accelerator())
    tokenizer = basemodel.load_tokenizer(settings.model)
    base = basemodel.load_base_model(settings.model, dtype="bfloat16" if settings.bf16 else "float32")
    model = get_peft_model(base, training.lora_config())
    if training.launched_processes() == 1 and torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    names = ("epochs", "batch_size", "learning_rate", "seed", "bf16", "gradient_checkpointing")
    arguments = {name: getattr(settings, name) for name in names}
    arguments["loss"] = fused.loss if settings.fused else training.plain_loss
    try:
        history = training.train(model, tokenizer, pairs, output_dir=settings.output, resume=resume, **arguments)
    except RuntimeError as error:
        if training.launched_processes() > 1:
            fail(f"a process of this run is gone, or out of step: start it again with --resume ({error})")
        raise
    return model, tokenizer, history


def _end(signum, frame) -> None:
    """Say what to do, then end: the launcher ends all processes when one is gone, often before they have noticed."""
    fail("ended by the launcher, as another process is gone or it was told to: start it again with --resume")
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
