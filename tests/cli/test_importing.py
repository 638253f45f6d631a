"""``user import``: every row has its result, a bad one takes no other with it, and a rerun is harmless."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enroll.people import sameness
from tests.cli.conftest import Ran, Shell
from tests.datadirs import PASSPHRASE
from tests.started import started

_HEAD = "policy_number,name,mail,user_id,role,notice_by\n"


def _import(shell: Shell, content: str | bytes, *options: str) -> Ran:
    file = shell.data.parent / "users.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return shell("user", "import", str(file), *options)


def _results(ran: Ran) -> list[tuple[int, str, str]]:
    return sorted((row["line"], row["result"], row["field"]) for row in ran.value["rows"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings(peopled: Shell, encoding: str, newline: str) -> None:
    """UTF-8 with or without BOM and CP932, as Excel writes them, with Japanese headings and values."""
    text = "証券番号,氏名,メールアドレス,権限,通知方法,言語\n"
    text += "12345678,厚生 花子,hanako@example.jp,管理者,はがき,英語\n"
    done = _import(peopled, text.replace("\n", newline).encode(encoding))
    assert (done.code, done.value["import"]["added"]) == (0, 1)
    user = next(u for u in peopled("user", "list").value["users"] if u["name"] == "厚生 花子")
    assert (user["role"], user["notice_by"], user["language"]) == ("admin", "postcard", "en")


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
    named = "証券番号,氏名,メールアドレス[,ユーザーID,権限,通知方法,言語,部署,UPN,フリガナ,"
    named += "郵便番号,都道府県,市区町村,町名番地,建物名,宛名]"
    assert f"{named}, with commas" in semicolons


def test_hostile_rows_lose_nothing(peopled: Shell) -> None:
    """Each bad row is refused by itself and named; the good ones around it are added."""
    rows = [
        "12345678,A,a@example.jp,KA001,,",
        '12345678,"unclosed,b@example.jp,KB001,,',
        "12345678,C,c@example.jp",
        "12345678,D,not a mail,KD001,,",
        "99999999,E,e@example.jp,KE001,,",
        "12345678,F\x00,f@example.jp,KF001,,",
        "12345678,G,g@example.jp,K_01,,",
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
    ("content", "wrong"),
    [
        (b"", "is empty; its first line must be policy_number,name,mail["),
        (b"\xef\xbb\xbf\r\n \r\n", "is empty; its first line must be"),
        (
            b"PK\x03\x04\n12345678,A,a@example.jp\n",
            'is no text (a workbook, perhaps); save it as "CSV UTF-8"',
        ),
        (b"policy\x00number,name,mail\n", "is no text"),
    ],
)
def test_what_is_no_csv(peopled: Shell, content: bytes, wrong: str) -> None:
    """An empty file, a workbook and other bytes are called what they are, with what to do."""
    refused = _import(peopled, content)
    assert (refused.code, refused.error["code"]) == (1, "config")
    assert wrong in refused.error["message"]


@pytest.mark.parametrize(
    ("heading", "wrong"),
    [
        ("policy_number,name\n", "missing mail"),
        ("policy_number,name,mail,password\n", "unknown 'password'"),
        ("policy_number,name,mail,mail\n", "a column twice"),
        ("policy_number,name,mail" + "," * 4_096, "missing policy_number"),
    ],
)
def test_headings(peopled: Shell, heading: str, wrong: str) -> None:
    """A first line that does not name the columns is refused before any row, with the line to write."""
    refused = _import(peopled, heading + "12345678,A,a@example.jp\n")
    assert (refused.code, refused.error["code"]) == (1, "config")
    assert wrong in refused.error["message"]
    named = "policy_number,name,mail[,user_id,role,notice_by,language,department,principal,reading,"
    named += "postal_code,prefecture,city,street,building,addressee]"
    assert named in refused.error["message"]


def test_missing_file(peopled: Shell, tmp_path: Path) -> None:
    """A file that is not there is named."""
    refused = peopled("user", "import", str(tmp_path / "none.csv"))
    assert "none.csv cannot be read" in refused.error["message"]


_NFC = "証券番号,氏名,メールアドレス\r\n12345678,ガギ バパ,nfc@example.jp\r\n"


@pytest.mark.parametrize(
    "row",
    [
        "12345678,\u30ab\u3099\u30ad\u3099 \u30cf\u3099\u30cf\u309a,nfc@example.jp",
        "12345678,ガギ バパ,NFC@Example.jp",
        "12345678,ｶﾞｷﾞ　ﾊﾞﾊﾟ,nfc@EXAMPLE.JP",
        "１２３４５６７８,ガギバパ,ｎｆｃ＠ｅｘａｍｐｌｅ．ｊｐ",
        "12345678,\u200bガギ バパ\u202c,\ufeffnfc@example.jp",
        "1234\u00ad5678,ガギ  バパ ,nfc@example.jp",
    ],
)
def test_the_same_person_however_typed(peopled: Shell, row: str) -> None:
    """Another encoding of a name, or the domain in other letters, is "exists" and never a second user."""
    made = _import(peopled, _NFC).value["rows"][0]
    again = _import(peopled, _NFC.splitlines()[0] + "\n" + row + "\n").value["rows"][0]
    assert (again["result"], again["user_id"]) == ("exists", made["user_id"])
    twice = _import(
        peopled, _NFC + row.replace("nfc", "two").replace("ｎｆｃ", "two").replace("NFC", "TWO"), "--alike"
    )
    assert twice.value["import"]["added"] == 1


def test_another_person_is_added(peopled: Shell) -> None:
    """高 and 髙 are two people, and so are two mailboxes."""
    text = "証券番号,氏名,メールアドレス\n12345678,高橋,a@example.jp\n12345678,髙橋,a@example.jp\n"
    assert _import(peopled, text + "12345678,高橋,b@example.jp\n", "--alike").value["import"]["added"] == 3


def test_a_name_or_an_address_of_somebody_else(peopled: Shell, tmp_path: Path) -> None:
    """Of a user, or of an earlier row: refused, written to be looked at, and added once it is meant."""
    text = "証券番号,氏名,メールアドレス\n12345678,高橋,a@example.jp\n12345678,鈴木,A@example.jp\n"
    text += "12345678,高橋,b@example.jp\n12345678,山田,taro@example.jp\n12345678,佐藤,c@example.jp\n"
    file = tmp_path / "refused.csv"
    done = _import(peopled, text, "--failures", str(file))
    assert (done.code, done.value["import"]["added"], done.value["import"]["refused"]) == (1, 2, 3)
    reasons = {each["line"]: each["reason"] for each in done.value["rows"] if each["result"] == "refused"}
    assert reasons == {
        3: "the same mail address as line 2",
        4: "the same name as line 2",
        5: "the same mail address as K12345678 (年金 太郎, taro@example.jp)",
    }
    told = [(each["action"], each["subject"]) for each in peopled("audit", "show").value["audit"]]
    # Whose name and address the last reason says; the first ones are of rows alone.
    assert ("person.seen", "K12345678") in told
    assert ("export.ended", "refused-rows") in told
    again = _import(peopled, file.read_text("utf-8-sig"), "--alike")
    assert again.value["import"]["added"] == 3


def test_the_same_person_in_one_file(peopled: Shell) -> None:
    """A row that repeats an earlier one of the file in another spelling is found, with the ID of that."""
    text = "証券番号,氏名,メールアドレス\n12345678,ガギ,a@example.jp\n12345678,ｶﾞｷﾞ,A@EXAMPLE.JP\n"
    first, second = sorted(_import(peopled, text).value["rows"], key=lambda row: int(row["line"]))
    assert (first["result"], second["result"]) == ("added", "exists")
    assert second["user_id"] == first["user_id"] != ""


def test_commas_without_a_heading(peopled: Shell) -> None:
    """Excel's empty columns, at the end or between, are ignored; a cell that stands in one is refused."""
    text = (
        "証券番号,氏名,,メールアドレス,,\r\n12345678,高橋,,a@example.jp,,\r\n12345678,高橋,,b@example.jp\r\n"
    )
    assert _import(peopled, text, "--alike").value["import"]["added"] == 2
    lost = _import(peopled, text.splitlines()[0] + "\n12345678,高橋,x,c@example.jp,,\n").value["rows"][0]
    assert (lost["result"], lost["reason"]) == ("refused", "cell 3 has no heading")
    beyond = _import(peopled, "証券番号,氏名,メールアドレス,,\n12345678,高橋,c@example.jp,,x\n").value[
        "rows"
    ][0]
    assert beyond["reason"] == "5 cells, but the first line names 3 columns"


def test_invisible_characters_are_taken_off(peopled: Shell) -> None:
    """Zero-width spaces and marks of direction, as mails and web pages leave them, are not recorded."""
    text = "証券番号,氏名,メールアドレス\n12345678,高橋\u200b太郎,b@example.jp\n"
    text += "12345678,高橋,\u200bc@example.jp\n12345678,\u202a高橋\u202c,d@example.jp\n"
    assert _import(peopled, text, "--alike").value["import"]["added"] == 3
    users = peopled("user", "list").value["users"]
    added = {(each["name"], each["mail"]) for each in users if each["user_id"] != "K12345678"}
    assert added == {("高橋太郎", "b@example.jp"), ("高橋", "c@example.jp"), ("高橋", "d@example.jp")}


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("12345678,高\x07橋,a@example.jp,", "name", "character 2 of name is U+0007"),
        ("12345678,高橋,a\u2212b@example.jp,", "mail", "character 2 of mail is U+2212 MINUS SIGN"),
        ("12345678,高橋,a@example.jp,K\u30fc123", "user_id", "character 2 of user_id is U+30FC KATAKANA-"),
        ("1234\u30025678,高橋,a@example.jp,", "policy_number", "character 5 of policy_number is U+3002 IDEO"),
    ],
)
def test_a_character_is_named(peopled: Shell, row: str, column: str, reason: str) -> None:
    """What is not taken off is told by column, place and code point: it may look like another character."""
    done = _import(peopled, f"証券番号,氏名,メールアドレス,ユーザーID\n{row}\n").value["rows"][0]
    assert (done["result"], done["field"]) == ("refused", column)
    assert reason in done["reason"]


def test_names_are_stored_composed(peopled: Shell) -> None:
    """NFC, and otherwise as typed: a variation selector chooses the form in which the name is shown."""
    text = "証券番号,氏名,メールアドレス\n12345678,\u30cf\u309a\u8fbb\U000e0101,A@Example.JP\n"
    assert _import(peopled, text).code == 0
    user = next(u for u in peopled("user", "list").value["users"] if u["user_id"] != "K12345678")
    assert (user["name"], user["mail"]) == ("\u30d1\u8fbb\U000e0101", "A@example.jp")
    assert sameness.name_key(user["name"]) == "\u30d1\u8fbb"
    assert "name_key" not in user


def test_failures_can_be_imported_again(peopled: Shell, tmp_path: Path) -> None:
    """The refused rows stand in a file of the same kind with their reasons; mended, it is imported."""
    failures = tmp_path / "failures.csv"
    text = "証券番号,氏名,メールアドレス\n12345678,良,a@example.jp\n99999999,優,b@example.jp\n"
    text += '12345678,"unclosed,c@example.jp\n12345678,"名, 前",nomail\n'
    done = _import(peopled, text, "--failures", str(failures))
    assert [row["result"] for row in done.value["rows"]] == ["refused"] * 3 + ["added"]
    written = failures.read_text("utf-8-sig").splitlines()
    assert written[0] == "reason,証券番号,氏名,メールアドレス"
    assert written[1] == '"the organisation (証券番号) is not known here",99999999,優,b@example.jp'
    assert written[2].endswith(',12345678,"unclosed,c@example.jp')
    # As it is, the same rows are refused again, and each still has one reason.
    assert peopled("user", "import", str(failures), "--failures", str(tmp_path / "2.csv")).code == 1
    assert (tmp_path / "2.csv").read_bytes() == failures.read_bytes()
    mended = failures.read_text("utf-8-sig").replace("99999999", "12345678").replace('"unclosed', "C")
    failures.write_text(mended.replace("nomail", "d@example.jp"), "utf-8")
    assert peopled("user", "import", str(failures)).value["import"]["added"] == 3
    assert failures.stat().st_mode & 0o077 == 0
    assert peopled("user", "import", str(failures), "--failures", str(failures)).error["code"] == "config"


def test_failures_come_first(peopled: Shell) -> None:
    """Of many rows those refused are shown first, and those that went well are counted."""
    rows = [f"12345678,N{number},n{number}@example.jp" for number in range(300)]
    text = "証券番号,氏名,メールアドレス\n" + "\n".join([*rows, "12345678,Z,nomail"])
    file = peopled.data.parent / "users.csv"
    file.write_text(text)
    shown = peopled("user", "import", str(file), "--dry-run", json_output=False)
    assert "refused" in shown.out.splitlines()[1]
    assert "(100 more rows went well; --json lists them)" in shown.out
    assert "refused: 1" in shown.out.splitlines()[-1]


def test_progress_is_told_without_a_terminal(peopled: Shell) -> None:
    """A line every 500 rows on standard error, whatever that is; a small file needs none."""
    rows = [f"12345678,N{number},n{number}@example.jp" for number in range(1_000)]
    text = "証券番号,氏名,メールアドレス\n" + "\n".join(rows)
    lines = _import(peopled, text, "--dry-run").err.splitlines()
    assert [line.partition(";")[0] for line in lines] == [
        "500 of 1,000 rows, 0 refused", "1,000 of 1,000 rows, 0 refused",
    ]  # fmt: skip
    assert _import(peopled, "証券番号,氏名,メールアドレス\n" + rows[0], "--dry-run").err == ""


def test_letters_are_held_and_released(peopled: Shell) -> None:
    """--hold-letters: nothing of the import leaves until it is released; other letters do."""
    text = "証券番号,氏名,メールアドレス\n12345678,A,a@example.jp\n12345678,B,b@example.jp\n"
    done = _import(peopled, text, "--hold-letters").value["rows"]
    assert peopled("mail", "deliver").value == {"delivered": 2, "waiting": 0, "held": 4, "refused": []}
    first = done[0]["user_id"]
    letters = peopled("mail", "list", "--user", first).value["mails"]
    assert [each["held_at"] is not None for each in letters] == [True, True]
    assert peopled("mail", "release", "--user", first).value == {"released": 2, "held": 2}
    assert peopled("mail", "deliver").value == {"delivered": 2, "waiting": 0, "held": 2, "refused": []}
    assert peopled("mail", "release").value == {"released": 2, "held": 0}
    assert peopled("mail", "release").value == {"released": 0, "held": 0}
    assert peopled("mail", "deliver").value == {"delivered": 2, "waiting": 0, "held": 0, "refused": []}
    assert peopled("mail", "release", "--user", "nobody").error["field"] == "user_id"
    assert "letters.released" in {each["action"] for each in peopled("audit", "show").value["audit"]}


def test_organisations_are_imported(peopled: Shell, tmp_path: Path) -> None:
    """The same for organisations: by 証券番号, a rerun adds none, another name is a conflict."""
    file = tmp_path / "orgs.csv"
    text = "証券番号,団体名,台数,パスワード通知方法,郵便番号,都道府県,市区町村,町名番地\n"
    text += "20000001,甲社,2,管理者,0600001,北海道,札幌市,北一条1\n２０００ー０００２,乙社,,,,,,\n"
    text += "20000003,丙社,many,,,,,\n12345678,別の名,,,,,,\n20000004,丁社,1,fax,,,,\n"
    file.write_text(text + "20000005,戊社,,,,東京都,港区,1\n")
    done = peopled("org", "import", str(file), "--failures", str(tmp_path / "failures.csv"))
    assert (done.code, done.value["import"]["added"]) == (1, 2)
    found = sorted((row["line"], row["result"], row["field"]) for row in done.value["rows"])
    assert found == [
        (2, "added", ""), (3, "added", ""), (4, "refused", "lineages"), (5, "refused", "policy_number"),
        (6, "refused", "issue_password_by"), (7, "refused", "postal_code"),
    ]  # fmt: skip
    assert (
        "sekisho org change 12345678 --name"
        in next(r for r in done.value["rows"] if r["line"] == 5)["reason"]
    )
    listed = {each["policy_number"]: each for each in peopled("org", "list").value["organisations"]}
    assert (listed["20000001"]["lineages"], listed["20000001"]["issue_password_by"]) == (2, "admin")
    assert (listed["2000-0002"]["name"], listed["20000001"]["postal_code"]) == ("乙社", "060-0001")
    again = peopled("org", "import", str(file)).value["import"]
    assert (again["added"], again["exists"], again["refused"]) == (0, 2, 4)


@pytest.mark.slow
def test_a_killed_import_goes_on(peopled: Shell, tmp_path: Path) -> None:
    """kill -9 in the middle: what was recorded stays whole, and the same command records the rest, once."""
    file = tmp_path / "many.csv"
    rows = [f"12345678,N{number},n{number}@example.jp" for number in range(1_500)]
    file.write_text("policy_number,name,mail\n" + "\n".join(rows) + "\n")
    environment = {**os.environ, "SEKISHO_DATA": str(peopled.data), "SEKISHO_PASSPHRASE": PASSPHRASE}
    words = [Path(sys.executable).with_name("sekisho"), "user", "import", str(file)]
    with started(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        assert running.stderr is not None
        # Its first line of progress: 500 rows are done, and hardly more.
        assert running.stderr.readline().startswith(b"500 of 1,500 rows")
        running.kill()
    before = len(peopled("user", "list").value["users"])
    assert 500 < before <= 1_501
    done = peopled("user", "import", str(file)).value["import"]
    assert (done["exists"], done["added"], done["refused"]) == (before - 1, 1_501 - before, 0)
    assert len(peopled("mail", "list", "--limit", "5000").value["mails"]) == 2 * 1_501


def test_what_is_exported_is_imported_elsewhere(peopled: Shell, ready: Path, tmp_path: Path) -> None:
    """Organisations and users as files that another directory takes as the same ones; who is disabled stays
    behind, as do the users of what is."""
    for words in (
        ("org", "add", "20000001", '"甲", 乙社', "--lineages", "3", "--issue-password-by", "admin"),
        ("org", "add", "20000002", "丙社"),
        ("user", "add", "20000001", "=1+1", "x@example.jp", "--user-id", "KFIRST", "--role", "admin"),
        ("user", "add", "20000001", "丁", "d@example.jp", "--user-id", "KGONE", "--language", "en"),
        ("user", "add", "20000002", "戊", "e@example.jp", "--user-id", "KCLOSED"),
        ("user", "disable", "KGONE"),
        ("org", "disable", "20000002"),
    ):
        assert peopled(*words).code == 0, words
    orgs, people = tmp_path / "orgs.csv", tmp_path / "people.csv"
    for file, name, lang in ((orgs, "organisations", "ja"), (people, "users", "en")):
        words = ("export", name, "--filter", "state=active", "--lang", lang)
        file.write_text(peopled(*words, json_output=False).out, newline="")
    shutil.copytree(ready, tmp_path / "other")
    other = Shell(tmp_path / "other")
    assert other("org", "import", str(orgs)).value["import"]["added"] == 2
    assert other("user", "import", str(people)).value["import"]["added"] == 2
    for listed, names in (("org", ("lineages", "issue_password_by")), ("user", ("role", "language", "mail"))):
        key = {"org": "organisations", "user": "users"}[listed]
        there = {each["name"]: [each[name] for name in names] for each in other(listed, "list").value[key]}
        here = {each["name"]: [each[name] for name in names] for each in peopled(listed, "list").value[key]}
        assert there == {name: here[name] for name in there}
        assert len(there) == 2
