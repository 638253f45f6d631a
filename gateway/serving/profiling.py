"""The operator's profiles looked at before they are served: whether the CA allows them, what pkilint says of
a sample, and whether whoever is to have one still finds it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import linting
from ca.authority import Issuer
from ca.errors import ConfigError
from ca.linting import Finding
from ca.profiles import Profile, figures, versions
from ca.sample import sample
from ca.signerlink import RemoteSigner
from ca.signing import NoSignature, Signer
from ca.storage import Storage, Transaction
from enroll import store
from enroll.acme import store as acme_store
from enroll.people.facts import samples
from gateway.serving.config import Config
from gateway.serving.deployment import Deployment

log = logging.getLogger("sekisho.profiles")


def check(deployment: Deployment) -> None:
    """ConfigError for a profile that cannot be served, with what is wrong and what to change."""
    check_allowed(deployment.config.profile, deployment.datadir.authority.current)
    check_wanted(deployment.config.profiles, deployment.ra.database)
    check_linted(deployment.config.profile, deployment.datadir.authority.current, deployment.ra.now())


def hand_over(signer: Signer, profiles: Mapping[str, Profile]) -> None:
    """Has the signer read the profiles, each of us for himself. ConfigError unless it has these then."""
    if not isinstance(signer, RemoteSigner):
        return
    try:
        answer = signer.ask_now({"ask": "profiles"})
    except NoSignature as error:
        raise ConfigError(f"the signer does not take the profiles ({error}); again: sekisho reload") from None
    if answer.get("profiles") != versions(profiles):
        why = answer.get("refused", "sekisho.toml was written meanwhile, or it reads another one")
        raise ConfigError(f"the signer has read other profiles than these ({why}); again: sekisho reload")


def check_allowed(profiles: Mapping[str, Profile], issuer: Issuer) -> None:
    """ConfigError for purposes that the issuing CA's own certificate does not extend to."""
    try:
        own = issuer.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in own:
        return
    for name, profile in profiles.items():
        for purpose in profile.extended_key_usage:
            if purpose not in own:
                raise ConfigError(
                    f"profile.{name}.extended_key_usage: {issuer.common_name} may not certify "
                    f"{purpose.dotted_string}; take it out"
                )


def check_linted(profiles: Mapping[str, Profile], issuer: Issuer, at: int) -> None:
    """ConfigError if pkilint finds an error in a sample. Weaker findings, and its absence, are logged."""
    if not profiles:
        return
    if not linting.available():
        log.warning("profiles of your own are not linted: pkilint is not installed; %s", linting.INSTALL)
        return
    for name, findings in linted(profiles.values(), issuer, at).items():
        for each in findings:
            if each.is_bad:
                raise ConfigError(
                    f"profile.{name}: pkilint says {each.severity}: {each.found}; change what it names, and "
                    f"look at it with: sekisho profile show {name}"
                )
            log.info("profile.%s: pkilint says %s: %s", name, each.severity, each.found)


def linted(profiles: Iterable[Profile], issuer: Issuer, at: int) -> Mapping[str, list[Finding]]:
    """What pkilint finds in a sample of each, by name. ConfigError where it cannot run."""
    made = {each.name: sample(each, issuer, samples(), at) for each in profiles}
    return linting.lint(made)


def figures_of(config: Config) -> list[dict[str, Any]]:
    """Every profile that clients' certificates may have, as data, the built-in ones first; ``default``:
    whether people's certificates have it where the organisation has none of its own."""
    chosen = config.policy.person_profile
    return [figures(each) | {"default": each.name == chosen} for each in config.profiles.values()]


def check_wanted(known: Mapping[str, Profile], database: Storage) -> None:
    """ConfigError for one that an organisation or a credential has, and that is not there: nobody is to find
    that out at a pick-up."""

    def work(db: Transaction) -> tuple[list[tuple[str, str]], list[str]]:
        return store.chosen_profiles(db), acme_store.granted_profiles(db)

    of_organisations, of_credentials = database.read_now(work)
    for number, name in of_organisations:
        if name not in known or known[name].needs_names:
            raise ConfigError(
                f"the organisation {number} has the profile {name}, which is none for people here; write "
                f"[profile.{name}], or: sekisho org change {number} --profile ''"
            )
    for name in of_credentials:
        if name not in known:
            raise ConfigError(
                f"credentials for programs have the profile {name}, which is not there; write "
                f"[profile.{name}], or withdraw them: sekisho eab list USER_ID"
            )
