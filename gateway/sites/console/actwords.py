"""What the lines of the trail are called: one table, for the audit, a certificate's history and a caller's.

A test reads the code for every act that it can write, and fails where one has no words here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ca.revocation import REASONS as REVOCATION_REASONS
from enroll.people.applications import LABELS, REJECTIONS
from gateway.sites.console.fields import REVOCATIONS
from gateway.web.words import Text

#: Act in the trail -> what happened, and the colour of its chip.
ACTS: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {
        # People, at their own sites.
        "login": (("ログイン", "Logged in"), "good"),
        "login.refused": (("ログイン失敗（パスワード誤り）", "Login refused: wrong password"), "bad"),
        "login.wrong_user": (("ログイン失敗（別のユーザーID）", "Login refused: another user ID"), "bad"),
        "logout": (("ログアウト", "Logged out"), "plain"),
        "password.changed": (("ログインパスワードを変更", "Login password changed"), "plain"),
        "password.refused": (("パスワード確認の失敗", "Password refused"), "bad"),
        "password.reset": (("ログインパスワードを再設定", "Login password reset"), "warn"),
        "pickup.authenticated": (("証明書取得サイトで認証", "Logged in at the pick-up site"), "plain"),
        "pickup.refused": (("証明書取得サイトで認証失敗", "Refused at the pick-up site"), "bad"),
        "pickup.too_late": (("証明書取得サイト：期限後", "Pick-up site: too late"), "bad"),
        "pickup.logout": (("証明書取得サイトからログアウト", "Logged out of the pick-up site"), "plain"),
        "members.exported": (("管理者が利用者一覧を取得", "Administrator downloaded the users"), "plain"),
        # What is recorded of them.
        "user.added": (("利用者を登録", "User recorded"), "plain"),
        "user.changed": (("利用者の登録内容を変更", "User's record changed"), "plain"),
        "user.disabled": (("利用者の利用を終了", "User's access ended"), "bad"),
        "user.enabled": (("利用者の利用を再開", "User enabled"), "good"),
        "user.held": (("利用停止", "Suspended"), "bad"),
        "user.released": (("利用停止を解除", "Suspension lifted"), "good"),
        "user.erased": (("利用者の個人情報を消去", "User's personal data erased"), "warn"),
        "user.undone": (("利用者の登録を取消（取込の取消）", "User taken back with an import"), "warn"),
        "organisation.added": (("団体を登録", "Organisation recorded"), "plain"),
        "organisation.changed": (("団体の登録内容を変更", "Organisation's record changed"), "plain"),
        "organisation.disabled": (("団体を停止", "Organisation disabled"), "bad"),
        "organisation.enabled": (("団体の利用を再開", "Organisation enabled"), "good"),
        "organisation.undone": (
            ("団体の登録を取消（取込の取消）", "Organisation taken back with an import"),
            "warn",
        ),
        "application.seen": (("申請を表示", "An application was read"), "plain"),
        "application.submitted": (("申請を受付", "Application taken in"), "plain"),
        "application.hastened": (("申請を至急に変更", "Application made urgent"), "warn"),
        "application.approved": (("申請を承認", "Application approved"), "good"),
        "application.rejected": (("申請を却下", "Application rejected"), "bad"),
        "application.withdrawn": (("申請を取り下げ", "Application taken back"), "plain"),
        # Requests and certificates.
        "request.opened": (("リクエストIDを発行", "Request ID made"), "plain"),
        "enrollment.announce": (("取得の案内を送信", "The pick-up email left"), "plain"),
        "enrollment.authenticate": (("取得サイトで本人を確認", "Logged in to pick it up"), "plain"),
        "enrollment.submit": (("発行を受付", "Asked for"), "plain"),
        "enrollment.issue": (("発行を完了", "Signed and stored"), "good"),
        "enrollment.download": (("証明書を取得", "Certificate picked up"), "good"),
        "enrollment.use": (("新しい証明書での初回ログイン", "First login with the certificate"), "good"),
        "enrollment.close": (("取得期限切れ", "Pick-up period over"), "bad"),
        "enrollment.supersede": (("再発行により終了", "Superseded by a reissue"), "plain"),
        "enrollment.replace": (("更新により終了", "Replaced by its renewal"), "plain"),
        "enrollment.revoke": (("失効により終了", "Ended by its revocation"), "bad"),
        "enrollment.withdraw": (("リクエストIDを取消", "Request withdrawn"), "plain"),
        "enrollment.replayed": (("リクエストIDを復元", "Request restored from the journal"), "warn"),
        "password.replayed": (("パスワードを無効化（再設定が必要）", "Password void: reset it"), "bad"),
        "certificate.issued": (("証明書を発行", "Certificate issued"), "good"),
        "certificate.held": (("証明書を利用停止", "Certificate suspended"), "bad"),
        "certificate.released": (("証明書の利用を再開", "Certificate released"), "good"),
        "certificate.revoked": (("証明書を失効", "Certificate revoked"), "bad"),
        "certificate.given-up": (("証明書の発行を断念", "Certificate given up unsigned"), "bad"),
        "certificate.planned-anew": (("発行内容を再決定", "Decided anew"), "plain"),
        "certificate.renewed-by-another": (("別の方が証明書を更新", "Renewed by another person"), "warn"),
        "certificate.replayed": (("証明書を復元", "Certificate restored from the journal"), "warn"),
        "key.wiped": (("秘密鍵を消去", "Private key wiped"), "plain"),
        "p12.built": (("証明書ファイルを作成", "PKCS#12 file made"), "plain"),
        # Programs.
        "acme.account-created": (("プログラムのアカウントを登録", "Program's account made"), "plain"),
        "acme.account-deactivated": (("プログラムのアカウントを停止", "Program's account ended"), "warn"),
        "acme.key-changed": (("プログラムのアカウントの鍵を変更", "Program's account key changed"), "plain"),
        "credential.created": (("自動更新用の認証情報を発行", "Credential for programs made"), "plain"),
        "credential.withdrawn": (("自動更新用の認証情報を無効化", "Credential for programs ended"), "warn"),
        # Letters and postcards.
        "mail.bounced": (("メール・はがきが不着", "A letter came back"), "bad"),
        "mail.retried": (("メールを再送", "An email was sent again"), "plain"),
        "letters.delivered": (("メールの送信を指示", "Letters were sent by hand"), "plain"),
        "notices.queued": (("更新のご案内の作成を指示", "Renewal notices were queued by hand"), "plain"),
        "letters.released": (("メール・はがきの保留を解除", "Held letters let go"), "plain"),
        "letters.seen": (("メールの一覧を表示", "Letters were listed"), "plain"),
        "letter.seen": (("メールを表示", "A letter was read"), "plain"),
        "postcards.made": (("はがきのバッチを作成", "Batch of postcards made"), "plain"),
        "postcards.fetched": (("はがきのPDFを交付", "Postcards' PDF handed out"), "plain"),
        "postcards.reprinted": (("はがきのPDFを再交付", "Postcards' PDF handed out again"), "warn"),
        "postcards.printed": (("はがきを印刷済みに変更", "Postcards printed"), "good"),
        "postcards.cancelled": (("はがきのバッチを取消", "Batch of postcards cancelled"), "warn"),
        "postcards.wiped": (("はがきのPDFを消去", "Postcards' PDF wiped"), "plain"),
        "template.changed": (("文面を変更", "Template changed"), "plain"),
        "template.reset": (("文面を元に戻した", "Template set back"), "plain"),
        "template.tested": (("文面のテストを送信", "Test of a template sent"), "plain"),
        # Operators at work.
        "operator.login": (("運用者のログイン", "Operator logged in"), "good"),
        "operator.added": (("運用者を登録", "Operator added"), "plain"),
        "operator.changed": (("運用者の登録内容を変更", "Operator changed"), "plain"),
        "operator.ended": (("運用者を終了", "Operator ended"), "warn"),
        "operator.code": (("運用者の登録用コードを発行", "One-time code made"), "plain"),
        "operator.code_used": (("運用者の登録用コードを使用", "One-time code used"), "plain"),
        "operator.passkey-added": (("パスキーを登録", "Passkey added"), "plain"),
        "operator.passkey-ended": (("パスキーを削除", "Passkey removed"), "warn"),
        "break-glass.taken": (("非常時の権限を行使", "Break-glass taken"), "bad"),
        "break-glass.reviewed": (("非常時の権限を点検", "Break-glass reviewed"), "plain"),
        "proposal.made": (("起案", "Proposed"), "plain"),
        "proposal.seen": (("起案を表示", "A proposal was read"), "plain"),
        "proposal.approved": (("起案を承認", "Proposal approved"), "good"),
        "proposal.rejected": (("起案を却下", "Proposal rejected"), "bad"),
        "proposal.withdrawn": (("起案を取り下げ", "Proposal taken back"), "plain"),
        "proposal.void": (("起案が無効（内容の変更）", "Proposal void: what it is about changed"), "warn"),
        "proposal.expired": (("起案の期限切れ", "Proposal expired"), "warn"),
        "reason.given": (("理由の記録", "The reason that was given"), "plain"),
        "call.noted": (("応対記録", "Note on a call"), "plain"),
        "person.seen": (("利用者の情報を表示", "Somebody's data were read"), "plain"),
        "person.searched": (("利用者を検索", "People were searched for"), "plain"),
        "session.ended": (("ログインを終了（運用者）", "Session ended by an operator"), "plain"),
        # Jobs, campaigns, reports, files.
        "job.done": (("ジョブが完了", "Job done"), "good"),
        "job.failed": (("ジョブが停止", "Job stopped"), "bad"),
        "job.cancel": (("ジョブを中止", "Job cancelled"), "warn"),
        "job.resume": (("ジョブを再開", "Job resumed"), "plain"),
        "campaign.begun": (("キャンペーンを開始", "Campaign begun"), "plain"),
        "campaign.reminded": (("キャンペーンの案内を送信", "Campaign: letters sent"), "plain"),
        "campaign.ended": (("キャンペーンを終了", "Campaign ended"), "plain"),
        "campaign.people": (("キャンペーンの対象者を表示", "Campaign: people were listed"), "plain"),
        "export.begun": (("一覧のファイルの取得を開始", "A list's file begun"), "plain"),
        "export.ended": (("一覧のファイルを取得", "A list's file handed out"), "plain"),
        "export.failed": (("一覧のファイルの取得が中断", "A list's file broke off"), "bad"),
        "operator.ending": (
            ("運用者の証明書の期限を通知", "Told that an operator's certificate ends"),
            "warn",
        ),
        "audit.adopted": (("監査記録の切れ目を承認", "Gap in the record adopted"), "warn"),
        "audit.purged": (("監査記録の個人情報を消去", "Personal data in the record purged"), "warn"),
        "audit.retired": (("古い監査記録を削除", "Old lines of the record retired"), "warn"),
        # Webhooks.
        "webhook.added": (("Webhookを登録", "Webhook added"), "plain"),
        "webhook.changed": (("Webhookを変更", "Webhook changed"), "plain"),
        "webhook.rotated": (("Webhookの署名鍵を交換", "Webhook's secret rotated"), "plain"),
        "webhook.started": (("Webhookの送信を再開", "Webhook started"), "good"),
        "webhook.stopped": (("Webhookの送信を停止", "Webhook stopped"), "bad"),
        "webhook.ended": (("Webhookを終了", "Webhook ended"), "warn"),
        "webhook.tested": (("Webhookのテストを送信", "Webhook tested"), "plain"),
        "webhook.replayed": (("Webhookを再送", "Webhook's deliveries sent again"), "plain"),
        # CAs, keys, lists.
        "ca.added": (("認証局を追加", "CA added"), "plain"),
        "ca.requested": (("認証局の証明書を申請", "CA certificate requested"), "plain"),
        "ca.accepted": (("認証局の証明書を受入れ", "CA certificate accepted"), "plain"),
        "ca.planned": (("認証局の切替を予定", "CA planned"), "plain"),
        "ca.withdrawn": (("認証局の切替予定を取消", "CA's plan withdrawn"), "plain"),
        "ca.activated": (("認証局による発行を開始", "CA issues from now on"), "good"),
        "ca.retired": (("認証局による発行を終了", "CA issues no more"), "plain"),
        "ca.over": (("認証局の有効期限が満了", "CA is over"), "plain"),
        "ca.distrusted": (("認証局の信頼を停止", "CA distrusted"), "bad"),
        "ca.trusted": (("認証局の信頼を回復", "CA trusted again"), "good"),
        "ca.discarded": (("認証局の鍵を廃棄", "CA discarded"), "warn"),
        "ca.affected": (("認証局の証明書を持つ人を取得", "Who has a CA's certificates exported"), "plain"),
        "ca.ending": (("認証局の期限を通知", "Told that a CA ends"), "warn"),
        "ca.parted": (("認証局の鍵を別の場所へ移動", "CA's keys moved apart"), "plain"),
        "ca.stopped": (("認証局の署名を停止", "Signing stopped"), "bad"),
        "ca.resumed": (("認証局の署名を再開", "Signing resumed"), "good"),
        "ca.replayed": (("認証局の状態を復元", "CA restored from the journal"), "warn"),
        "crl.root": (("ルート認証局の失効リストを作成", "Root's revocation list made"), "plain"),
        "crl.written": (("失効リストをファイルに保存", "Revocation list written to a file"), "plain"),
        "list.published": (("失効リストを公開", "Revocation list published"), "plain"),
        "responder.certified": (("OCSPの証明書を発行", "OCSP responder certified"), "plain"),
        "key.moved": (("鍵をトークンへ移動", "Key moved to a token"), "plain"),
        "pin.sealed": (("トークンのPINを保存", "Token's PIN sealed"), "plain"),
        "passphrase.changed": (("パスフレーズを変更", "Passphrase changed"), "warn"),
        # The server.
        "clock.leapt": (("サーバーの時計が大きくずれた", "The clock leapt"), "bad"),
        "clock.confirmed": (("サーバーの時計を確認", "The clock confirmed"), "plain"),
        "gateway.reload": (("設定を再読み込み", "Settings reloaded"), "plain"),
        "gateway.reload_failed": (("設定の再読み込みに失敗", "Reload refused"), "bad"),
        "database.copied": (("データベースの移行を開始", "Copying of the database begun"), "warn"),
        "node.removed": (("サーバー（ノード）を除外", "Server (node) removed"), "warn"),
        "backup.made": (("バックアップを作成", "Backup made"), "good"),
        "backup.failed": (("バックアップに失敗", "Backup failed"), "bad"),
        "drill.done": (("復旧訓練を実施", "Recovery drill done"), "plain"),
        "journal.begun": (("ジャーナルを開始", "Journal begun"), "plain"),
        "journal.lost": (("ジャーナルの欠落を確認", "Journal lost"), "bad"),
        "journal.replayed": (("ジャーナルから復元", "Restored from the journal"), "warn"),
    }
)
#: Of these a caller's timeline has lines: what else there is of a person is the audit's, or a letter's own.
OF_PEOPLE = (
    *("login", "login.refused", "login.wrong_user"),
    *("password.changed", "password.refused", "password.reset"),
    *("pickup.authenticated", "pickup.refused", "pickup.too_late"),
    *("user.added", "user.changed", "user.disabled", "user.enabled", "user.held", "user.released"),
    *("certificate.issued", "certificate.held", "certificate.released", "certificate.revoked"),
    *("enrollment.download", "enrollment.use", "enrollment.close", "enrollment.withdraw"),
    *("request.opened", "mail.bounced", "mail.retried", "session.ended", "call.noted", "reason.given"),
    *("application.submitted", "application.approved", "application.rejected", "application.withdrawn"),
)
_BY_CODE: Mapping[str, Mapping[str, Text]] = MappingProxyType(
    {
        "certificate.revoked": {
            each.name: (REVOCATIONS.get(each.name, each.name), each.name)
            for each in REVOCATION_REASONS.values()
        },
        "application.rejected": REJECTIONS,
        "application.submitted": LABELS,
        "application.hastened": LABELS,
    }
)


def words_of(action: str) -> tuple[Text, str]:
    """What an act is called, and the colour of its chip; by its code one of an older version."""
    return ACTS.get(action, ((action, action), "plain"))


def why_of(action: str, detail: Mapping[str, Any], *names: str) -> Text:
    """Of a line's details those that are said of it; a reason that was chosen from a list by its words."""
    chosen = _BY_CODE.get(action, {})
    told = [str(detail[name]) for name in names if detail.get(name)]
    pairs = [chosen.get(each, (each, each)) for each in told]
    return (" ".join(ja for ja, _ in pairs), " ".join(en for _, en in pairs))
