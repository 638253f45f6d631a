"""Organisations, users, applications and requests from the command line, each with its rejection twin."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell


def test_organisations(sekisho: Shell) -> None:
    """An organisation is added once and listed."""
    made = sekisho("org", "add", "12345678", "霞が関商事")
    assert (made.code, made.value["organisation"]["name"]) == (0, "霞が関商事")
    again = sekisho("org", "add", "12345678", "other")
    assert (again.code, again.error["code"], again.error["field"]) == (1, "conflict", "policy_number")
    assert "sekisho org list" in again.error["hint"]
    listed = sekisho("org", "list").value["organisations"]
    assert [(each["policy_number"], each["users"]) for each in listed] == [("12345678", 0)]


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("1 2", "name"), "policy_number"),
        (("12345678", "\x1b[31m"), "name"),
        (("12345678", "name", "--lineages", "0"), "lineages"),
    ],
)
def test_hostile_organisations(sekisho: Shell, words: tuple[str, ...], field: str) -> None:
    """A bad field is named, and nothing is recorded."""
    refused = sekisho("org", "add", *words)
    assert (refused.code, refused.error["code"], refused.error["field"]) == (1, "invalid_input", field)
    assert sekisho("org", "list").value == {"organisations": []}


def test_an_organisation_changes(peopled: Shell) -> None:
    """E26: a new 証券番号 takes the users along; E14, E18: policies can be given later."""
    words = ("--number", "99990001", "--issue-password-by", "postcard", "--lineages", "2")
    changed = peopled("org", "change", "12345678", *words).value["organisation"]
    assert (changed["policy_number"], changed["name"], changed["lineages"]) == ("99990001", "霞が関商事", 2)
    assert changed["issue_password_by"] == "postcard"
    address = ("--prefecture", "東京都", "--city", "千代田区", "--street", "霞が関1-2-3")
    moved = peopled("org", "change", "99990001", "--postal-code", "〒１００ー００１３", *address)
    assert moved.value["organisation"]["postal_code"] == "100-0013"
    assert moved.value["organisation"]["street"] == "霞が関1-2-3"
    for option, typed in (("building", "a\x1bb"), ("postal_code", "100-001"), ("prefecture", "東京")):
        refused = peopled("org", "change", "99990001", f"--{option.replace('_', '-')}", typed).error
        assert (refused["code"], refused["field"]) == ("invalid_input", option)
        assert refused["message"]
    assert peopled("user", "show", "K12345678").value["user"]["language"] == "ja"
    english = peopled("user", "change", "K12345678", "--language", "en").value["user"]
    assert english["language"] == "en"
    assert peopled("user", "show", "K12345678").value["user"]["policy_number"] == "99990001"
    assert peopled("org", "change", "12345678", "--name", "x").error["code"] == "not_found"
    hostile = peopled("org", "change", "99990001", "--name", "\x1b[31m").error
    assert (hostile["code"], hostile["field"]) == ("invalid_input", "name")
    assert peopled("org", "change", "99990001").code == 2


def test_an_organisation_is_disabled_and_enabled(peopled: Shell) -> None:
    """E6: for the whole organisation at once, and back; a second time is a conflict."""
    assert peopled("org", "disable", "12345678").value["disabled"]["users"] == 1
    assert peopled("org", "disable", "12345678").error["code"] == "conflict"
    refused = peopled("request", "reissue", "K12345678", "--reason", "expired").error
    assert refused["code"] == "user_disabled"
    assert peopled("org", "enable", "12345678").value["enabled"]["policy_number"] == "12345678"
    assert peopled("org", "enable", "12345678").error["code"] == "conflict"
    assert peopled("request", "reissue", "K12345678", "--reason", "expired").code == 0


def test_a_user_changes(peopled: Shell) -> None:
    """E13: a wrong mail address is put right; the answer says how its mail comes again."""
    changed = peopled("user", "change", "K12345678", "--mail", "right@example.jp", json_output=False)
    assert (changed.code, "sekisho request reissue K12345678 --reason mail_lost" in changed.out) == (0, True)
    assert peopled("user", "show", "K12345678").value["user"]["mail"] == "right@example.jp"
    assert peopled("mail", "list").value["mails"][0]["recipient"] == "right@example.jp"
    wrong = peopled("user", "change", "K12345678", "--mail", "a@example.jp\nBcc: b@example.jp").error
    assert (wrong["code"], wrong["field"]) == ("invalid_input", "mail")
    assert peopled("user", "change", "K12345678").code == 2
    assert peopled("user", "change", "K00000000", "--name", "x").error["code"] == "not_found"


def test_a_new_first_password(peopled: Shell) -> None:
    """The new password is in the letter and nowhere else; the letter of the old one stays at home."""
    reset = peopled("user", "reset-password", "K12345678")
    assert reset.value == {"reset": {"user_id": "K12345678", "sessions_ended": 0}}
    states = [(each["kind"], each["state"]) for each in peopled("mail", "list").value["mails"]]
    assert states == [("password_reset", "queued"), ("user_id", "cancelled"), ("pickup", "queued")]
    assert peopled("user", "reset-password", "K00000000").error["code"] == "not_found"


def test_users(peopled: Shell) -> None:
    """A user is listed and shown with the request, and without any hash or password."""
    listed = peopled("user", "list", "--org", "12345678")
    assert [each["user_id"] for each in listed.value["users"]] == ["K12345678"]
    shown = peopled("user", "show", "K12345678")
    assert shown.value["user"]["requests"][0]["state"] == "accepted"
    assert "argon2" not in listed.out + shown.out
    assert "password_hash" not in listed.out + shown.out
    assert peopled("user", "list", "--org", "99999999").error["code"] == "not_found"
    assert peopled("user", "show", "K00000000").error["hint"] == "List them: sekisho user list"


@pytest.mark.parametrize(
    ("words", "code", "field"),
    [
        (("99999999", "n", "a@example.jp"), "not_found", "policy_number"),
        (("12345678", "", "a@example.jp"), "invalid_input", "name"),
        (("12345678", "n\x00", "a@example.jp"), "invalid_input", "name"),
        (("12345678", "n" * 101, "a@example.jp"), "invalid_input", "name"),
        (("12345678", "n", ""), "invalid_input", "mail"),
        (("12345678", "n", "a@example.jp\nBcc: b@example.jp"), "invalid_input", "mail"),
        (("12345678", "n", "a@example.jp", "--user-id", "k1'; --"), "invalid_input", "user_id"),
        (("12345678", "n", "a@example.jp", "--user-id", "K12345678"), "conflict", "user_id"),
    ],
)
def test_hostile_users(peopled: Shell, words: tuple[str, ...], code: str, field: str) -> None:
    """A bad field is named, nobody is recorded, and no letter is queued."""
    refused = peopled("user", "add", *words)
    assert (refused.code, refused.error["code"], refused.error["field"]) == (1, code, field)
    assert len(peopled("user", "list").value["users"]) == 1
    assert len(peopled("mail", "list").value["mails"]) == 2


def test_disable(peopled: Shell) -> None:
    """Disabling withdraws the open request; a second time is a conflict."""
    assert peopled("user", "disable", "K12345678").value["disabled"]["user_id"] == "K12345678"
    assert peopled("user", "show", "K12345678").value["user"]["requests"][0]["state"] == "withdrawn"
    assert peopled("user", "disable", "K12345678").error["code"] == "conflict"
    assert peopled("user", "disable", "K00000000").error["code"] == "not_found"


def test_enable(peopled: Shell) -> None:
    """Enabling brings the login back and nothing that was ended; the next step is a reissue."""
    assert peopled("user", "enable", "K12345678").error["code"] == "conflict"
    assert peopled("user", "enable", "K00000000").error["code"] == "not_found"
    peopled("user", "disable", "K12345678")
    assert peopled("user", "enable", "K12345678").value["enabled"]["user_id"] == "K12345678"
    shown = peopled("user", "show", "K12345678").value["user"]
    assert (shown["disabled_at"], shown["requests"][0]["state"]) == (None, "withdrawn")
    assert peopled("request", "reissue", "K12345678", "--reason", "expired").code == 0


def test_reissue(peopled: Shell) -> None:
    """A reissue opens a new request with a raised number; the old request has ended."""
    made = peopled("request", "reissue", "K12345678", "--reason", "pc_change").value["reissue"]
    assert made["common_name"] == "K123456780002"
    states = [each["state"] for each in peopled("request", "list", "--user", "K12345678").value["requests"]]
    assert states == ["accepted", "superseded"]
    assert len(peopled("request", "list").value["requests"]) == 2
    shown = peopled("request", "show", made["request_id"]).value["request"]
    assert (shown["label"], shown["history"][0]["action"]) == ("申請受付", "request.opened")


def test_a_further_pc(peopled: Shell) -> None:
    """E18: "never" is the organisation's to allow; the hint says how."""
    words = ("request", "reissue", "K12345678", "--reason", "pc_change", "--revoke-old", "never")
    peopled("org", "change", "12345678", "--lineages", "2")
    assert peopled(*words).value["reissue"]["common_name"] == "K123456780002"
    assert peopled("request", "list", "--user", "K12345678").value["requests"][0]["revoke_old"] == "never"


def test_reissue_refused(peopled: Shell) -> None:
    """Unknown users, unknown reasons and disabled users are told apart."""
    assert peopled("request", "reissue", "K00000000", "--reason", "expired").error["code"] == "not_found"
    usage = peopled("request", "reissue", "K12345678", "--reason", "boredom")
    assert (usage.code, usage.error["code"]) == (2, "usage")
    peopled("user", "disable", "K12345678")
    assert peopled("request", "reissue", "K12345678", "--reason", "expired").error["code"] == "user_disabled"
    assert peopled("request", "show", "1").error["field"] == "request_id"
    assert peopled("request", "list", "--user", "K00000000").error["field"] == "user_id"


async def _apply(shell: Shell) -> int:
    from enroll.people.applications import apply_reissue
    from gateway.serving.deployment import opened_deployment
    from tests.datadirs import PASSPHRASE

    async with opened_deployment(shell.data, PASSPHRASE) as deployment:
        return (
            await apply_reissue(deployment.ra, "K12345678", "pc_change", channel="online", actor="K12345678")
        ).number


def test_applications(peopled: Shell) -> None:
    """An application is listed until it is decided, and decided once."""
    import asyncio

    number = asyncio.run(_apply(peopled))
    listed = peopled("application", "list").value["applications"]
    assert [(each["id"], each["kind"], each["channel"]) for each in listed] == [(number, "reissue", "online")]
    assert f"sekisho application show {number}" in peopled("application", "list", json_output=False).out
    approved = peopled("application", "approve", str(number)).value["approved"]
    assert approved["common_name"] == "K123456780002"
    assert peopled("application", "approve", str(number)).error["code"] == "conflict"
    assert peopled("application", "list").value == {"applications": []}
    assert len(peopled("application", "list", "--all").value["applications"]) == 2


def test_an_application_says_whose_it_is(peopled: Shell) -> None:
    """Whoever decides sees name, address and role: of somebody new, and of somebody recorded."""
    import asyncio

    number = str(asyncio.run(_apply(peopled)))
    seen = peopled("application", "show", number)
    record = seen.value["application"]
    assert (record["name"], record["mail"], record["role"]) == ("年金 太郎", "taro@example.jp", "member")
    text = peopled("application", "show", number, json_output=False).out
    assert f"sekisho application approve {number}" in text
    first = peopled("application", "show", "1")
    assert (first.value["application"]["kind"], first.value["application"]["mail"]) == (
        "addition",
        "taro@example.jp",
    )
    assert "approve" not in peopled("application", "show", "1", json_output=False).out.splitlines()[-1]
    unknown = peopled("application", "show", "999").error
    assert (unknown["code"], unknown["field"]) == ("not_found", "application")


def test_user_ids_are_found_in_small_letters(peopled: Shell) -> None:
    """User IDs have no small letters; an unknown one stays unknown."""
    assert peopled("user", "show", "k12345678").value["user"]["user_id"] == "K12345678"
    assert peopled("eab", "create", "k12345678").code == peopled("eab", "list", "k12345678").code == 0
    for group, key in (("cert", "certificates"), ("mail", "mails"), ("request", "requests")):
        small, capital = (
            peopled(group, "list", "--user", typed).value for typed in ("k12345678", "K12345678")
        )
        for each in small[key] + capital[key]:
            each.pop("next_attempt_at", None)  # of a mail that is due: the second in which somebody looks
        assert small == capital
        assert bool(small[key]) is (group != "cert")
    assert peopled("session", "end", "--user", "k12345678").value == {"ended": 0}
    assert peopled("user", "show", "k00000000").error["code"] == "not_found"


def test_rejected_application(peopled: Shell) -> None:
    """A rejection keeps its note; an unknown application and a hostile note are refused."""
    import asyncio

    number = str(asyncio.run(_apply(peopled)))
    hostile = peopled("application", "reject", number, "--note", "a\nb")
    assert (hostile.error["code"], hostile.error["field"]) == ("invalid_input", "note")
    assert (
        peopled("application", "reject", number, "--note", "書類不備").value["rejected"]["note"] == "書類不備"
    )
    assert peopled("application", "reject", number, "--note", "x").error["code"] == "conflict"
    assert peopled("application", "approve", "999").error["field"] == "application"


def test_the_same_person_is_not_added_twice(peopled: Shell) -> None:
    """By name and address in any spelling; a second user ID on purpose is named with --user-id."""
    again = peopled("user", "add", "１２３４５６７８", "年金\u3000太郎", "TARO@Example.JP").error
    assert (again["code"], again["field"]) == ("conflict", "name")
    assert again["message"] == "this person is recorded already as K12345678"
    assert "--user-id" in again["hint"]
    assert peopled("user", "add", "12345678", "年金 太郎", "other@example.jp", "--alike").code == 0
    words = ("user", "add", "12345678", "年金 太郎", "taro@example.jp", "--user-id", "ksecond")
    assert peopled(*words).error["field"] == "alike"
    second = peopled(*words, "--alike")
    assert second.value["user"]["user_id"] == "KSECOND"


@pytest.mark.parametrize(
    ("name", "mail", "what"),
    [
        ("年金 花子", "TARO@example.jp", "the same mail address as K12345678 (年金 太郎, taro@example.jp)"),
        ("年金　太郎", "two@example.jp", "the same name as K12345678 (年金 太郎, taro@example.jp)"),
    ],
)
def test_a_name_or_an_address_that_somebody_has(peopled: Shell, name: str, mail: str, what: str) -> None:
    """It is a slip, or meant: nobody is added for it without a word, and whoever says so is."""
    words = ("user", "add", "12345678", name, mail)
    refused = peopled(*words).error
    assert (refused["code"], refused["field"], refused["message"]) == ("conflict", "alike", what)
    assert "--alike" in refused["hint"]
    assert peopled("audit", "show").value["audit"][0]["action"] == "person.seen"
    assert len(peopled("user", "list").value["users"]) == 1
    assert peopled(*words, "--alike").code == 0
    assert len(peopled("user", "list").value["users"]) == 2


def test_an_address_that_somebody_has_is_not_changed_to(peopled: Shell) -> None:
    """In whichever organisation: letters with passwords would go to somebody else. The own one is none."""
    peopled("org", "add", "87654321", "桜田門産業")
    assert peopled("user", "add", "87654321", "別所 花子", "hanako@example.jp").code == 0
    words = ("user", "change", "K12345678", "--mail", "Hanako@Example.jp")
    refused = peopled(*words).error
    assert (refused["code"], refused["field"]) == ("conflict", "alike")
    assert "別所 花子" in refused["message"]
    assert peopled("user", "show", "K12345678").value["user"]["mail"] == "taro@example.jp"
    assert peopled(*words, "--alike").value["user"]["mail"] == "Hanako@example.jp"
    assert peopled("user", "change", "K12345678", "--mail", "HANAKO@example.jp").code == 0


def test_a_change_keeps_the_person_comparable(peopled: Shell) -> None:
    """After a change of name, address or organisation the new facts are what people are compared by."""
    assert peopled("user", "change", "K12345678", "--name", "ﾈﾝｷﾝ ﾀﾛｳ", "--mail", "New@EXAMPLE.jp").code == 0
    assert peopled("user", "add", "12345678", "ネンキン タロウ", "new@example.jp").error["code"] == "conflict"
    assert peopled("user", "add", "12345678", "年金 太郎", "taro@example.jp").code == 0
    assert peopled("org", "change", "12345678", "--number", "99990001").code == 0
    assert peopled("user", "add", "99990001", "ネンキンタロウ", "NEW@example.jp").error["code"] == "conflict"


def test_ids_are_read_as_pasted(peopled: Shell) -> None:
    """User IDs, request IDs and numbers on the command line, with what a paste brings along."""
    assert peopled("user", "show", "\u200bｋ1234\u30fc5678\u00a0").value["user"]["user_id"] == "K12345678"
    request = peopled("request", "list", "--user", "k1234-5678").value["requests"][0]["request_id"]
    typed = "\u2212".join(request[at : at + 4] for at in range(0, 16, 4))
    assert peopled("request", "show", f"\ufeff{typed}").value["request"]["request_id"] == request
    assert peopled("user", "list", "--org", "１２３４５６７８").code == 0
    assert peopled("audit", "show", "--subject", f"{typed}\u200e").value["audit"] != []
    assert peopled("request", "show", typed[:-1]).error["code"] == "not_found"
