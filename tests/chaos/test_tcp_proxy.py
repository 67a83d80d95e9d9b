"""What the proxy does to connections, seen from both ends of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING_S = 0.2
WITHIN_S = 10.0


class Line:
    """A client's socket and the server's, with the proxy between."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        host, port = self.listener.getsockname()
        self.proxy = TcpProxy(f"{host}:{port}")

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """The two ends of a new connection; the far one when something has come through."""
        near = self.dial()
        near.sendall(b"!")
        far, _ = self.listener.accept()
        far.settimeout(WITHIN_S)
        assert far.recv(1) == b"!"
        return near, far

    def dial(self) -> socket.socket:
        """A client's socket, to whom nobody may have answered."""
        host, _, port = self.proxy.address.rpartition(":")
        return socket.create_connection((host, int(port)), WITHIN_S)


@pytest.fixture
def line() -> Iterator[Line]:
    """A listener and its proxy."""
    line = Line()
    with closing(line.listener), line.proxy:
        yield line


def silent(end: socket.socket) -> bool:
    """Whether nothing comes for a while."""
    end.settimeout(NOTHING_S)
    try:
        return not end.recv(64)
    except TimeoutError:
        return True
    finally:
        end.settimeout(WITHIN_S)


def was_reset(end: socket.socket) -> bool:
    """Whether the connection is reset, and not only closed."""
    try:
        return end.recv(64) == b"never"
    except ConnectionResetError:
        return True


def test_bytes_go_both_ways_and_an_end_is_told(line: Line) -> None:
    near, far = line.connect()
    with near, far:
        near.sendall(b"up")
        assert far.recv(64) == b"up"
        far.sendall(b"the last")
        far.close()
        assert near.recv(64) == b"the last"
        assert near.recv(64) == b""


def test_what_is_held_arrives_after_the_healing(line: Line) -> None:
    near, far = line.connect()
    with near, far:
        line.proxy.hold()
        near.sendall(b"late")
        assert silent(far)
        line.proxy.heal()
        assert far.recv(64) == b"late"


def test_what_a_blackhole_swallows_is_lost_with_its_connection(line: Line) -> None:
    near, far = line.connect()
    with near, far, line.dial() as new:
        line.proxy.blackhole("down")
        near.sendall(b"up")
        assert far.recv(64) == b"up"
        far.sendall(b"down")
        assert silent(near)
        new.sendall(b"later")
        line.proxy.heal()
        assert was_reset(near)


def test_a_cut_resets_what_there_is_and_refusing_what_comes_too(line: Line) -> None:
    near, far = line.connect()
    with near, far:
        line.proxy.cut()
        assert was_reset(near)
        assert was_reset(far)
    near, far = line.connect()
    with near, far:
        line.proxy.refuse()
        assert was_reset(near)
        with line.dial() as new:
            assert was_reset(new)
        line.proxy.heal()
    for end in line.connect():
        end.close()


def test_half_of_the_next_message_arrives_and_then_the_end(line: Line) -> None:
    near, far = line.connect()
    with near, far:
        line.proxy.halve()
        near.sendall(b"12345678")
        assert far.recv(64) == b"1234"
        assert far.recv(64) == b""
        assert near.recv(64) == b""


def test_a_delay_is_of_each_byte_and_not_of_their_sum(line: Line) -> None:
    near, far = line.connect()
    with near, far:
        line.proxy.delay(0.3)
        began_s = time.monotonic()
        near.sendall(b"1")
        assert silent(far)
        near.sendall(b"2")
        assert far.recv(1) == b"1"
        assert time.monotonic() - began_s >= 0.3
        assert far.recv(1) == b"2"
        assert time.monotonic() - began_s < 2 * 0.3 + NOTHING_S


def test_a_fault_strikes_the_connections_of_the_processes_that_it_names(line: Line) -> None:
    near, far = line.connect()
    with near, far:
        line.proxy.hold(only=lambda: {os.getpid()})
        near.sendall(b"held")
        assert silent(far)
        line.proxy.hold(but=lambda: {os.getpid()})
        assert far.recv(64) == b"held"
        host, _, port = line.proxy.address.rpartition(":")
        code = f"import socket; socket.create_connection(('{host}', {port})).sendall(b'?')"
        subprocess.run([sys.executable, "-c", code], check=True)
        line.listener.settimeout(NOTHING_S)
        with pytest.raises(TimeoutError):
            line.listener.accept()
        line.proxy.heal()
        line.listener.settimeout(WITHIN_S)
        with line.listener.accept()[0] as other:
            assert other.recv(64) == b"?"
