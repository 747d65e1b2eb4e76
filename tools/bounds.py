"""Constraints at an end of what pyproject.toml admits: python tools/bounds.py lowest|newest > FILE

The weekly workflow `versions.yml` writes constraints.txt anew with it and runs the suite. `lowest` takes the oldest
admitted version of every direct dependency, `newest` the newest of all, for the Python that runs this script.
It needs uv (`python -m pip install uv`) and the package index.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}


def command(end: str) -> list[str]:
    """Return the command of uv that prints the constraints."""
    python = ".".join(map(str, sys.version_info[:2]))
    plain = ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"]
    options = ["--all-extras", "--resolution", RESOLUTIONS[end], "--python-version", python]
    return [sys.executable, "-m", "uv", "pip", "compile", str(ROOT / "pyproject.toml"), *options, *plain]


def main(arguments: list[str]) -> int:
    """Print the constraints; return uv's exit code."""
    if len(arguments) != 1 or arguments[0] not in RESOLUTIONS:
        print(__doc__, file=sys.stderr)
        return 2
    return subprocess.run(command(arguments[0])).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
