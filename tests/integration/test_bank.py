"""Three processes, boto3 clients that move money in transactions, and nodes that are killed all the while.

Coordinators and leaders fall at any step. The accounts keep lists of what was moved, so the history tells whether it is
strictly serializable (no transfer is half seen, lost or done twice), and every audit must add up. In the end no account
may be locked. Source: issue 4, "How it is known to be right".
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.integration.support import create_table, eventually

from gramme.sim.accounts import START, TABLES, Journal, account, demanding, keys_of, place
from gramme.sim.checkers.bank import Account, wrong_audit
from gramme.sim.checkers.history import Outcome
from gramme.sim.checkers.list_append import List, Recency
from gramme.sim.checkers.serializability import check
from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(26)

FAULTS_FOR_S = 18.0
PATIENCE_S = 60.0
KILLS, DONE, AUDITS = 3, 120, 30
"""With fewer kills, writes or audits that were done the history says nothing."""
CLIENTS = 5
ACCOUNTS = 7
GENERATION_S = 5.0
PAUSE_S = 0.02  # at most, before each step of a client: it leaves cores to nodes that restart
_APPEND = "SET l = list_append(if_not_exists(l, :none), :new), n = if_not_exists(n, :start) + :amount"
_NOT_DONE = ("TransactionCanceledException", "TransactionConflictException")


class Clerk:
    """One client: a thread that transfers, audits, reads and writes until told to stop."""

    def __init__(self, boto: Any, number: int, journal: Journal, lock: threading.Lock, stop: threading.Event) -> None:
        self._boto = boto
        self._number = number
        self._journal = journal
        self._lock = lock
        self._stop = stop
        self._rng = random.Random(number)
        self._seen: dict[str, Account] = {}
        self._started = time.monotonic()
        self.done = self.audits = 0
        self.errors: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            while not self._stop.wait(PAUSE_S * self._rng.random()):
                keys = keys_of(int((time.monotonic() - self._started) / GENERATION_S), ACCOUNTS)
                self._rng.shuffle(keys)
                draw = self._rng.random()
                if draw < 0.3:
                    self.audit(keys)
                elif draw < 0.8:
                    self.transfer(keys[:2], keys[2])
                else:
                    self._plain(keys[0])
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    def audit(self, keys: list[str]) -> bool:
        """Read accounts in one transaction; whether they were read."""
        with self._lock:
            handle = self._journal.begin(self._number)
        try:
            answer = self._boto.transact_get_items(TransactItems=[{"Get": place(key)} for key in keys])
        except (ClientError, BotoCoreError) as error:
            self._count(error)
            with self._lock:
                self._journal.end(handle, Outcome.REFUSED)
            return False
        found = [account(key, item.get("Item")) for key, item in zip(keys, answer["Responses"], strict=True)]
        with self._lock:
            self._journal.end(handle, Outcome.OK, found)
        self._seen.update((one.key, one) for one in found)
        self.audits += 1
        return True

    def transfer(self, keys: list[str], checked: str) -> bool:
        """Move money between two accounts, half of the time only while a third is as it was last seen; whether it
        was done."""
        amount = self._rng.randrange(1, 9)
        moves = {keys[0]: -amount, keys[1]: amount}
        demanded: dict[str, List] = {}
        checks = []
        if self._rng.random() < 0.5 and checked in self._seen:
            demanded[checked] = self._seen[checked].moves
            checks = [{"ConditionCheck": {**place(checked), **demanding(self._seen[checked])}}]
        with self._lock:
            handle = self._journal.begin(self._number, demanded, moves)
        actions = [{"Update": self._append(key, amount, handle)} for key, amount in moves.items()] + checks
        self._rng.shuffle(actions)
        return self._write(handle, lambda: self._boto.transact_write_items(TransactItems=actions))

    def _plain(self, key: str) -> None:
        if self._rng.random() < 0.5:
            with self._lock:
                handle = self._journal.begin(self._number)
            try:
                answer = self._boto.get_item(**place(key), ConsistentRead=True)
            except (ClientError, BotoCoreError) as error:
                self._count(error)
                with self._lock:
                    self._journal.end(handle, Outcome.REFUSED)
                return
            with self._lock:
                self._journal.end(handle, Outcome.OK, (account(key, answer.get("Item")),), Recency.OWN_KEY)
        else:
            self.append(key)

    def append(self, key: str) -> bool:
        """A plain write of one account, which moves no money; whether it was done."""
        with self._lock:
            handle = self._journal.begin(self._number, {}, {key: 0})
        return self._write(handle, lambda: self._boto.update_item(**self._append(key, 0, handle)))

    def _append(self, key: str, amount: int, handle: int) -> dict[str, Any]:
        values = {
            ":none": {"L": []},
            ":start": {"N": str(START)},
            ":new": {"L": [{"S": self._journal.value(handle)}]},
            ":amount": {"N": str(amount)},
        }
        return {**place(key), "UpdateExpression": _APPEND, "ExpressionAttributeValues": values}

    def _write(self, handle: int, carry_out: Any) -> bool:
        """boto3 puts a token into each transaction and sends it again by itself; then a cancellation speaks of the
        last attempt only."""
        outcome = Outcome.UNKNOWN
        try:
            carry_out()
            outcome = Outcome.OK
        except ClientError as error:
            self._count(error)
            canceled = error.response["Error"]["Code"] in (
                "TransactionCanceledException",
                "TransactionConflictException",
            )
            if canceled and not error.response["ResponseMetadata"]["RetryAttempts"]:
                outcome = Outcome.REFUSED
        except BotoCoreError as error:
            self._count(error)
        with self._lock:
            self._journal.end(handle, outcome)
        self.done += outcome is Outcome.OK
        return outcome is Outcome.OK

    def _count(self, error: ClientError | BotoCoreError) -> None:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        self.errors[code] += 1


def kill_nodes(three: Cluster, clerks: list[Clerk], rng: random.Random) -> int:
    """Kill one node after another, leaders of accounts more often than not; how many were killed. It goes on until the
    history says something, for a machine may be slow."""
    end, kills = time.monotonic() + FAULTS_FOR_S, 0

    def enough() -> bool:
        done, audits = sum(clerk.done for clerk in clerks), sum(clerk.audits for clerk in clerks)
        return kills >= KILLS and done > DONE and audits > AUDITS

    while time.monotonic() < end or not (enough() or any(clerk.failure for clerk in clerks)):
        assert time.monotonic() < end + PATIENCE_S, f"{kills} kills, {sum(clerk.done for clerk in clerks)} transactions"
        time.sleep(rng.uniform(0.3, 1.2))
        leaders = [node for table in TABLES for node in three.leaders(table) if node is not None]
        node = rng.choice(leaders) if leaders and rng.random() < 0.6 else rng.randrange(3)
        three.kill(node)
        kills += 1
        time.sleep(rng.uniform(0.0, 1.5))
        three.start(node)
    return kills


def test_the_total_holds_while_coordinators_and_leaders_are_killed() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    journal, lock, stop = Journal(time.monotonic_ns, ACCOUNTS), threading.Lock(), threading.Event()
    with cluster(3) as three:
        for table, units in TABLES.items():
            create_table(three.client(), table, units=units)
        clerks = [Clerk(three.client(), number, journal, lock, stop) for number in range(CLIENTS)]
        for clerk in clerks:
            clerk.thread.start()
        try:
            kills = kill_nodes(three, clerks, random.Random(seed))
        finally:
            stop.set()
            for clerk in clerks:
                clerk.thread.join()
        _no_account_is_locked(clerks[0], journal)
    history = journal.history()
    outcomes = Counter(transaction.outcome for transaction in history)
    errors = sum((clerk.errors for clerk in clerks), Counter[str]())
    print(f"seed {seed}: {kills} kills, {dict(outcomes)}, {dict(errors)}")
    assert [clerk.failure for clerk in clerks] == [None] * CLIENTS
    anomaly = check(history)
    assert anomaly is None, f"seed {seed}: {anomaly}"
    assert wrong_audit(journal.audits, START, journal.moved) is None
    assert outcomes[Outcome.UNKNOWN] < outcomes[Outcome.OK] / 5


def _no_account_is_locked(clerk: Clerk, journal: Journal) -> None:
    """Every account that was ever used can be written, alone and in a transaction, and read with all the others."""
    generations = sorted({key.partition(".")[0] for key, _ in journal.moved})
    for generation in generations:
        keys = keys_of(int(generation[1:]), ACCOUNTS)
        for key, following in zip(keys, keys[1:] + keys[:1], strict=True):
            eventually(f"{key} can be written", lambda: clerk.append(key))  # noqa: B023
            eventually(f"{key} takes part in a transaction", lambda: clerk.transfer([key, following], ""))  # noqa: B023
    for generation in generations:
        eventually("all accounts are read", lambda: clerk.audit(keys_of(int(generation[1:]), ACCOUNTS)))  # noqa: B023
