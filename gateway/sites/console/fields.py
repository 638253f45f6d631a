"""What the fields of a proposal are called, and what each kind does to what it names: tables alone.

A field is known by its name, or by its kind's scope and its name where one word has two meanings; a test
walks every kind, and fails where one has no label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from enroll.people.postal import FIELDS as POSTAL
from gateway.web.words import Text

#: Where nothing stands.
NONE: Text = ("－", "–")
#: What a kind's fields are about, where that is not the first word of its name.
SCOPES: Mapping[str, str] = MappingProxyType({"request.reissue": "user", "audit.purge": "user"})
#: Fields that hold further ones.
NESTED = ("changes", "person", "facts", "application", "user")
#: Fields of somebody or something new that one need not say.
LEFT_OUT = (
    "user_id", "department", "principal", "lineages", "profile", "country", "account", "mail",
    "reading", *POSTAL,
)  # fmt: skip
#: Field -> what it is called, in the order in which a page has them. "scope.field" comes before "field".
FIELDS: Mapping[str, Text] = MappingProxyType(
    {
        "number": ("申請番号", "Application"),
        "operator.number": ("登録番号", "Number"),
        "id": ("申請番号", "Application"),
        "state": ("状態", "State"),
        "kind": ("種別", "Kind"),
        "policy_number": ("団体", "Organisation"),
        "organisation.policy_number": ("証券番号", "Policy number"),
        "user_id": ("利用者", "User"),
        "name": ("氏名", "Name"),
        "organisation.name": ("団体名", "Name"),
        "operator.name": ("運用者ID", "Operator ID"),
        "ca.name": ("認証局", "CA"),
        "webhook.name": ("Webhookの名前", "Name of the webhook"),
        "url": ("送信先", "Address"),
        "events": ("通知するイベント", "Events"),
        "webhook.state": ("送信", "Deliveries"),
        "secret": ("署名鍵", "Secret"),
        "at_once": ("今の署名鍵", "The present secret"),
        "skip": ("停止中のイベント", "What happened meanwhile"),
        "display": ("表示名", "Called"),
        "roles": ("役割", "Roles"),
        "mail": ("メールアドレス", "Email address"),
        "operator.mail": ("コードの送付先", "Where codes go"),
        "role": ("区分", "Kind of user"),
        "notice_by": ("ユーザーIDのお知らせ", "ID notice by"),
        "language": ("メールの言語", "Language of emails"),
        "reading": ("フリガナ", "Reading"),
        "department": ("部署", "Department"),
        "principal": ("Windowsドメインの名前（UPN）", "Name in the Windows domain (UPN)"),
        "lineages": ("1人あたりの台数", "PCs per user"),
        "issue_password_by": ("証明書発行用パスワードの通知", "Issue password by"),
        "postal_code": ("郵便番号", "Postal code"),
        "prefecture": ("都道府県", "Prefecture"),
        "city": ("市区町村", "City"),
        "street": ("町名番地", "Street"),
        "building": ("建物名", "Building"),
        "addressee": ("宛名", "Addressee"),
        "profile": ("証明書の種類", "Certificate profile"),
        "country": ("国", "Country"),
        "disabled_at": ("利用", "In use"),
        "organisation_disabled_at": ("団体の利用", "Organisation in use"),
        "taken": ("希望するユーザーID", "User ID wished for"),
        "alike": ("似た登録の確認", "Likely duplicates"),
        "certificates": ("証明書", "Certificates"),
        "revoke_old": ("現在の証明書", "Present certificates"),
        "login_password": ("ログインパスワード", "Login password"),
        "credentials": ("自動更新用の認証情報", "Credentials for programs"),
        "personal": ("監査記録の個人情報", "Personal data in the trail"),
        "serial": ("対象の証明書", "Which certificate"),
        "status": ("証明書の状態", "State of the certificate"),
        "reason": ("申請の理由", "Reason"),
        "certificate.reason": ("失効の理由", "Reason of the revocation"),
        "rejection": ("却下の理由", "Why it is rejected"),
        "note": ("申請者に伝える内容", "What the applicant is told"),
        "channel": ("受付経路", "Came in by"),
        "applied_by": ("申請者", "Applied by"),
        "submitted_at": ("受付日時", "Taken in"),
        "decided_by": ("決定者", "Decided by"),
        "decided_at": ("決定日時", "Decided"),
        "request_id": ("リクエストID", "Request ID"),
        "file": ("ファイル", "File"),
        "rows": ("取り込む行", "Rows"),
        "heading": ("見出し行", "First line"),
        "encoding": ("文字コード", "Encoding"),
        "job": ("取り消す取込（ジョブ番号）", "Which import (job)"),
        "campaign": ("キャンペーン", "Campaign"),
        "campaign.name": ("名称", "Name"),
        "first_at": ("有効期限（この日時から）", "Ends from"),
        "until_at": ("有効期限（この日時より前）", "Ends before"),
        "issuer_id": ("発行した認証局", "Issuing CA"),
        "every_days": ("案内の間隔（日）", "Days between letters"),
        "numbers": ("送る案内", "Letters"),
        "campaign.ended_at": ("実施", "Goes on"),
        "import.kind": ("取込の種別", "Kind of import"),
        "subject": ("取込の内容", "What was imported"),
        "batch": ("バッチ番号", "Batch"),
        "letters": ("はがき", "Postcards"),
        "serials": ("対象の証明書", "Which certificates"),
        "users": ("案内する人", "Whom"),
        "hold_letters": ("メール・はがき", "Letters"),
        "count": ("発行する数", "How many"),
        "quota": ("同時に有効な枚数の上限", "Certificates at a time"),
        "clock": ("サーバーの時計", "The machine's clock"),
        "people": ("証明書を持つ人", "Who has its certificates"),
        "audit.before": ("この日より前の記録", "Lines of days before"),
        "lines": ("監査記録の行", "Lines of the trail"),
        "retention.counts": ("期間を過ぎたもの", "What is over"),
        "retention.before": ("この日時まで", "Up to"),
        "retention.people": ("退いた利用者", "Who left"),
        "retention.ranges": ("番号の範囲", "Numbers"),
        "account": ("マシンのアカウント", "Account of the machine"),
        "networks": ("接続元", "Comes from"),
        "operator.language": ("言語", "Language"),
        "template": ("文面", "Template"),
        "template.language": ("言語", "Language"),
        "text": ("本文", "Its text"),
        "difference": ("変わる行", "Lines that differ"),
        "code": ("登録用コード", "One-time code"),
        "created_at": ("登録日時", "Recorded"),
        "added_at": ("登録日時", "Added"),
        "added_by": ("登録者", "Added by"),
        "ended_at": ("在任", "In office"),
        "erased_at": ("個人情報の消去", "Personal data erased"),
        "ended_by": ("終了の操作者", "Ended by"),
    }
)


@dataclass(frozen=True)
class Effect:
    """What becomes of something that no field of the kind names. ``now`` None: what stands there."""

    field: str
    then: Text
    now: Text | None = None


_RUNNING = Effect("disabled_at", ("利用中", "in use"))
_REVOKED = Effect("status", ("失効（元に戻せない）", "revoked, for good"))
_STOPPED: Text = (
    "停止（全員のログイン・取得・メール。証明書は失効しない）",
    "stopped: logins, pick-ups and emails of everybody; nothing is revoked",
)
_NO_MORE: Text = ("終了（証明書・パスキーも無効）", "ended, with certificates and passkeys")
_TOLD_ONCE: Text = ("新しいもの（起案者だけに1回表示）", "a new one, shown once to who proposed it")
_INVITED: Text = ("全員に取得の案内を送る", "everybody is invited to pick another one up")
#: Kind -> what becomes of what it names.
EFFECTS: Mapping[str, tuple[Effect, ...]] = MappingProxyType(
    {
        "organisation.disable": (Effect("disabled_at", _STOPPED),),
        "organisation.enable": (_RUNNING,),
        "user.add": (
            Effect("certificates", ("取得の案内を送る", "both letters are sent"), ("なし", "none")),
        ),
        "user.disable": (
            Effect("disabled_at", ("停止", "stopped")),
            Effect(
                "certificates",
                ("すべて失効（元に戻せない）", "all revoked, for good"),
                ("そのまま", "as they are"),
            ),
        ),
        "user.enable": (_RUNNING,),
        "user.release": (
            Effect("certificates", ("利用できる", "usable again"), ("利用停止中のもの", "those suspended")),
        ),
        "user.reset_password": (
            Effect(
                "login_password",
                ("新しい初回パスワード（本人に通知）", "a new first one, told to the user"),
                ("現在のもの", "the present one"),
            ),
        ),
        "certificate.release": (Effect("status", ("有効", "valid")),),
        "certificate.revoke": (_REVOKED,),
        "certificate.revoke.many": (_REVOKED,),
        "application.approve": (
            Effect("state", ("承認（取得の案内を送る）", "approved: the letters are sent")),
        ),
        "application.reject": (Effect("state", ("却下", "rejected")),),
        "request.reissue": (
            Effect(
                "certificates",
                ("取得の案内を送る", "the pick-up email is sent"),
                ("現在のもの", "the present ones"),
            ),
        ),
        "ca.reissue": (Effect("people", _INVITED, ("この認証局の証明書を使用", "use this CA's")),),
        "credential.create": (
            Effect(
                "credentials",
                ("起案者だけに表示", "shown to who proposed it alone"),
                ("現在のもの", "the present ones"),
            ),
        ),
        "clock.confirm": (Effect("clock", ("正しいものとして扱う", "believed"), ("確認待ち", "in doubt")),),
        "campaign.end": (Effect("campaign.ended_at", ("終了（再開できない）", "over, for good")),),
        "audit.retire": (
            Effect("lines", ("消去（元に戻せない）", "taken away, for good"), ("あり", "there")),
        ),
        "retention.apply": (
            Effect("personal", ("消去（元に戻せない）", "erased, for good"), ("あり", "there")),
        ),
        "audit.purge": (Effect("personal", ("消去（元に戻せない）", "erased, for good"), ("あり", "there")),),
        "template.reset": (Effect("text", ("標準の文面", "the standard text")),),
        "operator.end": (Effect("ended_at", _NO_MORE),),
        "webhook.add": (Effect("secret", _TOLD_ONCE, ("なし", "none")),),
        "webhook.rotate": (Effect("secret", _TOLD_ONCE, ("現在のもの", "the present one")),),
        "webhook.start": (Effect("webhook.state", ("送信中", "active")),),
        "webhook.end": (
            Effect(
                "webhook.state", ("終了（送信待ちも破棄。元に戻せない）", "ended for good, with what waits")
            ),
        ),
        "operator.code": (
            Effect(
                "code",
                ("新しいコードを本人に送る", "a new one, sent to the operator"),
                ("今のもの", "the present one"),
            ),
        ),
    }
)

#: What has a period of its own (`enroll/retention/periods.py`).
PERIODS: Mapping[str, Text] = MappingProxyType(
    {
        "people": ("退いた利用者", "people who left"),
        "letters": ("メール・はがき", "letters"),
        "applications": ("申請", "applications"),
        "jobs": ("ジョブ", "jobs"),
        "proposals": ("起案", "proposals"),
    }
)
#: When the present certificates end.
ENDS: Mapping[str, Text] = MappingProxyType(
    {
        "on_pickup": ("新しい証明書の取得後に失効", "revoked when the new one is picked up"),
        "at_once": ("承認と同時に失効", "revoked on approval"),
        "never": ("失効しない（2台目以降）", "not revoked: a further PC"),
    }
)
PASSWORD_BY: Mapping[str, Text] = MappingProxyType(
    {
        "mail": ("メール", "Email"),
        "postcard": ("はがき", "Postcard"),
        "admin": ("団体の管理者経由", "through the administrator"),
    }
)
#: Status of a certificate.
STATUSES: Mapping[str, Text] = MappingProxyType(
    {
        "reserved": ("発行処理中", "being issued"),
        "issued": ("有効", "valid"),
        "held": ("利用停止中", "suspended"),
        "revoked": ("失効", "revoked"),
    }
)
#: State of an application -> words and the colour of its chip.
APPLICATION_STATES: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "submitted": (("決定待ち", "waits"), "warn"),
        "approved": (("承認済み", "approved"), "good"),
        "rejected": (("却下", "rejected"), "bad"),
        "withdrawn": (("取り下げ", "withdrawn"), "plain"),
    }
)
#: Reasons of RFC 5280 section 5.3.1, by their names there.
REVOCATIONS: Mapping[str, str] = MappingProxyType(
    {
        "unspecified": "指定なし",
        "keyCompromise": "鍵の漏えい",
        "cACompromise": "認証局の鍵の漏えい",
        "affiliationChanged": "所属の変更",
        "superseded": "新しい証明書に交換",
        "cessationOfOperation": "利用の終了",
        "certificateHold": "利用停止",
        "removeFromCRL": "利用停止の解除",
        "privilegeWithdrawn": "権限の取り消し",
        "aACompromise": "属性認証局の鍵の漏えい",
    }
)
