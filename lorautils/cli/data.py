"""`lorautils data`: what a training would make of files: recognised, counted, and one example shown token by token."""

from lorautils import basemodel
from lorautils.cli import say
from lorautils.cli.options import Parser, PositiveInt
from lorautils.formats import report, rows, tokens

SUMMARY = "Show what a training would make of your files, and what would go wrong."
FORMATS = """A row has the fields "messages" (turns with role and content), "conversations" (turns with from and value),
"prompt" and "completion" (both strings, used as written, or both lists of turns), "instruction" and "output" with or
without "input", or "text". Files: JSONL, a JSON array, CSV or TSV with a header, Parquet. Loss is on the answers only,
and on all of a text."""
CODES = "Exit code: 0 if nothing is wrong, 1 if a line begins with PROBLEM, 2 if nothing could be read."


def parser() -> Parser:
    """Return the parser of the files and of how to read them."""
    options = Parser(epilog=f"{FORMATS} {CODES}")
    options.add_argument("file", nargs="+", help="one or several files")
    options.add_argument(
        "--model", type=str, help="whose tokenizer: a folder or a hub name; default: the course's model"
    )
    options.add_argument("--rename", type=str, help="fields to known names, such as question=prompt,answer=completion")
    options.add_argument("--chat", type=bool, default=False, help="prompt and completion become turns of a chat")
    options.add_argument("--max_length", type=PositiveInt, default=1024, help="tokens that an example may have")
    options.add_argument("--batch_size", type=PositiveInt, default=8, help="for the share of padding")
    return options


def run(options) -> int:
    """Print the report; return 1 if it has a problem."""
    data = rows.read(options.file, renamed(options.rename), options.chat)
    tokenizer = basemodel.load_tokenizer(options.model)
    sequences, refused = tokens.encode_rows(tokenizer, data.rows)
    if not sequences:
        raise ValueError(refused[0])
    say(report.counts(data, sequences, int(options.batch_size)))
    say(f"\nThe first, {sequences[0].row.where}:\n{report.shown(tokenizer, sequences[0])}\n")
    problems = 0
    for level, text in report.findings(tokenizer, data, sequences, refused, int(options.max_length)):
        problems += level == "PROBLEM"
        say(f"{level:8} {text}")
    say(f"{problems} problem{'' if problems == 1 else 's'} found.")
    return 1 if problems else 0


def renamed(setting: str | None) -> dict[str, str]:
    """Return the names to give to fields, from a setting such as question=prompt,answer=completion."""
    pairs = [part.partition("=") for part in (setting or "").split(",") if part.strip()]
    for old, _, new in pairs:
        if not old.strip() or not new.strip():
            raise ValueError(f"rename was {setting!r}, expected field=name, such as question=prompt,answer=completion")
    return {old.strip(): new.strip() for old, _, new in pairs}
