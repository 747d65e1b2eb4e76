"""`lorautils ask`: a schedule in English, answered with a cron expression by the adapter of notebook 00."""

import contextlib
import sys
from datetime import datetime
from pathlib import Path

from lorautils import ROOT
from lorautils.cli import notice
from lorautils.cli.options import Parser

SUMMARY = "Answer a schedule in English with a cron expression."


def parser() -> Parser:
    """Return the parser of a phrase or its file, and of what to say beside the answer."""
    options = Parser()
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("phrase", nargs="?", help='such as "every weekday at half past nine"')
    what.add_argument("--file", type=str, metavar="FILE", help="answer every line of a file, one a line")
    options.add_argument("--explain", action="store_true", help="add the meaning and the next three times")
    options.add_argument("--adapter", type=str, metavar="DIR", help="default: adapters/cron of the course")
    return options


def run(options) -> int:
    """Print a cron expression for each phrase; an answer that is not one goes to stderr."""
    phrases = [options.phrase] if options.file is None else _lines(Path(options.file))
    adapter = Path(options.adapter or ROOT / "adapters" / "cron")
    if not (adapter / "adapter_config.json").is_file():
        raise FileNotFoundError(f"{adapter} holds no adapter: name the folder of a saved one with --adapter")
    asked = [phrase for phrase in phrases if phrase.strip()]
    if not asked:
        raise ValueError("there is no phrase to answer: give one such as 'every weekday at half past nine'")
    from lorautils import evaluation, setup
    from lorautils.tasks import cron

    with contextlib.redirect_stdout(sys.stderr):  # stdout is for answers
        setup()
        model, tokenizer = evaluation.load_adapter(adapter)
        answers = iter(evaluation.evaluate(model, tokenizer, [cron.cron_prompt(phrase) for phrase in asked]))
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
            notice(f"lorautils: not a cron expression: {answer!r}, the answer to {phrase!r}")
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

    from lorautils.tasks import cron

    times = croniter(cron.canonical(expression), datetime.now())  # which reads 9-9 as every hour, and 9 as 9
    try:
        following = [f"{times.get_next(datetime):%Y-%m-%d %H:%M}" for _ in range(3)]
    except CroniterBadDateError:  # 30 February
        following = ["never"]
    return f"  {cron.describe(expression)}\n  next: {', '.join(following)}"
