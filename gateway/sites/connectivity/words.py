"""The sentences of the connectivity test as tables: (Japanese, English), and where each next step leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ca.certificates import serial_in_chooser
from ca.trust import CertificateState
from enroll.jst import shown
from enroll.requests.enrollment import Enrollment
from gateway.web import words
from gateway.web.browsers import Family
from gateway.web.context import Role
from gateway.web.words import Text

#: Seconds of a day, an hour, a minute and a second, with their names; the page's script spells by the same.
UNITS: tuple[tuple[int, Text], ...] = (
    (86400, ("日", " d ")),
    (3600, ("時間", " h ")),
    (60, ("分", " min ")),
    (1, ("秒", " s ")),
)


def duration(seconds: int) -> Text:
    """How far two clocks are apart, in its largest unit and the next: 25日, 1時間2分, 0秒."""
    rest, parts = abs(seconds), []
    for length, name in UNITS:
        count, rest = divmod(rest, length)
        parts.append((count, name))
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    told = [part for part in parts[first : first + 2] if part[0]] or parts[first:]
    ja, en = ("".join(f"{count}{name[language]}" for count, name in told) for language in (0, 1))
    return ja, en.strip()


@dataclass(frozen=True)
class Row:
    """A finding as data: ``good``, ``warn``, ``bad`` or ``open``, what was found, the next step."""

    level: str
    text: Text
    step: Text | None = None
    target: str = ""


@dataclass(frozen=True)
class Cause:
    """One of several possible causes, with the step for it."""

    cause: Text
    step: Text
    target: str = ""


#: Target -> what its link says. ``fresh`` and ``probe`` are host names of this site, the rest pages.
TARGETS: Mapping[str, Text] = MappingProxyType(
    {
        "fresh": ("もう一度試す", "Try again"),
        "probe": ("すべての発行者の証明書で確認する", "Test with certificates of any issuer"),
        "renewal": ("更新のお手続きを開く", "Open the renewal site"),
        "service": ("オンラインサービスを開く", "Open the online service"),
        "pickup": ("取得（インストール）の手順を見る", "How to install the certificate"),
        "verify": ("証明書の確認方法を見る", "How to check your certificates"),
        "reissue": ("再発行のお手続きを見る", "About reissue"),
        "choose": ("証明書の選び方を見る", "How to choose the certificate"),
        "phone": ("パソコンでのご利用について", "About using a PC"),
        "firefox": ("Firefoxの手順を見る", "Steps for Firefox"),
        "proxy": ("通信の検査について", "About inspected connections"),
        "popups": ("解除方法を見る", "How to allow pop-ups"),
        "cookies": ("Cookieの許可方法を見る", "How to allow cookies"),
        "history": ("履歴の削除方法を見る", "How to clear the history"),
        "hosts": ("許可が必要なURLの一覧を見る", "List of addresses to allow"),
        "contact": ("ご照会先を見る", "Help desk"),
    }
)

CERTIFICATE_TITLE: Text = ("クライアント証明書", "Client certificate")
BROWSER_TITLE: Text = ("ブラウザ", "Browser")
COOKIES_TITLE: Text = ("Cookie", "Cookies")
JAVASCRIPT_TITLE: Text = ("JavaScript", "JavaScript")
POPUPS_TITLE: Text = ("ポップアップ", "Pop-ups")
CLOCK_TITLE: Text = ("パソコンの時計", "PC clock")
TLS_TITLE: Text = ("暗号化通信（TLS）", "Encryption (TLS)")
PROXY_TITLE: Text = ("通信の検査・中継", "Inspection on the way")

#: By whether it was seen on a probe, where certificates of every issuer are offered.
VALID: Mapping[bool, Row] = MappingProxyType(
    {
        False: Row(
            "good",
            (
                "有効なクライアント証明書が提示されました。",
                "A valid client certificate was presented.",
            ),
            ("オンラインサービスへログインすることが可能です。", "You can log in to the online service."),
            "service",
        ),
        True: Row(
            "good",
            (
                "有効なクライアント証明書が提示されました。証明書はこのパソコンで使用できます。",
                "A valid client certificate was presented: it works on this PC.",
            ),
            (
                "ブラウザをすべて閉じて開きなおし、オンラインサービスでこの証明書を選択してください。",
                "Close every browser window, open the online service again and choose this certificate.",
            ),
            "service",
        ),
    }
)
EXPIRES_SOON = Row(
    "warn",
    (
        "有効なクライアント証明書が提示されました。有効期限が近づいています。",
        "A valid client certificate was presented. It will expire soon.",
    ),
    (
        "有効期限日までにクライアント証明書更新のお手続きをしてください。",
        "Please renew it before its end.",
    ),
    "renewal",
)

#: Of a certificate whose renewal was begun (R39).
BEGUN = Row(
    "warn",
    (
        "有効なクライアント証明書が提示されました。更新のお手続きが途中です。",
        "A valid client certificate was presented. Its renewal is under way.",
    ),
    (
        "証明書更新サイトを開き、「更新の再申請」から続けてください。",
        "Open the renewal site and continue with “Resume a renewal”.",
    ),
    "renewal",
)


def newer(there: Enrollment) -> Row:
    """Of a certificate that was renewed: the new one is to be chosen (E11)."""
    until, serial = shown(there.not_after_at or 0), serial_in_chooser(there.serial or "")
    return Row(
        "warn",
        (
            "有効なクライアント証明書が提示されました。新しい証明書があります"
            f"（コモンネーム {there.common_name}、シリアル番号 {serial}、有効期限 {until}）。",
            "A valid client certificate was presented. There is a newer one "
            f"(common name {there.common_name}, serial number {serial}, valid until {until}).",
        ),
        (
            f"次回は、選択画面の「シリアル番号」が {serial} で始まる証明書を選択してください。"
            "更新のお手続きは済んでいます。",
            f"Next time choose the one whose serial number begins with {serial} in the browser's list. "
            "It need not be renewed again.",
        ),
        "choose",
    )


def reissued(state: CertificateState, there: Enrollment) -> Row:
    """Of a certificate that a reissue ended, or that is good no more: which one took its place."""
    row = CERTIFICATE[state]
    return Row(row.level, row.text, words.newer_one(there), "fresh")


#: Instead of an expired certificate's row, where it can still be renewed (D8).
IN_GRACE = Row("bad", words.IN_GRACE.text, words.IN_GRACE.next_step, "renewal")

#: Every state but VALID and NONE.
CERTIFICATE: Mapping[CertificateState, Row] = MappingProxyType(
    {
        CertificateState.EXPIRED: Row(
            "bad",
            (
                "提示されたクライアント証明書は、有効期限が切れています。更新はできません。",
                "The client certificate has expired and can no longer be renewed.",
            ),
            ("クライアント証明書再発行をして取得しなおしてください。", "Please apply for a reissue."),
            "reissue",
        ),
        CertificateState.NOT_YET_VALID: Row(
            "bad",
            (
                "提示されたクライアント証明書は、有効期間がまだ始まっていません。",
                "The validity of the client certificate has not begun yet.",
            ),
            (
                "有効期間の開始日時を過ぎてから、もう一度お試しください。",
                "Please try again once its validity has begun.",
            ),
            "fresh",
        ),
        CertificateState.REVOKED: Row(
            "bad",
            (
                "提示されたクライアント証明書は、失効しています。再発行された場合は新しい証明書をご使用ください。",
                "The client certificate has been revoked. If it was reissued, please use the new one.",
            ),
            (
                "新しい証明書を選択してください。新しい証明書がない場合は、再発行を申請してください。",
                "Choose the new certificate; if there is none, apply for a reissue.",
            ),
            "fresh",
        ),
        CertificateState.DISTRUSTED: Row(
            "bad",
            words.CERTIFICATE[CertificateState.DISTRUSTED].text,
            (
                "「クライアント証明書取得に関するご案内」メールが届いている場合はそのメールから、ない場合は再発行を申請して、"
                "新しい証明書を取得してください。",
                "Get a new certificate: from the pick-up email if you have one, otherwise by a reissue.",
            ),
            "reissue",
        ),
        CertificateState.UNASKED: Row(
            "bad",
            words.CERTIFICATE[CertificateState.UNASKED].text,
            words.CERTIFICATE[CertificateState.UNASKED].next_step,
            "contact",
        ),
        CertificateState.HELD: Row(
            "bad",
            words.CERTIFICATE[CertificateState.HELD].text,
            (
                "新しい証明書のご案内が届くまでお待ちください。お心当たりがない場合は、ご照会先へ、照会番号をお伝えください。",
                "Please wait for the email about the new certificate. If you did not report it, call the "
                "help desk and give the reference number.",
            ),
            "contact",
        ),
        CertificateState.UNKNOWN_ISSUER: Row(
            "bad",
            (
                "別の発行者の証明書が提示されました。当サービスの証明書ではありません。",
                "The certificate is from another issuer, not from this service.",
            ),
            (
                "「発行者」が下記の名前の証明書を選択してください。表示されない場合は、証明書の取得が必要です。",
                "Choose the certificate of the issuer named below; if it is not offered, install it.",
            ),
            "fresh",
        ),
        CertificateState.WRONG_PURPOSE: Row(
            "bad",
            (
                "提示された証明書は、クライアント認証用ではありません。",
                "The certificate is not one for client authentication.",
            ),
            ("別の証明書を選択してください。", "Please choose another certificate."),
            "fresh",
        ),
        CertificateState.UNKNOWN_CERTIFICATE: Row(
            "bad",
            (
                "提示されたクライアント証明書は、当サービスに登録されていません。",
                "The client certificate is not in our register.",
            ),
            ("ご照会先へ、照会番号をお伝えください。", "Call the help desk and give the reference number."),
            "contact",
        ),
        CertificateState.UNVERIFIED: Row(
            "bad",
            (
                "今回の接続では、クライアント証明書を確認できませんでした。",
                "The client certificate could not be verified on this connection.",
            ),
            ("もう一度お試しください。", "Please try again."),
            "fresh",
        ),
        CertificateState.MALFORMED: Row(
            "bad",
            (
                "提示された証明書を読み取れません。内容または署名に問題があります。",
                "The certificate cannot be read; its content or signature is broken.",
            ),
            ("別の証明書を選択してください。", "Please choose another certificate."),
            "fresh",
        ),
    }
)

#: By whether it was seen on a probe.
NONE_TEXT: Mapping[bool, Text] = MappingProxyType(
    {
        False: (
            "クライアント証明書が提示されませんでした。次のいずれかが考えられます。",
            "No client certificate was presented. The reason may be one of the following.",
        ),
        True: (
            "どの発行者の証明書も提示されませんでした。次のいずれかが考えられます。",
            "No certificate of any issuer was presented. The reason may be one of the following.",
        ),
    }
)
_CANCELLED_BEFORE: Text = (
    "以前に選択画面で「キャンセル」（Firefoxでは「証明書を送信しない」）を押した",
    "The prompt was cancelled earlier (in Firefox: “Don’t send a certificate”)",
)
#: ``remembered``: the host was seen before. ``fresh``: it was not. ``restart``: there are no fresh ones.
NONE_CANCELLED: Mapping[str, Cause] = MappingProxyType(
    {
        "restart": Cause(
            _CANCELLED_BEFORE,
            (
                "ブラウザをすべて閉じて開きなおし、証明書を選択してください。",
                "Close every browser window, open this page again and choose the certificate.",
            ),
        ),
        "remembered": Cause(
            _CANCELLED_BEFORE,
            (
                "ブラウザは、終了するまで「キャンセル」したことを記憶します。「もう一度試す」で選択画面を表示し、証明書を選択してください。",
                "The browser remembers this until it is closed. Press “Try again” to be asked again.",
            ),
            "fresh",
        ),
        "fresh": Cause(
            (
                "選択画面で「キャンセル」（Firefoxでは「証明書を送信しない」）を押した",
                "The prompt was cancelled just now (in Firefox: “Don’t send a certificate”)",
            ),
            (
                "「もう一度試す」で選択画面を表示し、証明書を選択してください。",
                "Try again and choose the certificate.",
            ),
            "fresh",
        ),
    }
)
NONE: tuple[Cause, ...] = (
    Cause(
        (
            "このパソコンに証明書が取得（インストール）されていない",
            "The certificate is not installed on this PC",
        ),
        (
            "選択画面が一度も表示されない場合は、証明書が取得できているか確認してください。",
            "If the browser never asks, check whether the certificate is installed.",
        ),
        "verify",
    ),
    Cause(
        ("証明書の有効期限が切れている", "The certificate has expired"),
        (
            "ブラウザは、有効期限が切れた証明書を選択画面に表示しません。再発行をして取得しなおしてください。",
            "Browsers do not offer expired certificates. Please apply for a reissue.",
        ),
        "reissue",
    ),
    Cause(
        ("別の発行者の証明書しかない", "Only certificates of other issuers are installed"),
        (
            "すべての発行者の証明書を選択できる画面で確認してください。",
            "Use the page where the browser offers certificates of any issuer.",
        ),
        "probe",
    ),
)
NONE_ON_PROBE: tuple[Cause, ...] = (
    Cause(
        (
            "このブラウザで使用できる証明書が1つもない",
            "There is no certificate at all that this browser can use",
        ),
        (
            "取得のお手続きを、オンラインサービスをご使用のパソコンで行ってください。",
            "Install the certificate on the PC on which you use the online service.",
        ),
        "pickup",
    ),
    Cause(
        ("証明書の有効期限が切れている", "The certificate has expired"),
        ("再発行をして取得しなおしてください。", "Please apply for a reissue."),
        "reissue",
    ),
)
NONE_ON_PHONE = Cause(
    ("スマートフォン・タブレットからのアクセス", "You are on a phone or tablet"),
    (
        "クライアント証明書を取得したパソコンからアクセスしてください。",
        "Please use the PC on which the certificate is installed.",
    ),
    "phone",
)
NONE_IN_FIREFOX = Cause(
    ("Firefoxをご使用の場合", "Steps for Firefox"),
    (
        "設定により、Windowsに取得した証明書を使用しないことがあります。EdgeまたはChromeでお試しください。",
        "Its settings may keep it from using certificates installed in Windows. Try Edge or Chrome.",
    ),
    "firefox",
)

BROWSER_PHONE = Row(
    "warn",
    (
        "スマートフォンまたはタブレットからアクセスされています。クライアント証明書は、オンラインサービスをご使用のパソコンで取得・使用してください。",
        "This is a phone or tablet. Certificates are installed and used on the PC of the online service.",
    ),
    ("パソコンからアクセスしてください。", "Please use the PC."),
    "phone",
)
_COVERED = Row(
    "good", ("マニュアルの手順に対応しているブラウザです。", "This browser is covered by the manual.")
)
BROWSERS: Mapping[Family, Row] = MappingProxyType(
    {
        Family.EDGE: _COVERED,
        Family.CHROME: _COVERED,
        Family.FIREFOX: Row(
            "warn",
            (
                "Firefoxは、証明書を独自に保管することがあります。",
                "Firefox may keep certificates in a store of its own.",
            ),
            ("EdgeまたはChromeのご使用をおすすめします。", "We recommend Edge or Chrome."),
            "firefox",
        ),
        Family.SAFARI: Row(
            "warn",
            (
                "マニュアルに手順の記載がないブラウザです。",
                "The manual has no steps for this browser.",
            ),
            ("EdgeまたはChromeのご使用をおすすめします。", "We recommend Edge or Chrome."),
        ),
        Family.OTHER: Row(
            "warn",
            ("ブラウザの種類を判別できませんでした。", "We do not know this browser."),
            ("EdgeまたはChromeのご使用をおすすめします。", "We recommend Edge or Chrome."),
        ),
    }
)

COOKIES: Mapping[str, Row] = MappingProxyType(
    {
        "on": Row("good", ("Cookieを使用できます。", "Cookies work.")),
        "off": Row(
            "bad",
            (
                "Cookieがブロックされています。ログイン状態を保てません。",
                "Cookies are blocked; logging in will not work.",
            ),
            (
                "ブラウザの設定で、このサイトのCookieを許可してください。",
                "Allow cookies for this site in the browser's settings.",
            ),
            "cookies",
        ),
    }
)
#: Of a check that the browser makes: "" is what stands there until it has.
JAVASCRIPT: Mapping[str, Row] = MappingProxyType(
    {
        "": Row(
            "warn",
            (
                "JavaScriptが無効です。お手続きには影響しませんが、この画面の一部の項目は確認できません。",
                "JavaScript is off. Everything works without it, but some tests below cannot be made.",
            ),
            (
                "ブラウザの設定で有効にすると、すべての項目を確認できます。",
                "Switch it on in the browser's settings for the full test.",
            ),
        ),
        "on": Row("good", ("JavaScriptを使用できます。", "JavaScript works.")),
    }
)
POPUPS: Mapping[str, Row] = MappingProxyType(
    {
        "": Row(
            "open",
            (
                "取得・更新のお手続きにポップアップは使用しません。",
                "Pick-up and renewal use no pop-ups.",
            ),
        ),
        "allowed": Row("good", ("ポップアップは許可されています。", "Pop-ups are allowed.")),
        "blocked": Row(
            "warn",
            (
                "ポップアップがブロックされました。",
                "Pop-ups are blocked.",
            ),
            (
                "「ポップアップブロックの解除方法」に従って、サイトを追加してください。",
                "Allow them for our sites as the help describes.",
            ),
            "popups",
        ),
    }
)
CLOCK: Mapping[str, Row] = MappingProxyType(
    {
        "": Row(
            "open",
            (
                "パソコンの時計を、下記のサーバーの時刻（日本時間）と比べてください。",
                "Compare the clock of your PC with the server's (Japan time) below.",
            ),
        ),
        "good": Row("good", ("時計は合っています。", "The clock is correct.")),
        "ahead": Row(
            "warn",
            (
                "パソコンの時計が進んでいます。証明書が期限切れとして扱われることがあります。",
                "The PC's clock is fast; certificates may look expired.",
            ),
            ("パソコンの日付と時刻を合わせてください。", "Set the date and time of the PC."),
        ),
        "behind": Row(
            "warn",
            (
                "パソコンの時計が遅れています。証明書がまだ有効でないと扱われることがあります。",
                "The PC's clock is slow; certificates may look not yet valid.",
            ),
            ("パソコンの日付と時刻を合わせてください。", "Set the date and time of the PC."),
        ),
    }
)
_MOVED = Row(
    "open",
    (
        "デモの時計は動かすことができるため、パソコンの時計との差は問題ではありません。",
        "The clock of a demo can be moved: a difference means nothing here.",
    ),
)
CLOCK_DEMO: Mapping[str, Row] = MappingProxyType(
    {"": CLOCK[""], "good": CLOCK["good"], "ahead": _MOVED, "behind": _MOVED}
)

#: By whether it is TLS 1.3.
TLS: Mapping[bool, Row] = MappingProxyType(
    {
        True: Row("good", ("安全な方式で接続しています。", "The connection is secure.")),
        False: Row(
            "good",
            (
                "安全な方式で接続しています（TLS 1.2）。新しいブラウザではTLS 1.3になります。",
                "The connection is secure (TLS 1.2; newer browsers use TLS 1.3).",
            ),
        ),
    }
)
#: By whether an intermediary's headers were seen.
PROXY: Mapping[bool, Row] = MappingProxyType(
    {
        False: Row(
            "good",
            (
                "通信を検査する機器は検出されませんでした。",
                "No device was found that inspects the connection.",
            ),
        ),
        True: Row(
            "bad",
            (
                "通信が途中の機器で検査・中継されています。この場合、クライアント証明書は届きません。",
                "A device on the way inspects the connection; client certificates do not pass through it.",
            ),
            (
                "当サービスのURLを検査の対象外とするよう、システムのご担当者へご連絡ください。",
                "Ask your network administrator to exempt our addresses from inspection.",
            ),
            "proxy",
        ),
    }
)

SITES: Mapping[Role, Text] = MappingProxyType(
    {
        Role.PICKUP: ("証明書取得サイト", "Pick-up site"),
        Role.RENEWAL: ("証明書更新サイト", "Renewal site"),
        Role.SERVICE: ("オンラインサービス", "Online service"),
        Role.CONNECTIVITY: ("導通確認サイト", "Connectivity test"),
        Role.HELP: ("ヘルプ", "Help"),
    }
)
REACH: Mapping[str, Row] = MappingProxyType(
    {
        "": Row(
            "open",
            (
                "URLを開いて、画面が表示されるか確認してください。",
                "Open the address to check whether you can reach it.",
            ),
        ),
        "reached": Row("good", ("接続できます。", "Reachable.")),
        "blocked": Row(
            "bad",
            (
                "接続できません。団体様のセキュリティ設定でブロックされている可能性があります。",
                "It cannot be reached; your organisation's security settings may be blocking it.",
            ),
            (
                "対象のURLを、システムのご担当者へご連絡ください。",
                "Tell your network administrator the address.",
            ),
            "hosts",
        ),
    }
)
REACH_BY_HAND = Row(
    "open",
    (
        "URLを開いて確認してください。証明書の選択画面が表示されます。",
        "Open the address to check whether you can reach it. The browser will ask for a certificate.",
    ),
)
LEVELS: Mapping[str, Text] = MappingProxyType(
    {
        "good": ("良好", "Good"),
        "warn": ("注意", "Attention"),
        "bad": ("問題あり", "Problem"),
        "open": ("未確認", "Not tested"),
    }
)
