"""Each evaluator can fail: a good answer passes, and the same answer with one thing wrong does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from conformance import check, jose
from conformance.cases import CASES
from conformance.cases.audit import violations
from conformance.cases.certificate import only_certificates
from conformance.check import Check
from conformance.draft import Draft, compose, padded
from conformance.verdict import Failed
from conformance.wire import Answer, Call, Wire
from conformance.world import Exchange, World

LINK = '<https://acme.example/directory>;rel="index"'
GOOD = Answer(
    400,
    (
        ("Content-Type", "application/problem+json"),
        ("Replay-Nonce", "oFvnlFP1wIhRlYS2jTaXbA"),
        ("link", LINK),
    ),
    json.dumps(
        {"type": f"{check.URN}badNonce", "detail": "no", "status": 400, "expires": "2030-01-01T00:00:00Z"}
    ).encode(),
)


def without(name: str) -> Answer:
    return replace(GOOD, headers=tuple(one for one in GOOD.headers if one[0].lower() != name.lower()))


def having(name: str, value: str) -> Answer:
    return replace(without(name), headers=(*without(name).headers, (name, value)))


def body(**changes: object) -> Answer:
    return replace(GOOD, body=json.dumps({**GOOD.object(), **changes}).encode())


FAULTS: list[tuple[str, Check, Answer, str]] = [
    ("status", check.status(400), replace(GOOD, status=403), "403 badNonce: no, not 400"),
    (
        "problem status",
        check.problem(400, "badNonce"),
        replace(GOOD, status=401),
        "401 badNonce: no, not 400",
    ),
    (
        "problem type",
        check.problem(400, "badNonce"),
        body(type=f"{check.URN}malformed"),
        "type 'malformed', not badNonce",
    ),
    ("bare error", check.problem(400), replace(GOOD, body=b"bad request"), "400 without a problem document"),
    ("refused but 200", check.refused(), replace(GOOD, status=200), "200 badNonce: no, not "),
    ("refused but 201", check.refused(), replace(GOOD, status=201), "not a refusal (4xx)"),
    ("one of many", check.problem({403, 404, 401}), GOOD, "not a refusal (401, 403, 404)"),
    ("refused but 500", check.refused(), replace(GOOD, status=500), "500 badNonce: no, not "),
    ("nonce missing", check.replay_nonce, without("Replay-Nonce"), "0 Replay-Nonce headers"),
    (
        "nonce padded",
        check.replay_nonce,
        having("Replay-Nonce", "AAAA=="),
        "Replay-Nonce 'AAAA==' is not base64url",
    ),
    (
        "nonce twice",
        check.replay_nonce,
        replace(GOOD, headers=(*GOOD.headers, ("replay-nonce", "A"))),
        "2 Replay-Nonce headers",
    ),
    ("link missing", check.linked("index"), without("Link"), 'no Link with rel="index"'),
    ("link other relation", check.linked("up"), GOOD, 'no Link with rel="up"'),
    (
        "link target",
        check.linked("index", "https://acme.example/directory"),
        having("Link", '<https://x/>; rel="index"'),
        "https://x/",
    ),
    (
        "media type",
        check.problem_form,
        having("Content-Type", "application/json"),
        "Content-Type is 'application/json'",
    ),
    ("status member", check.problem_form, body(status=403), "member status 403 with HTTP status 400"),
    ("type not a URN", check.problem_form, body(type="bad-nonce"), "type is 'bad-nonce'"),
    ("member missing", check.member("algorithms"), GOOD, "no member 'algorithms'"),
    ("member value", check.member("status", 401), GOOD, "status is 400, not 401"),
    ("member there", check.no_member("detail"), GOOD, "member 'detail' is there"),
    ("time", check.timestamp_member("expires"), body(expires="2030-01-01 00:00"), "not an RFC 3339 time"),
    ("header pattern", check.header("Content-Type", "^application/json$"), GOOD, "Content-Type is"),
    ("header missing", check.header("Location"), GOOD, "no Location header"),
    ("url member", check.url_member("orders"), body(orders="http://x/"), "not a URL"),
    ("body", check.empty_body, GOOD, "a body of"),
]


@pytest.mark.parametrize(("name", "evaluate", "answer", "says"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_planted_fault_is_found(name: str, evaluate: Check, answer: Answer, says: str) -> None:
    """A single planted fault is found and named."""
    found = evaluate(answer)
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize(
    "evaluate",
    [
        check.status(400),
        check.problem(400, "badNonce"),
        check.problem({400, 403}),
        check.refused("badNonce", "malformed"),
        check.replay_nonce,
        check.linked("index"),
        check.linked("index", "https://acme.example/directory"),
        check.problem_form,
        check.member("status", 400),
        check.timestamp_member("expires"),
        check.header("content-type", "problem"),
        check.no_member("identifier"),
        check.both(check.status(400), check.replay_nonce),
        check.either(check.status(200), check.status(400)),
    ],
)
def test_good_answer_passes(evaluate: Check) -> None:
    """The twin of the planted faults: the answer they were made from has nothing wrong."""
    assert evaluate(GOOD) == []


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2030-01-01T00:00:00Z", True),
        ("2030-01-01T09:00:00.123456789+09:00", True),
        ("2030-13-01T00:00:00Z", False),
        ("2030-01-01T00:00:00", False),
        ("01 Jan 2030 00:00:00 GMT", False),
        (1893456000, False),
        (None, False),
    ],
)
def test_timestamps(text: object, good: bool) -> None:
    """RFC 3339 times are read with fractions and offsets, and nothing else is."""
    assert (check.timestamp(text) is not None) is good


def test_links_in_one_header_and_in_many() -> None:
    """RFC 8288 3: several links may share a header, relations may be unquoted or several."""
    answer = Answer(
        200,
        (
            ("Link", '<https://a/>;rel="index", <https://b/>; title="x"; rel=up'),
            ("Link", '<https://c/>;rel="next up"'),
        ),
    )
    assert check.links(answer, "index") == ["https://a/"]
    assert check.links(answer, "up") == ["https://b/", "https://c/"]
    assert check.links(answer, "alternate") == []


def test_audit_counts_and_shows_an_example() -> None:
    """The audit says how often a rule was broken and where."""
    seen = [Exchange(Call("POST", "https://acme.example/a"), without("Replay-Nonce"), True)] * 3
    assert violations([*seen, Exchange(Call("POST", "https://b/"), GOOD, True)], check.replay_nonce) == [
        "3 x 0 Replay-Nonce headers (400 badNonce: no) (e.g. POST https://acme.example/a -> 400)"
    ]


BLOCK = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (BLOCK, True),
        (BLOCK + b"\n" + BLOCK, True),
        (b"subject=CN=x\n" + BLOCK, False),
        (BLOCK + b"-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n", False),
        (b"", False),
    ],
)
def test_only_certificates(body: bytes, good: bool) -> None:
    """RFC 8555 9.1: text between the blocks or another kind of block is found."""
    assert only_certificates(body) is good


def test_told_leaves_out_what_was_asked_for() -> None:
    """Two refusals tell the same when they differ in what the request named, and no more."""
    first, second = (body(detail=f"there is no order https://x/order/{n}") for n in (17, 18))
    names = [(f"https://x/order/{n}", str(n)) for n in (17, 18)]
    assert check.told(first, *names[0]) == check.told(second, *names[1])
    assert check.told(first, *names[0]) != check.told(body(detail="it is another's"), *names[1])
    assert check.told(first, *names[0]) != check.told(replace(second, status=403), *names[1])


@pytest.mark.parametrize("name", ["protected", "payload"])
@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_padding_is_signed(name: str, padding: str) -> None:
    """A padded request is signed as it is sent: but for the padding nothing is wrong with it."""
    key = jose.new_key()
    draft = Draft("https://x/", b"{}", key, "https://x/1")
    sent = json.loads(compose(draft, "bg", padded(name, padding)).body)
    assert sent[name].endswith(padding or "=")
    r, s = (int.from_bytes(jose.unb64(sent["signature"])[at : at + 32], "big") for at in (0, 32))
    data = f"{sent['protected']}.{sent['payload']}".encode()
    key.private.public_key().verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        ({}, ""),
        ({"status": 400}, "400"),
        ({"instance": None}, "instance"),
        ({"link": None}, "terms-of-service"),
    ],
)
async def test_user_action(spoil: dict[str, object], wrong: str) -> None:
    """RFC 8555 7.3.3: userActionRequired is 403, links to the terms, and says what is to be done."""
    told = {"type": f"{check.URN}userActionRequired", "instance": "https://acme.example/agree", **spoil}
    link = ("Link", '<https://acme.example/terms>;rel="terms-of-service"')
    headers = (("Content-Type", "application/problem+json"), *(() if "link" in spoil else (link,)))
    status = spoil.get("status", 403)
    assert isinstance(status, int)
    world = World("https://acme.example/directory", Wire(None))  # type: ignore[arg-type]
    world.put("certificate", "no certificate is looked at")
    answer = Answer(status, headers, json.dumps(told).encode())
    world.log.append(Exchange(Call("POST", "https://acme.example/o"), answer, True))
    (case,) = [one for one in CASES if one.id == "audit.user-action"]
    if not wrong:
        await case.steps(world)
        return
    with pytest.raises(Failed, match=wrong):
        await case.steps(world)
