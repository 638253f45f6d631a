"""Where a database server is, out of what an operator writes."""

import pytest

from ca.databaseserver import BadAddress, parse


@pytest.mark.parametrize(
    ("url", "hosts", "user", "name", "said"),
    [
        ("postgresql://me@db1,db2:5433/x", (("db1", 5432), ("db2", 5433)), "me", "x", "x at db1,db2:5433"),
        ("postgres://db.example.jp/x", (("db.example.jp", 5432),), "", "x", "x at db.example.jp"),
        ("postgresql://m%40e@[2001:db8::7]:6/x%20y", (("2001:db8::7", 6),), "m@e", "x y", None),
        ("postgresql://me@db/x%40%23%3F", (("db", 5432),), "me", "x@#?", "x@#? at db"),
        ("postgresql://me@/x?host=/run/pg&port=6", (("/run/pg", 6),), "me", "x", "x at /run/pg"),
        ("postgresql://me@%2Frun%2Fpg/x", (("/run/pg", 5432),), "me", "x", None),
    ],
)
def test_an_address(url, hosts, user, name, said):
    """As libpq reads it: hosts in their order, each with its port, or the directory of a socket."""
    found = parse(url)
    assert (found.hosts, found.user, found.name) == (hosts, user, name)
    assert said in (None, str(found))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://me:tops3cret@db/x", "a password does not belong here"),
        ("postgresql://me@db/x?password=tops3cret", "a password does not belong here"),
        # A / or # of a password ends the host.
        ("postgresql://me:12/tops3cret@db/x", "a password does not belong here"),
        ("postgresql://me:12/tops3cret@db:5433", "a password does not belong here"),
        ("postgresql://me:12#tops3cret@db/x", "a password does not belong here"),
        ("postgresql://me:to#ps3cret@db/x", "a password does not belong here"),
        ("postgresql://me:12?tops3cret=@db/x", "a password does not belong here"),
        ("postgresql://me@db/x#y", "as %23"),
        ("postgresql://db/x?sslmode=disable", "sslmode cannot be said here"),
        ("postgresql://db/x?sslmode=disable", "leave it out; .* is database.sslmode"),
        ("postgresql:/me@db/x", "begins with postgresql://"),
        ("mysql://db/x", "begins with postgresql://"),
        ("postgresql://db", "the database's name"),
        ("postgresql://db/x/y", "the database's name"),
        ("postgresql:///x", "name a host"),
        ("postgresql://db:x/x", "each host"),
        ("postgresql://db:99999/x", "a port from 1"),
        ("postgresql://[::1/x", "such as"),
        ("postgresql://db/x?host", "such as"),
    ],
)
def test_no_address(url, why):
    """Each is refused with what to write, and nothing of it is repeated."""
    with pytest.raises(BadAddress, match=why) as refused:
        parse(url)
    assert "tops3cret" not in str(refused.value)
