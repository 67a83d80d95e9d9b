"""TLS to real servers and a real sentinel: whom we believe, who believes us, and which setting."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store.redis_dial import hang_up
from support.processes import free_port
from support.redis_links import connected, connector, failure, refusal
from support.redis_node import Sentinel, sentinel_command
from support.redis_server import running_redis, server_binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from computepool_broker.store.redis_connection import Connector
    from support.redis_server import RedisServer

HERE = "127.0.0.1"


@dataclass(frozen=True)
class Papers:
    """PEM files: an authority, a server's certificate, ours, and some that are of no use."""

    folder: Path

    def __post_init__(self) -> None:
        ours, strange = trustme.CA(), trustme.CA()
        ours.cert_pem.write_to_path(self.ca)
        _write(ours.issue_cert(HERE), self.folder / "server")
        _write(ours.issue_cert("broker.example"), self.folder / "broker")
        _write(strange.issue_cert("broker.example"), self.folder / "strange")
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        _write(ours.issue_cert(HERE, not_after=yesterday), self.folder / "expired")
        strange.cert_pem.write_to_path(self["strange-ca.pem"])
        (self.folder / "no.pem").write_text("no certificate")

    @property
    def ca(self) -> str:
        return self["ca.pem"]

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)

    def tls(self, server: str = "server") -> dict[str, str]:
        """Settings of a server or sentinel, but for its port."""
        return {
            "tls_cert_file": self[f"{server}.pem"],
            "tls_key_file": self[f"{server}.key"],
            "tls_ca_cert_file": self.ca,
        }


def _write(cert: trustme.LeafCert, stem: Path) -> None:
    cert.cert_chain_pems[0].write_to_path(stem.with_suffix(".pem"))
    cert.private_key_pem.write_to_path(stem.with_suffix(".key"))


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def tls_server() -> str:
    """The server program; the test is skipped where that was built without TLS."""
    binary = server_binary()
    told = subprocess.run(
        [binary, "-"], input="tls-port no", capture_output=True, text=True, check=False, timeout=20
    )
    if "Bad directive" in told.stderr:
        if os.environ.get("CI"):
            pytest.fail(f"{binary} has no TLS")
        pytest.skip(f"NOT TESTED OVER TLS: {binary} was built without")
    return binary


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tls_server: str, papers: Papers
) -> Iterator[RedisServer]:
    """One that asks for no certificate of ours."""
    folder = tmp_path_factory.mktemp("redis")
    settings = papers.tls() | {"tls_port": str(free_port()), "tls_auth_clients": "no"}
    with running_redis(folder, binary=tls_server, **settings) as one:
        yield one


@pytest.fixture(scope="module")
def strict_server(
    tmp_path_factory: pytest.TempPathFactory, tls_server: str, papers: Papers
) -> Iterator[RedisServer]:
    """One that asks for our certificate."""
    folder = tmp_path_factory.mktemp("strict")
    settings = papers.tls() | {"tls_port": str(free_port())}
    with running_redis(folder, binary=tls_server, **settings) as one:
        yield one


def tls_url(server: RedisServer, host: str = HERE) -> str:
    with server.client() as client:
        port = client.config_get("tls-port")["tls-port"]
    return f"rediss://{host}:{port}"


# -- whom we believe ---------------------------------------------------------------------------


async def test_a_server_with_a_certificate_that_we_believe(
    server: RedisServer, papers: Papers
) -> None:
    to = connector(tls_url(server), ca=papers.ca)
    async with connected(to) as (client, facts):
        assert await client.set("{computepool}:x", "1")
        other = await to.another(facts)
        assert await other.get("{computepool}:x") == "1"
        await other.aclose()


@pytest.mark.parametrize("authority", ["", "strange-ca.pem"])
async def test_a_certificate_of_an_authority_that_we_do_not_know_is_refused(
    server: RedisServer, papers: Papers, authority: str
) -> None:
    text = await refusal(connector(tls_url(server), ca=authority and papers[authority]))
    assert "is not believed" in text
    assert "set redis_ca" in text


async def test_a_certificate_for_another_name_is_refused(
    server: RedisServer, papers: Papers
) -> None:
    text = await refusal(connector(tls_url(server, "localhost"), ca=papers.ca))
    assert "not valid for 'localhost'" in text
    assert "name the server as it does" in text


async def test_an_expired_certificate_is_refused(
    tmp_path: Path, tls_server: str, papers: Papers
) -> None:
    settings = papers.tls("expired") | {"tls_port": str(free_port()), "tls_auth_clients": "no"}
    with running_redis(tmp_path, binary=tls_server, **settings) as late:
        text = await refusal(connector(tls_url(late), ca=papers.ca), first=False)
    assert "certificate has expired" in text


async def test_one_side_speaks_tls_and_the_other_does_not(
    server: RedisServer, papers: Papers
) -> None:
    plain = server.url().replace("redis://", "rediss://")
    text = await failure(connector(plain, ca=papers.ca, deadline_s=0.5))
    assert "does it speak TLS there?" in text
    crossed = tls_url(server).replace("rediss://", "redis://")
    assert "if it speaks TLS there, write rediss://" in await failure(connector(crossed))


# -- who believes us ---------------------------------------------------------------------------


async def failed_or_refused(to: Connector) -> str:
    """The text: whether the server's alert is read or lost in its hanging up, is a race."""
    with pytest.raises((ConnectionError, StoreRefusedError)) as error:
        await to.connect(first=True)
    return str(error.value)


async def test_our_certificate_is_shown_where_it_is_asked_for(
    strict_server: RedisServer, papers: Papers
) -> None:
    own = {"cert": papers["broker.pem"], "key": papers["broker.key"]}
    async with connected(connector(tls_url(strict_server), ca=papers.ca, **own)) as (client, _):
        assert await client.ping()
    text = await failed_or_refused(connector(tls_url(strict_server), ca=papers.ca))
    assert "asks for our certificate" in text
    assert "set redis_cert and redis_key" in text
    other = {"cert": papers["strange.pem"], "key": papers["strange.key"]}
    text = await failed_or_refused(connector(tls_url(strict_server), ca=papers.ca, **other))
    assert "does not believe our certificate" in text
    assert "let its authority sign redis_cert" in text


async def test_key_and_certificate_may_be_one_file(
    strict_server: RedisServer, papers: Papers, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    parts = [papers.folder / "broker.key", papers.folder / "broker.pem"]
    both.write_text("".join(part.read_text() for part in parts))
    to = connector(tls_url(strict_server), ca=papers.ca, cert=str(both))
    async with connected(to) as (client, _):
        assert await client.ping()


async def test_hanging_up_on_a_server_that_is_paused_waits_for_nothing(
    tmp_path: Path, tls_server: str, papers: Papers
) -> None:
    settings = papers.tls() | {"tls_port": str(free_port()), "tls_auth_clients": "no"}
    with running_redis(tmp_path, binary=tls_server, **settings) as server:
        client, _ = await connector(tls_url(server), ca=papers.ca).connect(first=True)
        server.pause()
        begun = time.monotonic()
        await hang_up(client)
        # TLS would first exchange a goodbye.
        assert time.monotonic() - begun < 1
        server.resume()


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ca": "gone.pem"}, "^redis_ca: cannot read .*gone.pem: No such file"),
        ({"ca": "no.pem"}, "^redis_ca: .*no.pem is no PEM file"),
        ({"cert": "gone.pem"}, "^redis_cert: cannot read .*gone.pem"),
        ({"cert": "no.pem"}, "^redis_cert: .*no.pem is no PEM file"),
        ({"cert": "broker.pem"}, "^redis_cert: .*its key is missing or encrypted"),
        ({"cert": "broker.pem", "key": "gone.key"}, "^redis_key: cannot read .*gone.key"),
        ({"cert": "broker.pem", "key": "server.key"}, "^redis_key: is not the key of"),
        ({"cert": "broker.pem", "key": "no.pem"}, "^redis_cert: .*its key is missing or encrypted"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_its_setting(
    papers: Papers, options: dict[str, str], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        connector("rediss://h", **{name: papers[file] for name, file in options.items()})


def test_an_encrypted_key_is_refused_and_no_password_asked_for(
    papers: Papers, tmp_path: Path
) -> None:
    plain = (papers.folder / "broker.key").read_bytes()
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        serialization.load_pem_private_key(plain, None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"xyzzy"),
        )
    )
    with pytest.raises(ValueError, match=r"^redis_cert: .*encrypted"):
        connector("rediss://h", cert=papers["broker.pem"], key=str(locked))


# -- with a sentinel ---------------------------------------------------------------------------


async def test_sentinel_and_primary_are_both_asked_over_tls(
    tmp_path: Path, strict_server: RedisServer, papers: Papers
) -> None:
    port = free_port()
    tls = [f"{name.replace('_', '-')} {value}" for name, value in papers.tls().items()]
    sentinel = Sentinel(
        tmp_path / "sentinel",
        sentinel_command(),
        *tls,
        f"tls-port {port}",
        "tls-replication yes",
        monitor=f"sentinel monitor pool {HERE} {{port}} 1",
    )
    primary = int(tls_url(strict_server).rpartition(":")[2])
    sentinel.choose_port()
    sentinel.watch(primary)
    sentinel.start()
    own = {"cert": papers["broker.pem"], "key": papers["broker.key"], "ca": papers.ca}
    url = f"rediss+sentinel://{HERE}:{port}/pool"
    try:
        async with connected(connector(url, replicas=0, **own)) as (client, facts):
            assert facts.port == primary
            assert await client.ping()
        text = await failed_or_refused(connector(url, replicas=0, ca=papers.ca))
        assert f"sentinel {HERE}:{port} " in text
        assert "asks for our certificate" in text
    finally:
        sentinel.stop()
