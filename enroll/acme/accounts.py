"""Account objects (RFC 8555 sections 7.1.2 and 7.3): what clients send, and how an account is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enroll.acme.keys import AccountKey
from enroll.acme.urls import Urls
from enroll.acme.wire import Json, array_of, boolean, mapping, optional, text
from enroll.problems import Problem

#: The most contact URLs that an account may list.
MAX_CONTACTS = 5

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_ATOM = r"[A-Za-z0-9!#$&'*+/=^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# RFC 6068's addr-spec without quoting, domain literals and percent-encoding: what people's addresses are.
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is stored. It acts for one user, whoever vouched for it.

    ``kid`` names the credential that it was bound with; None where a certificate stood for it.
    """

    id: str
    user_id: str
    key: AccountKey
    status: str
    contacts: tuple[str, ...]
    created_at: int
    terms_agreed_at: int | None
    kid: str | None
    #: The binding as the client sent it; shown again because it was verified (RFC 8555 section 7.3.4).
    binding: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What newAccount was asked."""

    contacts: tuple[str, ...]
    terms_agreed: bool
    only_return_existing: bool
    binding: Mapping[str, Json] | None


@dataclass(frozen=True, slots=True)
class AccountUpdate:
    """What an account is asked to become; None leaves as is."""

    contacts: tuple[str, ...] | None
    deactivate: bool


def read_new_account(payload: Mapping[str, Json]) -> NewAccount:
    """The fields of newAccount; those that RFC 8555 section 7.3 tells servers to ignore are ignored.

    With ``onlyReturnExisting`` the contacts do not matter and are not checked.
    """
    only_existing = bool(optional(payload, "onlyReturnExisting", boolean))
    contacts = optional(payload, "contact", array_of(text)) or ()
    return NewAccount(
        () if only_existing else checked_contacts(contacts),
        bool(optional(payload, "termsOfServiceAgreed", boolean)),
        only_existing,
        optional(payload, "externalAccountBinding", mapping),
    )


def read_account_update(payload: Mapping[str, Json]) -> AccountUpdate:
    """The fields of an update (RFC 8555 sections 7.3.2 and 7.3.6); nothing at all is allowed.

    Section 7.3.2: updates to ``orders``, to ``termsOfServiceAgreed``, to ``status`` but for deactivation and
    to what is unknown MUST be ignored. Some clients write back the whole object.
    """
    contacts = optional(payload, "contact", array_of(text))
    return AccountUpdate(
        None if contacts is None else checked_contacts(contacts), payload.get("status") == "deactivated"
    )


def checked_contacts(contacts: tuple[str, ...]) -> tuple[str, ...]:
    """RFC 8555 section 7.3: mailto with exactly one address and no header fields."""
    if len(contacts) > MAX_CONTACTS:
        # Section 6.7: invalidContact is for a URL that is wrong, and none is.
        raise Problem("malformed", f"an account has {MAX_CONTACTS} contacts at the most")
    for contact in contacts:
        scheme = _SCHEME.fullmatch(contact)
        if scheme is None:
            raise Problem("invalidContact", f"{contact!r} is not a URL")
        if scheme[1].lower() != "mailto":
            raise Problem("unsupportedContact", f"{scheme[1]}: is not supported; use mailto:")
        if len(scheme[2]) > 254 or not _ADDRESS.fullmatch(scheme[2]):
            raise Problem("invalidContact", f"{contact!r} is not mailto: and a single mail address")
    return contacts


def account_json(account: Account, urls: Urls) -> dict[str, Any]:
    """The account object (RFC 8555 section 7.1.2)."""
    shown: dict[str, Any] = {
        "status": account.status,
        "contact": list(account.contacts),
        "termsOfServiceAgreed": account.terms_agreed_at is not None,
        "orders": urls.to("orders", account.id),
    }
    if account.binding is not None:
        shown["externalAccountBinding"] = dict(account.binding)
    return shown
