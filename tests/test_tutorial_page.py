"""docs/tutorial_line_by_line.md: every row points to a section, and every section that it points to exists."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorial_line_by_line.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
CLAIMS = [row for row in ROWS if not row.startswith(("| it says", "|---"))]
LINKS = sorted(set(re.findall(r"\]\((\S+?)\)(?=[ ,]|$)", PAGE.read_text(encoding="utf-8"))))


def anchors(path: Path) -> set[str]:
    """The fragments by which Jupyter links to the headings of a notebook."""
    nb = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#+\s+(.+?)\s*$", text, re.MULTILINE)
    return {heading.replace("`", "").replace(" ", "-") for heading in headings}


def test_the_page_has_its_rows():
    assert len(CLAIMS) == 28


@pytest.mark.parametrize("row", CLAIMS, ids=lambda row: row[2:40])
def test_a_claim_has_an_answer_and_a_link(row):
    claim, answer, links = (cell.strip() for cell in row.strip("|").split(" | "))
    assert claim and answer and "](../notebooks/" in links


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_somewhere(link):
    target, _, fragment = link.partition("#")
    path = (PAGE.parent / target).resolve()
    assert path.exists(), f"{target} does not exist"
    assert not fragment or fragment in anchors(path), f"{path.name} has no heading for #{fragment}"
