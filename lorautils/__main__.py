"""The door of the command line: `lorautils COMMAND`, or `python -m lorautils COMMAND`; the rooms are in cli/."""

import sys

from lorautils.cli import main

if __name__ == "__main__":
    sys.exit(main())
