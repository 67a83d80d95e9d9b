"""The brokers that can be asked, and which one is asked next. Pure."""

import os
from typing import Final

DEFAULT: Final = "127.0.0.1:7600"
VARIABLE: Final = "COMPUTEPOOL_ENDPOINT"
_MOST: Final = 64
_PORTS: Final = range(1, 65536)


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
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed) or "/" in host:
        raise ValueError(f"{text!r} is no endpoint: write HOST:PORT, such as {DEFAULT}")
    if not (port.isascii() and port.isdigit() and int(port[:6]) in _PORTS):
        raise ValueError(f"{text!r} is no endpoint: the port must be 1 to 65535")
    return text


class Endpoints:
    """Equal brokers; one of them is the present one until it fails."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.present = 0

    def __len__(self) -> int:
        return len(self.addresses)

    def failed(self, index: int) -> None:
        """Makes the next one the present one, unless somebody has done so already."""
        if index == self.present:
            self.present = (index + 1) % len(self.addresses)
