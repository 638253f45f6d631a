"""Everything that people read is there in both languages."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import enroll
import gateway
from enroll.requests.states import LABELS

_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
#: Spelt alike in both, or English in the manual's Japanese.
_ALIKE = {"Cookie", "JavaScript", "TLS"}
#: Pairs that are something else: a column's name and its heading, a policy number and whose it is.
_NO_TEXTS = (
    "enroll.people.csvfile.",
    "enroll.operators.imports.",
    "gateway.cli.importing.",
    "gateway.demo.importing.",
    "enroll.exports.",
    "gateway.sites.console.exporting.ORGANISATIONS",
    "gateway.sites.console.exporting.USERS",
    "enroll.people.importing.",
    "gateway.demo.people.ORGANISATIONS",
)


def _modules() -> Iterator[ModuleType]:
    for package in (enroll, gateway):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def _texts(value: Any, place: str, seen: set[int]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every (Japanese, English) below a constant, with where it stands."""
    if id(value) in seen or isinstance(value, str | bytes | int | type):
        return
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(each, str) for each in value):
        if any(_JAPANESE.search(each) for each in value):
            yield place, value
        return
    seen = seen | {id(value)}
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, f"{place}[{key}]", seen)
    elif isinstance(value, tuple | list | set | frozenset):
        for number, each in enumerate(value):
            yield from _texts(each, f"{place}[{number}]", seen)
    elif dataclasses.is_dataclass(value):
        for one in dataclasses.fields(value):
            yield from _texts(getattr(value, one.name), f"{place}.{one.name}", seen)


def _all() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for module in _modules():
        for name, value in vars(module).items():
            if name.isupper() or (name.startswith("_") and name[1:].isupper()):
                found |= dict(_texts(value, f"{module.__name__}.{name}", set()))
    return {place: text for place, text in found.items() if not place.startswith(_NO_TEXTS)}


def test_every_text_is_there_in_both_languages() -> None:
    """A pair of texts is Japanese and English: neither is empty, and neither stands in the other's place."""
    found = _all()
    # Those that are read on nearly every page: had the walk missed them, it would hold nothing.
    assert {"gateway.web.words._REISSUE", "gateway.web.words._CALL", "gateway.web.words._BACK"} <= set(found)
    assert len(found) > 300
    wrong = {
        place: text
        for place, text in found.items()
        if not all(each.strip() for each in text)
        or (not _JAPANESE.search(text[0]) and text[0] not in _ALIKE)
        or _JAPANESE.search(text[1])
    }
    assert wrong == {}


@pytest.mark.parametrize("language", [0, 1])
def test_every_refusal_says_what_and_what_next(language: int) -> None:
    """Each page about something that went wrong has a heading, what happened and the one next step."""
    from gateway.web import words

    for code, row in [*words.REFUSALS.items(), *words.CERTIFICATE.items(), ("grace", words.IN_GRACE)]:
        for text in (row.title, row.text, row.next_step, row.moment):
            assert text[language].strip(), code
        assert 400 <= row.status < 600
    assert all(label[language].strip() for label in LABELS.values())


def test_a_page_offers_first_what_its_next_step_names() -> None:
    """Whether a page's first links choose another certificate or lead to a reissue is said beside its words:
    so is it where both languages name it, and nowhere else (no sentence is searched when a page is made)."""
    from gateway.web import words

    for code, row in [*words.REFUSALS.items(), *words.CERTIFICATE.items(), ("grace", words.IN_GRACE)]:
        japanese, english = row.next_step
        assert row.choose_again is bool(re.search("選択し", japanese)), code
        assert row.choose_again is bool(re.search("[Cc]hoose (?!a )", english)), code
        assert row.reissue is ("再発行" in japanese), code
        assert row.reissue is ("reissue" in english), code


#: What the product once said, and what instead: a second spelling, or a tone that is no letter's.
_NOT_SAID = {
    "直す": "なおす, as the manual spells 取得しなおして; one spelling",
    "直し": "なおし; 掛け直し is the manual's own",
    "ブラウザー": "ブラウザ",
    "未確認です": "the mark beside it says 未確認 already",
    "こちらで決定": "当社にて決定いたします",
    "覚えのない": "お心当たりのない",
    "認証情報を終了": "無効にする",
    "紛失した、": "紛失された",
    "盗難にあ": "盗難に遭",
    "形跡": "検出されませんでした",
    "（秒）": "0秒",
    "現在使用中": "この画面で使用中",
    "利用開始": "利用中",
    "チェックすると": "チェックを入れると",
    "下記の照会先": "ご照会先, as the page calls it",
    "以下の照会先": "ご照会先",
    "お申し込み": "申請, as the manual calls it",
    "利用者の一覧": "ユーザー一覧, as the menu calls it",
    "1枚": "1つ",
    "2枚": "2つ",
    "Cookie を": "Cookieを",
    "CapsLock": "Caps Lock",
    "なままです": "ログインした状態は保たれています",
    "ときは、": "場合は、",
    "選びなおす": "選択しなおす, as the button says",
    "「.pfx」で": ".pfx形式で, a button whose name can be quoted",
    "鍵マークから": "左のアイコン（鍵マークなど）: not every browser has a padlock",
    "断片": "PACファイル用",
    "更新のサイト": "証明書更新サイト",
    "期間の前です": "まだ更新期間ではありません",
    "要求を": "a translation of request: 操作, or nothing",
    "要求された": "呼び出された",
    "ふたたび": "再び, which no line's end divides",
    "もっとも": "最も",
    "申しあげ": "申し上げ",
    "をたずね": "求める: nobody is asked by a program",
}
_MANUALS_OWN = ("お掛け直しいただきますよう",)


def test_english_has_one_word_for_getting_the_certificate() -> None:
    """The menu says "Get the certificate"; so does everything that speaks of it, and nothing fetches."""
    found = [place for place, (_, english) in _all().items() if re.search(r"\b[Ff]etch", english)]
    for file in sorted(Path(gateway.__path__[0]).rglob("templates/**/*.html")):
        text = re.sub(r"\{%.*?%\}", "", file.read_text("utf-8"))
        if re.search(r'(?:, "[A-Z][^"]*|>[^<{]*)\b[Ff]etch', text):
            found.append(file.name)
    assert found == []


def test_english_calls_an_email_so() -> None:
    """By mail comes what a postman brings, beside which stands the postcard; and nobody counts mails."""
    mail = re.compile(r'(?<![-./_"#{])\b[Mm]ails?\b(?![-._"(=]| \}\})')
    found = [place for place, (_, english) in _all().items() if mail.search(english)]
    for package in (enroll, gateway):
        for file in sorted(Path(package.__path__[0]).rglob("templates/**/*")):
            if file.suffix == ".html" or file.name.endswith(".en.txt"):
                text = re.sub(r"\{[#%].*?[#%]\}", "", file.read_text("utf-8"))
                found += [f"{file.name}: {text[at.start() - 20 : at.end()]}" for at in mail.finditer(text)]
    assert found == []


def test_japanese_is_spelt_in_one_way() -> None:
    """What people read has one word for a thing, in the tone of a letter; what the manual fixes stays."""
    found = []
    for package in (enroll, gateway):
        for file in sorted(Path(package.__path__[0]).rglob("*")):
            if file.suffix not in (".py", ".html", ".txt", ".js"):
                continue
            text = file.read_text("utf-8")
            for own in _MANUALS_OWN:
                text = text.replace(own, "")
            found += [f"{file.name}: {words}" for words in _NOT_SAID if words in text]
    assert found == []
