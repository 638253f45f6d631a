"""What happened to a person, newest first: out of the trail, the letters and the reference numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ca.storage import Transaction
from ca.trust import CertificateState
from enroll.listings import store as listed
from enroll.listings.store import Acts
from enroll.mail.states import state_of
from enroll.operators import viewing
from enroll.requests.enrollment import Enrollment
from gateway.sites.console import saying
from gateway.sites.console.actwords import OF_PEOPLE, why_of, words_of
from gateway.sites.console.finding_words import LETTER_STATES, LETTERS
from gateway.web import references
from gateway.web.words import CERTIFICATE, REFUSALS, Text

#: So many are shown, of each source and of all.
MOST = 60
# What a line of the trail says besides, if it does.
_TOLD = ("note", "reason", "address", "said")


@dataclass(frozen=True)
class Event:
    """Something that happened: when, what, what there is to know of it, who did it where an operator did."""

    at: int
    what: Text
    tone: str
    detail: Text = ("", "")
    by: Text | None = None
    #: The number that the person may read out.
    reference: str = ""


def events(
    db: Transaction, user_id: str, mine: Sequence[Enrollment], letters: Sequence[Mapping[str, Any]]
) -> list[Event]:
    """The newest ``MOST``. ``mine``: the person's enrollments; ``letters``: as `mail.store.listed` gives."""
    names = dict.fromkeys((user_id, *(each.common_name for each in mine)))
    rows = listed.audit(db, Acts(user_id=user_id), 2**62, 4 * MOST)
    acts = [{**row} for row in rows if row["action"] in OF_PEOPLE]
    found = [
        # In this order within a second: what led to a letter stands below it.
        *_letters(letters),
        *_referred(references.about(db, list(names)[:_MOST_NAMES], MOST)),
        *_acts(acts, user_id, viewing.names_in(db, *({"by": each["actor"]} for each in acts))),
    ]
    return sorted(found, key=lambda event: event.at, reverse=True)[:MOST]


# Of a statement's values; a person has two or three names, a program's user may have thousands.
_MOST_NAMES = 100


def _acts(rows: Iterable[Mapping[str, Any]], user_id: str, names: viewing.Names) -> Iterable[Event]:
    for row in rows:
        what, tone = words_of(row["action"])
        ja, en = why_of(row["action"], json.loads(row["detail"] or "{}"), *_TOLD)
        about = "" if row["subject"] == user_id else row["subject"]
        detail = (f"{about} {ja}".strip(), f"{about} {en}".strip())
        ours = row["actor"].startswith(("operator:", "break-glass:"))
        by = saying.who(row["actor"], names) if ours else None
        yield Event(row["at"], what, tone, detail, by)


def _letters(rows: Iterable[Mapping[str, Any]]) -> Iterable[Event]:
    for row in rows:
        state, tone = LETTER_STATES[state_of(row)]
        kind = LETTERS.get(row["kind"], (row["kind"], row["kind"]))
        what = (f"{kind[0]}：{state[0]}", f"{kind[1]}: {state[1]}")
        detail = f"{row['recipient']} {row['result']}".strip()
        yield Event(row["sent_at"] or row["created_at"], what, tone, (detail, detail))


def _referred(rows: Iterable[Mapping[str, Any]]) -> Iterable[Event]:
    for row in rows:
        detail = f"{row['site']} {row['detail'].get('path', '')}".strip()
        yield Event(row["at"], title_of(row["code"]), "bad", (detail, detail), reference=row["reference"])


def title_of(code: str) -> Text:
    """The heading of the page that somebody saw, by what is recorded of it."""
    if code in REFUSALS:
        return REFUSALS[code].title
    kind, _, state = code.partition(".")
    if kind == "check":
        return ("導通確認サイトで確認", "Looked at the connectivity test")
    if kind == "certificate" and state in {each.value for each in CERTIFICATE}:
        return CERTIFICATE[CertificateState(state)].title
    return (code, code)
