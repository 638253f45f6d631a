"""``user import``: every row has its result, a bad one takes no other with it, and a rerun is harmless."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Shell

_HEAD = "policy_number,name,mail,user_id,role,notice_by\n"


def _import(shell: Shell, content: str | bytes, *options: str) -> Ran:
    file = shell.data.parent / "users.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return shell("user", "import", str(file), *options)


def _results(ran: Ran) -> list[tuple[int, str, str]]:
    return [(row["line"], row["result"], row["field"]) for row in ran.value["rows"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings(peopled: Shell, encoding: str, newline: str) -> None:
    """UTF-8 with or without BOM and CP932, as Excel writes them, with Japanese headings and values."""
    text = "証券番号,氏名,メールアドレス,権限,通知方法\n12345678,厚生 花子,hanako@example.jp,管理者,はがき\n"
    done = _import(peopled, text.replace("\n", newline).encode(encoding))
    assert (done.code, done.value["import"]["added"]) == (0, 1)
    user = next(u for u in peopled("user", "list").value["users"] if u["name"] == "厚生 花子")
    assert (user["role"], user["notice_by"]) == ("admin", "postcard")


def test_a_new_address_of_somebody_recorded(peopled: Shell) -> None:
    """E13: an import adds and never changes; for the same person it says what does."""
    heading = "policy_number,name,mail,user_id\n"
    moved = _import(peopled, (heading + "12345678,年金 太郎,new@example.jp,K12345678\n").encode()).value[
        "rows"
    ]
    command = "sekisho user change K12345678 --mail new@example.jp"
    assert (moved[0]["result"], command in moved[0]["reason"]) == ("refused", True)
    other = _import(peopled, (heading + "12345678,年金 次郎,new@example.jp,K12345678\n").encode()).value[
        "rows"
    ]
    assert other[0]["reason"] == "user ID K12345678 is another person's"
    assert peopled("user", "show", "K12345678").value["user"]["mail"] == "taro@example.jp"


@pytest.mark.parametrize(
    ("word", "role"), [("利用者", "member"), ("一般", "member"), ("管理者", "admin"), ("", "member")]
)
def test_roles_go_by_the_portals_names(peopled: Shell, word: str, role: str) -> None:
    """What the portal calls a role is a role in the file."""
    text = f"証券番号,氏名,メールアドレス,権限\n12345678,厚生 花子,hanako@example.jp,{word}\n"
    assert _import(peopled, text.encode()).value["import"]["added"] == 1
    users = peopled("user", "list").value["users"]
    assert [each["role"] for each in users if each["name"] == "厚生 花子"] == [role]


def test_unicode_text_of_excel_is_told_apart(peopled: Shell) -> None:
    """UTF-16 is refused by its name, and another heading with the names of all columns."""
    refused = _import(peopled, "証券番号,氏名,メールアドレス\n".encode("utf-16"))
    assert refused.error["message"].endswith('is in UTF-16; save it again as "CSV UTF-8" and import that')
    semicolons = _import(peopled, "証券番号;氏名;メールアドレス\n").error["message"]
    assert "証券番号,氏名,メールアドレス[,ユーザーID,権限,通知方法], with commas" in semicolons


def test_hostile_rows_lose_nothing(peopled: Shell) -> None:
    """Each bad row is refused by itself and named; the good ones around it are added."""
    rows = [
        "12345678,A,a@example.jp,KA001,,",
        '12345678,"unclosed,b@example.jp,KB001,,',
        "12345678,C,c@example.jp",
        "12345678,D,not a mail,KD001,,",
        "99999999,E,e@example.jp,KE001,,",
        "12345678,F\x00,f@example.jp,KF001,,",
        "12345678,G,g@example.jp,lower,,",
        "12345678,H,h@example.jp,KH001,root,",
        "12345678,I,i@example.jp,K12345678,,",
        "12345678," + "J" * 5_000 + ",j@example.jp,KJ001,,",
        "12345678,=cmd|'/C calc'!A0,l@example.jp,KL001,,",
        "12345678,M,m@example.jp,KM001,,",
        "12345678,N,n@example.jp,KM001,,",
    ]
    done = _import(peopled, _HEAD + "\n".join(rows))
    assert done.code == 1
    assert _results(done) == [
        (2, "added", ""),
        (3, "refused", ""),
        (4, "refused", ""),
        (5, "refused", "mail"),
        (6, "refused", "policy_number"),
        (7, "refused", "name"),
        (8, "refused", "user_id"),
        (9, "refused", "role"),
        (10, "refused", "user_id"),
        (11, "refused", ""),
        (12, "added", ""),
        (13, "added", ""),
        (14, "refused", "user_id"),
    ]
    ids = {each["user_id"] for each in peopled("user", "list").value["users"]}
    assert ids == {"K12345678", "KA001", "KL001", "KM001"}


def test_bytes_in_no_encoding_lose_their_row_only(peopled: Shell) -> None:
    """One row of rubbish bytes is refused; its neighbours are added."""
    content = _HEAD.encode() + "12345678,良,a@example.jp,KA001,,\n".encode()
    content += b"12345678,\xff\xfe\x80,b@example.jp,KB001,,\n" + "12345678,優,c@example.jp,KC001,,\n".encode()
    assert _results(_import(peopled, content)) == [(2, "added", ""), (3, "refused", ""), (4, "added", "")]


def test_rerun_is_harmless(peopled: Shell) -> None:
    """The same file again adds nobody and queues nothing, with and without user IDs; so does a row twice."""
    text = _HEAD + "12345678,A,a@example.jp,,,\n12345678,B,b@example.jp,KB001,,\n12345678,A,a@example.jp,,,\n"
    assert [row[1] for row in _results(_import(peopled, text))] == ["added", "added", "exists"]
    letters = len(peopled("mail", "list").value["mails"])
    again = _import(peopled, text)
    assert (again.code, [row[1] for row in _results(again)]) == (0, ["exists"] * 3)
    assert len(peopled("mail", "list").value["mails"]) == letters


def test_dry_run_does_nothing(peopled: Shell) -> None:
    """A dry run gives the same verdicts and records nobody."""
    text = _HEAD + "12345678,A,a@example.jp,KA001,,\n12345678,B,,KB001,,\n"
    dry = _import(peopled, text, "--dry-run")
    assert _results(dry) == [(2, "would_add", "KA001"[:0]), (3, "refused", "mail")]
    assert len(peopled("user", "list").value["users"]) == 1


@pytest.mark.parametrize(
    ("heading", "wrong"),
    [
        ("policy_number,name\n", "missing mail"),
        ("policy_number,name,mail,password\n", "unknown 'password'"),
        ("policy_number,name,mail,mail\n", "a column twice"),
        ("", "missing policy_number"),
        ("PK\x03\x04\n", "missing policy_number"),
    ],
)
def test_headings(peopled: Shell, heading: str, wrong: str) -> None:
    """A first line that does not name the columns is refused before any row, with the line to write."""
    refused = _import(peopled, heading + "12345678,A,a@example.jp\n")
    assert (refused.code, refused.error["code"]) == (1, "config")
    assert wrong in refused.error["message"]
    assert "policy_number,name,mail[,user_id,role,notice_by]" in refused.error["message"]


def test_missing_file(peopled: Shell, tmp_path: Path) -> None:
    """A file that is not there is named."""
    refused = peopled("user", "import", str(tmp_path / "none.csv"))
    assert "none.csv cannot be read" in refused.error["message"]
