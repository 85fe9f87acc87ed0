"""The accounts of a simulated bank, as items and as operations name them, and the journal of what was done to them.

An account is an item with the list `l` of all that was moved and the balance `n`, so that one history serves the
checker of serializability and the bank (`checkers.list_append`, `checkers.bank`). One that nobody has touched does not
exist and holds `START`. Accounts lie in several tables and partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gramme.sim.checkers.bank import Account, Audit
from gramme.sim.checkers.history import Outcome
from gramme.sim.checkers.list_append import List, Recency, Transaction

START: Final = 100
"""What an account holds at first."""

TABLES: Final = {"giro": 0, "vault": 100}
"""The tables of accounts and their write units: 0 is on demand, hence four partitions, the other has one."""

_TABLE_OF: Final = ("giro", "vault")


class Journal:
    """What all tellers of a run did and saw, and what is still open."""

    def __init__(self, now_ns: Callable[[], int], accounts: int) -> None:
        """`now_ns`: the clock of all clients; `accounts`: how many there are in a generation."""
        self.accounts = accounts
        self.audits: list[Audit] = []
        self.moved: dict[tuple[str, str], int] = {}
        self._now_ns = now_ns
        self._done: list[Transaction] = []
        self._open: dict[int, Transaction] = {}
        self._count = 0

    def begin(self, client: int, reads: dict[str, List] | None = None, moves: dict[str, int] | None = None) -> int:
        """A transaction of `client` is invoked. `reads`: the lists that its conditions demand; `moves`: how much it
        puts into each account, under a value of its own: its handle, which is returned."""
        self._count += 1
        appends: dict[str, List] = {key: (self.value(self._count),) for key in moves or {}}
        for key, amount in (moves or {}).items():
            self.moved[key, self.value(self._count)] = amount
        self._open[self._count] = Transaction(
            client=client, invoke_ns=self._now_ns(), reads=reads or {}, appends=appends
        )
        return self._count

    @staticmethod
    def value(handle: int) -> str:
        """What the transaction of `handle` appends."""
        return f"m{handle}"

    def end(self, handle: int, outcome: Outcome, seen: Sequence[Account] = (), recency: Recency = Recency.ALL) -> None:
        """It has ended as far as its client will ever know; `seen` is what it read besides what it demanded."""
        begun = self._open.pop(handle)
        self._add(begun, outcome, seen, recency)

    def observed(self, client: int, since_ns: int, account: Account) -> None:
        """An account was seen by the way, at some time since: in the answer to a failed condition."""
        self._add(Transaction(client=client, invoke_ns=since_ns), Outcome.OK, (account,), Recency.ALL)

    def _add(self, begun: Transaction, outcome: Outcome, seen: Sequence[Account], recency: Recency) -> None:
        now_ns = self._now_ns()
        if seen:
            generations = {generation_of(account.key) for account in seen}
            whole = len(seen) == self.accounts and len(generations) == 1
            self.audits.append(Audit(now_ns, tuple(seen), START * self.accounts if whole else None))
        self._done.append(
            Transaction(
                client=begun.client,
                invoke_ns=begun.invoke_ns,
                return_ns=None if outcome is Outcome.UNKNOWN else now_ns,
                outcome=outcome,
                reads=begun.reads | {account.key: account.moves for account in seen},
                appends=begun.appends,
                recency=recency,
            )
        )

    def history(self) -> list[Transaction]:
        """Everything so far; what is open has an unknown outcome."""
        return [*self._done, *self._open.values()]


def keys_of(generation: int, accounts: int) -> list[str]:
    """The accounts of a generation."""
    return [f"g{generation}.{number}" for number in range(accounts)]


def generation_of(key: str) -> str:
    """What all accounts of one generation share."""
    return key.partition(".")[0]


def table_of(key: str) -> str:
    """Where an account lies."""
    return _TABLE_OF[int(key.partition(".")[2]) % len(_TABLE_OF)]


def place(key: str) -> dict[str, Any]:
    """Table and key of an account, as operations name them."""
    return {"TableName": table_of(key), "Key": {"pk": {"S": key}}}


def account(key: str, item: dict[str, Any] | None) -> Account:
    """An account from its wire item; without one it has never been touched."""
    if not item:
        return Account(key, (), START)
    return Account(key, tuple(move["S"] for move in item["l"]["L"]), int(item["n"]["N"]))


def demanding(seen: Account) -> dict[str, Any]:
    """A condition that holds only while the account is as it was seen."""
    if not seen.moves:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    values = {":seen": {"L": [{"S": move} for move in seen.moves]}}
    return {"ConditionExpression": "l = :seen", "ExpressionAttributeValues": values}
