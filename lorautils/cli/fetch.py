"""`lorautils fetch`: download and convert the base model. `make setup` calls it."""

import argparse

from lorautils.cli import notice

SUMMARY = "Download and convert the base model, and print its folder."


def add_options(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(options: argparse.Namespace) -> int:
    """Print the folder of the base model."""
    from lorautils import basemodel

    print(basemodel.fetch(progress=notice))
    return 0
