"""What a proposal changes, in words: what stands there now, what would then, and who and what it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import ndiff
from types import MappingProxyType
from typing import Any

from ca.revocation import REASONS as REVOCATION_REASONS
from enroll.hooks.states import ENDPOINT_LABELS
from enroll.operators.roles import LABELS as ROLES
from enroll.operators.roles import Role
from enroll.operators.viewing import Names
from enroll.people.applications import LABELS as REASONS
from enroll.people.applications import REJECTIONS
from gateway.sites.console.fields import (
    APPLICATION_STATES,
    EFFECTS,
    ENDS,
    FIELDS,
    LEFT_OUT,
    NESTED,
    NONE,
    PASSWORD_BY,
    PERIODS,
    REVOCATIONS,
    SCOPES,
    STATUSES,
)
from gateway.sites.console.words import KINDS, PROPOSALS, TEMPLATES
from gateway.sites.service.words import CHANNELS, LANGUAGE_NAMES, NOTICES
from gateway.sites.service.words import KINDS as APPLICATIONS
from gateway.sites.service.words import ROLES as MEMBERS
from gateway.web.dates import moment
from gateway.web.words import Text

# Of an import so many are named.
_NAMED = 5
#: What the product does by itself, as the trail has it.
_OURS: Mapping[str, Text] = MappingProxyType(
    {
        "issuance": ("自動（発行処理）", "issuance, by itself"),
        "delivery": ("自動（メール送信）", "delivery, by itself"),
        "scheduler": ("自動（定期処理）", "the scheduler"),
        "registration": ("自動（受付処理）", "registration, by itself"),
        "signer": ("自動（署名処理）", "the signer"),
    }
)


@dataclass(frozen=True)
class Line:
    """A field, what stands there now and what would then, each in Japanese and English."""

    label: Text
    now: Text
    then: Text


def lines(
    kind: str, payload: Mapping[str, Any], before: Mapping[str, Any], names: Names
) -> tuple[list[Line], list[Line]]:
    """What would be different, and what is known besides and stays as it is."""
    now, then = _standing(kind, before), _wanted(kind, payload)
    different, same = list[Line](), list[Line]()
    for field in _order(kind, {**now, **then}):
        label = _called(kind, field)
        stands = words_of(kind, field, now[field], names) if field in now else NONE
        if field in then and (field not in now or now[field] != then[field]):
            different.append(Line(label, stands, words_of(kind, field, then[field], names)))
        else:
            same.append(Line(label, stands, stands))
    if kind == "template.change":
        different.insert(0, _difference(now.get("text", ""), then["text"]))
    for effect in reversed(EFFECTS.get(kind, ())):
        label = label_of(kind, effect.field)
        same = [each for each in same if each.label != label]
        stands = words_of(kind, effect.field, now.get(effect.field), names)
        different.insert(0, Line(label, stands if effect.now is None else effect.now, effect.then))
    return different, same


def _difference(now: str, then: str) -> Line:
    """Of two texts the lines that only one of them has."""
    told = list(ndiff(now.splitlines(), then.splitlines()))
    gone, new = ("\n".join(each[2:] for each in told if each[:2] == sign) for sign in ("- ", "+ "))
    return Line(FIELDS["difference"], (gone, gone) if gone else NONE, (new, new) if new else NONE)


def fields_of(kind: str, payload: Mapping[str, Any], before: Mapping[str, Any]) -> set[str]:
    """Every field that `lines` says something about."""
    return {
        *_standing(kind, before),
        *_wanted(kind, payload),
        *(each.field for each in EFFECTS.get(kind, ())),
    }


def label_of(kind: str, field: str) -> Text:
    """What a field is called; KeyError for one that nobody has called anything."""
    return FIELDS.get(f"{_scope(kind)}.{field}") or FIELDS[field]


def words_of(kind: str, field: str, value: Any, names: Names) -> Text:
    """A value as people read it."""
    in_words = _VALUES.get(f"{_scope(kind)}.{field}") or _VALUES.get(field)
    if in_words is not None:
        return in_words(value, names)
    if value is None or value == "":
        return NONE
    return (str(value), str(value))


def row(kind: str, about: str) -> Text:
    """What a row of a job is about."""
    erased, _, numbers = about.partition(" ")
    if kind != "retention.apply" or not numbers:
        return (about, about)
    (japanese, english), (numbers, _, count) = PERIODS[erased], numbers.replace("-", "–").partition(": ")
    return (f"{japanese} {numbers}（{count}件）", f"{english} {numbers} ({count})")


def subject(kind: str, subject: str, names: Names, before: Mapping[str, Any] = MappingProxyType({})) -> Text:
    """What a proposal is about, by name where it is somebody or an organisation. ``before``: what stood,
    which knows whom an application is about."""
    if kind.endswith(".import"):
        file, _, rows = subject.rpartition(": ")
        count = rows.partition(" ")[0]
        return (f"{file}（{count}行）", f"{file} ({count} rows)")
    if kind == "certificate.revoke.bulk":
        count = subject.partition(" ")[0]
        return (f"証明書{count}枚", subject)
    if kind == "ca.reissue":
        name, _, count = subject.rpartition(": ")
        return (f"{name}（{count.partition(' ')[0]}人）", f"{name} ({count})")
    if kind == "retention.apply":
        return _counts(dict(each.split(" ") for each in subject.split(", ")), names)
    if kind == "postcard.batch":
        batch, _, cards = subject.removeprefix("batch ").partition(": ")
        return (f"バッチ{batch}（{cards.partition(' ')[0]}枚）", subject)
    if kind == "import.undo":
        job, _, rest = subject.removeprefix("job ").partition(": ")
        file, _, _ = rest.rpartition(": ")
        return (f"{file}（ジョブ{job}）", f"{file} (job {job})")
    if kind in ("campaign.end", "campaign.remind", "campaign.remind.many"):
        number, _, letters = subject.removeprefix("campaign ").partition(": ")
        count = letters.partition(" ")[0]
        return (f"キャンペーン{number}" + (f"（{count}通）" if count else ""), subject)
    if kind.startswith("application."):
        found = before.get("application", {})
        whom = _user(found.get("user_id", ""), names) if found.get("kind") == "reissue" else NONE
        if name := found.get("person", {}).get("name", ""):
            whom = (name, name)
        if whom == NONE:
            return (f"申請 {subject}", f"application {subject}")
        return (f"申請 {subject}（{whom[0]}）", f"application {subject}, {whom[1]}")
    if kind.startswith("organisation."):
        return _organisation(subject, names)
    if kind.startswith("operator."):
        return _named(names.operators.get(subject, ""), subject)
    if kind.startswith("template."):
        template, _, language = subject.rpartition(".")
        ja, en = TEMPLATES.get(template, (template, template))
        spoken = LANGUAGE_NAMES.get(language, (language, language))
        return (f"{ja}（{spoken[0]}）", f"{en} ({spoken[1]})")
    if subject in names.users:
        return _user(subject, names)
    return ("時計", "the clock") if kind == "clock.confirm" else (subject, subject)


def lead(kind: str, subject: str, names: Names) -> str:
    """The page of whom or what a proposal is about; "" where there is none."""
    if kind.startswith("organisation."):
        return f"/organisations/{subject}" if subject in names.organisations else ""
    if kind.startswith("application."):
        return f"/applications/{subject}"
    scope = SCOPES.get(kind) or kind.partition(".")[0]
    return f"/users/{subject}" if scope in ("user", "credential") and subject in names.users else ""


def who(told: str, names: Names) -> Text:
    """Whoever the trail says has done something, by name."""
    kind, _, rest = told.partition(":")
    name = rest.partition("/")[0]
    if kind == "operator":
        return _named(names.operators.get(name, ""), name)
    if kind == "break-glass":
        return (f"非常時の権限（{rest}）", f"break-glass ({rest})")
    return _OURS.get(told) or _user(told, names)


def _called(kind: str, field: str) -> Text:
    try:
        return label_of(kind, field)
    except KeyError:  # of a proposal that an older version has made
        return (field, field)


def _scope(kind: str) -> str:
    return SCOPES.get(kind) or kind.partition(".")[0]


def _standing(kind: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """What stood there. Of somebody new that is the organisation."""
    now = _flat(before)
    if kind == "user.add" and "disabled_at" in now:
        now["organisation_disabled_at"] = now.pop("disabled_at")
    return now


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of what is nested by whose they are: an application's, and its user's and person's."""
    found = dict[str, Any]()
    for name, value in facts.items():
        if name in NESTED and isinstance(value, Mapping):
            for field, inner in _flat(value).items():
                found.setdefault(field, inner)
        else:
            found[name] = value
    return found


def _wanted(kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of what is to be done; what stays as it is, because nothing was said of it, is none."""
    wanted = {name: value for name, value in payload.items() if name not in NESTED}
    for name in NESTED:
        wanted |= payload.get(name) or {}
    left_out = LEFT_OUT if kind == "application.approve" or kind.endswith(".add") else ()
    return {
        name: value
        for name, value in wanted.items()
        if not (name in left_out and value in (None, "")) and (name, value) != ("revoke_old", None)
    }


def _order(kind: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """As the table of fields has them; what it does not know comes last."""
    places = {field: place for place, field in enumerate(FIELDS)}
    scope = _scope(kind)
    yield from sorted(facts, key=lambda field: places.get(f"{scope}.{field}", places.get(field, len(places))))


def _named(name: str, known_as: str) -> Text:
    return (f"{name}（{known_as}）", f"{name} ({known_as})") if name else (known_as, known_as)


def _organisation(number: str, names: Names) -> Text:
    return _named(names.organisations.get(number, ""), number)


def _user(user_id: str, names: Names) -> Text:
    return _named(names.users.get(user_id, ""), user_id) if user_id else NONE


def _one_of(table: Mapping[Any, Text]) -> Callable[[Any, Names], Text]:
    return lambda value, _: NONE if value in (None, "") else table.get(value, (str(value), str(value)))


def _at(value: Any, _: Names) -> Text:
    return NONE if value is None else (moment(value, "ja"), moment(value, "en"))


def _until(going: Text, stopped: Text) -> Callable[[Any, Names], Text]:
    """Of a moment since which something is over; None while it goes on."""

    def in_words(value: Any, _: Names) -> Text:
        if value is None:
            return going
        return (f"{stopped[0]}（{moment(value, 'ja')}から）", f"{stopped[1]} since {moment(value, 'en')}")

    return in_words


def _either(yes: Text, no: Text) -> Callable[[Any, Names], Text]:
    return lambda value, _: yes if value else no


def _roles(value: Sequence[str], _: Names) -> Text:
    found = [ROLES[Role(each)] for each in value]
    return ("・".join(ja for ja, _ in found), ", ".join(en for _, en in found))


def _listed(value: Sequence[str], _: Names) -> Text:
    return ("、".join(value), ", ".join(value)) if value else NONE


def _rows(value: Sequence[Mapping[str, Any]], _: Names) -> Text:
    """How many, and the first of them by name."""
    count, told = len(value), list[str]()
    for each in value[:_NAMED]:
        given = each["given"]
        about = given.get("user_id") or given.get("policy_number") or ""
        told.append(f"{given.get('name', '')}（{about}）" if about else given.get("name", ""))
    more = ("ほか", " and more") if count > _NAMED else ("", "")
    listed = "、".join(told)
    return (f"{count}行：{listed}{more[0]}", f"{count} rows: {listed}{more[1]}")


def _people(value: Any, names: Names) -> Text:
    """How many, and the first ones by name."""
    listed = "、".join(_user(each, names)[0] for each in value[:_NAMED])
    return (f"{len(value)}人：{listed}", f"{len(value)}: {listed}") if value else NONE


def _some(value: Sequence[str], _: Names) -> Text:
    """How many, and the first of them."""
    count, listed = len(value), "、".join(each.upper() for each in value[:_NAMED])
    more = ("ほか", " and more") if count > _NAMED else ("", "")
    return (f"{count}枚：{listed}{more[0]}", f"{count}: {listed}{more[1]}")


def _by_period(in_words: Callable[[Any], Text]) -> Callable[[Mapping[str, Any], Names], Text]:
    """Of each kind that has a period what is said of it."""

    def all_of(value: Mapping[str, Any], _: Names) -> Text:
        told = [(PERIODS[kind], in_words(each)) for kind, each in value.items()]
        japanese, english = (
            separator.join(f"{kind[place]}{colon}{words[place]}" for kind, words in told)
            for place, separator, colon in ((0, "、", "："), (1, ", ", ": "))
        )
        return (japanese, english)

    return all_of


_counts = _by_period(lambda value: (f"{value}件", str(value)))
_IN_USE: Text = ("利用中", "in use")
_STOPPED: Text = ("停止", "stopped")
#: Field -> how its value is said. What is not here is said as it stands.
_VALUES: Mapping[str, Callable[[Any, Names], Text]] = MappingProxyType(
    {
        "organisation.policy_number": lambda value, _: (value, value),
        "policy_number": lambda value, names: _organisation(value, names),
        "user_id": lambda value, names: _user(value, names),
        "role": _one_of(MEMBERS),
        "notice_by": _one_of(NOTICES),
        "language": _one_of(LANGUAGE_NAMES),
        "lineages": lambda value, _: (
            ("設定のとおり", "as in the settings") if value is None else (f"{value}台", str(value))
        ),
        "issue_password_by": _one_of(PASSWORD_BY),
        "created_at": _at,
        "added_at": _at,
        "submitted_at": _at,
        "decided_at": _at,
        "erased_at": _at,
        "disabled_at": _until(_IN_USE, _STOPPED),
        "organisation_disabled_at": _until(_IN_USE, _STOPPED),
        "first_at": _at,
        "until_at": _at,
        "campaign.ended_at": _until(("実施中", "it does"), ("終了", "over")),
        "numbers": lambda value, _: (f"{len(value)}通", f"{len(value)}"),
        "ended_at": _until(("在任中", "in office"), ("終了", "ended")),
        "taken": _either(("使用済み", "taken"), ("使用できる", "free")),
        "alike": _either(
            ("起案者が確認済み", "looked at by who proposed it"), ("見つかっていない", "none was found")
        ),
        "hold_letters": _either(
            ("担当者が送信を許可するまで保留", "held until somebody releases them"), ("送信する", "sent")
        ),
        "serial": lambda value, names: _named(names.certificates.get(value, ""), value.upper()),
        "status": _one_of(STATUSES),
        "certificate.reason": lambda value, _: revocation(value),
        "rejection": _one_of(REJECTIONS),
        "reason": _one_of(REASONS),
        "kind": _one_of({**APPLICATIONS, **KINDS}),
        "channel": _one_of(CHANNELS),
        "revoke_old": _one_of(ENDS),
        "state": _one_of({state: text for state, (text, _) in APPLICATION_STATES.items()}),
        "applied_by": lambda value, names: who(value, names),
        "decided_by": lambda value, names: who(value, names) if value else NONE,
        "added_by": lambda value, names: who(value, names),
        "ended_by": lambda value, names: who(value, names) if value else NONE,
        "rows": _rows,
        "serials": _some,
        "letters": lambda value, _: (f"{len(value)}枚", str(len(value))),
        "audit.before": _at,
        "retention.counts": _counts,
        "retention.before": _by_period(lambda value: (moment(value, "ja"), moment(value, "en"))),
        "retention.people": _people,
        "users": _people,
        "retention.ranges": _by_period(lambda value: ("～".join(map(str, value)), "–".join(map(str, value)))),
        "import.kind": _one_of(PROPOSALS),
        "count": lambda value, _: (f"{value}件", str(value)),
        "quota": lambda value, _: (
            ("設定のとおり", "as in the settings") if value is None else (f"{value}枚", str(value))
        ),
        "template": _one_of(TEMPLATES),
        "roles": _roles,
        "networks": _listed,
        "events": _listed,
        "webhook.state": _one_of({str(state): text for state, text in ENDPOINT_LABELS.items()}),
        "at_once": _either(("すぐに無効", "signs no more"), ("1日間は併用", "signs as well for a day")),
        "skip": _either(("送信しない", "is not told"), ("送信する", "is told first")),
    }
)


def revocation(value: Any) -> Text:
    """A reason of a revocation, by its code."""
    row = REVOCATION_REASONS.get(value)
    return (str(value), str(value)) if row is None else (REVOCATIONS.get(row.name, row.name), row.name)
