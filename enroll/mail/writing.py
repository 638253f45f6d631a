"""The mails: written from templates, queued in the transaction of their cause, sealed until accepted.

A template's first line is ``Subject: ...``, then an empty line, then the body, with ``{{ greeting }}`` and
``{{ signature }}`` around what it says. In English it is called ``NAME.en.txt``. A file of the same name in
the data directory's ``templates/`` takes the place of ours, and what operators have changed (`wording.py`
says into what) that of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ca.epochs import Epochs, LostKey
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.storage import Transaction, Values
from enroll.languages import LANGUAGES, Language
from enroll.mail import store
from enroll.mail.states import Pace
from enroll.mail.store import Channel

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
    "operator_ending",
    "proposal_expired",
    "template_test",
]


#: Kind -> the template it is written from; a test letter is written from the one that is tested.
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
    "operator_ending": "operator_ending.txt",
    "proposal_expired": "proposal_expired.txt",
}
#: What every letter begins and ends with.
PARTS = ("greeting", "signature")
#: Values that only the recipient may read; operators see them masked.
SECRETS = frozenset({"issue_password", "login_password", "code"})
MASK = "＊＊＊＊＊＊＊＊"
#: What is said of a letter whose secrets cannot be had any more. It waits all the same: a key may come back.
LOST = (
    "the key of its passwords is not here (docs/operations/recovery.md): a reissue, sekisho user "
    "reset-password or sekisho operator code sends another letter"
)


@dataclass(frozen=True)
class Templates:
    """Mail templates in place of ours: files as they were when the directory was read (name -> UTF-8), and
    what operators have changed since (name -> text)."""

    directory: Path | None
    texts: Mapping[str, bytes]
    changed: Mapping[str, str] = field(default_factory=dict)

    @property
    def unchanged(self) -> Templates:
        """The same without what operators have changed."""
        return replace(self, changed={})


def in_force(db: Transaction, own: Templates | None) -> Templates | None:
    """What letters are written from at this moment: in every process, without a restart."""
    return with_changed(own, {row["name"]: row["text"] for row in store.templates(db)})


def with_changed(own: Templates | None, changed: Mapping[str, str]) -> Templates | None:
    """What is in force where operators have changed these."""
    if not changed:
        return own
    return replace(own, changed=changed) if own is not None else Templates(None, {}, changed)


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
    #: Serials of the certificates that it is about, where it is about many.
    about: Sequence[str] = ()


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
    subject, body = render(kind, values, templates, language)
    masked = {name: MASK if name in SECRETS else value for name, value in values.items()}
    _, shown = render(kind, masked, templates, language)
    return Letter(cause, kind, channel, user_id, request_id, recipient, subject, body, shown)


def queue(
    db: Transaction, epochs: Epochs, letter: Letter, at: int, *, pace: Pace, again: bool = False
) -> bool:
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
        "about": " ".join(letter.about),
        **words_of(db, epochs, letter),
        "state": "queued",
        "next_attempt_at": at,
        "created_at": at,
        "queued_at": at,
    }
    return store.add(db, values, again=again)


def words_of(db: Transaction, epochs: Epochs, letter: Letter) -> Values:
    """What a letter says, as its row has it: sealed, and as operators may see it."""
    return {
        "subject": letter.subject,
        "shown_body": letter.shown_body,
        "sealed_body": epochs.seal(db, store.BODY, letter.cause, letter.body.encode()),
    }


def opened(row: Mapping[str, Any], epochs: Epochs) -> Queued:
    """A letter of the queue, for delivery. BrokenSeal if it is none of this data directory's, LostKey where
    the secrets that it tells cannot be had any more."""
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
    try:
        body = epochs.open(store.BODY, row["cause"], row["sealed_body"]).decode()
    except LostKey:
        # What operators see of a letter without secrets is all of it.
        if MASK in row["shown_body"]:
            raise
        body = row["shown_body"]
    return Queued(**{name: row[name] for name in names}, body=body)


def read_templates(directory: Path, files: Snapshot | None = None) -> Templates | None:
    """The templates of a directory, None if there are none. ConfigError for one that cannot be read."""
    files = files or Snapshot()
    names = {*TEMPLATES.values(), *(f"{part}.txt" for part in PARTS)}
    every = sorted(named(name, language) for name in names for language in LANGUAGES)
    found = {name: files.find(directory / name, "mail template") for name in every}
    texts = {name: content for name, content in found.items() if content is not None}
    return Templates(directory, texts) if texts else None


def render(kind: Kind, values: dict[str, str], own: Templates | None, language: Language) -> tuple[str, str]:
    """Subject and words of a letter. ConfigError for a template that is broken."""
    parts = {part: filled(named(f"{part}.txt", language), values, own) for part in PARTS}
    text, where = _filled(named(TEMPLATES[kind], language), values | parts, own)
    head, separator, body = text.partition("\n\n")
    if not separator or not head.startswith("Subject: ") or "\n" in head:
        raise ConfigError(
            f"mail template {where}: it must begin with one line 'Subject: ...' and an empty line. {_MEND}"
        )
    return head.removeprefix("Subject: ").strip(), body


def named(name: str, language: Language) -> str:
    """The file of a template in a language."""
    return name if language == "ja" else f"{name.removesuffix('.txt')}.{language}.txt"


# What there is to type is the same for both: whoever changed one here, and whoever wrote a file.
_MEND = "Mend it, or delete it to use ours (one that was changed here: sekisho template reset NAME)."


def source_of(name: str, own: Templates | None) -> str:
    """The text of a template that is in force."""
    return _source(name, own)[0]


def filled(name: str, values: Mapping[str, str], own: Templates | None) -> str:
    """A template's text with the values in it."""
    return _filled(name, values, own)[0]


def _filled(name: str, values: Mapping[str, str], own: Templates | None) -> tuple[str, str]:
    """The same, and where it stands."""
    from jinja2 import TemplateError

    source, where = _source(name, own)
    try:
        return _compiled(source)(values), where
    except TemplateError as error:
        raise ConfigError(f"mail template {where}: {error}. {_MEND}") from error


def _source(name: str, own: Templates | None) -> tuple[str, str]:
    if own is not None and name in own.changed:
        return own.changed[name], name
    if own is not None and own.directory is not None and name in own.texts:
        where = str(own.directory / name)
        return _text(where, own.texts[name]), where
    return packaged(name), name


@dataclass(frozen=True)
class Parsed:
    """A text as the engine reads it."""

    tree: Any


def parsed(text: str) -> Parsed | str:
    """A text as a template; why not, for one that cannot be read."""
    from jinja2 import TemplateSyntaxError

    try:
        return Parsed(_environment().parse(text))
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    except RecursionError:
        return "its conditions are nested too deeply"


# Of the engine's language: text, values, and whether there is one. No call, no attribute, no loop.
_ALLOWED = (
    "Template",
    "Output",
    "TemplateData",
    "Name",
    "If",
    "And",
    "Or",
    "Not",
    "Compare",
    "Operand",
    "Const",
)


# Nodes within each other: a condition within a condition has five.
_DEEPEST = 12


def forbidden(read: Parsed) -> str:
    """What in a text is neither words, nor a value, nor a condition; "" if all of it is."""
    from jinja2 import nodes

    for node, depth in _walked(read.tree):
        if depth > _DEEPEST:
            return f"line {node.lineno} (nested too deeply)"
        if type(node).__name__ not in _ALLOWED or (isinstance(node, nodes.Name) and node.ctx != "load"):
            return f"line {node.lineno} ({type(node).__name__})"
    return ""


def names_in(read: Parsed, *, conditions: bool = True) -> list[str]:
    """The values that a text names; without ``conditions`` those that it says whatever they are."""
    from jinja2 import nodes

    pruned = () if conditions else (nodes.If,)
    found = (node.name for node, _ in _walked(read.tree, pruned) if isinstance(node, nodes.Name))
    return list(dict.fromkeys(found))


def _walked(node: Any, pruned: tuple[type, ...] = (), depth: int = 0) -> Iterator[tuple[Any, int]]:
    yield node, depth
    for each in node.iter_child_nodes():
        if not isinstance(each, pruned):
            yield from _walked(each, pruned, depth + 1)


@lru_cache(maxsize=64)
def _compiled(source: str) -> Callable[[Mapping[str, str]], str]:
    # To compile one takes longer than everything else about a letter.
    made: Callable[[Mapping[str, str]], str] = _environment().from_string(source).render
    return made


@cache
def _environment() -> Any:
    # Not above: most commands, and the signer, write no letter.
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Templates are text, not HTML: nothing is escaped. An unknown value is an error, not an empty string.
    return ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"mail template {path}: it is not UTF-8. Save it as UTF-8, or delete it to use ours."
        ) from None


@cache
def packaged(name: str) -> str:
    """Our own text of a template."""
    return (files("enroll") / "templates" / name).read_text("utf-8")
