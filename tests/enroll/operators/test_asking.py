"""What takes two: proposed by one, decided by another, once, in time, and as it stood."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

import ca.store
from enroll import store
from enroll.mail import store as mail_store
from enroll.operators import actors, asking, codes
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.asking import Done, Proposed
from enroll.operators.kinds import KINDS
from enroll.operators.roles import MOST_REVOCATIONS, Act, Role
from enroll.operators.states import LABELS, TRANSITIONS, Event, State
from enroll.people import changes
from enroll.people.register import Person
from enroll.refusals import Refusal
from enroll.requests import issuance
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered, letter_of, open_office, together
from tests.enroll.operators.test_actors import someone
from tests.enroll.operators.test_roles import EXPECTED
from tests.looking import look

#: O4 as it was written down -> the kinds that it is. Templates have none yet.
FOUR_EYES = {
    "entered by oneself": {
        "organisation.add", "organisation.change", "organisation.disable", "user.add", "user.change",
        "user.disable", "application.reject", "credential.create",
    },
    "entered by oneself, or a mail address changed shortly before": {"application.approve"},
    "purge": {"audit.purge", "retention.apply"},
    "retirement": {"audit.retire"},
    "import": {"user.import", "organisation.import", "import.undo"},
    "re-enabling": {
        "organisation.enable", "user.enable", "user.release", "certificate.release", "webhook.start",
    },
    "paper reissue": {"request.reissue"},
    "more than 10 revocations": {"certificate.revoke.many", "certificate.revoke.bulk"},
    "by the desk": {"user.reset_password", "certificate.revoke"},
    "operators": {"operator.add", "operator.change", "operator.end", "operator.code"},
    "CA": {"ca.reissue", "clock.confirm"},
    "settings": {"webhook.add", "webhook.change", "webhook.rotate", "webhook.end"},
    "letters to many": {"campaign.begin", "campaign.end", "campaign.remind", "campaign.remind.many"},
    "templates": {"template.change", "template.reset"},
    # Not of O4: it has rows, and is a job for that.
    "done by whoever prints": {"postcard.batch"},
}  # fmt: skip
#: Kinds of which somebody may do one alone.
ALONE = {
    "user.reset_password", "certificate.revoke", "application.approve", "application.reject",
    "campaign.begin", "campaign.end", "campaign.remind",
    "postcard.batch",
}  # fmt: skip
USER = "K12345678"


@asynccontextmanager
async def office(tmp_path, **people):
    """An office with a user, and one operator a role, each called as the role, but for what is said."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        for role in Role:
            name = str(role).replace("-", "")
            await ra.database.write(lambda db, n=name, r=role: operators.add(db, someone(n, r, at=ra.now())))
        await ra.database.write(
            lambda db: operators.add(db, someone("second", Role.APPROVER, Role.REGISTRAR, at=ra.now()))
        )
        yield ra


def acting(ra, name):
    return actors.of_account(look(ra.database), name, ra.now(), host=False)


def person(name="厚生 花子", mail="hanako@example.jp", user_id=""):
    return {"person": {**Person(POLICY_NUMBER, name, mail, user_id).__dict__}, "alike": False}


async def proposed(ra, kind="user.add", payload=None, by="registrar"):
    found = await asking.ask(ra, acting(ra, by), kind, payload or person())
    assert isinstance(found, Proposed), found
    return found.number


def folded_out(text):
    """Its letters and digits in full width."""
    return "".join(chr(ord(each) + 0xFEE0) for each in text)


def state_of(ra, number):
    return operators.proposal(look(ra.database), number).state


def acts(ra, subject):
    return [each["action"] for each in store.audit_page(look(ra.database), subject, 100)]


async def refused(work):
    with pytest.raises(Refusal) as caught:
        await work
    return caught.value


def test_the_list_of_what_takes_two():
    """O4, a second time; a new kind says here why it is one."""
    assert {name: kind.why for name, kind in KINDS.items()} == {
        name: why for why, names in FOUR_EYES.items() for name in names
    }


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", KINDS)
def test_who_proposes_and_who_decides_is_what_the_requirements_say(name, role):
    """Each kind for each role: by O3's row for its act, and by no other."""
    word = EXPECTED[str(KINDS[name].act)].split()[list(Role).index(role)]
    actor = actors._built("x", "x", By.ACCOUNT, (role,))
    assert actor.decides(KINDS[name].act) is (word in ("decide", "propose+decide", "yes"))
    assert bool(actor.may(KINDS[name].act) & actors.Verdict.PROPOSE) is (
        word in ("propose", "propose+decide")
    )
    assert not (word == "yes" and name not in ALONE)


def test_states():
    """What was decided is decided for good, and every state has words."""
    assert set(TRANSITIONS) == set(State) == set(LABELS)
    assert set(TRANSITIONS[State.PENDING]) == set(Event)
    assert all(not TRANSITIONS[state] for state in State if state is not State.PENDING)


async def test_a_user_takes_two(tmp_path):
    """A registrar proposes, an approver decides; nobody else may, and until then nothing is changed."""
    async with office(tmp_path) as ra:
        found = await asking.ask(ra, acting(ra, "registrar"), "user.add", person(user_id="KNEW1"))
        assert isinstance(found, Proposed)
        assert found.deciders == (Role.APPROVER,)
        assert store.user(look(ra.database), "KNEW1") is None
        for name in ("desk", "registrar", "caofficer", "auditor"):
            problem = await refused(asking.approve(ra, acting(ra, name), found.number))
            assert problem.code == "not_permitted"
        for name in ("desk", "approver", "caofficer", "auditor", "nobody"):
            problem = await refused(asking.ask(ra, acting(ra, name), "user.add", person(user_id="KNEW2")))
            assert problem.code == "not_permitted"
        done = await asking.approve(ra, acting(ra, "approver"), found.number, note="seen")
        assert done.result["user_id"] == "KNEW1"
        kept = operators.proposal(look(ra.database), found.number)
        assert (kept.state, kept.note, kept.decided_by) == (
            State.APPROVED,
            "seen",
            "operator:approver/approver",
        )
        assert kept.result == done.result
        assert acts(ra, str(found.number)) == ["proposal.approved", "proposal.made"]
        added = store.audit_page(look(ra.database), "KNEW1", 1)[0]
        assert (added["action"], added["actor"]) == ("user.added", "operator:approver/approver")


async def test_nobody_decides_what_he_has_proposed(tmp_path):
    """Whatever roles somebody has; another one of the same roles may."""
    async with office(tmp_path) as ra:
        number = await proposed(ra, by="second")
        for decide in (asking.approve(ra, acting(ra, "second"), number),
                       asking.reject(ra, acting(ra, "second"), number, note="x")):  # fmt: skip
            problem = await refused(decide)
            assert (problem.code, problem.field) == ("not_permitted", "proposal")
            assert "you have proposed 1 yourself" in str(problem)
        assert not asking.may_decide(
            look(ra.database), acting(ra, "second"), operators.proposal(look(ra.database), 1), ra.now()
        )
        assert state_of(ra, number) is State.PENDING
        await asking.reject(ra, acting(ra, "approver"), number, note="no")
        assert state_of(ra, number) is State.REJECTED
        assert (await refused(asking.approve(ra, acting(ra, "approver"), number))).code == "conflict"


async def test_of_two_who_decide_one_wins(tmp_path):
    """Twenty at once: one user, one line, and everybody else hears that it is decided."""
    async with office(tmp_path) as ra:
        number = await proposed(ra)
        deciders = [acting(ra, name) for name in ("approver", "second")]
        works = [
            asking.approve(ra, deciders[each % 2], number)
            if each % 3
            else asking.reject(ra, deciders[each % 2], number, note="no")
            for each in range(20)
        ]
        answers = await together(*works)
        won = [each for each in answers if not isinstance(each, Exception)]
        assert len(won) == 1
        others = {each.code for each in answers if isinstance(each, Refusal)}
        assert (others, len(answers)) == ({"conflict"}, 20)
        decided = [each for each in acts(ra, str(number)) if each != "proposal.made"]
        assert len(decided) == 1
        assert len(store.users(look(ra.database))) == 1 + (decided == ["proposal.approved"])


async def test_a_proposal_ends_after_five_business_days(tmp_path):
    """Counted over a holiday and a weekend (23 November 2026); then nobody decides it, and it is told."""
    async with office(tmp_path) as ra:
        number = await proposed(ra)
        until = operators.proposal(look(ra.database), number).expires_at
        # Sunday 22 November; Monday is a holiday: Tuesday to Friday, then Monday 30.
        assert until - 1 - ra.now() == (8 * 24 + 12) * 3_600 - 1
        clock_of(ra).advance(seconds=until - ra.now())
        found = operators.proposal(look(ra.database), number)
        assert asking.state_at(found, ra.now() - 1) is State.PENDING
        assert asking.state_at(found, ra.now()) is State.EXPIRED
        assert not asking.may_decide(look(ra.database), acting(ra, "approver"), found, ra.now())
        problem = await refused(asking.reject(ra, acting(ra, "approver"), number, note="late"))
        assert "is expired already" in str(problem)
        problem = await refused(asking.approve(ra, acting(ra, "approver"), number))
        assert "was not decided in time" in str(problem)
        assert state_of(ra, number) is State.EXPIRED
        assert store.user(look(ra.database), "KNEW1") is None


async def test_a_change_after_the_proposal_voids_it(tmp_path):
    """What the decider was shown stands there no more; what does not matter changes nothing."""
    async with office(tmp_path) as ra:
        wanted = {"user_id": USER, "changes": {"name": "年金 次郎"}, "alike": False}
        number = await proposed(ra, "user.change", wanted)
        await changes.reset_password(ra, USER, actor="test")
        await changes.change_user(ra, USER, {"mail": "other@example.jp"}, actor="test")
        problem = await refused(asking.approve(ra, acting(ra, "approver"), number))
        assert "is void" in str(problem)
        assert state_of(ra, number) is State.VOID
        assert store.user(look(ra.database), USER).name == "年金 太郎"
        number = await proposed(ra, "user.change", wanted)
        await changes.reset_password(ra, USER, actor="test")
        await asking.approve(ra, acting(ra, "approver"), number)
        assert store.user(look(ra.database), USER).name == "年金 次郎"


async def test_the_same_is_not_proposed_twice(tmp_path):
    """As long as it waits."""
    async with office(tmp_path) as ra:
        number = await proposed(ra)
        problem = await refused(asking.ask(ra, acting(ra, "second"), "user.add", person()))
        assert f"proposal {number} says that" in str(problem)
        await asking.withdraw(ra, acting(ra, "registrar"), number)
        assert await proposed(ra) == number + 1


ADDRESS = {"postal_code": "100-8916", "prefecture": "東京都", "city": "千代田区", "street": "霞が関1-2-2"}


@pytest.mark.parametrize("kind", ["user.change", "organisation.change"])
@pytest.mark.parametrize(
    ("typed", "differs"),
    [
        ({"postal_code": "1008916"}, False),
        ({"postal_code": "〒１００－８９１６", "city": " 千代田区 "}, False),
        (ADDRESS, False),
        ({"postal_code": "100-8917"}, True),
        ({"postal_code": "1008916", "street": "霞が関1-2-3"}, True),
    ],
)
async def test_what_would_change_nothing_is_not_proposed(tmp_path, kind, typed, differs):
    """As the register reads what was typed; one field that differs is enough."""
    async with office(tmp_path) as ra:
        await changes.change_user(ra, USER, ADDRESS, actor="test")
        await changes.change_organisation(ra, POLICY_NUMBER, ADDRESS, actor="test")
        about = (
            {"user_id": USER, "alike": False} if kind == "user.change" else {"policy_number": POLICY_NUMBER}
        )
        wanted = asking.ask(ra, acting(ra, "registrar"), kind, about | {"changes": typed})
        if differs:
            assert isinstance(await wanted, Proposed)
            return
        assert await refused(wanted) == Refusal(
            "invalid_input", "changes", detail="nothing would change: it is recorded like this already"
        )
        assert operators.proposals(look(ra.database), waiting_at=0) == []


async def test_only_who_proposed_withdraws(tmp_path):
    """Others reject it."""
    async with office(tmp_path) as ra:
        number = await proposed(ra)
        assert (await refused(asking.withdraw(ra, acting(ra, "second"), number))).code == "not_permitted"
        await asking.withdraw(ra, acting(ra, "registrar"), number)
        assert state_of(ra, number) is State.WITHDRAWN
        assert (await refused(asking.withdraw(ra, acting(ra, "registrar"), number))).code == "conflict"


async def test_what_cannot_be_is_refused_when_it_is_proposed_or_still_waits(tmp_path):
    """Nothing is approved that was not done."""
    async with office(tmp_path) as ra:
        stranger = {"person": {**Person("99999999", "X", "x@example.jp").__dict__}, "alike": False}
        assert (
            await refused(asking.ask(ra, acting(ra, "registrar"), "user.add", stranger))
        ).code == "not_found"
        number = await proposed(ra, payload=person(user_id="KNEW1") | {"alike": True})
        other = await proposed(ra, payload=person("別", "o@example.jp", "KNEW1"))
        await asking.approve(ra, acting(ra, "approver"), number)
        assert "is void" in str(await refused(asking.approve(ra, acting(ra, "approver"), other)))
        assert len(store.users(look(ra.database))) == 2


async def test_a_role_that_is_taken_away_decides_nothing(tmp_path):
    """It is asked again in the transaction that does it, whoever was let in before."""
    async with office(tmp_path) as ra:
        number = await proposed(ra)
        actor = acting(ra, "approver")
        before = operators.named(look(ra.database), "approver")
        await ra.database.write(
            lambda db: operators.change(db, before, replace(before, roles=(Role.AUDITOR,)))
        )
        assert (await refused(asking.approve(ra, actor, number))).code == "not_permitted"
        assert state_of(ra, number) is State.PENDING


async def test_the_desk_proposes_a_password_and_a_registrar_sets_it(tmp_path):
    """A registrar does it alone, and decides the desk's."""
    async with office(tmp_path) as ra:
        number = await proposed(ra, "user.reset_password", {"user_id": USER}, by="desk")
        before = store.user(look(ra.database), USER).password_hash
        assert (await refused(asking.approve(ra, acting(ra, "approver"), number))).code == "not_permitted"
        await asking.approve(ra, acting(ra, "registrar"), number)
        assert store.user(look(ra.database), USER).password_hash != before
        done = await asking.ask(ra, acting(ra, "registrar"), "user.reset_password", {"user_id": USER})
        assert isinstance(done, Done)


async def issued(ra):
    request = store.enrollments_of(look(ra.database), USER)[0].request_id
    await issuance.submit(ra, request, actor=USER)
    return (await issuance.complete(ra, request)).serial


async def test_a_stolen_pcs_certificate_goes_at_once_and_many_take_two(tmp_path):
    """A registrar revokes alone, ten in a day; the next is a proposal, which no registrar decides."""
    async with office(tmp_path) as ra:
        serial = await issued(ra)
        payload = {"serial": serial, "reason": 1}
        number = await proposed(ra, "certificate.revoke", payload, by="desk")
        assert (await refused(asking.approve(ra, acting(ra, "approver"), number))).code == "not_permitted"
        by = acting(ra, "registrar").name

        def earlier(db, count):
            for each in range(count):
                store.audit(db, ra.now(), by, "certificate.revoked", str(each))

        await ra.database.write(lambda db: earlier(db, MOST_REVOCATIONS))
        found = await asking.ask(ra, acting(ra, "registrar"), "certificate.revoke", payload)
        assert isinstance(found, Proposed)
        assert found.deciders == (Role.APPROVER,)
        clock_of(ra).advance(seconds=86_401)
        done = await asking.ask(ra, acting(ra, "registrar"), "certificate.revoke", payload)
        assert isinstance(done, Done)
        assert ca.store.find_by_serial(look(ra.database), serial).status == "revoked"
        assert "is void" in str(await refused(asking.approve(ra, acting(ra, "approver"), found.number)))


async def applied(ra, by):
    from enroll.people import applications

    made = await applications.apply_reissue(ra, USER, "pc_change", channel="paper", actor=by)
    return {"number": made.number, "revoke_old": None, "facts": {}}


async def test_what_somebody_else_applied_for_is_decided_by_one(tmp_path):
    """An approver alone; a registrar proposes it. What one entered oneself takes another one."""
    async with office(tmp_path) as ra:
        await issued(ra)
        payload = await applied(ra, USER)
        number = await proposed(ra, "application.approve", payload)
        done = await asking.ask(ra, acting(ra, "approver"), "application.approve", payload)
        assert isinstance(done, Done)
        assert "is void" in str(await refused(asking.approve(ra, acting(ra, "approver"), number)))
        own = await applied(ra, acting(ra, "second").name)
        await proposed(ra, "application.approve", own, by="second")


async def test_nobody_decides_what_he_has_entered(tmp_path):
    """Neither at once nor once somebody else has proposed it, by whichever door it was entered; nor beside a
    proposal of one's own. Another one decides it."""
    async with office(tmp_path) as ra:
        await issued(ra)
        shell, console = acting(ra, "second"), actors.of_operator(look(ra.database), 6, By.CONSOLE)
        assert (shell.identity, shell.name == console.name) == (console.identity, False)
        payload = await applied(ra, shell.name)
        turned_down = {"number": payload["number"], "note": "x", "rejection": "other"}
        for kind, wanted in (("application.approve", payload), ("application.reject", turned_down)):
            for actor in (shell, console):
                assert asking.step_of(look(ra.database), ra, actor, kind, wanted) == "propose"
            assert asking.step_of(look(ra.database), ra, acting(ra, "approver"), kind, wanted) == "do"
        number = await proposed(ra, "application.approve", payload)
        found = operators.proposal(look(ra.database), number)
        for actor in (shell, console):
            assert not asking.may_decide(look(ra.database), actor, found, ra.now())
            for decide in (asking.approve(ra, actor, number), asking.reject(ra, actor, number, note="x")):
                assert "you have entered yourself" in str(await refused(decide))
        assert asking.may_decide(look(ra.database), acting(ra, "approver"), found, ra.now())
        # Beside a proposal of one's own: a registrar who has become an approver since.
        registrar = operators.named(look(ra.database), "registrar")
        more = replace(registrar, roles=(Role.REGISTRAR, Role.APPROVER))
        await ra.database.write(lambda db: operators.change(db, registrar, more))
        for kind, wanted in (("application.approve", payload), ("application.reject", turned_down)):
            assert asking.step_of(look(ra.database), ra, acting(ra, "registrar"), kind, wanted) == "propose"
        done = await asking.ask(ra, acting(ra, "approver"), "application.reject", turned_down)
        assert isinstance(done, Done)


async def test_a_reissue_to_an_address_that_is_new_takes_two(tmp_path):
    """Whoever has changed it might be whom the mail goes to; after two weeks one is enough."""
    async with office(tmp_path) as ra:
        await issued(ra)
        await changes.change_user(ra, USER, {"mail": "new@example.jp"}, actor="test")
        payload = await applied(ra, USER)
        problem = await refused(asking.ask(ra, acting(ra, "approver"), "application.approve", payload))
        assert problem.code == "not_permitted"
        clock_of(ra).advance(seconds=15 * 86_400)
        done = await asking.ask(ra, acting(ra, "approver"), "application.approve", payload)
        assert isinstance(done, Done)


async def test_a_secret_is_told_to_who_proposed_it_once(tmp_path):
    """The decider never sees the key of a credential; typed again it is made, and not a second time."""
    async with office(tmp_path) as ra:
        wanted = {"user_id": USER, "count": 1, "profile": "client-automated", "quota": None}
        number = await proposed(ra, "credential.create", wanted)
        assert (await asking.approve(ra, acting(ra, "approver"), number)).result == {}
        assert (await refused(asking.ask(ra, acting(ra, "desk"), "credential.create", wanted))).code == (
            "not_permitted"
        )
        # Only said to be told, whatever the moment of the approval.
        problem = await refused(asking.ask(ra, acting(ra, "registrar"), "credential.create", wanted))
        assert (problem.code, problem.field) == ("conflict", "approved")
        done = await asking.ask(ra, acting(ra, "registrar"), "credential.create", wanted, tell=True)
        assert isinstance(done, Done)
        assert done.result["credentials"][0]["hmac_key"]
        assert operators.proposal(look(ra.database), number).result == {}
        assert isinstance(
            await asking.ask(ra, acting(ra, "registrar"), "credential.create", wanted), Proposed
        )


async def test_what_nobody_had_told_in_time_is_proposed_anew(tmp_path):
    """An approval that its proposer let lapse stands in nobody's way, and tells nothing any more."""
    async with office(tmp_path) as ra:
        wanted = {"user_id": USER, "count": 1, "profile": "client-automated", "quota": None}
        number = await proposed(ra, "credential.create", wanted)
        await asking.approve(ra, acting(ra, "approver"), number)
        clock_of(ra).set(operators.proposal(look(ra.database), number).expires_at)
        made = await asking.ask(ra, acting(ra, "registrar"), "credential.create", wanted, tell=True)
        assert isinstance(made, Proposed)
        assert made.number != number


# -- operators -------------------------------------------------------------------------------------------


def operator(name, role, **more):
    wanted = {"name": name, "display": name, "roles": [role], "kind": "person", "account": name}
    return wanted | {"mail": f"{name}@example.jp", "language": "ja"} | more


async def test_the_first_are_added_by_who_has_the_machine_and_then_it_takes_two(tmp_path):
    """O2: the code is shown to the first, used once and within 24 hours; later ones get theirs by mail."""
    async with open_office(tmp_path) as ra:

        def host():
            return actors.of_account(look(ra.database), "root", ra.now(), host=True)

        first = await asking.ask(ra, host(), "operator.add", operator("ito", "ca-officer"))
        assert isinstance(first, Done)
        second = await asking.ask(ra, host(), "operator.add", operator("sato", "approver"))
        third = operator("suzuki", "registrar")
        assert (await refused(asking.ask(ra, host(), "operator.add", third))).code == "not_permitted"
        number = await proposed(ra, "operator.add", third, by="ito")
        assert (await refused(asking.approve(ra, acting(ra, "ito"), number))).field == "proposal"
        done = await asking.approve(ra, acting(ra, "sato"), number)
        assert "code" not in str(done.result) + str(operators.proposal(look(ra.database), number))
        sent = (await letter_of(ra, "operator_code")).value("登録用コード")

        by = codes.attempt("192.0.2.1")

        def used(code, of=None):
            return codes.use(ra, code, by, lambda db, found: found, of=of)

        # As a Japanese keyboard types it.
        assert (await used("　" + folded_out(sent[:4]) + "-" + sent[4:])).name == "suzuki"
        assert "operator.code_used" in acts(ra, "suzuki")
        assert (await refused(used(first.result["code"], of=99))).code == "not_permitted"
        assert (await used(first.result["code"])).name == "ito"
        for code in (sent, first.result["code"], "", "x" * 16):
            assert (await refused(used(code))).code == "not_permitted"
        clock_of(ra).advance(seconds=codes.LIFETIME)
        assert (await refused(used(second.result["code"]))).code == "not_permitted"


async def test_guessing_a_code_is_slow(tmp_path):
    """Wrong codes are counted by who tries them: then not even the right one is looked at, until later; and
    another address is not kept out."""
    async with office(tmp_path) as ra:
        await ra.database.write(lambda db: operators.add_code(db, 1, codes.hashed("right"), ra.now(), 2**40))
        thief, owner = codes.attempt("192.0.2.1"), codes.attempt("198.51.100.1")
        for number in range(ra.settings.attempts):
            assert (await refused(codes.check(ra, f"wrong{number}", thief))).code == "not_permitted"
        for guess in (codes.check(ra, "right", thief), codes.use(ra, "right", thief, lambda db, _: None)):
            assert (await refused(guess)).code == "throttled"
        assert (await codes.check(ra, "ｒｉｇｈｔ", owner)).number == 1
        clock_of(ra).advance(seconds=ra.settings.attempt_seconds)
        assert await codes.use(ra, "right", thief, lambda db, found: found.number) == 1
        assert (await refused(codes.use(ra, "right", owner, lambda db, _: None))).code == "not_permitted"


async def test_twenty_use_a_code_and_one_comes_in(tmp_path):
    """Once is once, however many at a time."""
    async with office(tmp_path) as ra:
        await ra.database.write(lambda db: operators.add_code(db, 1, codes.hashed("c"), ra.now(), 2**40))
        # Each at an address of its own: none is turned away for guessing.
        tries = [codes.attempt(f"192.0.2.{number}") for number in range(20)]
        use = [codes.use(ra, "c", each, lambda db, found: found) for each in tries]
        answers = await together(*use)
        assert sum(not isinstance(each, Refusal) for each in answers) == 1


async def test_an_operator_who_has_ended_opens_nothing(tmp_path):
    """Codes, certificates and passkeys end with the operator, certificates are revoked, and the name is
    nobody's any more."""
    async with office(tmp_path) as ra:
        serial = await issued(ra)
        await ra.database.write(lambda db: operators.add_certificate(db, 1, serial, "f" * 64, 1))
        number = await proposed(ra, "operator.end", {"name": "desk"}, by="caofficer")
        await asking.approve(ra, acting(ra, "approver"), number)
        assert operators.of_certificate(look(ra.database), "f" * 64) is None
        assert ca.store.find_by_serial(look(ra.database), serial).status == "revoked"
        assert not acting(ra, "desk").rights
        again = asking.ask(ra, acting(ra, "caofficer"), "operator.add", operator("desk", "desk"))
        assert "names are given once" in str(await refused(again))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("operator", {"name": "Suzuki"}), ("operator", {"name": "s"}), ("role", {"roles": []}),
        ("role", {"roles": ["root"]}), ("role", {"roles": ["desk", "desk"]}), ("mail", {"mail": "x"}),
        ("name", {"display": "a\u0000b"}), ("account", {"account": "a b"}), ("account", {"account": "desk"}),
    ],
)  # fmt: skip
async def test_an_operator_that_cannot_be(tmp_path, field, wrong):
    """Each with the field at fault."""
    async with office(tmp_path) as ra:
        wanted = operator("suzuki", "desk") | wrong
        problem = await refused(asking.ask(ra, acting(ra, "caofficer"), "operator.add", wanted))
        assert problem.field == field


async def test_a_code_that_could_go_nowhere_is_refused_when_it_is_proposed(tmp_path):
    """An operator without a mail address waits for nobody's approval, which could not help."""
    async with office(tmp_path) as ra:
        officer = acting(ra, "caofficer")
        wanted = operator("shinjin", "desk") | {"mail": ""}
        problem = await refused(asking.ask(ra, officer, "operator.add", wanted))
        assert (problem.code, problem.field) == ("invalid_input", "mail")
        silent = replace(someone("silent", Role.DESK, at=ra.now()), mail="")
        await ra.database.write(lambda db: operators.add(db, silent))
        problem = await refused(asking.ask(ra, officer, "operator.code", {"name": "silent"}))
        assert "silent has no mail address" in str(problem)


async def test_each_code_has_its_letter(tmp_path):
    """The second one within a second as well, which has ended the first: no other one opens anything."""
    async with office(tmp_path) as ra:
        reached = replace(someone("reached", Role.DESK, at=ra.now()), mail="r@example.jp")
        await ra.database.write(lambda db: operators.add(db, reached))
        for _ in range(2):
            number = await proposed(ra, "operator.code", {"name": "reached"}, by="caofficer")
            await asking.approve(ra, acting(ra, "approver"), number)
        sent = [each.value("登録用コード") for each in await delivered(ra) if "operator_code" in each.name]
        assert len({*sent}) == 2
        good = [operators.code_of(look(ra.database), codes.hashed(each), ra.now()) for each in sent]
        assert [each is not None for each in good] == [False, True]


@pytest.mark.parametrize("shared", [False, True])
async def test_a_letter_that_waits_goes_to_the_operators_new_address(tmp_path, shared):
    """A code must not leave for an address that was put right; what is at an address of two stays there."""
    async with office(tmp_path) as ra:
        for name in ("reached", "other") if shared else ("reached",):
            one = someone(name, Role.DESK, at=ra.now(), mail="wrong@example.jp")
            assert await ra.database.write(lambda db, one=one: operators.add(db, one))
        number = await proposed(ra, "operator.code", {"name": "reached"}, by="caofficer")
        await asking.approve(ra, acting(ra, "approver"), number)
        changes = {"name": "reached", "changes": {"mail": "right@example.jp"}}
        number = await proposed(ra, "operator.change", changes, by="caofficer")
        await asking.approve(ra, acting(ra, "approver"), number)
        (recipient,) = [each["recipient"] for each in mail_store.listed(look(ra.database))
                        if each["kind"] == "operator_code"]  # fmt: skip
        assert recipient == ("wrong@example.jp" if shared else "right@example.jp")


async def test_what_nobody_decided_is_recorded_as_that(tmp_path):
    """After its days a proposal is expired for good, its proposer is told by mail, once; the others wait."""
    async with office(tmp_path) as ra:
        late = await proposed(ra)
        officer = operators.named(look(ra.database), "registrar")
        with_mail = replace(officer, mail="r@example.jp")
        assert await ra.database.write(lambda db: operators.change(db, officer, with_mail))
        assert await asking.expire(ra) == 0
        clock_of(ra).advance(days=14)
        again = await proposed(ra, payload=person(name="別 人", mail="b@example.jp"))
        assert await asking.expire(ra) == 1
        assert await asking.expire(ra) == 0
        found = operators.proposal(look(ra.database), late)
        assert (found.state, found.decided_by, state_of(ra, again)) == ("expired", "scheduler", "pending")
        assert "proposal.expired" in acts(ra, str(late))
        mail = await letter_of(ra, "proposal_expired")
        assert mail.value("番号") == str(late)
        assert [each["recipient"] for each in mail_store.listed(look(ra.database))][:1] == ["r@example.jp"]
        assert "is expired already" in str(await refused(asking.approve(ra, acting(ra, "approver"), late)))


async def test_acts_are_of_kinds(tmp_path):
    """The desk may not look at operators' proposals, and a proposer may at one's own."""
    async with office(tmp_path) as ra:
        number = await proposed(ra, "operator.end", {"name": "desk"}, by="caofficer")
        found = operators.proposal(look(ra.database), number)
        seeing = {name for name in ("desk", "registrar", "approver", "caofficer", "auditor")
                  if asking.visible(acting(ra, name), found)}  # fmt: skip
        assert seeing == {"approver", "caofficer", "auditor"}
        assert KINDS[found.kind].act is Act.OPERATORS


async def test_a_purge_takes_two(tmp_path):
    """What is gone from the record does not come back: a registrar proposes it, and an approver decides."""
    async with office(tmp_path) as ra:
        number = await proposed(ra, "audit.purge", {"user_id": USER})
        assert store.audit_page(look(ra.database), USER, 1)[0]["detail"]
        done = await asking.approve(ra, acting(ra, "approver"), number)
        assert done.result["purged"] > 0
        line = store.audit_page(look(ra.database), USER, 1)[0]
        assert (line["action"], line["actor"]) == ("audit.purged", "operator:approver/approver")
        assert [each["detail"] for each in store.audit_page(look(ra.database), USER, 9)[1:]] == [{}]
