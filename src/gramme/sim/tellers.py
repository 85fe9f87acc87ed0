"""Simulated clients of transactions: transfers, audits and plain operations on the accounts of a bank.

Whatever writes appends to the accounts' lists; some conditions demand that an account is just as it was last seen,
which makes a write a reader too. Accounts live for a *generation*; then everybody turns to new ones. That keeps lists
short, and lets transactions meet items that do not exist yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.sim.accounts import START, Journal, account, demanding, keys_of, place, table_of
from gramme.sim.checkers.bank import Account
from gramme.sim.checkers.history import Outcome
from gramme.sim.checkers.list_append import List, Recency
from gramme.sim.client import Answer, Client
from gramme.sim.client_loop import ClientLoop
from gramme.sim.world import World

_GENERATION_NS: Final = 4 * SECOND
_APPEND: Final = "SET l = list_append(if_not_exists(l, :none), :new), n = if_not_exists(n, :start) + :amount"
_APPEND_VALUES: Final = {":none": {"L": []}, ":start": {"N": str(START)}}


class Teller(ClientLoop):
    """One client's endless loop of transactions and plain operations."""

    def __init__(self, world: World, client: Client, journal: Journal, think_ns: int) -> None:
        super().__init__(world, client.rng, think_ns)
        self._client = client
        self._journal = journal
        self._seen: dict[str, Account] = {}

    def _operate(self) -> None:
        draw = self._rng.random()
        if draw < 0.25:
            keys = self._keys()
            self.audit(keys if self._rng.random() < 0.5 else keys[:2], None, lambda _ok: self._rest())
        elif draw < 0.65:
            self._transact()
        elif draw < 0.8:
            self._get(self._keys()[0])
        else:
            self._plain_write(self._keys()[0])

    def _keys(self) -> list[str]:
        """The accounts of this generation, in any order."""
        keys = keys_of(self._world.now_ns // _GENERATION_NS, self._journal.accounts)
        self._rng.shuffle(keys)
        return keys

    # --- reads ----------------------------------------------------------------------------------------------------

    def audit(self, keys: Sequence[str], node: NodeId | None, on_done: Callable[[bool], None]) -> None:
        """Read accounts in one transaction, at `node` if one is given; tells whether they were read."""
        handle = self._journal.begin(self._client.number)
        body = {"TransactItems": [{"Get": place(key)} for key in keys]}

        def done(answer: Answer) -> None:
            if answer.body is not None:
                found = [account(key, it.get("Item")) for key, it in zip(keys, answer.body["Responses"], strict=True)]
                self._remember(found)
                self._journal.end(handle, Outcome.OK, found)
            else:
                self._journal.end(handle, Outcome.REFUSED)
            on_done(answer.body is not None)

        self._client.call("TransactGetItems", body, done, node)

    def _get(self, key: str) -> None:
        eventual = self._rng.random() < 0.3
        handle = self._journal.begin(self._client.number)

        def done(answer: Answer) -> None:
            if answer.body is not None:
                found = account(key, answer.body.get("Item"))
                recency = Recency.NOTHING if eventual else Recency.OWN_KEY
                self._journal.end(handle, Outcome.OK, (found,), recency)
                if not eventual:
                    self._remember((found,))
            else:
                self._journal.end(handle, Outcome.REFUSED)
            self._rest()

        self._client.call("GetItem", {**place(key), "ConsistentRead": not eventual}, done)

    def _remember(self, accounts: Sequence[Account]) -> None:
        for seen in accounts:
            self._seen[seen.key] = seen

    def _last_seen(self, key: str) -> Account:
        return self._seen.get(key, Account(key, (), START))

    # --- writes ---------------------------------------------------------------------------------------------------

    def transfer(self, keys: Sequence[str], node: NodeId | None, on_done: Callable[[bool], None]) -> None:
        """Move money between the first two of `keys` in one transaction, with no condition; tells whether it was."""
        moves = {keys[0]: -1, keys[1]: 1}
        handle = self._journal.begin(self._client.number, {}, moves)
        actions = [{"Update": self._append(key, amount, handle)} for key, amount in moves.items()]

        def done(answer: Answer) -> None:
            self._end_write(handle, answer)
            on_done(answer.body is not None)

        self._client.call(
            "TransactWriteItems", {"TransactItems": actions, "ClientRequestToken": str(handle)}, done, node
        )

    def _transact(self) -> None:
        """A transfer between two or three accounts, each by an update or a put, maybe with a check of another one."""
        keys = self._keys()
        parties = 3 if self._rng.random() < 0.3 else 2
        first, second = self._rng.randrange(1, 6), self._rng.randrange(1, 4) if parties == 3 else 0
        moves = dict(zip(keys, (-first - second, first, second)[:parties], strict=False))
        demanded: dict[str, List] = {}
        how = {key: self._rng.random() for key in keys[: parties + 1]}
        checks = [key for key in keys[parties : parties + 1] if how[key] < 0.3]
        for key in (*(key for key in moves if how[key] < 0.3), *checks):
            demanded[key] = self._last_seen(key).moves
        handle = self._journal.begin(self._client.number, demanded, moves)
        actions = [self._action(key, amount, handle, how[key]) for key, amount in moves.items()]
        actions += [
            {"ConditionCheck": {**place(key), **demanding(self._last_seen(key)), **self._returning()}} for key in checks
        ]
        self._rng.shuffle(actions)
        self._send(handle, actions)

    def _action(self, key: str, amount: int, handle: int, how: float) -> dict[str, Any]:
        """A put or an update that demand what was last seen, or an update that only demands that money is left."""
        if how < 0.1:
            return {"Put": {**self._put(key, amount, handle), **self._returning()}}
        update = self._append(key, amount, handle)
        if how < 0.3:
            condition = demanding(self._last_seen(key))
            values = update["ExpressionAttributeValues"] | condition.get("ExpressionAttributeValues", {})
            update |= condition | {"ExpressionAttributeValues": values} | self._returning()
        elif amount < 0:
            update["ConditionExpression"] = "attribute_not_exists(n) OR n >= :least"
            update["ExpressionAttributeValues"] |= {":least": {"N": str(-amount)}}
        return {"Update": update}

    def _returning(self) -> dict[str, str]:
        return {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if self._rng.random() < 0.5 else {}

    def _append(self, key: str, amount: int, handle: int) -> dict[str, Any]:
        new = {":new": {"L": [{"S": self._journal.value(handle)}]}, ":amount": {"N": str(amount)}}
        return {**place(key), "UpdateExpression": _APPEND, "ExpressionAttributeValues": _APPEND_VALUES | new}

    def _put(self, key: str, amount: int, handle: int) -> dict[str, Any]:
        seen = self._last_seen(key)
        moves = (*seen.moves, self._journal.value(handle))
        item = {"pk": {"S": key}, "l": {"L": [{"S": move} for move in moves]}, "n": {"N": str(seen.balance + amount)}}
        return {"TableName": table_of(key), "Item": item, **demanding(seen)}

    def _send(self, handle: int, actions: list[dict[str, Any]]) -> None:
        """With a token, now and then twice at once, or again after success; without one, at most once."""
        body: dict[str, Any] = {"TransactItems": actions}
        since_ns = self._world.now_ns
        answers: list[Answer] = []
        copies = 1

        def done(answer: Answer) -> None:
            answers.append(answer)
            self._observe(since_ns, actions, answer)
            if len(answers) == copies:
                self._end_write(handle, next((a for a in answers if a.body is not None), None) or _worst(answers))
                self._rest()

        if self._rng.random() < 0.9:
            body["ClientRequestToken"] = f"token-{handle}"
            copies = 2 if self._rng.random() < 0.08 else 1
        for _ in range(copies):
            self._client.call("TransactWriteItems", body, done, retries_unknown="ClientRequestToken" in body)

    def _observe(self, since_ns: int, actions: list[dict[str, Any]], answer: Answer) -> None:
        """A reason shows the item that failed its condition: that is a read."""
        for action, reason in zip(actions, answer.reasons, strict=False):
            if reason["Code"] == "ConditionalCheckFailed":
                (body,) = action.values()
                key = body["Item" if "Item" in body else "Key"]["pk"]["S"]
                if "ReturnValuesOnConditionCheckFailure" in body:
                    found = account(key, reason.get("Item"))
                    self._remember((found,))
                    self._journal.observed(self._client.number, since_ns, found)

    def _end_write(self, handle: int, answer: Answer) -> None:
        if answer.body is not None:
            self._journal.end(handle, Outcome.OK)
        else:
            self._journal.end(handle, Outcome.REFUSED if answer.refused else Outcome.UNKNOWN)

    def _plain_write(self, key: str) -> None:
        """One item, without a transaction; no money moves, but the list grows."""
        conditional = self._rng.random() < 0.4
        demanded = {key: self._last_seen(key).moves} if conditional else {}
        handle = self._journal.begin(self._client.number, demanded, {key: 0})

        def done(answer: Answer) -> None:
            attributes = None if answer.body is None else answer.body.get("Attributes")
            if attributes is not None:
                after = account(key, attributes)
                own = after.moves[-1] == self._journal.value(handle)
                self._journal.end(handle, Outcome.OK, (after._replace(moves=after.moves[:-1] if own else after.moves),))
            else:
                self._end_write(handle, answer)
            self._rest()

        if conditional:
            self._client.call("PutItem", self._put(key, 0, handle), done)
        else:
            returned = "ALL_NEW" if self._rng.random() < 0.5 else "NONE"
            self._client.call("UpdateItem", {**self._append(key, 0, handle), "ReturnValues": returned}, done)


def _worst(answers: Sequence[Answer]) -> Answer:
    """Of failures, one that leaves the outcome open."""
    return min(answers, key=lambda answer: answer.refused)
