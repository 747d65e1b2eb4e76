"""The command line: `lorautils doctor | fetch | ask | train`, or `python -m lorautils ...`.

Notebooks 00 and 08 point to it. Answers go to stdout, notices to stderr; exit 0: done, 1: a problem found or an answer
that is not cron, 2: an error, in one line on stderr.
"""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Sequence
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
    data = train_parser.add_mutually_exclusive_group()
    data.add_argument("--data", type=Path, metavar="FILE", help='JSONL, {"prompt": ..., "completion": ...} a line')
    data.add_argument(
        "--examples", type=_positive(int), default=400, help="how many cron examples to make (default: 400)"
    )
    train_parser.add_argument("--output", type=Path, default=Path("my-adapter"), metavar="DIR", help="a new folder")
    train_parser.add_argument("--epochs", type=_positive(float), default=3, help="default: 3")
    train_parser.add_argument("--learning-rate", type=_positive(float), default=2e-3, help="default: 0.002")
    train_parser.add_argument("--seed", type=int, default=0, help="default: 0")
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

    times = croniter(expression, datetime.now())
    try:
        following = [f"{times.get_next(datetime):%Y-%m-%d %H:%M}" for _ in range(3)]
    except CroniterBadDateError:  # 30 February
        following = ["never"]
    return f"  {cron.describe(expression)}\n  next: {', '.join(following)}"


def train(options: argparse.Namespace) -> int:
    """Train an adapter on the reader's pairs, or on notebook 08's examples with its test, and save it."""
    if (options.output / "adapter_config.json").exists():
        raise FileExistsError(f"{options.output} already holds an adapter: name a new folder with --output")
    from peft import get_peft_model

    from lorautils import basemodel, cron, results, setup, training

    if options.data is None:
        pairs = training.cron_pairs(cron.train_examples(options.examples, seed=options.seed))
    else:
        pairs = training.load_pairs(options.data)
    options.output.mkdir(parents=True, exist_ok=True)  # now, not after the training: it may be refused
    setup(options.seed)
    with contextlib.redirect_stdout(sys.stderr):
        tokenizer = basemodel.load_tokenizer()
        model = get_peft_model(basemodel.load_base_model(), training.lora_config())
        history = training.train(
            model,
            tokenizer,
            pairs,
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            seed=options.seed,
        )
    if not history.loss:
        raise ValueError("the training was stopped before its first step: nothing is saved")
    model.save_pretrained(options.output)
    print(f"{history.steps} steps, last loss {history.loss[-1]:.2f}, adapter in {options.output}")
    if options.data is None:
        test = cron.test_a(60)
        answers = training.evaluate(model, tokenizer, [training.cron_prompt(example.text) for example in test])
        print(f"Test-A: {results.percent(cron.score(answers, test).exact, len(test))} exact of {len(test)}")
    return 0


def _notice(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(error: Exception | str) -> int:
    _notice("lorautils: " + " ".join(str(error).split()))
    return 2


if __name__ == "__main__":
    sys.exit(main())
