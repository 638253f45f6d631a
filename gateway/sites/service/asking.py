"""Asks whether it is meant, where somebody of the organisation has the same name or mail address already.

What is confirmed holds for those who were shown, and for nobody else who has it by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from enroll.people.likeness import Alike, mark_of
from gateway.web.words import Text

#: The field of the form that confirms, and the anchor of what is asked.
FIELD = "alike"
# Of a mailbox that a hundred people share; the address that carries them has its limit.
_SHOWN = 6
_ASKED: Text = (
    "同じ氏名またはメールアドレスの方がいます。お間違いがないかご確認ください。",
    "A user with the same name or email address exists. Please make sure this is not a mistake.",
)


def question(found: Sequence[Alike], fields: Mapping[str, str]) -> dict[str, Any]:
    """What to `tell` a form whose ``fields`` were sent: who was found, and whether it was confirmed."""
    if not found:
        return {}
    mark = mark_of(found)
    return {
        FIELD: [asdict(each) for each in found[:_SHOWN]],
        "more": len(found[_SHOWN:]),
        "mark": mark,
        "confirmed": fields.get(FIELD) == mark,
    }


def unanswered(asked: Mapping[str, Any]) -> dict[str, Text]:
    """The message of a `question` that was not confirmed; empty if there was none, or it was."""
    return {FIELD: _ASKED} if asked and not asked["confirmed"] else {}


def shown(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the template needs of what `told` gives."""
    return {"doubt": {name: state[name] for name in (FIELD, "more", "mark", "confirmed") if name in state}}
