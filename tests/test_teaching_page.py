"""docs/teaching.md: what it promises in minutes fits."""

import re
from pathlib import Path

from tools import generated

PAGE = Path(__file__).parent.parent / "docs" / "teaching.md"


def test_the_lecture_fits_into_its_minutes():
    section = PAGE.read_text(encoding="utf-8").partition("## A lecture of ")[2].partition("\n## ")[0]
    *rows, together = (parts.split() for parts in re.findall(r"<!-- in_class (.+?) -->", section))
    assert [part for row in rows for part in row] == together
    assert int(generated.in_class(*together)) <= int(section.split()[0])
