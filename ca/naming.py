"""What a certificate says of its holder beside the common name and dNSNames: attributes of the subject, and
other alternative names. Each kind is a row of a table, with the form that its values have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from ca.der import UTF8_STRING, tlv
from ca.errors import Unacceptable
from ca.profiles import Profile, Source

#: Of Windows: who logs on (a UTF8String in an otherName).
UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
Said = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Naming:
    """The values for one certificate, in the order of its profile."""

    subject: Said = ()
    alternative: Said = ()


NOTHING = Naming()


@dataclass(frozen=True)
class _Kind:
    """``wrong``: what is wrong with a value, or None; ``fact``: what a fact in it may be."""

    wrong: Callable[[str], str | None]
    fact: re.Pattern[str] = re.compile(r".+")


def _text(most: int) -> Callable[[str], str | None]:
    def wrong(value: str) -> str | None:
        if not value or not value.isprintable() or value != value.strip():
            return "is not one line of text"
        return None if len(value) <= most else f"is longer than {most} characters (RFC 5280 appendix A.1)"

    return wrong


def _country(value: str) -> str | None:
    good = re.fullmatch(r"[A-Z]{2}", value)
    return None if good else "is not two capital letters of ISO 3166, such as JP"


_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


def _email(value: str) -> str | None:
    if not value.isascii():
        return "is not ASCII: SmtpUTF8Mailbox (RFC 9598) is not made here"
    return None if _MAIL.fullmatch(value) and len(value) <= 254 else "is not a mail address"


def _upn(value: str) -> str | None:
    good = len(value) <= 256 and value.isprintable() and re.fullmatch(r"[^@\s]+@[^@\s]+", value)
    return None if good else "is not a name of Windows, such as taro@corp.example.jp"


def _uri(value: str) -> str | None:
    # RFC 5280 section 4.2.1.6: absolute, in IA5.
    good = len(value) <= 512 and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!#$&-;=?-\[\]_a-z~]+", value)
    return None if good else "is not an absolute URI in ASCII"


#: Of the subject, with the upper bounds of X.520 as RFC 5280 appendix A.1 has them.
ATTRIBUTES: Mapping[str, _Kind] = MappingProxyType(
    {"C": _Kind(_country), "O": _Kind(_text(64)), "OU": _Kind(_text(64))}
)
#: Of subjectAltName. A fact in a URI is no more than a word: nothing in it begins another part.
ALTERNATIVES: Mapping[str, _Kind] = MappingProxyType(
    {"email": _Kind(_email), "upn": _Kind(_upn), "uri": _Kind(_uri, re.compile(r"[A-Za-z0-9._~@+-]+"))}
)
_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
}


def naming_of(profile: Profile, facts: Mapping[str, str]) -> Naming:
    """What a profile says of whom these facts are about.

    `Unacceptable`: "no-fact" where one is empty, "bad-fact" where what it gives is none of its kind. The
    message begins with the field.
    """
    return Naming(
        tuple((name, _value(name, source, facts, ATTRIBUTES)) for name, source in profile.subject),
        tuple((name, _value(name, source, facts, ALTERNATIVES)) for name, source in profile.alternative),
    )


def fits(profile: Profile, naming: Naming) -> bool:
    """Whether these can be the values of a profile, whatever the facts are: all of them, in their order, with
    the profile's own texts in their places, each of its kind."""
    return _fit(profile.subject, naming.subject, ATTRIBUTES) and _fit(
        profile.alternative, naming.alternative, ALTERNATIVES
    )


def what_is_wrong(name: str, value: str) -> str | None:
    """What is wrong with a value of this kind, in words that follow it; None if nothing is."""
    return (ATTRIBUTES.get(name) or ALTERNATIVES[name]).wrong(value)


def subject_of(cn: x509.Name, said: Said) -> x509.Name:
    """The subject, the common name last: from the wide to the narrow. C is a PrintableString, the others are
    UTF8Strings (RFC 5280 section 4.1.2.4)."""
    return x509.Name([*(x509.NameAttribute(_OIDS[name], value) for name, value in said), *cn])


def general_name(kind: str, value: str) -> x509.GeneralName:
    """One of the alternative names."""
    match kind:
        case "email":
            return x509.RFC822Name(value)
        case "uri":
            return x509.UniformResourceIdentifier(value)
    return x509.OtherName(UPN, tlv(UTF8_STRING, value.encode()))


def _value(name: str, source: Source, facts: Mapping[str, str], kinds: Mapping[str, _Kind]) -> str:
    kind, fact = kinds[name], facts.get(source.field, "")
    if source.field and not fact:
        raise Unacceptable("no-fact", f"{source.field} is empty, and {name} is made of it")
    value = source.of(fact)
    wrong = kind.wrong(value)
    if source.field and not kind.fact.fullmatch(fact):
        wrong = wrong or "has other characters than letters, digits and . _ ~ @ + -"
    if wrong:
        raise Unacceptable("bad-fact", f"{source.field or name} gives {name} = {value!r}, which {wrong}")
    return value


def _fit(sources: tuple[tuple[str, Source], ...], said: Said, kinds: Mapping[str, _Kind]) -> bool:
    if [name for name, _ in sources] != [name for name, _ in said]:
        return False
    return all(
        kinds[name].wrong(value) is None and _made_by(source, value, kinds[name])
        for (name, source), (_, value) in zip(sources, said, strict=True)
    )


def _made_by(source: Source, value: str, kind: _Kind) -> bool:
    if not source.field:
        return value == source.before
    if not value.startswith(source.before) or not value.endswith(source.after):
        return False
    fact = value[len(source.before) : len(value) - len(source.after)]
    # Not the same characters for the end of one text and the beginning of the other.
    return len(value) > len(source.before) + len(source.after) and bool(kind.fact.fullmatch(fact))
