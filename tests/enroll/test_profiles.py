"""Operators' profiles from the application to the renewal: which counts, what it lacks, and what becomes of a
reservation whose profile has changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

import ca.store
from ca.profiles import CLIENT_AUTOMATED, CLIENT_PERSON, CLIENTS, Source, version_of
from enroll import store
from enroll.acme.credentials import create
from enroll.people.applications import apply_addition, approve
from enroll.people.changes import change_organisation, change_user
from enroll.people.facts import FACTS
from enroll.people.register import Person, add_organisation
from enroll.refusals import Refusal
from enroll.requests import issuance, renewal
from enroll.requests.states import State
from tests.datadirs import POLICY_NUMBER, admit, clock_of, open_office
from tests.enroll.acme.acme_world import FQDN, world
from tests.looking import look
from tests.signers import Gone, signed_by

USER = "K12345678"
DEPARTMENT = replace(
    CLIENT_PERSON,
    name="department",
    like="client-person",
    days=400,
    years=0,
    key_kinds=("ec-p384", "ec-p256"),
    subject=(("O", Source("organisation.name")), ("OU", Source("user.department"))),
    alternative=(("email", Source("user.mail")),),
)
BATCH = replace(CLIENT_AUTOMATED, name="batch", days=30, subject=(("O", Source("organisation.name")),))


def having(ra, *profiles):
    """The same registration authority after a reload with these profiles."""
    known = {**CLIENTS, **{each.name: each for each in profiles}}
    return replace(ra, authority=replace(ra.authority, profiles=known))


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as opened:
        await add_organisation(opened, POLICY_NUMBER, "霞が関商事", actor="test")
        yield having(opened, DEPARTMENT, BATCH)


def newest(ra):
    return store.enrollments_of(look(ra.database), USER)[0]


def certificate_of(ra, request):
    return x509.load_der_x509_certificate(ca.store.find_by_serial(look(ra.database), request.serial).der)


def subject_of(ra, request):
    return certificate_of(ra, request).subject.rfc4514_string()


async def picked_up(ra):
    request = newest(ra)
    await issuance.submit(ra, request.request_id, actor=USER)
    return await issuance.complete(ra, request.request_id)


async def by_department(ra):
    await change_organisation(ra, POLICY_NUMBER, {"profile": "department"}, actor="test")


async def test_an_organisation_has_a_profile_of_its_own(ra):
    """Its people's certificates say what it does, from the register; the trail names its state."""
    await by_department(ra)
    await admit(ra, USER, department="経理部")
    issued = await picked_up(ra)
    assert subject_of(ra, issued) == "CN=K123456780001,OU=経理部,O=霞が関商事"
    made = certificate_of(ra, issued)
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)  # policy.person_key is not one of its own
    assert (issued.profile, (issued.not_after_at - issued.issued_at) // 86_400) == ("department", 400)
    (line,) = look(ra.database).rows("SELECT detail FROM audit WHERE action = 'certificate.issued'")
    told = json.loads(line[0])
    assert (told["profile"], told["version"]) == ("department", version_of(DEPARTMENT))


async def test_without_one_the_manuals_counts(ra):
    """The twin: CN alone, three years."""
    await admit(ra, USER, department="経理部")
    issued = await picked_up(ra)
    assert (subject_of(ra, issued), issued.profile) == ("CN=K123456780001", "client-person")
    with pytest.raises(x509.ExtensionNotFound):
        certificate_of(ra, issued).extensions.get_extension_for_class(x509.SubjectAlternativeName)


async def test_what_a_profile_needs_is_asked_when_it_is_applied_for(ra):
    """Nobody is recorded with a request that cannot be met, and the operator reads what to type."""
    await by_department(ra)
    with pytest.raises(Refusal) as refused:
        await admit(ra, USER)
    assert (refused.value.code, refused.value.field) == ("profile_unmet", "user.department")
    assert str(refused.value) == (
        "the profile department cannot be met for K12345678: user.department is empty, and OU is made of it; "
        "sekisho user change K12345678 --department NAME; of somebody who is only being recorded: "
        "--department NAME"
    )
    assert store.user(look(ra.database), USER) is None
    await admit(ra, USER, department="経理部")
    assert newest(ra).profile == "department"


async def test_an_application_that_was_good_is_asked_again_when_it_is_handed_in(ra):
    """The organisation's profile has become another one meanwhile: refused, nothing is begun, and once the
    department is recorded it goes on."""
    await admit(ra, USER)
    await by_department(ra)
    before = newest(ra)
    with pytest.raises(Refusal, match=r"user\.department is empty"):
        await issuance.submit(ra, before.request_id, actor=USER)
    assert newest(ra) == before
    await change_user(ra, USER, {"department": "人事部"}, actor="test")
    assert subject_of(ra, await picked_up(ra)).startswith("CN=K123456780001,OU=人事部")


async def test_a_renewal_has_todays_profile_and_todays_facts(ra):
    """Found by the certificate before it, whose subject was another: nobody is shown an error by that."""
    await admit(ra, USER)
    first = await picked_up(ra)
    await by_department(ra)
    await change_user(ra, USER, {"department": "経理部"}, actor="test")
    clock_of(ra).set(first.not_after_at - 20 * 86_400)
    print_of = ca.store.find_by_serial(look(ra.database), first.serial).fingerprint
    asked = await renewal.submit(ra, print_of, actor=USER)
    renewed = await issuance.complete(ra, asked.request_id)
    assert subject_of(ra, renewed) == "CN=K123456780001,OU=経理部,O=霞が関商事"
    assert (renewed.kind, renewed.profile, renewed.replaces_serial) == ("renewal", "department", first.serial)
    # And back, from one with a subject to one without.
    await change_organisation(ra, POLICY_NUMBER, {"profile": ""}, actor="test")
    clock_of(ra).set(renewed.not_after_at - 20 * 86_400)
    print_of = ca.store.find_by_serial(look(ra.database), renewed.serial).fingerprint
    asked = await renewal.submit(ra, print_of, actor=USER)
    assert subject_of(ra, await issuance.complete(ra, asked.request_id)) == "CN=K123456780001"


async def test_a_renewal_that_cannot_be_met_is_offered_and_refused_when_handed_in(ra):
    """The notices go on; the page says what is wrong."""
    await admit(ra, USER)
    first = await picked_up(ra)
    await by_department(ra)
    clock_of(ra).set(first.not_after_at - 20 * 86_400)
    print_of = ca.store.find_by_serial(look(ra.database), first.serial).fingerprint
    assert (await renewal.look(ra, print_of)).renewal.profile == "department"
    with pytest.raises(Refusal) as refused:
        await renewal.submit(ra, print_of, actor=USER)
    assert refused.value.code == "profile_unmet"


@pytest.mark.parametrize("later", [replace(DEPARTMENT, days=300), replace(DEPARTMENT, alternative=())])
async def test_a_reservation_is_decided_anew_once_its_profile_has_changed(ra, later):
    """Between the reservation and the signature a reload took another state of it: that one is signed, under
    another serial, and the first is never heard of again."""
    await by_department(ra)
    await admit(ra, USER, department="経理部")
    away = signed_by(ra, Gone(ra.authority.signer))
    request_id = newest(ra).request_id
    begun = await issuance.submit(away, request_id, actor=USER)
    key = ca.store.find_reservation(look(ra.database), begun.serial).spki
    with pytest.raises(Refusal, match="signed at the moment"):
        await issuance.complete(away, request_id)
    reloaded = having(ra, later, BATCH)
    assert await issuance.recover(reloaded) == 1
    issued = newest(ra)
    assert issued.state is State.ISSUED
    assert issued.serial != begun.serial
    assert ca.store.find_by_serial(look(ra.database), begun.serial) is None
    reserved = ca.store.find_reservation(look(ra.database), issued.serial)
    assert (reserved.version, reserved.spki) == (version_of(later), key)
    (line,) = look(ra.database).rows("SELECT detail FROM audit WHERE action = 'certificate.planned-anew'")
    assert json.loads(line[0]) == {
        "instead_of": begun.serial, "profile": "department",
        "version": version_of(later), "before": version_of(DEPARTMENT),
    }  # fmt: skip


async def test_one_that_has_not_changed_is_signed_as_it_was_recorded(ra):
    """The twin: a reload with another profile beside it."""
    await by_department(ra)
    await admit(ra, USER, department="経理部")
    begun = await issuance.submit(ra, newest(ra).request_id, actor=USER)
    assert await issuance.recover(having(ra, DEPARTMENT)) == 1
    assert newest(ra).serial == begun.serial


async def test_one_that_cannot_be_decided_anew_waits_and_keeps_nobody_else(ra, caplog):
    """Its profile needs a fact by now that is not recorded: said in the log with what to type, and signed
    once it is; the others are signed meanwhile."""
    await admit(ra, USER)
    await admit(ra, "K22222222")
    for request in (newest(ra), store.enrollments_of(look(ra.database), "K22222222")[0]):
        await issuance.submit(ra, request.request_id, actor="test")
    await change_user(ra, "K22222222", {"department": "経理部"}, actor="test")
    await by_department(ra)
    # As if the built-in one were another in this release.
    other = having(ra, DEPARTMENT, replace(CLIENT_PERSON, years=2))
    assert await issuance.recover(other) == 1
    assert newest(ra).state is State.PROCESSING
    assert "sekisho user change K12345678 --department NAME" in caplog.text
    await change_user(ra, USER, {"department": "経理部"}, actor="test")
    assert await issuance.recover(other) == 1
    assert newest(ra).profile == "department"


async def test_only_a_profile_that_there_is(ra):
    """For an organisation one of those for people, for a credential any."""
    for profile in ("none", "client-automated", "batch"):
        with pytest.raises(Refusal) as refused:
            await change_organisation(ra, POLICY_NUMBER, {"profile": profile}, actor="test")
        assert str(refused.value) == "write one of client-person, department"
    await admit(ra, USER, department="d")
    with pytest.raises(Refusal, match="write one of client-automated, client-person, department, batch"):
        await create(ra, USER, actor="test", profile="none")
    (made,) = await create(ra, USER, actor="test", profile="batch")
    assert made.profile == "batch"


async def test_a_profile_that_is_gone_is_named(ra):
    """Serving refuses it before (`gateway/serving/profiling.py`); whatever comes through is told by name."""
    await by_department(ra)
    await admit(ra, USER, department="d")
    with pytest.raises(Refusal, match="there is no profile department any more"):
        await issuance.submit(having(ra), newest(ra).request_id, actor=USER)


async def test_programs_order_the_profile_of_their_credential(tmp_path):
    """The directory offers it, the order names it (draft-ietf-acme-profiles), another one is refused; the
    renewal has it in its state of that day."""
    async with world(tmp_path) as site:
        object.__setattr__(site.server, "ra", having(site.ra, BATCH))
        client = await site.enrolled(profile="batch")
        made = await client.certificate()
        assert made.subject.rfc4514_string() == "CN=K123456780002,O=霞が関商事"
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == [FQDN]
        assert (await client.order(profile="client-automated")).problem == (400, "invalidProfile")
        assert (await client.order(profile="batch")).json["profile"] == "batch"
        object.__setattr__(site.server, "ra", having(site.ra))
        assert (await client.order()).problem == (400, "invalidProfile")


def test_every_fact_says_how_it_is_recorded():
    """An operator who reads the refusal types its last words."""
    for name, fact in FACTS.items():
        typed = fact.record.format(user="K1", organisation="12345678")
        assert typed.startswith("sekisho user" if name.startswith("user.") else "sekisho org"), name


async def test_an_application_is_approved_with_what_its_form_does_not_ask_for(ra):
    """Somebody who applied on a page: the operator adds the department, or the approval is refused whole."""
    await by_department(ra)
    await admit(ra, USER, department="経理部")
    person = Person(POLICY_NUMBER, "年金 花子", "hanako@example.jp")
    number = (await apply_addition(ra, person, channel="online", actor=USER)).number
    with pytest.raises(Refusal) as refused:
        await approve(ra, number, actor="test")
    assert refused.value.code == "profile_unmet"
    made = await approve(ra, number, actor="test", facts={"department": "人事部", "principal": ""})
    assert store.user(look(ra.database), made.user_id).department == "人事部"
