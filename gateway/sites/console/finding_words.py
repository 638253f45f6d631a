"""What search and caller view say, in Japanese and English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.web.words import Text

#: Group of hits -> heading.
GROUP_WORDS: Mapping[str, Text] = MappingProxyType(
    {
        "users": ("利用者", "Users"),
        "organisations": ("団体", "Organisations"),
        "requests": ("リクエストID", "Request IDs"),
        "certificates": ("証明書", "Certificates"),
    }
)
#: What a text was taken for, and how it was compared.
MEANINGS: Mapping[str, Text] = MappingProxyType(
    {
        "day": ("有効期限の日付", "the day on which a certificate ends"),
        "mail": ("メールアドレス（先頭から一致）", "the beginning of an email address"),
        "reference": ("照会番号", "a reference number"),
        "request_id": ("リクエストID（先頭から一致）", "the beginning of a request ID"),
        "serial": ("証明書のシリアル番号（先頭から一致）", "the beginning of a serial number"),
        "common_name": ("コモンネーム（先頭から一致）", "the beginning of a common name"),
        "user_id": ("ユーザーID（先頭から一致）", "the beginning of a user ID"),
        "policy_number": ("証券番号（先頭から一致）", "the beginning of a policy number"),
        "name": (
            "氏名・フリガナ・団体名（姓または名の先頭から一致）",
            "the beginning of a name, of a person or an organisation",
        ),
    }
)
#: Status of a certificate -> words and the colour of its chip.
CERTIFICATES: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "reserved": (("発行中", "being issued"), "plain"),
        "issued": (("有効", "good"), "good"),
        "expired": (("期限切れ", "expired"), "plain"),
        "held": (("利用停止中", "suspended"), "warn"),
        "revoked": (("失効", "revoked"), "bad"),
        "distrusted": (("発行者が停止", "its issuer is trusted no more"), "bad"),
    }
)
#: Door by which a certificate was asked for.
DOORS: Mapping[str, Text] = MappingProxyType(
    {"page": ("画面", "pages"), "protocol": ("プログラム（自動更新）", "a program")}
)
#: Kind of a request.
REQUESTS: Mapping[str, Text] = MappingProxyType(
    {
        "addition": ("追加発行", "first certificate"),
        "reissue": ("再発行", "reissue"),
        "renewal": ("更新", "renewal"),
        "protocol": ("自動更新（プログラム）", "a program's"),
    }
)
#: Role of a user.
KINDS: Mapping[str, Text] = MappingProxyType(
    {"member": ("利用者", "user"), "admin": ("管理者", "administrator")}
)
#: Kind of a letter.
LETTERS: Mapping[str, Text] = MappingProxyType(
    {
        "pickup": ("証明書取得のご案内", "pick-up email"),
        "pickup_without_password": ("証明書取得のご案内（パスワード別送）", "pick-up email, password apart"),
        "issue_password": ("発行用パスワードのはがき", "postcard with the issue password"),
        "issue_password_admin": ("発行用パスワード（管理者経由）", "issue password, by the administrator"),
        "user_id": ("ユーザーIDのお知らせ", "ID notice"),
        "password_reset": ("ログインパスワード再設定のお知らせ", "new login password"),
        "renewal_30": ("更新のご案内（1回目）", "first renewal email"),
        "renewal_7": ("更新のご案内（2回目）", "second renewal email"),
        "renewal_7_admin": ("更新のご案内（管理者宛て）", "renewal email to the administrator"),
        "renewed_by_another": ("更新のお知らせ（別の方による）", "renewed by another"),
        "issuer_distrusted": ("発行者停止のお知らせ", "issuer no longer trusted"),
        "ca_ending": ("認証局の期限のお知らせ（運用者宛て）", "a CA ends (to operators)"),
        "operator_code": ("登録用コード（運用者宛て）", "one-time code (to an operator)"),
        "break_glass": ("非常時の権限のお知らせ（監査担当宛て）", "break-glass (to auditors)"),
        "template_test": ("文面のテスト（運用者宛て）", "test of a template (to an operator)"),
        "operator_ending": ("証明書の期限のお知らせ（運用者宛て）", "a certificate ends (to an operator)"),
        "proposal_expired": ("起案の期限切れ（運用者宛て）", "proposal expired (to an operator)"),
    }
)
#: State of a letter -> words and the colour of its chip.
LETTER_STATES: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "waiting": (("送信待ち", "waits"), "warn"),
        "held": (("保留", "held back"), "warn"),
        "sent": (("送信済み", "sent"), "good"),
        "refused": (("宛先で拒否", "refused"), "bad"),
        "given_up": (("送信断念", "given up"), "bad"),
        "bounced": (("不着（返送）", "came back"), "bad"),
        "cancelled": (("取消", "cancelled"), "plain"),
    }
)
#: What narrows the list of letters besides: states together.
LETTER_GROUPS: Mapping[str, Text] = MappingProxyType(
    {
        "open": ("届いていないもの（要対応）", "Not arrived: to see to"),
        "failed": ("不着・拒否・断念のすべて", "All that failed"),
    }
)
#: What happened to a letter -> words and the colour of its chip.
LETTER_EVENTS: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "queued": (("作成", "written"), "plain"),
        "held": (("保留", "held back"), "warn"),
        "put_off": (("一時拒否（後で再試行）", "put off: tried again later"), "warn"),
        "refused": (("宛先で拒否", "refused"), "bad"),
        "given_up": (("送信断念", "given up"), "bad"),
        "retried": (("送りなおしを指示", "tried again by an operator"), "plain"),
        "sent": (("送信（メールサーバーが受理）", "accepted for delivery"), "good"),
        "bounced": (("不着（返送）", "came back"), "bad"),
    }
)
CHANNELS: Mapping[str, Text] = MappingProxyType(
    {"mail": ("メール", "Email"), "postcard": ("はがき", "Postcard")}
)
#: What became of a letter that was to be sent again -> words and the colour of its chip.
SENT_AGAIN: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "again": (("送信待ちに入れました", "queued once more"), "good"),
        "retry": (("すぐに送りなおします", "tried again at once"), "good"),
        "not_found": (("該当するメールがありません", "there is no such letter"), "bad"),
        "conflict": (
            (
                "再送できません（本日再送済み、手続きの終了、またはパスワードを含む）",
                "not sent: again today already, about what has ended, or it tells a password",
            ),
            "bad",
        ),
    }
)
#: What can be done about a letter that is not sent again.
REMEDIES: Mapping[str, Text] = MappingProxyType(
    {
        "": ("－", "-"),
        "reissue": (
            "パスワードが含まれるため再送できません。再発行の申請をご案内ください。",
            "It tells a password, so it is not sent again: it takes a reissue.",
        ),
        "reset": (
            "パスワードが含まれるため再送できません。ログインパスワードの再設定が必要です。",
            "It tells a password, so it is not sent again: it takes a new login password.",
        ),
        "code": (
            "コードが含まれるため再送できません。新しいコードの発行が必要です（sekisho operator code）。",
            "It tells a code, so it is not sent again: it takes a new one (sekisho operator code).",
        ),
    }
)
#: What came of a form -> words, and the class of their notice.
SAID: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "noted": (("応対記録を残しました。", "The note was kept."), "good"),
        "released": (
            ("保留を解除しました。順に送信されます。", "They are let go, and leave in turn."),
            "good",
        ),
        "returned": (
            (
                "返送を記録しました。住所を確認し、パスワードを新しくしてください。",
                "It is recorded as returned. Have the address put right, and a new password made.",
            ),
            "good",
        ),
        "no_mark": (
            (
                "返送の理由を1行・500文字以内で入力してください。",
                "Say what is written on it, in one line of up to 500 characters.",
            ),
            "problem",
        ),
        "not_there": (
            ("送付済みのはがきではないため、記録できません。", "It is no postcard that was sent."),
            "problem",
        ),
        "suspended": (
            (
                "利用を停止しました。この利用者の証明書では、もうログインできません。",
                "Suspended: nobody logs in with the certificates of this user.",
            ),
            "good",
        ),
        "nothing": (
            (
                "停止できる有効な証明書はありませんでした。記録は残しました。",
                "There was no good certificate to stop; the line was kept.",
            ),
            "warning",
        ),
        "again": (
            (
                "送信待ちに入れました。まもなく登録のアドレスへ送信されます。",
                "It is queued, and leaves for the recorded address soon.",
            ),
            "good",
        ),
        "reset_mail": (
            (
                "ログインパスワードを再設定しました。これまでのパスワードは使用できません。新しい初回パスワードは、"
                "「ログインパスワード再設定のお知らせ」のメールで、登録のアドレスにすぐに届きます。"
                "ご本人は、次回のログイン時にパスワードを変更します。証明書はそのまま使えます。",
                "The login password is reset: the old one opens nothing. The new first one comes at once by "
                "email, to the recorded address, and is changed at the next login. Certificates stay.",
            ),
            "good",
        ),
        "reset_postcard": (
            (
                "ログインパスワードを再設定しました。これまでのパスワードは使用できません。新しい初回パスワードは"
                "はがきで届きます（1週間程度）。ご本人は、次回のログイン時にパスワードを変更します。"
                "証明書はそのまま使えます。",
                "The login password is reset: the old one opens nothing. The new first one comes by "
                "postcard, in a week or so, and is changed at the next login. Certificates stay.",
            ),
            "good",
        ),
        "no_reset": (
            (
                "利用者または団体が停止中のため、ログインパスワードを再設定できません。",
                "The user or the organisation is stopped: there is no login to reset.",
            ),
            "problem",
        ),
        "proposed_already": (
            (
                "同じ再設定がすでに起案され、決定を待っています（「承認待ち」をご覧ください）。",
                "The same reset is proposed already, and waits: see the proposals.",
            ),
            "problem",
        ),
        "no_reset_reason": (
            (
                "再設定の理由を1行（500文字以内）で入力してください。",
                "Please say why it is reset, in one line of up to 500 characters.",
            ),
            "problem",
        ),
        "no_note": (
            (
                "応対の内容を1行（500文字以内）で入力してください。",
                "Please write one line of up to 500 characters.",
            ),
            "problem",
        ),
        "no_reason": (
            (
                "停止の理由を1行（500文字以内）で入力してください。",
                "Please say why, in one line of up to 500 characters.",
            ),
            "problem",
        ),
        "not_again": (
            (
                "このメールは再送できません。本日すでに再送したか、手続きが終わっています。",
                "It cannot be sent again: it was today already, or what it is about has ended.",
            ),
            "problem",
        ),
    }
)
