"""Templates as operators see and change them: each in both languages, with a preview, and a test to oneself.

A changed one is in the database, so that every process writes the next letter by it; what it takes the place
of is the machine's file, else ours, and can be had back. Each function asks the table of roles first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ca.storage import Transaction
from enroll import store
from enroll.languages import LANGUAGES, Language
from enroll.mail import store as mail_store
from enroll.mail import wording, writing
from enroll.mail.states import Pace
from enroll.mail.wording import OFFERED, Problem
from enroll.operators import store as operators
from enroll.operators.actors import Actor, asked_again, require, require_any
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

Payload = Mapping[str, Any]
#: Seconds in which an operator gets one test letter.
ONE_IN = 60


@dataclass(frozen=True)
class Listed:
    """A template in a language. ``source``: whose text is in force: "ours", "file" (the machine's) or
    "changed"."""

    template: str
    language: Language
    source: str
    subject: str
    changed_at: int | None = None
    changed_by: str = ""

    @property
    def name(self) -> str:
        """As commands and proposals call it."""
        return f"{self.template}.{self.language}"


@dataclass(frozen=True)
class Whole:
    """One with its text, what would hold without the change, and what it looks like."""

    listed: Listed
    text: str
    default: str
    offered: tuple[str, ...]
    required: frozenset[str]
    #: Subject and words with sample values.
    preview: tuple[str, str]


def listed(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> list[Listed]:
    """Every template in every language. Refusal("not_permitted")."""
    require(actor, Act.TEMPLATES, Verdict.READ)
    own = writing.in_force(db, ra.templates)
    changed = {row["name"]: row for row in mail_store.templates(db)}
    return [_listed(name, language, own, changed) for name in OFFERED for language in LANGUAGES]


def one(db: Transaction, ra: RegistrationAuthority, actor: Actor, template: str, language: Language) -> Whole:
    """A template. Refusal: "not_permitted", "not_found"."""
    require(actor, Act.TEMPLATES, Verdict.READ)
    _known(template, language)
    own, changed = writing.in_force(db, ra.templates), {row["name"]: row for row in mail_store.templates(db)}
    return Whole(
        _listed(template, language, own, changed),
        writing.source_of(wording.file_of(template, language), own),
        wording.default_of(template, language, own),
        OFFERED[template],
        wording.required(template, language),
        wording.preview(template, language, own),
    )


def changed(db: Transaction, payload: Payload) -> Mapping[str, Any]:
    """The text in force, for whoever decides, where operators have changed it."""
    found = mail_store.template(db, wording.file_of(payload["template"], payload["language"]))
    return {} if found is None else {"text": found["text"]}


def unchanged(ra: RegistrationAuthority, payload: Payload) -> Mapping[str, Any]:
    """The text in force where nobody has: the machine's file, else ours."""
    return {"text": wording.default_of(payload["template"], payload["language"], ra.templates)}


def check_change(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal: "not_found", "invalid_input" with all that is wrong, "conflict" for what stands there."""
    template, language = payload["template"], payload["language"]
    _known(template, language)
    if wrong := wording.problems(template, language, payload["text"]):
        said = "; ".join(_SAID[each.fault].format(each.about) for each in wrong)
        raise Refusal("invalid_input", field="template", detail=said)
    stands = {**unchanged(ra, payload), **changed(db, payload)}["text"]
    if wording.tidied(stands) == wording.tidied(payload["text"]):
        raise Refusal("conflict", field="template", detail="that is what stands there already")


def check_reset(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal: "not_found", "conflict" for one that nobody has changed."""
    _known(payload["template"], payload["language"])
    if mail_store.template(db, wording.file_of(payload["template"], payload["language"])) is None:
        raise Refusal(
            "conflict", field="template", detail="nobody has changed it: ours, or the machine's file, holds"
        )


async def change(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Mapping[str, Any]:
    """Puts another text in force, from the next letter on."""
    template, language = payload["template"], payload["language"]

    def work(db: Transaction) -> None:
        check_change(db, ra, payload)
        at, file = ra.now(), wording.file_of(template, language)
        mail_store.set_template(db, file, wording.tidied(payload["text"]), at, by)
        store.audit(db, at, by, "template.changed", file)

    await ra.database.write(work)
    return {"template": template, "language": language}


async def reset(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Mapping[str, Any]:
    """Puts the text in force again that holds without a change."""
    template, language = payload["template"], payload["language"]

    def work(db: Transaction) -> None:
        check_reset(db, ra, payload)
        file = wording.file_of(template, language)
        mail_store.drop_template(db, file)
        store.audit(db, ra.now(), by, "template.reset", file)

    await ra.database.write(work)
    return {"template": template, "language": language}


async def test(ra: RegistrationAuthority, actor: Actor, template: str, language: Language) -> str:
    """Has a letter with sample values sent to whoever asks, and to nobody else; to which address.

    Refusal: "not_permitted", "not_found", "invalid_input" for who has no address, "throttled" within a
    minute.
    """

    def work(db: Transaction) -> str:
        at = ra.now()
        by = asked_again(db, actor, at)
        require_any(by, Act.TEMPLATES, Verdict.PROPOSE | Verdict.DECIDE)
        _known(template, language)
        known = operators.operator(db, by.operator) if by.operator is not None else None
        if known is None or not known.mail:
            detail = "you have no mail address here: sekisho operator change NAME --mail ADDRESS"
            raise Refusal("invalid_input", field="mail", detail=detail)
        subject, body = wording.preview(template, language, writing.in_force(db, ra.templates))
        mark = "【テスト】" if language == "ja" else "[Test] "
        letter = writing.Letter(
            # One a minute, however often somebody asks.
            cause=f"template_test:{known.number}:{at // ONE_IN}",
            kind="template_test",
            channel="mail",
            user_id="",
            request_id=None,
            recipient=known.mail,
            subject=mark + (subject or template),
            body=body,
            shown_body=body,
        )
        if not writing.queue(db, ra.epochs, letter, at, pace=Pace.AT_ONCE):
            raise Refusal(
                "throttled", field="template", detail="one test letter a minute: wait, and try again"
            )
        store.audit(db, at, by.name, "template.tested", wording.file_of(template, language), to=known.mail)
        return known.mail

    return await ra.database.write(work)


def _known(template: str, language: str) -> None:
    if template not in OFFERED or language not in LANGUAGES:
        raise Refusal(
            "not_found", field="template", detail="there is no such template: sekisho template list"
        )


def _listed(
    template: str, language: Language, own: writing.Templates | None, changed: Mapping[str, Any]
) -> Listed:
    file = wording.file_of(template, language)
    subject = wording.preview(template, language, own)[0]
    row = changed.get(file)
    if row is not None:
        return Listed(template, language, "changed", subject, row["changed_at"], row["changed_by"])
    source = "file" if own is not None and file in own.texts else "ours"
    return Listed(template, language, source, subject)


#: Fault -> what commands say of it.
_SAID: Mapping[str, str] = {
    "unknown": "there is no value {} for this template; those that there are: sekisho template show NAME",
    "missing": "these values have to be said, whatever else: {}",
    "secret": "a secret cannot be in the subject: {}",
    "forbidden": "{}: only {{{{ name }}}} and {{% if name %}} ... {{% endif %}} may stand in a template",
    "subject": "it begins with one line 'Subject: ...', an empty line, and the words",
    "long": "it is too long: at most {} characters",
    "character": "it has characters that no letter can hold: {}",
    "syntax": "it cannot be read: {}",
}


def problems(template: str, language: Language, text: str) -> list[Problem]:
    """What is wrong with a text, for whoever writes it. Refusal("not_found")."""
    _known(template, language)
    return wording.problems(template, language, text)
