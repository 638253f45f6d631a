"""What the register knows of somebody that a certificate can say: a field for each, and where it comes from.

An operator's profile names these fields and no others (`ca.profiles.Source`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from enroll.people.store import Organisation, User


@dataclass(frozen=True)
class Fact:
    """``sample``: of somebody who does not exist; ``record``: what an operator types to have it recorded;
    ``option``: what is typed instead with somebody who is recorded only now."""

    of: Callable[[User, Organisation], str]
    sample: str
    record: str
    option: str = ""


_USER, _ORGANISATION = "sekisho user change {user} --", "sekisho org change {organisation} --"

FACTS: Mapping[str, Fact] = MappingProxyType(
    {
        "organisation.name": Fact(lambda _, of: of.name, "霞が関商事", f"{_ORGANISATION}name NAME"),
        "organisation.number": Fact(
            lambda _, of: of.policy_number, "12345678", f"{_ORGANISATION}number NUMBER"
        ),
        "organisation.country": Fact(lambda _, of: of.country, "JP", f"{_ORGANISATION}country JP"),
        "user.id": Fact(lambda user, _: user.user_id, "K12345678", f"{_USER}name NAME"),
        "user.name": Fact(lambda user, _: user.name, "厚生 太郎", f"{_USER}name NAME"),
        "user.mail": Fact(lambda user, _: user.mail, "taro.kosei@example.jp", f"{_USER}mail ADDRESS"),
        "user.department": Fact(
            lambda user, _: user.department, "経理部", f"{_USER}department NAME", "--department NAME"
        ),
        "user.principal": Fact(
            lambda user, _: user.principal,
            "taro@corp.example.jp",
            f"{_USER}principal NAME@DOMAIN",
            "--principal NAME@DOMAIN",
        ),
    }
)


def facts_of(user: User, organisation: Organisation) -> dict[str, str]:
    """Every fact about somebody; '' for what is not recorded."""
    return {name: fact.of(user, organisation) for name, fact in FACTS.items()}


def samples() -> dict[str, str]:
    """The facts of somebody who does not exist."""
    return {name: fact.sample for name, fact in FACTS.items()}
