"""Mails on their way out, against a mail server that really speaks SMTP."""

import asyncio
import re
from dataclasses import replace

import pytest

from ca.errors import ConfigError
from enroll import store
from enroll.mail import store as mail_store
from enroll.mail import wording, writing
from enroll.mail.delivery import compose, deliver_due
from enroll.mail.smtp import Smtp
from enroll.mail.states import IN_TURN
from enroll.mail.transport import Outbox
from enroll.people import applications, changes, register
from enroll.requests import pickup
from enroll.requests.states import State
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered, letter_of, open_office
from tests.engines import IN_A_FILE
from tests.looking import look, rows
from tests.mailserver import MailServer


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path, mail_return_path="bounce@kinen-bs.com") as ra:
        yield ra


def smtp(ra, server, **more):
    """Our way to a mail server of a test."""
    values = {"username": "", "password": "", "security": "none", "timeout": 5.0} | more
    postcards = Outbox(ra.database.folder / "outbox")
    return Smtp("127.0.0.1", server.port, postcards=postcards, **values)


def states(ra):
    return {row["kind"]: row["state"] for row in mail_store.listed(look(ra.database))}


async def test_accepted_once_and_never_again(ra):
    """R11: the server takes it, the request is 案内送信済, and a second run sends nothing."""
    admission = await admit(ra)
    async with MailServer().listening() as mail_server:
        transport = smtp(ra, mail_server)
        assert await deliver_due(ra, transport) == 2
        assert await deliver_due(ra, transport) == 0
    pickup = next(m for m in mail_server.accepted if "取得に関するご案内" in m["Subject"])
    assert (pickup["From"], pickup["To"]) == ("cpbs_ct@kinen-bs.com", "k12345678@example.jp")
    assert mail_server.sender == "bounce@kinen-bs.com"
    assert admission.request_id in pickup.get_content()
    assert store.enrollment(look(ra.database), admission.request_id).state is State.ANNOUNCED
    assert states(ra) == {"pickup": "sent", "user_id": "sent"}


async def test_a_temporary_refusal_is_retried_until_accepted(ra):
    """451 means later: a minute later the same letter, with the same Message-ID, is accepted."""
    await admit(ra)
    async with MailServer({"RCPT": ["451 greylisted", "451 greylisted"]}).listening() as mail_server:
        transport = smtp(ra, mail_server)
        assert await deliver_due(ra, transport) == 0
        assert set(states(ra).values()) == {"queued"}
        assert await deliver_due(ra, transport) == 0
        clock_of(ra).advance(seconds=60)
        assert await deliver_due(ra, transport) == 2
    assert len({m["Message-ID"] for m in mail_server.accepted}) == 2


async def test_a_final_refusal_is_kept_for_the_desk(ra):
    """550 means no: not sent again, and the operator sees the server's words (R17)."""
    admission = await admit(ra)
    async with MailServer(
        {"RCPT": ["550 no such mailbox", "550 no such mailbox"]}
    ).listening() as mail_server:
        transport = smtp(ra, mail_server)
        await deliver_due(ra, transport)
        clock_of(ra).advance(days=1)
        await deliver_due(ra, transport)
    assert mail_server.accepted == []
    assert states(ra) == {"pickup": "failed", "user_id": "failed"}
    assert "no such mailbox" in mail_store.listed(look(ra.database))[0]["result"]
    assert store.enrollment(look(ra.database), admission.request_id).state is State.ACCEPTED


async def test_no_server_is_no_loss(ra):
    """With nothing listening the letters wait."""
    await admit(ra)
    transport = smtp(ra, MailServer())
    assert await deliver_due(ra, transport) == 0
    assert set(states(ra).values()) == {"queued"}
    clock_of(ra).advance(seconds=60)
    assert len(await delivered(ra)) == 2


class Server:
    """A way out and its own only session; what it does with a letter is ``send``."""

    connections, letters_per_connection, per_minute, alive = 1, 100, 0, True

    async def open(self, channel):
        return self

    async def close(self):
        pass


class SlowServer(Server):
    """Takes a letter in five minutes, in which somebody else delivers what is due."""

    def __init__(self, ra, other=None):
        self.ra, self.other, self.taken = ra, other, []

    async def send(self, message, letter, return_path, handing_over):
        clock_of(self.ra).advance(seconds=300)
        self.taken.append(letter.kind)
        if self.other is not None and len(self.taken) == 1:
            await deliver_due(self.ra, self.other)
        return "250 taken"


async def test_a_slow_server_brings_no_letter_twice(ra):
    """R15: what another process took over, since the letters before it took too long, is left to it."""
    await admit(ra)
    other = SlowServer(ra)
    slow = SlowServer(ra, other)
    await deliver_due(ra, slow)
    # The one that was on its way when its lease ended may be sent again, as after a crash; no other.
    assert (slow.taken, other.taken) == (["pickup"], ["pickup", "user_id"])
    assert await deliver_due(ra, slow) == 0


@IN_A_FILE
async def test_letters_that_left_cost_nothing(ra):
    """A look for what is due takes no longer with thousands of letters that were sent long ago."""
    await admit(ra)
    await delivered(ra)
    columns = "kind, channel, user_id, request_id, recipient, subject, shown_body, state, next_attempt_at"

    def look(db):
        db.execute(
            f"INSERT INTO mails(cause, created_at, {columns}) WITH RECURSIVE n(i) AS"
            f" (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT 'old ' || i, 0, {columns}"
            " FROM n, mails WHERE id = 1"
        )
        thousands = []
        db.conn.set_progress_handler(lambda: thousands.append(1), 1_000)
        try:
            assert mail_store.next_due(db, "mail", ra.now(), IN_TURN) is None
        finally:
            db.conn.set_progress_handler(None, 0)
        return len(thousands)

    assert await ra.database.write(look) <= 1


async def test_a_clock_that_ran_ahead_holds_no_letter_back(ra):
    """Queued on a day that had not come yet, a letter leaves once the clock is right again."""
    clock_of(ra).advance(days=2)
    await admit(ra)
    clock_of(ra).advance(days=-2)
    assert len(await delivered(ra)) == 2
    assert mail_store.waiting(look(ra.database)) == 0


async def test_who_is_stopped_waits_for_the_answer(ra):
    """Stopped while a letter is on its way, a process notes whether it was taken: nobody sends it again."""

    class Taking(Server):
        def __init__(self):
            self.sent, self.answer = [], asyncio.Event()

        async def send(self, message, letter, return_path, handing_over):
            self.sent.append(letter.id)
            await self.answer.wait()
            return "taken"

    await admit(ra)
    server = Taking()
    sending = asyncio.create_task(deliver_due(ra, server))
    async with asyncio.timeout(60):
        while not server.sent:
            await asyncio.sleep(0)
    sending.cancel()
    await asyncio.sleep(0.05)
    server.answer.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(sending, 60)
    clock_of(ra).advance(seconds=3_600)
    await deliver_due(ra, server)
    assert server.sent == [1, 2]


async def test_letters_of_an_ended_request_are_not_sent(ra):
    """E2: what was queued for a request that has died stays at home; the ID notice goes out."""
    await admit(ra)
    await applications.reissue(ra, "K12345678", "pc_change", actor="desk")
    sent = [letter.name for letter in await delivered(ra)]
    assert sent == ["000002-user_id.eml", "000003-pickup.eml"]


async def test_who_is_disabled_gets_no_letters(ra):
    """E27: whatever was queued for somebody who has left stays at home."""
    await admit(ra)
    await register.disable_user(ra, "K12345678", actor="desk")
    assert await delivered(ra) == []
    assert states(ra) == {"pickup": "cancelled", "user_id": "cancelled"}


async def test_the_issue_password_can_come_by_postcard(ra):
    """E14: the mail lacks the password and says so, the postcard brings it."""
    ra = replace(ra, settings=replace(ra.settings, postcards="outbox"))
    await register.add_organisation(
        ra, POLICY_NUMBER, "霞が関商事", actor="test", issue_password_by="postcard"
    )
    await admit(ra)
    mail = await letter_of(ra, "pickup_without_password")
    card = await letter_of(ra, "issue_password")
    password = card.value("証明書発行用パスワード")
    assert len(password) == 16
    assert password not in mail.body
    assert mail.value("証明書発行用パスワード") == "団体様のご住所への「はがき」でお知らせいたします"


async def test_only_a_reissue_speaks_of_a_former_certificate(ra):
    """Who gets their first one is told of none that has ended; who had one is told which to choose."""
    await admit(ra)
    said = "以前の証明書は、"
    assert said not in (await letter_of(ra, "pickup")).body
    await applications.reissue(ra, "K12345678", "pc_change", actor="test", revoke_old="on_pickup")
    assert said in (await letter_of(ra, "pickup")).body


async def test_the_issue_password_can_come_through_the_administrator(ra):
    """E14: two mailboxes, the user's without the password; where there is no other 管理者, a postcard."""
    ra = replace(ra, settings=replace(ra.settings, postcards="outbox"))
    await register.add_organisation(ra, POLICY_NUMBER, "霞が関商事", actor="test", issue_password_by="admin")
    await admit(ra, "A11111111", role="admin")
    await letter_of(ra, "issue_password")
    await admit(ra)
    mail = await letter_of(ra, "pickup_without_password")
    passed_on = await letter_of(ra, "issue_password_admin")
    password = passed_on.value("証明書発行用パスワード")
    assert (passed_on.value("ユーザーID"), password in mail.body) == ("K12345678", False)
    assert "年金 太郎 様（団体の管理者）から" in mail.body
    recipients = {each["kind"]: each["recipient"] for each in reversed(mail_store.listed(look(ra.database)))}
    assert recipients["issue_password_admin"] == "a11111111@example.jp"
    assert recipients["pickup_without_password"] == "k12345678@example.jp"
    opened = await pickup.authenticate(ra, "K12345678", password, address="192.0.2.1")
    assert opened.request_id == mail.value("リクエストID")


#: Letters to whoever works here.
OUR_OWN = ("ca_ending", "operator_code", "break_glass", "operator_ending", "proposal_expired")
_SAMPLE = (
    *("name", "url", "user_id", "issue_password", "login_password", "request_id", "common_name", "not_after"),
    *("until", "moment", "password_by", "admin", "operator", "telephone", "left", "days", "members"),
    "serial",
    "issuer",
    "reissue",
)


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("kind", [each for each in writing.TEMPLATES if each not in OUR_OWN])
def test_every_letter_is_a_business_letter(kind, language):
    """R4, R10: whom it is to, with the organisation, a greeting, who writes, the desk and its hours; of a
    mail, that nobody reads answers; of a postcard, the address that it goes to."""
    for channel in ("mail", "postcard"):
        letter = writing.write_letter(
            kind,
            cause="c",
            channel=channel,
            user_id="K12345678",
            recipient="x",
            values=dict.fromkeys(_SAMPLE, "x")
            | {"to": "年金 太郎", "organisation": "霞が関商事", "address": "千代田区1"},
            language=language,
        )
        lines = letter.body.splitlines()
        assert lines.pop(0) == "千代田区1" if channel == "postcard" else "千代田区1" not in letter.body
        assert lines[:2] == ["霞が関商事", "Dear 年金 太郎," if language == "en" else "年金 太郎 様"]
        answers = "Please do not reply" if language == "en" else "送信専用"
        assert (answers in letter.body) == (channel == "mail")
        assert ("平素より格別のお引き立てを賜り" in letter.body) == (language == "ja")
        assert lines[lines.index("--") + 1] == "x"
        assert lines[-1].startswith(
            "Monday to Friday 9:00-12:00" if language == "en" else "受付時間：月～金曜日"
        )
        assert "\n\n\n" not in letter.body
        assert letter.subject.isascii() == (language == "en")
        assert bool(re.search("[ぁ-ん]", "".join(lines[2:]))) == (language == "ja")


async def test_letters_are_in_the_users_language(ra):
    """The user's, wherever the letter comes from; its address opens the site in it."""
    await register.add_organisation(ra, POLICY_NUMBER, "霞が関商事", actor="test", issue_password_by="admin")
    await admit(ra, "A11111111", role="admin")
    await admit(ra, language="en")
    mail, notice = await letter_of(ra, "pickup_without_password"), await letter_of(ra, "user_id")
    assert mail.subject == "[Important] How to get your client certificate for the DB pension online service"
    assert "comes separately, from 年金 太郎, the administrator of your organisation." in mail.body
    assert f"{ra.settings.pickup_url}?lang=en" in mail.body.splitlines()
    assert f"{ra.settings.service_url}?lang=en" in notice.body.splitlines()
    # The administrator's own.
    passed_on = await letter_of(ra, "issue_password_admin")
    assert passed_on.body.splitlines()[:2] == ["霞が関商事", "年金 太郎 様"]
    await changes.change_user(ra, "K12345678", {"language": "ja"}, actor="desk")
    await changes.reset_password(ra, "K12345678", actor="desk")
    assert (await letter_of(ra, "password_reset")).value("ユーザーID") == "K12345678"


def test_our_own_templates_are_whole() -> None:
    """Each of them has a sample of every value it asks for: what doctor and a reload look at, wherever nobody
    has written any."""
    wording.check_templates(None)


async def test_an_operators_template_takes_the_place_of_ours(tmp_path, ra):
    """Z5: templates are editable; a broken one is refused by name, before anything is lost."""
    directory = tmp_path / "templates"
    directory.mkdir()
    (directory / "pickup.txt").write_text("Subject: 別の件名\n\n{{ request_id }}\n")
    await admit(replace(ra, templates=writing.read_templates(directory)))
    assert (await letter_of(ra, "pickup")).subject == "別の件名"
    (directory / "signature.en.txt").write_text("-- \nOurs\n")
    await admit(replace(ra, templates=writing.read_templates(directory)), "E11111111", language="en")
    english = await letter_of(ra, "pickup")
    assert english.subject.startswith("[Important]")
    assert english.body.splitlines()[-2:] == ["-- ", "Ours"]
    (directory / "pickup.txt").write_text("Subject: x\n\n{{ pin }}\n")
    with pytest.raises(ConfigError, match=r"pickup\.txt.*pin"):
        wording.check_templates(writing.read_templates(directory))
    (directory / "pickup.txt").write_bytes("Subject: x\n\n名前".encode("cp932"))
    with pytest.raises(ConfigError, match=r"pickup\.txt: it is not UTF-8"):
        wording.check_templates(writing.read_templates(directory))


async def test_a_copy_is_told_by_its_message_id(ra):
    """RFC 5322 3.6.4: one that is sent again, after a crash or an answer that got lost, has the same, so that
    a reader shows one letter; two letters have two."""
    await admit(ra)
    seen = []
    for attempts in (1, 2, 7):
        for row in rows(look(ra.database), "SELECT * FROM mails ORDER BY id"):
            letter = writing.opened(row | {"attempts": attempts}, ra.epochs)
            seen.append(compose(letter, ra.settings.mail_from)["Message-ID"])
    assert len(seen) == 6
    assert seen[:2] == seen[2:4] == seen[4:]
    assert len(set(seen)) == 2
