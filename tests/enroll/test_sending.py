"""How letters leave: several to a connection, a few connections, so many a minute, notices by day."""

import asyncio
import ssl
from dataclasses import replace
from datetime import datetime

import pytest

from ca import datadir, servers
from enroll.jst import JST
from enroll.mail import queue, writing
from enroll.mail import store as mail_store
from enroll.mail.delivery import deliver_due
from enroll.mail.hours import PACE, leaves_from, opened_at
from enroll.mail.smtp import Smtp
from enroll.mail.states import IN_TURN, Pace
from enroll.mail.transport import Outbox, Refused
from enroll.settings import DAY, Settings
from tests.datadirs import CHEAP, PASSPHRASE, START, admit, clock_of, open_office
from tests.looking import look
from tests.mailserver import MailServer


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


def smtp(ra, server, host="127.0.0.1", **more):
    values = {"username": "", "password": "", "security": "none", "timeout": 5.0} | more
    return Smtp(host, server.port, postcards=Outbox(ra.database.folder / "outbox"), **values)


async def queue_copies(ra, number, kind="password_reset"):
    """Letters of one kind to one user, as many as asked for."""
    await admit(ra)

    def work(db):
        db.execute("DELETE FROM mails")
        for each in range(number):
            letter = writing.Letter(
                f"copy:{each}",
                kind,
                "mail",
                "K12345678",
                None,
                f"to{each}@example.jp",
                "件名",
                "本文",
                "本文",
            )
            writing.queue(db, ra.epochs, letter, ra.now(), pace=PACE[kind])

    await ra.database.write(work)


def count(ra, state):
    statement = "SELECT count(*) FROM mails WHERE state = :state"
    return look(ra.database).one(statement, {"state": state})[0]


# -- connections -------------------------------------------------------------------------------------------


async def test_one_connection_carries_many_letters(ra):
    """RSET in between, QUIT at the end, and no more letters on it than the setting says."""
    await queue_copies(ra, 9)
    async with MailServer().listening() as server:
        transport = smtp(ra, server, letters_per_connection=4)
        assert [await deliver_due(ra, transport) for _ in range(4)] == [4, 4, 1, 0]
    assert (server.connections, server.heard["RSET"], server.heard["QUIT"]) == (3, 6, 3)


async def test_many_letters_take_a_few_connections_and_each_leaves_once(ra):
    """As many connections as the setting says, and no letter by two of them."""
    await queue_copies(ra, 60)
    async with MailServer(delay=0.005).listening() as server:
        assert await deliver_due(ra, smtp(ra, server, connections=3)) == 60
    assert (server.most_open, server.connections) == (3, 3)
    assert len(set(server.recipients)) == 60


async def test_few_letters_take_one_connection(ra):
    """Ten letters are not worth a second handshake."""
    await queue_copies(ra, 10)
    async with MailServer(delay=0.001).listening() as server:
        assert await deliver_due(ra, smtp(ra, server, connections=4)) == 10
    assert server.connections == 1


async def test_a_server_that_takes_fewer_connections_gets_fewer(ra):
    """A further connection refused is no reason to hold anything: the first carries the letters."""
    await queue_copies(ra, 40)
    async with MailServer(delay=0.005, most_open=1).listening() as server:
        assert await deliver_due(ra, smtp(ra, server, connections=4)) == 40
    assert queue.lane(look(ra.database), "mail").refusals == 0
    refused = mail_store.refusals(look(ra.database))
    assert [(each["command"], each["count"], each["said"]) for each in refused] == [
        ("greeting", 3, "greeting 421 too many of you")
    ]


async def test_two_processes_that_deliver_at_once_send_nothing_twice(tmp_path, ra):
    """The server and `sekisho mail deliver`, on databases of their own over one file."""
    await queue_copies(ra, 60)
    async with open_office(tmp_path) as other, MailServer(delay=0.002).listening() as server:
        ways = (smtp(ra, server, connections=3), smtp(other, server, connections=3))
        taken = await asyncio.gather(deliver_due(ra, ways[0]), deliver_due(other, ways[1]))
    assert sum(taken) == len(server.recipients) == len(set(server.recipients)) == 60


# -- so many a minute --------------------------------------------------------------------------------------


async def test_no_more_letters_a_minute_than_the_setting_says(ra):
    """The rest leaves in the next minutes; a clock set back starts a minute of its own."""
    await queue_copies(ra, 25)
    clock_of(ra).advance(seconds=600)
    async with MailServer().listening() as server:
        transport = smtp(ra, server, connections=3, per_minute=10)
        assert await deliver_due(ra, transport) == 10
        assert await deliver_due(ra, transport) == 0
        clock_of(ra).advance(seconds=59)
        assert await deliver_due(ra, transport) == 0
        clock_of(ra).advance(seconds=1)
        assert await deliver_due(ra, transport) == 10
        clock_of(ra).advance(seconds=-120)
        assert await deliver_due(ra, transport) == 5


# -- hours -------------------------------------------------------------------------------------------------


def jst(hour, minute=0, day=22):
    return int(datetime(2026, 11, day, hour, minute, tzinfo=JST).timestamp())


async def test_what_somebody_waits_for_leaves_at_night_and_notices_by_day(tmp_path):
    """D-30 begins at midnight in Japan: its mail leaves at eight, a forgotten password's at once."""
    async with open_office(tmp_path, at=jst(1)) as ra:
        await queue_copies(ra, 2, kind="renewal_30")
        await queue_one(ra, "password_reset")
        async with MailServer().listening() as server:
            transport = smtp(ra, server)
            assert await deliver_due(ra, transport) == 1
            assert server.recipients == ["password_reset@example.jp"]
            first = look(ra.database).one("SELECT min(id) FROM mails")[0]
            row = mail_store.shown(look(ra.database), first)
            assert queue.next_attempt(look(ra.database), row, ra.now(), ra.settings) == jst(8)
            clock_of(ra).set(jst(7, 59))
            assert await deliver_due(ra, transport) == 0
            clock_of(ra).set(jst(8))
            assert await deliver_due(ra, transport) == 2


async def queue_one(ra, kind):
    letter = writing.Letter(
        kind, kind, "mail", "K12345678", None, f"{kind}@example.jp", "件名", "本文", "本文"
    )
    await ra.database.write(lambda db: writing.queue(db, ra.epochs, letter, ra.now(), pace=PACE[kind]))


async def test_who_waits_comes_before_all_notices(ra):
    """A forgotten password does not stand in line behind the D-30 mails of everybody."""
    await queue_copies(ra, 30, kind="renewal_30")
    clock_of(ra).advance(seconds=5)
    await queue_one(ra, "password_reset")
    async with MailServer().listening() as server:
        await deliver_due(ra, smtp(ra, server))
    assert server.recipients[0] == "password_reset@example.jp"
    assert len(server.recipients) == 31


def test_every_kind_is_a_notice_or_waited_for():
    """A new kind of letter has to be in the table; what tells of a certificate's end is a notice, and what
    tells of a password that was just asked for, or warns, waits for no morning."""
    assert set(PACE) == set(writing.TEMPLATES)
    by_pace = {pace: {kind for kind in PACE if PACE[kind] is pace} for pace in Pace}
    assert by_pace[Pace.NOTICE] == {
        "renewal_30", "renewal_7", "renewal_7_admin", "operator_ending",
    }  # fmt: skip
    assert by_pace[Pace.AT_ONCE] == {
        "password_reset", "issue_password", "renewed_by_another", "operator_code", "break_glass",
    }  # fmt: skip


async def test_letters_that_can_wait_leave_by_day_where_the_setting_says_so(tmp_path):
    """O14: at night a pick-up mail waits for seven, and is not late meanwhile; a forgotten password's leaves
    at once. By day what somebody expects comes before the notices. Without the setting nothing waits."""
    hours = {"letter_opens": 7 * 60, "letter_closes": 21 * 60}
    async with open_office(tmp_path, at=jst(23), **hours) as ra:
        await queue_copies(ra, 2, kind="renewal_30")
        await queue_one(ra, "pickup")
        await queue_one(ra, "password_reset")
        clock_of(ra).set(jst(6, 59, day=23))
        async with MailServer().listening() as server:
            transport = smtp(ra, server)
            assert await deliver_due(ra, transport) == 1
            assert server.recipients == ["password_reset@example.jp"]
            db = look(ra.database)
            last = mail_store.newest(db) - 1
            row = mail_store.shown(db, last)
            assert queue.next_attempt(db, row, ra.now(), ra.settings) == jst(7, day=23)
            assert queue.standing(db, ra.now(), ra.settings).oldest == 0
            clock_of(ra).set(jst(7, 0, day=23))
            assert queue.standing(db, ra.now(), ra.settings).oldest == 0
            assert await deliver_due(ra, transport) == 1
            assert server.recipients[-1] == "pickup@example.jp"
            clock_of(ra).set(jst(9, 0, day=23))
            await queue_one(ra, "user_id")
            assert queue.standing(db, ra.now(), ra.settings).oldest == 3_600
            assert await deliver_due(ra, transport) == 3
            assert server.recipients[2] == "user_id@example.jp"
    assert leaves_from(jst(3), Settings(), Pace.BY_DAY) == jst(3)


@pytest.mark.parametrize(
    ("opens", "closes", "at", "leaves"),
    [
        (8 * 60, 20 * 60, jst(8), jst(8)),
        (8 * 60, 20 * 60, jst(7, 59), jst(8)),
        (8 * 60, 20 * 60, jst(19, 59), jst(19, 59)),
        (8 * 60, 20 * 60, jst(20), jst(8, day=23)),
        (22 * 60, 6 * 60, jst(23), jst(23)),
        (22 * 60, 6 * 60, jst(5, 59), jst(5, 59)),
        (22 * 60, 6 * 60, jst(6), jst(22)),
        (0, 0, jst(3), jst(3)),
    ],
)
def test_when_notices_may_leave(opens, closes, at, leaves):
    """Within the hours at once, else when they next begin; hours may go over midnight."""
    settings = Settings(notice_opens=opens, notice_closes=closes)
    assert leaves_from(at, settings, Pace.NOTICE) == leaves
    assert (opened_at(at, settings, Pace.NOTICE) is not None) == (at == leaves)
    by_day = Settings(letter_opens=opens, letter_closes=closes)
    assert leaves_from(at, by_day, Pace.BY_DAY) == leaves
    assert leaves_from(at, by_day, Pace.AT_ONCE) == at


def test_hours_that_last_began_before():
    """When the hours of a moment began, on the day before if they go over midnight."""
    over_night = Settings(notice_opens=22 * 60, notice_closes=6 * 60)
    assert opened_at(jst(3), over_night, Pace.NOTICE) == jst(22) - DAY
    assert opened_at(jst(23), over_night, Pace.NOTICE) == jst(22)
    assert opened_at(jst(15), Settings(), Pace.NOTICE) == jst(8)


# -- leases ------------------------------------------------------------------------------------------------


class Slow:
    """Takes one letter, for as long as the test likes."""

    connections, letters_per_connection, per_minute, alive = 1, 1, 0, True

    def __init__(self):
        self.sent, self.answer = [], asyncio.Event()

    async def open(self, channel):
        return self

    async def send(self, message, letter, return_path, handing_over):
        self.sent.append(letter.id)
        await self.answer.wait()
        return "250 taken"

    async def close(self):
        pass


async def test_a_letter_that_takes_longer_than_its_lease_is_sent_once(ra):
    """The lease is renewed while the letter is on its way: ten minutes later nobody else has taken it."""
    await queue_copies(ra, 1)
    slow, other, beats = Slow(), Slow(), asyncio.Queue()

    async def beat():
        (await beats.get()).set()

    sending = asyncio.create_task(deliver_due(ra, slow, beat))
    async with asyncio.timeout(60):
        while not slow.sent:
            await asyncio.sleep(0)
    for _ in range(10):
        clock_of(ra).advance(seconds=60)
        await renewed(beats)
        assert await asyncio.wait_for(deliver_due(ra, other), 60) == 0
    slow.answer.set()
    assert await asyncio.wait_for(sending, 60) == 1
    assert (len(slow.sent), other.sent, count(ra, "sent")) == (1, [], 1)


async def renewed(beats):
    """Returns when the lease was renewed: the one who renews asks for the next beat after it has."""
    for _ in range(2):
        heard = asyncio.Event()
        beats.put_nowait(heard)
        await asyncio.wait_for(heard.wait(), 60)


async def test_a_letter_of_a_process_that_died_is_sent_after_its_lease(ra):
    """Nobody renews it any more: after two minutes, and not before, another one sends it."""
    await queue_copies(ra, 1)
    await ra.database.write(
        lambda db: mail_store.begin(db, mail_store.next_due(db, "mail", ra.now(), IN_TURN), ra.now())
    )
    (number,) = look(ra.database).one("SELECT id FROM mails")
    assert mail_store.shown(look(ra.database), number)["next_attempt_at"] == ra.now() + mail_store.LEASE
    other = Slow()
    other.answer.set()
    clock_of(ra).advance(seconds=119)
    assert await asyncio.wait_for(deliver_due(ra, other), 60) == 0
    clock_of(ra).advance(seconds=1)
    assert await asyncio.wait_for(deliver_due(ra, other), 60) == 1


class Standing(Slow):
    """Has written a letter, and stands still before anybody knows."""

    def __init__(self, outbox):
        super().__init__()
        self.outbox = outbox

    async def send(self, *letter):
        said = await self.outbox.send(*letter)
        await super().send(*letter)
        return said


async def test_what_is_written_twice_is_there_once(ra):
    """Whoever leads from now on takes what somebody else has, who may live: one file, and one end of it."""
    await queue_copies(ra, 1)
    outbox = Outbox(ra.database.folder / "outbox")
    standing = Standing(outbox)
    sending = asyncio.create_task(deliver_due(ra, standing))
    async with asyncio.timeout(60):
        while not standing.sent:
            await asyncio.sleep(0)
    (written,) = outbox.directory.iterdir()
    before = written.read_bytes()
    assert await deliver_due(ra, outbox) == 0
    await ra.database.write(lambda db: mail_store.free(db, outbox.repeatable))
    # Nodes have an outbox each: what is handed over there is left to its term.
    assert await deliver_due(ra, outbox) == (0 if ra.database.shared else 1)
    standing.answer.set()
    assert await asyncio.wait_for(sending, 60) == 1
    assert ([*outbox.directory.iterdir()], written.read_bytes()) == ([written], before)
    assert count(ra, "sent") == 1


async def test_what_a_mail_server_may_have_taken_waits_for_its_lease(ra):
    """Twice it is two letters. Postcards are files as well, whatever mails leave by."""
    await queue_copies(ra, 2)
    ra = replace(ra, settings=replace(ra.settings, postcards="outbox"))
    async with MailServer().listening() as server:
        transport = smtp(ra, server)

        def die(db):
            db.execute("UPDATE mails SET channel = 'postcard' WHERE id = (SELECT max(id) FROM mails)")
            for channel in queue.CHANNELS:
                mail_store.begin(db, mail_store.next_due(db, channel, ra.now(), IN_TURN), ra.now())

        await ra.database.write(die)
        await ra.database.write(lambda db: mail_store.free(db, transport.repeatable))
        assert await deliver_due(ra, transport) == 1
        assert [each.suffix for each in transport.postcards.directory.iterdir()] == [".txt"]
        assert server.recipients == []
        clock_of(ra).advance(seconds=mail_store.LEASE)
        assert await deliver_due(ra, transport) == 1
        assert len(server.recipients) == 1


async def test_retry_leaves_alone_what_is_being_sent(ra):
    """An operator's retry while a letter is on its way sends no second copy."""
    await queue_copies(ra, 1)
    slow, other = Slow(), Slow()
    sending = asyncio.create_task(deliver_due(ra, slow))
    async with asyncio.timeout(60):
        while not slow.sent:
            await asyncio.sleep(0)
    await ra.database.write(lambda db: mail_store.retry(db, ra.now()))
    await ra.database.write(lambda db: mail_store.retry_one(db, 1, ra.now()))
    assert await asyncio.wait_for(deliver_due(ra, other), 60) == 0
    slow.answer.set()
    assert await asyncio.wait_for(sending, 60) == 1
    assert other.sent == []


# -- TLS and login -----------------------------------------------------------------------------------------


@pytest.fixture
def localhost(tmp_path):
    """What a mail server on localhost needs for TLS, and the PEM of the CA that vouches for it."""
    directory = tmp_path / "mail"
    datadir.create(directory, PASSPHRASE, START - DAY, cost=CHEAP)
    opened = datadir.load(directory, PASSPHRASE)
    made = servers.local(opened, ("localhost",), int(datetime.now(JST).timestamp()))
    file = tmp_path / "mail.pem"
    file.write_bytes(made.key_pem + made.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, (directory / "servers" / "ca.pem").read_text()


async def test_letters_leave_by_starttls_and_a_login(ra, localhost):
    """Verified against the CA that is named, then logged in; another CA's certificate holds all letters."""
    context, ca = localhost
    await queue_copies(ra, 3)
    async with MailServer(tls=context, login=("me", "秘密")).listening() as server:
        way = {"host": "localhost", "security": "starttls", "username": "me", "password": "秘密"}
        assert await deliver_due(ra, smtp(ra, server, **way)) == 0
        said = queue.lane(look(ra.database), "mail").said
        assert (said.split()[0], "certificate verify failed" in said) == ("STARTTLS", True)
        await ra.database.write(lambda db: mail_store.retry(db, ra.now()))
        assert await deliver_due(ra, smtp(ra, server, **way, ca=ca)) == 3
    assert server.heard["AUTH"] == 1


async def test_trying_out_logs_in_and_sends_nothing(ra, localhost):
    """What doctor does: every command up to MAIL, then RSET; each refusal by its command."""
    context, ca = localhost
    way = {"host": "localhost", "security": "starttls", "username": "me", "ca": ca}
    async with MailServer(tls=context, login=("me", "right")).listening() as server:
        await smtp(ra, server, **way, password="right").try_out("me@example.jp")
        heard = {command: server.heard[command] for command in ("NOOP", "MAIL", "RSET", "RCPT", "QUIT")}
        assert heard == {"NOOP": 1, "MAIL": 1, "RSET": 1, "RCPT": 0, "QUIT": 1}
        with pytest.raises(Refused, match=r"^AUTH 535 5\.7\.8 credentials wrong$"):
            await smtp(ra, server, **way, password="wrong").try_out("me@example.jp")
        server.answers["MAIL"] = "553 not yours"
        with pytest.raises(Refused, match=r"^MAIL 553 not yours$"):
            await smtp(ra, server, **way, password="right").try_out("me@example.jp")
