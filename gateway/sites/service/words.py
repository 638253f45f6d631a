"""What the service site says about one field, where the general words are too general."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from enroll.refusals import Refusal
from gateway.web.words import REFUSALS, Text

_FIELDS: Mapping[tuple[str, str], Text] = MappingProxyType(
    {
        ("missing", "user_id"): ("ユーザーIDを入力してください。", "Enter the user ID."),
        ("missing", "password"): ("パスワードを入力してください。", "Enter the password."),
        ("bad_credentials", "password"): ("パスワードに誤りがあります。", "The password is wrong."),
        ("bad_credentials", "current"): (
            "現在のパスワードに誤りがあります。",
            "The current password is wrong.",
        ),
        ("password_mismatch", "confirmation"): (
            "「新しいパスワード」と「新しいパスワードの確認」が一致しません。",
            "The new password and its confirmation differ.",
        ),
        ("conflict", "new"): (
            "パスワードは別の画面ですでに変更されています。",
            "The password was changed in another window meanwhile.",
        ),
        ("invalid_input", "reason"): ("再発行の理由を選択してください。", "Choose a reason."),
        ("invalid_input", "name"): (
            "氏名を100文字以内で入力してください。",
            "Enter a name of at most 100 characters.",
        ),
        ("invalid_input", "mail"): (
            "メールアドレスを半角で正しく入力してください（例：taro@example.jp）。",
            "Enter a valid email address, such as taro@example.jp.",
        ),
        ("invalid_input", "user_id"): (
            "ユーザーIDは半角の英字と数字、4～12文字で入力してください。",
            "A user ID has 4 to 12 characters: A-Z and 0-9.",
        ),
        ("invalid_input", "role"): ("権限を選択してください。", "Choose a role."),
        ("invalid_input", "language"): ("言語を選択してください。", "Choose a language."),
        ("invalid_input", "notice_by"): ("通知の方法を選択してください。", "Choose how to be told."),
        ("conflict", "name"): (
            "この氏名とメールアドレスのユーザーはすでに登録されています。「ユーザー一覧」でご確認ください。",
            "A user with this name and email address is already registered. See the list of users.",
        ),
        ("conflict", "user_id"): (
            "このユーザーIDはすでに使用されています。別のユーザーIDを入力してください。",
            "This user ID is taken. Enter another one.",
        ),
    }
)

#: What a page says after something was done; the key travels in the address as ``?done=``.
DONE: Mapping[str, Text] = MappingProxyType(
    {
        "password": ("パスワードを変更しました。", "The password has been changed."),
        "stopped": (
            "届出を受け付け、発行済みの証明書の利用を停止しました。",
            "The report has been received, and the issued certificates are suspended.",
        ),
        "applied": ("申請を受け付けました。", "The application has been received."),
        "already": (
            "この申請はすでに受け付けています。あらためて申請していただく必要はありません。",
            "This application has already been received; there is no need to apply again.",
        ),
        "language": ("表示とメールの言語を変更しました。", "The language has been changed."),
        "withdrawn": ("選択した認証情報を無効にしました。", "The selected credentials have been revoked."),
        "mail": ("メールアドレスを変更しました。", "The email address has been changed."),
        "suspended": (
            "利用を停止しました。発行済みの証明書はすべて失効しました。",
            "The user has been suspended, and all issued certificates are revoked.",
        ),
        "application_withdrawn": ("申請を取り下げました。", "The application has been withdrawn."),
        "ended": ("選択したログインを終了しました。", "That session has been ended."),
        "others": ("ほかのログインをすべて終了しました。", "All other sessions have been ended."),
    }
)

#: When a reissue ends the certificates that were issued before it.
ENDS: Mapping[str, Text] = MappingProxyType(
    {
        "held": (
            "届出により利用停止中（お手続きの完了と同時に失効）",
            "suspended, and revoked on completion",
        ),
        "at_once": ("お手続きの完了と同時に無効にする", "becomes invalid on completion"),
        "on_pickup": ("新しい証明書の取得後に無効にする", "becomes invalid when the new one is picked up"),
        "never": ("そのまま使用できる", "remains valid"),
        "untouched": ("この申請では無効になりません", "not invalidated by this application"),
    }
)

ROLES: Mapping[str, Text] = MappingProxyType(
    {"member": ("利用者", "Member"), "admin": ("管理者", "Administrator")}
)
NOTICES: Mapping[str, Text] = MappingProxyType(
    {"mail": ("メール", "Email"), "postcard": ("はがき", "Postcard")}
)
LANGUAGE_NAMES: Mapping[str, Text] = MappingProxyType(
    {"ja": ("日本語", "Japanese"), "en": ("英語（English）", "English")}
)
KINDS: Mapping[str, Text] = MappingProxyType(
    {
        "addition": ("ユーザーID追加発行", "Additional user ID"),
        "reissue": ("クライアント証明書再発行", "Certificate reissue"),
    }
)
CHANNELS: Mapping[str, Text] = MappingProxyType(
    {"online": ("オンラインサービス", "Online"), "paper": ("申請書", "Paper")}
)
#: Application state -> words and the colour of its label.
DECISIONS: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "submitted": (("受付済み（手続き中）", "Received, in progress"), "warn"),
        "approved": (("手続き完了", "Completed"), "good"),
        "withdrawn": (("取り下げ済み", "Withdrawn"), "plain"),
        "rejected": (("お受けできませんでした", "Declined"), "bad"),
    }
)
SITES: Mapping[str, Text] = MappingProxyType(
    {
        "service": ("オンラインサービス", "Online service"),
        "behind": ("オンラインサービス（業務画面）", "Online service (its own pages)"),
        "renewal": ("証明書の更新", "Certificate renewal"),
    }
)


def field_error(refusal: Refusal) -> dict[str, Text]:
    """The message of a refusal under the field at fault."""
    words = _FIELDS.get((refusal.code, refusal.field)) or REFUSALS[refusal.code].text
    return {refusal.field: words}


def missing(field: str) -> Text:
    """What a required field that was left empty says."""
    return _FIELDS["missing", field]
