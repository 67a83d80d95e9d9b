"""How many connections may wait to be taken: the one bound on those who come too fast.

gRPC takes whatever waits, in as many threads as it likes, and making a connection ready costs
more than a call. Its listening socket has a queue of 4,096; so a client that does nothing but
connect keeps all cores of the broker busy, and calls wait. With a short queue the kernel leaves the
client's SYN unanswered as soon as gRPC is behind, and the client tries again a second later, by
itself (listen(2) and tcp(7) of Linux). Calls on connections that are there do not notice.

Linux only: elsewhere nothing is done.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

MAX_WAITING = 128
_FILES = Path("/proc/self/fd")


def shorten(port: int, most: int = MAX_WAITING) -> int:
    """Let at most so many connections wait at each listening socket of a port.

    Returns:
        Number of sockets that were found.
    """
    found = 0
    if not _FILES.is_dir():
        return found
    for file in _FILES.iterdir():
        with suppress(OSError):
            if not str(file.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(file.name))) as sock:
                if _listens(sock, port):
                    sock.listen(most)
                    found += 1
    return found


def _listens(sock: socket.socket, port: int) -> bool:
    return (
        sock.family in (socket.AF_INET, socket.AF_INET6)
        and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        and sock.getsockname()[1] == port
    )
