"""The network of `computepool up-ha`: doors that pass everything on until they are cut."""

from __future__ import annotations

import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from computepool_client import errors
from computepool_client.cli.up_ha.network import Network
from support.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 10.0
# Long enough for what is not cut, and waited for in full by what is.
NOTHING_FOR_S = 0.5

# A process of its own that sends a line for each of ours, and says what came back.
CALLER = """
import socket, sys
far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for line in sys.stdin:
    far.sendall(line.encode())
    print(far.recv(100).decode().strip(), flush=True)
"""


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that says everything again."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(WITHIN_S)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)


def answers(far: socket.socket, text: bytes) -> bool:
    """Whether what is sent comes back; not when the other end is gone, or silent."""
    try:
        far.sendall(text + b"\n")
        readable, _, _ = select.select([far], [], [], NOTHING_FOR_S)
        return bool(readable) and far.recv(100) == text + b"\n"
    except OSError:
        return False


@contextmanager
def calling(port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CALLER, str(port)]
    caller = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield caller
    finally:
        caller.kill()
        caller.communicate()


def asked(caller: subprocess.Popen[str], text: str) -> bool:
    """Whether another process gets its line back."""
    assert caller.stdin is not None
    assert caller.stdout is not None
    caller.stdin.write(text + "\n")
    caller.stdin.flush()
    readable, _, _ = select.select([caller.stdout], [], [], NOTHING_FOR_S * 4)
    return bool(readable) and caller.stdout.readline().strip() == text


def test_a_door_leads_to_its_port(echo: int) -> None:
    door = free_port()
    with Network({door: echo}), connected(door) as far:
        assert answers(far, b"hello")


def test_a_door_without_a_server_behind_it_ends_connections() -> None:
    door = free_port()
    with Network({door: free_port()}), connected(door) as far:
        assert far.recv(1) == b""


def test_an_island_is_reached_by_nobody_else_until_it_is_healed(echo: int) -> None:
    door = free_port()
    with Network({door: echo}) as network, connected(door) as before:
        assert answers(before, b"one")
        network.cut([door], [])
        assert not answers(before, b"two")
        with connected(door) as meanwhile:
            assert not answers(meanwhile, b"three")
            network.heal()
            assert before.recv(100) == b""  # its bytes are lost: it breaks
        with connected(door) as after:
            assert answers(after, b"four")


def test_those_on_one_island_reach_each_other_and_nobody_else(echo: int) -> None:
    inner, outer = free_port(), free_port()
    with (
        Network({inner: echo, outer: echo}) as network,
        calling(inner) as to_inner,
        calling(outer) as to_outer,
        connected(inner) as stranger,
    ):
        assert asked(to_inner, "one")
        assert asked(to_outer, "one")
        network.cut([inner], [to_inner.pid, to_outer.pid])
        assert asked(to_inner, "two")
        assert not asked(to_outer, "two")
        assert not answers(stranger, b"two")
        network.heal()
        assert asked(to_inner, "three")


def test_a_door_that_is_taken_is_an_error(echo: int) -> None:
    with pytest.raises(errors.PoolError, match="in use"), Network({echo: free_port()}):
        pass


def test_this_process_is_none_of_an_island_that_does_not_name_it(echo: int) -> None:
    door = free_port()
    with Network({door: echo}) as network, connected(door) as far:
        network.cut([door], [os.getpid()])
        assert answers(far, b"ours")
