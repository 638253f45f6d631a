"""What people read on the service's site when a path of the service behind was not handed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.sites.service import visitors
from gateway.web.words import Text, Words


@dataclass(frozen=True)
class First:
    """What comes before a path that needs a login: its page, and what those are told who ask for none."""

    page: str
    words: Words
    link: Text


#: By the relay's code.
FIRST: Mapping[str, First] = {
    "login": First(
        visitors.LOGIN,
        Words(
            403,
            ("ログインしてください", "Please log in first"),
            (
                "このページのご利用にはログインが必要です。ログインしていないか、ログインの有効時間が過ぎています。",
                "This page needs a login. You are not logged in, or no longer.",
            ),
            (
                "ログイン画面を開き、ユーザーIDとパスワードを入力してください。",
                "Please open the login page and enter your user ID and password.",
            ),
        ),
        ("ログイン画面を開く", "Open the login page"),
    ),
    "password": First(
        visitors.PASSWORD,
        Words(
            403,
            ("パスワードを変更してください", "Please change your password first"),
            (
                "初回のパスワードを変更するまで、このページはご利用いただけません。",
                "This page opens once you have replaced the password you were sent.",
            ),
            (
                "パスワードの変更画面を開き、新しいパスワードを入力してください。",
                "Please open the page for it and enter a new password.",
            ),
        ),
        ("パスワードの変更画面を開く", "Change the password"),
    ),
}

#: What a service worker's script gets; see `relay.Relay.begin`.
_NO_WORKER = Words(
    403,
    ("この機能はご利用いただけません", "Not available here"),
    (
        "ページの動作を変更するプログラム（Service Worker）は、このサイトでは許可されていません。",
        "Programs that change how pages work (service workers) are not permitted on this site.",
    ),
    ("ページはそのままご利用いただけます。", "The pages work without them: just go on."),
)

#: Outside of the hours of the service behind; its Retry-After says until when.
CLOSED = Words(
    503,
    ("ただいまご利用時間外です", "Closed at this time"),
    (
        "オンラインサービスの業務画面は、ただいまご利用時間外です。",
        "The online service is closed at this time.",
    ),
    (
        "上記の日時を過ぎてから、もう一度お試しください。証明書の確認、再発行の申請、紛失・盗難の届出は、いつでもご利用いただけます。",
        "Please come back then. Certificates can be looked at, and a loss reported, at any time.",
    ),
    moment=("次の開始日時：", "Opens: "),
)

WORKERS: Mapping[str, Words] = dict.fromkeys(("service_worker", "old_worker"), _NO_WORKER)

_AGAIN = ("しばらくしてからもう一度お試しください。", "Please try again in a little while.")
_CALL = (
    "解消しない場合は、照会番号を下記のご照会先へお伝えください。",
    "If it goes on, give the help desk the reference number.",
)
#: Status -> page, for whatever has no code of its own.
UPSTREAM: Mapping[int, Words] = {
    400: Words(
        400,
        ("処理できませんでした", "The request could not be handled"),
        ("送信されたデータの形式が正しくありません。", "What was sent is malformed."),
        ("前の画面に戻り、もう一度お試しください。", "Please go back and try again."),
    ),
    502: Words(
        502,
        ("サービスに接続できませんでした", "The service could not be reached"),
        (
            "サービス側で問題が発生しています。ログインした状態は保たれています。",
            "You are still logged in. The service behind this page has a problem.",
        ),
        (_AGAIN[0] + _CALL[0], f"{_AGAIN[1]} {_CALL[1]}"),
    ),
    503: Words(
        503,
        ("サービスが混み合っています", "The service is busy"),
        ("ログインした状態は保たれています。", "You are still logged in."),
        _AGAIN,
    ),
    504: Words(
        504,
        ("サービスから応答がありません", "The service does not answer"),
        (
            "ログインした状態は保たれています。操作が完了したかどうかを、後ほどご確認ください。",
            "You are still logged in. Please check later whether your action was completed.",
        ),
        (_AGAIN[0] + _CALL[0], f"{_AGAIN[1]} {_CALL[1]}"),
    ),
}
