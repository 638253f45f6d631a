"""How many there are, whichever worker has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.facts import Limits
from gateway.edge.headcount import headcounts
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import Closed, connect
from tests.gateway.samples import login
from tests.started import forked


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), max_size=200))
def test_never_too_few(entered: list[tuple[int, int]]) -> None:
    """However few cells there are: nobody is counted too low, and after all have left nobody is there."""
    workers = headcounts(2, cells=4)
    numbers = dict.fromkeys(range(7), 0)
    for worker, guest in entered:
        numbers[guest] += 1
        assert workers[worker].enter(b"%d" % guest) >= numbers[guest]
    for worker, guest in entered:
        assert workers[1 - worker].count(b"%d" % guest) >= numbers[guest]
        workers[worker].leave(b"%d" % guest)
        numbers[guest] -= 1
    assert not any(worker.count(b"%d" % guest) for worker in workers for guest in range(7))


def test_a_crowd_does_not_count_for_others() -> None:
    """With ten thousand connections of as many addresses, others are counted as they are."""
    (here,) = headcounts(1)
    for guest in range(10_000):
        here.enter(b"crowd %d" % guest)
    others = [here.enter(b"other %d" % guest) for guest in range(1_000)]
    assert sum(others) < 1_200
    assert max(others) < 6  # where cells are drawn, one in seven thousand runs meets a five


def test_workers_count_together() -> None:
    """What a forked worker lets in counts here, and no more once the worker is gone."""
    here, there = headcounts(2)
    here.enter(b"a")
    with forked(lambda: there.enter(b"a")) as other:
        assert other.wait() == 2
    assert (here.count(b"a"), here.count(b"b")) == (2, 0)
    there.wipe()
    assert here.count(b"a") == 1


async def test_caps_hold_for_all_workers_together(serve: Serve, pki: Pki) -> None:
    """What another worker has of a certificate, or of an address, counts here."""
    here, there = headcounts(2)
    limits = Limits(tick=0.02, connections_per_certificate=2, connections_per_address=4)
    one = await serve(login(pki), limits=limits, headcount=here)
    other = await serve(login(pki), limits=limits, headcount=there)
    async with (
        connect(one.port, b"login.test", certificate=pki.client) as first,
        connect(other.port, b"login.test", certificate=pki.client) as second,
    ):
        for each in (first, second):
            assert (await each.get(b"login.test")).status == 200
        with pytest.raises(Closed):
            async with connect(other.port, b"login.test", certificate=pki.client) as third:
                await third.get(b"login.test")
        async with connect(one.port, b"login.test"), connect(other.port, b"login.test"):
            with pytest.raises(Closed):
                async with connect(other.port, b"login.test"):
                    pass
    counts = other.listener.counts
    assert counts["refused.connections-per-certificate"] == counts["refused.connections-of-address"] == 1
    assert not any(count for reason, count in one.listener.counts.items() if reason.startswith("refused"))
