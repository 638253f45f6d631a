"""Orders are for one identity by any of its names, echoed as sent; their status is the enrollment's."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll.acme.orders import (
    Authorization,
    Entitlement,
    Identifier,
    Order,
    authorization_json,
    authorization_status,
    authorized_identifiers,
    challenge_json,
    check_finalizable,
    check_identifiers,
    choose_profile,
    fold,
    order_json,
    order_status,
    read_deactivation,
    read_new_authorization,
    read_new_order,
)
from enroll.acme.server import CommonNames
from enroll.acme.urls import PATHS, Urls
from enroll.identifiers import LAST_NUMBER, common_name
from enroll.problems import Problem, Subproblem
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import ENDED, LIVE, WAITING, State

AT = 1_800_000_000
FQDN = "k12345678.users.kinen.example"
ENTITLEMENT = Entitlement(
    FQDN, frozenset({"k12345678", "k123456780001", "年金 太郎"}), ("client-automated", "short")
)
URLS = Urls("https://acme.kinen.example/acme")
ORDER = Order(
    "o1", "a1", "4000000000000002", (Identifier("dns", FQDN),), ("z1",), "client-automated", AT, AT + 600
)
AUTHORIZATION = Authorization(
    "z1", "a1", Identifier("dns", FQDN.upper()), "valid", AT + 600, "sekisho-eab-01", "t" * 22, AT
)


def dns(*values: str) -> list[dict[str, str]]:
    return [{"type": "dns", "value": value} for value in values]


def refusal(action: Any, *arguments: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        action(*arguments)
    return caught.value


def test_new_order_is_read() -> None:
    """RFC 8555 section 7.4, and what Caddy and acme.sh add to it."""
    asked = read_new_order(
        {
            "identifiers": dns("AB", "ab", FQDN),
            "status": "",
            "expires": "0001-01-01T00:00:00Z",
            "authorizations": None,
            "finalize": "",
            "notBefore": "",
            "notAfter": None,
            "profile": "short",
            "replaces": "a.b",
        }
    )
    assert [one.value for one in asked.identifiers] == ["AB", "ab", FQDN]
    assert (asked.profile, asked.replaces) == ("short", "a.b")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"identifiers": []},
        {"identifiers": {}},
        {"identifiers": "a"},
        {"identifiers": [FQDN]},
        {"identifiers": [{"type": "dns"}]},
        {"identifiers": [{"value": FQDN}]},
        {"identifiers": [{"type": 1, "value": FQDN}]},
        {"identifiers": dns("")},
        {"identifiers": dns("a\0b")},
        {"identifiers": dns(*["a"] * 21)},
        {"identifiers": dns("a"), "profile": 1},
        {"identifiers": dns("a"), "replaces": []},
        {"identifiers": dns("a"), "notBefore": "2026-01-01T00:00:00Z"},
        {"identifiers": dns("a"), "notAfter": "2036-01-01T00:00:00Z"},
        {"identifiers": dns("a"), "notAfter": 5},
    ],
)
def test_new_order_refused(payload: dict[str, Any]) -> None:
    """RFC 8555 section 7.4: ill-formed orders; notBefore and notAfter, never silently changed."""
    assert refusal(read_new_order, payload).name == "malformed"


@pytest.mark.parametrize(
    "values", [[FQDN], [FQDN.upper()], ["K12345678"], ["k123456780001", "k123456780001", FQDN], ["年金 太郎"]]
)
def test_names_of_the_identity(values: list[str]) -> None:
    """Clients that renew ask for the names in the certificate, the CN included, in any case, even twice."""
    check_identifiers([Identifier("dns", value) for value in values], ENTITLEMENT)


@pytest.mark.parametrize(
    "value",
    [
        "other.users.kinen.example",
        "*." + FQDN,
        FQDN + ".",
        " " + FQDN,
        "x" + FQDN,
        "Ｋ12345678",
        "\u212a12345678",
        "a" * 300,
    ],
)
def test_names_of_others(value: str) -> None:
    """Anything else is 403 rejectedIdentifier, with a subproblem for each such name and no other."""
    problem = refusal(check_identifiers, [Identifier("dns", FQDN), Identifier("dns", value)], ENTITLEMENT)
    assert (problem.name, problem.status) == ("rejectedIdentifier", 403)
    assert problem.subproblems == (
        Subproblem("rejectedIdentifier", "the account is not entitled to this name", ("dns", value)),
    )


def test_identifier_types() -> None:
    """RFC 8555 section 6.7: unsupportedIdentifier; several kinds of error are compound."""
    address = Identifier("ip", "192.0.2.1")
    assert refusal(check_identifiers, [address], ENTITLEMENT).name == "unsupportedIdentifier"
    both = refusal(check_identifiers, [address, Identifier("dns", "x.example")], ENTITLEMENT)
    assert both.name == "compound"
    assert [one.name for one in both.subproblems] == ["unsupportedIdentifier", "rejectedIdentifier"]


@given(st.text())
def test_folding_touches_ascii_only(text: str) -> None:
    """No letter outside A-Z becomes one of a-z: the Kelvin sign is not a k."""
    folded = fold(text)
    assert len(folded) == len(text)
    changed = [(a, b) for a, b in zip(text, folded, strict=True) if a != b]
    assert all("A" <= a <= "Z" and b == chr(ord(a) + 32) for a, b in changed)


def test_profiles() -> None:
    """draft-ietf-acme-profiles: the first by default, invalidProfile for what is not granted."""
    assert choose_profile(None, ENTITLEMENT) == "client-automated"
    assert choose_profile("short", ENTITLEMENT) == "short"
    assert refusal(choose_profile, "root", ENTITLEMENT).name == "invalidProfile"


def test_one_authorization_per_name_as_written() -> None:
    """A repeated identifier shares its authorization; another spelling has its own, which echoes it."""
    names = [Identifier("dns", value) for value in ("A", "a", "A", "b")]
    assert [one.value for one in authorized_identifiers(names)] == ["A", "a", "b"]


def test_new_authorization() -> None:
    """RFC 8555 section 7.4.1."""
    assert read_new_authorization({"identifier": dns("a")[0]}) == Identifier("dns", "a")
    for payload in ({}, {"identifier": "a"}, {"identifier": dns("a")}, {"identifier": {"type": "dns"}}):
        assert refusal(read_new_authorization, payload).name == "malformed"


def test_deactivation_is_the_only_change() -> None:
    """RFC 8555 section 7.5.2."""
    assert read_deactivation({"status": "deactivated"})
    for payload in ({}, {"status": "valid"}, {"status": None}):
        assert refusal(read_deactivation, payload).name == "malformed"


def enrolled(state: State, issued_at: int | None = None) -> Enrollment:
    name, profile = "K123456780001", "client-automated"
    return Enrollment(
        "4000000000000002", "protocol", "K12345678", state, name, profile, "protocol", AT, issued_at=issued_at
    )


@pytest.mark.parametrize("state", State)
def test_order_status_is_the_enrollments(state: State) -> None:
    """証明書生成中 is processing, 発行済み is valid for good, ended without one is invalid."""
    issued_at = AT if state in LIVE else None
    expected = (
        {State.PROCESSING: "processing"} | dict.fromkeys(LIVE, "valid") | dict.fromkeys(ENDED, "invalid")
    )
    assert order_status(ORDER, enrolled(state, issued_at), ["valid"], AT) == expected.get(state, "ready")
    if state in ENDED:
        assert order_status(ORDER, enrolled(state, AT), ["valid"], AT + 10**9) == "valid"


@pytest.mark.parametrize(
    ("authorizations", "status"),
    [
        (["valid"], "ready"),
        (["valid", "pending"], "pending"),
        (["valid", "deactivated"], "invalid"),
        (["pending", "invalid"], "invalid"),
        (["expired"], "invalid"),
        (["revoked", "valid"], "invalid"),
    ],
)
def test_order_status_before_issuance(authorizations: list[str], status: str) -> None:
    """RFC 8555 section 7.1.6: ready with all authorizations valid, invalid when one is lost."""
    for state in WAITING:
        assert order_status(ORDER, enrolled(state), authorizations, AT) == status
        assert order_status(ORDER, enrolled(state), authorizations, ORDER.expires_at) == "invalid"


@pytest.mark.parametrize("state", [State.PROCESSING, *sorted(LIVE | ENDED)])
def test_an_order_that_ran_out_stays_invalid(state: State) -> None:
    """RFC 8555 section 7.1.6: the pages may use its request afterwards; submitted in time it goes on."""
    issued_at = None if state is State.PROCESSING else ORDER.expires_at + 5
    late = replace(enrolled(state, issued_at), submitted_at=ORDER.expires_at)
    assert order_status(ORDER, late, ["valid"], ORDER.expires_at + 10) == "invalid"
    early = replace(late, submitted_at=ORDER.expires_at - 1)
    expected = "processing" if state is State.PROCESSING else "valid"
    assert order_status(ORDER, early, ["valid"], ORDER.expires_at + 10) == expected


def test_order_without_enrollment() -> None:
    """An order that waits for its certificate to be presented is pending, never ready."""
    assert order_status(ORDER, None, ["pending"], AT) == "pending"
    assert order_status(ORDER, None, ["valid"], AT) == "pending"
    assert order_status(ORDER, None, ["deactivated"], AT) == "invalid"
    assert order_status(ORDER, None, ["pending"], ORDER.expires_at) == "invalid"


@pytest.mark.parametrize("status", ["pending", "processing", "valid", "invalid"])
def test_only_ready_orders_are_finalized(status: str) -> None:
    """RFC 8555 section 7.4: 403 orderNotReady otherwise, after issuance too."""
    check_finalizable("ready")
    problem = refusal(check_finalizable, status)
    assert (problem.name, problem.status) == ("orderNotReady", 403)


def test_order_object() -> None:
    """RFC 8555 section 7.1.3: finalize and authorizations always, certificate when valid, all as sent."""
    identifiers = (Identifier("dns", FQDN.upper()), Identifier("dns", FQDN.upper()))
    order = replace(ORDER, identifiers=identifiers, replaces="a.b")
    shown = order_json(order, "valid", URLS)
    assert shown == {
        "status": "valid",
        "expires": "2027-01-15T08:10:00Z",
        "identifiers": dns(FQDN.upper(), FQDN.upper()),
        "authorizations": ["https://acme.kinen.example/acme/authorization/z1"],
        "finalize": "https://acme.kinen.example/acme/order/o1/finalize",
        "profile": "client-automated",
        "replaces": "a.b",
        "certificate": "https://acme.kinen.example/acme/certificate/o1",
    }
    ready = order_json(ORDER, "ready", URLS)
    assert "certificate" not in ready
    assert "replaces" not in ready


def test_authorization_and_challenge_objects() -> None:
    """RFC 8555 sections 7.1.4, 8: valid with expires, one challenge of our own type, already valid."""
    shown = authorization_json(AUTHORIZATION, URLS, AT)
    challenge = {
        "type": "sekisho-eab-01",
        "url": "https://acme.kinen.example/acme/challenge/z1",
        "status": "valid",
        "token": "t" * 22,
        "validated": "2027-01-15T08:00:00Z",
    }
    assert shown == {
        "status": "valid",
        "expires": "2027-01-15T08:10:00Z",
        "identifier": {"type": "dns", "value": FQDN.upper()},
        "challenges": [challenge],
    }
    pending = replace(AUTHORIZATION, status="pending", validated_at=None, challenge_type="client-cert-01")
    assert challenge_json(pending, URLS, AT)["status"] == "pending"
    assert "validated" not in challenge_json(pending, URLS, AT)
    assert challenge_json(pending, URLS, AT + 600)["status"] == "invalid"


def test_authorizations_run_out() -> None:
    """RFC 8555 section 7.1.6: a valid one expires, a pending one becomes invalid, others stay."""
    ends = {"valid": "expired", "pending": "invalid"}
    for status in ("valid", "pending", "deactivated", "invalid", "revoked"):
        authorization = replace(AUTHORIZATION, status=status)
        assert authorization_status(authorization, AT + 599) == status
        assert authorization_status(authorization, AT + 600) == ends.get(status, status)


def test_urls_there_and_back() -> None:
    """A URL names its resource exactly; nothing else is taken for one."""
    for resource in ("account", "order", "authorization", "finalize", "orders"):
        assert URLS.identifier(resource, URLS.to(resource, "x1")) == "x1"
        for wrong in ("/", "?", "/y", "#"):
            assert URLS.identifier(resource, URLS.to(resource, "x1") + wrong) in (None, "x1?", "x1#")
    assert URLS.identifier("account", "https://evil.example/acme/account/1") is None
    assert URLS.identifier("account", URLS.to("account", "")) is None
    assert URLS.identifier("account", URLS.to("account", "1/2")) is None


def test_paths_are_told_apart() -> None:
    """No two resources share a path."""
    for one, other in itertools.combinations(PATHS.values(), 2):
        assert one != other


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("dns"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "value", "identifiers", "profile", "replaces", "notAfter"]), inner
        )
    ),
    max_leaves=10,
)


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(["identifiers", "profile", "replaces", "notBefore", "notAfter"]), JSON)
)
def test_any_new_order_is_read_or_refused(payload: dict[str, Any]) -> None:
    """For any JSON: an order or a Problem."""
    try:
        check_identifiers(read_new_order(payload).identifiers, ENTITLEMENT)
    except Problem as problem:
        assert problem.status in (400, 403)  # noqa: PT017 - either outcome is right


# -- the names of a user -------------------------------------------------------------------------


@pytest.mark.parametrize("last", [0, 1, 12, 9_999])
def test_a_user_has_the_names_that_were_given_out(last: int) -> None:
    """The ID, and the common name of each number up to the last; later ones are nobody's yet."""
    names = CommonNames("K12345678", last)
    assert "k12345678" in names
    assert [common_name("K12345678", n).lower() in names for n in range(1, LAST_NUMBER + 1)] == [
        n <= last for n in range(1, LAST_NUMBER + 1)
    ]


@pytest.mark.parametrize(
    "name",
    [
        "", "k1234567", "k1234567800", "k12345678001", "k1234567800001", "k123456780000", "k12345678-001",
        "k12345678 001", "k12345678+001", "k12345678٠٠٠١", "k12345678²", "K12345678", "k123456780001.example",
        "k12345678" + "1" * 5_000,
    ],
)  # fmt: skip
def test_what_only_looks_like_a_name_is_none(name: str) -> None:
    """Other lengths, zero, signs, other scripts' digits, capitals: nobody is certified by them."""
    assert name not in CommonNames("K12345678", 9_999)
