"""The command line: `lorautils COMMAND`, one module a command; `lorautils --help` lists them.

Notebook 00 points to it first. Answers go to stdout, notices to stderr; exit 0: done, 1: a problem found or an
answer that is not cron, 2: an error, in one line on stderr.
"""

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lorautils import rank, setup

# What a terminal obeys, signs that turn the order of letters round, and halves of characters.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    from lorautils.cli import doctor

    argv = sys.argv[1:] if argv is None else argv
    with contextlib.suppress(AttributeError):  # a notebook's has none
        sys.stdout.reconfigure(errors="backslashreplace")  # a file on Windows may not have every letter
    try:
        from lorautils.cli import ask, check_server, data, evaluate, export, fetch, fresh, options, serve, train
    except ImportError as error:  # the doctor, whom a broken environment needs, does without a library
        return doctor.run(None) if list(argv[:1]) == ["doctor"] else fail(f"{error}; `lorautils doctor` says more")
    commands = {"doctor": doctor, "fetch": fetch, "fresh": fresh, "ask": ask}
    commands |= {"data": data, "train": train, "evaluate": evaluate}
    commands |= {"export": export, "serve": serve, "check-server": check_server}
    parser = options.Parser(prog="lorautils", description="The command line of the LoRA course.")
    subcommands = parser.add_subcommands(required=True, metavar="COMMAND")
    for name, command in commands.items():
        own = command.parser() if hasattr(command, "parser") else options.Parser()
        subcommands.add_subcommand(name, own, help=command.SUMMARY)
    if argv and argv[0] in commands:
        parser.prog = f"lorautils {argv[0]}"  # whose --help an error points to
    try:
        given = parser.parse_args(underscored(argv))
        return commands[given.subcommand].run(given[given.subcommand])
    except (OSError, ValueError) as error:
        return fail(said_by(error))
    except ImportError as error:
        return fail(f"{error}; `lorautils doctor` says what to do")
    except KeyboardInterrupt:
        return 130  # as the shell has it for Ctrl-C


def underscored(argv: Sequence[str]) -> list[str]:
    """Return a command line in which --held-out stands for --held_out; what follows -- stays as it is."""
    end = argv.index("--") if "--" in argv else len(argv)
    names = [re.sub(r"^--\w[\w-]*", lambda name: f"--{name[0][2:].replace('-', '_')}", word) for word in argv[:end]]
    return [*names, *argv[end:]]


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Call `setup`, and send to stderr what libraries print: stdout is for answers."""
    with contextlib.redirect_stdout(sys.stderr):
        setup()
        yield


def printable(text: str) -> str:
    """Return a text whose control characters are written out: a terminal would obey those in somebody's file."""
    return CONTROL.sub(lambda sign: ascii(sign[0])[1:-1], text)


def say(text: str = "") -> None:
    """Print an answer."""
    print(printable(text), flush=True)


def notice(text: str) -> None:
    """Say something on stderr: stdout is for answers. Of several processes, the first speaks."""
    if rank() == 0:
        print(printable(text), file=sys.stderr, flush=True)


def lines(file: str) -> list[str]:
    """Return the lines of a text file, or of - (stdin), without their ends; OSError or ValueError says what it is."""
    name = "standard input" if file == "-" else file
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise OSError(f"{name} cannot be read ({error.strerror}): name a text file") from None
    text = raw.decode("utf-8-sig", errors="surrogateescape")
    if re.search(r"[\0\udc80-\udcff]", text):
        raise ValueError(f"{name} is not UTF-8 text: save it with UTF-8 encoding")
    return [line.rstrip("\n") for line in io.StringIO(text, newline=None)]


def said_by(error: Exception) -> str:
    """Return what an error says."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is not there: check its name and the current folder"
    if isinstance(error, UnicodeDecodeError):
        return f"a file that was named is not UTF-8 text ({error}): save it with UTF-8 encoding"
    return str(error)


def fail(text: str) -> int:
    """Say in one line what went wrong, and return the exit code for it."""
    who = f"process {rank()}: " if rank() else ""
    print(printable(f"lorautils: {who}{' '.join(text.split())}"), file=sys.stderr, flush=True)
    return 2
