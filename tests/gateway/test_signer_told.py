"""The signer remembers what it has told the world: whoever owns a worker takes no revocation back by it."""

from __future__ import annotations

import base64
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus

from ca.certificates import serial_from, serial_hex
from ca.crls import _encoded, fill, frame_of
from ca.errors import ConfigError
from ca.listed import listed_in
from ca.memory import NUMBERS, Numbers
from ca.ocsp import response
from ca.profiles import CRL_LIFETIME
from ca.published.store import published_list
from ca.remembered import REVOKED, Remembered, Revoked
from ca.revocation import CA_COMPROMISE, HOLD, RevokedEntry
from ca.sealing import Vault
from ca.signerlink import Message, RemoteSigner
from ca.signing import SignatureRefused
from enroll import crls
from gateway.serving import recovery
from gateway.serving.database import DATABASE
from gateway.serving.signing import told
from gateway.serving.signing.desk import Desk
from gateway.serving.signing.tally import Tally
from gateway.serving.signing.told import Told
from tests.gateway.test_signer import PER_HOUR, Scene, linked, scene
from tests.issued import Leaf, hold, issue, release, revoke

__all__ = ["scene"]
VAULT = Vault(bytes(32))
ISSUER = "ab" * 20


def _owned(scene: Scene, statement: str, *values: object) -> None:
    """What whoever owns a worker writes into the register."""
    with closing(sqlite3.connect(scene.data / DATABASE)) as db, db:
        assert db.execute(statement, values).rowcount == 1


def _unrevoke(scene: Scene, leaf: Leaf) -> None:
    _owned(
        scene,
        "UPDATE certificates SET status = 'issued', revoked_at = NULL, revocation_reason = NULL,"
        " held_at = NULL WHERE serial = ?",
        leaf.serial,
    )


async def _answer(scene: Scene, leaf: Leaf) -> ocsp.OCSPResponse:
    key = scene.ra.authority.current.issuer_id
    made = await scene.desk.answer({"ask": "answers", "key": key, "serials": [leaf.serial]})
    kept, responder = base64.b64decode(made["answers"][0][4]), base64.b64decode(made["responder"])
    return ocsp.load_der_ocsp_response(response(kept, responder))


def _list(scene: Scene, entries: Sequence[RevokedEntry], number: int, at: int | None = None) -> bytes:
    now = scene.ra.now() if at is None else at
    frame = frame_of(scene.ra.authority.current.certificate, number, now, now + CRL_LIFETIME)
    return b"".join(fill(frame, entries).chunks)


async def _ask_list(scene: Scene, entries: Sequence[RevokedEntry], number: int) -> Message:
    return await scene.ask_list((await scene.drawn(_list(scene, entries, number))).name)


def _entry(leaf: Leaf, reason: int = 1, at: int = 5) -> RevokedEntry:
    return RevokedEntry(leaf.serial, at, reason)


def _again(scene: Scene) -> Desk:
    """The signer as it is after its restart."""
    keys = scene.vaults.keys
    remembered = Told(Remembered(scene.data / REVOKED, keys), Numbers(scene.data / NUMBERS, keys))
    return Desk(scene.data, scene.vaults, scene.ra.clock, Tally(), PER_HOUR, told=remembered)


@pytest.mark.parametrize("first", ["an answer", "a list"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_what_was_revoked_is_not_good_again(scene: Scene, first: str, *, restarted: bool) -> None:
    """Told in an answer or a list, it is revoked in each answer after that, as it was, whatever the register
    says of it: good, held, revoked later, or nothing at all. Its twin is good."""
    leaf, other = await issue(scene.ra), await issue(scene.ra, "K2")
    await revoke(scene.ra, leaf, 1)
    scene.desk.close()
    scene.desk = _again(scene)
    if first == "an answer":
        before = (await _answer(scene, leaf)).revocation_time_utc
    else:
        assert "signature" in await _ask_list(scene, [_entry(leaf, at=scene.ra.now())], 1)
        before = None
    if restarted:
        scene.desk.close()
        scene.desk = _again(scene)
    for written in (
        "status = 'issued', revoked_at = NULL, revocation_reason = NULL",
        "status = 'held', held_at = 5",
        "status = 'revoked', held_at = NULL, revoked_at = 4000000000, revocation_reason = 1",
        "status = 'revoked', revoked_at = 5, revocation_reason = 8",
        "serial = 'ff' || serial",
    ):
        _owned(scene, f"UPDATE certificates SET {written} WHERE serial = ?", leaf.serial)
        said = await _answer(scene, leaf)
        assert (said.certificate_status, said.revocation_reason.name) == (
            OCSPCertStatus.REVOKED,
            "key_compromise",
        )  # type: ignore[union-attr]
        assert before in (None, said.revocation_time_utc)
    assert (await _answer(scene, other)).certificate_status is OCSPCertStatus.GOOD
    status = await scene.desk.answer({"ask": "status"})
    assert (status["revoked"], status["full"]) == (1, False)


async def test_a_hold_is_the_registers_to_take_back(scene: Scene) -> None:
    """Held and released as operators do at a page: good again in answers, and lists leave it out. Once it is
    revoked, it is for good."""
    leaf = await issue(scene.ra)
    await hold(scene.ra, leaf)
    assert (await _answer(scene, leaf)).certificate_status is OCSPCertStatus.REVOKED
    assert "signature" in await _ask_list(scene, [_entry(leaf, HOLD)], 1)
    await release(scene.ra, leaf)
    assert (await _answer(scene, leaf)).certificate_status is OCSPCertStatus.GOOD
    assert "signature" in await _ask_list(scene, [], 2)
    await revoke(scene.ra, leaf)
    assert "signature" in await _ask_list(scene, [_entry(leaf)], 3)
    for entries in ([], [_entry(leaf, HOLD)]):
        assert "the list leaves out" in (await _ask_list(scene, entries, 4))["refused"]


async def test_a_list_leaves_nothing_out(scene: Scene) -> None:
    """Neither what a list told, nor what an answer did; one that has ended may go."""
    listed, answered, ended = [await issue(scene.ra, f"K{n}") for n in range(3)]
    for leaf in (listed, answered, ended):
        await revoke(scene.ra, leaf)
    _owned(
        scene, "UPDATE certificates SET not_after_at = ? WHERE serial = ?", scene.ra.now() - 1, ended.serial
    )
    assert "signature" in await _ask_list(scene, [_entry(listed), _entry(ended)], 1)
    await _answer(scene, answered)
    for leaf in (listed, answered):
        _unrevoke(scene, leaf)
        _owned(scene, "UPDATE certificates SET not_after_at = 7 WHERE serial = ?", leaf.serial)
    for left, there in ((listed, answered), (answered, listed)):
        said = await _ask_list(scene, [_entry(there), _entry(ended)], 2)
        assert f"the list leaves out what was revoked, serial {left.serial} for one" in said["refused"]
    assert "signature" in await _ask_list(scene, [_entry(listed), _entry(answered)], 2)


async def test_nor_is_it_left_out_when_a_worker_publishes(scene: Scene) -> None:
    """The way that lists go in earnest: none is published, and the last one stays."""
    ra = replace(scene.ra, authority=replace(scene.ra.authority, signer=RemoteSigner(scene.data / "run")))
    leaf = await issue(scene.ra)
    await revoke(scene.ra, leaf)
    async with linked(scene):
        first = await crls.publish(ra, ra.authority.current, alone=True)
        _unrevoke(scene, leaf)
        with pytest.raises(SignatureRefused, match="the list leaves out what was revoked"):
            await crls.publish(ra, ra.authority.current, alone=True)
        assert await crls.published(ra, ra.authority.current.issuer_id) == first
        await revoke(scene.ra, leaf)
        assert (await crls.publish(ra, ra.authority.current, alone=True)).number == first.number + 1


async def test_numbers_of_lists_grow_whatever_is_written(scene: Scene) -> None:
    """A number is signed once, also after a restart, and none is so high that there are no more after it."""
    scene.desk.close()
    scene.desk = _again(scene)
    for number in (1, 2, 2 + told.LEAP):
        assert "signature" in await _ask_list(scene, [], number)
        scene.desk.close()
        scene.desk = _again(scene)
        last = {"refused": f"the list is not one of this issuer's: number (the last one signed is {number})"}
        for older in (1, number):
            assert await _ask_list(scene, [], older) == last | {"number": number}
    said = await _ask_list(scene, [], 3 + 2 * told.LEAP)
    assert said == {"refused": "the list is not one of this issuer's: number (too far ahead)"}


async def test_a_restore_without_its_journal_jumps_and_is_signed(scene: Scene) -> None:
    """`restore replay --new-journal` lets numbers leap, since nobody knows the last ones."""
    assert "signature" in await _ask_list(scene, [], 7)
    assert "signature" in await _ask_list(scene, [], 7 + recovery._LEAP + 1)


async def test_a_register_that_is_behind_catches_up(scene: Scene) -> None:
    """Put back from a copy without its journal and without its lists: the next list has the number after the
    last one that was signed, and nobody types anything."""
    ra = replace(scene.ra, authority=replace(scene.ra.authority, signer=RemoteSigner(scene.data / "run")))
    async with linked(scene):
        made = [await crls.publish(ra, ra.authority.current, alone=True) for _ in range(3)]
        _owned(scene, "DELETE FROM crls WHERE issuer_id = ?", made[0].issuer_id)
        for path in crls.folder(ra).iterdir():
            path.unlink()
        assert (await crls.publish(ra, ra.authority.current, alone=True)).number == made[-1].number + 1
    found = await ra.database.read(lambda db: published_list(db, made[0].issuer_id))
    assert found is not None
    assert found.number == made[-1].number + 1


@pytest.mark.parametrize(
    "odd",
    [
        b"\x30\x14\x02\x01\x05\x17\x0d260101000000Z\x05\x00",
        # Behind the time: a reason that takes it back, an extension that nobody knows, one that is not whole.
        b"\x30\x1e\x02\x01\x05\x17\x0d260101000000Z\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x08",
        b"\x30\x1e\x02\x01\x05\x17\x0d260101000000Z\x30\x0c\x30\x0a\x06\x03\x55\x1d\x16\x04\x03\x0a\x01\x01",
        b"\x30\x1e\x02\x01\x05\x17\x0d260101000000Z\x30\x0d\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x01",
        # A serial with an octet too many, a negative one, one of no octets.
        b"\x30\x13\x02\x02\x00\x05\x17\x0d260101000000Z",
        b"\x30\x12\x02\x01\x85\x17\x0d260101000000Z",
        b"\x30\x11\x02\x00\x17\x0d260101000000Z",
        # A time of another kind, of another length, and none.
        b"\x30\x12\x02\x01\x05\x18\x0d260101000000Z",
        b"\x30\x10\x02\x01\x05\x17\x0b2601010000Z",
        b"\x30\x12\x02\x01\x05\x17\x0d261301000000Z",
        b"\x30\x12\x02\x01\x05\x17\x0d2601010000+0Z",
    ],
)
async def test_an_entry_is_written_in_one_way(scene: Scene, odd: bytes) -> None:
    """What two readers might take for two things is not signed: it might be the serial for one of them."""
    now, certificate = scene.ra.now(), scene.ra.authority.current.certificate
    frame = frame_of(certificate, 1, now, now + CRL_LIFETIME)
    good = b"\x30\x12\x02\x01\x05\x17\x0d260101000000Z"
    for entry, word in ((good, "signature"), (odd, "refused")):
        inner = frame.before + b"\x30" + bytes((len(entry),)) + entry + frame.after
        content = b"\x30\x81" + bytes((len(inner),)) + inner
        assert len(inner) > 0x7F
        assert word in await scene.ask_list((await scene.drawn(content)).name)
        scene.desk._told = Told(Remembered(None, VAULT), Numbers(None, VAULT))


# -- the memory itself ---------------------------------------------------------------------------------


def _made(count: int, seed: int = 1) -> list[Revoked]:
    chance = random.Random(seed)
    return [
        Revoked(serial_hex(serial_from(chance.randbytes(16))), 2_000_000_000, 1_700_000_000 + n, 1)
        for n in range(count)
    ]


def test_a_memory_outlives_whoever_writes_it(tmp_path: Path) -> None:
    """Each that was kept is found again, by its issuer and with its end; half a block at the end is none."""
    path, made = tmp_path / REVOKED, _made(40)
    first = Remembered(path, VAULT)
    for at in range(0, 40, 10):
        first.keep(ISSUER, made[at : at + 10])
        first.keep(ISSUER, made[at : at + 10])  # known: not a second time
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\x00\x00\x10\x00half a block")
    again = Remembered(path, VAULT)
    assert (again.count, path.stat().st_size) == (40, size)
    assert [again.find(ISSUER, each.serial) for each in made] == made
    assert again.find("cd" * 20, made[0].serial) is None
    assert all(again.find(ISSUER, odd) is None for odd in ("00", "7f", "1" * 42, made[0].serial[:-2]))
    again.keep(ISSUER, _made(1, 2))
    assert Remembered(path, VAULT).count == 41


@pytest.mark.parametrize("what", ["an octet", "a block less", "blocks in another order", "another vault"])
def test_a_memory_that_was_altered_is_said_to_be_so(tmp_path: Path, what: str) -> None:
    """In its middle: nothing is believed, and the operator is told what to do."""
    path, vault, ends = tmp_path / REVOKED, VAULT, [0]
    kept = Remembered(path, VAULT)
    for each in range(3):
        kept.keep(ISSUER, _made(2, each))
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    blocks = [content[begin:end] for begin, end in pairwise(ends)]
    match what:
        case "an octet":
            blocks[1] = blocks[1][:-1] + bytes((blocks[1][-1] ^ 1,))
        case "a block less":
            del blocks[0]
        case "blocks in another order":
            blocks[0], blocks[1] = blocks[1], blocks[0]
        case _:
            vault = Vault(b"\x01" * 32)
    path.write_bytes(b"".join(blocks))
    with pytest.raises(ConfigError, match="revoked was altered or is another directory's"):
        Remembered(path, vault)


def test_a_memory_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is full keeps what it has and goes on signing; started again it lets go of what has ended."""
    monkeypatch.setattr("ca.remembered.MOST", 20)
    path, made = tmp_path / REVOKED, _made(25)
    made[0] = replace(made[0], not_after_at=5)
    kept = Remembered(path, VAULT)
    Told(kept, Numbers(None, VAULT))._keep(
        ISSUER,
        [(each.serial, each.at, each.reason) for each in made],
        lambda _, serials: [5] + [9] * (len(serials) - 1),
    )
    assert (kept.count, kept.is_full) == (20, True)
    assert kept.find(ISSUER, made[24].serial) is None
    again = Remembered(path, VAULT, now=6)
    assert (again.count, again.is_full) == (19, False)
    assert again.find(ISSUER, made[0].serial) is None
    again.keep(ISSUER, made[24:])
    last = Remembered(path, VAULT, now=6)
    assert [last.find(ISSUER, made[at].serial) is None for at in (0, 1, 19, 20, 24)] == [
        True,
        False,
        False,
        True,
        False,
    ]


async def test_what_a_distrusted_ca_has_issued_is_its_own_matter(scene: Scene) -> None:
    """`ca trust` takes that back: what only a list of a distrusted CA told (reason 2) is not remembered, but
    what was revoked may be told by it."""
    revoked, good = await issue(scene.ra), await issue(scene.ra, "K2")
    await revoke(scene.ra, revoked)
    assert "signature" in await _ask_list(scene, [_entry(revoked)], 1)
    both = [_entry(revoked, CA_COMPROMISE), _entry(good, CA_COMPROMISE)]
    assert "signature" in await _ask_list(scene, both, 2)
    assert "signature" in await _ask_list(scene, [_entry(revoked)], 3)
    assert (await _answer(scene, good)).certificate_status is OCSPCertStatus.GOOD


def test_a_shard_answers_for_its_own(tmp_path: Path) -> None:
    """What another shard tells of is not missing in it; what is its own is."""
    kept, made = Remembered(None, VAULT), _made(64)
    kept.keep(ISSUER, made)
    for shard in range(4):
        own = [each for each in made if int(each.serial, 16) % 4 == shard]
        entries = b"".join(_encoded(RevokedEntry(each.serial, 5, 1) for each in own))
        for left, missing in ((0, []), (len(entries) // len(own), [own[0].serial])):
            listed = listed_in(entries, (left, len(entries)), shard, 4)
            assert kept.compared(ISSUER, listed, (shard, 4), 0) == (missing, [])
