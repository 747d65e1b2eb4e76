"""`lorautils train`: notebook 08's run on a file of the reader's own pairs, or on its examples; resumable."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jsonargparse import ActionConfigFile

from lorautils.cli import fail
from lorautils.cli.options import Parser, Train, plain

SUMMARY = "Train a LoRA adapter, as notebook 08 does, and save it."


def parser() -> Parser:
    """Return the parser of the options, which may also stand in a file."""
    options = Parser()
    options.add_argument("--config", action=ActionConfigFile, help="a YAML file of options, as configs/run.yaml")
    options.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    options.add_class_arguments(Train, None)
    return options


def run(options) -> int:
    """Train an adapter on the reader's pairs, or on notebook 08's examples with its test, and save it."""
    resume, options = options.resume, plain(options)
    output = Path(options.output)
    _check(output, resume)
    pairs = _pairs(options)
    from lorautils import training

    with _explained(output):
        output.mkdir(parents=True, exist_ok=True)  # now, not after the training: it may be refused
        with contextlib.redirect_stdout(sys.stderr):
            model, tokenizer, history = _trained(options, pairs, resume)
        if not history.loss and (history.interrupted or _is_saved(output)):
            raise ValueError(f"no step was made: the run in {output} was stopped, or was complete; nothing is saved")
        first = training.save_adapter(model, output)
    if not history.loss:  # it was ended while it saved: the model is that of its last checkpoint
        print(f"the run was complete but for its adapter, which is now in {output}")
        return 0
    if first and history.processes > 1:
        print(f"{history.processes} processes ({history.wrapper}) shared batches of {options.batch_size}")
    if first:
        print(f"{history.steps} steps, last loss {history.loss[-1]:.2f}, adapter in {output}")
    if options.data is None and history.processes == 1:
        _test(model, tokenizer)
    return 0


def _check(output: Path, resume: bool) -> None:
    """Raise where a new run would meet an older one or other files, or a resumed one would find no checkpoint."""
    begun = any(output.glob("checkpoint-*/trainer_state.json"))
    if resume and not begun:
        raise FileNotFoundError(f"{output} holds no complete checkpoint: correct --output, or leave --resume out")
    if _is_saved(output) and not resume:
        raise FileExistsError(f"{output} already holds an adapter: name a new folder with --output")
    if begun and not resume:
        raise FileExistsError(
            f"{output} holds the checkpoints of an earlier run: --resume, or a new folder with --output"
        )
    if not begun and any(not path.name.startswith("checkpoint-") for path in output.glob("*")):
        raise FileExistsError(f"{output} holds other files: name a new folder with --output")


def _pairs(options: Train) -> list:
    from lorautils import data
    from lorautils.tasks import cron

    if options.data is not None:
        return data.load_pairs(options.data)
    return cron.cron_pairs(cron.train_examples(options.examples, seed=options.seed))


def _test(model, tokenizer) -> None:
    """Print how many of sixty cases of Test-A are right."""
    from lorautils import evaluation, results
    from lorautils.tasks import cron

    test = cron.test_a(60)
    answers = evaluation.evaluate(model, tokenizer, [cron.cron_prompt(example.text) for example in test])
    print(f"Test-A: {results.percent(cron.score(answers, test).exact, len(test))} exact of {len(test)}")


def _is_saved(folder: Path) -> bool:
    """Say whether a folder holds a whole adapter: its configuration is the last file that is written."""
    try:
        return isinstance(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Raise an OSError that says how to go on where a library could not: a full disk ends each in another way."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        again = "--resume" if any(output.glob("checkpoint-*/trainer_state.json")) else "the same command"
        raise OSError(
            f"the run in {output} ended: {type(error).__name__}: {str(error)[:300]}. Next: make room, correct what is "
            f"named here, or name another folder with --output, then start again with {again}"
        ) from error


def _trained(options: Train, pairs: Sequence, resume: bool):
    """Train as the options say; return the model, the tokenizer and the history."""
    import torch
    from accelerate import PartialState
    from peft import get_peft_model

    from lorautils import basemodel, setup, training
    from lorautils.audit import audit
    from lorautils.scaling import fused

    setup(options.seed)
    if training.launched_processes() > 1:  # the processes meet before they load, so that under FSDP only one reads
        signal.signal(signal.SIGTERM, _end)
        PartialState(cpu=not training.uses_accelerator())
    tokenizer = basemodel.load_tokenizer(options.model)
    base = basemodel.load_base_model(options.model, dtype="bfloat16" if options.bf16 else "float32")
    model = get_peft_model(base, training.lora_config())
    if int(os.environ.get("RANK", 0)) == 0:
        report = audit(model)
        print(*report.adapters, *(f"WARNING {warning}" for warning in report.warnings), sep="\n")
    if training.launched_processes() == 1 and torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    names = ("epochs", "batch_size", "learning_rate", "seed", "bf16", "gradient_checkpointing")
    arguments = {name: getattr(options, name) for name in names}
    arguments["loss"] = fused.loss if options.fused else training.plain_loss
    try:
        history = training.train(model, tokenizer, pairs, output_dir=options.output, resume=resume, **arguments)
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
