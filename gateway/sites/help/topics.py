"""The help's table of contents, in the manual's order and with its headings."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.web.browsers import Family
from gateway.web.words import Text


@dataclass(frozen=True)
class Topic:
    """A page: ``/<slug>``, written in ``templates/ja/<slug>.html`` and ``templates/en/<slug>.html``."""

    slug: str
    title: Text
    #: What the page is for, where the heading does not say it.
    about: Text = ("", "")


TOPICS: tuple[Topic, ...] = (
    Topic(
        "flow",
        ("1. 事務フロー", "1. Procedures"),
        (
            "ユーザーID追加発行・クライアント証明書再発行の流れ",
            "Adding a user ID, and reissue of a client certificate",
        ),
    ),
    Topic(
        "pickup",
        ("2. クライアント証明書取得のお手続き", "2. Getting the client certificate"),
        (
            "メールの受取から、パソコンへの取得（インストール）まで",
            "From the email to the certificate on your PC",
        ),
    ),
    Topic(
        "renewal",
        ("3. クライアント証明書有効期限到来メール受取後の対応（更新）", "3. Renewal"),
        ("有効期限日の30日前からのお手続き", "From 30 days before the expiry date"),
    ),
    Topic(
        "reapplication",
        ("3. クライアント証明書有効期限到来メール受取後の対応（更新の再申請）", "3. Resuming a renewal"),
        (
            "更新手続きを中断した場合・パスワードを失念した場合",
            "After an interruption, or a forgotten password",
        ),
    ),
    Topic(
        "verify",
        ("4. 証明書の確認方法", "4. Checking your certificate"),
        (
            "発行者・発行先・有効期限の確認、有効期限が切れた証明書の削除",
            "Issuer, subject and validity; deleting expired certificates",
        ),
    ),
    Topic("popups", ("5-1. ポップアップブロックの解除方法", "5-1. Allowing pop-ups")),
    Topic("history", ("5-2. 履歴の削除方法", "5-2. Clearing the browsing history")),
    Topic("faq", ("5-3. その他のよくあるご照会", "5-3. Frequently asked questions")),
    Topic(
        "trouble",
        (
            "証明書を選択できない・ログインできないとき",
            "If you cannot choose the certificate or log in",
        ),
        (
            "選択画面、ブラウザの記憶、Firefox、通信の検査、ログインのパスワード、パソコンの時計",
            "The browser's memory, Firefox, inspected connections, the login password, the PC's clock",
        ),
    ),
    Topic(
        "cookies",
        ("Cookieの許可方法", "Allowing cookies"),
        (
            "「Cookieが保存されませんでした」と表示されるとき",
            "If “The cookie was not saved” is shown",
        ),
    ),
    Topic(
        "chooser",
        ("証明書の選択画面", "Choosing the certificate"),
        ("Edge、Chrome、Firefox、Safariの画面", "What Edge, Chrome, Firefox and Safari show"),
    ),
    Topic(
        "mac",
        ("Macでの手順", "Steps for Mac"),
        ("キーチェーンへの読み込みと確認", "Importing into the keychain, and checking it"),
    ),
    Topic(
        "firefox",
        ("Firefoxでの手順", "Steps for Firefox"),
        (
            "Firefoxへの読み込み、Windows・macOSの証明書の使用",
            "Importing into Firefox, or using the certificates of Windows or macOS",
        ),
    ),
    Topic(
        "hosts",
        ("許可が必要なURL", "Addresses to allow"),
        ("団体様のシステムのご担当者向け", "For your network administrator"),
    ),
    Topic(
        "certificates",
        ("認証局の証明書", "Certificates of the CA"),
        ("発行者の証明書と拇印", "Certificates of the issuer, with thumbprints"),
    ),
    Topic("glossary", ("用語・略称", "Terms and abbreviations")),
    Topic(
        "contact",
        ("ご照会先", "Help desk"),
        (
            "電話番号、受付時間、照会番号、メールの送信元",
            "Telephone, hours, reference numbers, sender of our emails",
        ),
    ),
)

#: The browsers that the manual has steps for; a visitor's own comes first.
_COVERED = (Family.EDGE, Family.CHROME)


def browsers_for(family: Family) -> tuple[Family, ...]:
    """The order in which the steps per browser are shown."""
    return tuple(sorted(_COVERED, key=lambda each: each is not family))
