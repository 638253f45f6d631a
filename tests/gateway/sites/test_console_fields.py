"""What a proposal changes, in words: every field of every kind, in both languages."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from enroll import store
from enroll.hooks import endpoints
from enroll.operators import store as operators
from enroll.operators import viewing
from enroll.operators.kinds import KINDS
from enroll.operators.operating import OF_OPERATORS
from enroll.operators.store import Operator
from enroll.people import applications, changes
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from gateway.sites.console import saying, users
from gateway.sites.console.actwords import ACTS
from gateway.sites.console.fields import EFFECTS
from gateway.sites.console.words import PROPOSALS
from tests.datadirs import POLICY_NUMBER, admit, open_office
from tests.enroll.operators.test_actors import someone
from tests.looking import look

USER = "K12345678"
_PERSON = asdict(Person(POLICY_NUMBER, "厚生 花子", "hanako@example.jp", "KNEW1", department="経理部"))
_OPERATOR = {
    "display": "新人",
    "roles": ["desk"],
    "kind": "person",
    "language": "ja",
    "mail": "",
    "account": "",
    "networks": ["192.0.2.0/24"],
}
_ORGANISATION: dict[str, Any] = {
    "policy_number": "99999999", "name": "新団体", "lineages": 2, "issue_password_by": "admin",
    "profile": "", "country": "JP", "postal_code": "100-0013", "prefecture": "東京都",
    "city": "千代田区", "street": "霞が関1-2-2", "building": "", "addressee": "総務部",
}  # fmt: skip
#: Kind -> what is proposed, as commands and pages do. SERIAL and APPLICATION are put in by the test.
EXAMPLES: dict[str, dict[str, Any]] = {
    "organisation.add": _ORGANISATION,
    "organisation.change": {
        "policy_number": POLICY_NUMBER,
        "changes": {**_ORGANISATION, "policy_number": "88888888"},
    },
    "organisation.disable": {"policy_number": POLICY_NUMBER},
    "organisation.enable": {"policy_number": POLICY_NUMBER},
    "user.add": {"person": _PERSON, "alike": False},
    "organisation.import": {
        "file": "org.csv",
        "rows": [{"line": 2, "given": {"policy_number": "1", "name": "団体"}}],
    },
    "user.import": {
        "file": "users.csv",
        "heading": "証券番号,氏名,メールアドレス",
        "encoding": "cp932",
        "rows": [{"line": n, "given": {"name": f"人{n}"}} for n in range(7)],
        "hold_letters": True,
        "alike": False,
    },
    "user.change": {
        "user_id": USER,
        "changes": {**{name: _PERSON[name] for name in changes.OF_USERS}, "role": "admin"},
        "alike": True,
    },
    "user.disable": {"user_id": USER},
    "user.enable": {"user_id": USER},
    "user.release": {"user_id": USER},
    "user.reset_password": {"user_id": USER},
    "certificate.release": {"serial": "SERIAL"},
    "certificate.revoke": {"serial": "SERIAL", "reason": 1},
    "certificate.revoke.many": {"serial": "SERIAL", "reason": 4},
    "application.approve": {
        "number": "APPLICATION",
        "revoke_old": "never",
        "facts": {"department": "経理部", "principal": "a@corp.example.jp"},
    },
    "application.reject": {"number": "APPLICATION", "note": "署名なし", "rejection": "incomplete"},
    "request.reissue": {"user_id": USER, "reason": "pc_change", "revoke_old": "at_once"},
    "ca.reissue": {"name": "CA G4"},
    "credential.create": {"user_id": USER, "count": 2, "profile": "client-automated", "quota": None},
    "clock.confirm": {},
    "audit.purge": {"user_id": USER},
    "audit.retire": {"before": 86_400},
    "retention.apply": {
        "counts": {"people": 1, "letters": 7},
        "before": {"people": 1, "letters": 2},
        "people": [USER],
        "ranges": {"letters": [3, 900]},
    },
    "import.undo": {"job": 3, "kind": "user.import", "subject": "users.csv: 7 rows"},
    "postcard.batch": {"batch": 7, "letters": [1, 2]},
    "certificate.revoke.bulk": {"serials": [f"{n:04}" for n in range(7)], "reason": 4},
    "campaign.begin": {
        "name": "春の更新",
        "first_at": 1_800_000_000,
        "until_at": None,
        "policy_number": POLICY_NUMBER,
        "issuer_id": "ca-g4",
        "every_days": 7,
    },
    "campaign.end": {"campaign": 3},
    "campaign.remind": {"campaign": 3, "numbers": [4, 5]},
    "campaign.remind.many": {"campaign": 3, "numbers": list(range(60))},
    "operator.add": {"name": "shinjin", **_OPERATOR},
    "operator.change": {"name": "suzuki", "changes": {name: _OPERATOR[name] for name in OF_OPERATORS}},
    "operator.end": {"name": "suzuki"},
    "operator.code": {"name": "suzuki"},
    "webhook.add": {"name": "payroll", "url": "https://hooks.example.jp/", "events": ["*", "request.*"]},
    "webhook.change": {"name": "billing", "changes": {"url": "https://a.example.jp/", "events": ["*"]}},
    "webhook.rotate": {"name": "billing", "at_once": True},
    "webhook.start": {"name": "billing", "skip": True},
    "webhook.end": {"name": "billing"},
    "template.change": {"template": "pickup", "language": "en", "text": "Subject: x\n\ny"},
    "template.reset": {"template": "renewal", "language": "ja"},
}
#: Raw words that people would have to guess at: a name of a field, a code of ours.
_RAW = re.compile(
    r".*\b[a-z]+_[a-z_]+\b.*|.*\b(None|True|False)\b.*|desk|member|admin|postcard|online|paper|submitted|other|ja|en"
)


async def _facts(ra: RegistrationAuthority) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Kind -> payload and what stood there, of somebody who has everything."""
    await admit(ra)
    await ra.database.write(lambda db: operators.add(db, someone("suzuki", "desk", at=ra.now())))
    hosts = replace(ra, settings=replace(ra.settings, webhook_hosts=("hooks.example.jp",)))
    hook = {"name": "billing", "url": "https://hooks.example.jp/in", "events": ["certificate.*"]}
    await endpoints.add(hosts, hook, "test", True)
    (opened,) = store.enrollments_of(look(ra.database), USER)
    made = await applications.apply_reissue(
        ra, USER, "pc_change", channel="paper", actor="operator:suzuki/op"
    )
    found = {}
    for kind, payload in EXAMPLES.items():
        put = {"SERIAL": opened.serial or "1234", "APPLICATION": made.number}
        payload = {
            name: put.get(value, value) if isinstance(value, str) else value
            for name, value in payload.items()
        }
        before = await ra.database.read(lambda db, k=kind, p=payload: KINDS[k].standing(db, ra, p))  # type: ignore[misc]
        found[kind] = (payload, dict(before))
    return found


def test_every_kind_has_its_example() -> None:
    """A new kind says here what is proposed; and one without an effect has fields that differ."""
    assert set(EXAMPLES) == set(KINDS)
    assert set(EFFECTS) <= set(KINDS)


def test_three_words_for_three_things() -> None:
    """Section 3: 失効 is for good, 利用停止 can be taken back and revokes nothing, 取消 takes back an act
    of somebody; no kind or act is called by one of them and is another."""
    revoking = {kind for kind in KINDS if kind.startswith("certificate.revoke")}
    for word, kinds in {
        "失効": {"user.disable", *revoking},
        "利用停止": {"organisation.disable", "user.release", "certificate.release"},
        "取消": {"import.undo"},
    }.items():
        assert {kind for kind in KINDS if word in PROPOSALS[kind][0]} == kinds, word
    held = {"user.held", "user.released", "certificate.held"}
    assert {act for act, (words, _) in ACTS.items() if "利用停止" in words[0]} == held
    assert (users.STATES["stopped"][0], users.STATES["held"][0]) == ("利用終了", "証明書を利用停止中")


async def test_every_field_of_every_kind_has_a_label(tmp_path: Path) -> None:
    """What is proposed and what stood there: each field has a label in both languages, and its value is in
    words, in either."""
    async with open_office(tmp_path) as ra:
        for kind, (payload, before) in (await _facts(ra)).items():
            for field in saying.fields_of(kind, payload, before):
                japanese, english = saying.label_of(kind, field)
                assert (bool(japanese), english.isascii()) == (True, True), (kind, field)
            names = await ra.database.read(lambda db: viewing.names_in(db, payload, before))  # noqa: B023
            different, same = saying.lines(kind, payload, before, names)
            assert different, kind
            for line in (*different, *same):
                for text in (*line.label, *line.now, *line.then):
                    assert _RAW.fullmatch(text) is None, (kind, text)


def test_every_fact_of_a_record_has_a_label() -> None:
    """A field that somebody adds to a record shows up in a proposal: it has to be called something."""
    for kind, record, hidden in (
        ("organisation.change", store.Organisation, set()),
        ("user.change", Person, set()),
        ("application.approve", store.Application, {"person"}),
        ("operator.change", Operator, {"handle"}),
    ):
        for each in fields(record):
            if each.name not in hidden:
                assert all(saying.label_of(kind, each.name)), (kind, each.name)


async def test_a_proposal_in_words(tmp_path: Path) -> None:
    """Old beside new, organisations and people by name and number, roles by name, dates as people write them;
    what stays is apart."""
    async with open_office(tmp_path) as ra:
        found = await _facts(ra)

        async def told(
            kind: str,
        ) -> tuple[dict[str, tuple[str, str]], dict[str, str], dict[str, tuple[str, str]]]:
            payload, before = found[kind]
            names = await ra.database.read(lambda db: viewing.names_in(db, payload, before))
            different, same = saying.lines(kind, payload, before, names)
            return (
                {line.label[0]: (line.now[0], line.then[0]) for line in different},
                {line.label[0]: line.now[0] for line in same},
                {line.label[1]: (line.now[1], line.then[1]) for line in different},
            )

        different, same, english = await told("user.change")
        assert different["氏名"] == ("年金 太郎", "厚生 花子")
        assert different["区分"] == ("利用者", "管理者")
        assert same["利用者"] == f"年金 太郎（{USER}）"
        assert english["Kind of user"] == ("Member", "Administrator")
        assert same["団体"] == f"霞が関商事（{POLICY_NUMBER}）"
        different, _, english = await told("operator.change")
        assert different["表示名"] == ("suzuki", "新人")
        different, same, _ = await told("operator.end")
        assert different["在任"] == ("在任中", "終了（証明書・パスキーも無効）")
        assert re.fullmatch(r"\d{4}年\d+月\d+日（[月火水木金土日]）\d\d:\d\d", same["登録日時"])
        assert same["役割"] == "窓口"
        different, same, _ = await told("application.approve")
        assert different["状態"] == ("決定待ち", "承認（取得の案内を送る）")
        assert different["現在の証明書"] == ("新しい証明書の取得後に失効", "失効しない（2台目以降）")
        assert same["申請者"] == "suzuki（suzuki）"
        different, _, english = await told("user.import")
        assert different["取り込む行"][1] == "7行：人0、人1、人2、人3、人4ほか"
        assert english["Rows"][1].startswith("7 rows: ")
        different, _, _ = await told("user.add")
        assert (
            different["希望するユーザーID" if "希望するユーザーID" in different else "氏名"][1] == "厚生 花子"
        )


def test_a_field_of_an_older_version_is_shown_as_it_is() -> None:
    """A proposal that waits through an upgrade breaks no page."""
    names = viewing.Names({}, {}, {}, {})
    different, _ = saying.lines("user.disable", {"user_id": "X", "gone": "value"}, {"user_id": "X"}, names)
    assert ("gone", "gone") in [line.label for line in different]
