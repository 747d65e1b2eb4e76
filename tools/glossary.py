"""docs/glossary.md as data: the terms, the cell that first shows each, and how its technical sense is recognised.

An entry is one line: **term**: what it is. <!-- shown: 05#part-gate; as: \\bSwiGLU\\b -->. Without `as`, it is the term
itself, with a small or large first letter and as a plural.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from lorautils import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
ENTRY = re.compile(
    r"\*\*(?P<term>.+?)\*\*: (?P<text>.+) <!-- shown: (?P<notebook>\d\d)#(?P<cell>[\w-]+)(?:; as: (?P<sense>.+))? -->"
)


class Entry(NamedTuple):
    """A term, the notebook ("05") and the cell that first show it, and the pattern of its technical sense."""

    term: str
    text: str
    notebook: str
    cell: str
    sense: re.Pattern


def entries(glossary: str) -> Iterator[Entry]:
    """Yield the entries of a glossary; raise ValueError at a line that is none."""
    for line in filter(None, glossary.splitlines()[3:]):  # after the title and a sentence
        if not (found := ENTRY.fullmatch(line)):
            raise ValueError(f"{line!r} is no entry: **term**: what it is. <!-- shown: 05#cell; as: PATTERN -->")
        term = found["term"]
        usual = rf"\b[{term[0].lower()}{term[0].upper()}]{re.escape(term[1:])}s?\b"
        yield Entry(term, found["text"], found["notebook"], found["cell"], re.compile(found["sense"] or usual))
