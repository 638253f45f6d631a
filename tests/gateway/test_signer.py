"""The signer as an attacker's target: whoever owns a worker asks it, over its socket and by the register."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509

import ca.store
from ca import datadir, emergency, listfiles
from ca.certificates import to_be_signed, validity
from ca.crls import fill, frame_of
from ca.errors import ConfigError
from ca.files import Snapshot, make_private_directory
from ca.generations import store as generations
from ca.generations.states import Row
from ca.hardening import harden
from ca.keys import generate, spki
from ca.memory import FILE, Memory, Seen, seen_in
from ca.naming import NOTHING, Naming
from ca.profiles import CLIENT_PERSON, CLIENTS, CRL_LIFETIME, ISSUING, SERVER, versions
from ca.sealing import BrokenSeal, Vaults, open_vaults
from ca.signerlink import MOST, SOCKET, Message, RemoteSigner, address_in
from ca.signing import NoSignature, SignatureRefused, ToSign, signature
from ca.store import Reservation
from ca.tokens import no_tokens
from enroll import crls, store
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from enroll.requests.states import State
from gateway.serving import profiling
from gateway.serving.config import FILE_NAME, parse_config
from gateway.serving.deployment import open_deployment, reopened
from gateway.serving.signing.accepted import Accepted
from gateway.serving.signing.desk import Desk
from gateway.serving.signing.door import answer_all
from gateway.serving.signing.guardian import Guardian
from gateway.serving.signing.places import Places
from gateway.serving.signing.tally import Tally
from tests.datadirs import PASSPHRASE, admit, clock_of, open_office, revoke_many
from tests.looking import look
from tests.started import forked

PER_HOUR = 3


@dataclass
class Scene:
    ra: RegistrationAuthority
    desk: Desk
    vaults: Vaults
    data: Path
    seconds: list[float]

    def planned(self, cn: str = "K12345678") -> Reservation:
        key = spki(generate("ec-p256").public_key())
        return self.ra.authority.plan("client-person", cn, (), key, None, self.ra.now(), os.urandom(16))

    async def reserved(self, reservation: Reservation) -> Reservation:
        await self.ra.database.write(lambda db: ca.store.reserve(db, reservation))
        return reservation

    async def ask(self, reservation: Reservation, **changed: object) -> Message:
        tbs = base64.b64encode(reservation.tbs).decode()
        asked: Message = {"ask": "sign", "purpose": "certificate", "key": reservation.issuer_id, "tbs": tbs}
        return await self.desk.answer(asked | {"serial": reservation.serial} | changed)

    async def drawn(self, content: bytes | None = None, number: int = 1) -> Path:
        """A draft of a list in its folder."""
        if content is None:
            now = self.ra.now()
            certificate = self.ra.authority.current.certificate
            content = b"".join(fill(frame_of(certificate, number, now, now + CRL_LIFETIME), ()).chunks)
        folder = listfiles.folder_of(self.ra.database.folder)
        make_private_directory(folder)
        path = folder / f".draft-{os.urandom(8).hex()}"
        path.write_bytes(content)
        return path

    async def ask_list(self, file: str) -> Message:
        key = self.ra.authority.current.issuer_id
        return await self.desk.answer({"ask": "sign", "purpose": "list", "key": key, "file": file})


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_office(tmp_path) as ra:
        data, seconds = tmp_path / "data", [1_000.0]
        vaults = open_vaults(data / "vault.json", PASSPHRASE)
        desk = Desk(data, vaults, ra.clock, Tally(), PER_HOUR, monotonic=lambda: seconds[0])
        yield Scene(ra, desk, vaults, data, seconds)
        desk.close()


@asynccontextmanager
async def linked(scene: Scene, allowed: set[int] | None = None) -> AsyncIterator[RemoteSigner]:
    """The desk behind a real socket."""
    directory = scene.data / "run"
    make_private_directory(directory)
    with socket.socket(socket.AF_UNIX) as listening, address_in(directory) as address:
        listening.bind(address)
        listening.listen()
        task = asyncio.create_task(answer_all(scene.desk, listening, allowed or {os.getuid()}))
        try:
            yield RemoteSigner(directory)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_who_holds_the_gateways_vault_opens_no_key(scene: Scene) -> None:
    """A worker has everything that `unlock` hands out, and the files; the twin has the other vault."""
    told = await scene.desk.answer({"ask": "unlock"})
    assert told == {"vault": base64.b64encode(scene.vaults.gateway.handed_over()).decode()}
    files = sorted((scene.data / "ca").glob("*.key"))
    assert len(files) == 2
    for file in files:
        purpose = f"key ca/{file.stem}"
        with pytest.raises(BrokenSeal):
            scene.vaults.gateway.open(purpose, file.read_bytes())
        assert scene.vaults.keys.open(purpose, file.read_bytes())


async def test_a_reservation_is_signed(scene: Scene) -> None:
    """The twin of all that follows: what is reserved and within its profile gets a signature, as often as
    asked until there is a certificate."""
    reservation = await scene.reserved(scene.planned())
    async with linked(scene) as signer:
        key = scene.ra.authority.current.certificate.public_key()
        asked = ToSign(reservation.issuer_id, "certificate", reservation.tbs, reservation.serial)
        for _ in range(2):
            assert await signature(signer, key, asked)  # type: ignore[arg-type]


async def test_what_is_not_reserved_is_not_signed(scene: Scene) -> None:
    """Not at all, with other bytes than those recorded, or when there is a certificate already."""
    reservation, other = scene.planned(), scene.planned("OTHER001")
    refused = {"refused": f"there is no reservation for it (serial {reservation.serial!r})"}
    assert await scene.ask(reservation) == refused
    await scene.reserved(reservation)
    assert await scene.ask(reservation, tbs=base64.b64encode(other.tbs).decode()) == refused
    assert await scene.ask(reservation, tbs="") == refused
    assert "signature" in await scene.ask(reservation)
    der = scene.ra.authority.certify_now(reservation)
    await scene.ra.database.write(lambda db: ca.store.store_issued(db, reservation.serial, der, 1))
    assert await scene.ask(reservation) == refused
    assert await scene.ask(reservation, tbs="") == refused


async def test_a_reservation_that_an_attacker_wrote_gets_no_ca_and_no_host(scene: Scene) -> None:
    """Who owns a worker writes the register: the profile holds all the same, by the signer's own reading."""
    now, issuer = scene.ra.now(), scene.ra.authority.current.certificate
    key = generate("ec-p256")
    for row, names in ((ISSUING, ()), (SERVER, ("bank.example",))):
        for said in (row.name, "client-person", "client-automated"):
            planned = scene.planned()
            period = validity(row, now)
            serial = int(planned.serial, 16)
            subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "K12345678")])
            tbs = to_be_signed(row, subject, key.public_key(), names, serial, period, issuer)
            mine = replace(
                planned, tbs=tbs, profile=said, names=names, spki=spki(key.public_key()),
                not_before_at=period[0], not_after_at=period[1], version=versions(CLIENTS).get(said, ""),
            )  # fmt: skip
            answer = await scene.ask(await scene.reserved(mine))
            assert "profile" in answer["refused"], (row.name, said)
            assert "signature" not in answer


async def test_of_ten_years_is_not_signed(scene: Scene) -> None:
    """Nor a certificate for longer than its profile has."""
    planned, issuer = scene.planned(), scene.ra.authority.current.certificate
    period = (planned.not_before_at, planned.not_after_at + 86_400)
    key = generate("ec-p256").public_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "K12345678")])
    tbs = to_be_signed(CLIENT_PERSON, subject, key, (), int(planned.serial, 16), period, issuer)
    mine = await scene.reserved(replace(planned, tbs=tbs, spki=spki(key), not_after_at=period[1]))
    assert await scene.ask(mine) == {"refused": "the certificate breaks its profile: validity"}


def _accepted(scene: Scene, *tables: str) -> Desk:
    """The desk by a configuration with these profiles."""
    (scene.data / FILE_NAME).write_text("\n".join(tables))
    vaults, seconds = scene.vaults, scene.seconds
    scene.desk.close()
    scene.desk = Desk(
        *(scene.data, vaults, scene.ra.clock, Tally(), PER_HOUR, Accepted(scene.data)),
        monotonic=lambda: seconds[0],
    )
    return scene.desk


_DEPARTMENT = """
[profile.department]
like = "client-person"
years = 1
subject = { O = "霞が関商事", OU = { field = "user.department" } }
"""
_SAID = Naming((("O", "霞が関商事"), ("OU", "経理部")))


def _by(scene: Scene, tables: str, profile: str, naming: Naming) -> Reservation:
    """A reservation as a registration authority with these profiles makes it."""
    authority = replace(scene.ra.authority, profiles=parse_config(tables).profiles)
    key = spki(generate("ec-p256").public_key())
    return authority.plan(profile, "K12345678", (), key, None, scene.ra.now(), os.urandom(16), naming)


async def test_an_operators_profile_is_signed_by(scene: Scene) -> None:
    """The twin of the following two."""
    _accepted(scene, _DEPARTMENT)
    planned = _by(scene, _DEPARTMENT, "department", _SAID)
    assert "signature" in await scene.ask(await scene.reserved(planned))


async def test_a_foreign_profile_is_not_signed(scene: Scene) -> None:
    """One that the configuration does not have, whatever the reservation says of its state; and one that it
    has, with another state of it, waits until whoever decided knows it."""
    _accepted(scene, _DEPARTMENT)
    foreign = _DEPARTMENT.replace("department", "mine", 1)
    planned = _by(scene, foreign, "mine", _SAID)
    assert await scene.ask(await scene.reserved(planned)) == {
        "refused": "the profile mine is not signed for here"
    }
    longer = _by(scene, _DEPARTMENT.replace("years = 1", "years = 9"), "department", _SAID)
    assert "the reservation was decided" in (await scene.ask(await scene.reserved(longer)))["later"]
    # And when it says that it is of ours: the dates are looked at.
    own = _by(scene, _DEPARTMENT, "department", _SAID).version
    lied = replace(
        _by(scene, _DEPARTMENT.replace("years = 1", "years = 9"), "department", _SAID), version=own
    )
    assert await scene.ask(await scene.reserved(lied)) == {
        "refused": "the certificate breaks its profile: validity"
    }


@pytest.mark.parametrize(
    "naming",
    [
        Naming((("O", "桜田門産業"), ("OU", "経理部"))),
        Naming((("OU", "経理部"),)),
        Naming((("O", "霞が関商事"), ("OU", "x" * 65))),
        Naming(_SAID.subject, (("upn", "administrator@corp.example.jp"),)),
        NOTHING,
    ],
)
async def test_a_foreign_subject_is_not_signed(scene: Scene, naming: Naming) -> None:
    """Whatever of it a worker has put into the register: another text than the profile's, less, more."""
    _accepted(scene, _DEPARTMENT)
    planned = _by(scene, _DEPARTMENT, "department", naming)
    assert await scene.ask(await scene.reserved(planned)) == {
        "refused": "the certificate breaks its profile: subject or names"
    }
    # And a good reservation for bytes that say it.
    lied = replace(planned, naming=_SAID, serial=f"4{planned.serial[1:]}")
    refused = (await scene.ask(await scene.reserved(replace(lied, serial="4a" * 16))))["refused"]
    assert refused.startswith("the certificate breaks its profile:")


async def test_profiles_are_the_signers_own_to_read(scene: Scene) -> None:
    """A question brings none along. A reload has it read the file, a bad one changes nothing, and a signer
    that takes a dead one's place goes on by what that one had."""
    desk = _accepted(scene, _DEPARTMENT)
    (scene.data / FILE_NAME).write_text(_DEPARTMENT.replace("years = 1", "years = 2"))
    planned = await scene.reserved(_by(scene, _DEPARTMENT, "department", _SAID))
    assert "signature" in await scene.ask(planned, profiles={"department": {"years": 9}})
    (scene.data / FILE_NAME).write_text("[profile.department]\nlike = 'root'")
    assert "profile.department.like" in (await desk.answer({"ask": "profiles"}))["refused"]
    assert "signature" in await scene.ask(planned)
    later = _DEPARTMENT.replace("years = 1", "years = 2")
    (scene.data / FILE_NAME).write_text(later)
    told = await desk.answer({"ask": "profiles", "department": "x"})
    assert told == {"profiles": versions(parse_config(later).profiles)}
    assert "later" in await scene.ask(planned)
    assert "signature" in await scene.ask(await scene.reserved(_by(scene, later, "department", _SAID)))
    (scene.data / FILE_NAME).write_text("not TOML")
    accepted = desk._accepted
    assert accepted is not None
    with forked(lambda: int(accepted.config().profiles["department"].years != 2)) as child:
        assert child.wait() == 0


async def test_a_signer_comes_back_while_somebody_writes_the_settings(scene: Scene) -> None:
    """Whatever stands in the file: its keys are where they were, as its profiles are."""
    (scene.data / FILE_NAME).write_text("[profile.")
    places = Places(scene.data, scene.vaults.keys, no_tokens())
    issuer = scene.ra.authority.current
    assert places.issuer(issuer.issuer_id).certificate == issuer.certificate


async def test_whoever_serves_and_the_signer_have_the_same_profiles(scene: Scene) -> None:
    """A start and a reload see to it, each by its own reading of the file; else nothing changes."""
    _accepted(scene, "")
    profiles = parse_config(_DEPARTMENT).profiles
    async with linked(scene) as signer:
        (scene.data / FILE_NAME).write_text(_DEPARTMENT)
        await asyncio.to_thread(profiling.hand_over, signer, profiles)
        assert "signature" in await scene.ask(
            await scene.reserved(_by(scene, _DEPARTMENT, "department", _SAID))
        )
        (scene.data / FILE_NAME).write_text(_DEPARTMENT.replace("years = 1", "years = 2"))
        with pytest.raises(ConfigError, match=r"has read other profiles .*; again: sekisho reload"):
            await asyncio.to_thread(profiling.hand_over, signer, profiles)
        (scene.data / FILE_NAME).write_text("[profile.x]")
        with pytest.raises(ConfigError, match=r"other profiles than these \(.*profile\.x\.like"):
            await asyncio.to_thread(profiling.hand_over, signer, profiles)
    (scene.data / "run" / SOCKET).unlink()
    with pytest.raises(ConfigError, match=r"does not take the profiles \(.*; again: sekisho reload"):
        profiling.hand_over(RemoteSigner(scene.data / "run"), profiles)


async def test_only_what_can_be_asked_is_answered(scene: Scene) -> None:
    """Other purposes, other keys, other questions, and what is no question."""
    reservation = await scene.reserved(scene.planned())
    for purpose in ("own", "", None, 7, ["certificate"]):
        assert "nothing is signed here for" in (await scene.ask(reservation, purpose=purpose))["refused"]
    assert (await scene.ask(reservation, key="00"))["refused"] == "there is no issuer '00'"
    assert (await scene.ask(reservation, tbs="*"))["refused"] == "what is to be signed is no base64"
    assert (await scene.ask(reservation, serial=None))["refused"].startswith("there is no reservation")
    for odd in ({}, {"ask": "files"}, {"ask": ["sign"]}, {"sign": 1}):
        assert await scene.desk.answer(odd) == {"refused": "nobody can ask that"}


def test_the_ceiling_is_there_after_a_restart(tmp_path: Path) -> None:
    """Counted in a file, too: who has it started again has no other hour's worth. After the machine was
    started anew, or its clock set, what was signed counts as signed just now."""
    path, now, wall = tmp_path / "signer" / "tally", time.monotonic(), time.time()
    first = Tally(path, lambda: wall)
    for _ in range(3):
        first.count(now)
    again = Tally(path, lambda: wall + 1)
    assert (again.within_the_hour(now), again.within_the_hour(now + 3_700)) == (3, 0)
    booted = Tally(path, lambda: wall + 100_000)
    assert (booted.within_the_hour(now), booted.within_the_hour(now + 3_400)) == (3, 3)
    # What is written over the copy meanwhile changes nothing for whoever counts.
    path.write_bytes(bytes(len(path.read_bytes())))
    assert booted.within_the_hour(now) == 3
    (tmp_path / "full").symlink_to("/proc")
    with pytest.raises(ConfigError, match=r"full/tally cannot be written \(.*\); see: ls -l"):
        Tally(tmp_path / "full" / "tally")


def test_a_memory_goes_on_from_whichever_place_is_whole(scene: Scene, tmp_path: Path) -> None:
    """Two places in turn: one that is cut short takes nothing away; a file of another's is said to be one."""
    path, keys = tmp_path / "signer" / "memory", scene.vaults.keys
    memory = Memory(path, keys)
    for number in (1, 2, 3):
        memory.keep(Seen(turns=number))
    memory.close()
    assert seen_in(path, keys) == Memory(path, keys).seen == Seen(turns=3)
    content = bytearray(path.read_bytes())
    content[4_096 + 40] ^= 1  # the third one, in the second place
    path.write_bytes(content)
    assert Memory(path, keys).seen == Seen(turns=2)
    with pytest.raises(ConfigError, match="was altered or is another directory's"):
        Memory(path, scene.vaults.gateway)
    path.write_bytes(b"\0" * 8_192)
    assert Memory(path, keys).seen == Seen()


async def test_no_more_than_the_ceiling_in_an_hour(scene: Scene) -> None:
    """What exceeds it waits ("later"); an hour later it is signed. Who kills the signer gains nothing."""
    for _ in range(PER_HOUR):
        assert "signature" in await scene.ask(await scene.reserved(scene.planned()))
        scene.seconds[0] += 60
    one_more = await scene.reserved(scene.planned())
    said = {"later": "3 certificates were signed within the hour (signer.per_hour)"}
    assert await scene.ask(one_more) == said
    tally = scene.desk.tally
    assert tally.within_the_hour(scene.seconds[0]) == PER_HOUR
    scene.seconds[0] = 1_000 + 3_540
    assert await scene.ask(one_more) == said
    scene.seconds[0] += 60
    assert "signature" in await scene.ask(one_more)
    # Memory that a process leaves behind when it is killed.
    with forked(lambda: tally.count(scene.seconds[0]) or 0) as child:
        assert child.wait() == 0
    assert tally.within_the_hour(scene.seconds[0]) == PER_HOUR + 1


async def test_nothing_is_signed_during_the_emergency_stop(scene: Scene) -> None:
    """No certificate and no list; and an attacker cannot take it back by writing or deleting its file."""
    reservation, draft = await scene.reserved(scene.planned()), await scene.drawn()
    keys, file = scene.vaults.keys, scene.data / "ca/stop.sealed"
    running = file.read_bytes()
    emergency.write(scene.data, keys, emergency.Stop(True, "theft", 5))
    for _ in range(3):
        for answer in (await scene.ask(reservation), await scene.ask_list(draft.name)):
            assert answer["later"].startswith("the emergency stop is on")
        assert (await scene.desk.answer({"ask": "status"}))["stopped"]
        # Deleted, then sealed by what a worker has.
        if file.exists():
            file.unlink()
        else:
            emergency.write(scene.data, scene.vaults.gateway, emergency.Stop(False, "", 5))
    file.write_bytes(running)
    assert "signature" in await scene.ask(reservation)
    assert "signature" in await scene.ask_list(draft.name)


async def test_an_older_copy_takes_no_stop_back(scene: Scene) -> None:
    """Its file as it was before, sealed by us and kept by an attacker: on, by what the signer has seen, and
    after its restart by what the register knows; the next turn is the operator's."""
    reservation = await scene.reserved(scene.planned())
    keys, file = scene.vaults.keys, scene.data / "ca/stop.sealed"
    kept = file.read_bytes()
    emergency.write(scene.data, keys, emergency.Stop(True, "theft", 5, 1))
    assert (await scene.ask(reservation))["later"] == "the emergency stop is on (theft)"
    file.write_bytes(kept)
    said = "the emergency stop is on (ca/stop.sealed is an older copy of itself)"
    assert (await scene.ask(reservation))["later"] == said
    assert (await scene.desk.answer({"ask": "status"}))["stopped"]
    await scene.ra.database.write(lambda db: ca.store.note_stop(db, 1, True, "theft", 5))
    assert emergency.read(scene.data, keys, 1) == emergency.OLDER
    emergency.write(scene.data, keys, emergency.Stop(False, "", 6, 2))
    assert "signature" in await scene.ask(reservation)
    # And one that has just started has seen nothing, but reads the register.
    scene.desk._memory = Memory(None, keys)
    file.write_bytes(kept)
    assert (await scene.ask(reservation))["later"] == said


async def test_a_command_obeys_the_emergency_stop(scene: Scene) -> None:
    """Whoever has the passphrase has the keys, and signs nothing either until it is taken back."""
    reservation = await scene.reserved(scene.planned())
    emergency.write(scene.data, scene.vaults.keys, emergency.Stop(True, "drill", 5))
    with pytest.raises(NoSignature, match=r"the emergency stop is on \(drill\)"):
        scene.ra.authority.certify_now(reservation)
    emergency.write(scene.data, scene.vaults.keys, emergency.Stop(False, "", 5))
    assert scene.ra.authority.certify_now(reservation)


async def test_nor_does_a_command_obey_an_older_copy(scene: Scene) -> None:
    """Its own keys ask the register as well, and what the signer has seen; neither alone is put back."""
    file, keys = scene.data / "ca/stop.sealed", scene.vaults.keys
    kept, said = file.read_bytes(), "is an older copy of itself"
    (scene.data / "sekisho.toml").touch()
    deployment = open_deployment(scene.data, PASSPHRASE, compare=False)
    try:
        ra = deployment.ra
        reservation = await scene.reserved(scene.planned())
        assert ra.authority.certify_now(reservation)
        emergency.write(scene.data, keys, emergency.Stop(True, "theft", 5, 1))
        await ra.database.write(lambda db: ca.store.note_stop(db, 1, True, "theft", 5))
        file.write_bytes(kept)
        with pytest.raises(NoSignature, match=said):
            ra.authority.certify_now(reservation)
        await ra.database.write(lambda db: db.execute("UPDATE counters SET value = 0 WHERE name = 'stops'"))
        assert ra.authority.certify_now(reservation)
        memory = Memory(scene.data / FILE, keys)
        memory.keep(replace(memory.seen, turns=1))
        memory.close()
        with pytest.raises(NoSignature, match=said):
            reopened(deployment, Snapshot()).ra.authority.certify_now(reservation)
        with pytest.raises(NoSignature, match=said):
            ra.authority.certify_now(reservation)
    finally:
        await deployment.close()


async def test_everything_older_put_back_takes_no_stop_back(scene: Scene) -> None:
    """The file, the register and the journal from before the stop: the signer remembers, on disk."""
    keys, reservation = scene.vaults.keys, await scene.reserved(scene.planned())
    kept = (scene.data / "ca/stop.sealed").read_bytes()

    def started() -> Scene:
        memory = Memory(scene.data / FILE, keys)
        desk = Desk(scene.data, scene.vaults, scene.ra.clock, Tally(), PER_HOUR, memory=memory)
        return replace(scene, desk=desk)

    first = started()
    emergency.write(scene.data, keys, emergency.Stop(True, "theft", 5, 1))
    assert "later" in await first.ask(reservation)
    first.desk.close()
    (scene.data / "ca/stop.sealed").write_bytes(kept)
    second = started()
    said = "the emergency stop is on (ca/stop.sealed is an older copy of itself)"
    assert (await second.ask(reservation))["later"] == said
    second.desk.close()
    (scene.data / FILE).unlink()
    third = started()
    assert "signature" in await third.ask(reservation)
    third.desk.close()


async def test_a_list_is_signed_and_nothing_else_that_lies_about(scene: Scene, tmp_path: Path) -> None:
    """The file is named, not shown: only a draft in its folder, read once, and of the issuer's next list."""
    assert "signature" in await scene.ask_list((await scene.drawn()).name)
    certificate = await scene.drawn(scene.planned().tbs)
    assert (await scene.ask_list(certificate.name))["refused"].startswith("what is to be signed is no list")
    link = certificate.with_name(f".draft-{'0' * 16}")
    link.symlink_to(await scene.drawn())
    symbolic = "the draft cannot be read (Too many levels of symbolic links)"
    assert (await scene.ask_list(link.name))["refused"] == symbolic
    for name in (
        "../sekisho.db",
        "/etc/passwd",
        "",
        ".draft-1",
        f".draft-{'0' * 16}/x",
        f".draft-{'0' * 17}",
    ):
        assert (await scene.ask_list(name))["refused"] == "that is no list's draft"
    await crls.publish(scene.ra, scene.ra.authority.current)
    assert (await scene.ask_list((await scene.drawn(number=1)).name))["refused"].endswith("number")


async def test_issuing_and_lists_through_the_socket(scene: Scene) -> None:
    """A whole pick-up and a whole list, by a registration authority that has no key; without the signer the
    pick-up says later, and goes on when it is back."""
    directory = scene.data / "run"
    ra = replace(
        scene.ra, authority=replace(scene.ra.authority, signer=RemoteSigner(directory)), patience=5.0
    )
    await admit(ra)
    (waiting,) = store.enrollments_of(look(ra.database), "K12345678")
    await issuance.submit(ra, waiting.request_id, actor="K12345678")
    make_private_directory(directory)
    assert await issuance.recover(ra) == 0
    async with linked(scene):
        assert (await issuance.complete(ra, waiting.request_id)).state is State.ISSUED
        await ra.database.write(revoke_many(ra, 2))
        assert (await crls.publish(ra, ra.authority.current)).entries == 2
    (directory / SOCKET).unlink()
    gone = replace(ra, authority=replace(ra.authority, signer=RemoteSigner(directory)))
    with pytest.raises(NoSignature, match=r"the signer does not answer \(No such file or directory\)"):
        await crls.publish(gone, ra.authority.current)


async def test_a_refusal_holds_nobody_else_up(scene: Scene) -> None:
    """After a crash one reservation that is not signed for stays, and those behind it are finished."""
    ra = replace(scene.ra, authority=replace(scene.ra.authority, signer=RemoteSigner(scene.data / "run")))
    await admit(ra)
    bad = replace(scene.planned(), profile="server", reserved_at=1, order_id="nobody")
    await scene.reserved(bad)
    (waiting,) = store.enrollments_of(look(ra.database), "K12345678")
    await issuance.submit(ra, waiting.request_id, actor="K12345678")
    async with linked(scene):
        assert await issuance.recover(ra) == 1
        with pytest.raises(SignatureRefused, match="the profile server is not signed for here"):
            await ra.authority.certify(bad)


async def test_bad_messages_end_a_connection_and_nothing_else(scene: Scene) -> None:
    """Too long, cut, no JSON, nested without end; and whoever is another user is not listened to at all."""
    bad = [
        b"\xff\xff\xff\xff", (MOST + 1).to_bytes(4, "big"), b"\0\0\0\x02[]", b"\0\0\0\x02x{", b"\0\0\0\x09{",
        (100_000).to_bytes(4, "big") + b"[" * 100_000,
    ]  # fmt: skip
    async with linked(scene) as signer:
        for message in bad:
            with address_in(scene.data / "run") as address:
                reader, writer = await asyncio.open_unix_connection(address)
            writer.write(message)
            writer.write_eof()
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        assert not (await asyncio.to_thread(signer.ask_now, {"ask": "status"}))["stopped"]
    (scene.data / "run" / SOCKET).unlink()
    async with linked(scene, allowed={os.getuid() + 1}) as signer:
        with pytest.raises(NoSignature, match="the signer does not answer"):
            await asyncio.to_thread(signer.ask_now, {"ask": "unlock"})


async def test_a_signer_that_came_back_is_asked_again(scene: Scene) -> None:
    """A connection that was idle while the signer was replaced costs nobody an error."""
    reservation = await scene.reserved(scene.planned())
    asked = ToSign(reservation.issuer_id, "certificate", reservation.tbs, reservation.serial)
    async with linked(scene) as signer:
        assert await signer.sign(asked)
    (scene.data / "run" / SOCKET).unlink()
    async with linked(scene):
        assert await signer.sign(asked)


def test_other_processes_of_the_user_cannot_look_into_it() -> None:
    """No core and no ptrace (prctl(2): not dumpable), no new privileges."""

    def work() -> int:
        harden()
        libc = ctypes.CDLL(None)
        dumpable, privileges = libc.prctl(3, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0)
        good = (dumpable, privileges, resource.getrlimit(resource.RLIMIT_CORE)) == (0, 1, (0, 0))
        return 0 if good else 1

    with forked(work) as child:
        assert child.wait() == 0


def test_a_signer_that_hangs_or_dies_is_replaced_and_ends_with_its_guardian(tmp_path: Path) -> None:
    """By the guardian, which knows it by its beat; told to stop, it leaves nobody behind."""
    born = tmp_path / "born"

    def be() -> None:
        with born.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(born.read_text().splitlines()) > 1:  # the first one ends, the others hang
            signal.pause()

    def guard() -> int:
        Guardian(be, Tally(), silence=1.5).run()
        return 0

    born.touch()
    with forked(guard) as guardian:
        end = time.monotonic() + 60
        while len(pids := [int(line) for line in born.read_text().splitlines()]) < 3:
            assert time.monotonic() < end, pids
            time.sleep(0.05)
        os.kill(guardian.pid, signal.SIGTERM)
        assert guardian.wait() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


async def test_a_new_generation_is_known_without_a_restart(scene: Scene) -> None:
    """`sekisho ca add` while the signer runs: its key is opened when it is first asked for. Before it is
    active nothing is signed by it, nor what was reserved after it was retired."""
    made = datadir.add_issuer(scene.data, PASSPHRASE, "NEXT CA-G5", clock_of(scene.ra).seconds()).authority
    newer = replace(scene, ra=replace(scene.ra, authority=made))
    reservation = await newer.reserved(newer.planned())
    assert reservation.issuer_id == made.current.issuer_id != scene.ra.authority.current.issuer_id
    staged, name = await newer.ask(reservation), reservation.issuer_id
    assert staged == {"refused": "the issuing CA of the reservation did not issue at its time"}
    active = Row(name, active_at=reservation.reserved_at)
    scene.ra.database.write_now(lambda db: generations.write(db, Row(name), active))
    assert "signature" in await newer.ask(reservation)
    retired = replace(active, retired_at=reservation.reserved_at)
    scene.ra.database.write_now(lambda db: generations.write(db, active, retired))
    assert "signature" in await newer.ask(reservation)
    clock_of(scene.ra).advance(seconds=1)
    assert await newer.ask(await newer.reserved(newer.planned())) == staged
    gone = replace(retired, over_at=reservation.reserved_at, discarded_at=reservation.reserved_at)
    scene.ra.database.write_now(lambda db: generations.write(db, retired, gone))
    put_away = {"refused": "the issuing CA NEXT CA-G5 was put away, and signs no more"}
    assert await newer.ask(reservation) == await newer.ask_list("x") == put_away
    assert await scene.desk.answer({"ask": "answers", "key": name, "serials": ["1f"]}) == put_away
    assert "signature" in await scene.ask(await scene.reserved(scene.planned()))
