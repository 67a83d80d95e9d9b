"""The baseline: a unary call that does nothing, on the broker's own kind of server.

Run as a program: `python -m bench.echo_server READY_FILE RESPONSE_BYTES`. The
server is built by the broker's own code, with its options and interceptors;
messages are bytes, neither parsed nor built.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from computepool_broker.rpc.server import bare_server

SERVICE = "computepool.v1.EchoService"
METHOD = f"/{SERVICE}/EchoAllocation"
COUNT_METHOD = f"/{SERVICE}/CountAllocations"


if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[bytes, bytes]


class EchoHandler(grpc.GenericRpcHandler):
    """Answers EchoAllocation with a fixed message, CountAllocations with how often."""

    def __init__(self, response: bytes) -> None:
        self._response = response
        self._calls = 0
        handlers = {METHOD: self._echo, COUNT_METHOD: self._count}
        self._handlers: dict[str, Handler] = {
            name: grpc.unary_unary_rpc_method_handler(call) for name, call in handlers.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a method, or None."""
        return self._handlers.get(handler_call_details.method)

    async def _echo(self, _request: bytes, _context: object) -> bytes:
        self._calls += 1
        return self._response

    async def _count(self, _request: bytes, _context: object) -> bytes:
        return str(self._calls).encode()


async def serve(ready_file: Path, response_bytes: int) -> None:
    """Serve on a free port until told to stop."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = bare_server()
    server.add_generic_rpc_handlers((EchoHandler(b"\x00" * response_bytes),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await asyncio.to_thread(ready_file.write_text, f"127.0.0.1:{port}\n", encoding="utf-8")
    await stopped.wait()
    await server.stop(grace=1.0)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
