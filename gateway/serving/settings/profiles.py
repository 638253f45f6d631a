"""Certificate profiles by the operator: tables ``[profile.NAME]`` of the configuration file.

Each begins with a built-in one and says what is different. What a value is made of is a text, or a field of
the register between two texts: nothing in it is a format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from cryptography.x509.oid import ObjectIdentifier

from ca.errors import ConfigError, Unacceptable
from ca.keys import KINDS
from ca.naming import ALTERNATIVES, ATTRIBUTES, naming_of, what_is_wrong
from ca.profiles import CLIENTS, PROFILES, Profile, Source
from enroll.people.facts import FACTS, samples

#: What the certificates may be good for: by the name that OpenSSL and browsers know it by.
PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "clientAuth": "1.3.6.1.5.5.7.3.2",
        "emailProtection": "1.3.6.1.5.5.7.3.4",
        "ipsecIKE": "1.3.6.1.5.5.7.3.17",
        "documentSigning": "1.3.6.1.5.5.7.3.36",
        "smartcardLogon": "1.3.6.1.4.1.311.20.2.2",
    }
)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_OID = re.compile(r"(?:[01]\.[1-3]?[0-9]|2\.(?:0|[1-9]\d{0,8}))(?:\.(?:0|[1-9]\d{0,17})){1,20}")
_CPS = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?(?:/[!#$&-;=?-~]*)?")
_ANY_POLICY = "2.5.29.32.0"
_MOST_YEARS, _MOST_DAYS = 10, 3_660


def parse_profiles(tables: Any) -> Mapping[str, Profile]:
    """The operator's profiles by name. ConfigError names the profile, the setting and what to write."""
    if not isinstance(tables, dict) or not all(isinstance(each, dict) for each in tables.values()):
        raise ConfigError("profile must be tables; write [profile.NAME] on a line of its own")
    return {name: _profile(name, table) for name, table in tables.items()}


def commented(profile: Profile) -> list[str]:
    """A profile as the table that would make it, commented out: the examples in the file."""
    lines = [f"[profile.{profile.name}]", f"description = {json.dumps(profile.description)}"]
    lines.append(f"years = {profile.years}" if profile.years else f"days = {profile.days}")
    words = {oid: word for word, oid in PURPOSES.items()}
    purposes = [words[each.dotted_string] for each in profile.extended_key_usage]
    for name, listed in (("keys", profile.key_kinds), ("extended_key_usage", purposes)):
        lines.append(f"{name} = {json.dumps(list(listed))}")
    return [f"# {line}" for line in lines]


# -- within --------------------------------------------------------------------------------------------


def _profile(name: str, table: Mapping[str, Any]) -> Profile:
    where = f"profile.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a profile's name is 1 to 40 of a-z, 0-9 and -; name it so")
    if name in PROFILES:
        raise ConfigError(f"{where}: that one is built in and stays as it is; name yours otherwise")
    strangers = [each for each in table if each not in _KEYS]
    if strangers:
        raise ConfigError(f"{where}.{strangers[0]} is no setting; a profile knows {', '.join(_KEYS)}")
    like = str(table.get("like"))
    if like not in CLIENTS:
        raise ConfigError(f"{where}.like: write the built-in one it begins with: {' or '.join(CLIENTS)}")
    found: dict[str, Any] = {"name": name, "like": like, "description": f"like {like}"}
    for key, value in table.items():
        if (problem := _KEYS[key](value, found, CLIENTS[like])) is not None:
            raise ConfigError(f"{where}.{key}: {problem}")
    if "years" in table and "days" in table:
        raise ConfigError(f"{where}: write years or days, not both")
    made = replace(CLIENTS[like], **found)
    if made.cps and not made.policy:
        raise ConfigError(f"{where}.cps: it belongs to a policy; write its OID: policy")
    try:
        naming_of(made, samples())
    except Unacceptable as error:
        raise ConfigError(f"{where}: {error}; of a sample person: {_SHOW} {name}") from None
    return made


_SHOW = "sekisho profile show"
#: Takes a value into what is found of a profile, or says what to write instead.
_Taking = Callable[[Any, dict[str, Any], Profile], str | None]


def _like(*_: Any) -> None:
    """It was looked at first."""


def _description(value: Any, found: dict[str, Any], _: Profile) -> str | None:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 200:
        return "write one line of text"
    found["description"] = value
    return None


def _lasting(unit: str, most: int) -> _Taking:
    def take(value: Any, found: dict[str, Any], _: Profile) -> str | None:
        if type(value) is not int or not 1 <= value <= most:
            return f"write a whole number from 1 to {most}"
        found |= {"years": 0, "days": 0} | {unit: value}
        return None

    return take


def _keys(value: Any, found: dict[str, Any], like: Profile) -> str | None:
    if not _distinct(value) or not set(value) <= set(like.key_kinds):
        return f"write a list of some of {', '.join(like.key_kinds)}, the usual one first"
    assert set(value) <= set(KINDS)
    found["key_kinds"] = tuple(value)
    return None


def _purposes(value: Any, found: dict[str, Any], _: Profile) -> str | None:
    if not _distinct(value) or not set(value) <= set(PURPOSES):
        return f"write a list of some of {', '.join(PURPOSES)}: the CA allows no other"
    if "clientAuth" not in value:
        return "write clientAuth, too: without it nobody logs in"
    found["extended_key_usage"] = tuple(ObjectIdentifier(PURPOSES[each]) for each in value)
    return None


def _policy(value: Any, found: dict[str, Any], _: Profile) -> str | None:
    if not isinstance(value, str) or not _OID.fullmatch(value) or value == _ANY_POLICY:
        return "write the OID of your policy, such as '1.3.6.1.4.1.32473.1.1', below a number of your own"
    found["policy"] = value
    return None


def _cps(value: Any, found: dict[str, Any], _: Profile) -> str | None:
    if not isinstance(value, str) or len(value) > 200 or not _CPS.fullmatch(value):
        return "write the address of the statement, such as 'https://pki.example.jp/cps.html'"
    found["cps"] = value
    return None


def _sources(target: str, kinds: Mapping[str, Any]) -> _Taking:
    def take(value: Any, found: dict[str, Any], _: Profile) -> str | None:
        if not isinstance(value, dict) or not set(value) <= set(kinds):
            return f"write a table of some of {', '.join(kinds)}"
        made = {}
        for name in (each for each in kinds if each in value):
            source = _source(value[name])
            if isinstance(source, str):
                return f"{name}: {source}"
            wrong = what_is_wrong(name, source.before) if not source.field else None
            if wrong is not None:
                return f"{name}: {source.before!r} {wrong}"
            made[name] = source
        found[target] = tuple(made.items())
        return None

    return take


def _source(value: Any) -> Source | str:
    """Or what to write instead."""
    if isinstance(value, str):
        if value in FACTS:
            return f'for the field write {{ field = "{value}" }}; a text stands in each certificate as it is'
        return Source(before=value)
    if not isinstance(value, dict) or not set(value) <= {"field", "before", "after"} or "field" not in value:
        return 'write a text, or { field = "..." } with before and after, texts around it, where needed'
    if not all(isinstance(each, str) for each in value.values()):
        return "field, before and after are texts in quotes"
    if value["field"] not in FACTS:
        return f"there is no field {value['field']!r}; write one of {', '.join(FACTS)}"
    return Source(value["field"], value.get("before", ""), value.get("after", ""))


def _distinct(value: Any) -> bool:
    good = isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
    return good and len(set(value)) == len(value)


_KEYS: Mapping[str, _Taking] = MappingProxyType(
    {
        "like": _like,
        "description": _description,
        "years": _lasting("years", _MOST_YEARS),
        "days": _lasting("days", _MOST_DAYS),
        "keys": _keys,
        "subject": _sources("subject", ATTRIBUTES),
        "names": _sources("alternative", ALTERNATIVES),
        "extended_key_usage": _purposes,
        "policy": _policy,
        "cps": _cps,
    }
)
