"""Where a Redis is, as the operator writes it, and what is asked of it. Pure.

| `--store` | what |
|---|---|
| `redis://[USER:PASSWORD@]HOST[:6379][/DB]` | one primary |
| `rediss://...` | the same over TLS |
| `redis+sentinel://[USER:PASSWORD@]HOST[:26379],HOST,.../NAME[/DB]` | NAME, by its sentinels |
| `rediss+sentinel://...` | the same, TLS to the sentinels and to the primary |

USER and PASSWORD are those of the primary, percent-encoded; the sentinels' own stand in
RedisOptions. An IPv6 address stands in brackets. Neither a text of an Address nor an error of
`parse` ever shows a password.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

REDIS_PORT = 6379
SENTINEL_PORT = 26379
MAX_HOSTS = 32
"""Sentinels in one address."""
AUTO_REPLICAS = -1
"""One where sentinels may put a replica in the primary's place, else none."""
FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://... over TLS, "
    "redis+sentinel://HOST[:PORT],HOST,.../NAME[/DB] or rediss+sentinel://..."
)
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_DATABASE = re.compile(r"[0-9]{1,5}")
_SCHEMES = {
    "redis": (False, False),
    "rediss": (True, False),
    "redis+sentinel": (False, True),
    "rediss+sentinel": (True, True),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is.

    Attributes:
        hosts: Host and port: of the primary, or of each sentinel where `service` is set.
        service: The primary's name among the sentinels; empty without them.
        database: Its number.
        username: Login at the primary.
        password: Login at the primary.
        tls: Whether every connection is encrypted and the other side's certificate is checked.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    database: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read one of the forms of the module's table.

        Raises:
            ValueError: It is none; the text begins with `store: ` and does not show the password.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in _SCHEMES or not rest:
            raise ValueError(f"store: must be {FORMS}")
        if "?" in rest or "#" in rest:
            raise ValueError(
                "store: the address takes no options (? and #); in a password write %3F and %23"
            )
        tls, by_sentinel = _SCHEMES[scheme]
        netloc, _, path = rest.partition("/")
        if "@" in path:
            raise ValueError("store: an @ after the first /; in a password write / as %2F")
        login, _, where = netloc.rpartition("@")
        user, _, password = login.partition(":")
        service, database = _path(path, by_sentinel=by_sentinel)
        return cls(
            _hosts(where, by_sentinel=by_sentinel),
            service,
            database,
            unquote(user) or None,
            unquote(password) or None,
            tls,
        )

    @property
    def scheme(self) -> str:
        """What the address begins with."""
        return "redis" + "s" * self.tls + "+sentinel" * bool(self.service)

    def __str__(self) -> str:
        """The address without its login."""
        hosts = ",".join(shown(*host) for host in self.hosts)
        service = f"/{self.service}" if self.service else ""
        return f"{self.scheme}://{hosts}{service}/{self.database}"


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """What is asked of a Redis beside its address; all of it are settings of the broker.

    Attributes:
        replicas: Replicas that must have a durable commit, or AUTO_REPLICAS.
        ca: PEM file of authorities that are believed besides the system's; empty for none.
        cert: PEM file of the certificate that we show; empty for none.
        key: PEM file of its key, where that is not in the same file.
        sentinel_username: Login at the sentinels; empty for none.
        sentinel_password: Login at the sentinels; empty for none.
        deadline_s: Seconds for one call.
    """

    replicas: int = AUTO_REPLICAS
    ca: str = ""
    cert: str = ""
    key: str = ""
    sentinel_username: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    deadline_s: float = 5.0


def replicas_expected(address: Address, options: RedisOptions) -> int:
    """How many replicas must have a commit before it is durable."""
    if options.replicas == AUTO_REPLICAS:
        return 1 if address.service else 0
    return options.replicas


def shown(host: str, port: int) -> str:
    """host:port, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path(path: str, *, by_sentinel: bool) -> tuple[str, int]:
    """The primary's name and the database."""
    parts = path.removesuffix("/").split("/")
    service = parts.pop(0) if by_sentinel else ""
    if by_sentinel and not _NAME.fullmatch(service):
        raise ValueError(
            "store: name the primary as its sentinels do, in letters, digits, '.', '_' and '-': "
            "redis+sentinel://HOST,HOST,HOST/NAME"
        )
    database = parts.pop(0) if parts else ""
    if parts or not _DATABASE.fullmatch(database or "0"):
        raise ValueError("store: the database at the end of the address must be one number")
    return service, int(database or "0")


def _hosts(where: str, *, by_sentinel: bool) -> tuple[tuple[str, int], ...]:
    texts = where.split(",")
    if len(texts) > 1 and not by_sentinel:
        raise ValueError("store: several hosts are sentinels: redis+sentinel://HOST,HOST/NAME")
    if len(texts) > MAX_HOSTS:
        raise ValueError(f"store: names {len(texts)} hosts; at most {MAX_HOSTS}")
    standard = SENTINEL_PORT if by_sentinel else REDIS_PORT
    found = (_host(text, standard, number) for number, text in enumerate(texts, 1))
    return tuple(dict.fromkeys(found))


def _host(text: str, standard: int, number: int) -> tuple[str, int]:
    """One host and its port; a mistake is told by its place, since the text may be a password's."""
    host, port = text, ""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (port and not port.startswith(":")):
            raise ValueError(f"store: host {number} is no IPv6 address in brackets")
        port = port[1:]
    elif _is_ipv6(text):
        raise ValueError(f"store: host {number} is an IPv6 address without brackets: [{text}]")
    else:
        host, _, port = text.partition(":")
        if not _HOST.fullmatch(host):
            raise ValueError(
                f"store: host {number} is no name and no address; in a password write @ as %40"
            )
    digits = re.fullmatch("[0-9]{1,5}", port or str(standard))
    if digits is None or not 1 <= int(digits.group()) <= 65_535:  # noqa: PLR2004 - ports
        raise ValueError(f"store: the port of host {number} is no number from 1 to 65535")
    return host.lower(), int(digits.group())


def _is_ipv6(text: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(text), ipaddress.IPv6Address)
    except ValueError:
        return False
