"""What the address of a list narrows it by, and where its next page is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from urllib.parse import urlencode

from enroll.identifiers import number_in
from enroll.listings.meaning import LONGEST
from enroll.refusals import Refusal
from enroll.rosters.store import Place

_LONGEST_KEY = 20


@dataclass(frozen=True)
class Narrowed:
    """What an address says. ``chosen``: each field that has choices; ``text``: what is looked for; ``after``:
    the row that the page begins behind."""

    path: str
    text: str
    chosen: Mapping[str, str]
    #: Those of the fields that say something else than without them.
    said: Mapping[str, str]
    after: Place | None

    @property
    def query(self) -> str:
        """The address of the same list from its beginning, without its path."""
        return urlencode(self.said)

    @property
    def begin(self) -> str:
        """The first page; "" on it."""
        return "" if self.after is None else f"{self.path}?{self.query}"

    def following(self, after: Place | None) -> str:
        """The next page; "" on the last one."""
        if after is None:
            return ""
        return f"{self.path}?{urlencode({**self.said, 'after': f'{after[0]}-{after[1]}'})}"


def narrowed(
    query: Mapping[str, str], path: str, choices: Mapping[str, tuple[str, ...]], *free: str
) -> Narrowed:
    """Reads an address. ``free``: fields for a number, which is looked up. Refusal("invalid_input") for what
    no page of ours leads to."""
    chosen = {name: query.get(name) or values[0] for name, values in choices.items()}
    for name, value in chosen.items():
        if value not in choices[name]:
            raise Refusal("invalid_input", field=name)
    for name in free:
        chosen[name] = query.get(name, "").strip()
        if len(chosen[name]) > _LONGEST_KEY:
            raise Refusal("invalid_input", field=name)
    text = query.get("q", "")[:LONGEST].strip()
    first = {name: values[0] for name, values in choices.items()}
    said = {name: value for name, value in chosen.items() if value != first.get(name, "")}
    return Narrowed(path, text, chosen, said | ({"q": text} if text else {}), _place(query.get("after", "")))


def typed_day(typed: Mapping[str, str], field: str) -> date | None:
    """The day in a field, None for nothing. Refusal("invalid_input", reason "day") for one that is none, or
    that nothing here can be of."""
    if not typed.get(field):
        return None
    try:
        found = date.fromisoformat(typed[field])
    except ValueError:
        found = date.min
    if not 2000 <= found.year < 2200:
        raise Refusal("invalid_input", field=field, reason="day")
    return found


def _place(text: str) -> Place | None:
    if not text:
        return None
    at, _, key = text.partition("-")
    since = number_in(at, 14)
    if since is None or not 0 < len(key) <= _LONGEST_KEY:
        raise Refusal("invalid_input", field="after")
    return since, key
