"""What comes next for a generation of issuing CA, on the console and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ca.generations.states import State
from gateway.web.words import Text

#: State -> what it is called, and the colour of its chip.
STATES: Mapping[State, tuple[Text, str]] = MappingProxyType(
    {
        State.STAGED: (("準備済み", "staged"), "plain"),
        State.PLANNED: (("発行開始予定", "planned"), "warn"),
        State.ISSUING: (("発行中", "issues"), "good"),
        State.EARLIER: (("前の世代", "earlier"), "warn"),
        State.RETURNING: (("発行再開予定", "returns"), "warn"),
        State.RETIRED: (("引退", "retired"), "plain"),
        State.OVER: (("終了", "over"), "plain"),
        State.DISCARDED: (("破棄", "discarded"), "plain"),
        State.DISTRUSTED: (("信頼を停止", "distrusted"), "bad"),
    }
)
#: State -> what comes next, and the command for it.
NEXT: Mapping[State, Text] = MappingProxyType(
    {
        State.STAGED: (
            "配布が済んだら発行開始の日時を決める：sekisho ca activate NAME --at DATE",
            "once it is known everywhere, have it issue: sekisho ca activate NAME --at DATE",
        ),
        State.PLANNED: (
            "予定の日時に自動で発行を開始する。取りやめる場合：sekisho ca withdraw NAME",
            "it issues from its moment on; to take that back: sekisho ca withdraw NAME",
        ),
        State.ISSUING: (
            "次の世代を準備する：sekisho ca add 新しい名前",
            "make its successor in time: sekisho ca add ITS-SUCCESSOR",
        ),
        State.EARLIER: (
            "残りの更新を待つ。発行を再開しないと決めたら：sekisho ca retire NAME（証明書は期限まで有効）",
            "wait for renewals; never to issue again: sekisho ca retire NAME (certificates stay good)",
        ),
        State.RETURNING: (
            "予定の日時に自動で発行を再開する。取りやめる場合：sekisho ca withdraw NAME",
            "it issues again from its moment on; to take that back: sekisho ca withdraw NAME",
        ),
        State.RETIRED: (
            "最後の証明書の期限後、失効リストの期間を経て自動で終了する。鍵はそれまで必要",
            "it is over by itself after its last certificate and list; its key is needed until then",
        ),
        State.OVER: ("鍵を破棄できる：sekisho ca discard NAME", "put it away: sekisho ca discard NAME"),
        State.DISCARDED: ("することはない", "nothing is left to do"),
        State.DISTRUSTED: (
            "持っている人に再発行を案内する：sekisho ca reissue NAME",
            "invite whose certificates are its own: sekisho ca reissue NAME",
        ),
    }
)
