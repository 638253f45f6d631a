"""Webhooks over real TLS: told of what was committed and of nothing else, once or more and never not."""

import asyncio
import json
import os
import random
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import standardwebhooks
from aiohttp import web

import ca.store
from ca import datadir
from ca.clock import ManualClock
from ca.epochs import Epochs
from ca.sqlite import Database
from enroll import store
from enroll.hooks import endpoints, outbox, signatures, viewing
from enroll.hooks import store as hooks
from enroll.hooks.delivery import Courier
from enroll.hooks.posting import AT_ONCE
from enroll.hooks.reach import Way
from enroll.hooks.states import TRIES, WAITS, Delivery, Endpoint
from enroll.operators import actors, asking
from enroll.operators import store as operators
from enroll.operators.asking import Done, Proposed
from enroll.operators.roles import Role
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from enroll.requests.states import Event
from enroll.requests.transitions import apply
from enroll.settings import DAY, Settings
from gateway.serving import recovery
from gateway.serving.deployment import SEALED
from tests.datadirs import PASSPHRASE, SCHEMAS, admit, clock_of, open_office, together
from tests.engines import named, on_engine
from tests.enroll.operators.test_actors import someone
from tests.enroll.operators.test_asking import acting, acts, office, refused
from tests.looking import look
from tests.receiver import HOST, receiving
from tests.started import forked

SEED = os.environ.get("SEKISHO_TEST_SEED", "20261130")
PATIENCE = 60.0
NEAR = ("127.0.0.0/8",)


def half():
    return 0.5


async def at_home(host):
    return ["127.0.0.1"]


def way(receiver, **more):
    return Way(**{"networks": NEAR, "ca": receiver.ca, "lookup": at_home, **more})


async def added(ra, receiver, name="billing", events=("*",)):
    """An endpoint that is there, without anybody who has to agree; its secret."""
    payload = {"name": name, "url": receiver.url, "events": list(events)}
    return (await endpoints.add(ra, payload, "test", True))["secret"]


@asynccontextmanager
async def told(tmp_path, at=None, **more):
    """An office, a receiver, and the endpoint that leads there."""
    async with receiving(tmp_path) as receiver:
        moment = {} if at is None else {"at": at}
        async with open_office(tmp_path, **moment, webhook_hosts=(receiver.named,), **more) as ra:
            yield ra, receiver, await added(ra, receiver)


async def deliver(ra, poster):
    """Everything that is due; how many deliveries were tried."""
    courier = Courier(half)
    async with asyncio.timeout(PATIENCE):
        await courier.look(ra, poster)
        return await courier.finish()


def hosting(ra):
    """Whoever has the machine, where nobody is an operator yet."""
    return actors.of_account(look(ra.database), "root", ra.now(), host=True)


def waiting(ra, state=Delivery.WAITING):
    return hooks.deliveries(look(ra.database), None, state, limit=200)


def types(receiver):
    return [json.loads(each.body)["type"] for each in receiver.sent]


async def happened(ra, subject="1" * 16):
    """Something of which others are told."""
    await ra.database.write(lambda db: store.audit(db, ra.now(), "test", "certificate.held", subject))


async def test_what_happened_is_told_and_a_library_believes_it(tmp_path):
    """From a user's admission to the certificate's end, each by its own name, with identifiers and nothing of
    the person, signed so that a receiver's library is content."""
    async with told(tmp_path, at=int(time.time())) as (ra, receiver, secret):
        made = await admit(ra)
        await issuance.submit(ra, made.request_id, actor="K12345678")
        issued = await issuance.complete(ra, made.request_id)
        await ra.database.write(
            lambda db: apply(db, ra, made.request_id, Event.REVOKE, ra.now(), actor="test")
        )
        assert await deliver(ra, way(receiver)) == len(receiver.sent)
        assert {"request.accepted", "request.processing", "request.issued", "certificate.issued"} < set(
            types(receiver)
        )
        assert "request.revoked" in types(receiver)
        assert len({each.id for each in receiver.sent}) == len(receiver.sent)
        for each in receiver.sent:
            assert each.path == "/in?of=sekisho"
            assert each.headers["content-type"] == "application/json"
            standardwebhooks.Webhook(secret).verify(each.body, dict(each.headers))
            assert not [
                name for name in (b"example.jp", "年金".encode("unicode_escape")) if name in each.body
            ]
        (told_of,) = [json.loads(e.body)["data"] for e in receiver.sent if b"certificate.issued" in e.body]
        assert told_of == {
            "serial": issued.serial,
            "request_id": made.request_id,
            "profile": "client-person",
        }
        assert waiting(ra) == []
        assert await deliver(ra, way(receiver)) == 0


async def test_what_was_undone_is_told_to_nobody(tmp_path):
    """It is written in the transaction that causes it: one that fails leaves no event."""
    async with told(tmp_path) as (ra, receiver, _):

        def work(db):
            store.audit(db, ra.now(), "test", "certificate.held", "1" * 16)
            raise LookupError

        with pytest.raises(LookupError):
            await ra.database.write(work)
        assert await deliver(ra, way(receiver)) == 0
        await happened(ra)
        assert await deliver(ra, way(receiver)) == 1


async def test_an_endpoint_is_told_from_its_beginning_on_and_what_it_asked_for(tmp_path):
    """Nothing from before it, and no type that it did not name."""
    async with receiving(tmp_path) as receiver, open_office(tmp_path, webhook_hosts=(receiver.named,)) as ra:
        await happened(ra)
        await added(ra, receiver, "some", ["certificate.revoked", "request.*"])
        await happened(ra)
        made = await admit(ra)
        assert await deliver(ra, way(receiver)) == len(receiver.sent) == 1
        assert json.loads(receiver.sent[0].body)["data"] == {
            "request_id": made.request_id,
            "user_id": "K12345678",
            "kind": "addition",
        }


async def test_of_twenty_who_write_out_and_take_one_does(tmp_path):
    """Two leaders at once: each event is queued once, and taken by one."""
    async with told(tmp_path) as (ra, receiver, _):
        for _ in range(AT_ONCE):
            await happened(ra)
        await together(*(outbox.write_out(ra) for _ in range(20)))
        assert len(waiting(ra)) == AT_ONCE
        counts = await together(*(deliver(ra, way(receiver)) for _ in range(20)))
        assert sum(counts) == AT_ONCE == len(receiver.sent)


async def test_who_is_stopped_between_commit_and_answer_sends_again_by_the_same_name(tmp_path):
    """The answer was on its way: the receiver hears it twice, and knows that by the name."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        receiver.waits = asyncio.Event()
        courier = Courier(half)
        await courier.look(ra, way(receiver))
        async with asyncio.timeout(PATIENCE):
            while not receiver.sent:
                await asyncio.sleep(0.01)
        await courier.close()
        receiver.waits.set()
        assert await deliver(ra, way(receiver)) == 0, "it is the dead one's for a minute"
        clock_of(ra).advance(seconds=hooks.LEASE)
        assert await deliver(ra, way(receiver)) == 1
        assert len(receiver.sent) == 2
        assert len({each.id for each in receiver.sent}) == 1
        assert {each.body for each in receiver.sent} == {receiver.sent[0].body}
        assert waiting(ra) == []


def deliver_for_ever(data, at, receiver):
    """A leading process's worth of delivery, until it is killed."""
    opened = datadir.load(data, PASSPHRASE)
    database = on_engine(Database(data / "sekisho.db", SCHEMAS, journal=recovery.journal_of(data)))
    settings = Settings(webhook_hosts=(receiver.named,))
    epochs = Epochs(data, opened.vault, SEALED)
    ra = RegistrationAuthority(
        database, ManualClock(at), opened.vault, epochs, opened.authority, None, None, settings
    )

    async def go():
        courier = Courier(half)
        async with asyncio.timeout(PATIENCE):
            while True:
                await courier.look(ra, way(receiver))
                await asyncio.sleep(0.01)

    asyncio.run(go())
    return 0


@pytest.mark.slow
async def test_kills_lose_nothing(tmp_path):
    """kill -9 between what happens and its delivery, again and again: every line that was committed arrives,
    once or more, under one name."""
    chance = random.Random(SEED)
    named(tmp_path / "data" / "sekisho.db")
    async with told(tmp_path) as (ra, receiver, _):
        poster, committed, left = way(receiver), 0, 0
        for round_ in range(8):
            for _ in range(20):
                await happened(ra, f"{committed:016}")
                committed += 1
            before, span = len(receiver.sent), chance.uniform(0, 0.03)
            # Every other time no answer comes: then death is surely between sending and settling.
            receiver.waits = held = asyncio.Event() if round_ % 2 else None
            with forked(partial(deliver_for_ever, tmp_path / "data", ra.now(), receiver)) as life:
                end = time.monotonic() + PATIENCE
                while len(receiver.sent) == before and life.lives():
                    assert time.monotonic() < end
                    await asyncio.sleep(0.001)
                await asyncio.sleep(span)
            left += len(waiting(ra)) > 0
            receiver.waits = None
            if held is not None:
                held.set()
            clock_of(ra).advance(seconds=hooks.LEASE + round_)
        assert left >= 4, "none died before all was settled"
        await deliver(ra, poster)
        subjects = [json.loads(each.body)["data"]["serial"] for each in receiver.sent]
        assert set(subjects) == {f"{number:016}" for number in range(committed)}
        assert len({(each.id, each.body) for each in receiver.sent}) == committed
        assert waiting(ra) == []


# -- answers ---------------------------------------------------------------------------------------------


async def test_ten_tries_then_a_dead_letter_and_a_replay(tmp_path):
    """After each wait once more; then it is given up, and an operator has it sent once more, the same."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        receiver.said = lambda sent: web.Response(status=500, text="secret of theirs")
        for tries, wait in enumerate((*WAITS, None), 1):
            assert await deliver(ra, way(receiver)) == 1
            assert len(receiver.sent) == tries
            if wait is not None:
                clock_of(ra).advance(seconds=wait - 1)
                assert await deliver(ra, way(receiver)) == 0
                clock_of(ra).advance(seconds=1)
        (dead,) = waiting(ra, Delivery.DEAD)
        assert (dead.tries, dead.status, dead.result) == (TRIES, 500, "answered 500")
        clock_of(ra).advance(seconds=30)
        assert await deliver(ra, way(receiver)) == 0
        host = hosting(ra)
        assert viewing.needing(look(ra.database)) == viewing.Needing(dead=1, stopped=0)
        assert await viewing.replay_dead(ra, host, "billing") == 1
        assert "webhook.replayed" in acts(ra, "billing")
        receiver.said = lambda sent: web.Response(status=200)
        assert await deliver(ra, way(receiver)) == 1
        assert len({each.id for each in receiver.sent}) == 1
        assert await viewing.replay(ra, host, [dead.number]) == 1
        assert await deliver(ra, way(receiver)) == 1
        assert (await refused(viewing.replay(ra, host, [999]))).code == "not_found"
        await happened(ra)
        await outbox.write_out(ra)
        assert (await refused(viewing.replay(ra, host, [waiting(ra)[0].number]))).code == "conflict"


async def test_gone_stops_the_endpoint(tmp_path):
    """410: nothing more is sent; what happens meanwhile waits, and comes when two let it go on."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        receiver.said = lambda sent: web.Response(status=410)
        assert await deliver(ra, way(receiver)) == 1
        found = hooks.named(look(ra.database), "billing")
        assert (found.state, found.why) == (Endpoint.STOPPED, "gone")
        assert "webhook.stopped" in acts(ra, "billing")
        assert [each.status for each in waiting(ra, Delivery.DEAD)] == [410]
        assert viewing.needing(look(ra.database)) == viewing.Needing(dead=1, stopped=1)
        await happened(ra)
        assert await deliver(ra, way(receiver)) == 0
        receiver.said = lambda sent: web.Response(status=200)
        await endpoints.start(ra, {"name": "billing", "skip": False}, "test", False)
        assert await deliver(ra, way(receiver)) == 1
        await ra.database.write(lambda db: endpoints.stop(db, ra, "billing", "operator", by="test"))
        await happened(ra)
        await endpoints.start(ra, {"name": "billing", "skip": True}, "test", False)
        assert await deliver(ra, way(receiver)) == 0
        with pytest.raises(Exception, match="is active already"):
            await endpoints.start(ra, {"name": "billing", "skip": True}, "test", False)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_is_busy_is_left_alone(tmp_path, status):
    """Retry-After holds everything that goes there, in seconds or as a date."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        receiver.said = lambda sent: web.Response(status=status, headers={"Retry-After": "900"})
        assert await deliver(ra, way(receiver)) == 1
        await happened(ra)
        clock_of(ra).advance(seconds=899)
        assert await deliver(ra, way(receiver)) == 0
        clock_of(ra).advance(seconds=1)
        receiver.said = lambda sent: web.Response(status=200)
        assert await deliver(ra, way(receiver)) == 2


async def test_no_redirect_is_followed(tmp_path):
    """Wherever it leads: it is an answer like any other that is not 2xx."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        receiver.said = lambda sent: web.Response(status=307, headers={"Location": receiver.url + "&again=1"})
        assert await deliver(ra, way(receiver)) == 1
        assert len(receiver.sent) == 1
        assert waiting(ra)[0].result == "answered 307: redirects are not followed"


async def test_an_answer_is_not_read_to_its_end(tmp_path):
    """One of a gigabyte costs nothing, nor does one that never comes."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        receiver.said = lambda sent: web.Response(status=200, headers={"Content-Length": str(2**30)})
        assert await deliver(ra, way(receiver)) == 1
        assert waiting(ra) == []
        await happened(ra)
        receiver.waits = asyncio.Event()
        assert await deliver(ra, way(receiver, seconds=0.3)) == 1
        assert waiting(ra)[0].result == "no answer within 0.3 seconds"
        receiver.waits.set()
        receiver.waits = None
        clock_of(ra).advance(seconds=60)
        receiver.said = lambda sent: web.Response(status=200, headers={"X-Long": "x" * 20_000})
        assert await deliver(ra, way(receiver)) == 1
        assert waiting(ra)[0].result == "its answer is none of HTTP, or too long"


async def test_a_slow_endpoint_holds_up_itself_alone(tmp_path):
    """A few requests at a time to each; another endpoint's are delivered meanwhile."""
    async with told(tmp_path) as (ra, quick, _), receiving(tmp_path) as slow:
        ra = replace(ra, settings=replace(ra.settings, webhook_hosts=(quick.named, slow.named)))
        await added(ra, slow, "slow")
        slow.waits = asyncio.Event()
        for _ in range(3 * AT_ONCE):
            await happened(ra)
        courier, poster = Courier(half), way(quick)
        await courier.look(ra, poster)
        async with asyncio.timeout(PATIENCE):
            while len(quick.sent) < 3 * AT_ONCE or len(slow.sent) < AT_ONCE:
                await asyncio.sleep(0.01)
            await happened(ra)
            await courier.look(ra, poster)
            while len(quick.sent) < 3 * AT_ONCE + 1:
                await asyncio.sleep(0.01)
                await courier.look(ra, poster)
        assert len(slow.sent) == AT_ONCE
        slow.waits.set()
        async with asyncio.timeout(PATIENCE):
            await courier.finish()
        assert len(slow.sent) == 3 * AT_ONCE + 1


# -- where it goes ---------------------------------------------------------------------------------------


async def test_a_name_that_changes_its_address_leads_nowhere_else(tmp_path):
    """The connection goes to the address that was looked at, by one look-up; what the name says in between is
    never asked. One that says loopback is refused, whatever it said before."""
    async with told(tmp_path) as (ra, receiver, _):
        said, asked = [["127.0.0.1"], ["10.9.9.9"]], []

        async def changing(host):
            asked.append(host)
            return said[len(asked) - 1]

        await happened(ra)
        assert await deliver(ra, way(receiver, lookup=changing)) == 1
        assert (asked, len(receiver.sent)) == ([HOST], 1)

        async def rebound(host):
            asked.append(host)
            return ["93.184.216.34"] if len(asked) < 2 else ["127.0.0.1", "169.254.169.254", "::1"]

        asked[:] = [HOST, HOST]
        await happened(ra)
        assert await deliver(ra, way(receiver, lookup=rebound, networks=())) == 1
        assert len(receiver.sent) == 1
        told_why = f"{HOST} is at an address that is not public: name its network in webhooks.networks"
        assert waiting(ra)[0].result == told_why


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:127.0.0.1]"])
async def test_an_address_instead_of_a_name_is_looked_at_too(tmp_path, host):
    """Though it is on the list, and nobody is asked for it."""
    async with told(tmp_path) as (ra, receiver, _):
        named = f"{host}:{receiver.port}"
        ra = replace(ra, settings=replace(ra.settings, webhook_hosts=(named,)))
        payload = {"name": "near", "url": f"https://{named}/", "events": ["*"]}
        await ra.database.write(lambda db: endpoints.stop(db, ra, "billing", "operator", by="test"))
        await endpoints.add(ra, payload, "test", True)
        await happened(ra)
        assert await deliver(ra, way(receiver, networks=())) == 1
        assert waiting(ra)[0].result.startswith(f"{host} is at an address that is not public")
        assert receiver.sent == []


async def test_a_host_that_was_taken_off_the_list_is_told_nothing(tmp_path):
    """The list is asked each time."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        closed = replace(ra, settings=replace(ra.settings, webhook_hosts=()))
        assert await deliver(closed, way(receiver)) == 1
        assert receiver.sent == []
        assert waiting(ra)[0].result == f"not sent: {receiver.named} is not in webhooks.hosts any more"


async def test_a_certificate_that_is_not_good_is_no_receiver(tmp_path):
    """Of a CA that nobody named, or for another name."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        assert await deliver(ra, way(receiver, ca="")) == 1
        assert waiting(ra)[0].result.startswith("its certificate is not good: self-signed certificate")
        async with receiving(tmp_path, "other.test") as other:
            ra = replace(ra, settings=replace(ra.settings, webhook_hosts=(other.named,)))
            await endpoints.change(ra, {"name": "billing", "changes": {"url": other.url}}, "test", False)
            clock_of(ra).advance(seconds=9)
            assert await deliver(ra, way(other)) == 1
            assert waiting(ra)[0].result.startswith("its certificate is not good: Hostname mismatch")
            assert other.sent == receiver.sent == []


async def test_nobody_there_is_said_plainly(tmp_path):
    """A port where nobody listens, and a name that nobody knows."""
    async with told(tmp_path) as (ra, receiver, _):

        async def unknown(host):
            raise OSError("no such name")

        await happened(ra)
        assert await deliver(ra, way(receiver, lookup=unknown)) == 1
        assert waiting(ra)[0].result == f"{HOST} is not known to the resolver"
        nowhere = f"https://{HOST}:1/"
        ra = replace(ra, settings=replace(ra.settings, webhook_hosts=(f"{HOST}:1",)))
        await endpoints.change(ra, {"name": "billing", "changes": {"url": nowhere}}, "test", False)
        clock_of(ra).advance(seconds=9)
        assert await deliver(ra, way(receiver)) == 1
        assert waiting(ra)[0].result == "no answer: Connection refused"


# -- secrets ---------------------------------------------------------------------------------------------


async def test_two_secrets_sign_while_one_takes_the_others_place(tmp_path):
    """For a day, then the new one alone; at once where the old one has leaked. None is on disk as it is."""
    now = int(time.time())
    async with told(tmp_path, at=now) as (ra, receiver, first):
        second = (await endpoints.rotate(ra, {"name": "billing", "at_once": False}, "test", True))["secret"]
        await happened(ra)
        await deliver(ra, way(receiver))
        assert _believed(receiver, first, second) == [first, second]
        third = (await endpoints.rotate(ra, {"name": "billing", "at_once": True}, "test", True))["secret"]
        await happened(ra)
        await deliver(ra, way(receiver))
        assert _believed(receiver, first, second, third) == [third]
        fourth = (await endpoints.rotate(ra, {"name": "billing", "at_once": False}, "test", True))["secret"]
        clock_of(ra).advance(seconds=endpoints.OVERLAP)
        await happened(ra)
        await deliver(ra, way(receiver))
        assert _believed(receiver, third, fourth) == [fourth]
        await outbox.sweep(ra)
        assert hooks.named(look(ra.database), "billing").sealed_before is None
        kept = b"".join(
            path.read_bytes() for path in sorted((tmp_path / "data").rglob("*")) if path.is_file()
        )
        for secret in (first, second, third, fourth):
            assert secret.removeprefix(signatures.PREFIX).encode() not in kept
        await endpoints.end(ra, {"name": "billing"}, "test", False)
        assert hooks.named(look(ra.database), "billing").sealed_secret is None


def _believed(receiver, *secrets):
    """By which secrets the last request is one of ours, by its signature, whatever it says of the time."""
    last = receiver.sent[-1]
    found = []
    for secret in secrets:
        sent = last.headers["webhook-signature"].split(" ")
        raw = standardwebhooks.Webhook(secret)._whsecret
        made = signatures.headers((raw,), last.id, int(last.headers["webhook-timestamp"]), last.body)
        found += [secret] * (made["webhook-signature"] in sent)
    return found


# -- who may ---------------------------------------------------------------------------------------------


async def test_where_it_goes_takes_two_and_the_secret_is_told_to_who_asked(tmp_path):
    """A CA officer proposes, another decides, and who proposed it types it once more: then the secret is
    told, once. To stop it, to try it, to send again takes one; an auditor looks, the others see nothing."""
    async with office(tmp_path) as ra:
        ra = replace(ra, settings=replace(ra.settings, webhook_hosts=("hooks.example.jp",)))
        await ra.database.write(lambda db: operators.add(db, someone("third", Role.CA_OFFICER, at=ra.now())))
        payload = {"name": "billing", "url": "https://hooks.example.jp/in", "events": ["*"]}
        for role in ("registrar", "approver", "desk", "auditor"):
            assert (
                await refused(asking.ask(ra, acting(ra, role), "webhook.add", payload))
            ).code == "not_permitted"
        officer, other = acting(ra, "caofficer"), acting(ra, "third")
        made = await asking.ask(ra, officer, "webhook.add", payload)
        assert isinstance(made, Proposed)
        assert (await refused(asking.approve(ra, officer, made.number))).code == "not_permitted"
        await asking.approve(ra, other, made.number)
        assert hooks.endpoints(look(ra.database)) == []
        done = await asking.ask(ra, officer, "webhook.add", payload, tell=True)
        assert isinstance(done, Done)
        assert done.result["secret"].startswith("whsec_")
        assert (await refused(asking.ask(ra, officer, "webhook.add", payload))).code == "conflict"
        number = await viewing.test(ra, officer, "billing")
        assert viewing.delivery(look(ra.database), acting(ra, "auditor"), number)[0].event == "webhook.test"
        for role in ("auditor", "approver", "registrar", "desk"):
            actor = acting(ra, role)
            for work in (
                viewing.test(ra, actor, "billing"),
                viewing.stop(ra, actor, "billing", "because"),
                viewing.replay(ra, actor, [number]),
                viewing.replay_dead(ra, actor, "billing"),
            ):
                assert (await refused(work)).code == "not_permitted"
        with pytest.raises(Exception, match=r"deliveries"):
            viewing.listed(look(ra.database), acting(ra, "registrar"))
        assert (await refused(viewing.stop(ra, officer, "billing", " "))).field == "reason"
        await viewing.stop(ra, officer, "billing", "it leaks")
        assert (await refused(viewing.stop(ra, officer, "billing", "again"))).code == "conflict"
        assert (await refused(viewing.test(ra, officer, "billing"))).code == "conflict"
        started = await asking.ask(ra, officer, "webhook.start", {"name": "billing", "skip": False})
        assert isinstance(started, Proposed)
        secret = done.result["secret"]
        texts = [
            json.dumps(each, ensure_ascii=False) for each in store.audit_page(look(ra.database), None, 200)
        ]
        assert not [each for each in texts if secret[6:] in each]
        assert {"webhook.added", "webhook.tested", "webhook.stopped"} <= set(acts(ra, "billing"))


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"name": "B"}, "invalid_input", "name"),
        ({"name": "billing"}, "conflict", "name"),
        ({"url": "http://hooks.example.jp/"}, "invalid_input", "url"),
        ({"url": "https://other.example.jp/"}, "invalid_input", "url"),
        ({"events": []}, "invalid_input", "events"),
        ({"events": ["user.added"]}, "invalid_input", "events"),
    ],
)
async def test_what_cannot_be_is_refused_when_it_is_asked_for(tmp_path, change, code, field):
    """By the field, before anybody decides about it, and nothing is recorded."""
    async with told(tmp_path) as (ra, receiver, _):
        payload = {"name": "other", "url": receiver.url, "events": ["*"]} | change
        refusal = await refused(asking.ask(ra, hosting(ra), "webhook.add", payload))
        assert (refusal.code, refusal.field) == (code, field)
        assert [each.name for each in hooks.endpoints(look(ra.database))] == ["billing"]


# -- time ------------------------------------------------------------------------------------------------


async def test_certificates_that_end_soon_are_told_of_once(tmp_path):
    """A month ahead, by a clock that is believed; what is revoked or was told of is not."""
    async with told(tmp_path) as (ra, _, _):
        serials = []
        for user in ("K12345678", "K12345679"):
            made = await admit(ra, user)
            await issuance.submit(ra, made.request_id, actor=user)
            serials.append((await issuance.complete(ra, made.request_id)).serial)
        ends = ca.store.find_by_serial(look(ra.database), serials[0]).not_after_at
        assert await outbox.tell_of_ends(ra) == 0
        await ra.database.write(
            lambda db: apply(
                db, ra, store.enrollment_of(db, serials[1]).request_id, Event.REVOKE, ra.now(), actor="t"
            )
        )
        clock_of(ra).set(ends - 30 * DAY - 60)
        assert await outbox.tell_of_ends(ra) == 0, "not yet, and not by a clock that nobody believes"
    async with (
        receiving(tmp_path),
        open_office(tmp_path, ends - 30 * DAY - 60, webhook_hosts=()) as ra,
    ):
        from enroll import timekeeping

        await timekeeping.confirm(ra, actor="test")
        assert await outbox.tell_of_ends(ra) == 0
        clock_of(ra).advance(seconds=120)
        assert await outbox.tell_of_ends(ra) == 1
        assert await outbox.tell_of_ends(ra) == 0
        (found,) = [each for each in waiting(ra) if each.event == "certificate.expiring"]
        assert json.loads(found.body)["data"]["serial"] == serials[0]


async def test_what_is_over_is_taken_away_and_what_waits_is_not(tmp_path):
    """After the setting's days."""
    async with told(tmp_path, webhook_days=30) as (ra, receiver, _):
        await happened(ra)
        await deliver(ra, way(receiver))
        await happened(ra)
        await outbox.write_out(ra)
        clock_of(ra).advance(seconds=30 * DAY)
        assert await outbox.sweep(ra) == 0
        clock_of(ra).advance(seconds=1)
        assert await outbox.sweep(ra) == 1
        assert len(waiting(ra)) == 1


async def test_a_clock_that_ran_ahead_holds_up_nothing(tmp_path):
    """What was put off until a day that is far off again is due."""
    async with told(tmp_path) as (ra, receiver, _):
        await happened(ra)
        clock_of(ra).advance(seconds=300 * DAY)
        await outbox.write_out(ra)
        clock_of(ra).advance(seconds=-300 * DAY)
        assert await deliver(ra, way(receiver)) == 1
