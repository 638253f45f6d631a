"""``enroll.generations``: G5 follows G4 in its second, a distrusted one lets nobody in, its people get
others."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import ca.store
from ca import datadir
from ca.authority import Issuer
from ca.certificates import validity
from ca.errors import ConfigError
from ca.generations.endings import SHORT, endings, full_length_until
from ca.generations.states import Event, State
from ca.profiles import CLIENT_PERSON
from ca.published import store as published
from ca.revocation import CA_COMPROMISE, RevocationStatus
from enroll import crls, generations, scheduler, store
from enroll.jobs import running
from enroll.jobs import store as jobs
from enroll.jst import day_of
from enroll.mail import store as mails
from enroll.operators import actors, asking
from enroll.operators.asking import Done
from enroll.people import applications, register, replacing
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import issuance, renewal, transitions
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import Event as Downloaded
from enroll.settings import DAY
from tests.ca.test_cross import Other
from tests.datadirs import PASSPHRASE, admit, clock_of, delivered, next_generation, open_office
from tests.enroll.operators.test_asking import refused
from tests.looking import look

START = 1_800_000_000
G4, G5 = "CORPORATE-PENSION BUSINESS SERVICE CA-G4", "CORPORATE-PENSION BUSINESS SERVICE CA-G5"


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as opened:
        yield next_generation(opened, G5, active=False)


async def certificate(ra: RegistrationAuthority, user_id: str = "K12345678", **fields: Any) -> Enrollment:
    """Picked up by a new user."""
    await admit(ra, user_id, **fields)
    (request,) = store.enrollments_of(look(ra.database), user_id)
    await issuance.submit(ra, request.request_id, actor=user_id)
    return await in_hand(ra, request.request_id)


async def in_hand(ra: RegistrationAuthority, request_id: str) -> Enrollment:
    """Signed, and downloaded."""
    made = await issuance.complete(ra, request_id)
    await ra.database.write(
        lambda db: transitions.apply(db, ra, request_id, Downloaded.DOWNLOAD, ra.now(), actor=made.user_id)
    )
    return made


def record_of(ra: RegistrationAuthority, made: Enrollment) -> ca.store.CertificateRecord:
    found = ca.store.find_by_serial(look(ra.database), made.serial or "")
    assert found is not None
    return found


def issuer_of(ra: RegistrationAuthority, made: Enrollment) -> str:
    return ra.authority.issuer(record_of(ra, made).issuer_id).common_name


async def change(
    ra: RegistrationAuthority, name: str, event: Event, at: int | None = None, **more: Any
) -> State:
    moment = ra.now() if at is None else at
    return await generations.change(ra, generations.named(ra, name), event, moment, actor="test", **more)


def acts(ra: RegistrationAuthority) -> list[str]:
    found = store.audit_page(look(ra.database), None, 1_000)[::-1]
    return [each["action"] for each in found if each["action"].startswith("ca.")]


async def test_the_next_one_issues_from_its_second_on(ra: RegistrationAuthority) -> None:
    """One second before, certificates are G4's, from then on G5's, whoever was awake; each keeps its own
    chain."""
    at = ra.now() + 30 * DAY
    assert await change(ra, G5, Event.PLAN, at) is State.PLANNED
    clock_of(ra).set(at - 1)
    before = await certificate(ra, "KBEFORE")
    clock_of(ra).set(at)
    after = await certificate(ra, "KAFTER")
    assert [issuer_of(ra, each) for each in (before, after)] == [G4, G5]
    assert ra.authority.current.common_name == G5
    for made, name in ((before, G4), (after, G5)):
        der = record_of(ra, made).der or b""
        assert (
            x509.load_der_x509_certificate(ra.authority.chain_der(der)[1]).subject.rfc4514_string()[3:43]
            == name
        )
    assert acts(ra) == ["ca.planned"]
    await scheduler.tick(ra)
    await scheduler.tick(ra)
    assert acts(ra) == ["ca.planned", "ca.activated"]


async def test_what_is_planned_is_taken_back(ra: RegistrationAuthority) -> None:
    """Before its moment; its day passes, and nothing changes."""
    at = ra.now() + DAY
    await change(ra, G5, Event.PLAN, at)
    assert await change(ra, G5, Event.WITHDRAW) is State.STAGED
    clock_of(ra).set(at + DAY)
    assert issuer_of(ra, await certificate(ra)) == G4
    with pytest.raises(ConfigError, match="is not planned to issue"):
        await change(ra, G5, Event.WITHDRAW)


async def test_it_does_not_come_while_the_clock_is_in_doubt(ra: RegistrationAuthority) -> None:
    """A clock that ran ahead makes nobody issue before the time: no certificate, no page that says so, no
    line."""
    await scheduler.tick(ra)
    at = ra.now() + 30 * DAY
    await change(ra, G5, Event.PLAN, at)
    clock_of(ra).leap(days=30, hours=1)
    assert generations.look(ra).state(generations.named(ra, G5).issuer_id) is State.PLANNED
    assert ra.authority.current.common_name == G4
    await scheduler.tick(ra)
    assert acts(ra) == ["ca.planned"]
    clock_of(ra).leap(days=-30, hours=-1)
    clock_of(ra).set(at)
    await generations.ready(ra)
    assert ra.authority.current.common_name == G5


async def test_a_renewal_crosses_over(ra: RegistrationAuthority) -> None:
    """G4's certificate is renewed into G5's, and is good until its own end."""
    old = await certificate(ra)
    await change(ra, G5, Event.PLAN)
    clock_of(ra).set((old.not_after_at or 0) - 20 * DAY)
    fingerprint = record_of(ra, old).fingerprint or ""
    begun = await renewal.submit(ra, fingerprint, actor="K12345678")
    new = await issuance.complete(ra, begun.request_id)
    assert (issuer_of(ra, new), new.common_name) == (G5, old.common_name)
    status = ca.store.certificate_status(look(ra.database), fingerprint)
    assert status is RevocationStatus.GOOD


async def test_nobody_is_told_to_renew_what_opens_no_renewal(ra: RegistrationAuthority) -> None:
    """No mail of D-30 for a certificate whose issuing CA is trusted no more, and the twin."""
    gone = await certificate(ra)
    await change(ra, G5, Event.PLAN)
    stays = await certificate(ra, "KSTAYS")
    await change(ra, G4, Event.DISTRUST, reason="keyCompromise")
    clock_of(ra).set((gone.not_after_at or 0) - 20 * DAY)
    done = await scheduler.notify(ra, day_of(ra.now()))
    assert done.renewal_30 == 1
    assert store.renewal_of(look(ra.database), stays.serial or "") is not None
    assert store.renewal_of(look(ra.database), gone.serial or "") is None


async def test_retired_until_its_last_certificate_has_ended(ra: RegistrationAuthority) -> None:
    """No new ones, its list goes on; over once its last certificate and a list more have ended, said once."""
    old = await certificate(ra)
    with pytest.raises(ConfigError, match="have another one issue first"):
        await change(ra, G4, Event.RETIRE)
    await change(ra, G5, Event.PLAN)
    assert await change(ra, G4, Event.RETIRE) is State.RETIRED
    assert await generations.end_due(ra) == []
    listed = await crls.publish(ra, generations.named(ra, G4), alone=True)
    assert listed.number > 0
    clock_of(ra).set((old.not_after_at or 0) + 8 * DAY)
    assert await generations.end_due(ra) == []
    clock_of(ra).advance(seconds=1)
    assert await generations.end_due(ra) == [G4]
    assert await generations.end_due(ra) == []
    assert generations.look(ra).state(generations.named(ra, G4).issuer_id) is State.OVER
    assert acts(ra)[-1] == "ca.over"


@pytest.mark.parametrize(
    ("left", "steps"),
    [
        (10 * 365, []),
        (1_099, []),
        (1_090, ["short", "three years"]),
        (366, ["one year", "short"]),
        (92, ["short", "three months"]),
        (-1, []),
    ],
)
def test_when_operators_are_told(left: int, steps: list[str]) -> None:
    """Three years, one year, three months before, and once no certificate gets its full time; none of one
    that has ended: that is no warning."""
    found = endings([("id", "G4", START + left * DAY, True)], START)
    assert sorted(each.step for each in found) == steps
    assert [each.step for each in endings([("id", "G4", START + left * DAY, False)], START)] == [
        each for each in steps if each != SHORT
    ]


def test_a_certificate_gets_its_full_time_until_then() -> None:
    """To the second."""
    last = full_length_until(START)
    assert validity(CLIENT_PERSON, last, START)[1] == validity(CLIENT_PERSON, last)[1] <= START
    assert validity(CLIENT_PERSON, last + 1)[1] > START


async def test_each_end_is_told_once(ra: RegistrationAuthority) -> None:
    """In the log's words, the trail and a mail to the operator, and again for the next step only; by a clock
    in doubt nobody is told."""
    root = datadir.load(ra.database.folder, PASSPHRASE).root
    told = replace(ra, settings=replace(ra.settings, operator_mail="ca@example.jp"))
    assert await generations.warn_of_ends(told, root) == []
    await scheduler.tick(ra)
    clock_of(ra).leap(days=7.1 * 365)
    assert await generations.warn_of_ends(told, root) == []
    clock_of(ra).leap(days=-7.1 * 365)
    clock_of(ra).advance(days=7.1 * 365)
    words = await generations.warn_of_ends(told, root)
    assert sorted(each.split(" ends in ")[0] for each in words) == [
        G4,
        f"the issuing CA {G4}",
        f"the issuing CA {G5}",
    ]
    assert await generations.warn_of_ends(told, root) == []
    assert [each for each in acts(ra) if each == "ca.ending"] == ["ca.ending"] * 3
    letters = [each for each in await delivered(told) if "ca_ending" in each.name]
    assert len(letters) == 3
    assert sum("本来の有効期間より短くなります" in each.body for each in letters) == 1
    clock_of(ra).advance(days=2 * 365)
    assert len(await generations.warn_of_ends(told, root)) == 2


def told_of(ra: RegistrationAuthority) -> dict[str, list[int]]:
    """How many days are left by the mails about ends, by where each stands."""
    found = dict[str, list[int]]()
    for each in mails.listed(look(ra.database)):
        if each["kind"] == "ca_ending":
            shown = mails.shown(look(ra.database), each["id"])
            assert shown is not None
            days = re.findall(r"あと(\d+)日", shown["shown_body"])
            found.setdefault(each["state"], []).extend(map(int, days))
    return {state: sorted(days) for state, days in found.items()}


@pytest.mark.parametrize(("days", "leap"), [(9, 0), (2 * 365, 0), (0, 400)])
async def test_an_end_is_told_in_the_words_of_the_day_on_which_it_leaves(
    ra: RegistrationAuthority, days: int, leap: int
) -> None:
    """While its mail waited days have passed: it says how many are left by then, and where the next step has
    come by then it does not leave. By a clock in doubt it leaves as it was written."""
    root = datadir.load(ra.database.folder, PASSPHRASE).root
    told = replace(ra, settings=replace(ra.settings, operator_mail="ca@example.jp"))
    await scheduler.tick(ra)
    clock_of(ra).advance(days=7.1 * 365)
    await generations.warn_of_ends(told, root)
    (written,) = told_of(ra).values()
    clock_of(ra).advance(days=days)
    clock_of(ra).leap(days=leap)
    left = [each - days for each in written]
    await generations.warn_of_ends(told, root)
    sent = [each for each in await delivered(told) if "ca_ending" in each.name]
    assert sorted(int(n) for each in sent for n in re.findall(r"あと(\d+)日", each.body)) == left
    assert told_of(ra)["sent"] == left
    # Of two issuing CAs, beside the one that gives certificates less than their full time.
    assert len(written) == 3
    assert told_of(ra).get("cancelled", []) == (sorted(written)[:2] if days > 365 else [])


async def test_a_ca_signs_nothing_beyond_its_end(ra: RegistrationAuthority) -> None:
    """Near its end a certificate is as long as the CA lives; after it, none is made, and whoever asks is told
    that it is later."""
    await admit(ra)
    end = generations.named(ra, G4).not_after_at
    clock_of(ra).set(end - DAY)
    await admit(ra, "KLAST")
    (request,) = store.enrollments_of(look(ra.database), "KLAST")
    await issuance.submit(ra, request.request_id, actor="KLAST")
    made = await issuance.complete(ra, request.request_id)
    assert made.not_after_at == end
    await admit(ra, "KLATE")
    clock_of(ra).set(end)
    (request,) = store.enrollments_of(look(ra.database), "KLATE")
    with pytest.raises(Refusal) as refused:
        await issuance.submit(ra, request.request_id, actor="KLATE")
    assert refused.value.code == "issuing_later"


async def test_distrusted(ra: RegistrationAuthority) -> None:
    """Its certificates are no good, list and answers say so of each; what was revoked stays what it was; and
    all of that is taken back by trust, but that it issues."""
    good, gone = await certificate(ra, "KGOOD"), await certificate(ra, "KGONE")
    await change(ra, G5, Event.PLAN)
    other = await certificate(ra, "KOTHER")
    await ra.database.write(lambda db: ca.store.revoke(db, gone.serial or "", 4, ra.now()))
    g4 = generations.named(ra, G4)

    def statuses() -> list[RevocationStatus]:
        prints = [record_of(ra, each).fingerprint or "" for each in (good, gone, other)]
        return [ca.store.certificate_status(look(ra.database), each) for each in prints]

    before = [RevocationStatus.GOOD, RevocationStatus.REVOKED, RevocationStatus.GOOD]
    assert statuses() == before
    listed = await crls.publish(ra, g4, alone=True)
    assert (listed.entries, await crls.due(ra, g4.issuer_id)) == (1, False)
    clock_of(ra).advance(seconds=5)
    at = ra.now()
    assert await change(ra, G4, Event.DISTRUST, reason="keyCompromise") is State.DISTRUSTED
    assert statuses() == [RevocationStatus.DISTRUSTED, RevocationStatus.REVOKED, RevocationStatus.GOOD]
    assert await crls.due(ra, g4.issuer_id)
    assert _listed(ra, g4, await crls.publish(ra, g4, alone=True)) == {good.serial: 2, gone.serial: 4}
    told, _ = published.standing(look(ra.database), g4.issuer_id, good.serial or "")
    assert (told.status, told.revoked_at, told.reason) == (RevocationStatus.REVOKED, at, CA_COMPROMISE)
    assert await change(ra, G4, Event.TRUST) is State.RETIRED
    assert statuses() == before
    assert _listed(ra, g4, await crls.publish(ra, g4, alone=True)) == {gone.serial: 4}


def _listed(ra: RegistrationAuthority, issuer: Issuer, listed: published.RevocationList) -> dict[str, int]:
    data = crls.listfiles.path_of(crls.folder(ra), listed).read_bytes()
    codes = {"cACompromise": 2, "superseded": 4}
    return {
        f"{each.serial_number:x}": codes[
            each.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        ]
        for each in x509.load_der_x509_crl(data)
    }


async def test_the_one_that_issues_is_distrusted(ra: RegistrationAuthority) -> None:
    """Nobody issues then, and whoever asks is told that it is later; nothing is lost."""
    await admit(ra)
    (request,) = store.enrollments_of(look(ra.database), "K12345678")
    await change(ra, G4, Event.DISTRUST, reason="keyCompromise")
    with pytest.raises(Refusal) as refused:
        await issuance.submit(ra, request.request_id, actor="K12345678")
    assert refused.value.code == "issuing_later"
    await change(ra, G5, Event.PLAN)
    await issuance.submit(ra, request.request_id, actor="K12345678")
    assert issuer_of(ra, await issuance.complete(ra, request.request_id)) == G5


async def test_its_people_are_invited_once(ra: RegistrationAuthority) -> None:
    """Each gets two letters in the own language and picks up one of G5's; who has one by now, or was invited
    before, or is disabled, gets none."""
    await certificate(ra)
    await certificate(ra, "KENGLISH", language="en")
    await change(ra, G5, Event.PLAN)
    await change(ra, G4, Event.DISTRUST, reason="keyCompromise")
    clock_of(ra).advance(seconds=60)
    g4 = generations.named(ra, G4)
    assert sorted(replacing.whom(ra, g4).invited) == ["K12345678", "KENGLISH"]
    before = len(await delivered(ra))
    assert await replaced(ra, g4) == {"invited": 2}
    letters = (await delivered(ra))[before:]
    assert len(letters) == 4
    told = [each for each in letters if "issuer_distrusted" in each.name]
    assert sorted(each.subject for each in told) == [
        "[Important] Please get a new client certificate",
        "【重要】（企業年金ビジネスサービス）クライアント証明書の再取得のお願い",
    ]
    assert all(G4 in each.body for each in told)
    again = replacing.whom(ra, g4)
    assert (again.invited, again.waiting, len(await delivered(ra))) == ([], 2, before + 4)
    assert (await refused(replaced(ra, g4))).detail.startswith("nobody is left to be invited")
    newest = store.enrollments_of(look(ra.database), "K12345678")[0]
    assert renewal.invited(look(ra.database), ra.now(), _print_of_g4(ra, "K12345678"))
    await issuance.submit(ra, newest.request_id, actor="K12345678")
    new = await in_hand(ra, newest.request_id)
    assert issuer_of(ra, new) == G5
    followed = replacing.whom(ra, g4)
    assert (followed.invited, followed.waiting, followed.followed) == (
        [],
        1,
        0,
    )  # G4's of the first is revoked
    there = renewal.reissued_as(look(ra.database), ra.now(), _print_of_g4(ra, "K12345678"))
    assert there is not None
    assert there.serial == new.serial


async def test_whom_a_job_no_longer_has_to_invite(ra: RegistrationAuthority) -> None:
    """Each row is looked at again: who was invited since, whoever is disabled, and everybody once the CA is
    trusted again; who has it still proposed is told why it cannot be."""
    for user_id in ("KINVITED", "KDISABLED", "KOPEN"):
        await certificate(ra, user_id)
    await change(ra, G5, Event.PLAN)
    g4 = generations.named(ra, G4)
    whom = replacing.whom(ra, g4)
    trusted = await refused(replaced(ra, g4))
    assert (trusted.code, trusted.field) == ("conflict", "issuer")
    await change(ra, G4, Event.DISTRUST, reason="keyCompromise")
    await applications.reissue(ra, "KINVITED", "expired", actor="test")
    await register.disable_user(ra, "KDISABLED", actor="test")
    number = (await begun(ra, replacing.payload_of(g4, whom)))["job"]
    await running.run(ra, number, "r")
    # All certificates of who is disabled are revoked, so that none is of the CA any more.
    assert jobs.counted(look(ra.database), number) == {"invited": 1, "needless": 2}
    (line,) = jobs.lines(look(ra.database), number, "invited")
    assert (line.subject, line.request_id) == (
        "KOPEN", store.enrollments_of(look(ra.database), "KOPEN")[0].request_id,
    )  # fmt: skip
    await certificate(ra, "KLATE")
    number = (await begun(ra, replacing.payload_of(g4, replacing.Replaced(["KLATE"]))))["job"]
    await change(ra, G4, Event.TRUST)
    await running.run(ra, number, "r")
    assert jobs.counted(look(ra.database), number) == {"needless": 1}


async def begun(ra: RegistrationAuthority, payload: Any) -> Any:
    """A job to invite people, asked for by who has the machine."""
    host = actors.of_account(look(ra.database), "root", ra.now(), host=True)
    done = await asking.ask(ra, host, "ca.reissue", payload)
    assert isinstance(done, Done)
    return done.result


async def replaced(ra: RegistrationAuthority, issuer: Issuer) -> dict[str, int]:
    """What became of those who are left, when the job is done."""
    number = (await begun(ra, replacing.payload_of(issuer, replacing.whom(ra, issuer))))["job"]
    await running.run(ra, number, "r")
    return jobs.counted(look(ra.database), number)


def _print_of_g4(ra: RegistrationAuthority, user_id: str) -> str:
    oldest = store.enrollments_of(look(ra.database), user_id)[-1]
    return record_of(ra, oldest).fingerprint or ""


async def test_a_cross_certificate_in_peoples_files(ra: RegistrationAuthority, tmp_path: Path) -> None:
    """Where the setting names its root it is behind the issuing CA: openssl builds the way up to that root
    by the file alone, and NSS, which is told of that root only, trusts it; else neither does. Nothing else
    changes: what a chain of ours has, and the addresses in the certificate."""
    root = x509.load_der_x509_certificate(ra.authority.current.chain[-1])
    other = Other(at=ra.now() - DAY)
    crossed = replace(ra, authority=replace(ra.authority, crosses=(other.vouch(root),)))
    chosen = replace(crossed, settings=replace(ra.settings, cross_certificates=("OTHER ROOT",)))
    (tmp_path / "other.pem").write_bytes(other.pem)
    request = (await certificate(ra)).request_id
    for each, trusted in ((crossed, False), (chosen, True)):
        file, store_of_nss = tmp_path / f"{trusted}.p12", f"sql:{tmp_path / str(trusted)}"
        token = await issuance.prepare_download(each, request, "p12", "standard", actor="K12345678")
        file.write_bytes((await issuance.download(each, token, request, actor="K12345678")).content)
        opened = ("openssl", "pkcs12", "-in", str(file), "-passin", "pass:p12", "-nokeys")
        for which, name in (("-clcerts", "leaf"), ("-cacerts", "above")):
            (tmp_path / name).write_bytes(ran(*opened, which).stdout)
        assert (tmp_path / "above").read_bytes().count(b"BEGIN CERTIFICATE") == 1 + trusted
        verify = ("openssl", "verify", "-attime", str(ra.now()), "-CAfile", str(tmp_path / "other.pem"))
        verified = ran(*verify, "-untrusted", str(tmp_path / "above"), str(tmp_path / "leaf"))
        assert (verified.returncode == 0) == trusted, verified
        (tmp_path / str(trusted)).mkdir()
        for words in (
            ("certutil", "-N", "-d", store_of_nss, "--empty-password"),
            ("pk12util", "-i", str(file), "-d", store_of_nss, "-K", "", "-W", "p12"),
            (
                "certutil",
                "-A",
                "-d",
                store_of_nss,
                "-n",
                "other",
                "-t",
                "CT,,",
                "-i",
                str(tmp_path / "other.pem"),
            ),
        ):
            done = ran(*words)
            assert done.returncode == 0, done
        name = re.search(rb"^(CPBS \S+ \S+) +u,u,u", ran("certutil", "-L", "-d", store_of_nss).stdout, re.M)
        assert name is not None
        at = f"{datetime.fromtimestamp(ra.now(), UTC):%y%m%d%H%M%SZ}"
        words = ("certutil", "-V", "-d", store_of_nss, "-u", "C", "-b", at, "-n", name[1].decode())
        assert (ran(*words).returncode == 0) == trusted
    der = record_of(ra, await certificate(chosen, "KOTHER")).der or b""
    assert chosen.authority.chain_der(der) == (der, ra.authority.current.der)


def ran(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, capture_output=True, timeout=60, check=False)
