"""Collect what a room without network needs into build/offline-kit: python -m tools.offline_kit

`make offline-kit` calls it. The kit holds the course, every package that `make lab` installs, and the base model, for
machines with the same system, processor and Python version as this one. Needs the network, or pip's cache, once.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from lorautils import ROOT, basemodel

KIT = ROOT / "build" / "offline-kit"
SITE = ROOT / "build" / "site"
PIP = [sys.executable, "-m", "pip", "download", "--constraint", "constraints.txt"]

START = """#!/bin/sh
# Set the course up from this folder, without network, and open it; the second time it starts in seconds.
cd "$(dirname "$0")/course" || exit 1
export PIP_NO_INDEX=1 PIP_FIND_LINKS="$(dirname "$PWD")/wheelhouse" LORAUTILS_CACHE="$(dirname "$PWD")/model"
exec make "${1:-lab}"
"""
README = """LoRA, made clear: for a room without network
=============================================

For {machine} and Python {python}. Copy this folder to the disk of each machine, to a path without spaces, then:

    sh offline-kit/start.sh

Without make (Windows), in the folder `course`:

    py -{python} -m venv .venv
    .venv\\Scripts\\python -m pip install --no-index --find-links ..\\wheelhouse -c constraints.txt -e ".[lab]"
    set LORAUTILS_CACHE=%CD%\\..\\model
    set OMP_WAIT_POLICY=PASSIVE
    .venv\\Scripts\\python -m lorautils fresh
    .venv\\Scripts\\python -m jupyterlab --config jupyter_config\\jupyter_lab_config.py my\\00_start_here.ipynb
"""
PAGES = """
The folder `site` holds the course as pages, one with a model that runs in it. To read them on this machine, at
http://127.0.0.1:8000:

    python3 -m http.server --bind 127.0.0.1 --directory site 8000
"""


def copy_course(target: Path) -> None:
    """Copy all files as they are now, but those that git ignores."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def download_packages(wheelhouse: Path) -> None:
    """Download what `make lab` installs; torch from the index in TORCH_INDEX, where one is given."""
    if index := os.environ.get("TORCH_INDEX"):
        subprocess.run([*PIP, "--no-deps", "--index-url", index, "--dest", wheelhouse, "torch"], cwd=ROOT, check=True)
    wanted = [".[lab]", "setuptools>=77", "wheel"]  # the last two build lorautils itself
    subprocess.run([*PIP, "--find-links", wheelhouse, "--dest", wheelhouse, *wanted], cwd=ROOT, check=True)
    for built in wheelhouse.glob("lorautils-*"):
        built.unlink()  # it is installed from the folder `course`


def copy_site(target: Path) -> None:
    """Copy the pages where `make site` has built them."""
    if (SITE / "index.html").exists():
        shutil.copytree(SITE, target)


def write_texts(kit: Path) -> None:
    """Write the script that starts the kit, and how to use it."""
    (kit / "start.sh").write_text(START)
    machine = f"{platform.system()} on {platform.machine()}"
    python = ".".join(platform.python_version_tuple()[:2])
    pages = PAGES if (kit / "site").exists() else ""
    (kit / "README.txt").write_text(README.format(machine=machine, python=python) + pages)


def main(kit: Path = KIT) -> None:
    """Build the kit."""
    shutil.rmtree(kit, ignore_errors=True)
    (kit / "wheelhouse").mkdir(parents=True)
    copy_course(kit / "course")
    download_packages(kit / "wheelhouse")
    shutil.copytree(basemodel.fetch(), kit / "model" / basemodel.FOLDER)
    copy_site(kit / "site")
    write_texts(kit)
    size = sum(path.stat().st_size for path in kit.rglob("*") if path.is_file())
    print(f"{kit} holds {size / 1e9:.1f} GB; README.txt in it says how to use it.")


if __name__ == "__main__":
    main()
