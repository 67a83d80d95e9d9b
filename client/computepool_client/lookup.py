"""What the names of brokers stand for: asks the machine's resolver, in both ways to wait.

An answer that does not come in time, or says that there is none, is no answer:
gRPC looks the name up by itself then, and says what is wrong.
"""

import asyncio
import random
import socket
import threading
from collections.abc import Iterable
from typing import Any, Final

from computepool_client.endpoints import parted

_WITHIN_S: Final = 2.0


def ips(name: str) -> list[str]:
    """IP addresses of "HOST:PORT", in the order of chance; blocks for 2 s at most."""
    found: list[str] = []

    def ask() -> None:
        host, port = parted(name)
        try:
            found.extend(_ips(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError):
            return

    # A resolver takes no deadline; one that hangs is left behind.
    asking = threading.Thread(target=ask, name="computepool-lookup", daemon=True)
    asking.start()
    asking.join(_WITHIN_S)
    return _shuffled(tuple(found))


async def aio_ips(name: str) -> list[str]:
    """The same for asyncio."""
    host, port = parted(name)
    asked = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.wait_for(asked, _WITHIN_S)
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return []
    return _shuffled(_ips(found))


def _ips(found: Iterable[tuple[Any, ...]]) -> list[str]:
    return [str(address[0]) for *_, address in found]


def _shuffled(found: Iterable[str]) -> list[str]:
    # The brokers of a name are equal: clients spread over them.
    mixed = list(dict.fromkeys(found))
    random.shuffle(mixed)
    return mixed
