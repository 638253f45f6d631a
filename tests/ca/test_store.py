"""The index of certificates: compare-and-set, recovery, and its cost when it is large."""

from __future__ import annotations

import asyncio
import os
import re

import pytest

from ca import store
from ca.authority import Authority
from ca.keys import generate, spki, spki_sha256
from ca.published import store as published
from ca.revocation import RevocationStatus
from ca.sqlite import Database
from ca.storage import Transaction, Values
from ca.store import AlreadyReserved, fingerprint_of
from tests.ca.conftest import AT, Issued, issue_person
from tests.looking import look, told


def _stored(db: Database, authority: Authority, cn: str = "K1", order_id: str | None = None) -> Issued:
    made = issue_person(authority, cn, order_id=order_id)

    def work(d: Transaction) -> None:
        store.reserve(d, made.reservation)
        assert store.store_issued(d, made.reservation.serial, made.der, AT)

    db.write_now(work)
    return made


def test_a_certificate_goes_from_reserved_to_issued(db: Database, authority: Authority) -> None:
    """The serial is recorded first, with everything that is needed to sign again."""
    made = issue_person(authority, order_id="o1")
    db.write_now(lambda d: store.reserve(d, made.reservation))
    assert store.reserved_unsigned(look(db)) == [made.reservation]
    assert store.certificate_status(look(db), fingerprint_of(made.der)) is RevocationStatus.UNKNOWN
    assert db.write_now(lambda d: store.store_issued(d, made.reservation.serial, made.der, AT + 1))
    record = store.find_by_fingerprint(look(db), fingerprint_of(made.der))
    assert record is not None
    assert (record.status, record.der, record.issued_at) == ("issued", made.der, AT + 1)
    assert store.find_by_serial(look(db), made.reservation.serial) == record
    assert store.find_by_order(look(db), "o1") == record
    assert store.find_by_common_name(look(db), record.subject_cn) == [record]
    assert store.reserved_unsigned(look(db)) == []


def test_storing_twice_changes_nothing(db: Database, authority: Authority) -> None:
    """A second completion of the same reservation is refused, and so is one without reservation."""
    made = _stored(db, authority)
    other = issue_person(authority)
    assert not db.write_now(lambda d: store.store_issued(d, made.reservation.serial, other.der, AT))
    assert not db.write_now(lambda d: store.store_issued(d, other.reservation.serial, other.der, AT))
    record = store.find_by_serial(look(db), made.reservation.serial)
    assert record is not None
    assert record.der == made.der


async def test_an_order_has_one_certificate(db: Database, authority: Authority) -> None:
    """Fifty reservations for one order in parallel: one is made, the others learn of it."""
    wanted = [issue_person(authority, order_id="same").reservation for _ in range(50)]
    results = await asyncio.gather(
        *(db.write(lambda d, r=r: store.reserve(d, r)) for r in wanted), return_exceptions=True
    )
    assert [type(r) for r in results if r is not None] == [AlreadyReserved] * 49
    found = store.find_by_order(look(db), "same")
    assert found is not None
    assert found.serial == wanted[results.index(None)].serial


async def test_fifty_revocations_are_one(db: Database, authority: Authority) -> None:
    """Revoking is compare-and-set: the first reason and time stand."""
    made = _stored(db, authority)
    serial = made.reservation.serial
    done = await asyncio.gather(
        *(db.write(lambda d, i=i: store.revoke(d, serial, 1, AT + i)) for i in range(50))
    )
    assert done.count(True) == 1
    record = store.find_by_serial(look(db), serial)
    assert record is not None
    assert (record.status, record.revoked_at) == ("revoked", AT + done.index(True))
    assert store.certificate_status(look(db), fingerprint_of(made.der)) is RevocationStatus.REVOKED


def test_an_unsigned_reservation_cannot_be_revoked(db: Database, authority: Authority) -> None:
    """There is nothing to revoke before there is a certificate."""
    made = issue_person(authority)
    db.write_now(lambda d: store.reserve(d, made.reservation))
    assert not db.write_now(lambda d: store.revoke(d, made.reservation.serial, 0, AT))


def test_revocations_are_pushed_in_order_even_if_the_clock_goes_back(
    db: Database, authority: Authority
) -> None:
    """Who polls by number misses none, whatever the times say."""
    made = [_stored(db, authority) for _ in range(3)]
    for i, one in enumerate(made):
        db.write_now(lambda d, i=i, s=one.reservation.serial: store.revoke(d, s, 4, AT - i))
    seen = store.changed_since(look(db), 1)
    assert [(r.number, r.fingerprint) for r in seen] == [
        (2, fingerprint_of(made[1].der)),
        (3, fingerprint_of(made[2].der)),
    ]
    assert store.last_change(look(db)) == 3
    assert store.changed_since(look(db), 3) == []


def test_the_crl_holds_what_has_not_expired(db: Database, authority: Authority) -> None:
    """RFC 5280 section 3.3: an entry may go once the certificate has expired."""
    made = _stored(db, authority)
    db.write_now(lambda d: store.revoke(d, made.reservation.serial, 1, AT))
    issuer, end = authority.current.issuer_id, made.reservation.not_after_at
    assert [e.serial for e in published.revoked_entries(look(db), issuer, end)] == [made.reservation.serial]
    assert list(published.revoked_entries(look(db), issuer, end + 1)) == []
    assert list(published.revoked_entries(look(db), "another", AT)) == []


def test_a_hold_can_be_taken_back_and_a_revocation_cannot(db: Database, authority: Authority) -> None:
    """RFC 5280 section 5.3.1: certificateHold ends in a release or a revocation; all are numbered."""
    made = _stored(db, authority)
    serial, print_ = made.reservation.serial, fingerprint_of(made.der)

    def standing() -> tuple[RevocationStatus, int]:
        return store.certificate_status(look(db), print_), store.last_change(look(db))

    assert not db.write_now(lambda d: store.release(d, serial))
    assert db.write_now(lambda d: store.hold(d, serial, AT))
    assert not db.write_now(lambda d: store.hold(d, serial, AT + 1))
    assert standing() == (RevocationStatus.HELD, 1)
    assert [*published.revoked_entries(look(db), made.reservation.issuer_id, AT)] == [(serial, AT, 6)]
    assert db.write_now(lambda d: store.release(d, serial))
    assert standing() == (RevocationStatus.GOOD, 2)
    assert [*published.revoked_entries(look(db), made.reservation.issuer_id, AT)] == []
    assert [each.status for each in store.changed_since(look(db), 0)] == ["issued"]
    assert db.write_now(lambda d: store.hold(d, serial, AT + 2))
    assert db.write_now(lambda d: store.revoke(d, serial, 1, AT + 9))
    assert standing() == (RevocationStatus.REVOKED, 4)
    # Nobody was to trust it from the hold on.
    assert [*published.revoked_entries(look(db), made.reservation.issuer_id, AT)] == [(serial, AT + 2, 1)]
    assert not db.write_now(lambda d: store.release(d, serial))
    assert not db.write_now(lambda d: store.hold(d, serial, AT + 10))
    assert standing() == (RevocationStatus.REVOKED, 4)


async def test_of_racers_for_a_hold_one_wins(db: Database, authority: Authority) -> None:
    """Held and revoked at once, in whatever order: revoked is what it is."""
    serial = _stored(db, authority).reservation.serial
    acts = [lambda d: store.hold(d, serial, AT), lambda d: store.revoke(d, serial, 1, AT)] * 10
    done = await asyncio.gather(*(db.write(act) for act in acts))
    assert sum(done) == 2
    record = store.find_by_serial(look(db), serial)
    assert record is not None
    assert (record.status, record.change_number) == ("revoked", 2)


def test_what_was_no_change_has_no_number(db: Database, authority: Authority) -> None:
    """Only what changed something is counted: of a hundred that come too late, none."""
    made = _stored(db, authority)
    serial = made.reservation.serial
    assert db.write_now(lambda d: store.revoke(d, serial, 1, AT))
    assert not any(db.write_now(lambda d: store.revoke(d, serial, 1, AT)) for _ in range(100))
    assert not db.write_now(lambda d: store.hold(d, "00", AT))
    another = _stored(db, authority)
    assert db.write_now(lambda d: store.hold(d, another.reservation.serial, AT))
    assert [change.number for change in store.changed_since(look(db), 0)] == [1, 2]


def test_a_list_is_published_under_a_number_that_grows(db: Database) -> None:
    """RFC 5280 section 5.2.3: of two lists with one number the first counts, and none goes back."""

    def listed(issuer: str, number: int, digest: str) -> published.RevocationList:
        return published.RevocationList(issuer, number, AT, AT + 9, digest, 1, 0, 0)

    offered = [
        listed("a", 1, "x"),
        listed("a", 1, "y"),
        listed("a", 3, "z"),
        listed("a", 2, "x"),
        listed("b", 1, "b"),
    ]
    done = [db.write_now(lambda d, one=one: published.publish_list(d, one)) for one in offered]
    assert done == [True, False, True, False, True]
    assert published.published_list(look(db), "a") == offered[2]
    assert published.published_list(look(db), "c") is None


def test_pages_go_back_in_time(db: Database, authority: Authority) -> None:
    """Newest first, each page beginning where the last one ended."""
    made = [_stored(db, authority, f"K{i}") for i in range(5)]
    db.write_now(lambda d: store.revoke(d, made[3].reservation.serial, 0, AT))
    first = store.list_page(look(db), 2)
    second = store.list_page(look(db), 2, before_row=first[-1].row)
    assert [r.subject_cn for r in (*first, *second)] == ["K4", "K3", "K2", "K1"]
    assert [r.subject_cn for r in store.list_page(look(db), 9, status="revoked")] == ["K3"]
    assert store.count_by_status(look(db)) == {"issued": 4, "revoked": 1}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO certificates (serial, issuer_id, profile, status, subject_cn, spki_sha256,"
        " not_before_at, not_after_at, reserved_at, template)"
        " VALUES ('x', 'i', 'p', 'issued', 'c', 's', 1, 2, 3, '{}')",
        "UPDATE certificates SET status = 'revoked'",
        "UPDATE certificates SET status = 'held', held_at = 1",
        "UPDATE certificates SET status = 'held', change_number = 1",
        "UPDATE certificates SET held_at = 1",
        "UPDATE certificates SET not_after_at = 'tomorrow'",
    ],
)
def test_the_table_itself_refuses_nonsense(db: Database, authority: Authority, statement: str) -> None:
    """Issued without DER, revoked or held without time or number, text in a time: not even by hand."""
    _stored(db, authority)
    with pytest.raises(Exception, match=r"constraint|cannot store TEXT"):
        db.write_now(lambda d: d.execute(statement))


def test_every_question_is_answered_by_an_index(db: Database) -> None:
    """With a million rows no request may scan the table (EXPLAIN QUERY PLAN)."""

    def ask(reader: Transaction) -> None:
        print_ = os.urandom(32).hex()
        store.find_by_fingerprint(reader, print_)
        store.find_by_serial(reader, "00")
        store.find_by_order(reader, "o")
        store.find_by_common_name(reader, "K")
        store.find_reservation(reader, "00")
        store.certificate_status(reader, print_)
        store.reserved_unsigned(reader)
        store.changed_since(reader, 5)
        store.held(reader)
        store.last_change(reader)
        published.last_change_of(reader, "i")
        list(published.revoked_entries(reader, "i", AT))
        store.list_page(reader, 10)
        store.list_page(reader, 10, status="revoked")
        store.list_page(reader, 10, status="held")
        store.list_page(reader, 10, status="reserved")

    asked: list[tuple[str, Values]] = []
    db.read_now(lambda reader: ask(told(reader, asked)))
    assert len(asked) >= 15
    for sql, params in asked:
        plan = db.read_now(
            lambda reader, sql=sql, params=params: reader.rows(f"EXPLAIN QUERY PLAN {sql}", params)
        )  # type: ignore[misc]
        words = " ".join(row[-1] for row in plan)
        assert "SCAN certificates" not in words or re.search(
            "USING (COVERING )?INDEX certificates_(re|ch|li|he)", words
        ), (sql, words)


def test_what_the_journal_gives_back_can_be_renewed(authority: Authority, db: Database) -> None:
    """The register has forgotten it: names and key are the certificate's own, as a renewal asks for them."""
    key = spki(generate("ec-p256").public_key())
    entropy, names = os.urandom(16), ("a.example", "b.example")
    planned = authority.plan("client-automated", "K1", names, key, "order", AT, entropy)
    der = authority.certify_now(planned)
    noted = (
        "issuer_id",
        "profile",
        "door",
        "holder",
        "subject_cn",
        "not_before_at",
        "not_after_at",
        "reserved_at",
        "order_id",
    )
    facts = {name: getattr(planned, name) for name in noted} | {"spki_sha256": spki_sha256(key)}
    db.write_now(lambda d: store.adopt(d, planned.serial, der, AT, facts))
    found = store.find_reservation(look(db), planned.serial)
    assert found is not None
    assert (found.names, found.spki, found.subject_cn, found.tbs) == (names, key, "K1", b"")


def test_a_reservation_can_be_taken_back_until_it_is_issued(authority: Authority, db: Database) -> None:
    """And then never: its certificate is somebody's."""
    key = spki(generate("ec-p256").public_key())
    planned = authority.plan("client-person", "K1", (), key, "order", AT, os.urandom(16))
    db.write_now(lambda d: store.reserve(d, planned))
    assert db.write_now(lambda d: store.withdraw(d, planned.serial))
    assert store.find_by_order(look(db), "order") is None
    assert not db.write_now(lambda d: store.withdraw(d, planned.serial))
    db.write_now(lambda d: store.reserve(d, planned))
    der = authority.certify_now(planned)
    assert db.write_now(lambda d: store.store_issued(d, planned.serial, der, AT))
    assert not db.write_now(lambda d: store.withdraw(d, planned.serial))
    assert store.find_by_serial(look(db), planned.serial) is not None
