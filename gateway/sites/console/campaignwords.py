"""What the console says of campaigns, in Japanese and English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ca.storage import Row
from enroll import campaigns
from enroll.campaigns import Campaign
from gateway.web.dates import day
from gateway.web.words import Text

#: What is counted -> what it is called.
VIEW_WORDS: Mapping[str, Text] = MappingProxyType(
    {
        "due": ("対象", "Due"),
        "mailed": ("案内済み", "Mailed"),
        "opened": ("更新画面を表示", "Opened"),
        "renewed": ("更新済み", "Renewed"),
        "used": ("新しい証明書で利用", "Used"),
        "open": ("未更新", "Not yet"),
        "lapsed": ("期限切れ", "Expired"),
        "left": ("対象外", "Gone"),
    }
)
#: Why somebody gets no reminder.
REMINDABLE: Mapping[str, Text] = MappingProxyType(
    {
        "early": ("更新できる期間の前", "their renewal period has not begun"),
        "told": ("案内を送ったばかり（同じ人の別の証明書を含む）", "they had a letter of late"),
        "bounced": ("前回の案内が不達", "the last letter came back: mend the address first"),
        "needless": (
            "案内の対象外（利用停止・盗難の届出など）",
            "no letter is due (disabled, a theft reported, a newer certificate)",
        ),
    }
)
#: What comes of reminders, and of an end.
LETTERS_LEAVE: Text = (
    "メールは送信待ちに入り、送信できる時間帯に順に出ます。送信後は取り消せません。",
    "The letters join the queue and leave in its hours. What has left cannot be taken back.",
)
ENDED: Text = (
    "件数はこの時点のものとして残り、以後は変わりません。終了したキャンペーンは再開できません（新しく始められます）。"
    "証明書と定例の案内には影響しません。",
    "Its numbers stay as they are now. It does not begin again, another one may. Certificates and the usual "
    "notices are as ever.",
)
#: What is wrong with a campaign that somebody begins, by its field.
BEGINNING: Mapping[str, Text] = MappingProxyType(
    {
        "name": ("名称を1行・500文字以内で入力してください。", "Write a name of one line."),
        "from": (
            "対象を指定してください：期間、団体、認証局のいずれか。日付は 2026-05-01 の形式です。",
            "Say what it is about: days such as 2026-05-01, an organisation or an issuing CA.",
        ),
        "to": (
            "終わりの日は、本日以後かつ始めの日以後にしてください（例：2026-05-01）。",
            "The last day must be neither past nor before the first (such as 2026-05-01).",
        ),
        "organisation": (
            "この証券番号の団体は登録されていません。番号をご確認ください。",
            "There is no organisation of this number. Please check it.",
        ),
        "ca": ("この認証局はありません。", "There is no such issuing CA."),
        "every": ("1～90の日数を入力してください。", "Write 1 to 90 days."),
    }
)
#: How far a certificate of a campaign is -> words and the colour of its chip.
STEP_WORDS: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "due": (("未案内", "no letter yet"), "warn"),
        "mailed": (("案内済み", "mailed"), "warn"),
        "opened": (("更新画面を表示", "opened"), "warn"),
        "renewed": (("更新済み", "renewed"), "good"),
        "used": (("新しい証明書で利用", "used"), "good"),
        "lapsed": (("期限切れ", "expired"), "bad"),
        "left": (("対象外（失効・再発行・利用停止）", "gone"), "plain"),
    }
)


def step_of(row: Row) -> tuple[Text, str]:
    """How far a certificate is, and the colour of its chip."""
    return STEP_WORDS[campaigns.step_of(row)]


def set_words(found: Campaign, organisation: str, issuer: str) -> Text:
    """Which certificates it is about."""
    japanese, english = list[str](), list[str]()
    if found.first_at is not None or found.until_at is not None:
        first, last = found.first_at, None if found.until_at is None else found.until_at - 1
        since = ("", "") if first is None else (f"{day(first, 'ja')}から", f" from {day(first, 'en')}")
        until = ("", "") if last is None else (f"{day(last, 'ja')}まで", f" to {day(last, 'en')}")
        japanese.append(f"有効期限 {since[0]}{until[0]}")
        english.append(f"end{since[1]}{until[1]}")
    if found.policy_number is not None:
        japanese.append(f"{organisation}（{found.policy_number}）")
        english.append(f"of {organisation} ({found.policy_number})")
    if found.issuer_id is not None:
        japanese.append(f"{issuer} が発行")
        english.append(f"issued by {issuer}")
    return "、".join(japanese), ", ".join(english)
