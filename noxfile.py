"""What is too long for `make test`, in the environment of `make test`: .venv/bin/nox -l lists it, -s NAME runs it."""

import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))

from tools import portable as portability

nox.options.default_venv_backend = "none"
nox.options.sessions = []
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}


@nox.session
@nox.parametrize("end", list(RESOLUTIONS), ids=list(RESOLUTIONS))
def bounds(session: nox.Session, end: str) -> None:
    """Print constraints at an end of what pyproject.toml admits: needs uv and the package index."""
    python = ".".join(map(str, sys.version_info[:2]))
    plain = ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"]
    options = ["--all-extras", "--resolution", RESOLUTIONS[end], "--python-version", python]
    session.run(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *options, *plain)


@nox.session
@nox.parametrize("configuration", list(portability.CONFIGURATIONS), ids=list(portability.CONFIGURATIONS))
def portable(session: nox.Session, configuration: str) -> None:
    """Compare the notebooks' outputs under other instructions, threads or hash seeds (-- NOTEBOOK ...)."""
    command = [sys.executable, "-m", "tools.portable", configuration, *session.posargs]
    session.run(sys.executable, "tools/offline.py", *command, env=portability.variables(configuration))
