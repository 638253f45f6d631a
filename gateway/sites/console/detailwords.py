"""The detail of a refusal in Japanese: what `enroll` says of it, in English, is known by its form.

A detail has what a code cannot: which character, which line, which other person. A test reads every detail
that a row of a file or a field of a form can have out of the code, and fails where one has no words here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from enroll.people.facts import FACTS
from gateway.sites.console.fields import FIELDS

_STATES = {
    "waiting": "待機中",
    "running": "実行中",
    "done": "完了",
    "cancelled": "中止済み",
    "failed": "停止中",
    "undone": "取消済み",
    "submitted": "決定待ち",
    "approved": "承認済み",
    "rejected": "却下済み",
    "withdrawn": "取下げ済み",
    "pending": "決定待ち",
    "void": "無効",
    "expired": "期限切れ",
    "none": "ない",
    "reserved": "発行中",
    "issued": "有効",
    "held": "利用停止中",
    "revoked": "失効済み",
}
_SAME = {
    "name": "氏名",
    "mail address": "メールアドレス",
    "name and mail address": "氏名とメールアドレス",
}
#: How a detail reads in English -> in Japanese. What a group matched stands in its place, by `_WORDS` where
#: that has its name.
_FORMS: Mapping[str, str] = {
    r"character (\d+) of (?P<field>\w+) is (U\+[0-9A-F]+)(?: .*)?": r"\1文字目（\3）は使用できません",
    r"write one of (.+)": r"次のいずれかを入力：\1",
    r"this person is recorded already as (\S+)": r"登録済みのユーザーID：\1",
    r"user ID (\S+) is taken": r"\1は使用中です",
    r"user ID (\S+) is another person's": r"\1は別の人のIDです",
    r"user (\S+) was erased: add the person anew": r"\1の個人情報は消去済みです。新しく登録してください",
    r"user (\S+) is disabled already": r"\1は停止済みです",
    r"user (\S+) is not disabled": r"\1は停止していません",
    r"user (\S+) is at work, or was erased already": r"\1は在籍中か、消去済みです",
    r"organisation (\S+) is disabled already": r"\1は停止済みです",
    r"organisation (\S+) is not disabled": r"\1は停止していません",
    r"the same (?P<same>name and mail address|mail address|name) as line (\d+)": r"\2行目と同じ{same}",
    r"the same (?P<same>name and mail address|mail address|name) as (.+)": r"同じ{same}：{named}",
    r"recorded with (\S+); if that is wrong: .+": (
        r"登録中のアドレスは\1です。誤りなら利用者の画面で変更してください"
    ),
    r"(\S+) is recorded as (.+); if that is wrong: .+": (
        r"\1の登録中の名称は\2です。誤りなら団体の画面で変更してください"
    ),
    r"longer than (\d+) characters": r"1行が\1文字を超えています",
    r"not a CSV row: a quote is not closed on its line": r'引用符（"）が同じ行で閉じていません',
    r"characters in no known encoding": r"文字コードを判別できない文字があります",
    r"(\d+) cells, but the first line names (\d+) columns": r"セルが\1個ありますが、1行目の列は\2個です",
    r"cell (\d+) has no heading": r"\1番目のセルに見出しがありません",
    r"a letter about (\S+) has left already": r"\1宛ての通知がすでに送られています",
    r"something was done about (\S+) since": r"登録後に\1の操作がありました",
    r"(\S+) has users by now": r"\1には利用者がいます",
    r"nothing is over": r"期間を過ぎたものはありません",
    r"letters to (\d+) of (\d+) users have left: .+": (
        r"\2人のうち\1人に通知が送られています。1人ずつ停止してください"
    ),
    r"certificate (\S+) is revoked already": r"証明書 \1 は失効済みです",
    r"certificate (\S+) is not signed yet": r"証明書 \1 は発行中です",
    r"certificate (\S+) is (?P<state>\w+); only one that (?:is|can be) held is changed by this": (
        r"証明書 \1 の状態：{state}"
    ),
    r"there is no certificate (\S+)(?: here)?": r"証明書 \1 はありません",
    r"application (\S+) is (?P<state>\w+) already": r"申請 \1 は{state}です",
    r"a theft is reported of (\S+); decide that: .+": (
        r"\1の盗難の申請が決定待ちです。先に申請を決定してください"
    ),
    r"the last letter to (\S+) came back: .+": r"\1宛ての案内が戻りました",
    r"campaign (\S+) is over; begin another: .+": r"キャンペーン\1は終了しています",
    r"there is no profile (\S+) any more; .+": (
        r"証明書の種類 \1 は設定にありません。団体の画面で別の種類を選択してください"
    ),
    r"the profile (\S+) cannot be met for (\S+): (?P<fact>[\w.]+) is empty, .+": (
        r"証明書の種類 \1 に必要な「{fact}」が、\2に登録されていません"
    ),
    r"the profile (\S+) cannot be met for (\S+): (?P<fact>[\w.]+) gives .+": (
        r"証明書の種類 \1 に記載できない文字が、\2の「{fact}」にあります"
    ),
    r"(\S+) may have (\d+) at a time, and has (.+)": r"\1の上限は\2台で、使用中：\3",
    r"job (\S+) is (?P<state>\w+)(?: already)?": r"ジョブ\1は{state}です",
    r"(\d+) is no import": r"ジョブ\1は取込ではありません",
    r"'(.*)' is not .+": r"「\1」は使用できません",
}
_KNOWN = tuple((re.compile(form, re.DOTALL), told) for form, told in _FORMS.items())
# What the words of a code say already.
_SAID = re.compile(
    r"--\w+: write one line of up to \d+ characters|say what changes"
    r"|nothing would change: it is recorded like this already"
    r"|proposal (\d+) says that already, and waits: sekisho proposal show \1"
)
_FACTS = {name: name.partition(".")[2].replace("number", "policy_number") for name in FACTS}


def in_japanese(detail: str) -> str:
    """What a detail says; "" where its code says so much already, or where nobody has put it into words."""
    for form, told in _KNOWN:
        if (found := form.fullmatch(detail)) is not None:
            words = {name: _word(name, value) for name, value in found.groupdict().items()}
            if "{named}" in told:
                words["named"] = re.sub(r"\bapplication (\d+)", r"申請\1", found[found.lastindex or 0])
            # The places first: what somebody typed is put in last, and is no form of ours.
            parts = re.split(r"(\\\d|\{\w+\})", told)
            return "".join(_part(each, found, words) for each in parts)
    return ""


def known(detail: str) -> bool:
    """Whether there is something to say, or nothing more than the code does."""
    return bool(in_japanese(detail)) or _SAID.fullmatch(detail) is not None


def _part(text: str, found: re.Match[str], words: dict[str, str]) -> str:
    if re.fullmatch(r"\\\d", text):
        return found[int(text[1])] or ""
    return words[text[1:-1]] if re.fullmatch(r"\{\w+\}", text) else text


def _word(name: str, value: str) -> str:
    if name == "fact":
        field = _FACTS.get(value, value)
        scope = "organisation." if value.startswith("organisation.") else ""
        return (FIELDS.get(f"{scope}{field}") or FIELDS.get(field) or (value, value))[0]
    return {"state": _STATES, "same": _SAME}.get(name, {}).get(value, value)
