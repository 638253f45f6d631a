"""Postal addresses in Japan: where postcards go. Parsed once, when somebody records one.

A person without one gets postcards at the organisation's. The postal code is checked in its form alone: a
list of all codes is seven megabytes that are out of date within a month.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Protocol

from enroll.characters import DASHES, folded
from enroll.people.sameness import tidy_name

#: The prefectures, as the post writes them.
PREFECTURES = (
    "北海道", "青森県", "岩手県", "宮城県", "秋田県", "山形県", "福島県", "茨城県",
    "栃木県", "群馬県", "埼玉県", "千葉県", "東京都", "神奈川県", "新潟県", "富山県",
    "石川県", "福井県", "山梨県", "長野県", "岐阜県", "静岡県", "愛知県", "三重県",
    "滋賀県", "京都府", "大阪府", "兵庫県", "奈良県", "和歌山県", "鳥取県", "島根県",
    "岡山県", "広島県", "山口県", "徳島県", "香川県", "愛媛県", "高知県", "福岡県",
    "佐賀県", "長崎県", "熊本県", "大分県", "宮崎県", "鹿児島県", "沖縄県",
)  # fmt: skip
_CODE = re.compile(rf"〒?([0-9]{{3}})[{DASHES}]?([0-9]{{4}})")
_LONGEST = 60
#: What an address has, besides what may be left out, if there is one at all.
_NEEDED = ("postal_code", "prefecture", "city", "street")


@dataclass(frozen=True)
class Postal:
    """Where something is sent. All empty: nothing is recorded."""

    postal_code: str = ""
    prefecture: str = ""
    city: str = ""
    street: str = ""
    building: str = ""
    #: A line above the name: a department, c/o.
    addressee: str = ""

    @property
    def complete(self) -> bool:
        """Whether the post finds it."""
        return all(getattr(self, name) for name in _NEEDED)

    @property
    def line(self) -> str:
        """On one line, without the addressee; "" for none."""
        if not self.complete:
            return ""
        place = " ".join(filter(None, (self.prefecture + self.city + self.street, self.building)))
        return f"〒{self.postal_code} {place}"


#: The fields of an address, in the order in which they are written.
FIELDS = tuple(field.name for field in fields(Postal))


class Addressed(Protocol):
    """Whoever has the fields of an address: an organisation, a user, somebody who is to become one."""

    @property
    def postal_code(self) -> str: ...
    @property
    def prefecture(self) -> str: ...
    @property
    def city(self) -> str: ...
    @property
    def street(self) -> str: ...
    @property
    def building(self) -> str: ...
    @property
    def addressee(self) -> str: ...


def address_of(whose: Addressed) -> Postal:
    """The address that is recorded of somebody or an organisation."""
    return Postal(**{name: getattr(whose, name) for name in FIELDS})


def sent_to(user: Addressed, organisation: Addressed) -> tuple[Postal, bool]:
    """Where somebody's postcards go, and whether that is at the organisation, for want of an own one."""
    own = address_of(user)
    return (own, False) if own.complete else (address_of(organisation), True)


def tidied(whose: Addressed) -> dict[str, Any]:
    """The fields as they are meant and stored: 1000013, 〒１００－００１３ are 100-0013."""
    found = {name: tidy_name(getattr(whose, name)) for name in FIELDS}
    code = _CODE.fullmatch("".join(folded(found["postal_code"]).split()))
    return found | ({"postal_code": f"{code[1]}-{code[2]}"} if code else {})


def wrong_in(tidy: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that are not as they have to be: of an address that has any, those that are missing too."""
    needed = any(tidy.values())
    return tuple(name for name, good in _CHECKS.items() if not good(tidy[name], needed and name in _NEEDED))


def _line(text: str, needed: bool) -> bool:
    return int(needed) <= len(text) <= _LONGEST and text.isprintable()


_CHECKS: Mapping[str, Callable[[str, bool], bool]] = MappingProxyType(
    {
        "postal_code": lambda text, needed: _CODE.fullmatch(text) is not None or not (text or needed),
        "prefecture": lambda text, needed: text in PREFECTURES or not (text or needed),
        **dict.fromkeys(FIELDS[2:], _line),
    }
)
