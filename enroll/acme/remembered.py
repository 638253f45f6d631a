"""The accounts that signed last: whoever signs again is known before anything is read.

What is remembered may have changed since, here or in another process. So a transaction that acts for an
account asks for it again (``confirm``); if it is another by now, nothing was done, and the request is proven
anew, by what the account is now.
"""

from __future__ import annotations

from ca.storage import Transaction
from enroll.acme import store
from enroll.acme.accounts import Account

# Orders take seconds: more accounts than these at a time are nobody's.
_MOST = 256


class AccountChanged(Exception):
    """The account is not any more what it was when its request was proven."""


class Remembered:
    """Accounts by identifier, the latest of them. One for each server of the protocol in a process."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: dict[str, Account] = {}

    def get(self, account_id: str) -> Account | None:
        """The account as it was once; None if it did not sign lately."""
        return self._kept.get(account_id)

    def keep(self, account: Account) -> None:
        """As it was read just now."""
        self._kept.pop(account.id, None)
        self._kept[account.id] = account
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]


def confirm(db: Transaction, account: Account) -> None:
    """Raises ``AccountChanged`` unless the account is still what its request was proven by."""
    compare(store.account(db, account.id), account)


def compare(found: Account | None, account: Account) -> None:
    """The same of an account that was read in the transaction."""
    if found is not account and found != account:
        raise AccountChanged
