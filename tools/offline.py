"""Run a command with every host but loopback cut off: python tools/offline.py [--guard] COMMAND ...

`make test` runs the notebooks under it, so that none of them can come to need the network.
A network namespace where the system allows one (Linux), else a guard in every Python process (`offline_guard`).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

GUARD = Path(__file__).parent / "offline_guard"

# A fresh namespace has a loopback device that is down. SIOCSIFFLAGS with IFF_UP raises it, without needing iproute2.
RAISE_LOOPBACK = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack("16sh22x", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def namespace_prefix() -> list[str]:
    """The words that put a command into a network namespace with loopback only; empty where that is not allowed."""
    if shutil.which("unshare"):
        for flags in ("-n", "-rn"):  # root needs no user namespace, an ordinary user does
            prefix = ["unshare", flags, sys.executable, "-c", RAISE_LOOPBACK]
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
    return []


def main(argv: list[str]) -> int:
    """Replace this process by the command, cut off; return 2 where no command is given."""
    guard_only = argv[:1] == ["--guard"]
    command = argv[1:] if guard_only else argv
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    prefix = [] if guard_only else namespace_prefix()
    if prefix:
        print("offline: in a network namespace with loopback only", file=sys.stderr, flush=True)
    else:
        path = [str(GUARD), os.environ.get("PYTHONPATH")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        print("offline: a guard in every Python process refuses hosts but loopback", file=sys.stderr, flush=True)
    command = prefix + command
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
