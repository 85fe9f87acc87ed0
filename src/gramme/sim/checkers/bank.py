"""A bank over the items of a list-append history: every value in an account's list moved some money in or out of it.

So what an account holds must follow from its list (an item is never half written), and all accounts together hold what
they held at the beginning (a transfer is never half seen): true of what any one transaction reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gramme.sim.checkers.list_append import List, show


class Account(NamedTuple):
    """One account as somebody read it."""

    key: str
    moves: List
    balance: int


class Audit(NamedTuple):
    """What one transaction read. `total`: what these accounts must hold together; None if they are not all."""

    at_ns: int
    accounts: tuple[Account, ...]
    total: int | None


def wrong_audit(audits: Iterable[Audit], start: int, moved: Mapping[tuple[str, str], int]) -> str | None:
    """The first audit that does not add up, in words. An account holds `start` when nothing was moved; `moved` says
    how much each (account, value) put into it."""
    for audit in audits:
        for key, moves, balance in audit.accounts:
            expected = start + sum(moved.get((key, move), 0) for move in moves)
            if balance != expected:
                return f"at {audit.at_ns / 1e9:.6f} {key} holds {balance} after {show(moves)}, which make it {expected}"
        held = sum(account.balance for account in audit.accounts)
        if audit.total is not None and held != audit.total:
            accounts = ", ".join(f"{key} {balance}" for key, _, balance in audit.accounts)
            return f"at {audit.at_ns / 1e9:.6f} all accounts together hold {held}, not {audit.total}: {accounts}"
    return None
