"""Refuse every host but loopback in this Python process; `tools/offline.py` puts this folder on PYTHONPATH.

The stand-in for a network namespace where the system allows none. Python imports `sitecustomize` at each start.
"""

import ipaddress
import socket
import sys

INTERNET = (socket.AF_INET, socket.AF_INET6)
SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")
LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname")
LOCAL_NAMES = (None, "", "localhost", socket.gethostname())


def is_local(host: str | bytes | None) -> bool:
    """Whether a host name or address is this machine's loopback."""
    host = host.decode() if isinstance(host, bytes) else host
    if host in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse(event: str, args: tuple) -> None:
    """Audit hook: raise before a socket call reaches another host."""
    if event in SENDS and args[0].family in INTERNET and args[1] and not is_local(args[1][0]):
        raise OSError(f"cut off by tools/offline.py: {event} to {args[1]}")
    if event in LOOKUPS and not is_local(args[0]):
        raise socket.gaierror(socket.EAI_NONAME, f"cut off by tools/offline.py: look-up of {args[0]}")


sys.addaudithook(refuse)
