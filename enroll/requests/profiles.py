"""Which profile somebody's certificate has, and what it says of the holder by it.

A person's is the organisation's own, else the setting's, as they are when it is applied for: also a
renewal's, whatever the certificate before it had. A program's is its credential's.
"""

from __future__ import annotations

import ca.store
from ca.errors import Unacceptable
from ca.naming import NOTHING, Naming, naming_of
from ca.profiles import Profile
from ca.storage import Transaction
from enroll import store
from enroll.people.facts import FACTS, facts_of
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment


def of_people(ra: RegistrationAuthority) -> list[str]:
    """The names of the profiles that people's certificates may have: without a dNSName."""
    return [name for name, each in ra.authority.profiles.items() if not each.needs_names]


def of_organisation(ra: RegistrationAuthority, organisation: store.Organisation) -> str:
    """What a certificate for somebody of an organisation has today."""
    return organisation.profile or ra.settings.person_profile


def of_user(db: Transaction, ra: RegistrationAuthority, user_id: str) -> str:
    """The same by whom it is for."""
    return of_organisation(ra, _known(db, user_id)[1])


def of_renewal(db: Transaction, ra: RegistrationAuthority, source: Enrollment) -> str:
    """What a certificate that follows another has: a program's (it has a dNSName) the one before."""
    reserved = ca.store.find_reservation(db, source.serial or "")
    if reserved is not None and reserved.names:
        return source.profile
    return of_user(db, ra, source.user_id)


def of_submission(db: Transaction, ra: RegistrationAuthority, waiting: Enrollment) -> str:
    """What the certificate of a request has that somebody hands in on a page."""
    if waiting.kind == "renewal":
        source = store.enrollment_of(db, waiting.replaces_serial or "")
        return waiting.profile if source is None else of_renewal(db, ra, source)
    program = waiting.profile not in of_people(ra)
    return waiting.profile if program else of_user(db, ra, waiting.user_id)


def known(ra: RegistrationAuthority, name: str) -> Profile:
    """The profile of this name. Refusal("profile_unmet") for one that the configuration has no more."""
    found = ra.authority.profiles.get(name)
    if found is None:
        raise Refusal(
            "profile_unmet",
            field="profile",
            detail=f"there is no profile {name} any more; write [profile.{name}] into sekisho.toml, or "
            "choose another one: sekisho org change NUMBER --profile NAME",
        )
    return found


def naming(db: Transaction, profile: Profile, user_id: str) -> Naming:
    """What a certificate says of a user. Refusal("profile_unmet") names the fact that is missing or does not
    fit, and what an operator types."""
    if not any(source.field for _, source in (*profile.subject, *profile.alternative)):
        return naming_of(profile, {}) if profile.subject or profile.alternative else NOTHING
    user, organisation = _known(db, user_id)
    try:
        return naming_of(profile, facts_of(user, organisation))
    except Unacceptable as error:
        fact = FACTS.get(str(error).split()[0])
        record = "" if fact is None else fact.record
        typed = record.format(user=user_id, organisation=organisation.policy_number)
        if fact is not None and fact.option:
            typed = f"{typed}; of somebody who is only being recorded: {fact.option}"
        raise Refusal(
            "profile_unmet",
            field=str(error).split()[0],
            detail=f"the profile {profile.name} cannot be met for {user_id}: {error}; {typed}",
        ) from None


def _known(db: Transaction, user_id: str) -> tuple[store.User, store.Organisation]:
    user = store.user(db, user_id)
    organisation = None if user is None else store.organisation(db, user.policy_number)
    if user is None or organisation is None:
        raise LookupError(user_id)
    return user, organisation
