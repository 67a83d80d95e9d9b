"""Clients that disturb, for a bench: streams that sleep, clients that read nothing, reconnections.

Run as a program: `python -m bench.disturbers --broker HOST:PORT`. One JSON line on standard input,
{"idle": 1000, "unread": 200, "reconnect": true}, says what is to be there from now on; it is
answered by one line on standard output when that is so. Speaks HTTP/2 by hand (RFC 9113), so that
it needs next to no processor time itself: the load generator has the same core.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import subprocess
import sys
from typing import Any

SERVICE = "/computepool.v1.AllocationService"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
STREAMS_A_CONNECTION = 50
NOTHING = struct.pack(">BI", 0, 0)
"""An empty message, as gRPC sends it."""
AT_ONCE = struct.pack("ii", 1, 0)
"""Close without a farewell: else the kernel would keep each port for a minute."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(path: str) -> bytes:
    """The header block of a gRPC call: literals that are never indexed."""
    pairs = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "bench",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\x10" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in pairs.items()
    )


def connected(address: tuple[str, int]) -> socket.socket:
    """A connection on which HTTP/2 has begun."""
    made = socket.create_connection(address)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    made.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return made


def sleeping(address: tuple[str, int], streams: int) -> list[socket.socket]:
    """Streams of calls, many on each connection, on which nothing is ever said."""
    out = []
    for begin in range(0, streams, STREAMS_A_CONNECTION):
        made = connected(address)
        for at in range(min(STREAMS_A_CONNECTION, streams - begin)):
            path = f"{SERVICE}/StreamAllocations"
            made.sendall(frame(HEADERS, END_HEADERS, 2 * at + 1, headers(path)))
        out.append(made)
    return out


def unread(address: tuple[str, int], clients: int) -> list[socket.socket]:
    """Watches of all allocations, each on a connection from which nothing is ever read."""
    out = []
    for _ in range(clients):
        made = connected(address)
        made.sendall(
            frame(HEADERS, END_HEADERS, 1, headers(f"{SERVICE}/WatchAllocations"))
            + frame(DATA, END_STREAM, 1, NOTHING)
        )
        out.append(made)
    return out


def reconnect(address: tuple[str, int]) -> None:
    """Come and go, as fast as the kernel lets; tells how often when standard input ends."""
    came = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        connected(address).close()
        came += 1
    print(came, flush=True)


class Disturbers:
    """What is there now."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.rpartition(":")
        self._broker = broker
        self.address = (host, int(port))
        self._open: list[socket.socket] = []
        self._have = (0, 0)
        self._coming: subprocess.Popen[str] | None = None

    def have(self, idle: int, unread_clients: int, *, coming: bool) -> dict[str, Any]:
        """End what is no longer wanted, and begin what is not there."""
        answer = {"reconnections": self._end_coming()}
        if (idle, unread_clients) != self._have:
            for made in self._open:
                made.close()
            self._open = sleeping(self.address, idle) + unread(self.address, unread_clients)
            self._have = (idle, unread_clients)
        if coming:
            command = [sys.executable, "-m", "bench.disturbers", "--broker", self._broker, "--come"]
            self._coming = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        return answer | {"connections": len(self._open)}

    def _end_coming(self) -> int:
        if self._coming is None:
            return 0
        told, _ = self._coming.communicate("", timeout=30)
        self._coming = None
        return int(told)


def main() -> None:
    """Do as told until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, help="host:port")
    parser.add_argument("--come", action="store_true", help="only reconnect, until input ends")
    args = parser.parse_args()
    disturbers = Disturbers(args.broker)
    if args.come:
        reconnect(disturbers.address)
        return
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        answer = disturbers.have(wanted["idle"], wanted["unread"], coming=wanted["reconnect"])
        print(json.dumps(answer), flush=True)
    disturbers.have(0, 0, coming=False)


if __name__ == "__main__":
    main()
