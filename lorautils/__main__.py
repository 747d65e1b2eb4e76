"""The command line: `lorautils doctor | fetch | ask | train`, or `python -m lorautils ...`.

Notebooks 00, 08 and 11 point to it. Answers go to stdout, notices to stderr; exit 0: done, 1: a problem found or an
answer that is not cron, 2: an error, in one line on stderr.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(argv)
    try:
        return options.command(options)
    except (OSError, ValueError) as error:
        return _fail(error)
    except ImportError as error:
        return _fail(f"{error}; `lorautils doctor` says what to do")
    except KeyboardInterrupt:
        return 130  # as the shell has it for Ctrl-C


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lorautils", description="The command line of the LoRA course.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command, name: str, summary: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=summary, description=summary)
        subparser.set_defaults(command=command)
        return subparser

    add(doctor, "doctor", "Check everything that the course stands on, with remedies.")
    add(fetch, "fetch", "Download and convert the base model, and print its folder.")

    ask_parser = add(ask, "ask", "Answer a schedule in English with a cron expression.")
    what = ask_parser.add_mutually_exclusive_group(required=True)
    what.add_argument("phrase", nargs="?", help='such as "every weekday at half past nine"')
    what.add_argument("--file", type=Path, metavar="FILE", help="answer every line of a file, one a line")
    ask_parser.add_argument("--explain", action="store_true", help="add the meaning and the next three times")
    ask_parser.add_argument("--adapter", type=Path, metavar="DIR", help="default: adapters/cron of the course")

    train_parser = add(train, "train", "Train a LoRA adapter, as notebook 08 does, and save it.")
    train_parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings in YAML, as in configs/run.yaml; options given here win"
    )
    train_parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    train_parser.argument_default = argparse.SUPPRESS  # an option that is not given leaves the file's value
    data = train_parser.add_mutually_exclusive_group()
    data.add_argument("--data", metavar="FILE", help='JSONL, {"prompt": ..., "completion": ...} a line')
    data.add_argument("--examples", type=_positive(int), help="how many cron examples to make (default: 400)")
    train_parser.add_argument("--output", metavar="DIR", help="a new folder (default: my-adapter)")
    train_parser.add_argument("--epochs", type=_positive(float), help="default: 3")
    train_parser.add_argument("--learning-rate", type=_positive(float), help="default: 0.002")
    train_parser.add_argument("--seed", type=int, help="default: 0")
    return parser


def _positive(kind: type) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if 0 < (value := kind(text)) < math.inf:
                return value
        raise argparse.ArgumentTypeError(f"a positive {'whole ' * (kind is int)}number is needed, got {text!r}")

    return parse


def doctor(options: argparse.Namespace) -> int:
    """Print the doctor's report."""
    from lorautils.doctor import report

    return 1 if report() else 0


def fetch(options: argparse.Namespace) -> int:
    """Print the folder of the base model."""
    from lorautils import basemodel

    print(basemodel.fetch(progress=_notice))
    return 0


def ask(options: argparse.Namespace) -> int:
    """Print a cron expression for each phrase; an answer that is not one goes to stderr."""
    phrases = [options.phrase] if options.file is None else _lines(options.file)
    asked = [phrase for phrase in phrases if phrase.strip()]
    if not asked:
        raise ValueError("there is no phrase to answer: give one such as 'every weekday at half past nine'")
    from lorautils import cron, setup, training

    with contextlib.redirect_stdout(sys.stderr):  # stdout is for answers
        setup()
        model, tokenizer = training.load_cron_model(options.adapter)
        answers = iter(training.evaluate(model, tokenizer, [training.cron_prompt(phrase) for phrase in asked]))
    failures = 0
    for phrase in phrases:
        answer = " ".join(next(answers).split()) if phrase.strip() else ""
        if answer and cron.is_valid(answer):
            print(answer)
            if options.explain:
                print(_explanation(answer))
            continue
        if phrase.strip():
            failures += 1
            _notice(f"lorautils: not a cron expression: {answer!r}, the answer to {phrase!r}")
        if options.file is not None:
            print()  # one line out for each line in
    return 1 if failures else 0


def _lines(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            return [line.rstrip("\n") for line in lines]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text ({error.reason}): save it again with UTF-8 encoding") from None


def _explanation(expression: str) -> str:
    """Return the meaning of a cron expression and its next three firing times, indented."""
    from croniter import CroniterBadDateError, croniter

    from lorautils import cron

    times = croniter(cron.canonical(expression), datetime.now())  # which reads 9-9 as every hour, and 9 as 9
    try:
        following = [f"{times.get_next(datetime):%Y-%m-%d %H:%M}" for _ in range(3)]
    except CroniterBadDateError:  # 30 February
        following = ["never"]
    return f"  {cron.describe(expression)}\n  next: {', '.join(following)}"


def train(options: argparse.Namespace) -> int:
    """Train an adapter on the reader's pairs, or on notebook 08's examples with its test, and save it."""
    settings = _settings(options)
    output = Path(settings.output)
    if _is_saved(output) and not options.resume:
        raise FileExistsError(f"{output} already holds an adapter: name a new folder with --output")
    from lorautils import cron, results, training

    if training.checkpoints(output) and not options.resume:
        raise FileExistsError(
            f"{output} holds the checkpoints of an earlier run: --resume, or a new folder with --output"
        )
    if settings.data is None:
        pairs = training.cron_pairs(cron.train_examples(settings.examples, seed=settings.seed))
    else:
        pairs = training.load_pairs(settings.data)
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
        answers = training.evaluate(model, tokenizer, [training.cron_prompt(example.text) for example in test])
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
    from lorautils.settings import KINDS, Settings, read_settings

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

    setup(settings.seed)
    if training.launched_processes() > 1:  # the processes meet before they load, so that under FSDP only one reads
        signal.signal(signal.SIGTERM, _end)
        PartialState(cpu=not training.uses_accelerator())
    tokenizer = basemodel.load_tokenizer(settings.model)
    base = basemodel.load_base_model(settings.model, dtype="bfloat16" if settings.bf16 else "float32")
    model = get_peft_model(base, training.lora_config())
    if training.launched_processes() == 1 and torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    names = ("epochs", "batch_size", "learning_rate", "seed", "bf16", "gradient_checkpointing", "fused")
    arguments = {name: getattr(settings, name) for name in names}
    try:
        history = training.train(model, tokenizer, pairs, output_dir=settings.output, resume=resume, **arguments)
    except RuntimeError as error:
        if training.launched_processes() > 1:
            _fail(f"a process of this run is gone, or out of step: start it again with --resume ({error})")
        raise
    return model, tokenizer, history


def _end(signum, frame) -> None:
    """Say what to do, then end: the launcher ends all processes when one is gone, often before they have noticed."""
    _fail("ended by the launcher, as another process is gone or it was told to: start it again with --resume")
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _notice(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(error: Exception | str) -> int:
    _notice("lorautils: " + " ".join(str(error).split()))
    return 2


if __name__ == "__main__":
    sys.exit(main())
