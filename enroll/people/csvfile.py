"""CSV files of operators: as Excel, text editors and other systems write them, line by line.

Every line is parsed by itself: a row that is broken, hostile or unknown takes no other with it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ca.errors import ConfigError
from enroll.characters import folded
from enroll.exports.spreadsheet import ENDS, meant
from enroll.people.importing import Row
from enroll.refusals import Refusal

#: The column of a file of failures: why the row was refused. Read by people only.
REASON = ("reason", "理由")
# A file of 100,000 users is a tenth of this.
_LARGEST = 64 * 1024 * 1024
_LONGEST_LINE = 4_096
_UNREADABLE = "�"
# How files begin that are no text: Excel's of either kind, an archive, PDF.
_NO_TEXT = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"%PDF")
# So much of a file is looked at for whether it is text at all.
_BEGINNING = 4_096
_IS_STOPPED = "its column state says that it is stopped: take the row out, or the word if it is to be used"
_FIRST_CELL = re.compile(r'(?:"(?:[^"]|"")*"|[^,]*)(?:,|$)')


#: Why a file is not read at all: too large, in UTF-16, no text, nothing in it, its first line, more rows than
#: may be.
Why = Literal["large", "utf16", "no_text", "empty", "heading", "rows"]


class BadFile(ConfigError):
    """A file of which no row is read. ``about``: what of the first line is wrong, or how many rows may be."""

    def __init__(self, file: Path, why: Why, message: str, about: str = "") -> None:
        super().__init__(f"{file}{message}")
        self.why, self.about = why, about


@dataclass(frozen=True)
class Shape:
    """What a file has: column -> the headings it goes by, of which some have to be there."""

    columns: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    #: Words in Japanese, and what they mean. An empty cell is the default.
    values: Mapping[str, Mapping[str, str]]
    #: What an export says besides (`enroll/exports`), and no import reads.
    told: Mapping[str, tuple[str, str]]

    @property
    def wanted(self) -> str:
        """The first line, to be typed."""
        return " or ".join(self.heading(index) for index in (0, 1)) + ", with commas"

    def heading(self, index: int) -> str:
        """The first line in English (0) or Japanese (1), with what need not be there in brackets."""
        needed = ",".join(self.columns[name][index] for name in self.required)
        more = ",".join(words[index] for name, words in self.columns.items() if name not in self.required)
        return f"{needed}[,{more}]" if more else needed


#: What is said of a row that was refused, in its reader's words.
Reason = Callable[[Refusal], str]
#: How a file is written: UTF-8, or what Excel in Japan calls ANSI.
Encoding = Literal["utf-8", "cp932"]


@dataclass(frozen=True)
class Table:
    """A file: its heading as it stands there, its rows, and how it was written."""

    heading: str
    rows: tuple[Row, ...]
    encoding: Encoding = "utf-8"


#: Of an address, whoever's it is.
_POSTAL = {
    "postal_code": ("postal_code", "郵便番号"),
    "prefecture": ("prefecture", "都道府県"),
    "city": ("city", "市区町村"),
    "street": ("street", "町名番地"),
    "building": ("building", "建物名"),
    "addressee": ("addressee", "宛名"),
}
USERS = Shape(
    columns={
        "policy_number": ("policy_number", "証券番号"),
        "name": ("name", "氏名"),
        "mail": ("mail", "メールアドレス"),
        "user_id": ("user_id", "ユーザーID"),
        "role": ("role", "権限"),
        "notice_by": ("notice_by", "通知方法"),
        "language": ("language", "言語"),
        "department": ("department", "部署"),
        "principal": ("principal", "UPN"),
        "reading": ("reading", "フリガナ"),
        **_POSTAL,
    },
    required=("policy_number", "name", "mail"),
    values={
        "role": {"": "member", "一般": "member", "利用者": "member", "管理者": "admin"},
        "notice_by": {"": "mail", "メール": "mail", "はがき": "postcard"},
        "language": {"": "ja", "日本語": "ja", "英語": "en", "英語(english)": "en"},
    },
    told={
        "organisation": ("organisation", "団体名"),
        "state": ("state", "状態"),
        "ends_at": ("ends_at", "証明書の有効期限"),
        "bounced": ("bounced", "メール不達"),
        "created_at": ("created_at", "登録日時"),
    },
)
ORGANISATIONS = Shape(
    columns={
        "policy_number": ("policy_number", "証券番号"),
        "name": ("name", "団体名"),
        "lineages": ("lineages", "台数"),
        "issue_password_by": ("issue_password_by", "パスワード通知方法"),
        "profile": ("profile", "プロファイル"),
        "country": ("country", "国"),
        **_POSTAL,
    },
    required=("policy_number", "name"),
    values={
        "lineages": {},
        "issue_password_by": {
            "": "mail",
            "メール": "mail",
            "はがき": "postcard",
            "管理者": "admin",
            "団体の管理者経由": "admin",
        },
    },
    told={
        "state": ("state", "状態"),
        "users": ("users", "利用者数"),
        "active": ("active", "利用中の利用者数"),
        "created_at": ("created_at", "登録日時"),
    },
)
#: The column of an export that says whether somebody may come in, and what says no: a file never lets those
#: in again who were stopped where it is from.
_STATE = "state"
_STOPPED = frozenset({"stopped", "organisation", "利用終了", "利用停止", "団体が利用停止"})


def text_of(content: bytes, file: Path) -> tuple[str, Encoding]:
    """The file's text. Bytes that are neither UTF-8 nor CP932 are marked, and lose only their row."""
    if len(content) > _LARGEST:
        most = f"{_LARGEST // 1024 // 1024} MiB"
        raise BadFile(file, "large", f" has more than {most}; split it and import the parts", most)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadFile(file, "utf16", ' is in UTF-16; save it again as "CSV UTF-8" and import that')
    heading = content[:_BEGINNING].partition(b"\n")[0]
    if content.startswith(_NO_TEXT) or b"\x00" in heading:
        told = ' is no text (a workbook, perhaps); save it as "CSV UTF-8" and import that'
        raise BadFile(file, "no_text", told)
    # Line by line, because a row of rubbish must not make mojibake of the others: text in CP932 is
    # hardly ever valid UTF-8.
    telling = [line for line in content.split(b"\n") if not line.isascii()]
    utf8 = sum(_is_utf8(line) for line in telling)
    if 2 * utf8 >= len(telling):
        return content.decode("utf-8-sig", "replace"), "utf-8"
    return content.decode("cp932", "replace"), "cp932"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def table_in(content: bytes, file: Path, shape: Shape, most: int | None = None) -> Table:
    """A file's rows after its heading. `BadFile` when the heading does not name the columns, and for more
    than ``most`` rows."""
    text, encoding = text_of(content, file)
    # Not splitlines(): a stray U+2028 in a name must not make two rows of it.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not any(line.strip() for line in lines):
        raise BadFile(file, "empty", f" is empty; its first line must be {shape.wanted}")
    columns = _columns(_cells(lines[0]) or [], file, shape)
    numbered = ((number, line) for number, line in enumerate(lines[1:], start=2) if line.strip(" \t,"))
    numbered = ((number, line) for number, line in numbered if not _is_end(line))
    filled = list(numbered if most is None else islice(numbered, most + 1))
    if most is not None and len(filled) > most:
        raise BadFile(file, "rows", f" has more than {most:,} rows; split it", f"{most:,}")
    return Table(lines[0], tuple(_row(number, line, columns, shape) for number, line in filled), encoding)


def failures_file(table: Table, refused: Iterable[tuple[Row, str]]) -> bytes:
    """The refused rows as a file of the same kind, each with its reason in front, for whoever mends them.

    In front, because a row may be refused for how its end is written. Read again, the reasons are ignored.
    As it came: CP932, or UTF-8, with the mark that Excel knows it by.
    """
    heading = _cells(table.heading) or []
    known = bool(heading) and _meant(heading[0]) in REASON
    written = [table.heading if known else f"{REASON[0]},{table.heading}"]
    for row, reason in refused:
        # Mended, imported and refused again: one reason, the new one.
        rest = _FIRST_CELL.sub("", row.text, count=1) if known else row.text
        written.append(f"{_quoted(reason)},{rest}")
    text = "".join(line + "\r\n" for line in written)
    if table.encoding == "cp932":
        return text.encode("cp932", "replace")
    return codecs.BOM_UTF8 + text.encode()


def payload_of(table: Table, file: str, lines: Collection[int]) -> dict[str, Any]:
    """Some lines of a file as a proposal has them, with what makes a file of them again."""
    rows = [
        {"line": row.line, "given": dict(row.given), "text": row.text}
        for row in table.rows
        if row.line in lines
    ]
    return {"file": file, "heading": table.heading, "encoding": table.encoding, "rows": rows}


def table_again(payload: Mapping[str, Any]) -> Table:
    """The table that `payload_of` was given, with the lines that were taken."""
    rows = tuple(Row(each["line"], each["text"], each["given"]) for each in payload["rows"])
    return Table(payload["heading"], rows, payload["encoding"])


def _is_end(line: str) -> bool:
    """Whether it is the last line of an export, which is no row."""
    return line.lstrip('"').startswith(ENDS)


def _quoted(text: str) -> str:
    made = io.StringIO()
    csv.writer(made, quoting=csv.QUOTE_ALL, lineterminator="").writerow([text])
    return made.getvalue()


def _meant(heading: str) -> str:
    return "".join(folded(heading).split()).lower()


def _columns(heading: Sequence[str], file: Path, shape: Shape) -> list[str]:
    """The column of each cell; "" for those that are not read."""
    names = {_meant(word): column for column, words in shape.columns.items() for word in words}
    told = {_meant(word): name for name, words in shape.told.items() for word in words}
    ignored = {"", *REASON, *told}
    words = [_meant(word) for word in heading]
    found = [names.get(word, "") for word in words]
    read = [column for column in found if column]
    unknown = [word for word, name in zip(heading, words, strict=True) if name not in names.keys() | ignored]
    missing = [column for column in shape.required if column not in found]
    if unknown or missing or len(set(read)) != len(read):
        wrong = [*(f"unknown {word[:40]!r}" for word in unknown[:5]), *(f"missing {m}" for m in missing)]
        about = ", ".join(wrong) or "a column twice"
        raise BadFile(file, "heading", f": the first line must be {shape.wanted} ({about})", about)
    # Excel writes a comma for every column that was ever touched: without a heading it is empty.
    return [
        f"-{told[name]}" if name in told else "-" if name in REASON else column
        for name, column in zip(words, found, strict=True)
    ]


def _row(number: int, line: str, columns: Sequence[str], shape: Shape) -> Row:
    problem, cells = None, _cells(line)
    if len(line) > _LONGEST_LINE:
        problem = f"longer than {_LONGEST_LINE} characters"
    elif cells is None:
        problem = "not a CSV row: a quote is not closed on its line"
    elif _UNREADABLE in line:
        problem = "characters in no known encoding"
    elif (problem := _misplaced(cells, columns)) is None:
        named = zip(columns, cells, strict=False)
        told = {column: meant(cell.strip()).strip() for column, cell in named if column}
        if folded(told.get(f"-{_STATE}", "")).lower() in _STOPPED:
            return Row(number, line, {}, Refusal("user_disabled", field=_STATE, detail=_IS_STOPPED))
        given = {column: cell for column, cell in told.items() if not column.startswith("-")}
        for column, words in shape.values.items():
            value = folded(given.get(column, "")).strip().lower()
            given[column] = words.get(value, value)
        return Row(number, line, given)
    return Row(number, line, {}, Refusal("invalid_input", detail=problem))


def _misplaced(cells: Sequence[str], columns: Sequence[str]) -> str | None:
    """Why the cells do not stand under the headings; None if they do."""
    named = len(columns)
    while named and not columns[named - 1]:
        named -= 1
    beyond = [place for place, cell in enumerate(cells) if cell.strip() and not _heading_of(place, columns)]
    # A comma too many at the end of a row means nothing; one too few may have shifted the others.
    if len(cells) < named or (beyond and beyond[-1] >= named):
        return f"{len(cells)} cells, but the first line names {named} columns"
    if beyond:
        return f"cell {beyond[0] + 1} has no heading"
    return None


def _heading_of(place: int, columns: Sequence[str]) -> str:
    return columns[place] if place < len(columns) else ""


def _cells(line: str) -> list[str] | None:
    """The cells of one line; None when it is not CSV by itself, or too long to be a row."""
    if len(line) > _LONGEST_LINE:
        return None
    try:
        parsed = list(csv.reader([line], strict=True))
    except csv.Error:
        return None
    return parsed[0] if len(parsed) == 1 else None
