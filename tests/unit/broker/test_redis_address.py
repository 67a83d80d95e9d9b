"""Addresses of a Redis: what is read, what is shown, what is refused, and never a password."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool_broker.store.redis_address import Address, RedisOptions, replicas_expected

SENTINELS = "redis+sentinel://a,b:1,[::2]:3/pool"


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("redis://h", Address((("h", 6379),))),
        ("redis://h:/", Address((("h", 6379),))),
        ("redis://H.example:1/15", Address((("h.example", 1),), database=15)),
        ("redis://[::1]:7000/3", Address((("::1", 7000),), database=3)),
        ("redis://[fe80::1]", Address((("fe80::1", 6379),))),
        ("rediss://h", Address((("h", 6379),), tls=True)),
        (SENTINELS, Address((("a", 26379), ("b", 1), ("::2", 3)), "pool")),
        ("rediss+sentinel://a/p-1/7", Address((("a", 26379),), "p-1", 7, tls=True)),
        ("redis+sentinel://a,a:26379,A/p", Address((("a", 26379),), "p")),
    ],
)
def test_an_address_is_read_with_its_defaults(url: str, want: Address) -> None:
    assert Address.parse(url) == want


@pytest.mark.parametrize(
    ("login", "want"),
    [
        ("u:p", ("u", "p")),
        ("u:p%40%2F%3A%25", ("u", "p@/:%")),
        (":p", (None, "p")),
        ("u", ("u", None)),
        ("u:a:b@c", ("u", "a:b@c")),
    ],
)
@pytest.mark.parametrize("rest", ["h:1/2", "[::1]"])
def test_a_login_is_read_and_not_shown(login: str, want: tuple[str, str], rest: str) -> None:
    address = Address.parse(f"redis://{login}@{rest}")
    assert (address.username, address.password) == want
    assert address == Address.parse(f"redis://{login}@{rest}")
    assert "@" not in str(address) + repr(address)
    assert "'p" not in repr(address)


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("redis://u:secret@h:7/3", "redis://h:7/3"),
        ("rediss://[::1]", "rediss://[::1]:6379/0"),
        (SENTINELS, "redis+sentinel://a:26379,b:1,[::2]:3/pool/0"),
        ("rediss+sentinel://:secret@a/p/1", "rediss+sentinel://a:26379/p/1"),
    ],
)
def test_an_address_is_shown_so_that_it_can_be_read_again(url: str, want: str) -> None:
    address = Address.parse(url)
    assert str(address) == want
    again = Address.parse(want)
    assert (again.hosts, again.service, again.database) == (
        address.hosts,
        address.service,
        address.database,
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis:h", "must be redis://"),
        ("redis://", "must be redis://"),
        ("REDIS://h", "must be redis://"),
        ("unix:///run/redis.sock", "must be redis://"),
        ("sentinel://h/p", "redis+sentinel://"),
        ("redis:///0", "host 1"),
        ("redis://h:port", "port of host 1"),
        ("redis://h:99999", "port of host 1"),
        ("redis://h:0", "port of host 1"),
        ("redis://h:²", "port of host 1"),
        ("redis://[::1", "host 1"),
        ("redis://[::1]x", "host 1"),
        ("redis://[h]", "host 1"),
        ("redis://::1", "[::1]"),
        ("redis://h h", "host 1"),
        ("redis://h/name", "one number"),
        ("redis://h/0/1", "one number"),
        ("redis://h/-1", "one number"),
        ("redis://h/0?socket_timeout=0", "no options"),
        ("redis://h/0#x", "no options"),
        ("redis://a,b", "redis+sentinel://"),
        ("redis+sentinel://a,b", "name the primary"),
        ("redis+sentinel://a,b/", "name the primary"),
        ("redis+sentinel://a,b/n m", "name the primary"),
        ("redis+sentinel://a,,b/p", "host 2"),
        ("redis+sentinel://a,b/p/x", "one number"),
        ("redis+sentinel://" + ",".join("abcdefghijklmnopqrstuvwxyz0123456") + "/p", "at most 32"),
    ],
)
def test_an_address_that_is_none_is_refused_with_why(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^store: ") as refusal:
        Address.parse(url)
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:pass/word@h",
        "redis://u:pass#word@h",
        "redis://u:pass?word@h",
        "redis://u:password@h:x",
        "redis://u:password@",
        "redis://u:password@h/db",
        "redis://u:password,h",
        "redis+sentinel://u:password@a,[b/p",
        "redis+sentinel://u:pass/word@a,b/p",
        "http://u:password@h",
    ],
)
def test_no_refusal_shows_a_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^store: ") as refusal:
        Address.parse(url)
    assert "pass" not in str(refusal.value).replace("PASSWORD", "").replace("a password", "")
    assert "word@" not in str(refusal.value)


@given(st.sampled_from(["redis://", "rediss+sentinel://"]), st.text(max_size=60))
def test_any_text_is_refused_in_our_words_or_shown_so_that_it_can_be_read(
    scheme: str, text: str
) -> None:
    with suppress(ValueError):
        address = Address.parse(scheme + text)
        assert str(Address.parse(str(address))) == str(address)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_password_can_be_written(password: str) -> None:
    address = Address.parse(f"redis://u:{quote(password, safe='')}@h/1")
    assert (address.username, address.password, address.database) == ("u", password, 1)


def test_options_do_not_show_the_sentinels_login() -> None:
    options = RedisOptions(sentinel_username="whoever", sentinel_password="secret")  # noqa: S106 - an example
    assert "whoever" not in repr(options)
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("url", "replicas", "want"),
    [
        ("redis://h", -1, 0),
        (SENTINELS, -1, 1),
        ("redis://h", 2, 2),
        (SENTINELS, 0, 0),
        (SENTINELS, 2, 2),
    ],
)
def test_sentinels_mean_a_replica_unless_it_is_said_otherwise(
    url: str, replicas: int, want: int
) -> None:
    assert replicas_expected(Address.parse(url), RedisOptions(replicas=replicas)) == want
