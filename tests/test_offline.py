"""tools/offline.py: loopback answers, nothing else does, in a network namespace and under the guard."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OFFLINE = ROOT / "tools" / "offline.py"
MODES = [pytest.param([], id="default"), pytest.param(["--guard"], id="guard")]

# 192.0.2.1 and 2001:db8::1 are reserved for documentation, host.example for examples: no machine has them.
OUTSIDE = {
    "address": "socket.create_connection(('192.0.2.1', 80), timeout=5)",
    "ipv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))",
    "datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "name": "socket.getaddrinfo('host.example', 80)",
    "asyncio": "asyncio.run(asyncio.wait_for(asyncio.open_connection('192.0.2.1', 80), 5))",
    "urllib": "urllib.request.urlopen('http://host.example', timeout=5)",
}
PROBE = """
import asyncio, socket, urllib.request
try:
    {line}
except TimeoutError:
    print("waited for an answer")
except OSError as error:
    print("refused:", error)
"""
ECHO = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(("localhost", server.getsockname()[1]), timeout=5)
server.accept()[0].sendall(b"hello")
print(client.recv(5).decode())
"""


def offline(mode: list[str], code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, OFFLINE, *mode, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("line", [pytest.param(line, id=name) for name, line in OUTSIDE.items()])
def test_nothing_outside_answers(mode, line):
    run = offline(mode, PROBE.format(line=line))
    assert run.stdout.startswith("refused:"), run.stdout + run.stderr
    # Without these two lines the test would pass on any machine that has no network.
    if "a guard in every Python process" in run.stderr:
        assert "cut off by tools/offline.py" in run.stdout
    else:
        assert "network namespace" in run.stderr


@pytest.mark.parametrize("mode", MODES)
def test_loopback_answers(mode):
    run = offline(mode, ECHO)
    assert run.stdout.strip() == "hello", run.stderr


def test_a_namespace_has_no_other_device():
    run = offline([], "import socket; print(*[name for _, name in socket.if_nameindex()])")
    outside = " ".join(name for _, name in socket.if_nameindex())
    expected = outside if "guard" in run.stderr else "lo"
    assert run.stdout.strip() == expected


def test_the_exit_code_is_the_commands():
    assert offline([], "raise SystemExit(7)").returncode == 7


def test_no_command_says_how_to_call_it():
    run = subprocess.run([sys.executable, OFFLINE], capture_output=True, text=True)
    assert run.returncode == 2
    assert "COMMAND" in run.stderr
