"""Webhooks without a network: which line is which event, its signature, where it may go, and when again."""

import ast
import json
import re
import time
from pathlib import Path

import pytest
import standardwebhooks

from enroll.audit import Line
from enroll.hooks import events, reach, signatures, states
from enroll.hooks.states import TRIES, WAITS, Answer, wait
from enroll.operators.states import State as ProposalState
from enroll.refusals import Refusal
from enroll.requests.states import TRANSITIONS, State
from enroll.settings import Settings

ROOT = Path(__file__).parents[2]
#: Where lines begin so of which other systems are told.
TOLD = re.compile(r"(application|proposal|certificate|request|mail)\.[a-z]+")
#: Lines of those that are nobody's business elsewhere: our own list, our own mails.
OURS = {"mail.retried", "certificate.planned-anew", "application.seen"}


def line(action, subject="S", result="done", detail="{}"):
    return Line(7, 1_795_316_400, "operator:suzuki", action, subject, "", result, detail, "s", "d", "ab" * 32)


def moved(before, after):
    return line(
        "enrollment.use", "1" * 16, detail=json.dumps({"before": before, "after": after, "user": "K1"})
    )


def written():
    """Actions of lines that the product writes, as its source has them: constants, and what is in a table."""
    found = set()
    for path in {*(ROOT / "enroll").rglob("*.py")} - {*(ROOT / "enroll" / "hooks").rglob("*.py")}:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(
                getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", "")
            )
            if isinstance(node, ast.Call) and name == "audit":
                told = [each for each in ast.walk(node) if isinstance(each, ast.Constant)]
                found |= {
                    each.value for each in told if isinstance(each.value, str) and TOLD.fullmatch(each.value)
                }
    return found


@pytest.mark.slow
def test_every_line_of_their_kinds_is_an_event():
    """Whoever writes a new kind of line about a request, certificate, letter, application or proposal says
    whether others are told of it."""
    assert len(written()) > 10
    assert written() - OURS - set(events.LINES) == set()
    assert {f"proposal.{state}" for state in ProposalState} - {"proposal.pending"} < set(events.LINES)


@pytest.mark.parametrize(
    ("before", "after"), sorted({(a, b) for a, row in TRANSITIONS.items() for b in row.values()})
)
def test_each_move_of_an_enrollment_is_an_event(before, after):
    """By the state that it has come to; an event that leaves it where it was is none."""
    found = events.of_line(moved(before, after))
    if before == after:
        assert found is None
        return
    assert found.type == f"request.{after}"
    assert found.type in events.TYPES
    assert found.data == {"request_id": "1" * 16, "user_id": "K1"}


def test_a_state_that_time_computes_is_no_event():
    """It is never recorded; its end is told of ahead."""
    assert f"request.{State.EXPIRED}" not in events.TYPES
    assert {events.EXPIRING, "letter.bounced", "certificate.issued", "proposal.void"} < set(events.TYPES)


def test_what_is_told_is_identifiers():
    """Names, addresses and what people wrote stay here, whatever the line has."""
    personal = {
        "reason": "盗難",
        "note": "山田 太郎",
        "about": "山田 太郎",
        "mail": "a@example.jp",
        "by": "x",
    }
    for action in events.LINES:
        detail = json.dumps(personal | {"kind": "user.add", "user": "K1", "letter": 3, "profile": "p"})
        found = events.of_line(line(action, "12", detail=detail))
        text = found.text()
        assert found.type in events.TYPES
        assert [each for each in ("\\u5c71", "example.jp", "suzuki") if each in text] == []
        told = json.loads(text)
        assert set(told) == {"type", "timestamp", "data"}
        assert told["timestamp"] == "2026-11-22T03:00:00Z"
        assert not {"note", "about", "mail", "by"} & set(told["data"])


@pytest.mark.parametrize(
    "other", [line("login"), line("pickup.refused", result="refused"), line("list.published")]
)
def test_other_lines_are_nobodys_business(other):
    """The twin: what is not in the table is told to nobody."""
    assert events.of_line(other) is None


def test_a_line_that_was_purged_tells_what_is_left():
    """Who it was is gone; that it happened is not. Of a move nothing is left to tell."""
    assert events.of_line(line("certificate.revoked", detail=None)).data == {"serial": "S"}
    assert events.of_line(line("enrollment.use", detail=None)) is None


@pytest.mark.parametrize(
    ("patterns", "event", "wanted"),
    [
        (["*"], "proposal.made", True),
        (["request.*"], "request.in_use", True),
        (["request.*"], "certificate.issued", False),
        (["certificate.issued"], "certificate.issued", True),
        (["certificate.issued"], "certificate.revoked", False),
        (["certificate.issued"], events.TEST, True),
    ],
)
def test_which_events_are_asked_for(patterns, event, wanted):
    """By type, by the first word, or all; every endpoint can be tried."""
    assert events.wanted(patterns, event) is wanted


@pytest.mark.parametrize(
    ("pattern", "known"),
    [("*", True), ("letter.*", True), ("proposal.made", True)]
    + [
        (each, False)
        for each in ("", ".*", "lette.*", "request", "request.", "r*", "user.added", "certificate.issued.*")
    ],
)
def test_a_type_that_is_none_is_known_as_that(pattern, known):
    """A slip would be an endpoint that is never told anything."""
    assert events.known(pattern) is known


# -- the signature ---------------------------------------------------------------------------------------


def test_a_receivers_library_believes_the_signature():
    """Standard Webhooks, by a library of theirs: with the secret, with either of two, and with no other."""
    old, new, at = b"o" * 32, b"n" * 32, int(time.time())
    body = b'{"type":"request.issued"}'
    for secrets, good, bad in (((new,), [new], [old]), ((new, old), [new, old], [b"x" * 32])):
        made = dict(signatures.headers(secrets, "msg_1", at, body))
        for secret in good:
            told = standardwebhooks.Webhook(signatures.shown(secret)).verify(body, made)
            assert told == {"type": "request.issued"}
        for secret in bad:
            with pytest.raises(standardwebhooks.WebhookVerificationError, match="No matching"):
                standardwebhooks.Webhook(signatures.shown(secret)).verify(body, made)
        for altered in (body + b" ", b"{}"):
            with pytest.raises(standardwebhooks.WebhookVerificationError, match="No matching"):
                standardwebhooks.Webhook(signatures.shown(new)).verify(altered, made)
        with pytest.raises(standardwebhooks.WebhookVerificationError, match="No matching"):
            standardwebhooks.Webhook(signatures.shown(new)).verify(body, made | {"webhook-id": "msg_2"})
    old_time = dict(signatures.headers((new,), "msg_1", at - 400, body))
    with pytest.raises(standardwebhooks.WebhookVerificationError, match="too old"):
        standardwebhooks.Webhook(signatures.shown(new)).verify(body, old_time)


def test_the_receiver_of_the_handbook_takes_what_is_ours_once():
    """Its sample as it stands there: ours is taken, by either secret, and a second time left; an altered one,
    an old one and somebody else's are turned away."""
    page = (ROOT / "docs" / "operations" / "webhooks.md").read_text("utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    taken, room = [], {}
    exec(compile(source, "webhooks.md", "exec"), room)
    room |= {"handle": taken.append}
    old, new, at, body = b"o" * 32, b"n" * 32, int(time.time()), b'{"type":"request.issued"}'
    room["SECRETS"][:] = [signatures.shown(new)]
    receive = room["receive"]
    for secrets, message, moment, content, status in (
        ((new,), "msg_1", at, body, 204),
        ((new, old), "msg_1", at, body, 204),
        ((new, old), "msg_2", at, body, 204),
        ((old,), "msg_3", at, body, 401),
        ((new,), "msg_3", at - 301, body, 400),
    ):
        assert receive(signatures.headers(secrets, message, moment, body), content) == status
    assert receive(signatures.headers((new,), "msg_3", at, body), body + b" ") == 401
    assert taken == [{"type": "request.issued"}] * 2


# -- where it may go -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://hooks.example.jp", "hooks.example.jp", 443),
        ("https://hooks.example.jp:8443/in?a=b", "hooks.example.jp", 8443),
        ("https://[2001:db8::7]:8443/", "[2001:db8::7]", 8443),
        ("https://192.0.2.7/in", "192.0.2.7", 443),
    ],
)
def test_an_address_is_taken_apart(url, host, port):
    """The host as the list has it, and the port beside it."""
    assert reach.target(url) == reach.Target(url, host, port)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.jp/",
        "hooks.example.jp",
        "https://",
        "https://user:word@hooks.example.jp/",
        "https://hooks.example.jp@evil.example/",
        "https://hooks.example.jp\\@evil.example/",
        "https://hooks.example.jp/#part",
        "https://HOOKS.example.jp/",
        "https://hooks.example.jp:port/",
        "https://hooks.example.jp:99999/",
        "https://hooks.example.jp/a b",
        "https://hooks.example.jp/\r\nX: y",
        "https://hooks.example.jp/あ",
        "https://hooks.example.jp/" + "a" * 500,
    ],
)
def test_what_is_no_plain_address_is_refused(url):
    """Whatever a parser could read in two ways."""
    with pytest.raises(Refusal) as caught:
        reach.target(url)
    assert (caught.value.code, caught.value.field) == ("invalid_input", "url")


def test_a_host_has_to_be_on_the_list():
    """With its port unless it is 443; the refusal says what to type."""
    settings = Settings(webhook_hosts=("hooks.example.jp", "hooks.example.jp:8443"))
    for url in ("https://hooks.example.jp/", "https://hooks.example.jp:8443/"):
        reach.check_listed(reach.target(url), settings)
    for url in ("https://other.example.jp/", "https://hooks.example.jp:8444/", "https://a.hooks.example.jp/"):
        with pytest.raises(Refusal, match=r"is not on the list; write '.+' into webhooks.hosts"):
            reach.check_listed(reach.target(url), settings)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "169.254.1.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "203.0.113.5"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::1", "2002:a9fe:a9fe::1", "", "localhost", "127.1"),
    ],
)
def test_addresses_that_are_not_everybodys_are_refused(address):
    """Loopback, private, link-local, metadata, multicast and reserved, in whatever way they are written."""
    assert not reach.permitted(address, ())


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_addresses_of_everybody_are_permitted(address):
    """The twin."""
    assert reach.permitted(address, ())


def test_a_network_that_is_named_is_permitted():
    """That one and no other; as IPv4 in whatever way it comes."""
    networks = ("127.0.0.0/8", "fd00::/8")
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::7"):
        assert reach.permitted(address, networks)
    for address in ("10.0.0.1", "::1", "169.254.169.254", "fe80::1"):
        assert not reach.permitted(address, networks)


# -- when again ------------------------------------------------------------------------------------------


def test_ten_tries_within_three_days():
    """And some hours; the waits grow."""
    assert TRIES == 10
    assert 3 * 86_400 <= sum(WAITS) <= 3.5 * 86_400
    assert list(WAITS) == sorted(WAITS)
    failed = Answer(500, "answered 500")
    assert [wait(tries, failed, 0.5) for tries in range(1, 11)] == [*WAITS, None]
    assert [wait(4, failed, chance) for chance in (0.0, 1.0)] == [6_480, 7_920]


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        (Answer(200, ""), None),
        (Answer(299, ""), None),
        (Answer(410, ""), None),
        (Answer(429, "", after=900), 900),
        (Answer(429, "", after=10**9), states.LONGEST_WAIT),
        (Answer(503, "", after=1), 5),
        (Answer(301, ""), 5),
        (Answer(100, ""), 5),
        (Answer(404, ""), 5),
        (Answer(0, "no answer"), 5),
    ],
)
def test_what_an_answer_means(answer, waits):
    """2xx is taken, 410 is gone, everything else is tried again; a receiver may have us wait longer, never
    less, and not for ever."""
    assert wait(1, answer, 0.5) == waits


def test_states_have_labels():
    """Every state is called something."""
    assert set(states.ENDPOINT_LABELS) == set(states.Endpoint)
    assert set(states.DELIVERY_LABELS) == set(states.Delivery)
