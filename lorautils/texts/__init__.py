"""Frozen texts on which the course measures a model's loss, in nats per token, and so what it has forgotten.

Used by notebooks 08 and 11 (forgetting) and 02 (cut weights). Written for this course, 2026, Apache-2.0.
"""

from importlib import resources

KINDS = ("prose", "code", "dialogue", "tables")


# The sha256 of the UTF-8 bytes, which a test checks: a figure belongs to one text.
HASHES = {
    "prose": "c8d01f80d88f88c8859f6b7f9dd587894b9e24993805794584cf41d1b6c98db0",  # eleven pieces, a paragraph a line
    "code": "38126c6f6136678239059e0ec26aa493d331f01c09059a8fa6b23dd0c82a8c7b",  # 23 small programs
    "dialogue": "d30be3668a8ef3c85115f0b97ec71288f00bcdb70e456549f1d9570521f7c7e2",  # nineteen dialogues
    "tables": "1bee0b5a44b4240ad97398224017ab932386cd26e59fea29db11fa86d843d4c6",  # 37 tables with captions
    "english": "0f50cc7a88393c51bb0e8cdf054ae76a1b63069f0abe55cffcf539b8abddf26e",  # one passage
    "calibration": "0b9e0cfb220774d9004b3a384201b0df57cb8a4c048a542d0b570eaf8d833c7f",  # five short passages
}


def read(kind: str) -> str:
    """Return the text of a kind; besides the four of KINDS, "english" and "calibration", which older figures name."""
    if kind not in HASHES:
        raise ValueError(f"no text named {kind!r}; there are: {', '.join(HASHES)}")
    return resources.files(__name__).joinpath(f"{kind}.txt").read_text(encoding="utf-8")
