"""取込 at the console: a file is sent, looked through, proposed with a reason, decided, and done by a job."""

from __future__ import annotations

import asyncio
import io
import zipfile

import pytest

from enroll import store
from enroll.characters import folded
from enroll.jobs import running
from enroll.operators.roles import Role
from enroll.people import csvfile, register
from gateway.sites.console import importing
from gateway.web import undecided, uploads
from tests.gateway.sites.kit import Page, Served
from tests.gateway.sites.test_console import Office, Person, office, visited  # noqa: F401  a fixture
from tests.looking import look

NEW = "/imports/new"
_HEAD = "証券番号,氏名,メールアドレス\n"
_ROWS = (
    f"{_HEAD}12345678,甲 一,a@x.jp\n99999999,=乙 二,b@x.jp\n"
    "12345678,𠮷田 三郎,c@x.jp\n12345678,丁\x07 四,d@x.jp\n"
)


async def _registrar(office: Office) -> Person:  # noqa: F811
    await register.add_organisation(office.served.ra, "12345678", "霞が関商事", actor="test")
    return await office.admit("registrar", Role.REGISTRAR)


async def _send(by: Person, content: bytes, name: str = "people.csv", **fields: str) -> Page:
    return await by.at.upload(NEW, {"kind": "user.import", **fields}, (name, content))


def _users(served: Served) -> dict[str, str]:
    return {each.mail: each.name for each in store.users(look(served.ra.database))}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
async def test_a_file_on_its_way(office: Office, encoding: str) -> None:  # noqa: F811
    """O11: looked through nothing is recorded, each refused row says why and comes back as the same CSV;
    with a reason it is a proposal, approved a job, and its rows are users: the file was sent once."""
    registrar, served = await _registrar(office), office.served
    # What may stand in a column is said, with what an empty cell means, and is what the file is read by.
    asked = (await registrar.at.get("/imports/new")).main.text
    assert "権限：利用者・管理者（空欄は最初のもの）" in asked
    for shape in (csvfile.USERS, csvfile.ORGANISATIONS):
        for (heading, _), (words, _) in importing._written(shape):
            assert f"{heading}：{words}" in asked
            (column,) = [name for name, called in shape.columns.items() if heading in called]
            read = [shape.values[column][folded(each).strip().lower()] for each in words.split("・")]
            assert sorted(read) == sorted(set(shape.values[column].values()))
            assert read[0] == shape.values[column][""]
    approver = await office.admit("approver", Role.APPROVER)
    seen = await _send(registrar, _ROWS.encode(encoding), hold_letters="1")
    assert (seen.status, seen.h1) == (200, "取込の確認：people.csv")
    facts = dict(seen.main.table())
    assert facts["登録できる行"] == "2行"
    assert facts["エラーの行"].startswith("2行")
    rows = seen.main.table(1)
    assert [row[0] for row in rows[1:]] == ["3", "5"]
    assert rows[1][1].startswith("証券番号：この証券番号の団体は登録されていません")
    assert "name is BEL" in rows[2][1] or "U+0007" in rows[2][1]
    assert [row[:3] for row in seen.main.table(2)[1:]] == [
        ["2", "12345678", "甲 一"],
        ["4", "12345678", "𠮷田 三郎"],
    ]
    got = await registrar.at.get(f"{seen.path}/refused")
    assert got.body.startswith("\ufeffreason,証券番号,氏名,メールアドレス\r\n".encode())
    assert got.body.decode().splitlines()[1].endswith(",99999999,=乙 二,b@x.jp")
    assert _users(served) == {}

    again = await registrar.at.post(seen.path, {"reason": " "})
    assert (again.status, again.main.one("div", role="alert").text[:2]) == (422, "起案")
    made = await registrar.at.post(seen.path, {"reason": "4月の新規登録"})
    assert ("起案しました" in made.main.text, "4月の新規登録" in made.main.text) == (True, True)
    assert _users(served) == {}
    assert "起案の内容は保持されていません" not in made.main.text
    # Whoever decides reads every row, and what would come of it.
    page = await approver.at.get(made.path)
    assert [row[:3] for row in page.main.table(2)[1:]] == [
        ["2", "12345678", "甲 一"],
        ["4", "12345678", "𠮷田 三郎"],
    ]
    assert (
        "2 / 2行" in page.main.text,
        "取り込んだ後も、通知が送られるまでは取り消せます" in page.main.text,
    ) == (
        True,
        True,
    )
    gone = await registrar.at.get(seen.path)
    assert (gone.path, gone.status) == (NEW, 422)
    assert "確認した内容は保持されていません" in gone.main.one("div", role="alert").text
    page = await approver.confirm(await approver.at.post(f"{made.path}/approve"))
    (job,) = [a.attributes["href"] for a in page.main.all("a") if "実行の状況を見る" in a.text]
    await running.work(served.ra, "runner")
    assert _users(served) == {"a@x.jp": "甲 一", "c@x.jp": "𠮷田 三郎"}
    done = await registrar.at.get(job)
    assert "2 / 2行" in done.main.text
    ids = {each.user_id for each in store.users(look(served.ra.database))}
    assert {a.attributes["href"] for a in done.main.one("tbody").all("a")} == {
        f"/users/{each}" for each in ids
    }


async def test_a_file_of_excel(office: Office) -> None:  # noqa: F811
    """CP932 with bytes that are none loses that row alone, and the refused come back in CP932; a name with an
    ideographic variation is as good as any; who is there already is told, and not added."""
    registrar = await _registrar(office)
    content = f"{_HEAD}12345678,髙橋 一,a@x.jp\n".encode("cp932") + b"12345678,\xff\xfe\x80,b@x.jp\n"
    seen = await _send(registrar, content)
    assert (dict(seen.main.table())["登録できる行"], seen.main.table(1)[1][0]) == ("1行", "3")
    got = await registrar.at.get(f"{seen.path}/refused")
    assert got.body.decode("cp932").splitlines()[0] == "reason,証券番号,氏名,メールアドレス"
    varied = "葛\U000e0101城 一"
    seen = await _send(registrar, f"{_HEAD}12345678,{varied},a@x.jp\n".encode())
    assert seen.main.table(1)[1][2] == varied
    made = await _send(
        registrar,
        "証券番号,団体名\n12345678,霞が関商事\n20000001,乙社\n".encode(),
        kind="organisation.import",
    )
    facts = dict(made.main.table())
    assert (facts["登録できる行"], facts["登録済みの行"]) == ("1行", "1行（変更しません）")
    proposed = await registrar.at.post(made.path, {"reason": "追加"})
    assert "団体の取込" in proposed.main.text
    twice = await _send(
        registrar,
        "証券番号,団体名\n12345678,霞が関商事\n20000001,乙社\n".encode(),
        kind="organisation.import",
    )
    refused = await registrar.at.post(twice.path, {"reason": "追加"})
    assert "同じ内容の起案がすでに承認を待っています" in refused.main.one("div", role="alert").text


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("people.csv", _ROWS)
    return made.getvalue()


#: What is sent, and what is said of it.
_NOT_OURS: dict[str, tuple[bytes | None, str]] = {
    "none": (None, "CSVファイルを選択してください"),
    "nothing": (b"", "ファイルに何も書かれていません"),
    "a mark alone": (b"\xef\xbb\xbf\r\n", "ファイルに何も書かれていません"),
    "zeroes": (bytes(10_000_000), "ファイルが5MBを超えています"),
    "fewer zeroes": (bytes(1_000_000), "CSVではありません"),
    "zip": (_zip(), "CSVではありません"),
    "UTF-16": (_ROWS.encode("utf-16"), "文字コードがUTF-16です"),
    "10 million columns": (b"," * 9_999_999, "ファイルが5MBを超えています"),
    "5 million columns": (b"," * 4_999_999, "1行目の見出しが違います"),
    "headings": (("見出し," * 300_000).encode(), "1行目の見出しが違います"),
    "a column less": ("証券番号,氏名\n".encode(), "（missing mail）"),
    "a column twice": ("証券番号,氏名,氏名,メールアドレス\n".encode(), "（a column twice）"),
    "a formula": (b"policy_number,name,mail,=1+1\n", "（unknown '=1+1'）"),
    "20,001 rows": (_HEAD.encode() + b"1,a,b\n" * 20_001, "取り込める行数を超えています。分割"),
    "no rows": (_HEAD.encode(), "見出しの下に行がありません"),
}


async def test_what_is_no_file_of_ours(office: Office) -> None:  # noqa: F811
    """Whatever is sent: an answer that says what is wrong, soon, with what was chosen besides; nothing is
    kept."""
    registrar = await _registrar(office)
    for name, (content, said) in _NOT_OURS.items():
        file = None if content is None else ("C:\\fakepath\\people.csv", content)
        async with asyncio.timeout(60):
            page = await registrar.at.upload(NEW, {"kind": "user.import", "alike": "1"}, file)
        assert (page.status, page.path) == (422, NEW), name
        told = page.main.one("div", role="alert").text
        assert (said in told, "まだ何も登録していません" in told) == (True, True), (name, told)
        assert "checked" in page.main.one("input", id="alike").attributes
    assert look(office.served.ra.database).rows("SELECT * FROM uploads") == []


_PART = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
_FILE = 'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nx\r\n'


_ENCODED = "\r\nContent-Encoding: gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
_NO_FORM: dict[str, list[str]] = {
    "two files of a name": [_FILE, _FILE],
    "two files": [_FILE, _FILE.replace('"file"', '"other"')],
    "a field twice": [_PART.format("kind", "user.import")] * 2,
    "a long field": [_PART.format("kind", "x" * 20_000)],
    "a zero": [_PART.format("kind", "x\x00")],
    "many": [_PART.format(f"n{n}", "x") for n in range(30)],
    "no name": ["Content-Disposition: form-data\r\n\r\nx\r\n"],
    "within another": ["Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n"],
    "a long head": ["X: " + "x" * 20_000 + "\r\n\r\nx\r\n"],
    "no head": ["no head at all"],
    "charset": ['Content-Disposition: form-data; name="_charset_"\r\n\r\n' + "x" * 40 + "\r\n"],
    "encoded": [_FILE.replace("\r\n\r\n", _ENCODED)] * 2,
    "no kind": [_FILE],
}


async def test_what_no_form_of_ours_sends(office: Office) -> None:  # noqa: F811
    """Two parts of one name, and whatever else is no such form: bad input, and no fault of ours. A body that
    stops in the middle of a part, too."""
    registrar = await _registrar(office)
    token = _PART.format("token", registrar.at._token(NEW)["token"])
    for name, parts in _NO_FORM.items():
        for end in ("--b--\r\n", "--"):
            body = "".join(f"--b\r\n{part}" for part in [token, *parts]) + end
            headers = {"Content-Type": "multipart/form-data; boundary=b", "Origin": registrar.at.origin}
            async with registrar.at.session.post(
                registrar.at.origin + NEW, data=body.encode(), headers=headers, allow_redirects=False
            ) as got:
                assert (got.status, "入力" in await got.text()) == (422, True), (name, end)
    assert await visited(registrar) == 200


async def test_it_is_the_sessions_alone(office: Office) -> None:  # noqa: F811
    """What was sent is found by whoever sent it, in that session, and by nobody else; sealed, gone with the
    session, and of four files of an operator's the first one gives way."""
    registrar, served = await _registrar(office), office.served
    other = await office.admit("other", Role.REGISTRAR)
    marks = [(await _send(registrar, f"{_HEAD}12345678,甲,a{n}@x.jp\n".encode())).path for n in range(4)]
    assert [(await registrar.at.get(path)).path == path for path in marks] == [False, True, True, True]
    for path in (marks[3], f"{marks[3]}/refused"):
        assert (await other.at.get(path)).path == NEW
    assert (await other.at.post(marks[3], {"reason": "x"})).path == NEW
    rows = look(served.ra.database).rows("SELECT sealed FROM uploads")
    assert (len(rows), any("甲".encode() in row[0] for row in rows)) == (undecided.MOST, False)
    await registrar.at.post("/logout")
    assert look(served.ra.database).rows("SELECT * FROM uploads") == []
    assert (await registrar.log_in()).path == "/"
    assert (await registrar.at.get(marks[3])).path == NEW


async def test_a_file_that_comes_after_the_session(office: Office) -> None:  # noqa: F811
    """It is not carried out, and what was chosen besides comes back after the login: the file has to be
    chosen again, and the page says so. Without the page's token it is not taken at all."""
    from tests.datadirs import clock_of
    from tests.gateway.sites.test_console import MINUTE, options_of

    registrar = await _registrar(office)
    stale = await registrar.at.upload(NEW, {"kind": "user.import", "token": "made up"}, ("a.csv", b"x"))
    assert (stale.status, stale.h1) == (403, "画面を開きなおしてください")
    clock_of(office.served.ra).advance(seconds=16 * MINUTE)
    page = await _send(registrar, bytes(2_000_000), hold_letters="1")
    form = page.main.one("form")
    typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    page = await registrar.at.post("/login", typed | {"answer": registrar.signed(options_of(page))})
    form = page.main.one("form")
    typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    assert (form.attributes["action"], typed["hold_letters"]) == (NEW, "1")
    page = await registrar.at.post(NEW, typed)
    assert "CSVファイルを選択してください" in page.main.one("div", role="alert").text
    assert "checked" in page.main.one("input", id="hold_letters").attributes


async def test_logins_go_on_meanwhile(office: Office) -> None:  # noqa: F811
    """Between the rows of a file others are answered."""
    registrar = await _registrar(office)
    desk = await office.admit("desk", Role.DESK)
    many = _HEAD + "".join(f"12345678,甲 {n},m{n}@x.jp\n" for n in range(3_000))
    sent = asyncio.create_task(_send(registrar, many.encode()))
    answered = 0
    while not sent.done():
        assert await visited(desk) == 200
        answered += 1
    assert dict((await sent).main.table())["登録できる行"] == "3000行"
    # Whoever held the loop from the first row to the last would leave room for one, before it.
    assert answered > 2


def test_how_large_a_file_may_be() -> None:
    """20,000 rows of 250 bytes."""
    assert uploads.LARGEST >= 20_000 * 250
