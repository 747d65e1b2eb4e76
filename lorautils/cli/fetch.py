"""`lorautils fetch`: download and convert the base model. `make setup` calls it."""

from lorautils.cli import notice

SUMMARY = "Download and convert the base model, and print its folder."


def run(options) -> int:
    """Print the folder of the base model."""
    from lorautils import basemodel

    print(basemodel.fetch(progress=notice))
    return 0
