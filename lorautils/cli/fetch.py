"""`lorautils fetch`: download and convert the base model. `make setup` calls it."""

from lorautils.cli import notice
from lorautils.cli.options import Parser

SUMMARY = "Download and convert the base model, and print its folder."


def parser() -> Parser:
    """Return the parser of a command without options."""
    return Parser()


def run(options) -> int:
    """Print the folder of the base model."""
    from lorautils import basemodel

    print(basemodel.fetch(progress=notice))
    return 0
