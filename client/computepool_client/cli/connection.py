"""The flags that every command has, and the client that they lead to."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client.cli import flags, units

if TYPE_CHECKING:
    from computepool_client.client import PoolClient

DEFAULT_ENDPOINT = "127.0.0.1:7600"
_PORTS = range(1, 65536)


def parse_endpoint(text: str) -> str:
    """Checks that an endpoint is HOST:PORT, with [..] around an IPv6 address.

    Raises:
        ValueError: it has another form.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed) or "/" in host:
        raise ValueError(f"{text!r} is no endpoint: write HOST:PORT, such as {DEFAULT_ENDPOINT}")
    if not (port.isascii() and port.isdigit() and int(port) in _PORTS):
        raise ValueError(f"{text!r} is no endpoint: the port must be 1 to 65535")
    return text


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the broker is, how long to wait for it, and what to print."""

    endpoint: Annotated[
        str,
        typer.Option(
            "--endpoint",
            "-e",
            envvar="COMPUTEPOOL_ENDPOINT",
            metavar="HOST:PORT",
            parser=flags.parser(parse_endpoint),
            help="The broker to call.",
            rich_help_panel="Connection and output",
        ),
    ] = DEFAULT_ENDPOINT
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            parser=flags.parser(units.parse_duration_s),
            show_default="10s",
            help="Give up a call after this long (500ms, 30s, 10m, 2h, 1d).",
            rich_help_panel="Connection and output",
        ),
    ] = 10.0
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON document with the names of the protocol; errors too, on stderr.",
            rich_help_panel="Connection and output",
        ),
    ] = False

    def client(self) -> "PoolClient":
        """A client of the endpoint; use it in a `with` statement."""
        # gRPC's own log lines mean nothing to who types a command.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from computepool_client.client import PoolClient  # noqa: PLC0415 - gRPC is slow to import

        return PoolClient(self.endpoint, timeout_s=self.timeout_s)
