"""What the enrollment side says no to: one table of codes that every door renders in its own words."""

from __future__ import annotations

from dataclasses import dataclass

#: Each code with what it means. The gateway holds the sentence that people read for each code;
#: the protocol maps them to problem types. A test holds that no code is missing in either.
CODES: dict[str, str] = {
    "bad_credentials": "the user ID or the password is wrong; which of them is not said",
    "wrong_user_id": "the user ID is not the one of the certificate that is presented",
    "throttled": "too many attempts; try again later",
    "not_available": "the certificate data is gone, or fetching it is not permitted",
    "password_empty": "the PKCS#12 password is empty",
    "password_characters": "the PKCS#12 password has characters other than half-width letters and digits",
    "password_too_long": "the PKCS#12 password is longer than the form accepts",
    "password_mismatch": "the password and its confirmation differ",
    "request_id_mismatch": "the request ID is not the one of this session",
    "not_yet_renewable": "the renewal period has not begun",
    "renewal_over": "the certificate has expired: only a reissue helps",
    "superseded": "a newer certificate of this user has replaced this one",
    "renewed": "the renewal of this certificate has replaced it",
    "revoked": "the certificate was revoked",
    "withdrawn": "the request of this certificate was withdrawn",
    "pickup_over": "the certificate was ended, because it was not fetched in time",
    "theft_reported": "the theft of a PC of this user was reported, and has not been decided on",
    "user_disabled": "the user or the organisation may no longer enroll",
    "wrong_user": "the certificate belongs to another user",
    "other_certificate": "the request is not one of the certificate that is presented",
    "unknown_certificate": "the certificate is not in our register",
    "weak_password": "the new login password does not meet the rule",
    "password_is_user_id": "the new login password is the user ID",
    "guessable_password": "the new login password is soon guessed",
    "same_password": "the new login password is the old one",
    "invalid_input": "a field is missing or malformed; field says which",
    "not_permitted": "this user may not do that",
    "not_found": "there is no such thing",
    "conflict": "it exists already, or was decided already",
    "profile_unmet": "what the certificate has to say of its holder is not recorded, or does not fit",
    "clock_in_doubt": "the machine's clock is not believed: nothing is issued or dated by it for now",
    "issuing_later": "the certificate cannot be signed at the moment; it will be, and nothing is lost",
    "limit_reached": "the organisation's or the user's limit is reached",
}


#: What an operator does about a clock that is not believed ("clock_in_doubt").
CONFIRM = "compare it: date; if it is right: sekisho clock confirm; if not, set it"


# Not frozen: Python itself writes __traceback__ and __cause__ onto exceptions.
@dataclass(unsafe_hash=True)
class Refusal(Exception):
    """A request that is understood and refused. Comparable; carries no secret.

    ``code`` is a key of ``CODES``; ``field`` names the input at fault; ``at`` is a moment in seconds
    since the epoch (the first of the renewal period, the end of it, or when to try again); ``detail`` is for
    operators, in English; ``reason`` says which of several causes it was, to those it is about and nobody
    else (`enrollment.why_over`).
    """

    code: str
    field: str = ""
    at: int = 0
    detail: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown refusal {self.code!r}")
        super().__init__(self.detail or CODES[self.code])

    def __str__(self) -> str:
        return self.detail or CODES[self.code]


#: Characters of what somebody writes down about an act.
LONGEST_LINE = 500


def check_line(field: str, text: str, *, needed: bool = False) -> None:
    """Refusal("invalid_input") unless a text is one printable line, and not empty where one is ``needed``."""
    if len(text) > LONGEST_LINE or not text.isprintable() or (needed and not text.strip()):
        detail = f"--{field}: write one line of up to {LONGEST_LINE} characters"
        raise Refusal("invalid_input", field=field, detail=detail)
