"""Each compare-and-set of the stores: of twenty who race one wins, on each engine.

A row of `SETS` says what is there before, and who races for it; a new one in a store needs its row, or one of
`BESIDE` (raced by a test of its own, twenty at a time) or `NONE` (several may win, or nobody races).
"""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

import ca.generations.store as generations
import ca.store
from ca.generations.states import Row
from ca.storage import Transaction
from enroll import store
from enroll.acme import credentials
from enroll.acme import store as acme
from enroll.acme.keys import account_key
from enroll.acme.orders import Authorization, Identifier
from enroll.campaigns import store as campaigns
from enroll.hooks import store as hooks
from enroll.hooks.events import Event as Told
from enroll.hooks.states import Delivery as Standing
from enroll.hooks.states import Endpoint as Stands
from enroll.jobs import store as jobs
from enroll.jobs.states import Event, State
from enroll.mail import store as mail
from enroll.operators import store as operators
from enroll.operators.roles import Role
from enroll.operators.states import State as Decided
from enroll.people import applications
from enroll.people.store import THEFT
from enroll.postcards import store as postcards
from enroll.repeats import store as repeats
from enroll.requests import issuance
from tests.datadirs import POLICY_NUMBER, admit, open_office
from tests.engines import VARIABLE
from tests.enroll.acme.acme_world import USER, new_key, serve
from tests.enroll.operators.test_actors import someone
from tests.looking import look
from tests.races import ENGINES, RACERS, raced

ROOT = Path(__file__).parents[2]
BOUND = "tests/enroll/test_raced.py"
#: Raced by a test of its own, or a row of its `RACES`: which one.
BESIDE = {
    "ca/store.py store_issued": f"{BOUND}::a_submission",
    "ca/store.py take_lead": "tests/gateway/test_leading.py::test_a_term_is_one_s_alone",
    "ca/published/store.py publish_list": (
        "tests/enroll/test_crls.py::test_processes_that_publish_at_once_publish_one"
    ),
    "enroll/acme/store.py bind_credential": f"{BOUND}::bindings_of_a_credential",
    "enroll/acme/store.py add_account": f"{BOUND}::accounts_by_certificate",
    "enroll/acme/store.py spend_nonce": (
        "tests/enroll/acme/test_acme_nonces.py::test_nodes_take_each_other_s_nonces_once"
    ),
    "enroll/jobs/store.py claim": f"{BOUND}::a_job",
    "enroll/jobs/store.py advance": "tests/enroll/test_jobs.py::test_of_two_runners_one_has_it",
    "enroll/operators/store.py decide": (
        "tests/enroll/operators/test_asking.py::test_of_two_who_decide_one_wins"
    ),
    "enroll/repeats/store.py claim": f"{BOUND}::a_key_of_a_request",
    "enroll/store.py record_failure": f"{BOUND}::attempts",
    "gateway/web/store.py take_session": f"{BOUND}::a_session",
}
#: No compare-and-set: why.
NONE = {
    **dict.fromkeys(
        (
            "enroll/certificates/store.py tally", "enroll/hooks/store.py forget_secrets",
            "enroll/hooks/store.py replay_dead", "enroll/hooks/store.py drop_waiting",
            "enroll/hooks/store.py drop_over", "enroll/mail/store.py release",
            "enroll/mail/store.py cancel_of_request", "enroll/mail/store.py give_up_unsettled",
            "enroll/mail/store.py retry", "enroll/mail/store.py retry_failed", "ca/store.py drop_node",
            "enroll/repeats/store.py drop_before", "enroll/requests/store.py drop_expired_tickets",
            "enroll/retention/store.py _emptied", "enroll/retention/store.py empty",
            "gateway/web/store.py drop_sessions_of",
            "gateway/web/store.py drop_sessions_with", "gateway/web/store.py drop_every_session",
            "gateway/web/store.py drop_sessions_named", "gateway/web/store.py _dropped",
        ),
        "as many rows as there are, once",
    ),
    **dict.fromkeys(
        (
            "enroll/acme/store.py set_contacts", "enroll/mail/store.py keep",
            "enroll/mail/store.py hand_over", "enroll/mail/store.py retry_one", "ca/store.py keep_lead",
            "ca/store.py hold_journal_mark", "enroll/mail/store.py begin", "enroll/mail/store.py rewrite",
        ),
        "whoever has it by then may say so again",
    ),
    **dict.fromkeys(
        (
            "enroll/acme/store.py put_key", "enroll/hooks/store.py restore",
            "enroll/operators/store.py restore", "enroll/operators/store.py restore_proposal",
        ),
        "by the journal, before anybody serves",
    ),
    **dict.fromkeys(
        (
            "ca/store.py _change", "ca/generations/store.py _numbered", "enroll/people/store.py _insert_new",
            "enroll/postcards/store.py _moved",
        ),
        "a part of others that are here",
    ),
    "ca/published/store.py store_answers": "each is told from then on, whoever made it",
}  # fmt: skip


async def of_the_ca(ra):
    made = await admit(ra)
    await issuance.submit(ra, made.request_id, actor="t")
    serial = (await issuance.complete(ra, made.request_id)).serial
    staged = Row("new")
    yield generations.write, lambda db, n: generations.write(db, staged, replace(staged, planned_at=n))
    left = await admit(ra, "K00000001")
    waiting = (await issuance.submit(ra, left.request_id, actor="t")).serial
    yield generations.warn_once, lambda db, n: generations.warn_once(db, "ca", "30", n)
    yield ca.store.withdraw, lambda db, n: ca.store.withdraw(db, waiting)
    yield ca.store.hold, lambda db, n: ca.store.hold(db, serial, n)
    yield ca.store.release, lambda db, n: ca.store.release(db, serial)
    yield ca.store.revoke, lambda db, n: ca.store.revoke(db, serial, 1, n)
    yield ca.store.claim, lambda db, n: ca.store.claim(db, "ca", f"id{n}").identifier == f"id{n}"


async def of_the_protocol(ra):
    await admit(ra, USER)
    async with serve(ra) as site:
        client = await site.enrolled(quota=5)
        account = client.kid.rpartition("/")[2]
        first, second = [(await client.order()).headers["Location"].rpartition("/")[2] for _ in range(2)]
        known, at = acme.account(look(ra.database), account), ra.now()
        request = acme.order(look(ra.database), second).request_id
        right = Authorization("a1", account, Identifier("dns", "x"), "pending", at + 60, "c", "t")
        await ra.database.write(lambda db: acme.add_authorization(db, right))
        yield acme.validate_authorization, lambda db, n: acme.validate_authorization(db, "a1", at)
        yield acme.deactivate_authorization, lambda db, n: acme.deactivate_authorization(db, "a1")
        yield acme.release_request, lambda db, n: acme.release_request(db, second, at)
        give = "UPDATE acme_orders SET request_id = NULL WHERE id = :id"
        await ra.database.write(lambda db: db.execute(give, {"id": first}))
        yield acme.give_request, lambda db, n: acme.give_request(db, first, request)
        keys = [account_key(new_key().public_key()) for _ in range(RACERS)]
        yield acme.change_key, lambda db, n: acme.change_key(db, account, known.key, keys[n])
        yield acme.deactivate_account, lambda db, n: acme.deactivate_account(db, account)
    (issued,) = await credentials.create(ra, USER, actor="t")
    yield acme.withdraw_credential, lambda db, n: acme.withdraw_credential(db, issued.kid, n)


async def of_people(ra):
    made = await admit(ra)
    user = store.user(look(ra.database), made.user_id)
    number = (
        await applications.apply_reissue(ra, user.user_id, "pc_change", channel="paper", actor="t")
    ).number
    organisation = replace(store.organisation(look(ra.database), POLICY_NUMBER), policy_number="87654321")
    new, mine = replace(user, user_id="KNEW1"), user.user_id
    yield store.add_organisation, lambda db, n: store.add_organisation(db, organisation)
    yield store.disable_organisation, lambda db, n: store.disable_organisation(db, "87654321", n)
    yield store.enable_organisation, lambda db, n: store.enable_organisation(db, "87654321")
    yield store.forget_organisation, lambda db, n: store.forget_organisation(db, "87654321")
    yield store.add_user, lambda db, n: store.add_user(db, new)
    yield store.disable_user, lambda db, n: store.disable_user(db, mine, n)
    yield store.enable_user, lambda db, n: store.enable_user(db, mine)
    yield store.set_password, lambda db, n: store.set_password(db, mine, user.password_hash, f"h{n}")
    yield store.raise_number, lambda db, n: store.raise_number(db, mine, 7)
    # Each has a number of its own: one of them the next.
    yield store.next_number, lambda db, n: store.next_number(db, mine) == 8
    yield store.hasten_application, lambda db, n: store.hasten_application(db, number, THEFT)
    decide = lambda db, n: store.decide_application(db, number, "rejected", "t", n, "", None)  # noqa: E731
    yield store.decide_application, decide
    ticket = store.Ticket("h", made.request_id, "f", b"x", 1, 2)
    await ra.database.write(lambda db: store.add_ticket(db, ticket))
    yield store.mark_fetched, lambda db, n: store.mark_fetched(db, "h", n)
    there = store.enrollment(look(ra.database), made.request_id)
    change = lambda db, n: store.change_enrollment(db, there, replace(there, downloads=1 + n))  # noqa: E731
    yield store.change_enrollment, change


async def of_letters(ra):
    await admit(ra)
    row = look(ra.database).one("SELECT * FROM mails ORDER BY id LIMIT 1")
    values = {**row, "cause": "another"}
    del values["id"]
    yield mail.add, lambda db, n: mail.add(db, values, again=False)
    yield mail.accepted, lambda db, n: mail.accepted(db, row["id"], "mail", n, "250")
    yield mail.mark_bounced, lambda db, n: mail.mark_bounced(db, row["id"], n, "gone")
    # Of a minute's number one is left.
    at = ra.now()
    await ra.database.write(lambda db: [mail.may_begin(db, "mail", at, 9) for _ in range(6)])
    yield mail.may_begin, lambda db, n: mail.may_begin(db, "mail", at, 7)


async def of_postcards(ra):
    await admit(ra)
    at = ra.now()
    row = look(ra.database).one("SELECT * FROM mails ORDER BY id LIMIT 1")
    values = {**row, "cause": "another", "channel": "postcard"}
    del values["id"]
    await ra.database.write(lambda db: mail.add(db, values, again=False))
    (card,) = postcards.waiting(look(ra.database))
    await ra.database.write(lambda db: [postcards.add(db, each, [], "t", at, 1) for each in (1, 2)])
    yield postcards.next_number, lambda db, n: postcards.next_number(db) == RACERS
    yield postcards.take, lambda db, n: postcards.take(db, n, card["id"])
    yield postcards.drawn, lambda db, n: postcards.drawn(db, 1, b"pdf", at)
    yield postcards.fetched, lambda db, n: postcards.fetched(db, 1, at, again=False)
    yield postcards.printed, lambda db, n: postcards.printed(db, 1, "t", n)
    yield postcards.cancelled, lambda db, n: postcards.cancelled(db, 2, "t", n)


async def of_operators(ra):
    at = ra.now()
    one = await ra.database.write(lambda db: operators.add(db, someone("one", Role.AUDITOR)))
    number, key = one.number, operators.Passkey("id", one.number, b"k", 0, "l", at)
    proposal = operators.Proposal(
        0, "user.add", "x", {}, {}, "d", "p", "p", "", at, at + 60, Decided.APPROVED
    )  # fmt: skip

    def prepare(db: Transaction) -> int:
        operators.add_certificate(db, number, "s", "f", at)
        operators.add_code(db, number, "code", at, at + 60)
        operators.bind_code(db, "code", "s")
        operators.add_glass(db, operators.Glass(1, "a", "i", Role.AUDITOR, "r", at, at + 60, at + 60))
        return operators.propose(db, proposal)

    asked = await ra.database.write(prepare)
    two = someone("two", Role.AUDITOR)
    yield operators.add, lambda db, n: operators.add(db, replace(two, handle=f"h{n}"))
    yield operators.change, lambda db, n: operators.change(db, one, replace(one, display=f"d{n}"))
    yield operators.use_code, lambda db, n: operators.use_code(db, "code", at)
    yield operators.use_enrolment, lambda db, n: operators.use_enrolment(db, "f", at)
    yield operators.add_passkey, lambda db, n: operators.add_passkey(db, key)
    yield operators.use_passkey, lambda db, n: operators.use_passkey(db, key, 1 + n, at)
    yield operators.end_passkey, lambda db, n: operators.end_passkey(db, "id", at)
    yield operators.end_certificate, lambda db, n: operators.end_certificate(db, "s", at)
    yield operators.complete, lambda db, n: operators.complete(db, asked, {}, at)
    yield operators.review_glass, lambda db, n: operators.review_glass(db, 1, "x", "y", at)


async def of_jobs_and_programs(ra):
    at = ra.now()
    job = jobs.Job(0, "user.import", "x", None, "t", "t", "t", 1, at)
    number = await ra.database.write(lambda db: jobs.add(db, job, {}))
    yield jobs.end, lambda db, n: jobs.end(db, number, Event.CANCEL, State.CANCELLED, at)
    draft = campaigns.Campaign(0, "春", None, at + 999, None, None, 7, at, "t")
    campaign = await ra.database.write(lambda db: campaigns.add(db, draft))
    yield campaigns.end, lambda db, n: campaigns.end(db, campaign, at, "t")
    left = repeats.Repeat(1, "key", "d", "first", at)
    await ra.database.write(lambda db: repeats.claim(db, left))
    took = []

    def take_over(db: Transaction, n: int) -> bool:
        wanted = replace(left, claim=f"c{n}")
        won = repeats.take_over(db, left, wanted)
        took[:] = [wanted] if won else took
        return won

    yield repeats.take_over, take_over
    yield repeats.finish, lambda db, n: repeats.finish(db, took[0], b"x")
    new = hooks.Endpoint(0, "hook", "https://h/", ("*",), Stands.ACTIVE, "", 0, 0, at, "t")
    yield hooks.add, lambda db, n: hooks.add(db, new)
    before = hooks.named(look(ra.database), "hook")
    yield hooks.read_on, lambda db, n: hooks.read_on(db, before, 5)
    yield hooks.ends_on, lambda db, n: hooks.ends_on(db, before, 5)
    yield hooks.change, lambda db, n: hooks.change(db, before, url=f"https://h{n}/")
    told = Told("id", "user.added", at, {})
    yield hooks.put, lambda db, n: hooks.put(db, before.number, told, at)
    (due,) = hooks.due(look(ra.database), before.number, at, at + 60, 9)
    yield hooks.begin, lambda db, n: hooks.begin(db, due, at)
    taken = hooks.delivery(look(ra.database), due.number)
    end = {"next_at": at, "ended_at": at, "status": 500, "result": "no"}
    yield hooks.settle, lambda db, n: hooks.settle(db, taken, Standing.DEAD, **end)
    yield hooks.replay, lambda db, n: hooks.replay(db, due.number, at)


SETS = (
    of_the_ca, of_the_protocol, of_people, of_letters, of_postcards, of_operators, of_jobs_and_programs,
)  # fmt: skip


@pytest.mark.parametrize("sets", SETS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("engine", ENGINES)
async def test_of_twenty_one_wins(tmp_path, monkeypatch, engine, sets):
    """One is told that it was the one, the others that they were not, and no other error comes of it."""
    monkeypatch.setenv(VARIABLE, engine)
    async with open_office(tmp_path) as ra:
        async for tried, work in sets(ra):
            works = (ra.database.write(lambda db, n=n, w=work: w(db, n)) for n in range(RACERS))
            assert sum(map(bool, await raced(*works))) == 1, tried.__name__


_CHANGES = re.compile(r"\b(UPDATE|DELETE FROM|ON CONFLICT)\b")


def _functions(path: Path) -> dict[str, ast.AST]:
    """The functions of a file, by name."""
    found = ast.parse(path.read_text("utf-8")).body
    return {each.name: each for each in found if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def _called(function: ast.AST) -> set[str]:
    calls = (each.func for each in ast.walk(function) if isinstance(each, ast.Call))
    return {each.id for each in calls if isinstance(each, ast.Name)}


def _sets_in(path: Path) -> set[str]:
    """The functions of a store that change something, or have another one of it do so, and say what came of
    it."""
    functions, changing = _functions(path), set[str]()
    for name, each in functions.items():
        texts = (part.value for part in ast.walk(each) if isinstance(part, ast.Constant))
        if _CHANGES.search(" ".join(text for text in texts if isinstance(text, str))):
            changing.add(name)
    while more := {name for name, each in functions.items() if _called(each) & changing} - changing:
        changing |= more
    return {f"{path.relative_to(ROOT)} {name}" for name in changing if _says(functions[name])}


def _says(function: ast.AST) -> bool:
    """Whether it is given a transaction, and gives something back."""
    given = function.args.args
    returns = function.returns
    return bool(given) and given[0].arg == "db" and returns is not None and ast.unparse(returns) != "None"


def test_every_compare_and_set_is_here():
    """A new one needs its row."""
    rooms = (ROOT / room for room in ("ca", "enroll", "gateway"))
    found = set().union(*(_sets_in(path) for room in rooms for path in room.rglob("*store.py")))
    rows = re.findall(r"^ +yield (\w+)(?:\.store)?\.(\w+),", Path(__file__).read_text("utf-8"), re.MULTILINE)
    whose = {
        "generations": ["ca/generations"], "ca": ["ca"], "acme": ["enroll/acme"], "mail": ["enroll/mail"],
        "store": ["enroll/people", "enroll/requests"], "operators": ["enroll/operators"],
        "jobs": ["enroll/jobs"], "postcards": ["enroll/postcards"], "campaigns": ["enroll/campaigns"],
        "repeats": ["enroll/repeats"], "hooks": ["enroll/hooks"],
    }  # fmt: skip
    raced_here = {f"{room}/store.py {name}" for module, name in rows for room in whose[module]} & found
    assert found - set(NONE) - set(BESIDE) == raced_here
    assert set(NONE) | set(BESIDE) <= found


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_raced_beside_is_raced(name):
    """The test is there, is run, and has twenty at a time do something."""
    file, _, test = BESIDE[name].partition("::")
    assert test.startswith("test_") or test in _row_names(ROOT / file), BESIDE[name]
    function = _functions(ROOT / file)[test]
    calls = [each for each in ast.walk(function) if isinstance(each, ast.Call)]
    assert _called(function) & {"raced", "together"} or "gather" in map(_attribute, calls), BESIDE[name]
    assert any(_as_many(each) for each in calls), BESIDE[name]


def _row_names(path: Path) -> set[str]:
    """What a file's table of races names."""
    tables = (
        each.value
        for each in ast.parse(path.read_text("utf-8")).body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "RACES"
    )
    return {each.id for table in tables for each in ast.walk(table) if isinstance(each, ast.Name)}


def _attribute(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _as_many(call: ast.Call) -> bool:
    """Whether it is a range of twenty, or more."""
    if not (isinstance(call.func, ast.Name) and call.func.id == "range"):
        return False
    (most,) = call.args[-1:]
    return any(
        ast.unparse(each) == "RACERS" or (isinstance(each, ast.Constant) and each.value >= RACERS)
        for each in ast.walk(most)
    )
