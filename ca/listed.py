"""The entries of a list that is to be signed: read strictly, and kept small. There may be a million.

Nothing hides behind them or in them: a serial, a time, and a reason in the one way that our lists write it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from ca.crls import REASONS_WRITTEN
from ca.revocation import HOLD

#: Octets of a serial; a longer one is none (RFC 5280 section 4.1.2.2).
SERIAL = 20
PLACE = struct.Struct(f">{1 + SERIAL}pI")
# UTCTime and GeneralizedTime, to the second: tag and length, and the form.
_FORMS = {b"\x17\x0d": "%y%m%d%H%M%SZ", b"\x18\x0f": "%Y%m%d%H%M%SZ"}
#: What may stand behind the time. 8 takes an entry back (RFC 5280 section 5.3.1), in lists that we have not.
_REASONS = {written: code for code, written in REASONS_WRITTEN.items() if code != 8}
_HELD = REASONS_WRITTEN[HOLD]
# By what an entry begins with (its length, its serial's): where its time begins and how, where what is behind
# it does, and where it ends.
_SHAPES = {
    bytes((0x30, 2 + octets + 2 + time[1] + behind, 0x02, octets)): (
        4 + octets,
        time,
        4 + octets + 2 + time[1],
        4 + octets + 2 + time[1] + behind,
    )
    for octets in range(1, SERIAL + 1)
    for time in _FORMS
    for behind in {len(each) for each in _REASONS}
}
_NO_ENTRY = "what is to be signed is no list (an entry)"


@dataclass(frozen=True)
class Listed:
    """What a list says is revoked for good: what is held is not among it.

    ``places``: by the last octet of a serial, each serial with where its entry begins (`PLACE`), one behind
    the other.
    """

    data: bytes
    places: Sequence[bytearray]

    def told(self, place: int) -> tuple[int, int]:
        """When a certificate was revoked (epoch seconds) and why, by its entry. ValueError for no time."""
        to_time, time, to_trailer, size = _SHAPES[self.data[place : place + 4]]
        day = _midnight(time, self.data[place + to_time + 2 : place + to_trailer - 7])
        clock = self.data[place + to_trailer - 7 : place + to_trailer - 1]
        hours, minutes, seconds = (int(clock[each : each + 2]) for each in (0, 2, 4))
        if not clock.isdigit() or hours > 23 or minutes > 59 or seconds > 59:
            raise ValueError(_NO_ENTRY)
        trailer = self.data[place + to_trailer : place + size]
        return day + 3_600 * hours + 60 * minutes + seconds, _REASONS[trailer]


def octets_of(serial: int) -> bytes:
    """A serial as an INTEGER has it (X.690)."""
    return serial.to_bytes(serial.bit_length() // 8 + 1)  # one bit more, for the sign


def _is_serial(octets: bytes) -> bool:
    """Whether they are a number that is not negative, and no shorter ones are the same."""
    return 0 < octets[0] < 0x80 or (octets[0] == 0 and (len(octets) == 1 or octets[1] >= 0x80))


@lru_cache(4_096)
def _midnight(time: bytes, day: bytes) -> int:
    if not day.isdigit():
        raise ValueError(_NO_ENTRY)
    return int(datetime.strptime(f"{day.decode()}000000Z", _FORMS[time]).replace(tzinfo=UTC).timestamp())


def listed_in(data: bytes, within: tuple[int, int], shard: int | None, shards: int) -> Listed:
    """All entries of a list, which are between two places. ``shard``: the one whose serials they have to be.
    ValueError for what is none, with words for the log."""
    places = [bytearray() for _ in range(256)]
    shapes, reasons, pack = _SHAPES, _REASONS, PLACE.pack
    place, end = within
    while place < end:
        shape = shapes.get(data[place : place + 4])
        if shape is None:
            raise ValueError(_NO_ENTRY)
        to_time, time, to_trailer, size = shape
        at, following = place + to_time, place + size
        serial, trailer = data[place + 4 : at], data[place + to_trailer : following]
        if data[at : at + 2] != time or trailer not in reasons or following > end or not _is_serial(serial):
            raise ValueError(_NO_ENTRY)
        if shard is not None and serial[-1] % shards != shard:
            raise ValueError("the list is not one of this issuer's: another shard's entry")
        if trailer != _HELD:
            places[serial[-1]] += pack(serial, place)
        place = following
    return Listed(data, places)
