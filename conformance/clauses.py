"""The sentences that the cases rest on, quoted, so that nobody has to take the suite's word for a rule.

Three tables. SENTENCES (sentences.toml) has them by clause, each under a word of its own; DEFAULT is what
cases of the clause rest on unless CHOSEN says otherwise. REASONS says what a level rests on where the
sentence lacks the word for it: a server that does otherwise is unsafe, or real clients cannot use it, or
(advice) what it keeps an attacker from. A test holds that no case lacks what its level needs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from conformance.case import Case

PROTOCOL = "sekisho PROTOCOL"
DEFAULT = "default"
SENTENCES: Mapping[str, Mapping[str, str]] = tomllib.loads(
    Path(__file__).with_name("sentences.toml").read_text("utf-8")
)


@dataclass(frozen=True)
class Ground:
    """What a case rests on: the sentence, where it stands, and the reason where it does not suffice."""

    clause: str
    quote: str
    reason: str = ""

    def __str__(self) -> str:
        said = f"{self.clause}: “{self.quote}”" if self.quote else self.clause
        return f"{said} ({self.reason})" if self.reason else said


def ground(case: Case) -> Ground:
    """The sentence and reason of a case."""
    return _ground(case.id, case.clause)


@cache
def _ground(id: str, clause: str) -> Ground:
    where, word = next(
        (
            (where or clause, word)
            for globs, where, word in CHOSEN
            if any(fnmatchcase(id, glob) for glob in globs.split())
        ),
        (clause, DEFAULT),
    )
    reason = next((why for globs, why in REASONS if any(fnmatchcase(id, one) for one in globs.split())), "")
    return Ground(where, SENTENCES.get(where, {}).get(word, ""), reason)


#: Cases -> the clause and the word of their sentence. The first row that fits; clause "" is the case's own.
CHOSEN: tuple[tuple[str, str, str], ...] = (
    # Form of the JWS.
    ("jws.signatures-beside-signature jws.general-form envelope.*.general-form", "", "one signature"),
    ("jws.unprotected-header envelope.*.unprotected-header", "", "unprotected"),
    ("jws.nonce-only-unprotected", "", "unprotected"),
    ("jws.b64-*", "", "b64"),
    ("jws.compact-form", "", "flattened"),
    ("jws.content-type-case", "", DEFAULT),
    ("jws.content-type-* envelope.*.media-type", "", "media type"),
    ("json.body-bom", "", DEFAULT),
    ("json.body-* http.empty-body", "RFC 8555 6.2", "flattened"),
    ("json.header-duplicate-strict", PROTOCOL, "strict"),
    ("json.header-duplicate-*", "", "unique"),
    ("json.header-*", "RFC 8555 6.2", "header"),
    ("jws.no-payload jws.payload-not-a-string", "", "payload"),
    ("jws.no-signature jws.signature-not-a-string", "", "signature"),
    ("jws.empty-crit", "", "empty"),
    ("jws.nonce-in-http-header", "", "in requests"),
    # Algorithms, keys and signatures.
    ("alg.none alg.none-jwk alg.hs256 alg.hs512 envelope.*.alg-none", "", "no MAC"),
    ("alg.unknown audit.bad-algorithms", "", "unsupported"),
    ("alg.missing", "", "header"),
    ("alg.es256-served", "", "ES256"),
    ("alg.eddsa-served keychange.to-eddsa", "RFC 8555 6.2", "ES256"),
    ("alg.not-a-string alg.case", "", DEFAULT),
    ("alg.jwk-* alg.es384-with-p256 alg.rs256-with-ec", "RFC 7515 4.1.1", "no key"),
    ("signature.zeros", "RFC 8555 6.2", DEFAULT),
    ("kid.neither", "", "header"),
    ("kid.and-jwk envelope.*.kid-and-attackers-jwk envelope.*.jwk-and-kid", "", "exclusive"),
    ("kid.at-new-account", "", "jwk"),
    ("kid.anothers-account-url", "RFC 8555 6.3", "access"),
    ("kid.unknown", "RFC 8555 6.7", "unknown account"),
    ("kid.* envelope.*.unknown-jwk keychange.outer-jwk", "", "kid"),
    ("key.rsa-1024 keychange.weak-key", "", "2048"),
    ("key.rsa-4096-served", "", DEFAULT),
    ("key.rsa-2056-served key.rsa-3000-served key.rsa-e-3", PROTOCOL, "account keys"),
    ("key.private-member", "RFC 8555 6.2", "public key"),
    ("key.*", "RFC 8555 6.2", "bad key"),
    # HTTP.
    ("http.cors http.cors-exposes", "", "CORS"),
    ("http.no-user-agent", "", "User-Agent"),
    ("http.https-only", "", "HTTPS"),
    ("http.post-as-get-object-payload", "", "POST-as-GET"),
    ("http.post-as-get-*", "", "bootstrap"),
    ("http.two-lengths", "", DEFAULT),
    ("size.content-length-lies", "", "invalid"),
    ("order.anothers authz.anothers challenge.anothers finalize.anothers", "", "access"),
    ("certificate.anothers certificate.alternate-anothers", "RFC 8555 6.3", "access"),
    ("account.orders-not-anothers", "RFC 8555 6.3", "access"),
    # url and nonces.
    ("url.not-a-string url.missing envelope.*.url-missing", "RFC 8555 6.4.1", DEFAULT),
    ("url.default-port envelope.*.url-other-case url.query url.trailing-slash", "", "equality"),
    ("nonce.missing envelope.*.nonce-missing envelope.*.nonce-in-http-header", "", "badNonce"),
    ("nonce.of-bad-nonce-works audit.replay-nonce-on-bad-nonce", "", "fresh"),
    ("nonce.shared-by-keys nonce.many-outstanding nonce.across-connections", "", "scope"),
    ("audit.replay-nonce audit.replay-nonce-on-errors", "", "in answers"),
    (
        "nonce.spent nonce.same-request-again nonce.spent-by-bad-signature nonce.double-spend",
        "",
        "spent",
    ),
    ("nonce.eightfold-spend envelope.*.nonce-spent", "", "spent"),
    ("nonce.no-store", "", "no-store"),
    ("nonce.get", "", "GET"),
    ("nonce.directory-link", "RFC 8555 7.1", DEFAULT),
    # Errors.
    ("audit.problem-form", "", "namespace"),
    ("order.unsupported-type new-authz.unsupported-type", "RFC 8555 6.7", "unsupported identifier"),
    ("json.payload-duplicate-key", "", DEFAULT),
    ("json.alive", "", "crash"),
    # Directory.
    ("directory.meta", "", "meta"),
    ("directory.promises-kept", "", "operations"),
    ("directory.required directory.served", "RFC 8555 7.1", "directory"),
    ("directory.no-link-index", "RFC 8555 7.1", DEFAULT),
    ("challenge.link-up", "", "up"),
    ("audit.json-media-type", "RFC 8555 6.1", "JSON"),
    # Accounts.
    ("account.contact-not-a-list account.contact-of-numbers", "", "contact"),
    ("account.orders-url", "", "orders"),
    ("account.orders-none-invalid account.orders-own-only", "", DEFAULT),
    ("account.orders-paging", "", "next"),
    ("account.contact-scheme account.contact-no-address account.contact-empty-string", "", "contact"),
    ("account.contact-hfields account.contact-two-addresses", "", "mailto"),
    ("account.bad-contact-at-creation", "", "contact error"),
    ("account.created audit.created-location", "", "201"),
    ("account.terms-not-agreed account.terms-not-boolean", "", "terms"),
    ("account.only-existing-not-boolean", "", "existing"),
    ("account.payload-empty", "", "body"),
    ("account.found-by-key account.again account.again-bad-contact account.race-creation", "", "known"),
    ("account.again-keeps-contacts", "", "ignored"),
    (
        "account.not-found-by-key account.not-found-with-contact eab.beside-only-return-existing",
        "",
        "unknown",
    ),
    ("account.read", "RFC 8555 6.3", "access"),
    ("account.contact-set account.contact-emptied account.update-empty", "", "200"),
    ("account.refused-update-changes-nothing", "", "200"),
    # Bindings.
    ("eab.missing", "", "missing"),
    ("eab.echoed", "", "echoed"),
    ("eab.once eab.race deactivate.binding", PROTOCOL, "once"),
    ("eab.unknown-kid-type eab.wrong-mac-type", PROTOCOL, "alike"),
    ("eab.nonce", "", "nonce"),
    ("eab.unprotected", "RFC 7515 7.2.1", "disjoint"),
    ("eab.other-url eab.no-url", "", "url"),
    # Key change.
    ("keychange.key-in-use", "", "409"),
    ("keychange.keeps-orders", "", "orders"),
    ("keychange.inner-nonce", "", "nonce"),
    ("keychange.works keychange.back keychange.account-found-by-new-key keychange.race", "", "replaced"),
    ("keychange.to-*", "RFC 8555 6.2", DEFAULT),
    # Deactivation.
    ("deactivate.answer", "", "answer"),
    ("deactivate.finalize", "", "no further"),
    # Orders.
    ("order.created", "", "201"),
    ("order.dates order.not-before-garbage", "", "as requested"),
    ("order.unknown-members", "RFC 8555 7.3", DEFAULT),
    ("order.identifiers-label-64", "", DEFAULT),
    ("order.identifiers-as-sent", "", "immutable"),
    ("order.identifiers-* json.payload-* order.duplicate-names", "RFC 8555 7.4", "as requested"),
    ("finalize.pending validation.finalize-invalid finalize.again*", "", "ready"),
    ("finalize.amended", "", "amended"),
    ("finalize.issues finalize.location audit.still-serves", "", "returned"),
    ("finalize.race", "", "ready"),
    ("csr.missing finalize.payload-empty", "", "csr"),
    ("csr.ed25519-accepted", PROTOCOL, "any key"),
    ("csr.rsa-2056-accepted csr.rsa-3000-accepted", PROTOCOL, "RSA sizes"),
    ("csr.rsa-e-3 csr.rsa-e-3-type", PROTOCOL, "exponent"),
    ("http.misdirected-*", PROTOCOL, "misdirected"),
    ("eab.hs384-of-256-bits eab.hs512-of-256-bits", PROTOCOL, "HS256"),
    ("csr.*-accepted", "", "names"),
    ("csr.*account-key*", "RFC 8555 11.1", DEFAULT),
    ("csr.*-type", "", "badCSR"),
    (
        "csr.not-string csr.padded csr.plain-base64 csr.empty csr.not-der csr.pem csr.trunc* csr.trail*",
        "",
        "csr",
    ),
    ("csr.no-names csr.other-name csr.extra-name csr.wildcard csr.common-name-differs", "", "same"),
    ("csr.*", "", "unwilling"),
    ("certificate.names", "", "as requested"),
    ("order.pending-expires order.valid-expires order.expires", "", "expires"),
    ("order.finished-keeps-members", "", "immutable"),
    ("order.no-certificate-before", "", "certificate"),
    ("authz.one-per-name", "", "reflects"),
    ("authz.expires", "", "expires"),
    ("authz.identifier", "", "identifier"),
    ("order.case-echoed", PROTOCOL, "as sent"),
    ("finalize.race-one-winner", PROTOCOL, "one winner"),
    ("revoke.certificate-still-served", PROTOCOL, "stays valid"),
    ("renewal.read-starts-nothing", PROTOCOL, "not by reading"),
    ("renewal.finalize-pending", PROTOCOL, "ready"),
    ("limits.open-orders order.thousand-names size.*-refused", PROTOCOL, "too much"),
    ("ari.post-refused", PROTOCOL, "allow"),
    ("order.becomes-ready", "", "ready"),
    ("validation.*-order-invalid", "", "failed"),
    ("validation.again-with-a-new-order", "", "created"),
    ("authz.deactivated-valid-order", "", "valid"),
    ("new-authz.created", "", "201"),
    ("new-authz.wildcard", "", "wildcard"),
    ("certificate.alternates", "", "alternate"),
    ("certificate.same-again", "", "immutable"),
    ("challenge.valid-again challenge.payload-not-object", "", "invalid"),
    ("authz.deactivate authz.status-valid", "", "answer"),
    ("authz.challenge-validated", "", "validated"),
    ("validation.*-error", "RFC 8555 8", "error"),
    ("authz.challenge-token-length", "", "entropy"),
    ("authz.challenge-token", "", DEFAULT),
    ("validation.http-01-trailing-whitespace", "", "whitespace"),
    ("validation.http-01-*", "RFC 8555 8.3", "failed"),
    ("validation.tls-alpn-01-not-critical", "", "critical"),
    ("validation.tls-alpn-01-other-name", "", "one name"),
    ("wildcard.*-have-none", "", "absent"),
    ("wildcard.authorization", "", "wildcard"),
    ("wildcard.issues several.issues", "", "as requested"),
    ("wildcard.beside-its-name several.authorizations", "", "reflects"),
    ("several.not-ready-by-one", "", "ready"),
    ("certificate.only-pem-certificates", "", "text"),
    ("certificate.chain-order", "", "chain"),
    # Revocation.
    ("revoke.reason-*-accepted", "RFC 8555 7.6", "reason"),
    ("revoke.reason-7 revoke.reason-11 revoke.reason-100 revoke.reason-negative", "", "disallowed"),
    ("revoke.reason-*", "", "reason"),
    ("revoke.again revoke.again-by-key revoke.race", "", "already"),
    (
        "revoke.by-certificate-key revoke.by-rsa-certificate-key deactivate.certificate-key-revokes",
        "",
        "by key",
    ),
    ("revoke.no-reason-in-crl", "", "unset"),
    ("revoke.by-account revoke.by-authorized-account*", "RFC 8555 7.6", "accounts"),
    (
        "revoke.no-certificate revoke.certificate-number revoke.not-der revoke.empty revoke.padded "
        "revoke.trailing-octets revoke.pem revoke.changed revoke.version",
        "",
        "DER",
    ),
    # Renewal information.
    ("ari.padded", "", "padding"),
    ("ari.explanation", "", "explanation"),
    ("ari.revoked ari.window-before-expiry ari.window-leaves-time", "", "shape"),
    ("ari.zero-* ari.der-* ari.no-* ari.two-periods ari.garbage", "", "name"),
    ("ari.unknown-*", "", DEFAULT),
    ("replaces.again replaces.race", "", "409"),
    ("replaces.reflected* replaces.issues", "", "reflected"),
    # Profiles.
    ("profiles.chosen", "", "shown"),
    ("profiles.default-shown", "", "recommended"),
    ("profiles.each", "", "finalize"),
    # What our protocol promises.
    ("account.contacts-many", PROTOCOL, "contacts"),
    ("json.string-bound-of-unknown", PROTOCOL, "every string"),
    ("replaces.same-in-capitals", PROTOCOL, "second order"),
    ("authz.vendor-challenge authz.unclaimed-methods", PROTOCOL, "vendor"),
    ("authz.deactivated-then-new order.ready-at-once", PROTOCOL, "ready at once"),
    ("new-authz.valid-at-once", PROTOCOL, "newAuthz"),
    ("new-authz.foreign-name order.foreign-name order.mixed-names renewal.foreign-name", PROTOCOL, "names"),
    ("order.wildcard", PROTOCOL, "names"),
    ("order.duplicate-names-accepted", PROTOCOL, "repeated"),
    ("certificate.names-folded", PROTOCOL, "dNSName"),
    ("certificate.client-auth-only", PROTOCOL, "usage"),
    ("certificate.subject-from-account", PROTOCOL, "subject"),
    ("renewal.directory", PROTOCOL, "renewal directory"),
    ("renewal.account renewal.account-without-certificate", PROTOCOL, "renewal account"),
    ("renewal.order-pending renewal.challenge", PROTOCOL, "renewal order"),
    ("renewal.without-certificate renewal.response", PROTOCOL, "presented"),
    ("renewal.refused-stays-pending", PROTOCOL, "stays pending"),
    ("renewal.issues", PROTOCOL, "validated"),
    ("renewal.replaces renewal.replaces-anothers", PROTOCOL, "replaces presented"),
    ("renewal.foreign-account", PROTOCOL, "each door"),
    ("directory.eab-required", PROTOCOL, "binding"),
    ("operated.withdrawn-certificate", PROTOCOL, "stays valid"),
    ("operated.withdrawn-order", PROTOCOL, "ended credential"),
    ("operated.withdrawn-unbound", PROTOCOL, "withdrawn"),
    ("operated.reissued-*", PROTOCOL, "reissue"),
    ("operated.source-revoked*", PROTOCOL, "source revoked"),
    ("operated.quota-full operated.quota-open-order", PROTOCOL, "no free place"),
    ("operated.quota-revoked", PROTOCOL, "free at once"),
    ("operated.quota-renewal", PROTOCOL, "places"),
    ("operated.expired", PROTOCOL, "after expiry"),
    ("operated.renewed-*", PROTOCOL, "by another"),
    ("operated.person-*", PROTOCOL, "any name"),
    ("directory.offers-all", PROTOCOL, "offered"),
)

#: Cases -> why they have their level though the sentence does not say the word. The first row that fits.
REASONS: tuple[tuple[str, str], ...] = (
    # Advice: what it keeps an attacker from.
    ("eab.same-mac-for-both-answers", "two answers tell which request IDs exist, to be tried one by one"),
    ("nonce.unpredictable", "a nonce that can be guessed lets a request be prepared ahead"),
    ("json.payload-duplicate-key", "two readers of one payload may see two values, and one of them checks"),
    ("*.unknown-like-anothers", "two answers tell which orders and certificates exist"),
    ("csr.rsa-1024", "such a key can be factored, and the certificate used by others"),
    (
        "certificate.serial-unguessable",
        "who knows the serial number ahead can prepare a colliding certificate",
    ),
    ("ari.window-leaves-time", "a window that begins with the last day leaves no time for a second attempt"),
    # MUST: unsafe otherwise.
    (
        "validation.*-unanswered validation.*-token-only validation.*-other-* validation.*-begins-right "
        "validation.dns-01-wrong-label validation.dns-01-no-digest several.not-ready-by-one",
        "unsafe otherwise: whoever asks gets a certificate for any name",
    ),
    (
        "validation.*-honest validation.dns-01-among-others",
        "unusable otherwise: nobody who does as the text says gets a certificate",
    ),
    ("validation.*-order-invalid", "unsafe otherwise: a certificate would follow a validation that failed"),
    (
        "authz.deactivated-order authz.status-valid",
        "unsafe otherwise: a certificate without authorization",
    ),
    ("finalize.again* finalize.race", "unsafe otherwise: one authorization, many certificates"),
    ("csr.bad-signature csr.md5", "unsafe otherwise: nobody has shown to hold the certified key"),
    ("csr.sha1 csr.p-192", "signatures and keys of that strength are given up everywhere"),
    ("csr.ca", "whoever gets a CA certificate issues the next ones"),
    ("alg.rs256-with-ec alg.es384-with-p256", "unsafe otherwise: a key is used as what it is not"),
    ("alg.jwk-*", "a key is used for what its owner gave it for"),
    ("key.rsa-e-1 key.rsa-even-modulus", "unsafe otherwise: whoever sees such a key can sign by it"),
    ("key.rsa-huge", "each verification takes the server long"),
    ("http.two-lengths", "unsafe otherwise: a second request hides in the first"),
    ("eab.missing", "unsafe otherwise: an account that nobody vouches for"),
    ("order.no-certificate-before", "unsafe otherwise: a client would download what is not its certificate"),
    ("new-authz.wildcard", "unsafe otherwise: one name's proof would speak for all below it"),
    ("keychange.race", "unsafe otherwise: two keys would each believe to hold the account"),
    (
        "revoke.no-certificate revoke.certificate-number revoke.not-der revoke.empty revoke.padded "
        "revoke.trailing-octets revoke.pem revoke.changed revoke.version revoke.reason-string "
        "revoke.reason-float revoke.reason-list revoke.reason-huge revoke.reason-boolean",
        "unsafe otherwise: the client is told that a certificate is revoked which is not, or not so",
    ),
    ("revoke.again* revoke.race", "unusable otherwise: the client cannot tell done from failed"),
    (
        "ari.no-* ari.two-periods ari.garbage ari.zero-before-serial ari.der-tagged-serial",
        "unsafe otherwise: one certificate is asked for, and another answered",
    ),
    # MUST: unusable otherwise, for the text states what the server does and clients go on from there.
    (
        "account.created audit.created-location order.created new-authz.created deactivate.answer "
        "finalize.issues audit.still-serves keychange.works keychange.account-found-by-new-key "
        "order.becomes-ready authz.deactivate authz.deactivated-valid-order challenge.read ari.served "
        "certificate.media-type certificate.same-again certificate.alternates profiles.chosen "
        "challenge.link-up directory.promises-kept directory.stable audit.json-media-type audit.link-index "
        "ari.zero-octet-kept ari.explanation certificate.validity",
        "unusable otherwise: clients go on from there",
    ),
    ("challenge.read-starts-nothing", "unusable otherwise: looking spends the only attempt"),
    ("validation.*-error", "unusable otherwise: a client waits for a challenge that has failed already"),
    ("kid.unknown *.unsupported-type", "unusable otherwise: a client acts on the type, and retries for ever"),
    (
        "size.body-1-mb size.header-1-mb size.kid-100-kb json.alive",
        "unsafe otherwise: one request stops the server",
    ),
    ("account.payload-empty", "unsafe otherwise: an account from a request that says nothing"),
    ("order.identifiers-label-64", "no such name can be looked up, and some clients send it"),
    # SHOULD: real clients rely on it.
    ("audit.no-unknown-errors", "clients take a 5xx for a moment's fault, and try again"),
    ("order.unknown-members", "said of accounts; clients send such members in orders, too"),
    ("http.other-account-url", "a client that has the wrong URL learns of it"),
    ("nonce.directory-link directory.no-link-index audit.link-index-on-errors", "clients follow these links"),
    ("jws.content-type-case", "HTTP libraries write header values in their own case"),
    (
        "nonce.shared-by-keys nonce.many-outstanding nonce.across-connections",
        "clients keep one pool of nonces",
    ),
    ("size.url-100-kb", "a client that was led astray learns what is wrong"),
    (
        "account.contact-not-a-list account.contact-of-numbers",
        "a contact that nobody can use is lost in silence",
    ),
    ("account.orders-paging", "clients follow the pages"),
    ("order.expires", "clients wait until then"),
    ("validation.again-with-a-new-order", "clients order again when a validation has failed"),
    ("finalize.location", "clients read the order's URL from it"),
    ("revoke.reason-*-accepted", "clients send the usual reasons"),
    ("revoke.in-crl", "whoever trusts the CA learns of it there"),
    ("keychange.back", "clients restore a key from a backup"),
    ("ari.window-before-expiry ari.revoked", "clients renew by it"),
    ("ari.unknown-*", "clients ask for certificates of other servers, too"),
    ("ari.retry-after", "clients ask again then, and not each minute"),
    ("audit.no-leaks", "paths and versions help whoever attacks next"),
)
