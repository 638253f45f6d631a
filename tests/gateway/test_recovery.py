"""A database that was put back from a copy is brought up to its journal, and what is lost is named."""

import re
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import ca.store
from ca import emergency
from ca.errors import ConfigError
from ca.keys import from_pkcs8, generate_pkcs8, spki
from ca.sealing import open_vaults
from enroll import crls, replaying, store
from enroll.acme import credentials
from enroll.acme import store as acme
from enroll.certificates import store as certificates
from enroll.hooks import endpoints
from enroll.hooks import store as hooks
from enroll.operators import store as operators
from enroll.operators.roles import Role
from enroll.operators.states import State as Decision
from enroll.people import register
from enroll.requests import issuance, opening
from enroll.requests.states import State
from enroll.requests.transitions import end_certificate, hold_certificate
from gateway.running.metrics import MEANINGS
from gateway.serving import checking, recovery
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.database import open_database
from gateway.serving.deployment import SCHEMAS
from gateway.serving.settings.running import Storage
from gateway.web import sessions
from gateway.web import store as web
from tests.datadirs import PASSPHRASE, admit, clock_of, open_office
from tests.looking import look

USER, LATER = "K12345678", "K87654321"


def copied(data, to):
    """Only the database, as a copy of a running one has it: its log of writes with it."""
    to.mkdir()
    for path in data.glob("sekisho.db*"):
        shutil.copy(path, to)


def put_back(copy, data):
    for path in data.glob("sekisho.db*"):
        path.unlink()
    for path in copy.iterdir():
        shutil.copy(path, data)


@asynccontextmanager
async def older(tmp_path):
    """The office of the test, its database put back; nothing is compared yet."""
    put_back(tmp_path / "copy", tmp_path / "data")
    kept = recovery.journal_of(tmp_path / "data")
    async with open_office(tmp_path, compare=False) as ra:
        yield ra, kept


def drawn(db, ra, user_id=USER):
    return opening.draw_request(
        db, ra, store.user(db, user_id), "addition", profile="client-person", door="page"
    )


async def issued(ra, user_id=USER):
    """A certificate by the pages."""
    request = await ra.database.write(lambda db: drawn(db, ra, user_id))
    await issuance.submit(ra, request.request_id, actor=user_id)
    return await issuance.complete(ra, request.request_id)


async def issued_to_a_program(ra):
    key = spki(from_pkcs8(generate_pkcs8("ec-p256")).public_key())
    request = await ra.database.write(lambda db: drawn(db, ra))
    await ra.database.write(
        lambda db: issuance.begin_for_client(db, ra, request, key, (), "client-person", actor="acme:test")
    )
    return await issuance.complete(ra, request.request_id)


def add_session(db, ra, token):
    at = ra.now()
    row = {
        "token_hash": token, "site": "service", "subject": USER, "fingerprint": "", "data": "{}",
        "created_at": at, "seen_at": at, "ends_at": at + 3_600, "password_mark": "", "address": "",
        "browser": "", "opened_by": "",
    }  # fmt: skip
    web.add_session(db, row)


def unsound(data):
    """What `sekisho db check` says of it, whose it is included."""
    (data / FILE_NAME).write_text(toml_of(Config()))
    kept = recovery.journal_of(data)
    open_database(data, Storage(), SCHEMAS, ca_id=kept.ca, kept=kept).close()
    return [(each.check, each.what) for each in checking.troubles(data)]


def status(ra, serial):
    return ca.store.find_by_serial(look(ra.database), serial).status


async def test_a_replay_brings_back_all_that_must_not_go_backwards(tmp_path):
    """Revoked is revoked, held is held, numbers go on, sessions and credentials have ended; certificates
    that were issued since are in the register, and their holders are listed."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        await admit(ra, "K00000001")
        await admit(ra, "K00000002")
        ends, stays, waits = [await issued(ra) for _ in range(3)]
        begun = await ra.database.write(lambda db: drawn(db, ra))
        await issuance.submit(ra, begun.request_id, actor=USER)
        open_still = await ra.database.write(lambda db: drawn(db, ra))
        await ra.database.write(lambda db: add_session(db, ra, "s" * 64))
        kid = (await credentials.create(ra, "K00000002", actor="test"))[0].kid
        listed = replace(ra, settings=replace(ra.settings, webhook_hosts=("hooks.example.jp",)))
        for name in ("stopped", "leaked", "goes-on"):
            hook = {"name": name, "url": "https://hooks.example.jp/", "events": ["*"]}
            await endpoints.add(listed, hook, "test", True)
        issuer = ra.authority.current
        await crls.publish(ra, issuer)
        copied(tmp_path / "data", tmp_path / "copy")

        clock_of(ra).advance(seconds=60)
        await ra.database.write(lambda db: end_certificate(db, ra, ends.serial, 1, ra.now(), actor="x"))
        await ra.database.write(lambda db: hold_certificate(db, waits.serial, ra.now(), actor="x"))
        finished = await issuance.complete(ra, begun.request_id)
        by_program = await issued_to_a_program(ra)
        downloaded = await issued(ra)
        await issuance.submit(ra, open_still.request_id, actor=USER)
        late = await issuance.complete(ra, open_still.request_id)
        await admit(ra, LATER)
        stranger = await issued(ra, LATER)
        await crls.publish(ra, issuer)
        last = (await crls.publish(ra, issuer)).number
        await sessions.end_all(ra, USER, actor=USER)
        await credentials.withdraw(ra, kid, actor="test")
        await ra.database.write(lambda db: endpoints.stop(db, ra, "stopped", "operator", by="test"))
        await endpoints.rotate(ra, {"name": "leaked", "at_once": True}, "test", True)
        await register.disable_user(ra, "K00000001", actor="test")
        numbers = {u: store.user(look(ra.database), u).last_number for u in (USER, LATER)}
        prints = {
            each.serial: ca.store.find_by_serial(look(ra.database), each.serial).fingerprint
            for each in (finished, by_program, downloaded, late, stranger)
        }
        seen = look(ra.database)
        assert status(ra, ends.serial) == "revoked"

    async with older(tmp_path) as (ra, kept):
        assert status(ra, ends.serial) == "issued"
        with pytest.raises(ConfigError) as refused:
            recovery.compare(tmp_path / "data", kept, ra.database)
        assert "the database is older than its journal" in str(refused.value)
        assert str(refused.value).endswith(f"sekisho restore replay --data {tmp_path / 'data'}")
        shutil.rmtree(tmp_path / "data" / "crls")  # which the copy did not have
        done = recovery.replay(tmp_path / "data", kept, ra)
        seen = look(ra.database)
        assert [status(ra, each.serial) for each in (ends, stays, waits)] == ["revoked", "issued", "held"]
        assert store.enrollment_of(seen, ends.serial).state is State.REVOKED
        assert {s: ca.store.find_by_serial(seen, s).fingerprint for s in prints} == prints
        assert [status(ra, s) for s in prints] == ["issued"] * 4 + ["revoked"]
        # Whose they are has come back with them: an organisation's list has them.
        wanted = certificates.Wanted(policy_number=store.user(seen, USER).policy_number)
        listed = certificates.page(seen, wanted, "newest", ra.now(), (), None, 50)
        assert {*prints} - {stranger.serial} <= {each["serial"] for each in listed}
        assert {each["user_id"] for each in listed} == {USER}
        states = [store.enrollment_of(seen, each.serial).state for each in (finished, by_program, late)]
        assert states == [State.ISSUED, State.PICKED_UP, State.ISSUED]
        assert store.enrollment(seen, late.request_id).request_id == open_still.request_id
        assert store.user(seen, USER).last_number == numbers[USER]
        assert web.session(seen, "s" * 64) is None
        assert acme.credential(seen, kid).withdrawn_at is not None
        assert store.user(seen, "K00000001").disabled_at is not None
        assert (await crls.publish(ra, issuer)).number == last + 1
        # What is lost, by name.
        report = done.report
        lost = {each["serial"]: (each["user_id"], each["outcome"]) for each in report.certificates}
        assert lost == {
            finished.serial: (USER, "finished"),
            by_program.serial: (USER, "in the register again"),
            downloaded.serial: (
                USER,
                "in the register again: good where it was downloaded; else sekisho request reissue",
            ),
            late.serial: lost[downloaded.serial],
            stranger.serial: (LATER, "revoked: nobody knows its holder any more"),
        }
        assert (report.revoked, report.held) == ([ends.serial], [waits.serial])
        assert (report.users, report.credentials, done.sessions) == ([LATER], [kid], 1)
        assert report.lists == {issuer.issuer_id: last}
        states = {each.name: each.state for each in hooks.endpoints(seen)}
        assert (states, report.endpoints) == (
            {"stopped": "stopped", "leaked": "stopped", "goes-on": "active"},
            ["stopped", "leaked"],
        )
        assert unsound(tmp_path / "data") == []
        # And once more: nothing is left to do.
        assert recovery.compare(tmp_path / "data", kept, ra.database) == "level"
        assert recovery.replay(tmp_path / "data", kept, ra).lines == 0

    # Put back once more, older than the replay itself: what was carried out then is carried out again.
    async with older(tmp_path) as (ra, kept):
        again = recovery.replay(tmp_path / "data", kept, ra)
        assert again.report.revoked == [ends.serial]
        assert {s: ca.store.find_by_serial(look(ra.database), s).fingerprint for s in prints} == prints
        assert store.user(look(ra.database), USER).last_number == numbers[USER]


async def test_a_copy_whose_journal_is_lost_is_sound(tmp_path):
    """What `restore backup` does without one: lists go on at a number that none had, and until the next one
    is made nothing is said of that. One that ends before it begins is."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        await crls.publish(ra, ra.authority.current)
        recovery.go_on_without(ra)
        assert unsound(tmp_path / "data") == []
        ends = "UPDATE crls SET this_update_at = 1, digest = 'd'"
        await ra.database.write(lambda db: db.execute(ends))
        assert [check for check, _ in unsound(tmp_path / "data")] == ["list-dates"]


async def test_a_changed_password_does_not_come_back(tmp_path):
    """The old login password was ended: after a replay neither opens anything, and the user is named."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        before = store.user(look(ra.database), USER).password_hash
        copied(tmp_path / "data", tmp_path / "copy")
        await ra.database.write(lambda db: store.set_password(db, USER, before, "$argon2id$other"))
    async with older(tmp_path) as (ra, kept):
        assert store.user(look(ra.database), USER).password_hash == before
        assert recovery.replay(tmp_path / "data", kept, ra).report.passwords == [USER]
        assert store.user(look(ra.database), USER).password_hash not in (before, "$argon2id$other")
        written = store.audit_lines(look(ra.database), 0, 1_000)
        assert [each.subject for each in written if each.action == "password.replayed"] == [USER]


async def test_what_nobody_was_told_of_takes_no_password_and_no_credential(tmp_path):
    """A line is written before its commit, which a crash prevents: whoever was changing a password, or
    opening an account, and was not answered goes on with what he has. In a replay he would not (above)."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        made = (await credentials.create(ra, USER, actor="operator:root"))[0]
        before = store.user(look(ra.database), USER).password_hash
        copied(tmp_path / "data", tmp_path / "copy")

        def both(db):
            store.set_password(db, USER, before, "$argon2id$other")
            db.note("credential.bound", kid=made.kid, at=ra.now())

        await ra.database.write(both)
    async with older(tmp_path) as (ra, kept):
        last = sorted(kept.folder.glob("*.jsonl"))[-1]
        lines = last.read_bytes().splitlines(keepends=True)
        assert lines[-1].startswith(b'{"done":')
        last.write_bytes(b"".join(lines[:-1]))
        recovery.bring_level(tmp_path / "data", kept, ra)
        assert recovery.compare(tmp_path / "data", kept, ra.database) == "level"
        assert store.user(look(ra.database), USER).password_hash == before
        assert acme.credential(look(ra.database), made.kid).withdrawn_at is None


async def test_an_emergency_stop_does_not_end_by_a_copy(tmp_path):
    """It was on when the database was lost: the register knows by the journal, and its file is put right."""
    async with open_office(tmp_path) as ra:
        copied(tmp_path / "data", tmp_path / "copy")
        await ra.database.write(lambda db: ca.store.note_stop(db, 1, True, "theft", 5))
    async with older(tmp_path) as (ra, kept):
        keys = open_vaults(tmp_path / "data" / "vault.json", PASSPHRASE).keys
        assert not emergency.read(tmp_path / "data", keys, ra.database.read_now(ca.store.stop_number)).on
        recovery.replay(tmp_path / "data", kept, ra, keys)
        known = ra.database.read_now(ca.store.stop_number)
        assert emergency.read(tmp_path / "data", keys, known) == emergency.Stop(True, "theft", 5, 1)


def test_whatever_can_be_carried_out_is_noted_somewhere():
    """A note that a change of a store has left out would be missed when the database is lost, not before."""
    root = Path(recovery.__file__).parents[2]
    code = "\n".join(
        path.read_text("utf-8")
        for room in ("ca", "enroll", "gateway")
        for path in (root / room).rglob("*.py")
    )
    noted = set(re.findall(r'note\(\s*"([a-z.-]+)"', code))
    noted |= set(re.findall(r'_noted\(\s*(?:\*\()?db, \w+, "([a-z.-]+)"', code))
    assert set(replaying._HANDLERS) <= noted


def test_every_figure_has_its_meaning():
    """One without makes all of /metrics an error, and perhaps only once there is something to tell."""
    root = Path(recovery.__file__).parents[1]
    names = set()
    for path in root.rglob("*.py"):
        names |= set(re.findall(r'\("(sekisho_[a-z_]+)", [{n]', path.read_text("utf-8")))
    assert "sekisho_backup_age_seconds" in names
    assert {name for name in names if name not in MEANINGS} == set()


async def test_an_operator_who_has_ended_does_not_come_back(tmp_path):
    """Ended is ended, a role or network that was taken away stays away, a used code stays used, what was
    decided stays decided, and an emergency is still to be looked at; who was added since is named."""
    async with open_office(tmp_path) as ra:

        def before(db):
            for name in ("gone", "demoted"):
                operators.add(db, operator(name, "approver", "auditor"))
            operators.add(db, replace(operator("hr", "registrar"), networks=("192.0.2.0/24", "2001:db8::7")))
            operators.add_code(db, 1, "c" * 64, 1, 2**40)
            operators.add_certificate(db, 1, "ab", "f" * 64, 1)
            operators.add_passkey(db, operators.Passkey("cred", 1, b"k", 0, "", 1))
            for kind in ("decided", "open"):
                operators.propose(db, proposal(kind))

        def since(db):
            found = operators.named(db, "gone")
            operators.change(db, found, replace(found, ended_at=9))
            found = operators.named(db, "demoted")
            operators.change(db, found, replace(found, roles=(Role.AUDITOR,)))
            found = operators.named(db, "hr")
            operators.change(db, found, replace(found, networks=("192.0.2.7",)))
            operators.end_credentials(db, 1, 9)
            operators.add(db, operator("new", "desk"))
            decided = {"decider": "x", "decided_by": "x", "at": 9, "note": "", "done_at": 9}
            assert operators.decide(db, 1, Decision.APPROVED, **decided)
            glass = operators.Glass(0, "root", "account:root", Role.APPROVER, "night", 9, 10, 11)
            operators.add_glass(db, glass)

        await ra.database.write(before)
        copied(tmp_path / "data", tmp_path / "copy")
        await ra.database.write(since)
    async with older(tmp_path) as (ra, kept):
        assert operators.named(look(ra.database), "gone").ended_at is None
        report = recovery.replay(tmp_path / "data", kept, ra).report
        seen = look(ra.database)
        assert report.operators == ["new"]
        assert operators.named(seen, "gone").ended_at == 9
        assert operators.named(seen, "demoted").roles == (Role.AUDITOR,)
        assert operators.named(seen, "hr").networks == ("192.0.2.7",)
        assert operators.of_certificate(seen, "f" * 64) is None
        assert operators.passkeys(seen, 1) == []
        assert await ra.database.write(lambda db: operators.use_code(db, "c" * 64, 10)) is None
        assert [operators.proposal(seen, n).state for n in (1, 2)] == ["approved", "pending"]
        assert [each.reason for each in operators.glasses(seen)] == ["night"]


def operator(name, *roles):
    return operators.Operator(0, name, name, "person", tuple(map(Role, roles)), "", name, name, 1, "test")


def proposal(kind):
    return operators.Proposal(0, kind, "", {}, {}, "", "account:x", "x", "", 1, 2**40)
