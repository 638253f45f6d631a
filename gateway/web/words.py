"""What people read when something is refused: (Japanese, English) per code, and the one next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ca.certificates import serial_in_chooser
from ca.trust import CertificateState
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import CAUSES

Text = tuple[str, str]


def place_of(language: str) -> int:
    """Where the words of a language stand in a `Text`."""
    return 0 if language == "ja" else 1


#: Z4, letter for letter as in the manual's FAQ 4.
NOT_AVAILABLE_JA = "PKCS# データが見つからないか、あるいは取得が許可されていません。"


@dataclass(frozen=True)
class Words:
    """A page about something that went wrong: status, heading, what happened, the next step."""

    status: int
    title: Text
    text: Text
    next_step: Text
    #: What a moment that goes with it is.
    moment: Text = ("日時：", "Moment: ")
    #: Whether the next step is to choose another certificate, or to apply for a reissue: its link is first.
    choose_again: bool = False
    reissue: bool = False


_REISSUE: Text = (
    "クライアント証明書の再発行を申請してください（オンライン操作マニュアル第3章、または再発行申請書をご参照ください）。",
    "Please apply for a reissue of the certificate (online, or with the paper form).",
)
_CALL: Text = (
    "下記のご照会先へ、照会番号をお伝えください。",
    "Please call the help desk below and give the reference number.",
)
_STOLEN: Text = (
    "パソコンの紛失・盗難の届出を受け付けたため、発行済みの証明書の利用を停止しています。",
    "The PC was reported lost or stolen, so all issued certificates are suspended.",
)
_STOLEN_NEXT: Text = (
    "新しい証明書のご案内が届くまでお待ちください。パソコンが見つかった場合、またはお心当たりがない場合は、"
    "下記のご照会先へ照会番号をお伝えください。",
    "Please wait for the email about the new certificate. If the PC was found, or you did not report it, "
    "call the help desk below and give the reference number.",
)
_BACK: Text = ("前の画面に戻り、入力しなおしてください。", "Please go back and enter it again.")

#: Refusal code -> page. A test holds that every code of ``enroll.refusals`` is here.
REFUSALS: Mapping[str, Words] = MappingProxyType(
    {
        "bad_credentials": Words(
            403,
            ("認証できませんでした", "Not authenticated"),
            (
                "ユーザーIDまたはパスワードに誤りがあります。",
                "The user ID or password is wrong.",
            ),
            (
                "パスワードは大文字と小文字を区別します（ユーザーIDは区別しません）。"
                "Caps Lockをご確認のうえ、入力しなおしてください。誤りが続くと、受付を一時停止します。",
                "Please enter them again. Passwords are case-sensitive, user IDs are not: check Caps Lock. "
                "After too many wrong attempts, entry is blocked for a while.",
            ),
        ),
        "wrong_user_id": Words(
            403,
            ("ユーザーIDと証明書が異なります", "User ID and certificate differ"),
            (
                "入力されたユーザーIDは、選択された証明書のユーザーIDと異なります。",
                "The user ID that you entered is not the one of the certificate that was chosen.",
            ),
            (
                "ユーザーIDをご確認ください。ご自身の証明書でない場合は、証明書を選択しなおしてください。",
                "Please check the user ID. If the certificate is not yours, choose another one.",
            ),
            choose_again=True,
        ),
        "throttled": Words(
            429,
            ("受付を一時停止しています", "Entry is blocked for a while"),
            (
                "入力の誤り、または短時間に多くの操作が続いたため、受付を一時停止しています。",
                "Entry is blocked for a while because of too many attempts.",
            ),
            (
                "上記の日時を過ぎてから、もう一度お試しください。証明書やユーザーIDはそのままご使用いただけます。",
                "Please try again after the time above. Your certificate and user ID are not affected.",
            ),
            moment=("受付の再開：", "Try again after: "),
        ),
        "not_available": Words(
            410,
            ("証明書を取得できません", "You cannot get the certificate"),
            (
                NOT_AVAILABLE_JA,
                "The PKCS# data was not found, or you are not permitted to get it.",
            ),
            (
                "当メールからクライアント証明書の取得はできません。クライアント証明書の再発行手続きが必要です。"
                "（オンライン操作マニュアル第3章をご参照ください。）",
                "This email can no longer be used to get the certificate. Please apply for a reissue.",
            ),
            reissue=True,
        ),
        "password_empty": Words(
            422,
            ("パスワードを入力してください", "Enter a password"),
            ("パスワードが入力されていません。", "The password is empty."),
            (
                "半角英数字で任意のパスワードを入力してください。",
                "Please choose a password of half-width letters and digits.",
            ),
        ),
        "password_characters": Words(
            422,
            ("パスワードの文字を確認してください", "Check the characters of the password"),
            (
                "パスワードに半角英数字以外の文字が含まれています。",
                "The password has characters other than half-width letters and digits.",
            ),
            (
                "半角英数字（A～Z、a～z、0～9）だけで入力しなおしてください。",
                "Please use only A-Z, a-z and 0-9.",
            ),
        ),
        "password_too_long": Words(
            422,
            ("パスワードが長すぎます", "The password is too long"),
            ("パスワードが長すぎます。", "The password is too long."),
            ("31文字以内のパスワードをおすすめします。", "Up to 31 characters are recommended."),
        ),
        "password_mismatch": Words(
            422,
            ("パスワードが一致しません", "The passwords differ"),
            (
                "「パスワード」と「パスワードの確認」が一致しません。",
                "The password and its confirmation differ.",
            ),
            ("同じパスワードを2回入力してください。", "Please enter the same password twice."),
        ),
        "request_id_mismatch": Words(
            422,
            ("リクエストIDを確認してください", "Check the request ID"),
            ("リクエストIDに誤りがあります。", "The request ID is wrong."),
            (
                "メールに記載の16桁の数字を半角で入力しなおしてください。",
                "Please enter the 16 digits from the email again.",
            ),
        ),
        "not_yet_renewable": Words(
            403,
            ("まだ更新期間ではありません", "Too early to renew"),
            (
                "クライアント証明書を更新できる期間は、まだ始まっていません。",
                "The period in which the certificate can be renewed has not begun.",
            ),
            (
                "更新のご案内メールが届いてからお手続きください。それまでは現在の証明書をそのままご使用いただけます。",
                "Please wait for the renewal email; until then the present certificate keeps working.",
            ),
            moment=("更新できる日時：", "It can be renewed from: "),
        ),
        "renewal_over": Words(
            403,
            ("更新の有効期限日を過ぎています", "The renewal period is over"),
            (
                "クライアント証明書の有効期限が過ぎたため、更新できません。",
                "The certificate has expired and cannot be renewed.",
            ),
            ("クライアント証明書再発行をして取得しなおしてください。", _REISSUE[1]),
            moment=("有効期限：", "Valid until: "),
            reissue=True,
        ),
        "superseded": Words(
            403,
            ("この証明書は使用できません", "This certificate has been replaced"),
            (
                "再発行により、この証明書は無効になりました。",
                "A reissued certificate has taken this one's place.",
            ),
            (
                "新しい証明書を選択してください。選択画面が表示されない場合はブラウザを再起動してください。",
                "Please choose the new certificate; restart the browser if it does not ask.",
            ),
            choose_again=True,
        ),
        "renewed": Words(
            403,
            ("この証明書は更新済みです", "This certificate has been renewed"),
            (
                "更新後の証明書のご利用が始まったため、更新前のこの証明書は無効になりました。",
                "The renewed certificate is in use, so this one has been invalidated.",
            ),
            (
                "更新後の証明書を選択してください。選択画面が表示されない場合はブラウザを再起動してください。",
                "Please choose the renewed certificate; restart the browser if it does not ask.",
            ),
            choose_again=True,
        ),
        "revoked": Words(
            403,
            ("この証明書は失効しています", "This certificate has been revoked"),
            (
                "失効の手続きが行われたため、この証明書はご利用いただけません。",
                "This certificate has been revoked and cannot be used.",
            ),
            (
                "ほかに有効な証明書がある場合は選択しなおしてください。"
                "再発行をすでに申請された場合は、「クライアント証明書取得に関するご案内」メールから新しい証明書を取得してください。"
                "いずれでもない場合は再発行を申請してください。",
                "Choose another valid certificate if you have one. If you applied for a reissue already, "
                "get the new one from the pick-up email. Otherwise apply for a reissue.",
            ),
            choose_again=True,
            reissue=True,
        ),
        "withdrawn": Words(
            403,
            ("この証明書の申請は取り消されています", "The request of this certificate was withdrawn"),
            (
                "ユーザーIDの利用停止または申請の取消により、この証明書は無効になりました。",
                "The user ID was suspended or the request withdrawn, so the certificate is invalid.",
            ),
            _CALL,
        ),
        "pickup_over": Words(
            403,
            ("この証明書の取得期限が過ぎています", "The pick-up period of this certificate is over"),
            (
                "取得期限までに取得されなかったため、この証明書は無効になりました。",
                "The certificate was not picked up in time and has been invalidated.",
            ),
            _REISSUE,
            reissue=True,
        ),
        "theft_reported": Words(
            403,
            ("証明書の利用を停止しています", "The certificates are suspended"),
            _STOLEN,
            _STOLEN_NEXT,
        ),
        "user_disabled": Words(
            403,
            ("ご利用いただけません", "Not available"),
            (
                "このユーザーIDは現在ご利用いただけません。",
                "This user ID is suspended.",
            ),
            _CALL,
        ),
        "wrong_user": Words(
            403,
            ("別のユーザーの証明書です", "The certificate belongs to another user"),
            (
                "提示されたクライアント証明書は、別のユーザーのものです。",
                "The client certificate that was presented belongs to another user.",
            ),
            (
                "ご自身の証明書を選択しなおしてください。",
                "Please choose your own certificate.",
            ),
            choose_again=True,
        ),
        "other_certificate": Words(
            403,
            ("別の証明書が選択されています", "Another certificate was chosen"),
            (
                "この画面は、選択された証明書の更新のものではありません。",
                "This page is not for the renewal of the certificate you chose.",
            ),
            (
                "メールに記載の証明書を選択しなおしてください。",
                "Please choose the certificate named in the email.",
            ),
            choose_again=True,
        ),
        "unknown_certificate": Words(
            403,
            ("証明書を確認できません", "Unknown certificate"),
            (
                "提示されたクライアント証明書は、当サービスに登録されていません。",
                "The client certificate is not in our register.",
            ),
            _CALL,
        ),
        "weak_password": Words(
            422,
            ("パスワードの条件を満たしていません", "The password does not meet the rule"),
            (
                "パスワードは半角8文字以上で、英字と数字の両方を含めてください。",
                "Use at least eight half-width characters with letters and digits among them.",
            ),
            _BACK,
        ),
        "password_is_user_id": Words(
            422,
            ("パスワードの条件を満たしていません", "The password does not meet the rule"),
            (
                "ユーザーIDと同じパスワードは使用できません。",
                "The password must not be the user ID.",
            ),
            _BACK,
        ),
        "guessable_password": Words(
            422,
            ("推測されやすいパスワードです", "The password is easy to guess"),
            (
                "推測されやすいパスワードのため、使用できません。よく使われる言葉・氏名・年・連続した文字だけでなく、"
                "関係のない言葉を3つ以上組み合わせるなどしてください。",
                "The password is easy to guess. Use more than a common word, a name, a year or a run of "
                "characters: for example three words that have nothing to do with each other.",
            ),
            _BACK,
        ),
        "same_password": Words(
            422,
            ("同じパスワードは使用できません", "Choose a different password"),
            (
                "現在と同じパスワードには変更できません。",
                "The new password is the same as the current one.",
            ),
            _BACK,
        ),
        "invalid_input": Words(
            422,
            ("入力内容を確認してください", "Check what you entered"),
            ("入力されていない項目、または誤った項目があります。", "A field is missing or malformed."),
            _BACK,
        ),
        "not_permitted": Words(
            403,
            ("この操作はできません", "Not permitted"),
            (
                "この操作を行う権限がありません。",
                "You do not have permission to do this.",
            ),
            (
                "団体の管理者の方にご依頼ください。",
                "Please ask the administrator of your organisation.",
            ),
        ),
        "not_found": Words(
            404,
            ("ページが見つかりません", "Not found"),
            ("お探しのページまたはデータはありません。", "There is no such page or entry."),
            ("URLをご確認ください。", "Please check the address."),
        ),
        "conflict": Words(
            409,
            ("すでに処理されています", "Already done"),
            (
                "すでに登録または処理されています。",
                "It exists already, or was decided meanwhile.",
            ),
            ("最新の状態をご確認ください。", "Please look at the current state."),
        ),
        "limit_reached": Words(
            403,
            ("上限に達しています", "Limit reached"),
            (
                "申請または発行できる数の上限に達しています。",
                "The limit of applications or certificates is reached.",
            ),
            _CALL,
        ),
        "profile_unmet": Words(
            403,
            ("証明書に必要な登録情報が足りません", "Required information is not registered"),
            (
                "証明書に記載する情報（部署など）が登録されていないため、発行できません。"
                "お手続きの内容と現在の証明書はそのままです。",
                "The certificate must contain information about you (such as your department) that is not "
                "registered. Nothing has changed, and your present certificate remains valid.",
            ),
            _CALL,
        ),
        "clock_in_doubt": Words(
            503,
            ("システムの時計を確認しています", "The clock of the system is being checked"),
            (
                "確認が終わるまで、期限に関わるお手続きを一時停止しています。お手続きの内容と期限はそのまま保たれます。",
                "Procedures that depend on dates are paused until this is done. Nothing will be lost.",
            ),
            (
                "しばらくしてからもう一度お試しください。お急ぎの場合は、照会番号を下記のご照会先へお伝えください。",
                "Please try again later, or call the help desk and give the reference number.",
            ),
        ),
        "issuing_later": Words(
            503,
            ("証明書の発行に時間がかかっています", "Issuing takes longer than usual"),
            (
                "申請は受け付けました。証明書はまだ発行されていませんが、お手続きの内容は失われません。",
                "Your request is recorded. The certificate is not issued yet; nothing you did is lost.",
            ),
            (
                "数分後に前の画面へ戻り、もう一度同じ操作をしてください。解消しない場合は、照会番号を下記のご照会先へお伝えください。",
                "Go back in a few minutes and do the same again. If it goes on, call the help desk below.",
            ),
        ),
        "cross_site": Words(
            403,
            ("この画面からは操作できません", "Refused"),
            (
                "別のサイトからの操作のため、受け付けませんでした。",
                "The request came from another site and was not accepted.",
            ),
            (
                "メールに記載のURLから、もう一度お手続きください。",
                "Please start again from the address in the email.",
            ),
        ),
        "unavailable": Words(
            503,
            ("ただいまご利用いただけません", "Not available at the moment"),
            (
                "システムの都合により、ただいまお手続きを受け付けられません。今回の操作は登録されていません。",
                "The system cannot take anything at the moment. Nothing of what you just did was recorded.",
            ),
            (
                "しばらくしてから、同じ操作をもう一度行ってください。解消しない場合は、照会番号を下記のご照会先へお伝えください。",
                "Please do the same again a little later; if it persists, tell the help desk the number.",
            ),
        ),
        "ours": Words(
            500,
            ("処理できませんでした", "Something went wrong"),
            (
                "システムで問題が発生しました。入力された内容で証明書が二重に発行されることはありません。",
                "The system had a problem. No certificate is issued twice because of it.",
            ),
            (
                "しばらくしてからもう一度お試しください。解消しない場合は、照会番号を下記のご照会先へお伝えください。",
                "Please try again later; if it persists, give the help desk the reference number.",
            ),
        ),
    }
)

#: Beside Z4: why (`enrollment.why_over`), for whoever has the right password or certificate.
_KEEP_IT: Text = (
    "パソコンに取得できている場合、再発行のお手続きは不要です。そのままご使用ください。"
    "再発行のお手続きが必要なのは、取得できていない場合のみです。",
    " If it is installed on your PC, continue to use it: a reissue is needed only if it is not.",
)
#: Of `WHY_OVER`: after these the certificate may well be on the PC.
MAY_BE_THERE = frozenset({"used", "downloads", "window", "lost"})
#: What to do then: nothing, perhaps. Z4's own words are for whoever has it nowhere.
LOOK_FIRST: Text = (
    "当メールからクライアント証明書の取得はできません。"
    "パソコンに取得できているか、導通確認サイトでご確認ください。取得できていない場合は、"
    "クライアント証明書の再発行手続きが必要です。（オンライン操作マニュアル第3章をご参照ください。）",
    "This email can no longer be used to get the certificate. See on the connectivity test if it is on "
    "your PC. If it is not, please apply for a reissue.",
)
WHY_OVER: Mapping[str, Text] = MappingProxyType(
    {
        "used": (
            "この証明書は、すでにログインに使用されているため、取得しなおすことはできません。" + _KEEP_IT[0],
            "This certificate has already been used to log in, so it cannot be downloaded again."
            + _KEEP_IT[1],
        ),
        "downloads": (
            "ダウンロードの回数が上限に達したため、取得しなおすことはできません。" + _KEEP_IT[0],
            "It has been downloaded the maximum number of times and cannot be downloaded again."
            + _KEEP_IT[1],
        ),
        "window": (
            "取得できる期間が過ぎています。" + _KEEP_IT[0],
            "The download period is over." + _KEEP_IT[1],
        ),
        "lost": (
            "この証明書は、システムの復旧に伴い取得しなおすことができなくなりました。" + _KEEP_IT[0],
            "Since our system was restored it can no longer be downloaded." + _KEEP_IT[1],
        ),
        "superseded": (
            "再発行のお手続きが行われたため、以前のご案内は使用できません。新しい「クライアント証明書取得に関するご案内」"
            "メールが届いている場合は、そのメールからお手続きください。",
            "It has been replaced by a reissue. If the new pick-up email has arrived, please use that one.",
        ),
        "renewed": (
            "更新後の証明書のご利用が始まったため、更新前の証明書は無効になりました。",
            "The renewed certificate is in use, so this one has been invalidated.",
        ),
        "revoked": ("この証明書は失効しています。", "This certificate has been revoked."),
        "withdrawn": (
            "ユーザーIDの利用停止または申請の取消により、このお手続きは取り消されています。",
            "The user ID was suspended or the request withdrawn.",
        ),
    }
)


def newer_one(there: Enrollment) -> Text:
    """Which certificate has taken the place of one that was presented: reissued, or renewed before."""
    serial = serial_in_chooser(there.serial or "")
    ja, en = _NEWER["reissue" if there.kind == "reissue" else ""]
    return (
        f"{ja}（コモンネーム {there.common_name}、シリアル番号が {serial} で"
        "始まるもの）を選択してください。以前の証明書は、パソコンから削除してください。",
        f"Choose the {en} (common name {there.common_name}, serial number beginning with "
        f"{serial}), and delete the former one from the PC.",
    )


_NEWER: Mapping[str, Text] = MappingProxyType(
    {"reissue": ("再発行された新しい証明書", "one that was reissued"), "": ("新しい証明書", "new one")}
)

#: What the links of such pages say.
LOGIN_FAILS: Text = ("ログインできないとき", "If you cannot log in")
CHOOSE_AGAIN: Text = ("証明書を選択しなおす", "Choose another certificate")
ABOUT_REISSUE: Text = ("再発行のお手続きを見る", "About reissue")
OPEN_RENEWAL: Text = ("更新のお手続きを開く", "Open the renewal site")
FIRST_PAGE: Text = ("最初の画面へ戻る", "Back to the first page")
OPEN_SERVICE: Text = ("オンラインサービスを開く", "Open the online service")
OPEN_TEST: Text = ("導通確認サイトを開く", "Open the connectivity test")

#: Where a login was right and the browser keeps no cookie of it.
COOKIES_BLOCKED = Words(
    403,
    ("Cookieが保存されませんでした", "The cookie was not saved"),
    (
        "入力内容に誤りはありませんが、ブラウザがこのサイトのCookieを保存しないため、先に進めません。",
        "Your entries are correct, but you cannot go on: the browser saves no cookies of this site.",
    ),
    (
        "ブラウザの設定でこのサイトのCookieを許可してから、もう一度お手続きください。",
        "Please allow cookies for this site in the settings of the browser, and try again.",
    ),
)
ALLOW_COOKIES: Text = ("Cookieの許可方法を見る", "How to allow cookies")
TRY_AGAIN: Text = ("もう一度手続きする", "Try again")

#: Codes that are about the certificate rather than the request: another one may be the right one.
ABOUT_CERTIFICATE = frozenset(
    {"not_yet_renewable", "wrong_user", "other_certificate", "unknown_certificate", *CAUSES.values()}
)

_CHOOSE: Text = (
    "正しい証明書を選択しなおしてください。選択画面が表示されない場合は、ブラウザを再起動してください。",
    "Please choose the right certificate; restart the browser if it does not ask.",
)

#: Instead of an expired certificate's page, where it can still be renewed (D8).
IN_GRACE = Words(
    403,
    ("クライアント証明書の有効期限が切れています", "The client certificate has expired"),
    (
        "提示されたクライアント証明書は有効期限が切れていますが、まだ更新できます。",
        "The client certificate that was presented has expired, but can still be renewed.",
    ),
    ("クライアント証明書更新のお手続きをしてください。", "Please renew it."),
)

#: Instead of how to get another one, to whom none would be given.
OUT_OF_USE: Text = (
    "このユーザーIDは現在ご利用を停止しているため、再発行は申請できません。再びご利用になる場合は、団体の管理者の方にご確認のうえ、"
    "下記のご照会先へ照会番号をお伝えください。",
    "Your user ID is suspended, so no reissue can be applied for. To use the service again, ask your "
    "organisation's administrator, and call the help desk below with the reference number.",
)

#: Instead of how to get another one, where the mail about it is on its way or there.
BY_THE_MAIL: Text = (
    "「クライアント証明書取得に関するご案内」のメールをお送りしています。そのメールから新しい証明書を取得してください。",
    "The pick-up email for a new certificate has been sent to you. Please get the new one from that email.",
)

#: An operator's certificate on a site of people's.
OF_AN_OPERATOR = Words(
    403,
    ("運用者用の証明書です", "This is an operator's certificate"),
    (
        "選択された証明書は運用者用です。運用コンソール以外のサイトではご利用いただけません。",
        "The certificate you chose is an operator's: it opens the console and no other site.",
    ),
    (
        "ご自身のクライアント証明書を選択しなおしてください。",
        "Please choose your own client certificate.",
    ),
    choose_again=True,
)

#: Certificate state -> page of a site that requires a certificate.
CERTIFICATE: Mapping[CertificateState, Words] = MappingProxyType(
    {
        CertificateState.NONE: Words(
            403,
            ("クライアント証明書が提示されませんでした", "No client certificate was presented"),
            (
                "このサイトのご利用にはクライアント証明書が必要です。証明書が取得されていない、有効期限が切れている、"
                "または選択画面でキャンセルされた可能性があります。",
                "This site needs a client certificate. It may not be installed, it may have expired, or "
                "you may have cancelled the choice.",
            ),
            (
                "「キャンセル」（Firefoxでは「証明書を送信しない」）を押された場合は、証明書を選択しなおしてください。"
                "有効期限が切れた証明書は選択画面に表示されないため、その場合はクライアント証明書再発行をして"
                "取得しなおしてください。"
                "それ以外の場合は、導通確認サイトで状態をご確認ください。",
                "If you cancelled (in Firefox: “Don’t send a certificate”), choose again. Browsers do not "
                "offer expired certificates: apply for a reissue then. Otherwise, check your PC with the "
                "connectivity test.",
            ),
            choose_again=True,
            reissue=True,
        ),
        CertificateState.EXPIRED: Words(
            403,
            ("クライアント証明書の有効期限が切れています", "The client certificate has expired"),
            (
                "提示されたクライアント証明書は有効期限が切れています。更新はできません。",
                "The client certificate that was presented has expired and cannot be renewed.",
            ),
            ("クライアント証明書再発行をして取得しなおしてください。", _REISSUE[1]),
            reissue=True,
        ),
        CertificateState.NOT_YET_VALID: Words(
            403,
            ("クライアント証明書がまだ有効ではありません", "The client certificate is not valid yet"),
            (
                "証明書の有効期間が始まっていません。",
                "The validity period of the certificate has not begun.",
            ),
            (
                "パソコンの日付と時刻をご確認のうえ、しばらくしてからお試しください。",
                "Please check the date and time of your PC and try again a little later.",
            ),
        ),
        CertificateState.REVOKED: Words(
            403,
            ("クライアント証明書は失効しています", "The client certificate has been revoked"),
            (
                "提示されたクライアント証明書は失効しています。再発行された場合は、新しい証明書をご使用ください。",
                "The client certificate has been revoked. If it was reissued, please use the new one.",
            ),
            (
                "新しい証明書がある場合は選択しなおしてください。"
                "再発行をすでに申請された場合は、「クライアント証明書取得に関するご案内」メールから新しい証明書を取得してください。"
                "いずれでもない場合は再発行を申請してください。",
                "Choose the new certificate if you have it. If you have applied for a reissue, get it from "
                "the pick-up email. Otherwise apply for a reissue.",
            ),
            choose_again=True,
            reissue=True,
        ),
        CertificateState.DISTRUSTED: Words(
            403,
            ("この発行者の証明書は使用できません", "Certificates of this issuer are no longer accepted"),
            (
                "提示されたクライアント証明書は、発行者（認証局）の安全を確認できなくなったため、有効期限内でも使用できません。"
                "お客様やパソコンに問題があるわけではありません。",
                "The issuer (CA) of the client certificate is no longer trusted, so it cannot be used "
                "although it has not expired. Nothing is wrong with you or your PC.",
            ),
            _REISSUE,
            reissue=True,
        ),
        CertificateState.UNASKED: REFUSALS["unavailable"],
        CertificateState.HELD: Words(
            403,
            ("クライアント証明書の利用を停止しています", "The client certificate is suspended"),
            _STOLEN,
            _STOLEN_NEXT,
        ),
        CertificateState.UNKNOWN_ISSUER: Words(
            403,
            ("別の発行者の証明書です", "The certificate is from another issuer"),
            (
                "提示された証明書は、当サービスの認証局が発行したものではありません。",
                "The certificate was not issued by the CA of this service.",
            ),
            _CHOOSE,
            choose_again=True,
        ),
        CertificateState.WRONG_PURPOSE: Words(
            403,
            ("用途の異なる証明書です", "The certificate is for another purpose"),
            (
                "提示された証明書は、クライアント認証用ではありません。",
                "The certificate is not for client authentication.",
            ),
            _CHOOSE,
            choose_again=True,
        ),
        CertificateState.UNKNOWN_CERTIFICATE: Words(
            403,
            ("証明書を確認できません", "Unknown certificate"),
            (
                "提示されたクライアント証明書は、当サービスに登録されていません。",
                "The client certificate is not in our register.",
            ),
            _CALL,
        ),
        CertificateState.UNVERIFIED: Words(
            403,
            ("証明書を確認できませんでした", "The certificate could not be verified"),
            (
                "今回の接続では、クライアント証明書を確認できませんでした。",
                "The client certificate could not be verified on this connection.",
            ),
            _CHOOSE,
            choose_again=True,
        ),
        CertificateState.MALFORMED: Words(
            403,
            ("証明書を読み取れません", "The certificate cannot be read"),
            (
                "提示された証明書の内容または署名に問題があります。",
                "The certificate or its signature is broken.",
            ),
            _CHOOSE,
            choose_again=True,
        ),
    }
)
