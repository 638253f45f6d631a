"""What people write about themselves cannot stop, split or steer the mails."""

from __future__ import annotations

from pathlib import Path

import pytest

from enroll import store
from enroll.mail import store as mail_store
from enroll.mail.delivery import deliver_due
from enroll.mail.transport import Outbox
from enroll.people.register import Person, add_organisation, add_user
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from tests.datadirs import POLICY_NUMBER, admit, delivered, open_office
from tests.looking import look


async def _add(ra: RegistrationAuthority, name: str, mail: str = "a@example.jp", **fields: str) -> None:
    person = Person(POLICY_NUMBER, name, mail, **fields)  # type: ignore[arg-type]
    await add_user(ra, person, channel="paper", actor="test")


@pytest.mark.parametrize("name", ['"', "<", "a@[", ":;", "=?utf-8?q?=0d=0aBcc:x?=", "@B:&`b}, .;{B"])
async def test_a_name_that_is_no_header_stops_no_mail(tmp_path: Path, name: str) -> None:
    """A person's name reaches a postcard as it is, and the letters behind it still leave."""
    async with open_office(tmp_path, postcards="outbox") as ra:
        await add_organisation(ra, POLICY_NUMBER, "霞が関商事", actor="test")
        await _add(ra, name, notice_by="postcard")
        await admit(ra, "K22222222")
        sent = await delivered(ra)
        assert [letter.name.split("-")[1] for letter in sent] == [
            "pickup.eml",
            "user_id.txt",
            "pickup.eml",
            "user_id.eml",
        ]
        outbox = ra.database.folder / "outbox"
        assert next(outbox.glob("*.txt")).read_text().split("\n\n")[0] == name
        assert mail_store.waiting(look(ra.database)) == 0


async def test_a_letter_that_cannot_be_sent_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A letter whose sending fails in an unforeseen way is put back; those behind it leave."""

    class Poisoned(Outbox):
        async def send(self, message, letter, return_path, handing_over):  # type: ignore[no-untyped-def]
            if letter.id == 1:
                raise KeyError(letter.body)
            return await super().send(message, letter, return_path, handing_over)

    async with open_office(tmp_path) as ra:
        await admit(ra)
        assert await deliver_due(ra, Poisoned(tmp_path / "outbox")) == 1
        put_back = mail_store.shown(look(ra.database), 1)
        assert put_back is not None
        assert (put_back["state"], put_back["result"]) == ("queued", "KeyError")
        assert put_back["next_attempt_at"] == ra.now() + 60


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "太郎\x00"),
        ("mail", "a@example.jp\r\nBcc: x@example.org"),
        ("mail", "a@example.jp,b@example.org"),
        ("mail", '"a b"@example.jp'),
        ("mail", "ä@example.jp"),
    ],
)
async def test_no_control_and_no_second_recipient_gets_in(tmp_path: Path, field: str, value: str) -> None:
    """A name with a control character, an address that could be two, are refused by name."""
    async with open_office(tmp_path) as ra:
        await add_organisation(ra, POLICY_NUMBER, "霞が関商事", actor="test")
        wanted = {"name": "年金 太郎", "mail": "a@example.jp", field: value}
        with pytest.raises(Refusal) as refused:
            await _add(ra, wanted["name"], wanted["mail"])
        # Its detail names the character, for operators.
        assert (refused.value.code, refused.value.field) == ("invalid_input", field)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [("name", "\u202egpj.exe", "gpj.exe"), ("mail", "a@example.jp\n", "a@example.jp")],
)
async def test_what_a_paste_brings_along_gets_nowhere(
    tmp_path: Path, field: str, value: str, kept: str
) -> None:
    """A mark that turns the direction of text, a line's end behind an address: taken off."""
    async with open_office(tmp_path) as ra:
        await add_organisation(ra, POLICY_NUMBER, "霞が関商事", actor="test")
        wanted = {"name": "年金 太郎", "mail": "a@example.jp", field: value}
        await _add(ra, wanted["name"], wanted["mail"])
        assert [getattr(user, field) for user in store.users(look(ra.database))] == [kept]


@pytest.mark.parametrize("line_break", ["\r\n", "\n", "\u2028", "\x85"])
async def test_a_name_is_one_line(tmp_path: Path, line_break: str) -> None:
    """Line breaks within a name become spaces, so that none begins a line of its own in a mail."""
    async with open_office(tmp_path) as ra:
        await add_organisation(ra, POLICY_NUMBER, "霞が関商事", actor="test")
        await _add(ra, f"太郎{line_break}Bcc: x@example.org")
        bodies = [letter.body.splitlines() for letter in await delivered(ra)]
        assert bodies
        assert all("太郎 Bcc: x@example.org 様" in body for body in bodies)
        assert not any(line.startswith("Bcc:") for body in bodies for line in body)
