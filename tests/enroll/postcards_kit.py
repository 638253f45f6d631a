"""Postcards as tests see them: people with addresses, and what is on a page, as others read it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from enroll.people import changes
from enroll.settings import Settings
from tests.datadirs import POLICY_NUMBER, admit

FONT = Settings().postcard_font
needs_font = pytest.mark.skipif(not Path(FONT).exists(), reason="apt install fonts-noto-cjk")
needs_reader = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="apt install poppler-utils")

HERE = {
    "postal_code": "100-0013",
    "prefecture": "東京都",
    "city": "千代田区",
    "street": "霞が関1-2-3",
    "building": "霞が関ビル5階",
    "addressee": "総務部",
}
_WORD = re.compile(r'<word xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</word>')


async def people(ra, *names):
    """Users K0, K1, ... who are told by postcard, at an organisation with an address."""
    for number, name in enumerate(names):
        await admit(ra, f"K000{number}", notice_by="postcard")
        await changes.change_user(ra, f"K000{number}", {"name": name}, actor="test")
        # The card says who it is for as it was when it was queued.
        await changes.reset_password(ra, f"K000{number}", actor="test")
    await changes.change_organisation(ra, POLICY_NUMBER, HERE, actor="test")


def _read(pdf, *words):
    done = subprocess.run(words, input=pdf, capture_output=True, check=True, timeout=60)
    return done.stdout.decode()


def texts(pdf):
    """What is written on each page."""
    return _read(pdf, "pdftotext", "-layout", "-", "-").split("\f")[:-1]


def words(pdf):
    """Of each page its words, with their boxes in millimetres: left, top, right, bottom."""
    found = _read(pdf, "pdftotext", "-bbox", "-", "-").split("<page ")[1:]
    scale = 25.4 / 72
    return [
        [(each[5], *(float(side) * scale for side in each.groups()[:4])) for each in _WORD.finditer(page)]
        for page in found
    ]


def facts(pdf):
    """What pdfinfo and pdffonts say."""
    return _read(pdf, "pdfinfo", "-"), _read(pdf, "pdffonts", "-")
