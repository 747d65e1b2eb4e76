"""Pack the built pages into one zip whose name holds the version: python -m tools.archive

`make archive` calls it. The same pages give the same bytes: names are sorted and times fixed.
"""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from lorautils import ROOT, __version__

SITE = ROOT / "build" / "site"
NAME = f"lorautils-{__version__}-pages"


def pack(site: Path, target: Path) -> None:
    """Write all files of a folder into a zip, in a folder of its name, but what Sphinx hides for its next build."""
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for name in names:
            if not name.startswith("."):
                entry = ZipInfo(f"{target.stem}/{name}")  # of 1 January 1980
                entry.create_system, entry.external_attr = 3, 0o644 << 16  # on Windows, too
                archive.writestr(entry, (site / name).read_bytes(), ZIP_DEFLATED)


if __name__ == "__main__":
    pack(SITE, ROOT / "build" / f"{NAME}.zip")
    print(f"The pages are in build/{NAME}.zip.")
