"""The brokers that can be asked, and which one is asked next. Pure.

What is named may be one broker, or a name with several addresses: a broker at each.
Such a name is replaced by its addresses when somebody has looked it up (`due`, `found`).
"""

import ipaddress
import os
from collections.abc import Iterable
from typing import Final

DEFAULT: Final = "127.0.0.1:7600"
VARIABLE: Final = "COMPUTEPOOL_ENDPOINT"
_MOST: Final = 64
_MOST_IPS: Final = 64
"""Of one name; a broker's address beyond that is never asked."""
_PORTS: Final = range(1, 65536)
_DNS: Final = "dns:///"
_LOCAL: Final = ("localhost", ".localhost")
"""Names of this machine: their addresses are no brokers of their own."""
_FRESH_S: Final = 1.0
_MOST_LEFT: Final = 16
"""Connections to brokers that are no longer named stay so long: calls may be under way there."""


def parse(text: str | None) -> tuple[str, ...]:
    """Addresses of "a:7600,b:7600"; those of the environment or this machine without a text.

    Raises:
        ValueError: one has another form than HOST:PORT, or there are more than 64.
    """
    chosen = text if text is not None else os.environ.get(VARIABLE) or DEFAULT
    found = tuple(dict.fromkeys(address(each.strip()) for each in chosen.split(",")))
    if len(found) > _MOST:
        raise ValueError(f"{len(found)} endpoints are too many: at most {_MOST}")
    return found


def address(text: str) -> str:
    """Checks that an address is HOST:PORT, with [..] around an IPv6 address.

    Raises:
        ValueError: it has another form.
    """
    plain = text.removeprefix(_DNS)
    host, _, port = plain.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed) or "/" in host:
        raise ValueError(f"{text!r} is no endpoint: write HOST:PORT, such as {DEFAULT}")
    if not (port.isascii() and port.isdigit() and int(port[:6]) in _PORTS):
        raise ValueError(f"{text!r} is no endpoint: the port must be 1 to 65535")
    return plain


def parted(endpoint: str) -> tuple[str, int]:
    """Host, without brackets, and port of an address."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


class Endpoints:
    """Equal brokers; one of them is the present one until it fails."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.present = addresses[0]
        self._known = addresses
        self._found: dict[str, tuple[str, ...]] = {}
        self._names = tuple(each for each in addresses if _is_name(parted(each)[0]))
        self._looked_s: float | None = None
        self._doubted = False

    def __len__(self) -> int:
        return len(self._known)

    def left(self, used: Iterable[str]) -> list[str]:
        """Which of those used once, oldest first, to give up: brokers that are gone for long."""
        gone = [each for each in used if each not in self._known]
        return gone[:-_MOST_LEFT]

    def failed(self, endpoint: str) -> None:
        """Makes the next one the present one, unless somebody has done so already."""
        self._doubted = True
        known = self._known  # another thread may learn of others meanwhile
        if endpoint == self.present and endpoint in known:
            self.present = known[(known.index(endpoint) + 1) % len(known)]

    def due(self, now_s: float) -> tuple[str, ...]:
        """Names to look up now: before the first call, and anew when a broker has failed."""
        if not self._names:
            return ()
        fresh = self._looked_s is not None and now_s - self._looked_s < _FRESH_S
        if fresh or (self._looked_s is not None and not self._doubted):
            return ()
        self._looked_s, self._doubted = now_s, False
        return self._names

    def found(self, name: str, ips: Iterable[str]) -> None:
        """What a name stands for now; without an answer it stands for what it did.

        One address is no choice: then the name itself is asked.
        """
        port = parted(name)[1]
        whole = tuple(
            dict.fromkeys(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in ips)
        )
        if not whole:
            return
        self._found[name] = whole[:_MOST_IPS] if len(whole) > 1 else (name,)
        lists = (self._found.get(each, (each,)) for each in self.addresses)
        self._known = tuple(dict.fromkeys(each for some in lists for each in some))
        if self.present not in self._known:
            self.present = self._found[name][0] if self.present == name else self._known[0]


def _is_name(host: str) -> bool:
    if host.lower().endswith(_LOCAL):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False
