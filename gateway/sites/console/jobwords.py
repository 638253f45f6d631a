"""What the console says of jobs and of rows that were refused, in Japanese and English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from enroll.jobs.states import LABELS, State
from enroll.jobs.store import Line
from enroll.refusals import Refusal
from gateway.sites.console.detailwords import in_japanese
from gateway.web.words import REFUSALS, Text, place_of

_COLOURS = {
    State.WAITING: "warn",
    State.RUNNING: "warn",
    State.DONE: "good",
    State.CANCELLED: "plain",
    State.FAILED: "bad",
    State.UNDONE: "plain",
}
#: State of a job -> words and the colour of its chip.
STATES: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {str(state): (LABELS[state], _COLOURS[state]) for state in State}
)
#: What became of a row -> words and colour.
RESULTS: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "added": (("登録", "added"), "good"),
        "exists": (("変更なし（登録済み）", "was there already"), "plain"),
        "refused": (("エラー", "refused"), "bad"),
        "undone": (("取消", "taken back"), "good"),
        "revoked": (("失効", "revoked"), "good"),
        "mailed": (("案内を送信待ちに登録", "letter queued"), "good"),
        "invited": (("再発行を案内", "invited"), "good"),
        "needless": (("送信不要", "no letter was needed"), "plain"),
        "erased": (("消去", "erased"), "good"),
        "drawn": (("作成", "drawn"), "good"),
    }
)
_FIELDS: Mapping[str, Text] = MappingProxyType(
    {
        "policy_number": ("証券番号", "policy number"),
        "name": ("氏名・団体名", "name"),
        "mail": ("メールアドレス", "email address"),
        "user_id": ("ユーザーID", "user ID"),
        "role": ("権限", "role"),
        "notice_by": ("通知方法", "notice by"),
        "language": ("言語", "language"),
        "lineages": ("台数", "lineages"),
        "issue_password_by": ("パスワード通知方法", "issue password by"),
        "postal_code": ("郵便番号", "postal code"),
        "prefecture": ("都道府県", "prefecture"),
        "city": ("市区町村", "city"),
        "street": ("町名番地", "street"),
        "building": ("建物名", "building"),
        "addressee": ("宛名", "addressee"),
        "profile": ("プロファイル", "profile"),
        "country": ("国", "country"),
        "department": ("部署", "department"),
        "reading": ("フリガナ", "reading"),
        "principal": ("UPN（ユーザープリンシパル名）", "UPN"),
        "serial": ("証明書", "certificate"),
    }
)
_PLACE, _PLACE_EN = "60文字以内で入力してください", "write it in up to 60 characters"
_WHY: Mapping[tuple[str, str], Text] = MappingProxyType(
    {
        ("not_found", "policy_number"): (
            "この証券番号の団体は登録されていません。先に団体を登録してください",
            "no such organisation: add it first",
        ),
        ("conflict", "alike"): (
            "同じ氏名またはメールアドレスの人がいます。別人であることを確認してください",
            "somebody has the same name or email address: make sure that it is another person",
        ),
        ("conflict", "user_id"): (
            "このユーザーIDは使われているか、取り消せない状態です",
            "the user ID is somebody's, or cannot be taken back",
        ),
        ("conflict", "policy_number"): (
            "この証券番号は別の内容で登録されているか、利用者がいます",
            "the policy number is recorded otherwise, or has users",
        ),
        ("conflict", "mail"): (
            "前回の案内が届かずに戻りました。メールアドレスを確認してください",
            "the last letter came back: find out the right address",
        ),
        ("conflict", "proposal"): (
            "同じ内容の起案がすでに承認を待っています。「承認待ち」でご確認ください",
            "the same is proposed already, and waits: see “Proposals”",
        ),
        ("invalid_input", "changes"): ("変更された項目がありません", "nothing is different"),
        ("invalid_input", "reason"): (
            "理由を1行・500文字以内で入力してください",
            "say why, in one line of up to 500 characters",
        ),
        ("invalid_input", "postal_code"): (
            "7桁の数字で入力してください（例：100-8916）",
            "write its seven digits, such as 100-8916",
        ),
        ("invalid_input", "prefecture"): (
            "選択してください（住所には、郵便番号・都道府県・市区町村・町名番地が必要です）",
            "choose one: an address has postal code, prefecture, city and street",
        ),
        ("invalid_input", "city"): (_PLACE, _PLACE_EN),
        ("invalid_input", "street"): (_PLACE, _PLACE_EN),
        ("conflict", "name"): (
            "この氏名とメールアドレスの人はすでに登録されています",
            "this person is recorded already",
        ),
        ("user_disabled", "state"): (
            "状態が利用終了または利用停止です。この行を除くか、利用できるようにする場合は「状態」を空にしてください",
            "its state is stopped: take the row out, or clear the state if it is to be used",
        ),
        ("user_disabled", "policy_number"): ("団体が利用停止中です", "the organisation is suspended"),
    }
)
#: Why a file that was sent is not looked through (`csvfile.Why`, and what a browser adds to it).
FILES: Mapping[str, Text] = MappingProxyType(
    {
        "none": ("CSVファイルを選択してください。", "Choose the CSV file."),
        "large": (
            "ファイルが5MBを超えています。分割して、それぞれを取り込んでください。",
            "The file has more than 5 MB: split it, and import the parts.",
        ),
        "utf16": (
            "文字コードがUTF-16です。「CSV UTF-8」で保存しなおしてください。",
            "It is in UTF-16: save it again as “CSV UTF-8”.",
        ),
        "no_text": (
            "CSVではありません（Excelブックや圧縮ファイルの可能性）。「CSV UTF-8」で保存しなおしてください。",
            "It is no CSV, but a workbook or an archive perhaps: save it as “CSV UTF-8”.",
        ),
        "empty": (
            "ファイルに何も書かれていません。1行目に見出し、2行目から内容を入力してください。",
            "There is nothing in the file: it needs its headings, and a row below them.",
        ),
        "heading": (
            "1行目の見出しが違います。下の「列の見出し」のとおりにしてください。",
            "The first line is wrong: write it as “Headings” below says.",
        ),
        "rows": (
            "一度に取り込める行数を超えています。分割して、それぞれを取り込んでください。",
            "There are more rows than are taken at once: split the file, and import the parts.",
        ),
        "no_rows": (
            "見出しの下に行がありません。",
            "There is no row below the headings.",
        ),
        "gone": (
            "確認した内容は保持されていません。もう一度ファイルを選択してください。",
            "What was checked is no longer kept: please choose the file again.",
        ),
    }
)
#: Why what was checked is not proposed.
UNPROPOSED: Mapping[str, Text] = MappingProxyType(
    {
        "reason": (
            "起案の理由を、1行・500文字以内で入力してください。",
            "Say why, in one line of up to 500 characters.",
        ),
        "rows": ("登録できる行がありません。", "There is no row that could be added."),
        "proposal": (
            "同じ内容の起案がすでに承認を待っています。「承認待ち」でご確認ください。",
            "The same is proposed already, and waits: see “Proposals”.",
        ),
    }
)
_ACCIDENT: Text = (
    "処理中に問題が起きました。サーバーの管理者にログの確認をご依頼ください",
    "Something went wrong: please ask who runs the server to look at the log",
)
_BY_CODE: Mapping[str, Text] = MappingProxyType(
    {
        "invalid_input": ("入力内容が正しくありません", "it is missing or malformed"),
        "conflict": ("すでに登録されているか、状態が変わっています", "it is there already, or has changed"),
        "not_found": ("見つかりません", "there is no such thing"),
        "profile_unmet": (
            "証明書に記載する項目が足りません",
            "what the certificate has to say is missing",
        ),
    }
)


def reason(problem: Line | Refusal, language: str) -> str:
    """Why a row was refused, in one line, with its detail. "" for one that was not."""
    if not problem.code:
        return ""
    place = place_of(language)
    field = _FIELDS.get(problem.field)
    fallback = _BY_CODE.get(problem.code, REFUSALS[problem.code].title)
    told = _WHY.get((problem.code, problem.field), fallback)[place]
    said = f"{field[place]}{'：' if place == 0 else ': '}{told}" if field else told
    detail = in_japanese(problem.detail) if place == 0 else problem.detail
    if not detail:
        return said
    return f"{said}（{detail}）" if place == 0 else f"{said} ({detail})"


def stopped_by(problem: str) -> Text:
    """Why a job has stopped: a refusal by its words, else the kind of an accident, which the log tells of."""
    ja, en = REFUSALS[problem].title if problem in REFUSALS else _ACCIDENT
    return (f"{ja}（{problem}）", f"{en} ({problem})")
