"""`lorautils evaluate`: how many answers to the prompts of files are exactly those that the files expect."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lorautils.cli import notice
from lorautils.cli.data import FORMATS, renamed
from lorautils.cli.options import Parser

SUMMARY = "Count the exact answers of an adapter, or of the untouched model, on your files."
BATCH = 32


def parser() -> Parser:
    """Return the parser of the files, of how to read them, and of who answers."""
    options = Parser(epilog=FORMATS)
    options.add_argument("file", nargs="+", help="one or several files; of a chat the last answer is asked for")
    options.add_argument("--adapter", type=str, metavar="DIR", help="a saved adapter; without it, the model itself")
    options.add_argument("--model", type=str, help="a folder or a hub name; default: the course's model")
    options.add_argument("--rename", type=str, help="fields to known names, such as question=prompt,answer=completion")
    options.add_argument("--chat", type=bool, default=False, help="prompt and completion become turns of a chat")
    options.add_argument("--output", type=str, metavar="FILE", help="a new file for all answers, JSONL")
    return options


def run(options) -> int:
    """Print the first answers that differ from what is expected, and how many do not."""
    from lorautils.formats import rows

    data = rows.read(options.file, renamed(options.rename), options.chat).whole()
    if texts := [row.where for row in data.rows if isinstance(row.example, rows.Text)]:
        raise ValueError(f"{texts[0]} is a text, which asks nothing: prompts with their answers are needed")
    if options.output and Path(options.output).exists():
        raise FileExistsError(f"{options.output} is there already: name a new file with --output")
    if options.adapter and not Path(options.adapter, "adapter_config.json").is_file():
        raise FileNotFoundError(f"{options.adapter} holds no adapter: name the folder of a saved one with --adapter")
    from lorautils import results, setup
    from lorautils.formats import tokens

    with contextlib.redirect_stdout(sys.stderr):  # stdout is for answers
        setup()
        model, tokenizer = _loaded(options.adapter, options.model)
        asked = [tokens.asked(tokenizer, row.example) for row in data.rows]
        answers = _answers(model, tokenizer, asked)
    expected = [answer.strip() for _, answer in asked]
    wrong = [n for n, answer in enumerate(answers) if answer != expected[n]]
    for n in wrong[:5]:
        print(f"{data.rows[n].where}\n  expected {expected[n]!r}\n  got      {answers[n]!r}")
    print(f"{results.percent(len(answers) - len(wrong), len(answers))} exact of {len(answers)}")
    if options.output:
        records = zip(data.rows, expected, answers, strict=True)
        lines = [{"where": row.where, "expected": wish, "answer": answer} for row, wish, answer in records]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        Path(options.output).write_text(text, encoding="utf-8")
        notice(f"all answers are in {options.output}")
    return 0


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
    """Return the answers, of at most 16 tokens more than the longest that is expected, and show how far it is."""
    from tqdm.auto import tqdm

    from lorautils import evaluation

    longest = max(len(tokenizer(answer, add_special_tokens=False)["input_ids"]) for _, answer in asked)
    order = sorted(range(len(asked)), key=lambda n: len(asked[n][0]))  # equal lengths waste no padding
    answers = [""] * len(asked)
    with tqdm(total=len(asked), unit="answer", file=sys.stderr) as bar:
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            prompts = [asked[n][0] for n in part]
            said = evaluation.evaluate(model, tokenizer, prompts, max_new_tokens=longest + 16)
            for n, answer in zip(part, said, strict=True):
                answers[n] = answer
            bar.update(len(part))
    return answers
