"""What the console says, in Japanese and English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ca.trust import CertificateState
from enroll.operators.roles import Act, Verdict
from gateway.web.words import REFUSALS, Text, Words

_ASK: Text = (
    "別の運用者に、照会番号を添えてご連絡ください。",
    "Please tell another operator the reference number.",
)

#: Whose certificate is no operator's, or no more.
NOBODY = Words(
    403,
    ("運用者として登録されていません", "Not an operator"),
    (
        "この証明書は、現在の運用者のものではありません。登録が終了したか、証明書が差し替えられています。",
        "This certificate is no present operator's: the operator has ended, or has another certificate.",
    ),
    _ASK,
)
#: Where whoever has a one-time code goes.
BY_CODE: Text = ("登録用コードで証明書を受け取る", "Get a certificate by your code")
#: What the console says to whoever comes without a good operator's certificate.
REFUSED: Mapping[CertificateState, Words] = MappingProxyType(
    {
        CertificateState.NONE: Words(
            403,
            ("運用者の証明書が必要です", "An operator's certificate is needed"),
            (
                "証明書が提示されませんでした。このサイトは運用者専用です。",
                "No certificate was presented. This site is for operators alone.",
            ),
            (
                "運用者の証明書をPCに取り込み、ブラウザを再起動してから開きなおしてください。",
                "Install your operator's certificate, restart the browser, and open the page again.",
            ),
        ),
        CertificateState.EXPIRED: Words(
            403,
            ("運用者の証明書の期限が切れています", "The operator's certificate has expired"),
            ("提示された証明書の期限が切れています。", "The certificate that was presented has expired."),
            (
                "新しい証明書を受け取ってください（sekisho operator certificate）。",
                "Have a new one made: sekisho operator certificate NAME.",
            ),
        ),
        CertificateState.REVOKED: Words(
            403,
            ("運用者の証明書は失効しています", "The operator's certificate has been revoked"),
            ("提示された証明書は失効しています。", "The certificate that was presented has been revoked."),
            _ASK,
        ),
    }
)
NOT_OURS = Words(
    403,
    ("このサイトは運用者専用です", "This site is for operators"),
    (
        "提示された証明書では開けません。利用者のクライアント証明書はこのサイトではご利用いただけません。",
        "The certificate that was presented does not open it. Clients' certificates are of no use here.",
    ),
    (
        "運用者の証明書を選択しなおしてください。選択画面が表示されない場合はブラウザを再起動してください。",
        "Choose your operator's certificate; restart the browser if it does not ask.",
    ),
)
NOT_PERMITTED = Words(
    403,
    ("この操作を行う権限がありません", "Not permitted"),
    (
        "あなたの役割では、この画面またはこの操作は許可されていません。",
        "Your role allows neither page nor act.",
    ),
    (
        "「権限」の画面で、どの役割に依頼すればよいかをご確認ください。",
        "The page “Permissions” says which role to ask.",
    ),
)

OPEN_PERMISSIONS: Text = ("「権限」を開く", "Open “Permissions”")
_TELL: Text = (
    "照会番号を、サーバーの管理者にお伝えください。",
    "Please tell those who run the server the reference number.",
)
_LATER: Text = (
    "しばらくしてからもう一度お試しください。解消しない場合は、照会番号をサーバーの管理者にお伝えください。",
    "Please try again later; if it persists, tell those who run the server the reference number.",
)
#: Refusal code -> the next step of an operator, who reads no mail of ours and calls no help desk.
STEPS: Mapping[str, Text] = MappingProxyType(
    {
        **{code: _TELL for code, words in REFUSALS.items() if "ご照会先" in words.next_step[0]},
        **dict.fromkeys(("unavailable", "ours", "clock_in_doubt", "issuing_later"), _LATER),
        "throttled": (
            "上記の日時を過ぎてから、もう一度お試しください。",
            "Please try again after the time above.",
        ),
        "not_permitted": NOT_PERMITTED.next_step,
        "not_found": (
            "URLを確認するか、最初の画面へお戻りください。",
            "Please check the address, or begin at the first page.",
        ),
        "cross_site": (
            "最初の画面から、もう一度操作してください。",
            "Please begin at the first page, and do it again there.",
        ),
    }
)

#: What is said above a page, by a word of ours.
ERRORS: Mapping[str, Text] = MappingProxyType(
    {
        "passkey": (
            "パスキーを確認できませんでした。もう一度お試しください。",
            "The passkey could not be verified. Please try again.",
        ),
        "late": (
            "時間が経過したか、一度使われた確認でした。もう一度お試しください。",
            "It came late, or had been used once. Please try again.",
        ),
        "other": (
            "このパスキーは、この証明書の運用者のものではありません。",
            "This passkey is not of the operator whose certificate it is.",
        ),
        "code": (
            "コードが違うか、使用済み、または期限切れです。",
            "The code is wrong, was used, or has ended.",
        ),
        "there": ("このパスキーはすでに登録されています。", "This passkey is there already."),
        "last": (
            "最後のパスキーは削除できません。先に別のパスキーを追加してください。",
            "The last passkey cannot be removed: add another one first.",
        ),
        "note": ("却下の理由を入力してください。", "Please say why it is rejected."),
        "note_line": ("1行、500文字以内で入力してください。", "Write one line of up to 500 characters."),
        "rejection": ("却下の理由を選択してください。", "Please choose why it is rejected."),
        "no_template_reason": (
            "変更の理由を1行（500文字以内）で入力してください。",
            "Please say why, in one line of up to 500 characters.",
        ),
        "same_template": (
            "使用中の文面と同じか、変更されていない文面です。",
            "That is what stands there already, or nobody has changed it.",
        ),
        "proposed_template": (
            "同じ変更がすでに起案され、決定を待っています。",
            "The same is proposed already, and waits.",
        ),
        "no_mail": (
            "あなたのメールアドレスが登録されていません。認証局担当に登録を依頼してください。",
            "No email address of yours is recorded: ask a CA officer for it.",
        ),
        "tested_once": (
            "テスト送信は1分に1通です。少し待ってからお試しください。",
            "One test a minute: please wait, and try again.",
        ),
        "no_letters": ("再送するメールを選択してください。", "Tick the letters first."),
        "many_letters": ("一度に再送できるのは50件までです。", "At most 50 are sent again at once."),
        "none": ("申請を選択してください。", "Tick the applications first."),
        "many": ("一度に決定できるのは50件までです。", "At most 50 are decided at once."),
        "facts": (
            "部署または名前（UPN）に使用できない文字があります。",
            "The department or the name in the domain cannot be written in a certificate.",
        ),
        "limit": (
            "この利用者は台数の上限に達しています。「失効しない」以外を選択してください。",
            "This user has as many PCs as are allowed: choose when the present certificates end.",
        ),
        "font": (
            "はがきを印刷する準備ができていません。サーバーの管理者に、下の内容をお伝えください。",
            "Postcards cannot be printed here yet. Please tell whoever runs the server what is below.",
        ),
        "unprintable": (
            "次のはがきは印刷できないため、バッチを作成していません。氏名・住所を訂正するか、除いて作成してください。",
            "These cannot be printed, so no batch was made. Mend them, or leave them out.",
        ),
        "without": (
            "除く人のユーザーIDが違うか、その人宛のはがきは待っていません。",
            "There is no postcard for one of the user IDs to be left out.",
        ),
        "nothing": ("印刷できるはがきはありません。", "No postcard waits that could be printed."),
        "print_reason": (
            "理由を1行、500文字以内で入力してください。",
            "Say why, in one line of up to 500 characters.",
        ),
        "letters_held": (
            "保留中の件数が変わっています。表示を確認し、もう一度お試しください。",
            "There are more, or fewer, by now. See what is here, and try again.",
        ),
        "batch": (
            "バッチの状態が変わっています。表示を確認してください。",
            "The batch has changed meanwhile: see what is here now.",
        ),
        "throttled": (
            "誤りが続いたため、しばらく受け付けません。10分ほど後にお試しください。",
            "Too many failed. Please try again in ten minutes or so.",
        ),
    }
)
DONE: Mapping[str, Text] = MappingProxyType(
    {
        "enrolled": (
            "パスキーを登録しました。続けてログインしてください。",
            "The passkey is registered. Please log in with it.",
        ),
        "added": ("パスキーを追加しました。", "The passkey was added."),
        "ended": ("パスキーを削除しました。", "The passkey was removed."),
        "session": ("ログインを終了しました。", "The session was ended."),
        "cancelled": ("中止しました。処理済みの行はそのままです。", "It was cancelled; what is done stays."),
        "resumed": ("再開しました。", "It goes on."),
        "begun": ("開始しました。", "It has begun."),
        "over": ("終了しました。件数はこの時点のものです。", "It is over; its numbers are those of now."),
        "batch_made": (
            "バッチを作成しました。PDFは数秒で準備できます。",
            "The batch is made; its PDF takes some seconds.",
        ),
        "batch_printed": (
            "印刷済みにしました。PDFとパスワードは消去しました。",
            "It is printed: the PDF and the passwords are wiped.",
        ),
        "batch_cancelled": (
            "バッチを取り消しました。はがきは印刷待ちに戻りました。",
            "The batch is cancelled; its cards wait again.",
        ),
        "approved": ("承認しました。", "It was approved."),
        "rejected": ("却下しました。", "It was rejected."),
        "withdrawn": ("取り下げました。", "It was taken back."),
        "recorded": ("記録しました。", "It is recorded."),
        "proposed": (
            "起案しました。別の運用者の決定を待ちます。まだ何も変わっていません。",
            "It is proposed, and waits for another operator. Nothing is changed yet.",
        ),
        "taken": (
            "申請を受け付けました。別の運用者が決定します。",
            "It was taken in. Another operator decides it.",
        ),
        "already": (
            "同じ申請がすでに受け付けられています。新しい申請は作成していません。",
            "The same application is there already; no other one was made.",
        ),
        "tested": ("テストのメールを送信待ちに入れました。", "The test is queued, and leaves at once."),
        "out": ("ログアウトしました。", "You have logged out."),
    }
)

#: What is wrong with a proposal of an operator, by its field.
ADMITTING: Mapping[str, Text] = MappingProxyType(
    {
        "operator": (
            "IDは、半角の英小文字で始まる2～32文字の英小文字・数字・記号（. _ -）で入力してください。",
            "Write an ID of 2 to 32 characters: a-z first, then a-z, 0-9 and . _ -",
        ),
        "taken": (
            "このIDはすでに使われています（終了した運用者を含みます）。別のIDを入力してください。",
            "This ID is somebody's, or was: write another one.",
        ),
        "name": ("氏名を100文字以内で入力してください。", "Write a name of up to 100 characters."),
        "mail": (
            "登録用コードを送るメールアドレスを入力してください。",
            "Write the email address where the code goes.",
        ),
        "role": ("役割を1つ以上選択してください。", "Choose at least one role."),
        "reason": ("理由は1行・500文字以内で入力してください。", "Write one line of up to 500 characters."),
        "proposal": (
            "同じ内容の起案がすでに承認を待っています。「承認待ち」でご確認ください。",
            "The same is proposed already, and waits: see “Proposals”.",
        ),
    }
)
ACTS: Mapping[Act, Text] = MappingProxyType(
    {
        Act.STANDING: ("要対応の確認", "What needs attention"),
        Act.SEARCH: ("検索・照会", "Search, caller view"),
        Act.CALL: ("応対記録・再送", "Notes on a call, letters again"),
        Act.SUSPEND: ("利用停止（即時）", "Suspend at once"),
        Act.RESET_PASSWORD: ("ログインパスワードの再設定", "Reset a login password"),
        Act.RECORD: ("団体・利用者・取込", "Organisations, users, import"),
        Act.TAKE_IN: ("申請の受付", "Take in applications"),
        Act.APPLICATIONS: ("申請・再発行の決定", "Applications, reissue"),
        Act.REVOKE: ("失効", "Revoke"),
        Act.REVOKE_MANY: ("一括失効", "Revoke many"),
        Act.PURGE: ("個人情報の消去", "Purge"),
        Act.TEMPLATES: ("文面", "Templates"),
        Act.CA: ("認証局", "CA"),
        Act.OPERATORS: ("運用者", "Operators"),
        Act.SETTINGS: ("設定", "Settings"),
        Act.DELIVERIES: ("連携（Webhookの停止・再送・試験）", "Webhooks: stop, send again, try"),
        Act.AUDIT: ("監査", "Audit"),
        Act.PRINT: ("はがきの印刷", "Print postcards"),
        Act.REPORTS: ("レポート", "Reports"),
        Act.CAMPAIGNS: ("更新キャンペーン・認証局の世代", "Campaigns, generations of the CA"),
        Act.LETTERS_MANY: ("一括の案内", "Letters to many"),
    }
)
KINDS: Mapping[str, Text] = MappingProxyType(
    {"person": ("担当者", "person"), "service": ("システム", "service")}
)

#: Kind of a proposal -> what it is called.
PROPOSALS: Mapping[str, Text] = MappingProxyType(
    {
        "organisation.add": ("団体の登録", "Add an organisation"),
        "organisation.change": ("団体の変更", "Change an organisation"),
        "organisation.disable": ("団体の利用停止", "Disable an organisation"),
        "organisation.enable": ("団体の利用再開", "Enable an organisation"),
        "user.add": ("利用者の登録", "Add a user"),
        "user.change": ("利用者の変更", "Change a user"),
        "user.disable": ("利用者の利用終了（証明書は失効）", "End a user's access, certificates with it"),
        "user.enable": ("利用者の利用再開", "Enable a user"),
        "user.release": ("利用者の利用停止の解除", "End a user's suspension"),
        "user.reset_password": ("ログインパスワードの再設定", "Reset a login password"),
        "certificate.release": ("証明書の利用停止の解除", "End a certificate's suspension"),
        "certificate.revoke": ("証明書の失効", "Revoke a certificate"),
        "certificate.revoke.many": ("証明書の一括失効", "Revoke many certificates"),
        "application.approve": ("申請の承認", "Approve an application"),
        "application.reject": ("申請の却下", "Reject an application"),
        "request.reissue": ("再発行", "Reissue"),
        "ca.reissue": ("認証局の再発行案内", "Reissue for a CA"),
        "credential.create": ("自動更新用の認証情報の発行", "Create credentials"),
        "clock.confirm": ("時計の確認", "Confirm the clock"),
        "organisation.import": ("団体の取込", "Import organisations"),
        "user.import": ("利用者の取込", "Import users"),
        "import.undo": ("取込の取消", "Undo an import"),
        "postcard.batch": ("はがきの印刷バッチ", "Print batch of postcards"),
        "certificate.revoke.bulk": ("証明書の一括失効（一覧）", "Revoke a list of certificates"),
        "campaign.begin": ("キャンペーンの開始", "Begin a campaign"),
        "campaign.end": ("キャンペーンの終了", "End a campaign"),
        "campaign.remind": ("更新の再案内", "Remind of the renewal"),
        "campaign.remind.many": ("更新の再案内（一括）", "Remind many of the renewal"),
        "audit.retire": ("古い記録の消去", "Take away old lines of the record"),
        "retention.apply": ("期間を過ぎた個人情報の消去", "Erase personal data that is over"),
        "audit.purge": ("記録の個人情報の消去", "Purge the record"),
        "operator.add": ("運用者の登録", "Add an operator"),
        "operator.change": ("運用者の変更", "Change an operator"),
        "operator.end": ("運用者の終了", "End an operator"),
        "operator.code": ("登録用コードの再発行", "Another one-time code"),
        "webhook.add": ("Webhookの登録", "Add a webhook"),
        "webhook.change": ("Webhookの変更", "Change a webhook"),
        "webhook.rotate": ("Webhookの署名鍵の交換", "Another secret of a webhook"),
        "webhook.start": ("Webhookの再開", "Start a webhook"),
        "webhook.end": ("Webhookの終了", "End a webhook"),
        "template.change": ("文面の変更", "Change a template"),
        "template.reset": ("文面を標準に戻す", "Take a template's change back"),
    }
)
#: Template -> what it is called.
TEMPLATES: Mapping[str, Text] = MappingProxyType(
    {
        "greeting": ("冒頭のあいさつ（共通）", "How letters begin"),
        "signature": ("署名（共通）", "How letters end"),
        "pickup": ("証明書取得のご案内", "Pick-up email"),
        "pickup_without_password": ("証明書取得のご案内（パスワード別送）", "Pick-up email, password apart"),
        "issue_password": ("発行用パスワードのはがき", "Postcard with the issue password"),
        "issue_password_admin": ("発行用パスワード（管理者経由）", "Issue password, by the administrator"),
        "user_id": ("ユーザーIDのお知らせ", "ID notice"),
        "password_reset": ("ログインパスワード再設定のお知らせ", "New login password"),
        "renewal": ("更新のご案内（1回目）", "First renewal email"),
        "renewal_7": ("更新のご案内（2回目）", "Second renewal email"),
        "renewal_admin": ("更新のご案内（管理者宛て）", "Renewal email to the administrator"),
        "renewed_by_another": ("更新のお知らせ（別の方による）", "Renewed by another"),
        "issuer_distrusted": ("発行者停止のお知らせ", "Issuer no longer trusted"),
        "ca_ending": ("認証局の期限のお知らせ（運用者宛て）", "A CA ends (to operators)"),
        "operator_code": ("登録用コード（運用者宛て）", "One-time code (to an operator)"),
        "break_glass": ("非常時の権限のお知らせ（監査担当宛て）", "Break-glass (to auditors)"),
        "operator_ending": ("証明書の期限のお知らせ（運用者宛て）", "A certificate ends (to an operator)"),
        "proposal_expired": ("起案の期限切れ（運用者宛て）", "Proposal expired (to an operator)"),
    }
)
#: Whose text is in force -> words and the colour of its chip.
TEMPLATE_SOURCES: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "ours": (("標準", "standard"), "plain"),
        "file": (("サーバーのファイル", "a file of the server"), "plain"),
        "changed": (("変更済み", "changed"), "warn"),
    }
)
#: What is wrong with a text as a template; what it is about follows.
FAULTS: Mapping[str, Text] = MappingProxyType(
    {
        "unknown": ("この文面では使用できない項目があります：", "There are no such values here:"),
        "missing": (
            "必須の項目がありません（条件の中では足りません）：",
            "Values are missing that have to be said, outside of any condition:",
        ),
        "secret": ("件名に入れられない項目があります：", "A secret cannot be in the subject:"),
        "forbidden": (
            "項目と条件（if）以外の書き方は使用できません：",
            "Nothing but values and conditions (if) may stand in it:",
        ),
        "subject": (
            "1行目は「Subject: 件名」、2行目は空行、3行目から本文としてください。",
            "It begins with one line “Subject: ...”, an empty line, and the words.",
        ),
        "long": ("長すぎます。文字数の上限：", "It is too long; the most characters:"),
        "character": ("使用できない文字があります：", "It has characters that no letter can hold:"),
        "syntax": ("書き方を確認してください：", "It cannot be read:"),
    }
)
#: Value of a template -> what it is.
VALUES: Mapping[str, Text] = MappingProxyType(
    {
        "organisation": ("団体名", "the organisation's name"),
        "operator": ("当社の名称", "our name"),
        "to": ("宛先の氏名", "whom it is to"),
        "address": ("はがきの送付先", "where postcards go"),
        "telephone": ("照会先の電話番号", "the help desk's telephone"),
        "channel": ("方法（mail または postcard）", "whether it is an email or a postcard"),
        "greeting": ("冒頭のあいさつ", "how letters begin"),
        "signature": ("署名", "how letters end"),
        "name": ("氏名（運用者宛てでは運用者名）", "the user's, or operator's, name"),
        "url": ("サイトのURL", "the site's address"),
        "user_id": ("ユーザーID", "user ID"),
        "request_id": ("リクエストID", "request ID"),
        "until": ("期限", "until when"),
        "reissue": ("再発行のとき", "whether it is a reissue"),
        "issue_password": ("証明書発行用パスワード", "issue password"),
        "login_password": ("ログインパスワード", "login password"),
        "code": ("登録用コード", "one-time code"),
        "password_by": ("パスワードの通知方法", "how the password comes"),
        "admin": ("管理者の氏名", "the administrator's name"),
        "days": ("残りの日数", "days that are left"),
        "left": ("残りの日数（文として）", "days that are left, in words"),
        "common_name": ("コモンネーム", "common name"),
        "serial": ("シリアル番号（先頭8桁）", "serial number, first 8 digits"),
        "not_after": ("有効期限", "valid until"),
        "members": ("対象の方の一覧", "whom it is about, a line each"),
        "moment": ("日時", "when"),
        "issuer": ("発行者（認証局）", "the issuing CA"),
        "ca": ("認証局", "the CA"),
        "day": ("有効期限の日", "the day on which it ends"),
        "short": ("有効期間が短くなるとき", "whether certificates become short"),
        "number": ("番号", "number"),
        "who": ("使用者", "who"),
        "role": ("役割", "role"),
        "reason": ("理由", "reason"),
        "due": ("確認の期限", "due"),
        "service": ("システム連携用の場合のみ", "only where it is a service's"),
        "what": ("内容", "what"),
        "about": ("対象", "about what"),
    }
)
#: State of a proposal -> words and the colour of its chip.
STATES: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        "pending": (("承認待ち", "waits"), "warn"),
        "approved": (("承認済み", "approved"), "good"),
        "rejected": (("却下", "rejected"), "bad"),
        "withdrawn": (("取り下げ", "withdrawn"), "plain"),
        "void": (("無効（内容が変わったため）", "void: something has changed"), "plain"),
        "expired": (("期限切れ", "expired"), "plain"),
    }
)


def verdict_words(verdict: Verdict) -> tuple[Text, str]:
    """What a cell of the table says, and its colour."""
    if verdict & Verdict.DO:
        return ("可", "yes"), "good"
    if Verdict.PROPOSE | Verdict.DECIDE in verdict:
        return ("起案・決定（同じ件は不可）", "propose or decide, never both"), "good"
    if verdict & Verdict.DECIDE:
        return ("決定", "decide"), "good"
    if verdict & Verdict.PROPOSE:
        return ("起案", "propose"), "warn"
    if verdict & Verdict.READ:
        return ("閲覧", "read"), "plain"
    if verdict & Verdict.OWN:
        return ("自分の分のみ", "own lines"), "plain"
    return ("－", "no"), "none"
