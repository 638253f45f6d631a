"""Identifiers, Japan's calendar and passwords."""

import time
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll import identifiers
from enroll.jst import JST, day_of, days_before, days_left, shown, shown_day, start_of
from enroll.people import passwords


def test_request_ids_have_sixteen_digits_and_a_check_digit():
    """1.K: one wrong digit, or two neighbours exchanged (but 0 and 9), is told at once."""
    request_id = identifiers.new_request_id()
    assert identifiers.valid_request_id(request_id)
    for place in range(16):
        for digit in "0123456789":
            typo = request_id[:place] + digit + request_id[place + 1 :]
            assert identifiers.valid_request_id(typo) is (typo == request_id)


@given(st.text(max_size=20))
def test_anything_else_is_no_request_id(text):
    """Full-width digits, spaces and lengths other than 16 are refused without an exception."""
    if not (len(text) == 16 and text.isascii() and text.isdigit()):
        assert identifiers.valid_request_id(text) is False


def test_issue_passwords_are_strong_and_unambiguous():
    """D5: sixteen characters of at least 80 bits, none that look alike."""
    password = identifiers.new_issue_password()
    assert len(password) == 16
    assert not set("".join(identifiers.new_issue_password() for _ in range(200))) & set("0OoIl1S5sZ2zB8b")
    assert len(identifiers.UNAMBIGUOUS) ** 16 >= 2**80
    assert len(set(identifiers.UNAMBIGUOUS)) == len(identifiers.UNAMBIGUOUS)


def test_common_name_is_user_id_and_number():
    """D4: four digits; a fifth does not fit."""
    assert identifiers.common_name("K12345678", 1) == "K123456780001"
    with pytest.raises(ValueError):
        identifiers.common_name("K12345678", 10_000)


def moment(text):
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=JST).timestamp())


def test_japan_is_nine_hours_ahead():
    """By the epoch, not by the zone that the code itself has: days, and what people read, begin there."""
    assert shown(0) == "1970.01.01 09:00:00"
    assert shown_day(54_000 - 1) == "1970.01.01"
    assert shown_day(54_000) == "1970.01.02"
    assert (day_of(53_999), day_of(54_000)) == (date(1970, 1, 1), date(1970, 1, 2))
    assert start_of(date(1970, 1, 2)) == 54_000
    assert days_before(54_000, 1) == -32_400
    assert (days_left(54_000, 53_999), days_left(53_999, 54_000)) == (1, -1)


def test_moments_are_shown_as_the_manual_does():
    """R41: 2025.01.25 15:11:48, in Japan."""
    assert shown(moment("2025-01-25 15:11:48")) == "2025.01.25 15:11:48"


@pytest.mark.parametrize(
    ("end", "start"),
    [
        ("2029-11-22 23:59:59", "2029-10-23 00:00:00"),
        ("2029-11-22 00:00:00", "2029-10-23 00:00:00"),
        ("2028-03-15 12:00:00", "2028-02-14 00:00:00"),  # over 29 February
    ],
)
def test_thirty_days_are_calendar_days_in_japan(end, start):
    """E25: midnight in Japan, whatever the hour of the certificate's end."""
    assert days_before(moment(end), 30) == moment(start)


def test_days_left_counts_days_not_hours():
    """Two minutes over midnight are one day."""
    assert days_left(moment("2029-11-22 00:01:00"), moment("2029-11-21 23:59:00")) == 1
    assert start_of(date(2029, 11, 22)) == moment("2029-11-22 00:00:00")
    assert day_of(moment("2029-11-22 08:59:59")) == date(2029, 11, 22)


def test_drawn_passwords_are_hashed_quickly_and_chosen_ones_are_not():
    """65 and 87 bits need no slow hash; what is short or has other letters cannot be hashed so by mistake."""
    for secret in (identifiers.new_login_password(), identifiers.new_issue_password()):
        stored = passwords.hash_drawn(secret)
        assert stored.startswith("$argon2id$v=19$m=1024,t=1,p=1$")
        assert passwords.verify_password(secret, stored)
        assert not passwords.verify_password(secret[:-1], stored)
        assert not passwords.verify_password(secret.swapcase(), stored)
    assert passwords.hash_password("Tegata2026").startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for other in ("Tegata2026", identifiers.new_issue_password()[:11], "1" * 12):
        with pytest.raises(ValueError, match="hash it with hash_password"):
            passwords.hash_drawn(other)
    assert len(identifiers.UNAMBIGUOUS) ** 12 >= 2**65


def test_what_is_always_drawn_is_verified_by_one_derivation():
    """An issue password's check is quick: right, wrong, nobody's; a chosen one's hash is never it."""
    secret = identifiers.new_issue_password()
    stored = passwords.hash_drawn(secret)
    assert passwords.verify_drawn(secret, stored)
    assert not passwords.verify_drawn(secret[:-1], stored)
    assert not passwords.verify_drawn(secret, None)
    assert not passwords.verify_drawn("Tegata2026", passwords.hash_password("Tegata2026"))


def test_either_kind_of_hash_costs_the_same():
    """A check of a drawn, a chosen and nobody's password does the same two derivations, in CPU as well."""

    def cost(stored):
        began = time.thread_time()
        for _ in range(5):
            assert not passwords.verify_password("wrong", stored)
        return time.thread_time() - began

    drawn = passwords.hash_drawn(identifiers.new_login_password())
    chosen = passwords.hash_password("Tegata2026")
    costs = [cost(stored) for stored in (drawn, chosen, None)]
    # One of the two alone would be a thirtieth.
    assert max(costs) < 3 * min(costs)


def test_passwords_verify_and_reject():
    """argon2id; the wrong password and nobody's hash are False; full-width input is the same."""
    stored = passwords.hash_password("Tegata2026")
    assert stored.startswith("$argon2id$")
    assert passwords.verify_password("Tegata2026", stored)
    assert passwords.verify_password("Ｔｅｇａｔａ２０２６", stored)
    assert not passwords.verify_password("tegata2026", stored)
    assert not passwords.verify_password("Tegata2026", None)


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("Tegata2026", None),
        ("short1", "weak_password"),
        ("nodigitshere", "weak_password"),
        ("1234567890", "weak_password"),
        ("full width2あ", "weak_password"),
        ("k12345678", "password_is_user_id"),
        ("a1" * 65, "weak_password"),
        ("password1", "guessable_password"),
        ("p@55w0rd1", "guessable_password"),
        ("abcd1234", "guessable_password"),
        ("sakura123", "guessable_password"),
        ("Nenkin2026", "guessable_password"),
        ("Suzuki1980", "guessable_password"),
        ("hanako-0815", "guessable_password"),
        ("K12345678!", "guessable_password"),
        ("Xk39vPq2", None),
        ("sakura-neko-42-fuji", None),
        # The weak part of a long one does not make it weak.
        ("password" * 3 + "Xk39vPq2hD", None),
    ],
)
def test_login_password_rule(password, problem):
    """Eight to 128 half-width characters with letters and digits; not the user ID, and hard to guess."""
    assert passwords.login_password_problem(password, "K12345678", ("hanako",)) == problem


def test_what_is_known_of_a_user_is_guessed_first():
    """A name that no list has is easy to guess for whoever knows it."""
    assert passwords.login_password_problem("Zvezdinka42", "K12345678") is None
    assert (
        passwords.login_password_problem("Zvezdinka42", "K12345678", ("zvezdinka",)) == "guessable_password"
    )


def test_no_password_keeps_a_core_busy():
    """zxcvbn's own search takes minutes for this one; a login waits for what ours takes."""
    hard = ("p4@8s(e{c[u<r3e6l9o&v#e!i1l/i|o0z$s5t+r7x%z2" * 3)[:128]
    began = time.thread_time()
    assert passwords.login_password_problem(hard, "K12345678") is None
    assert time.thread_time() - began < 2
