"""Operators: added, changed and ended, and the one-time codes by which they come in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from ipaddress import IPv4Network, ip_network
from typing import Any

from ca.storage import Transaction
from enroll import identifiers, store
from enroll.languages import LANGUAGES
from enroll.mail import occasions
from enroll.mail import store as mail_store
from enroll.operators import codes
from enroll.operators import store as operators
from enroll.operators.roles import Role
from enroll.operators.store import Operator
from enroll.people.register import wrong_mail
from enroll.people.sameness import tidy_mail, tidy_name
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import CESSATION
from enroll.requests.transitions import end_certificate

NAME = re.compile(r"[a-z][a-z0-9._-]{1,31}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
#: What may change of one.
OF_OPERATORS = ("display", "roles", "mail", "account", "networks", "language")
#: Networks that one service may come from, at most.
MOST_NETWORKS = 50

Payload = Mapping[str, Any]


def facts(db: Transaction, name: str) -> Mapping[str, Any]:
    """One as it stands, for whoever decides; nothing for one who is none."""
    found = operators.named(db, name)
    return {} if found is None else record(found)


def record(operator: Operator) -> dict[str, Any]:
    """One for people and programs, as JSON has it."""
    told: dict[str, Any] = json.loads(json.dumps(asdict(operator)))
    del told["handle"]
    return told


def check_new(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal for a name, a role, a mail address or an account that cannot be, or is somebody's; and for a
    service that may come from nowhere."""
    if NAME.fullmatch(payload["name"]) is None:
        detail = "write a name of 2 to 32 characters such as suzuki: a-z, 0-9, '.', '_' and '-'"
        raise Refusal("invalid_input", field="operator", detail=detail)
    _check_facts(payload)
    if operators.named(db, payload["name"]) is not None:
        detail = f"{payload['name']} is an operator, or was; names are given once"
        raise Refusal("conflict", field="operator", detail=detail)
    _check_account(db, payload["account"])


def check_change(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """The same for what changes of one who is there."""
    found = there(db, payload["name"])
    _check_facts(asdict(found) | payload["changes"])
    if payload["changes"].get("account") not in (None, found.account):
        _check_account(db, payload["changes"]["account"])


def check_there(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal for one who is none, or has ended."""
    there(db, payload["name"])


def check_new_is_reached(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal for one without a mail address, where the code goes once somebody else has decided."""
    _check_reached(payload["name"], payload["mail"])


def check_is_reached(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """The same of one who is there."""
    found = there(db, payload["name"])
    _check_reached(found.name, found.mail)


async def add(ra: RegistrationAuthority, payload: Payload, by: str, direct: bool) -> Mapping[str, Any]:
    """Records one, with a code: told to whoever has the machine, else sent to the operator alone."""
    code, handle = codes.new(), identifiers.new_issue_password() + identifiers.new_issue_password()
    roles = tuple(Role(each) for each in payload["roles"])

    def work(db: Transaction) -> Operator:
        check_new(db, ra, payload)
        made = operators.add(
            db,
            Operator(
                number=0,
                name=payload["name"],
                display=tidy_name(payload["display"]),
                kind=payload["kind"],
                roles=roles,
                mail=tidy_mail(payload["mail"]),
                account=payload["account"],
                networks=tuple(payload.get("networks", ())),
                handle=handle,
                added_at=ra.now(),
                added_by=by,
                language=payload["language"],
            ),
        )
        if made is None:
            raise Refusal("conflict", field="operator", detail="the name or the account is somebody's")
        told = {"roles": list(roles), "account": made.account}
        told |= {"kind": made.kind, "networks": list(made.networks)} if made.kind == "service" else {}
        store.audit(db, ra.now(), by, "operator.added", made.name, **told)
        _give_code(db, ra, made, code, by, direct)
        return made

    made = await ra.database.write(work)
    return {"operator": record(made)} | ({"code": code} if direct else {})


async def change(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Mapping[str, Any]:
    """Records what is different about one (``OF_OPERATORS``)."""

    def work(db: Transaction) -> Operator:
        check_change(db, ra, payload)
        before, new = there(db, payload["name"]), dict(payload["changes"])
        if "roles" in new:
            new["roles"] = tuple(Role(each) for each in new["roles"])
        if "networks" in new:
            new["networks"] = tuple(new["networks"])
        after = replace(before, **new)
        if not operators.change(db, before, after):
            raise Refusal("conflict", field="operator", detail="somebody else has changed it; look again")
        if after.mail not in ("", before.mail) and before.mail != ra.settings.operator_mail:
            mail_store.redirect_operators(db, before.mail, after.mail)
        told = {name: [getattr(before, name), getattr(after, name)] for name in new}
        store.audit(db, ra.now(), by, "operator.changed", before.name, **told)
        return after

    return {"operator": record(await ra.database.write(work))}


async def end(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Mapping[str, Any]:
    """Ends one, with all that opens anything: for good, the name is nobody's any more."""

    def work(db: Transaction) -> Operator:
        before = there(db, payload["name"])
        after = replace(before, ended_at=ra.now(), ended_by=by)
        if not operators.change(db, before, after):
            raise Refusal("conflict", field="operator", detail="somebody else has changed it; look again")
        for serial in operators.certificates(db, before.number):
            end_certificate(db, ra, serial, CESSATION, ra.now(), actor=by)
        operators.end_credentials(db, before.number, ra.now())
        store.audit(db, ra.now(), by, "operator.ended", before.name)
        return after

    return {"operator": record(await ra.database.write(work))}


async def renew_code(ra: RegistrationAuthority, payload: Payload, by: str, direct: bool) -> Mapping[str, Any]:
    """A code anew; the one before it ends."""
    code = codes.new()

    def work(db: Transaction) -> Operator:
        found = there(db, payload["name"])
        _give_code(db, ra, found, code, by, direct)
        return found

    made = await ra.database.write(work)
    return {"operator": record(made)} | ({"code": code} if direct else {})


def there(db: Transaction, name: str) -> Operator:
    """One who is there. Refusal("not_found") for one who is none, or has ended."""
    found = operators.named(db, name)
    if found is None or found.ended_at is not None:
        raise Refusal("not_found", field="operator")
    return found


def _give_code(
    db: Transaction, ra: RegistrationAuthority, operator: Operator, code: str, by: str, direct: bool
) -> None:
    at = ra.now()
    if not direct:
        _check_reached(operator.name, operator.mail)
    operators.add_code(db, operator.number, codes.hashed(code), at, at + codes.LIFETIME)
    store.audit(db, at, by, "operator.code", operator.name, sent=not direct)
    if not direct:
        occasions.operator_code(
            db, ra, operator.name, operator.display, operator.mail, code, operator.language, at
        )


def _check_reached(name: str, mail: str) -> None:
    if not mail:
        detail = f"{name} has no mail address, where the code goes: write one (--mail)"
        raise Refusal("invalid_input", field="mail", detail=detail)


def _check_facts(payload: Payload) -> None:
    roles = payload["roles"]
    unknown = [each for each in roles if each not in set(Role)]
    if not roles or unknown or len(set(roles)) < len(roles):
        detail = f"write each role once, of {', '.join(Role)}"
        raise Refusal("invalid_input", field="role", detail=detail)
    if payload["kind"] not in ("person", "service") or payload["language"] not in LANGUAGES:
        raise Refusal("invalid_input", field="kind")
    if payload["mail"] and wrong_mail(payload["mail"]):
        raise Refusal("invalid_input", field="mail")
    display = tidy_name(payload["display"])
    if not 0 < len(display) <= 100 or not display.isprintable():
        raise Refusal("invalid_input", field="name")
    if payload["account"] and _ACCOUNT.fullmatch(payload["account"]) is None:
        detail = "write the name of an account of this machine"
        raise Refusal("invalid_input", field="account", detail=detail)
    _check_networks(payload)


def _check_networks(payload: Payload) -> None:
    """A service comes from addresses that are listed, and by no account; a person from anywhere."""
    given = payload.get("networks", ())
    if payload["kind"] == "person":
        if given:
            detail = "a person may come from anywhere; a list of addresses is for a service (--service)"
            raise Refusal("invalid_input", field="networks", detail=detail)
        return
    if payload["account"]:
        detail = "a service types no commands: leave its account empty"
        raise Refusal("invalid_input", field="account", detail=detail)
    if not 0 < len(given) <= MOST_NETWORKS:
        detail = f"say where the service comes from, 1 to {MOST_NETWORKS} networks: --from 192.0.2.0/24"
        raise Refusal("invalid_input", field="networks", detail=detail)
    for each in given:
        if not _is_network(each):
            detail = f"{each!r} is no network: write an address, or one such as 192.0.2.0/24 (IPv4 as IPv4)"
            raise Refusal("invalid_input", field="networks", detail=detail)


def _is_network(text: str) -> bool:
    try:
        found = ip_network(text)
    except ValueError:
        return False
    # One of IPv4 within IPv6: nobody comes from there (`actors.contains`).
    return isinstance(found, IPv4Network) or found.network_address.ipv4_mapped is None


def _check_account(db: Transaction, account: str) -> None:
    whose = operators.of_account(db, account) if account else None
    if whose is not None:
        raise Refusal("conflict", field="account", detail=f"account {account} is the operator {whose.name}'s")
