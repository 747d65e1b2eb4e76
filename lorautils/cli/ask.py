"""`lorautils ask`: a schedule in English, answered with a cron expression by the adapter of notebook 00."""

import re
from datetime import datetime
from pathlib import Path

from lorautils import ROOT
from lorautils.cli import at_work, lines, notice, say
from lorautils.cli.options import Parser

SUMMARY = "Answer a schedule in English with a cron expression."
EXAMPLE = "every weekday at half past nine"
# An answer less probable than this comes with a warning. `python -m experiments.how_sure` chose it on the validation
# split: the highest that flags at most one in ten right answers to what people say.
THRESHOLD = 0.94

LIMITS = "Five fields cannot say: seconds, every 90 minutes, the second Tuesday or last day of a "
LIMITS += "month, every other week, a single date, 9:15 and 17:40."
DAY = r"((mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?s?\b)"
TIME = r"(\d:\d\d|\d ?[ap]m|noon|midnight)\b"
REASONS = {  # why five fields cannot say a phrase, and what the phrase then holds: the first that fits is told
    "It cannot skip weeks.": rf"fortnight|biweekly|(odd|even) .*weeks|every \w+ weeks|one week .*(one|next) week"
    rf"|(other|alternate) (week|{DAY})|every second (week|{DAY}(?!.*month))",
    "It cannot count from the end of a month.": r"(last|final|penultimate) .*day|month-end|end of \w+ month",
    "It cannot count weekdays, as in the second Monday of a month.": rf"(1st|2nd|3rd|[45]th|first|second"
    rf"|third|fourth) {DAY}",
    "Its shortest step is a minute.": r"\d:\d\d:\d\d|seconds|\d ?s(ecs?)?\b|every second\b|a minute\b",
    "It joins a weekday and a day of the month by OR, never by AND.": rf"{DAY},? (the )?\d+(st|nd|rd|th)",
    "There is no such time or day.": r"\b(2[4-9]|[3-9]\d):\d\d|\d:[6-9]\d|\b(3[2-9]|[4-9]\d)(st|nd|rd|th)",
    "It only repeats: it has no years, and can do nothing once.": r"\b(today|tonight|tomorrow|next)\b|years\b"
    r"|\b20\d\d-\d|(uary|march|april|may|june|july|august|ber),? (\d+, )?20\d\d|\bin (?!the)\w+ (minute|hour|day)",
    "Its steps must divide an hour or a day, as 30 minutes or 8 hours do.": r"hour and a half"
    r"|every (?!([1-6]|10|12|15|20|30) ?m|([1-468]|12) ?h)\d+ ?(m|h)",
    "It can begin and end such a span on the hour only.": r"(from|between) .*\d:(?!00)\d\d",
    "These seem to be several schedules: ask for each alone.": rf"{TIME}.*(,| and ).*{TIME}",
    "It knows the clock and the calendar, but no other events.": r"sunrise|sunset|easter|holiday|school|\bafter the "
    r"|unless|when(ever)? |\bif ",
    f"No schedule was found in the phrase: say in English when, such as {EXAMPLE!r}.": "",
}


def parser() -> Parser:
    """Return the parser of a phrase or its file, and of what to say beside the answer."""
    options = Parser(epilog=LIMITS)
    options.add_argument("phrase", nargs="*", help=f"such as: {EXAMPLE}; after -- where it begins with a dash")
    options.add_argument("--file", type=str, metavar="FILE", help="instead: every line of a file, or of - (stdin)")
    options.add_argument("--explain", action="store_true", help="add the meaning, the next times, and how sure it is")
    options.add_argument("--adapter", type=str, metavar="DIR", help="default: adapters/cron of the course")
    return options


def run(options) -> int:
    """Print a cron expression for each phrase; why there is none, and doubts, go to stderr."""
    phrases = _phrases(options)
    adapter = Path(options.adapter or ROOT / "adapters" / "cron")
    if not (adapter / "adapter_config.json").is_file():  # before torch is loaded
        raise FileNotFoundError(f"{adapter} holds no adapter: name the folder of a saved one with --adapter")
    from lorautils import evaluation
    from lorautils.tasks import cron

    with at_work():
        model, tokenizer = evaluation.load_adapter(adapter)
        prompts = [cron.cron_prompt(phrase) for phrase in phrases if phrase.strip()]
        answers = iter(evaluation.answers_with_probability(model, tokenizer, prompts))
    failures = 0
    for number, phrase in enumerate(phrases, start=1):
        if not phrase.strip():
            say()  # one line out for each line in
            continue
        if options.file and options.explain:
            say(f"{number}  {phrase}")
        name = f"line {number}, {phrase!r}" if options.file else repr(phrase)
        if not _tell(name, phrase, next(answers), options.explain):
            failures += 1
            if options.file:
                say()
    if failures and options.adapter:
        ways = f"lorautils evaluate FILE --adapter {adapter}, or lorautils serve {adapter}"
        notice(f"lorautils: only schedules are asked for here. If {adapter} learned something else: {ways}")
    return 1 if failures else 0


def _phrases(options) -> list[str]:
    """Return what is asked: the words of the command line, or the lines of a file, of which some may be empty."""
    if options.file and options.phrase:
        raise ValueError(f"got the phrase {' '.join(options.phrase)!r} and --file: give one of them")
    phrases = lines(options.file) if options.file else [" ".join(options.phrase)]
    if not any(phrase.strip() for phrase in phrases):
        raise ValueError(f"there is no phrase to answer: give one, such as lorautils ask {EXAMPLE}")
    return phrases


def _tell(name: str, phrase: str, answer, explain: bool) -> bool:
    """Print an answer, and what there is to say to it; return False where it is no cron expression."""
    from lorautils.tasks import cron

    text, sure = " ".join(answer.text.split()), answer.probability >= THRESHOLD
    doubt = f"the model is not sure of that (probability {answer.probability:.2f})"
    if not cron.is_valid(text):
        why = f"the answer is not a cron expression: {text!r}; try other words"
        if text == cron.NOT_CRON:
            why = f"cron cannot say this. {_reason(phrase)}" + ("" if sure else f" But {doubt}.")
        notice(f"lorautils: {name}: {why}")
        return False
    say(text)
    if uneven := _uneven(text):
        notice(f"lorautils: {name}: {text} {uneven}")
    if explain:
        say(explanation(text))
        low = "" if sure else f", which is low (below {THRESHOLD}): does the meaning fit the phrase?"
        say(f"  sure: {answer.probability:.2f}{low}")
    elif not sure:
        notice(f"lorautils: {name}: {text}, but {doubt}: read the meaning with --explain before you use it")
    return True


def _reason(phrase: str) -> str:
    """Return why five fields cannot say a phrase, as far as the phrase shows it."""
    return next(reason for reason, pattern in REASONS.items() if re.search(pattern, phrase.lower()))


def _uneven(expression: str) -> str:
    """Return what cron does with a step that does not divide an hour or a day; no text where there is none."""
    for field, (unit, whole, of) in zip(
        expression.split(), (("minutes", 60, "hour"), ("hours", 24, "day")), strict=False
    ):
        step = re.fullmatch(r"\*/(\d+)", field)
        if step and whole % int(step[1]):
            return f"starts anew each {of}: the last gap is {whole % int(step[1])} {unit}, not {step[1]}"
    return ""


def explanation(expression: str) -> str:
    """Return the meaning of a cron expression and its next three firing times, indented."""
    from croniter import CroniterBadDateError, croniter

    from lorautils.tasks import cron

    times = croniter(cron.canonical(expression), datetime.now())  # which reads 9-9 as every hour, and 9 as 9
    try:
        following = [f"{times.get_next(datetime):%Y-%m-%d %H:%M}" for _ in range(3)]
    except CroniterBadDateError:  # 30 February
        following = ["never"]
    return f"  {cron.describe(expression)}\n  next: {', '.join(following)}"
