"""The mails: written from templates, queued in the transaction of their cause, sealed until accepted.

A template's first line is ``Subject: ...``, then an empty line, then the body, with ``{{ greeting }}`` and
``{{ signature }}`` around what it says. In English it is called ``NAME.en.txt``. An operator's file of the
same name in the data directory's ``templates/`` takes the place of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ca.errors import ConfigError
from ca.files import Snapshot
from ca.sealing import Vault
from ca.storage import Transaction
from enroll.languages import LANGUAGES, Language
from enroll.mail.states import Pace
from enroll.mail.store import (
    Channel,
    add,
)

Kind = Literal[
    "pickup",
    "pickup_without_password",
    "issue_password",
    "issue_password_admin",
    "user_id",
    "password_reset",
    "renewal_30",
    "renewal_7",
    "renewal_7_admin",
    "renewed_by_another",
    "issuer_distrusted",
    "ca_ending",
    "operator_code",
    "break_glass",
    "proposal_expired",
]


#: Kind -> the template it is written from.
TEMPLATES: dict[Kind, str] = {
    "pickup": "pickup.txt",
    "pickup_without_password": "pickup_without_password.txt",
    "issue_password": "issue_password.txt",
    "issue_password_admin": "issue_password_admin.txt",
    "user_id": "user_id.txt",
    "password_reset": "password_reset.txt",
    "renewal_30": "renewal.txt",
    "renewal_7": "renewal_7.txt",
    "renewal_7_admin": "renewal_admin.txt",
    "renewed_by_another": "renewed_by_another.txt",
    "issuer_distrusted": "issuer_distrusted.txt",
    "ca_ending": "ca_ending.txt",
    "operator_code": "operator_code.txt",
    "break_glass": "break_glass.txt",
    "proposal_expired": "proposal_expired.txt",
}
#: What every letter begins and ends with.
PARTS = ("greeting", "signature")
#: Values that only the recipient may read; operators see them masked.
SECRETS = frozenset({"issue_password", "login_password", "code"})
MASK = "＊＊＊＊＊＊＊＊"

_PURPOSE = "mail"


@dataclass(frozen=True)
class Templates:
    """Operators' own mail templates, as they were when the directory was read: file name -> UTF-8."""

    directory: Path
    texts: Mapping[str, bytes]


@dataclass(frozen=True)
class Letter:
    """A mail or postcard that is ready to be queued.

    ``cause`` names why it exists, once: a second letter of the same cause is not queued.
    """

    cause: str
    kind: Kind
    channel: Channel
    user_id: str
    request_id: str | None
    recipient: str
    subject: str
    body: str
    shown_body: str


@dataclass(frozen=True)
class Queued:
    """A letter in the queue, opened for delivery."""

    id: int
    kind: Kind
    channel: Channel
    user_id: str
    request_id: str | None
    recipient: str
    subject: str
    body: str
    attempts: int
    created_at: int


def write_letter(
    kind: Kind,
    *,
    cause: str,
    channel: Channel,
    user_id: str,
    recipient: str,
    values: dict[str, str],
    request_id: str | None = None,
    templates: Templates | None = None,
    language: Language = "ja",
) -> Letter:
    """Renders a letter twice: as it is sent, and as operators may see it.

    Raises ConfigError when an operator's template is broken or asks for an unknown value.
    """
    values = {**values, "channel": channel}
    subject, body = _render(kind, values, templates, language)
    masked = {name: MASK if name in SECRETS else value for name, value in values.items()}
    _, shown = _render(kind, masked, templates, language)
    return Letter(cause, kind, channel, user_id, request_id, recipient, subject, body, shown)


def queue(db: Transaction, vault: Vault, letter: Letter, at: int, *, pace: Pace, again: bool = False) -> bool:
    """Queues a letter; False when its cause has had one already.

    ``again``: a letter of its cause that failed or was cancelled, and never left, is queued once more, as it
    is now and under its old number.
    """
    values = {
        "cause": letter.cause,
        "kind": letter.kind,
        "channel": letter.channel,
        "notice": int(pace),
        "user_id": letter.user_id,
        "request_id": letter.request_id,
        "recipient": letter.recipient,
        "subject": letter.subject,
        "shown_body": letter.shown_body,
        "sealed_body": vault.seal(_PURPOSE, letter.body.encode()),
        "state": "queued",
        "next_attempt_at": at,
        "created_at": at,
        "queued_at": at,
    }
    return add(db, values, again=again)


def opened(row: Mapping[str, Any], vault: Vault) -> Queued:
    """A letter of the queue, for delivery. BrokenSeal if it is none of this data directory's."""
    names = (
        "id",
        "kind",
        "channel",
        "user_id",
        "request_id",
        "recipient",
        "subject",
        "attempts",
        "created_at",
    )
    return Queued(
        **{name: row[name] for name in names}, body=vault.open(_PURPOSE, row["sealed_body"]).decode()
    )


def read_templates(directory: Path, files: Snapshot | None = None) -> Templates | None:
    """The templates of a directory, None if there are none. ConfigError for one that cannot be read."""
    files = files or Snapshot()
    names = {*TEMPLATES.values(), *(f"{part}.txt" for part in PARTS)}
    every = sorted(_named(name, language) for name in names for language in LANGUAGES)
    found = {name: files.find(directory / name, "mail template") for name in every}
    texts = {name: content for name, content in found.items() if content is not None}
    return Templates(directory, texts) if texts else None


#: What letters about an issuing CA may say besides.
_OF_CAS = ("issuer", "ca", "day", "short")
#: What letters to operators may say besides.
_OF_OPERATORS = ("code", "role", "reason", "who", "due", "number", "what", "about")


def check_templates(own: Templates | None) -> None:
    """Renders every template once with sample values; ConfigError names the first broken one."""
    names = ("name", "url", "user_id", "issue_password", "login_password", "request_id", "common_name")
    more = ("not_after", "until", "moment", "password_by", "admin", "operator", "telephone", "left", "days")
    sample = dict.fromkeys(
        (
            *names,
            *more,
            *_OF_CAS,
            *_OF_OPERATORS,
            "serial",
            "reissue",
            "members",
            "to",
            "organisation",
            "address",
            "channel",
        ),
        "x",
    )
    for language in LANGUAGES:
        for kind in TEMPLATES:
            _render(kind, sample, own, language)


def _render(kind: Kind, values: dict[str, str], own: Templates | None, language: Language) -> tuple[str, str]:
    parts = {part: _filled(_named(f"{part}.txt", language), values, own)[0] for part in PARTS}
    text, where = _filled(_named(TEMPLATES[kind], language), values | parts, own)
    head, separator, body = text.partition("\n\n")
    if not separator or not head.startswith("Subject: ") or "\n" in head:
        raise ConfigError(
            f"mail template {where}: it must begin with one line 'Subject: ...' and an empty line. "
            "Mend it, or delete it to use ours."
        )
    return head.removeprefix("Subject: ").strip(), body


def _named(name: str, language: Language) -> str:
    """The file of a template in a language."""
    return name if language == "ja" else f"{name.removesuffix('.txt')}.{language}.txt"


def _filled(name: str, values: Mapping[str, str], own: Templates | None) -> tuple[str, str]:
    """A template's text with the values in it, and where it stands."""
    from jinja2 import TemplateError

    if own is not None and name in own.texts:
        where = str(own.directory / name)
        source = _text(where, own.texts[name])
    else:
        source, where = _packaged(name), name
    try:
        return _compiled(source)(values), where
    except TemplateError as error:
        raise ConfigError(f"mail template {where}: {error}. Mend it, or delete it to use ours.") from error


@lru_cache(maxsize=64)
def _compiled(source: str) -> Callable[[Mapping[str, str]], str]:
    # To compile one takes longer than everything else about a letter.
    render: Callable[[Mapping[str, str]], str] = _compiling()(source).render
    return render


@cache
def _compiling() -> Callable[[str], Any]:
    # Not above: most commands, and the signer, write no letter.
    import jinja2

    # Templates are text, not HTML: nothing is escaped. An unknown value is an error, not an empty string.
    return jinja2.Environment(  # noqa: S701
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    ).from_string


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"mail template {path}: it is not UTF-8. Save it as UTF-8, or delete it to use ours."
        ) from None


@cache
def _packaged(name: str) -> str:
    return (files("enroll") / "templates" / name).read_text("utf-8")
