"""`lorautils evaluate`: scores of answers to the prompts of files, and pairs of answers for a blind judge."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lorautils.cli import at_work, blind, notice, say
from lorautils.cli.data import FORMATS, renamed
from lorautils.cli.options import Parser
from lorautils.formats import alike, rows, tokens

SUMMARY = "Score the answers of an adapter, or of the untouched model, on your files."


def parser() -> Parser:
    """Return the parser of the files, of how to read them, and of who answers."""
    options = Parser(epilog=FORMATS)
    options.add_argument("file", nargs="*", help="one or several files; of a chat the last answer is asked for")
    options.add_argument("--adapter", type=str, metavar="DIR", help="a saved adapter; without it, the model itself")
    options.add_argument("--model", type=str, help="a folder or a hub name; default: the course's model")
    options.add_argument("--rename", type=str, help="fields to known names, such as question=prompt,answer=completion")
    options.add_argument("--chat", type=bool, default=False, help="prompt and completion become turns of a chat")
    how = "exact; loose: but for capitals and spaces; json: the same value; words: the F1 of the words in both"
    options.add_argument("--scorer", choices=list(SCORERS), default="exact", help=how)
    options.add_argument("--output", type=str, metavar="FILE", help="a new file for all answers, JSONL")
    options.add_argument("--against", type=str, metavar="DIR", help="a second adapter, for --blind")
    blind = "a new file for the answers of both, A and B, in a random order: write A, B or = where it says better"
    options.add_argument("--blind", type=str, metavar="FILE", help=blind)
    options.add_argument("--judged", type=str, metavar="FILE", help="count what was judged in such a file")
    return options


def run(options) -> int:
    """Print the first answers that differ from what is expected, and the score; or write pairs, or count those."""
    if options.judged:
        say(blind.counted(Path(options.judged)))
        return 0
    _check(options)
    data = rows.read(options.file, renamed(options.rename), options.chat).whole()
    if texts := [row.where for row in data.rows if isinstance(row.example, rows.Text)]:
        raise ValueError(f"{texts[0]} is a text, which asks nothing: prompts with their answers are needed")
    asked, answers = _asked_and_answers(options, data, options.adapter)
    if options.blind:
        others = _asked_and_answers(options, data, options.against)[1]
        names = options.adapter or "the model itself", options.against
        count = blind.write(Path(options.blind), names, [prompt for prompt, _ in asked], (answers, others))
        say(f"{count} pairs of answers that differ, of {len(asked)}, are in {options.blind}")
        say(f'write "A", "B" or "=" where it says "better", then: lorautils evaluate --judged {options.blind}')
        return 0
    expected = [answer.strip() for _, answer in asked]
    scores = [SCORERS[options.scorer](wish, answer) for wish, answer in zip(expected, answers, strict=True)]
    for n in [n for n, score in enumerate(scores) if score < 1][:5]:
        say(f"{data.rows[n].where}\n  expected {expected[n]!r}\n  got      {answers[n]!r}")
    say(_total(options.scorer, scores))
    if options.output:
        records = zip(data.rows, expected, answers, strict=True)
        lines = [{"where": row.where, "expected": wish, "answer": answer} for row, wish, answer in records]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        Path(options.output).write_text(text, encoding="utf-8")
        notice(f"all answers are in {options.output}")
    return 0


def _check(options) -> None:
    """Raise where there is nothing to ask, where a file would be overwritten, or an adapter is none."""
    if not options.file:
        raise ValueError("no file was given: name one with prompts and their answers")
    if bool(options.blind) != bool(options.against):
        raise ValueError("--blind and --against need each other: a second adapter, and a file for the pairs")
    if options.blind and options.output:
        raise ValueError("--output is for the answers of one model, --blind for those of two: leave one out")
    for name in ("output", "blind"):
        if (path := getattr(options, name)) and Path(path).exists():
            raise FileExistsError(f"{path} is there already: name a new file with --{name}")
        if path and not Path(path).parent.is_dir():
            raise FileNotFoundError(f"{Path(path).parent} is no folder: make it, or name another file with --{name}")
    for name in ("adapter", "against"):
        if (folder := getattr(options, name)) and not Path(folder, "adapter_config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no adapter: name the folder of a saved one with --{name}")


def _asked_and_answers(options, data, adapter: str | None) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the prompts with their expected answers, and what the model with an adapter answers."""
    with at_work():
        model, tokenizer = _loaded(adapter, options.model)
        asked = [tokens.asked(tokenizer, row.example) for row in data.rows]
        return asked, _answers(model, tokenizer, asked)


# --- scorers: (expected, answer) -> a score, 1 for a right answer ---------------------------------------------------


def _exact(expected: str, answer: str) -> float:
    return float(answer == expected)


def _loose(expected: str, answer: str) -> float:
    return float(alike.loose(answer) == alike.loose(expected))


def _json(expected: str, answer: str) -> float:
    apart = {"parse_int": lambda digits: (int(digits),), "parse_float": lambda digits: (float(digits),)}  # True == 1
    try:
        return float(json.loads(answer, **apart) == json.loads(expected, **apart))
    except (ValueError, RecursionError):
        return 0.0


def _words(expected: str, answer: str) -> float:
    """The F1 of SQuAD: the harmonic mean of the shares of words that answer and expectation have in common."""
    wish, said = (Counter(re.findall(r"\w+", text.casefold())) for text in (expected, answer))
    return 2 * (wish & said).total() / max(wish.total() + said.total(), 1)


SCORERS = {"exact": _exact, "loose": _loose, "json": _json, "words": _words}


def _total(scorer: str, scores: Sequence[float]) -> str:
    from lorautils import results

    if scorer == "words":
        return f"{sum(scores) / len(scores):.0%} of the words on average (F1) in {len(scores)} answers"
    right = {"exact": "exact", "loose": "right but for capitals and spaces", "json": "the same JSON"}[scorer]
    return f"{results.percent(int(sum(scores)), len(scores))} {right} of {len(scores)}"


def _loaded(adapter: str | None, name: str | None):
    """Return the model that answers, on the accelerator if there is one, and its tokenizer."""
    import torch

    from lorautils import basemodel, evaluation

    if adapter:
        model, tokenizer = evaluation.load_adapter(adapter, name)
    else:
        model, tokenizer = basemodel.load_base_model(name), basemodel.load_tokenizer(name)
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    return model, tokenizer


def _answers(model, tokenizer, asked: Sequence[tuple[str, str]]) -> list[str]:
    """Return the answers, of at most 16 tokens more than the longest that is expected."""
    from lorautils import evaluation

    prompts, expected = zip(*asked, strict=True)
    longest = max(len(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in expected)
    answers = evaluation.answers_with_probability(model, tokenizer, prompts, max_new_tokens=longest + 16, bar=True)
    return [answer.text for answer in answers]
