"""The table of periods: what is kept, how long, and what goes when that is over.

Certificates, their requests and the lines of the trail stay: what is personal in them goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

#: What is taken away of each kind.
TAKEN: Mapping[str, str] = MappingProxyType(
    {
        "people": "of who left: name, addresses, what was applied for, letters, details of the trail",
        "letters": "their recipients and texts",
        "applications": "names and addresses of decided ones, notes",
        "jobs": "the rows of imports, and what was said of them",
        "proposals": "names and addresses of decided ones, reasons and notes",
    }
)


@dataclass(frozen=True)
class Periods:
    """Days, counted from the end of what it is about; 0: for good.

    Who left may be asked for as long as the papers of a contract are kept: five years. A letter is asked for
    within a year, an import while its letters leave; what two have decided within the life of a certificate.
    """

    people: int = 1_827
    letters: int = 400
    applications: int = 1_827
    jobs: int = 90
    proposals: int = 1_096
