"""What is limited, and what is done once: twenty at a time race for it, on each engine.

A limit is a row of `RACES`: who races, and what has to be true afterwards. Decisions of two, webhooks and
cards have races beside their own tests, which `make test-engines` runs on other engines too.
"""

import asyncio

import pytest

from ca.revocation import RevocationStatus
from ca.store import certificate_status, find_by_order
from enroll import scheduler, store, throttle
from enroll.acme import credentials, ordering, registration
from enroll.acme import store as acme
from enroll.acme.accounts import Account
from enroll.acme.keys import account_key
from enroll.audit import verify
from enroll.campaigns import store as campaigns
from enroll.campaigns import working
from enroll.hooks import endpoints
from enroll.jobs import store as jobs
from enroll.jobs.store import Job
from enroll.jst import day_of
from enroll.mail import store as mail_store
from enroll.mail.states import IN_TURN
from enroll.people import applications, changes, register
from enroll.people.register import Person
from enroll.refusals import Refusal
from enroll.repeats import claim
from enroll.requests import issuance
from enroll.requests.states import State
from enroll.settings import DAY
from gateway.web import references
from gateway.web import store as web
from tests.datadirs import POLICY_NUMBER, admit, clock_of, open_office, together
from tests.engines import VARIABLE
from tests.enroll.acme.acme_world import USER, new_key, serve
from tests.looking import look
from tests.races import ENGINES, RACERS, raced


async def attempts(ra, _):
    """Guesses: as many are looked at as the setting says."""
    attempt = throttle.Attempt("login", "K12345678", "192.0.2.1")
    won = await raced(*(throttle.begin(ra, attempt) for _ in range(RACERS)))
    assert len(won) == ra.settings.attempts


async def shared_attempts(ra, _):
    """The same of one address, whoever guesses there."""
    tries = [throttle.Attempt("login", f"K{number}", "192.0.2.1") for number in range(60)]
    won = await raced(*(throttle.begin(ra, each) for each in tries))
    assert len(won) == min(60, 10 * ra.settings.attempts)


async def credentials_of_a_user(ra, _):
    """Programs at a time, as the organisation has them."""
    await admit(ra)
    await raced(*(credentials.create(ra, "K12345678", actor="test", limit=True) for _ in range(RACERS)))
    assert len(acme.credentials_of(look(ra.database), "K12345678")) == ra.settings.lineages


async def accounts_by_certificate(ra, monkeypatch):
    """Accounts that a user's certificates vouch for in a day."""
    monkeypatch.setattr(registration, "MAX_BY_CERTIFICATE", 7)
    await admit(ra, USER)
    async with serve(ra) as site:
        drafts = [_account(ra, None) for _ in range(RACERS)]
        works = (
            ra.database.write(lambda db, d=each: registration._record(db, site.server, d)) for each in drafts
        )
        done = await together(*works)
    assert sum(not isinstance(each, BaseException) for each in done) == 7
    assert acme.count_by_certificate(look(ra.database), USER, 0) == 7


async def bindings_of_a_credential(ra, _):
    """One account is bound to a credential, whichever key asks first."""
    await admit(ra, USER)
    (issued,) = await credentials.create(ra, USER, actor="test")
    async with serve(ra) as site:
        drafts = [_account(ra, issued.kid) for _ in range(RACERS)]
        works = (
            ra.database.write(lambda db, d=each: registration._record(db, site.server, d)) for each in drafts
        )
        done = await together(*works)
    won = [each[0].id for each in done if not isinstance(each, BaseException)]
    assert [acme.credential(look(ra.database), issued.kid).account_id] == won


def _account(ra, kid):
    key = account_key(new_key().public_key())
    return Account(acme.new_id(ra.now()), USER, key, "valid", (), ra.now(), None, kid, None)


async def places_of_a_quota(ra, _):
    """Orders outside the renewal period: each takes a place, and there are so many."""
    await admit(ra, USER)
    async with serve(ra) as site:
        client = await site.enrolled(quota=4)
        replies = await asyncio.gather(*(client.order() for _ in range(RACERS)))
        assert {each.status for each in replies} <= {201, 403, 429}
        account = client.kid.rpartition("/")[2]
        opened = acme.open_orders(look(ra.database), account, ra.now())
        assert len(opened) == len({each.request_id for each in opened}) == 4
        assert sorted(each.id for each in opened) == sorted(
            {each.headers["Location"].rpartition("/")[2] for each in replies if each.status == 201}
        )


async def open_orders(ra, monkeypatch):
    """Unfinished orders of an account."""
    monkeypatch.setattr(ordering, "MAX_OPEN_ORDERS", 6)
    await admit(ra, USER)
    async with serve(ra) as site:
        client = await site.enrolled(quota=50)
        replies = await asyncio.gather(*(client.order() for _ in range(RACERS)))
        assert sum(each.status == 201 for each in replies) == 6
        account = client.kid.rpartition("/")[2]
        assert acme.count_orders(look(ra.database), account, "", ra.now()).open == 6


async def applications_of_an_organisation(ra, monkeypatch):
    """Additions that wait, made online."""
    monkeypatch.setattr(applications, "MOST_OPEN", 7)
    await admit(ra)
    works = (
        applications.apply_addition(
            ra,
            Person(POLICY_NUMBER, f"年金 {number}", f"p{number}@example.jp", ""),
            channel="online",
            actor="t",
        )
        for number in range(RACERS)
    )
    assert len(await raced(*works)) == 7


async def the_same_application(ra, _):
    """E19: asked for again while it waits, it is the same one: an addition, and a reissue."""
    await admit(ra)
    person = Person(POLICY_NUMBER, "年金 次郎", "jiro@example.jp", "")
    added = await raced(
        *(applications.apply_addition(ra, person, channel="online", actor="t") for _ in range(RACERS))
    )
    reissued = await raced(
        *(
            applications.apply_reissue(ra, "K12345678", "pc_change", channel="online", actor="t")
            for _ in range(RACERS)
        )
    )
    for made in (added, reissued):
        assert (len(made), len({each.number for each in made})) == (RACERS, 1)
        assert sum(not each.already for each in made) == 1


async def the_same_person(ra, _):
    """Somebody is a user once, however many record that at a time."""
    await admit(ra)
    person = Person(POLICY_NUMBER, "年金 次郎", "jiro@example.jp", "")
    won = await raced(*(register.add_user(ra, person, channel="paper", actor="t") for _ in range(RACERS)))
    assert len(won) == 1
    assert len(store.users(look(ra.database))) == 2


async def an_approval(ra, _):
    """An application is decided once: one request, one letter."""
    await admit(ra)
    applied = await applications.apply_reissue(ra, "K12345678", "pc_change", channel="paper", actor="t")
    won = await raced(*(applications.approve(ra, applied.number, actor="t") for _ in range(RACERS)))
    assert len(won) == 1
    assert sum(each.kind == "reissue" for each in store.enrollments_of(look(ra.database), "K12345678")) == 1


async def a_submission(ra, _):
    """One request, one serial, whoever presses Submit, and one certificate, whoever has it signed."""
    made = await admit(ra)
    begun = await raced(*(issuance.submit(ra, made.request_id, actor="t") for _ in range(RACERS)))
    assert (len(begun), len({each.serial for each in begun})) == (RACERS, 1)
    done = await raced(*(issuance.complete(ra, made.request_id) for _ in range(RACERS)))
    assert {each.state for each in done} == {State.ISSUED}
    lines = store.audit_lines(look(ra.database), 0, 1_000)
    assert sum(each.action == "certificate.issued" for each in lines) == 1


async def a_disabling(ra, _):
    """Users who are disabled while their certificates are signed have none that is good."""
    people = [f"K{number:08}" for number in range(10)]
    requests = [(await admit(ra, each)).request_id for each in people]
    for each in requests:
        await issuance.submit(ra, each, actor="t")
    works = [issuance.complete(ra, each) for each in requests]
    works += [register.disable_user(ra, each, actor="t") for each in people]
    await raced(*works)
    for request in requests:
        record = find_by_order(look(ra.database), request)
        assert certificate_status(look(ra.database), record.fingerprint) is RevocationStatus.REVOKED


async def downloads(ra, _):
    """D2: a button is counted once, and so many files are given."""
    made = await admit(ra)
    await issuance.submit(ra, made.request_id, actor="t")
    await issuance.complete(ra, made.request_id)
    for number in range(ra.settings.window_downloads):
        token = await issuance.prepare_download(ra, made.request_id, "abc123", "standard", actor="t")
        won = await raced(*(issuance.download(ra, token, made.request_id, actor="t") for _ in range(RACERS)))
        assert len(won) == RACERS
        assert store.enrollment(look(ra.database), made.request_id).downloads == number + 1
    with pytest.raises(Refusal):
        await issuance.prepare_download(ra, made.request_id, "abc123", "standard", actor="t")


async def pcs_of_a_user(ra, _):
    """E18: another PC beside those in hand, while the last one that may be is picked up."""
    made = await admit(ra)
    await _fetched(ra, made.request_id)
    user, allowed = made.user_id, 2
    await changes.change_organisation(ra, POLICY_NUMBER, {"lineages": allowed}, actor="t")

    async def another():
        opened = await applications.reissue(ra, user, "pc_change", actor="t", revoke_old="never")
        await _fetched(ra, opened.request_id)

    waiting = await applications.reissue(ra, user, "pc_change", actor="t", revoke_old="never")
    works = [another() if n % 2 else _fetched(ra, waiting.request_id) for n in range(RACERS)]
    await raced(*works)
    with pytest.raises(Refusal) as refused:
        await asyncio.gather(another(), another())
    assert refused.value.code == "limit_reached"
    found = store.enrollments_of(look(ra.database), user)
    assert sum(each.state is State.PICKED_UP for each in found) == allowed


async def _fetched(ra, request_id):
    await issuance.submit(ra, request_id, actor="t")
    await issuance.complete(ra, request_id)
    token = await issuance.prepare_download(ra, request_id, "abc123", "standard", actor="t")
    await issuance.download(ra, token, request_id, actor="t")


async def references_of_a_kind(ra, monkeypatch):
    """What people were told: the newest of a kind. Of many at once more may be left, until the next."""
    monkeypatch.setattr(references, "KEPT_PER_KIND", 7)
    kept = lambda: len(look(ra.database).rows("SELECT number FROM desk_references"))  # noqa: E731
    for _ in range(9):
        await references.note(ra, "pickup", "throttled")
    assert kept() == 7
    await raced(*(references.note(ra, "pickup", "throttled") for _ in range(RACERS)))
    assert 7 <= kept() <= 7 + RACERS
    await references.note(ra, "pickup", "throttled")
    assert kept() == 7


async def a_letter_about_a_renewal(ra, _):
    """Reminders of as many campaigns, and the notice of time: one letter, whoever is the first."""
    made = await admit(ra)
    await _fetched(ra, made.request_id)
    clock_of(ra).advance(seconds=1)
    source = store.enrollment(look(ra.database), made.request_id)
    clock_of(ra).set(source.not_after_at - 20 * DAY)
    begun = campaigns.Campaign(0, "春", None, None, POLICY_NUMBER, None, 7, ra.now(), "t")
    numbers = [await ra.database.write(lambda db: campaigns.add(db, begun)) for _ in range(RACERS)]
    (row,) = look(ra.database).rows("SELECT number FROM enrollments")
    works = [
        ra.database.write(lambda db, n=each: working.remind(db, ra, {"campaign": n}, row[0]))
        for each in numbers
    ]
    await raced(*works, *(scheduler.notify(ra, day_of(ra.now())) for _ in range(RACERS)))
    kinds = [each["kind"] for each in mail_store.listed(look(ra.database))]
    assert [each for each in kinds if each.startswith("renewal")] == ["renewal_30"]


async def endpoints_of_webhooks(ra, monkeypatch):
    """Endpoints at a time."""
    monkeypatch.setattr(endpoints, "MOST", 7)
    told = {"url": "https://hooks.example.jp/", "events": ["*"]}
    works = (endpoints.add(ra, told | {"name": f"e{number}x"}, "t", True) for number in range(RACERS))
    assert len(await raced(*works)) == 7


async def letters(ra, _):
    """A letter is taken by one, and nobody waits for another's."""
    for number in range(5):
        await admit(ra, f"K{number:08}")
    taken = []

    def take(db):
        row = mail_store.next_due(db, "mail", ra.now(), IN_TURN)
        return None if row is None else mail_store.begin(db, row, ra.now())["id"]

    while some := [each for each in await raced(*(ra.database.write(take) for _ in range(RACERS))) if each]:
        taken += some
    assert (len(taken), len(set(taken))) == (10, 10)


async def a_job(ra, _):
    """One runner has it."""
    job = Job(0, "user.import", "x", None, "t", "t", "t", 1, ra.now())
    number = await ra.database.write(lambda db: jobs.add(db, job, {}))
    works = (
        ra.database.write(lambda db, r=f"r{runner}": jobs.claim(db, number, r, ra.now(), 30))
        for runner in range(RACERS)
    )
    assert sum(each is not None for each in await raced(*works)) == 1


async def a_key_of_a_request(ra, _):
    """What is asked for twenty times by one key is begun once."""
    works = (claim(ra, 1, "key", "digest") for _ in range(RACERS))
    assert len(await raced(*works)) == 1


async def a_session(ra, _):
    """A ticket is spent once."""
    texts = ("site", "subject", "fingerprint", "data", "password_mark", "address", "browser", "opened_by")
    row = dict.fromkeys(texts, "s") | {"token_hash": "h", "ends_at": ra.now() + 60}
    row |= {"created_at": ra.now(), "seen_at": ra.now()}
    await ra.database.write(lambda db: web.add_session(db, row))
    works = (ra.database.write(lambda db: web.take_session(db, "h", "s")) for _ in range(RACERS))
    assert sum(each is not None for each in await raced(*works)) == 1


async def the_trail(ra, _):
    """Lines are numbered without a gap, and each has the hash of the one before it."""
    works = (
        ra.database.write(lambda db, n=number: store.audit(db, ra.now(), "t", "x", str(n)))
        for number in range(3 * RACERS)
    )
    await raced(*works)
    lines = store.audit_lines(look(ra.database), 0, 1_000)
    assert [each.id for each in lines] == list(range(1, len(lines) + 1))
    assert list(verify(lines, len(lines))) == []


RACES = (
    attempts,
    shared_attempts,
    credentials_of_a_user,
    accounts_by_certificate,
    bindings_of_a_credential,
    places_of_a_quota,
    open_orders,
    applications_of_an_organisation,
    the_same_application,
    the_same_person,
    an_approval,
    a_submission,
    a_disabling,
    downloads,
    pcs_of_a_user,
    references_of_a_kind,
    a_letter_about_a_renewal,
    endpoints_of_webhooks,
    letters,
    a_job,
    a_key_of_a_request,
    a_session,
    the_trail,
)


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
@pytest.mark.parametrize("engine", ENGINES)
async def test_twenty_who_race_leave_what_one_after_the_other_would(tmp_path, monkeypatch, engine, race):
    """The limit holds to the last one, nobody is refused in vain, and no other error comes of it."""
    monkeypatch.setenv(VARIABLE, engine)
    async with open_office(tmp_path, webhook_hosts=("hooks.example.jp",)) as ra:
        await race(ra, monkeypatch)
