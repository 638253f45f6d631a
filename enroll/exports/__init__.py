"""What operators carry away of the registers: one way for every list, by page, command and file.

`tables.py` says what is in a list and who may have it, `giving.py` gives it, counted and told in the trail,
`forms.py` writes it as CSV or JSON lines, `spreadsheet.py` is CSV as Excel reads it, and read back.
"""

from __future__ import annotations

#: What there is to export; each is a table of `tables.py`, or a report or a campaign's of the gateway.
NAMES = (
    "users",
    "organisations",
    "certificates",
    "applications",
    "letters",
    "audit",
    "proposals",
    "jobs",
    "campaign",
    "campaign-people",
    "report-expiring",
    "report-pickup",
    "report-failures",
    "report-bounces",
    "report-issuance",
)
