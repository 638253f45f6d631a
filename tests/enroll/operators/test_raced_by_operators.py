"""What operators may do alone so often, and what is asked for once: twenty at a time race for it, on each
engine. The limits of people and programs: tests/enroll/test_raced.py."""

from collections import Counter

import pytest

from enroll.campaigns import store as campaigns
from enroll.jobs import store as jobs
from enroll.mail import store as mail
from enroll.operators import actors, asking, credentials, letters
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.asking import Done, Proposed
from enroll.operators.roles import MOST_LETTERS, MOST_REVOCATIONS, Role
from enroll.people.register import Person
from enroll.requests import issuance
from gateway.web import store as web
from gateway.web import undecided
from gateway.web.sessions import Session
from tests.datadirs import POLICY_NUMBER, admit, open_office
from tests.engines import VARIABLE
from tests.enroll.operators.test_actors import someone
from tests.looking import look
from tests.races import ENGINES, RACERS, raced


async def registrar(ra):
    """One at the console, where many requests of one operator run at once."""
    made = await ra.database.write(lambda db: operators.add(db, someone("registrar", Role.REGISTRAR)))
    return actors.of_operator(look(ra.database), made.number, By.CONSOLE)


def kinds(done):
    """How many were done and proposed."""
    return Counter(type(each) for each in done)


async def revocations_alone(ra):
    """Beyond ten in a day it takes two; whoever comes too late is told to ask once more, and proposes it."""
    by, serials = await registrar(ra), []
    for number in range(RACERS + 1):
        request = (await admit(ra, f"K{number:08}")).request_id
        await issuance.submit(ra, request, actor="t")
        serials.append((await issuance.complete(ra, request)).serial)
    last = serials.pop()
    works = (asking.ask(ra, by, "certificate.revoke", {"serial": each, "reason": 1}) for each in serials)
    done = await raced(*works)
    assert kinds(done)[Done] == MOST_REVOCATIONS
    assert operators.revocations(look(ra.database), by.own, 0) == MOST_REVOCATIONS
    # The same one's commands count with it, whose name has the account behind it.
    typing = actors.of_account(look(ra.database), "registrar", ra.now(), host=False)
    assert (typing.name, typing.own) == (f"{by.name}/registrar", by.own)
    assert type(await asking.ask(ra, typing, "certificate.revoke", {"serial": last, "reason": 1})) is Proposed


async def letters_alone(ra):
    """The same of reminders, by their rows."""
    by = await registrar(ra)
    await admit(ra)
    draft = campaigns.Campaign(0, "春", None, ra.now() + 9_999_999, POLICY_NUMBER, None, 7, ra.now(), "t")
    number = await ra.database.write(lambda db: campaigns.add(db, draft))
    payload = {"campaign": number, "numbers": list(range(10))}
    done = await raced(*(asking.ask(ra, by, "campaign.remind", payload) for _ in range(RACERS)))
    assert kinds(done)[Done] == MOST_LETTERS // 10
    assert jobs.rows_of(look(ra.database), "campaign.remind", by.own, 0) == MOST_LETTERS


async def the_same_proposal(ra):
    """Of proposals that say the same one waits, whatever they are about: also what is not there yet."""
    by = await registrar(ra)
    await admit(ra)
    organisation = {
        "policy_number": "87654321",
        "name": "商事",
        "lineages": None,
        "issue_password_by": "mail",
    }
    person = Person(POLICY_NUMBER, "厚生 花子", "hanako@example.jp", "").__dict__
    for kind, payload in (
        ("organisation.add", organisation),
        ("user.add", {"person": person, "alike": False}),
    ):
        done = await raced(*(asking.ask(ra, by, kind, payload) for _ in range(RACERS)))
        assert kinds(done) == {Proposed: 1}, kind
    assert len(operators.proposals(look(ra.database))) == 2


async def operators_by_the_machine(ra):
    """Whoever has the machine adds operators until two of them could add another one."""
    root = actors.of_account(look(ra.database), "root", ra.now(), host=True)
    assert root.free
    payload = {
        "display": "x", "kind": "person", "roles": [Role.CA_OFFICER, Role.APPROVER], "mail": "",
        "networks": (), "account": "", "language": "ja",
    }  # fmt: skip
    works = (asking.ask(ra, root, "operator.add", payload | {"name": f"op{n}"}) for n in range(RACERS))
    done = await raced(*works)
    assert kinds(done) == {Done: 2}
    assert len(operators.operators(look(ra.database))) == 2


async def uploads(ra):
    """Of what somebody has sent and not decided about the newest few stay, whichever session it was."""
    rows = [
        Session(f"h{n}", "console", "operator:1", "f", {}, ra.now(), ra.now(), ra.now() + 60)
        for n in range(2)
    ]
    for each in rows:
        values = {**each.__dict__, "data": "{}"}
        await ra.database.write(lambda db, v=values: web.add_session(db, v))

    def row(n):
        whose = {"session": rows[n % 2].token_hash, "subject": rows[n % 2].subject}
        return {"mark": f"m{n}", "sealed": b"x", "created_at": ra.now(), **whose}

    works = (lambda db, n=n: web.add_upload(db, row(n), undecided.MOST) for n in range(RACERS))
    await raced(*map(ra.database.write, works))
    assert len(look(ra.database).rows("SELECT mark FROM uploads")) == undecided.MOST


async def letters_released(ra):
    """As many go as whoever lets them go has seen, also while others are held back."""
    by, people = await registrar(ra), [f"K{number:08}" for number in range(RACERS // 2)]
    for each in people:
        await admit(ra, each)

    async def seen(count):
        return count, await letters.release(ra, by, count=count)

    holds = (ra.database.write(lambda db, p=each: mail.hold_back(db, p, ra.now())) for each in people)
    works = [work for number, each in enumerate(holds) for work in (each, seen(2 * (1 + number % 3)))]
    assert all(count == went for count, went in filter(None, await raced(*works)))


async def the_last_passkey(ra):
    """Nobody is left without one."""
    by = await registrar(ra)
    made = [operators.Passkey(f"id{n}", by.operator, b"k", 0, "l", ra.now()) for n in range(RACERS)]
    for each in made:
        await ra.database.write(lambda db, p=each: operators.add_passkey(db, p))
    ended = (credentials.end_passkey(ra, by.operator, each.credential_id) for each in made)
    assert len(await raced(*ended)) == RACERS - 1
    assert len(operators.passkeys(look(ra.database), by.operator)) == 1


RACES = (
    revocations_alone,
    letters_alone,
    the_same_proposal,
    operators_by_the_machine,
    uploads,
    letters_released,
    the_last_passkey,
)


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
@pytest.mark.parametrize("engine", ENGINES)
async def test_twenty_at_once_are_kept_to_what_one_after_the_other_may(tmp_path, monkeypatch, engine, race):
    """As in tests/enroll/test_raced.py."""
    monkeypatch.setenv(VARIABLE, engine)
    async with open_office(tmp_path) as ra:
        await race(ra)
