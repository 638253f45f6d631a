"""Issuing for a client that holds its key: what is begun is on disk before it is signed, and ends once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import ca.keys
import ca.store
import enroll.store
from ca.storage import Transaction
from enroll.acme import store
from enroll.acme.csr import read_csr
from enroll.acme.fulfilment import _begin
from enroll.people.register import disable_user
from enroll.problems import Problem
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment
from enroll.requests.issuance import begin_for_client, complete, recover
from enroll.requests.opening import draw_request
from enroll.requests.states import State
from tests.enroll.acme.acme_world import FQDN, USER, Client, Site, csr, new_key, world
from tests.looking import look


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with world(tmp_path) as site:
        yield site


async def waiting(site: Site) -> Enrollment:
    def work(db: Transaction) -> Enrollment:
        user = enroll.store.user(db, USER)
        assert user is not None
        return draw_request(db, site.ra, user, "protocol", profile="client-automated", door="protocol")

    return await site.ra.database.write(work)


def begin(db: Transaction, site: Site, before: Enrollment) -> Enrollment:
    spki = ca.keys.spki(new_key().public_key())
    return begin_for_client(db, site.ra, before, spki, (FQDN,), before.profile, actor="test").enrollment


async def test_everything_is_written(site: Site) -> None:
    """Certificate, state and trail are there: as on the pages, and fetched by the same step."""
    before = await waiting(site)
    begun = await site.ra.database.write(lambda db: begin(db, site, before))
    assert (begun.state, begun.door, begun.sealed_key) == (State.PROCESSING, "protocol", None)
    after = await complete(site.ra, before.request_id)
    db = look(site.ra.database)
    record = ca.store.find_by_order(db, before.request_id)
    assert record is not None
    assert (record.status, record.serial, record.issued_at) == ("issued", after.serial, site.ra.now())
    assert enroll.store.enrollment(db, before.request_id) == after
    assert (after.state, after.submitted_at, after.issued_at) == (State.PICKED_UP, *[site.ra.now()] * 2)
    assert after.picked_up_at == site.ra.now()
    assert [row["action"] for row in enroll.store.audit_page(db, after.serial, 9)] == ["certificate.issued"]
    issued, submitted = enroll.store.audit_page(db, before.request_id, 9)
    assert (submitted["detail"]["before"], submitted["detail"]["after"]) == ("accepted", "processing")
    assert (submitted["actor"], issued["actor"]) == ("test", "issuance")
    assert (issued["detail"]["before"], issued["detail"]["after"]) == ("processing", "picked_up")
    assert ca.store.reserved_unsigned(db) == []


async def test_nothing_is_written_when_the_transaction_is_lost(site: Site) -> None:
    """What fails while it is begun leaves no reservation and no state; it can be tried again."""
    before = await waiting(site)

    def fails(db: Transaction) -> None:
        begin(db, site, before)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await site.ra.database.write(fails)
    db = look(site.ra.database)
    assert ca.store.find_by_order(db, before.request_id) is None
    assert enroll.store.enrollment(db, before.request_id) == before
    assert enroll.store.audit_page(db, before.request_id, 9) == []
    begun = await site.ra.database.write(lambda db: begin(db, site, before))
    assert begun.state is State.PROCESSING


async def test_a_crash_after_the_beginning_is_made_up_for(site: Site) -> None:
    """What was begun is finished by the next start, as on the pages."""
    before = await waiting(site)
    await site.ra.database.write(lambda db: begin(db, site, before))
    assert (await recover(site.ra), await recover(site.ra)) == (1, 0)
    found = enroll.store.enrollment(look(site.ra.database), before.request_id)
    assert found is not None
    assert found.state is State.PICKED_UP


async def test_once(site: Site) -> None:
    """A second beginning of the same request is refused and changes nothing."""
    before = await waiting(site)
    first = await site.ra.database.write(lambda db: begin(db, site, before))
    with pytest.raises(ca.store.AlreadyReserved):
        await site.ra.database.write(lambda db: begin(db, site, before))
    assert enroll.store.enrollment(look(site.ra.database), before.request_id) == first


async def test_not_for_the_disabled(site: Site) -> None:
    """A user who was disabled meanwhile gets no certificate."""
    before = await waiting(site)
    await disable_user(site.ra, USER, actor="operator")
    with pytest.raises(Refusal) as refused:
        await site.ra.database.write(lambda db: begin(db, site, before))
    assert refused.value.code == "user_disabled"
    assert ca.store.find_by_order(look(site.ra.database), before.request_id) is None


async def test_a_key_that_became_an_accounts_meanwhile_is_not_certified(site: Site) -> None:
    """RFC 8555 section 11.1: an account made between the look at the CSR and the issuance counts."""
    client, key = await site.enrolled(), new_key()
    order = await client.order()
    db, order_id = look(site.ra.database), order.headers["Location"].rpartition("/")[2]
    found, account = store.order(db, order_id), store.account(db, client.kid.rpartition("/")[2])
    assert found is not None
    assert account is not None
    read = read_csr(csr(FQDN, key=key))
    assert (await Client(site, key).register(await site.credential())).status == 201
    with pytest.raises(Problem) as refused:
        await site.ra.database.write(lambda db: _begin(db, site.server, account, order_id, read))
    assert refused.value.name == "badCSR"
    assert (await client.post(order.headers["Location"])).json["status"] == "ready"
