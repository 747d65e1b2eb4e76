"""A copy of the course whose notebooks may be changed: used by the mutation test and the browser test."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent


def copy_course(folder: Path) -> Path:
    """Copy notebooks/ into `folder`, link what the notebooks read beside it, and return the new notebooks folder."""
    for name in ("adapters", "experiments", "lorautils"):
        (folder / name).symlink_to(ROOT / name)
    return Path(shutil.copytree(ROOT / "notebooks", folder / "notebooks"))
