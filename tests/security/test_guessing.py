"""Guessing passwords is slow, however many guesses arrive at once and from wherever they come."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ca.workers import Workers
from enroll import store, throttle
from enroll.people import login, passwords, register
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import pickup
from tests.datadirs import START, admit, clock_of, letter_of, open_office, together
from tests.looking import look, rows
from tests.security.people import enrolled


def _codes(results: list[object]) -> list[str]:
    assert all(isinstance(each, Refusal) for each in results), results
    return sorted(each.code for each in results if isinstance(each, Refusal))


async def _guess(ra: RegistrationAuthority, user_id: str, password: str, address: str = "192.0.2.1") -> None:
    await pickup.authenticate(ra, user_id, password, address=address)


async def _log_in(ra: RegistrationAuthority, fingerprint: str, user_id: str) -> None:
    await login.authenticate(ra, fingerprint, user_id, "wrong", address="192.0.2.1")


async def test_guesses_that_arrive_together_are_counted_before_they_are_checked(tmp_path: Path) -> None:
    """Of many guesses at once no more are looked at than of as many in turn."""
    async with open_office(tmp_path, attempts=3) as ra:
        await admit(ra)
        results = await together(*(_guess(ra, "K12345678", f"guess{n}") for n in range(12)))
        assert _codes(results) == ["bad_credentials"] * 3 + ["throttled"] * 9


async def test_logins_that_arrive_together_are_counted_before_they_are_checked(tmp_path: Path) -> None:
    """The same at the service's login, per certificate."""
    async with open_office(tmp_path, attempts=3) as ra:
        person = await enrolled(ra)
        guesses = (
            login.authenticate(ra, person.fingerprint, person.user_id, f"guess{n}", address="192.0.2.1")
            for n in range(12)
        )
        assert _codes(await together(*guesses)) == ["bad_credentials"] * 3 + ["throttled"] * 9


async def test_password_changes_that_arrive_together_are_counted_too(tmp_path: Path) -> None:
    """An open session is no way to guess its user's password at leisure."""
    async with open_office(tmp_path, attempts=3) as ra:
        person = await enrolled(ra)
        guesses = (
            login.change_password(ra, person.user_id, f"guess{n}", "Newpass123", "Newpass123")
            for n in range(12)
        )
        assert _codes(await together(*guesses)) == ["bad_credentials"] * 3 + ["throttled"] * 9


class _Watched(Workers):
    """Workers that remember what they were asked to compute beside the loop."""

    def __init__(self) -> None:
        super().__init__(processes=1)
        self.asked: list[str] = []

    async def run_in_thread(self, fn, *args, **more):  # type: ignore[no-untyped-def]
        self.asked.append(fn.__name__)
        return await super().run_in_thread(fn, *args, **more)


async def test_an_unknown_user_costs_what_a_known_one_costs(tmp_path: Path) -> None:
    """V48: as many passwords are checked, each with the same parameters, so that time tells nothing.

    At the login no password is checked with an ID that is not the certificate's, whosever it is.
    """
    async with open_office(tmp_path) as ra:
        person, watched = await enrolled(ra), _Watched()
        await admit(ra, "K87654321")
        there = replace(ra, workers=watched)
        work = []
        for guess in (
            _guess(there, person.user_id, "wrong"),
            _guess(there, "NOBODY99", "wrong"),
            _log_in(there, person.fingerprint, "K87654321"),
            _log_in(there, person.fingerprint, "NOBODY99"),
        ):
            watched.asked.clear()
            (refused,) = await together(guess)
            work.append((_codes([refused]), list(watched.asked)))
        watched.close()
    assert work[0] == work[1] == (["bad_credentials"], ["verify_drawn"] * 2)
    assert work[2] == work[3] == (["wrong_user_id"], [])
    # In everything but its bytes the hash of nobody's password is one of somebody's.
    shapes = {
        (*stored.split("$")[:4], *map(len, stored.split("$")[4:]))
        for stored in (passwords.hash_password("a"), passwords._NOBODY)
    }
    assert shapes == {("", "argon2id", "v=19", "m=19456,t=2,p=1", 22, 43)}


async def test_what_was_right_does_not_count(tmp_path: Path) -> None:
    """However often a person logs in, nobody behind the same address is throttled for it."""
    async with open_office(tmp_path, attempts=2) as ra:
        await admit(ra)
        password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
        for _ in range(25):
            await _guess(ra, "K12345678", password)
        assert rows(look(ra.database), "SELECT * FROM throttles WHERE failures > 0") == []


async def test_one_network_of_ipv6_is_one_guesser(tmp_path: Path) -> None:
    """A /64 is one customer's: its 2^64 addresses share their counters."""
    async with open_office(tmp_path, attempts=3) as ra:
        await admit(ra)
        for n in range(3):
            with pytest.raises(Refusal, match="wrong"):
                await _guess(ra, "K12345678", "guess", f"2001:db8::{n + 1:x}")
        with pytest.raises(Refusal) as refused:
            await _guess(ra, "K12345678", "guess", "2001:db8::ffff")
        assert refused.value == Refusal("throttled", at=ra.now() + ra.settings.attempt_seconds)
        with pytest.raises(Refusal, match="wrong"):
            await _guess(ra, "K12345678", "guess", "2001:db8:0:1::1")


async def test_a_clock_set_back_locks_nobody_out(tmp_path: Path) -> None:
    """A count made while the clock ran ahead is over once the clock is right again."""
    async with open_office(tmp_path, at=START, attempts=2) as ra:
        await admit(ra)
        clock_of(ra).advance(days=365)
        for _ in range(2):
            with pytest.raises(Refusal, match="wrong"):
                await _guess(ra, "K12345678", "guess")
        clock_of(ra).set(START + 60)
        with pytest.raises(Refusal) as refused:
            await _guess(ra, "K12345678", "guess")
        assert refused.value == Refusal("bad_credentials")


async def test_what_was_typed_as_a_user_id_is_kept_only_if_it_is_one(tmp_path: Path) -> None:
    """People type passwords into the wrong field: the trail keeps user IDs and nothing else."""
    async with open_office(tmp_path) as ra:
        person = await enrolled(ra)
        secret = person.login_password
        with pytest.raises(Refusal):
            await _guess(ra, secret, "x")
        with pytest.raises(Refusal):
            await login.authenticate(ra, person.fingerprint, secret, "x", address="192.0.2.1")
        assert secret not in str(store.audit_page(look(ra.database), None, 100))
        assert secret not in str(rows(look(ra.database), "SELECT * FROM throttles"))


async def test_a_flood_from_everywhere_is_refused_before_it_is_hashed(tmp_path: Path) -> None:
    """However many addresses guess at once, only so many checks wait; afterwards the door is open."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
        release = threading.Event()
        work = [ra.workers.run_in_thread(release.wait) for _ in range(throttle.MOST_WAITING + 2)]
        busy = [asyncio.ensure_future(each) for each in work]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await _guess(ra, "K12345678", password)
        assert refused.value == Refusal("throttled", at=ra.now() + 5)
        release.set()
        await asyncio.gather(*busy)
        await _guess(ra, "K12345678", password)


async def test_a_right_login_forgives_its_address_no_others_guesses(tmp_path: Path) -> None:
    """Whoever has a password of his own cannot wipe, with it, what his address has guessed of others'."""
    async with open_office(tmp_path, attempts=1) as ra:
        await admit(ra)
        password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
        for number in range(9):
            with pytest.raises(Refusal, match="wrong"):
                await _guess(ra, f"NOBODY{number}", "guess")
        await _guess(ra, "K12345678", password)
        with pytest.raises(Refusal, match="wrong"):
            await _guess(ra, "NOBODY10", "guess")
        with pytest.raises(Refusal) as refused:
            await _guess(ra, "K12345678", password)
        assert refused.value == Refusal("throttled", at=ra.now() + ra.settings.attempt_seconds)


async def test_a_guess_is_in_the_trail(tmp_path: Path) -> None:
    """From where, and at whose account if there is such a one: who reads the trail sees that it goes on."""
    async with open_office(tmp_path) as ra:
        person = await enrolled(ra)
        for user_id in (person.user_id, "NOBODY99"):
            with pytest.raises(Refusal, match="wrong"):
                await _guess(ra, user_id, "guess", "203.0.113.9")
        with pytest.raises(Refusal, match="wrong"):
            await _log_in(ra, person.fingerprint, person.user_id)
        trail = store.audit_page(look(ra.database), None, 3)
    assert [(row["actor"], row["action"], row["subject"]) for row in reversed(trail)] == [
        ("address:203.0.113.9", "pickup.refused", person.user_id),
        ("address:203.0.113.9", "pickup.refused", ""),
        ("address:192.0.2.1", "login.refused", person.user_id),
    ]


async def test_who_is_logged_in_confirms_by_the_password(tmp_path: Path) -> None:
    """What gives power away asks for it once more: a wrong one is told, counted with the logins of the same
    certificate, and in the trail; the right one goes through."""
    async with open_office(tmp_path, attempts=3) as ra:
        person = await enrolled(ra)

        async def confirm(password: str, user_id: str = person.user_id) -> None:
            await login.confirm(ra, person.fingerprint, user_id, password, address="192.0.2.1")

        await confirm(person.login_password)
        for guess, user_id in (("guess", person.user_id), ("x", "NOBODY99"), ("again", person.user_id)):
            with pytest.raises(Refusal) as refused:
                await confirm(guess, user_id)
            assert refused.value == Refusal("bad_credentials", field="password")
        with pytest.raises(Refusal) as refused:
            await confirm(person.login_password)
        assert refused.value.code == "throttled"
        with pytest.raises(Refusal) as refused:
            await _log_in(ra, person.fingerprint, person.user_id)
        assert refused.value.code == "throttled"
        trail = store.audit_page(look(ra.database), person.user_id, 2)
        assert [row["action"] for row in trail] == ["password.refused"] * 2


async def test_a_disabled_user_is_told_so_with_the_right_password_only(tmp_path: Path) -> None:
    """E27: no login; who does not know the password learns nothing of it."""
    async with open_office(tmp_path) as ra:
        person = await enrolled(ra)
        await register.disable_user(ra, person.user_id, actor="test")
        for password, code in (("wrong", "bad_credentials"), (person.login_password, "user_disabled")):
            with pytest.raises(Refusal) as refused:
                await login.authenticate(
                    ra, person.fingerprint, person.user_id, password, address="192.0.2.1"
                )
            assert refused.value.code == code
