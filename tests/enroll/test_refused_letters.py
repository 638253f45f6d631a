"""Who refused a letter is decided by what was refused; what is not the recipient's loses nothing."""

from collections import Counter
from dataclasses import replace

import pytest

from enroll.mail import queue
from enroll.mail import store as mail_store
from enroll.mail.delivery import deliver_due
from enroll.mail.replies import COMMANDS, Verdict, judge
from enroll.mail.smtp import Smtp
from enroll.mail.transport import Outbox
from enroll.people import changes
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered, open_office
from tests.looking import look
from tests.mailserver import CUT, MailServer

PEOPLE = ("K11111111", "K22222222", "K33333333")
LETTERS = 2 * len(PEOPLE)


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


async def queued(ra):
    for user_id in PEOPLE:
        await admit(ra, user_id)


def smtp(ra, server, **more):
    values = {"username": "", "password": "", "security": "none", "timeout": 5.0} | more
    return Smtp("127.0.0.1", server.port, postcards=Outbox(ra.database.folder / "outbox"), **values)


def letters(ra):
    return list(reversed(mail_store.listed(look(ra.database))))


def states(ra):
    return Counter(letter["state"] for letter in letters(ra))


def bodies(ra):
    return look(ra.database).one("SELECT count(sealed_body) FROM mails")[0]


# Of the server's own words, as they were seen; with AUTH a login is given.
TABLE = [
    ("greeting", "554 no service from your address"),
    ("EHLO", "550 access denied"),
    ("AUTH", "534 mechanism too weak"),
    ("AUTH", "535 credentials wrong"),
    ("AUTH", "538 encryption required"),
    ("AUTH", "550 account disabled"),
    ("MAIL", "553 sender not owned by user"),
    ("MAIL", "550 5.4.5 daily quota exceeded"),
    ("DATA", "552 message size"),
    ("DATA", "554 5.7.1 looks like spam"),
    ("dot", "552 message size"),
    ("dot", "554 5.7.1 looks like spam"),
    ("dot", "452 insufficient storage"),
    ("RCPT", "554 5.7.1 relay access denied"),
    ("RCPT", "550 relaying denied"),
    ("RCPT", "530 authentication required"),
    ("RCPT", "550 5.1.8 sender's domain does not exist"),
    ("RCPT", "451 4.3.0 queue file write error"),
    ("MAIL", "421 4.3.2 shutting down"),
    ("RCPT", "421 4.7.0 slow down"),
    ("DATA", "421 4.3.2 shutting down"),
    ("greeting", CUT),
    ("EHLO", CUT),
    ("MAIL", CUT),
    ("RCPT", CUT),
    ("DATA", CUT),
    ("dot", CUT),
]


@pytest.mark.parametrize(("command", "answer"), TABLE)
async def test_what_is_not_the_recipients_holds_every_letter_and_loses_none(ra, command, answer):
    """One refusal, one back-off for all: nobody else is tried, nothing fails, and no text is wiped.

    When the server is mended and the back-off is over, each letter leaves once.
    """
    await queued(ra)
    login = ("me", "secret")
    async with MailServer({command: answer}, login=login).listening() as server:
        transport = smtp(ra, server, username=login[0], password=login[1])
        assert await deliver_due(ra, transport) == 0
        assert await deliver_due(ra, transport) == 0
        assert server.connections == 1
        assert server.heard["RCPT"] <= 1
        assert (states(ra), bodies(ra)) == ({"queued": LETTERS}, LETTERS)
        lane = queue.lane(look(ra.database), "mail")
        assert (lane.refusals, lane.held_until_at) == (1, ra.now() + 60)
        server.answers.clear()
        assert await deliver_due(ra, transport) == 0
        clock_of(ra).advance(seconds=60)
        while await deliver_due(ra, transport):
            pass
    assert states(ra) == {"sent": LETTERS}
    assert Counter(message["Message-ID"] for message in server.accepted).most_common(1)[0][1] == 1


async def test_no_answer_at_all_holds_every_letter(ra):
    """A port that nobody listens on, and a server without STARTTLS, are told in words."""
    await queued(ra)
    assert await deliver_due(ra, smtp(ra, MailServer())) == 0
    assert queue.lane(look(ra.database), "mail").said.startswith("connect Error connecting to 127.0.0.1")
    clock_of(ra).advance(seconds=60)
    async with MailServer().listening() as server:
        assert await deliver_due(ra, smtp(ra, server, security="starttls")) == 0
        said = queue.lane(look(ra.database), "mail").said
    assert said == "STARTTLS SMTP STARTTLS extension not supported by server."
    assert states(ra) == {"queued": LETTERS}


async def test_a_login_that_is_not_asked_for_is_no_letters_fault(ra):
    """A server that knows no AUTH holds the letters, too."""
    await queued(ra)
    async with MailServer().listening() as server:
        assert await deliver_due(ra, smtp(ra, server, username="me", password="secret")) == 0
    assert queue.lane(look(ra.database), "mail").said.startswith("AUTH The SMTP AUTH extension")
    assert states(ra) == {"queued": LETTERS}


@pytest.mark.parametrize("answer", ["550 5.1.1 user unknown", "550 no such user", "552 5.2.2 mailbox full"])
async def test_a_recipients_refusal_is_that_letters_only(ra, answer):
    """RCPT belongs to the recipient: its letters fail, everybody else's leave, and nothing is held."""
    await queued(ra)
    refusing = MailServer(by_recipient={"k22222222@example.jp": answer})
    async with refusing.listening() as server:
        assert await deliver_due(ra, smtp(ra, server)) == LETTERS - 2
    assert states(ra) == {"sent": LETTERS - 2, "failed": 2}
    assert {row["result"] for row in letters(ra) if row["state"] == "failed"} == {f"RCPT {answer}"}
    assert queue.lane(look(ra.database), "mail").refusals == 0


@pytest.mark.parametrize("answer", ["450 4.2.0 greylisted", "451 try again later", "452 4.2.2 mailbox full"])
async def test_a_recipients_delay_is_that_letters_only(ra, answer):
    """4yz at RCPT has that letter wait, and nobody else."""
    await queued(ra)
    refusing = MailServer(by_recipient={"k11111111@example.jp": answer})
    async with refusing.listening() as server:
        transport = smtp(ra, server)
        assert await deliver_due(ra, transport) == LETTERS - 2
        assert states(ra) == {"sent": LETTERS - 2, "queued": 2}
        server.by_recipient.clear()
        assert await deliver_due(ra, transport) == 0
        clock_of(ra).advance(seconds=60)
        assert await deliver_due(ra, transport) == 2


@pytest.mark.parametrize("answer", ["550 5.7.1 policy", "550 5.7.133 senders from outside are refused"])
async def test_in_doubt_a_letter_stays_and_others_leave(ra, answer):
    """What may be about us or about one mailbox: with others getting through it is this letter's."""
    await queued(ra)
    refusing = MailServer(by_recipient={"k33333333@example.jp": answer})
    async with refusing.listening() as server:
        transport = smtp(ra, server)
        assert await deliver_due(ra, transport) == 4
        # Two doubts in a row, of the same mailbox: now it might be all, and one minute goes by.
        assert states(ra) == {"sent": 4, "queued": 2}
        await admit(ra, "K44444444")
        clock_of(ra).advance(seconds=60)
        assert await deliver_due(ra, transport) >= 1
        clock_of(ra).advance(seconds=120)
        while await deliver_due(ra, transport):
            pass
        assert states(ra) == {"sent": 6, "queued": 2}
        assert {row["result"] for row in letters(ra) if row["state"] == "queued"} == {f"RCPT {answer}"}


@pytest.mark.parametrize("answer", ["550 5.3.0 odd", "550 5.1.8 odd", "503 odd", "421 odd", CUT])
async def test_one_recipient_never_stands_in_everybodys_way(ra, answer):
    """What sounds like the server's may still be one recipient's: after the wait the others go first."""
    await queued(ra)
    refusing = MailServer(by_recipient={"k11111111@example.jp": answer})
    async with refusing.listening() as server:
        transport = smtp(ra, server)
        assert await deliver_due(ra, transport) == 0
        for _ in range(6):
            clock_of(ra).advance(seconds=60)
            while await deliver_due(ra, transport):
                pass
    assert states(ra) == {"sent": LETTERS - 2, "queued": 2}


async def test_a_hundred_refused_letters_keep_nobody_waiting(ra):
    """One look sends what is due, also when whole connections of letters were refused before it."""
    await queued(ra)
    refusing = {f"k{digit * 8}@example.jp": "550 5.1.1 user unknown" for digit in "12"}
    async with MailServer(by_recipient=refusing).listening() as server:
        assert await deliver_due(ra, smtp(ra, server, letters_per_connection=1)) == 1
    assert states(ra) == {"sent": 1, "failed": 4, "queued": 1}


async def test_a_letter_that_was_read_is_waited_for_longer(ra):
    """RFC 5321 section 4.5.3.2.6: who hangs up on a server that is thinking sends the letter twice."""
    await admit(ra)
    async with MailServer(think=2.5).listening() as server:
        assert await deliver_due(ra, smtp(ra, server, timeout=2.0)) == 2


async def test_a_letter_in_doubt_is_given_up_after_five_days_and_kept(ra):
    """The cap: refused for five days while the server took others, it is `failed`, its text still there."""
    await admit(ra)
    answers = {"k12345678@example.jp": "550 5.7.1 policy"}
    async with MailServer(by_recipient=answers).listening() as server:
        transport = smtp(ra, server)
        for day in range(7):
            await admit(ra, f"K9999999{day}")
            for _ in range(24):
                clock_of(ra).advance(hours=1)
                while await deliver_due(ra, transport):
                    pass
            if day == 3:
                assert states(ra) == {"sent": 8, "queued": 2}
    assert states(ra) == {"sent": 14, "failed": 2}
    failed = [row for row in letters(ra) if row["state"] == "failed"]
    assert {row["result"] for row in failed} == {"given up: RCPT 550 5.7.1 policy"}
    assert bodies(ra) == 2


async def test_a_server_that_takes_nothing_for_weeks_has_nothing_given_up(ra):
    """The cap never counts time in which no other letter was taken either."""
    await admit(ra)
    async with MailServer({"RCPT": "554 5.7.1 relay access denied"}).listening() as server:
        transport = smtp(ra, server)
        for _ in range(20):
            clock_of(ra).advance(days=1)
            assert await deliver_due(ra, transport) == 0
    assert states(ra) == {"queued": 2}


async def test_closing_in_the_middle_is_met_by_a_new_connection(ra):
    """421, or a cut, after some letters is how servers end a long connection: nothing waits."""
    await queued(ra)
    many = {"MAIL": ["250 ok", "250 ok", "421 4.7.0 too many messages", "250 ok", CUT, "250 ok"]}
    async with MailServer(many).listening() as server:
        assert await deliver_due(ra, smtp(ra, server)) == LETTERS
    assert (server.connections, states(ra)) == (3, {"sent": LETTERS})


async def test_a_connection_cut_after_the_dot_sends_the_letter_again_under_its_number(ra):
    """At least once (RFC 1047): the server may have it or not; the Message-ID tells the copies as one."""
    await admit(ra)
    async with MailServer({"dot": [CUT]}).listening() as server:
        transport = smtp(ra, server)
        assert await deliver_due(ra, transport) == 0
        assert {row["state"] for row in letters(ra)} == {"queued"}
        clock_of(ra).advance(seconds=60)
        assert await deliver_due(ra, transport) == 2
    assert len({message["Message-ID"] for message in server.accepted}) == 2


async def test_a_letter_that_ends_every_connection_is_not_sent_for_ever(ra):
    """Three times to its end without an answer, while others are taken: each may have been a copy."""
    await admit(ra)
    async with MailServer(cut_after_dot={"k12345678@example.jp"}).listening() as server:
        transport = smtp(ra, server)
        for number in range(12):
            await admit(ra, f"K7777777{number % 10}{number // 10}")
            for _ in range(3):
                clock_of(ra).advance(hours=5)
                await deliver_due(ra, transport)
    found = [mail_store.shown(look(ra.database), number) for number in (1, 2)]
    assert [letter["state"] for letter in found] == ["failed", "failed"]
    assert {letter["result"] for letter in found} == {"given up: DATA Unexpected EOF received"}
    assert states(ra) == {"sent": 24, "failed": 2}


# -- the back-off is one, and an operator ends it ------------------------------------------------------------


async def test_the_backoff_grows_to_a_quarter_of_an_hour_for_all_together(ra):
    """60, 300, 900, 900 seconds: one login each, however many letters wait."""
    await queued(ra)
    async with MailServer({"AUTH": "535 credentials wrong"}).listening() as server:
        transport = smtp(ra, server, username="me", password="secret")
        for attempt, wait in enumerate((60, 300, 900, 900), 1):
            assert await deliver_due(ra, transport) == 0
            assert server.heard["AUTH"] == attempt
            clock_of(ra).advance(seconds=wait - 1)
            assert await deliver_due(ra, transport) == 0
            assert server.heard["AUTH"] == attempt
            clock_of(ra).advance(seconds=1)


async def test_retry_ends_the_backoff_at_once(ra):
    """Mended, and told so: everything leaves in the same second."""
    await queued(ra)
    async with MailServer({"MAIL": "553 sender not owned by user"}).listening() as server:
        transport = smtp(ra, server)
        for _ in range(3):
            await deliver_due(ra, transport)
            clock_of(ra).advance(seconds=900)
        await deliver_due(ra, transport)
        server.answers.clear()
        assert await deliver_due(ra, transport) == 0
        assert await ra.database.write(lambda db: mail_store.retry(db, ra.now())) == LETTERS
        assert await deliver_due(ra, transport) == LETTERS


async def test_retry_of_one_letter_sends_that_one_first_and_then_the_others(ra):
    """One letter goes ahead; refused again, the others are not tried."""
    await queued(ra)
    async with MailServer({"MAIL": "553 sender not owned by user"}).listening() as server:
        transport = smtp(ra, server)
        await deliver_due(ra, transport)
        assert await ra.database.write(lambda db: mail_store.retry_one(db, 5, ra.now()))
        assert await deliver_due(ra, transport) == 0
        assert server.heard["MAIL"] == 2
        assert mail_store.shown(look(ra.database), 5)["attempts"] == 1
        server.answers.clear()
        assert await ra.database.write(lambda db: mail_store.retry_one(db, 5, ra.now()))
        assert await deliver_due(ra, transport) == LETTERS
    assert server.recipients[0] == "k33333333@example.jp"


async def test_a_failed_letter_is_tried_again_at_the_new_address(ra):
    """An address put right and a word of the operator: the same letter, its passwords in it, leaves."""
    await admit(ra)
    refusing = MailServer(by_recipient={"k12345678@example.jp": "550 5.1.1 user unknown"})
    async with refusing.listening() as server:
        transport = smtp(ra, server)
        await deliver_due(ra, transport)
        assert states(ra) == {"failed": 2}
        await changes.change_user(ra, "K12345678", {"mail": "right@example.jp"}, actor="test")
        assert await ra.database.write(lambda db: mail_store.retry_failed(db, ra.now())) == 2
        assert await ra.database.write(lambda db: mail_store.retry_failed(db, ra.now())) == 0
        assert await deliver_due(ra, transport) == 2
    assert server.recipients == ["right@example.jp"] * 2


async def test_what_has_left_is_never_tried_again(ra):
    """R16: sent, come back or cancelled, a letter is not sent by any retry."""
    await admit(ra)
    await delivered(ra)
    await ra.database.write(lambda db: mail_store.mark_bounced(db, 1, ra.now(), "gone"))
    for number in (1, 2):
        assert not await ra.database.write(lambda db, n=number: mail_store.retry_one(db, n, ra.now()))
    assert await ra.database.write(lambda db: mail_store.retry_failed(db, ra.now())) == 0


async def test_a_folder_that_cannot_be_written_holds_its_letters_only(ra):
    """Postcards have a lane of their own: their folder's fault keeps no mail at home, and none is lost."""
    ra = replace(ra, settings=replace(ra.settings, postcards="outbox"))
    await admit(ra, "K11111111")
    await admit(ra, "K22222222", notice_by="postcard")
    file = ra.database.folder / "outbox"
    file.write_text("in the way")
    async with MailServer().listening() as server:
        assert await deliver_due(ra, smtp(ra, server)) == 3
        assert states(ra) == {"sent": 3, "queued": 1}
        lanes = {each: queue.lane(look(ra.database), each) for each in queue.CHANNELS}
        assert (lanes["mail"].refusals, lanes["postcard"].refusals) == (0, 1)
        assert lanes["postcard"].said == "outbox FileExistsError: File exists"
        file.unlink()
        clock_of(ra).advance(seconds=60)
        assert await deliver_due(ra, smtp(ra, server)) == 1


# -- organisations that are disabled for a while -----------------------------------------------------------


async def test_letters_of_a_disabled_organisation_wait_and_leave_when_it_is_enabled(ra):
    """E6: disabling revokes nothing and is taken back; a letter that came due meanwhile is not lost."""
    await admit(ra)
    await changes.disable_organisation(ra, POLICY_NUMBER, actor="desk")
    assert await delivered(ra) == []
    assert states(ra) == {"queued": 2}
    await changes.enable_organisation(ra, POLICY_NUMBER, actor="desk")
    assert len(await delivered(ra)) == 2
    assert states(ra) == {"sent": 2}


# -- whose an answer is, as a table ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "said", "verdict"),
    [
        ("RCPT", 550, "5.1.1 user unknown", Verdict.FINAL),
        ("RCPT", 550, "5.1.10 null MX", Verdict.FINAL),
        ("RCPT", 553, "5.1.3 bad address syntax", Verdict.FINAL),
        ("RCPT", 550, "5.2.1 mailbox disabled", Verdict.FINAL),
        ("RCPT", 550, "No such user here", Verdict.FINAL),
        ("RCPT", 501, "bad address", Verdict.FINAL),
        ("RCPT", 551, "user not local", Verdict.FINAL),
        ("RCPT", 550, "5.1.7 bad sender's mailbox", Verdict.SERVER),
        ("RCPT", 550, "5.4.5 daily sending quota exceeded", Verdict.SERVER),
        ("RCPT", 552, "5.3.1 mail system full", Verdict.SERVER),
        ("RCPT", 503, "5.5.1 need MAIL first", Verdict.SERVER),
        ("RCPT", 0, "Connection lost", Verdict.SERVER),
        ("RCPT", 554, "5.7.1 <a@b.test>: Relay access denied", Verdict.DOUBT),
        ("RCPT", 454, "4.7.1 relay access denied", Verdict.DOUBT),
        ("RCPT", 550, "relay not permitted", Verdict.DOUBT),
        ("RCPT", 550, "Sender verify failed", Verdict.DOUBT),
        ("RCPT", 554, "your IP is on a block list", Verdict.DOUBT),
        ("RCPT", 550, "5.4.1 recipient address rejected: access denied", Verdict.DOUBT),
        ("RCPT", 550, "5.7.133 only for members", Verdict.DOUBT),
        ("RCPT", 550, "5.1.1 mailbox of the relay's owner unknown", Verdict.FINAL),
        ("RCPT", 450, "4.7.1 greylisted", Verdict.LATER),
        ("RCPT", 450, "4.2.1 mailbox gets too much", Verdict.LATER),
        ("RCPT", 452, "mailbox full", Verdict.LATER),
        ("DATA", 552, "5.3.4 message too large", Verdict.DOUBT),
        ("DATA", 552, "5.2.2 mailbox full", Verdict.DOUBT),
        ("DATA", 451, "4.3.0 local error", Verdict.SERVER),
        ("DATA", 0, "Timed out waiting for server response", Verdict.UNCLEAR),
        ("MAIL", 552, "5.2.2 mailbox full", Verdict.SERVER),
        ("AUTH", 550, "5.1.1 user unknown", Verdict.SERVER),
        ("greeting", 550, "5.1.1 user unknown", Verdict.SERVER),
        ("outbox", 0, "No space left on device", Verdict.SERVER),
    ],
)
def test_whose_an_answer_is(command, code, said, verdict):
    """The command decides; at RCPT the enhanced code (RFC 3463), then the words; nothing final by doubt."""
    assert judge(command, code, said) is verdict


#: Answers that are about the connection, or about who we are: whatever command they answer.
ABOUT_THE_SESSION = (421, 500, 502, 503, 504, 530, 534, 535, 538)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_code_of_every_command(command):
    """Without an enhanced code and without words the command and the number decide, each of the 200."""
    for code in (0, *range(400, 600)):
        expected = Verdict.SERVER
        if command == "RCPT" and code and code not in ABOUT_THE_SESSION:
            expected = Verdict.LATER if code < 500 else Verdict.FINAL
        elif command == "DATA" and code not in (*ABOUT_THE_SESSION, 452):
            expected = Verdict.DOUBT if code else Verdict.UNCLEAR
        assert judge(command, code, "odd") is expected, code


def test_every_enhanced_code_of_a_recipients_refusal():
    """RFC 3463: subjects 1 and 2 are the mailbox's, 3 the system's, all else nobody knows whose; but bad
    senders (x.1.7, x.1.8) and congestion (x.4.5) are about us, and a message too large about the message."""
    of_the_mailbox = {(1, detail) for detail in range(12)} | {(2, detail) for detail in range(6)}
    for subject in range(8):
        for detail in range(12):
            told = judge("RCPT", 550, f"5.{subject}.{detail} odd")
            if (subject, detail) in ((1, 7), (1, 8), (4, 5)) or (subject == 3 and detail != 4):
                assert told is Verdict.SERVER
            elif (subject, detail) in of_the_mailbox or subject in (1, 2):
                assert told is Verdict.FINAL
            else:
                assert told is Verdict.DOUBT
