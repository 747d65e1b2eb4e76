"""The command line: `lorautils doctor | fetch | ask | train`, one module a command.

Notebooks 00, 08 and 12 point to it. Answers go to stdout, notices to stderr; exit 0: done, 1: a problem found or an
answer that is not cron, 2: an error, in one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(argv)
    try:
        return options.run(options)
    except (OSError, ValueError) as error:
        return fail(error)
    except ImportError as error:
        return fail(f"{error}; `lorautils doctor` says what to do")
    except KeyboardInterrupt:
        return 130  # as the shell has it for Ctrl-C


def _parser() -> argparse.ArgumentParser:
    from lorautils.cli import ask, doctor, fetch, train

    parser = argparse.ArgumentParser(prog="lorautils", description="The command line of the LoRA course.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (doctor, fetch, ask, train):
        name = command.__name__.rpartition(".")[2]
        subparser = commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY)
        command.add_options(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def notice(text: str) -> None:
    """Say something on stderr: stdout is for answers."""
    print(text, file=sys.stderr, flush=True)


def fail(error: Exception | str) -> int:
    """Say in one line what went wrong, and return the exit code for it."""
    notice("lorautils: " + " ".join(str(error).split()))
    return 2
