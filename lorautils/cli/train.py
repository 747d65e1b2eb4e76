"""`lorautils train`: notebook 08's run on files of the reader's own, or on its examples; resumable."""

import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from jsonargparse import ActionConfigFile

from lorautils.cli import fail, notice
from lorautils.cli.data import FORMATS, renamed
from lorautils.cli.options import Parser, Train, plain

SUMMARY = "Train a LoRA adapter, as notebook 08 does, and save it."


def parser() -> Parser:
    """Return the parser of the options, which may also stand in a file."""
    options = Parser(epilog=FORMATS)
    options.add_argument("--config", action=ActionConfigFile, help="a YAML file of options, as configs/run.yaml")
    options.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    options.add_argument("--dry_run", action="store_true", help="say what would be trained, and in what memory")
    options.add_class_arguments(Train, None)
    return options


def run(options) -> int:
    """Train an adapter on the reader's pairs, or on notebook 08's examples with its test, and save it."""
    resume, dry_run, options = options.resume, options.dry_run, plain(options)
    output = Path(options.output)
    _check(output, resume)
    data = _data(options)
    if dry_run:
        from lorautils.cli.forecast import forecast

        with contextlib.redirect_stdout(sys.stderr):
            sequences = _parts(options, data)[0]
        print(forecast(options, data, sequences))
        return 0
    from lorautils import training

    with _explained(output), _folder(output):
        with contextlib.redirect_stdout(sys.stderr):
            parts = _parts(options, data)
            model, tokenizer, history = _trained(options, *parts, resume)
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
    if first and history.held_out:
        step, loss = min(history.held_out, key=lambda look: look[1])
        kept = "and that state is kept" if options.keep_best else f"and {history.held_out[-1][1]:.2f} at the end"
        print(f"loss on {len(parts[1])} held-out sequences: lowest after step {step}, {loss:.2f}, {kept}")
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


def _data(options: Train):
    """Return the reader's examples, or examples of cron."""
    from lorautils.formats import files, rows

    if options.keep_best and not options.held_out:
        raise ValueError("keep_best needs examples to measure on: add --held_out 0.1")
    if options.data is not None:
        return rows.read(files.files(options.data), renamed(options.rename), options.chat).whole()
    from lorautils.tasks import cron

    pairs = cron.cron_pairs(cron.train_examples(options.examples, seed=options.seed))
    examples = [rows.Row(f"example {number}", pair) for number, pair in enumerate(pairs, start=1)]
    return rows.Data(examples, Counter({"cron": len(examples)}))


def _parts(options: Train, data) -> tuple[list, list]:
    """Return the sequences to train on and those held out; say what looks wrong in them before anything is trained."""
    from lorautils import basemodel
    from lorautils.formats import alike, report, tokens

    tokenizer = basemodel.load_tokenizer(options.model)
    sequences, refused = tokens.encode_rows(tokenizer, data.rows)
    if refused:
        raise ValueError(refused[0] + (f" (and {len(refused) - 1} more rows)" if refused[1:] else ""))
    if options.data is not None and int(os.environ.get("RANK", 0)) == 0:
        for level, text in report.findings(tokenizer, data, sequences, [], options.max_length):
            notice(f"{level:8} {text}")
    fitting = [sequence for sequence in sequences if len(sequence.input_ids) <= options.max_length]
    if (options.too_long == "error" and len(fitting) < len(sequences)) or not fitting:
        longest = max(sequences, key=lambda sequence: len(sequence.input_ids))
        raise ValueError(
            f"{longest.row.where} has {len(longest.input_ids)} tokens, at most {options.max_length} are allowed: raise "
            "--max_length, shorten such examples, or leave them out with --too_long drop"
        )
    if len(fitting) < len(sequences):
        notice(f"left out, with more than {options.max_length} tokens: {len(sequences) - len(fitting)} sequences")
    return alike.split(fitting, options.held_out, options.seed) if options.held_out else (fitting, [])


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
def _folder(output: Path) -> Iterator[None]:
    """Make the folder before the training, since it may be refused; take it away where the options or data are."""
    new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except ValueError:
        if new:
            with contextlib.suppress(OSError):  # it holds something, or another process was faster
                output.rmdir()
        raise


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


def _trained(options: Train, sequences: Sequence, held_out: Sequence, resume: bool):
    """Train as the options say; return the model, the tokenizer and the history."""
    import torch
    from accelerate import PartialState

    from lorautils import basemodel, setup, training
    from lorautils.scaling import fused

    setup(options.seed)
    if training.launched_processes() > 1:  # the processes meet before they load, so that under FSDP only one reads
        signal.signal(signal.SIGTERM, _end)
        PartialState(cpu=not training.uses_accelerator())
    tokenizer = basemodel.load_tokenizer(options.model)
    model = _adapted(options)
    if training.launched_processes() == 1 and torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    names = ("epochs", "batch_size", "learning_rate", "seed", "bf16", "gradient_checkpointing", "keep_best")
    arguments = {name: getattr(options, name) for name in names}
    arguments["loss"] = fused.loss if options.fused else training.plain_loss
    arguments["held_out"] = [sequence.feature for sequence in held_out]
    pairs = [sequence.feature for sequence in sequences]
    try:
        history = training.train(model, tokenizer, pairs, output_dir=options.output, resume=resume, **arguments)
    except RuntimeError as error:
        if training.launched_processes() > 1:
            fail(f"a process of this run is gone, or out of step: start it again with --resume ({error})")
        raise
    return model, tokenizer, history


def _adapted(options: Train):
    """Return the base model with a new adapter, and say what it reaches and what looks wrong with it."""
    from peft import get_peft_model

    from lorautils import basemodel, training
    from lorautils.audit import audit
    from lorautils.cli import targets

    base = basemodel.load_base_model(options.model, dtype="bfloat16" if options.bf16 else "float32")
    config = training.lora_config()
    config.r, config.lora_alpha, config.lora_dropout = options.r, options.lora_alpha, options.lora_dropout
    config.target_modules = set(targets.chosen(base, options.target_modules))
    reach = targets.reach(base, config.target_modules)
    model = get_peft_model(base, config).train()
    if int(os.environ.get("RANK", 0)) == 0:
        found = audit(model)
        notice("\n".join([reach, *found.adapters, *(f"WARNING {warning}" for warning in found.warnings)]))
    return model


def _end(signum, frame) -> None:
    """Say what to do, then end: the launcher ends all processes when one is gone, often before they have noticed."""
    fail("ended by the launcher, as another process is gone or it was told to: start it again with --resume")
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
