"""Revocation lists: complete, fresh, numbered, and one for everybody."""

import os

import pytest
from cryptography import x509

import ca.store
from ca import datadir, listfiles
from ca.profiles import CRL_PERIOD
from ca.publication import Places
from ca.storage import StorageError
from enroll import crls, timekeeping
from enroll.requests.transitions import end_certificate
from tests.datadirs import CHEAP, PASSPHRASE, START, admit, clock_of, open_office, revoke_many
from tests.enroll.test_flow import picked_up
from tests.issued import issue, revoke
from tests.looking import look, refusing
from tests.races import RACERS, raced


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


async def test_a_revocation_makes_a_new_list(ra):
    """RFC 5280 section 5: a list names what is revoked, and the next one has a higher number."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    serial = ca.store.find_by_order(look(ra.database), request_id).serial
    issuer = ra.authority.current
    assert await crls.due(ra, issuer.issuer_id)
    first = _read(ra, await crls.publish(ra, issuer))
    assert len(first) == 0
    assert not await crls.due(ra, issuer.issuer_id)
    at = ra.now()
    await ra.database.write(lambda db: end_certificate(db, ra, serial, 1, at, actor="test"))
    assert await crls.due(ra, issuer.issuer_id)
    second = _read(ra, await crls.publish(ra, issuer))
    assert not await crls.due(ra, issuer.issuer_id)
    revoked = second.get_revoked_certificate_by_serial_number(int(serial, 16))
    assert revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason.value == "keyCompromise"
    assert _number(second) == _number(first) + 1
    assert second.is_signature_valid(issuer.certificate.public_key())


async def test_a_list_is_renewed_before_it_ends(ra):
    """Due after a day, and not a second before; ended at its nextUpdate."""
    name = ra.authority.current.issuer_id
    await crls.publish(ra, ra.authority.current)
    clock_of(ra).advance(seconds=CRL_PERIOD - 1)
    assert not await crls.due(ra, name)
    clock_of(ra).advance(seconds=1)
    assert await crls.due(ra, name)
    assert not await crls.ended(ra, name)
    clock_of(ra).advance(days=7)
    assert await crls.ended(ra, name)


async def test_a_list_is_good_for_a_week_ahead(ra):
    """nextUpdate as a literal: one is made each day and is good for eight, so that a week is left whenever
    making them begins to fail."""
    listed = await crls.publish(ra, ra.authority.current)
    assert listed.next_update_at - listed.this_update_at == 691_200
    assert listed.this_update_at == ra.now()


async def test_a_list_of_the_future_is_made_anew(ra):
    """A clock that ran ahead and was set right leaves no list that nobody may use yet; its number stays."""
    clock_of(ra).advance(days=400)
    ahead = await crls.publish(ra, ra.authority.current)
    clock_of(ra).advance(days=-400)
    assert await crls.due(ra, ra.authority.current.issuer_id)
    right = await crls.publish(ra, ra.authority.current)
    assert (right.number, right.this_update_at) == (ahead.number + 1, ra.now())


@pytest.mark.parametrize(("back", "told"), [(600, 0), (1, 0), (601, 601)])
async def test_a_clock_that_is_corrected_takes_no_time_back(ra, back, told):
    """thisUpdate never goes back by what clocks are corrected by. Dated farther ahead than that a list is
    nobody's yet, and is followed by one of now: the clock was in doubt until an operator confirmed it."""
    first = await crls.publish(ra, ra.authority.current)
    clock_of(ra).advance(seconds=-back)
    assert await crls.due(ra, ra.authority.current.issuer_id) is bool(told)
    if told:
        await timekeeping.confirm(ra, actor="test")
    second = await crls.publish(ra, ra.authority.current)
    assert (second.number, second.this_update_at) == (first.number + 1, first.this_update_at - told)
    assert _read(ra, second).last_update_utc.timestamp() == second.this_update_at


@pytest.mark.slow
@pytest.mark.parametrize("shards", [2, 256])
async def test_shards_are_the_whole_in_parts(tmp_path, shards):
    """Each revoked certificate is in the list that it names and in the whole one, and in no other; a shard
    is made anew when one of its own changed, and numbers each for itself."""
    (tmp_path / "a").mkdir()
    datadir.create(tmp_path / "a/data", PASSPHRASE, START, site=Places("http://p", None, shards), cost=CHEAP)
    async with open_office(tmp_path / "a") as ra:
        issuer = ra.authority.current
        await ra.database.write(revoke_many(ra, 600))
        whole = _read(ra, await crls.publish(ra, issuer))
        parts = [_read(ra, await crls.publish(ra, issuer, each, alone=True)) for each in range(shards)]
        for number, part in enumerate(parts):
            assert {each.serial_number % shards for each in part} <= {number}
            scope = part.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
            assert scope.critical
            assert [each.value for each in scope.value.full_name] == [issuer.site.shard(number)]
        assert sorted(each.serial_number for part in parts for each in part) == sorted(
            each.serial_number for each in whole
        )
        leaf = await issue(ra)
        own = leaf.certificate.serial_number % shards
        assert [await crls.due(ra, issuer.issuer_id, each) for each in (None, own)] == [False, False]
        await revoke(ra, leaf)
        other = (own + 1) % shards
        assert [await crls.due(ra, issuer.issuer_id, each) for each in (None, own, other)] == [
            True,
            True,
            False,
        ]
        again = await crls.publish(ra, issuer, own, alone=True)
        assert (again.number, again.issuer_id) == (2, f"{issuer.issuer_id}.{own}")
        assert _read(ra, again).get_revoked_certificate_by_serial_number(leaf.certificate.serial_number)
        assert len(list(crls.folder(ra).iterdir())) == shards + 1


async def test_processes_that_publish_at_once_publish_one(ra):
    """Whoever is first with a number wins; all hand out the same file, and no number comes twice."""
    issuer = ra.authority.current
    made = await raced(*(crls.publish(ra, issuer, alone=each > 1) for each in range(RACERS)))
    published = await crls.published(ra, issuer.issuer_id)
    assert max(each.number for each in made) == published.number
    assert listfiles.is_whole(crls.folder(ra), published)
    assert len(list(crls.folder(ra).iterdir())) == 1
    assert _number(_read(ra, published)) == published.number


async def test_a_database_from_a_backup_gives_no_number_twice(ra):
    """RFC 5280 section 5.2.3: what was published is remembered by its file, too."""
    issuer = ra.authority.current
    for _ in range(3):
        latest = await crls.publish(ra, issuer)
    await ra.database.write(
        lambda db: db.execute(
            "UPDATE crls SET number = 1, digest = 'x', this_update_at = this_update_at - 9000"
        )
    )
    clock_of(ra).advance(seconds=-60)
    assert await crls.due(ra, issuer.issuer_id)
    again = await crls.publish(ra, issuer)
    assert (again.number, again.this_update_at) == (latest.number + 1, latest.this_update_at)


async def test_a_file_that_is_gone_or_cut_is_made_anew(ra):
    """The register names no list that is not there whole. A register on a server has it as well, for every
    directory: it is put here again."""
    issuer = ra.authority.current
    path = listfiles.path_of(crls.folder(ra), await crls.publish(ra, issuer))
    anew = not ra.database.shared
    os.truncate(path, 100)
    assert await crls.due(ra, issuer.issuer_id) is anew
    assert await crls.ended(ra, issuer.issuer_id) is anew
    path.unlink()
    assert await crls.due(ra, issuer.issuer_id) is anew
    listed, der = await crls.current(ra, issuer)
    assert (listed.number, len(der)) == (2 if anew else 1, listed.size)


@pytest.mark.parametrize("alone", [True, False])
async def test_a_list_that_cannot_be_written_leaves_the_last_one(ra, alone):
    """Whole or absent: no row without its file, and no file that stays behind."""
    issuer, folder = ra.authority.current, crls.folder(ra)
    before = await crls.publish(ra, issuer)
    files = sorted(path.name for path in folder.iterdir())
    with refusing(ra.database, "crls"), pytest.raises(StorageError):
        await crls.publish(ra, issuer, alone=alone)
    assert await crls.published(ra, issuer.issuer_id) == before
    assert listfiles.is_whole(folder, before)
    after = await crls.publish(ra, issuer, alone=alone)
    assert after.number > before.number
    assert len(list(folder.iterdir())) == len(files)


async def test_no_draft_stays_behind(ra, tmp_path):
    """What a crash left of a list is taken away once it is certainly nobody's."""
    issuer, folder = ra.authority.current, crls.folder(ra)
    await crls.publish(ra, issuer)
    old, young = folder / ".draft-old", folder / ".draft-young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    await crls.publish(ra, issuer)
    assert (old.exists(), young.exists()) == (False, True)


async def test_a_list_is_the_same_from_another_process(ra):
    """What a worker process makes is what would be made here, but for the number."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    serial = ca.store.find_by_order(look(ra.database), request_id).serial
    await ra.database.write(lambda db: ca.store.hold(db, serial, ra.now()))
    here = await crls.publish(ra, ra.authority.current, alone=True)
    entries = [entry.serial_number for entry in _read(ra, here)]
    there = await crls.publish(ra, ra.authority.current)
    assert [entry.serial_number for entry in _read(ra, there)] == entries == [int(serial, 16)]
    assert there.change_number == here.change_number == 1


def _read(ra, listed):
    return x509.load_der_x509_crl(listfiles.path_of(crls.folder(ra), listed).read_bytes())


def _number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
