"""Whoever dies at whatever step of a transaction: it is done as a whole or not at all, once per token, and nothing
stays held (row B12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.node.transaction_cluster import Cluster, json, key, names, put, together

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MICROSECOND, MILLISECOND, SECOND
from gramme.node.transactions.desk import Desk
from gramme.storage.engine.rows import Space
from gramme.tables.requests import Condition, UpdateItem
from gramme.tables.transactions import Action, Token, TransactionDone

_TOKEN = Token(b"one client token", b"and its request.")


def _add(name: str) -> UpdateItem:
    return UpdateItem(key(name), {"pk": {"S": name}}, "SET n = n + :d", Condition(None, None, {":d": {"N": "1"}}))


def _prepared_cluster(count: int) -> tuple[Cluster, list[str]]:
    """A cluster with a ledger and `count` items, all with n = 1, in partitions of their own."""
    cluster = Cluster()
    items = names(cluster, count)
    cluster.write(*(put(name, 0) for name in names(cluster)))
    for name in items:
        cluster.submit(put(name, 1))
    cluster.settle()
    return cluster, items


class _Interruption:
    """Calls `act` at the `step`-th command (from 1) that a transaction's coordinator sends, or instead of its answer.
    With `hold`, that is called instead, and the coordinator hears the answer in its next turn."""

    def __init__(self, cluster: Cluster, node: int, step: int, answered: bool, act: Callable[[], None]) -> None:
        self.happened = False
        self.hold: Callable[[], None] | None = None
        self._cluster = cluster
        self._left = step
        self._soon = cluster.node(node).ports.scheduler.call_soon
        self._answered = answered
        self._act = act
        desk = cluster.node(node).router.transactions._desk
        self._send = Desk.send.__get__(desk)
        desk.send = self.send  # type: ignore[method-assign]

    def send(self, place: Any, request: Any, deadline: Any, on_reply: Callable[[Any], None]) -> None:
        self._left -= 1
        if self._left == 0 and self._answered:
            self._send(place, request, deadline, lambda reply: self._answer(on_reply, reply))
            return
        self._send(place, request, deadline, on_reply)
        if self._left == 0:
            self._cluster.world.after(100 * MICROSECOND, self._happen)  # what this turn has sent is on its way

    def _answer(self, on_reply: Callable[[Any], None], reply: Any) -> None:
        if self.hold is None:
            self._happen()
        else:
            self.happened = True
            self._soon(lambda: on_reply(reply))
            self.hold()

    def _happen(self) -> None:
        self.happened = True
        self._act()


def _insist(cluster: Cluster, node: int, *actions: Action) -> TransactionDone:
    """As an SDK does: the same request with the same token, until it is done."""
    for _ in range(100):
        outcome = cluster.write(*actions, node=node, token=_TOKEN)
        if isinstance(outcome, TransactionDone):
            return outcome
        cluster.run(100 * MILLISECOND)
    raise AssertionError(f"the transaction is never done: {outcome}")


def _values(cluster: Cluster, items: list[str], node: int) -> list[bytes | None]:
    return [cluster.get(name, node) for name in items]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("step", range(1, 9))
def test_the_coordinator_dies(step: int, answered: bool) -> None:
    cluster, items = _prepared_cluster(3)
    interruption = _Interruption(cluster, 0, step, answered, lambda: cluster.crash(0))
    replies: list[Any] = []
    actions = [_add(name) for name in items]
    cluster.begin_write(*actions, token=_TOKEN)(replies.append)
    cluster.run(50 * MILLISECOND)
    assert interruption.happened
    _insist(cluster, 1, *actions)
    assert _values(cluster, items, 2) == [json(name, 2) for name in items]
    cluster.start(0)
    cluster.settle()
    assert _values(cluster, items, 0) == [json(name, 2) for name in items]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("step", range(1, 9))
def test_the_coordinator_dies_and_nobody_asks_again(step: int, answered: bool) -> None:
    cluster, items = _prepared_cluster(3)
    _Interruption(cluster, 0, step, answered, lambda: cluster.crash(0))
    replies: list[Any] = []
    cluster.begin_write(*(_add(name) for name in items))(replies.append)
    cluster.run(50 * MILLISECOND)
    cluster.settle()
    values = _values(cluster, items, 1)
    assert values in ([json(name, 1) for name in items], [json(name, 2) for name in items])
    decided = step > 4 + (not answered)
    assert (values == [json(name, 2) for name in items]) or not decided
    for name in items:  # free again
        cluster.submit(put(name, 5), node=1)
    assert _values(cluster, items, 1) == [json(name, 5) for name in items]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("step", [1, 2])
def test_the_coordinator_of_one_phase_dies(step: int, answered: bool) -> None:
    cluster, (a,) = _prepared_cluster(1)
    items = [a, together(cluster, a)]
    cluster.submit(put(items[1], 1))
    _Interruption(cluster, 0, step, answered, lambda: cluster.crash(0))
    actions = [_add(name) for name in items]
    cluster.begin_write(*actions, token=_TOKEN)(lambda _outcome: None)
    cluster.run(50 * MILLISECOND)
    _insist(cluster, 1, *actions)
    assert _values(cluster, items, 2) == [json(name, 2) for name in items]
    cluster.start(0)
    cluster.settle()
    assert cluster.rows(Space.TRANSACTIONS, b"marker/") == []
    assert _insist(cluster, 0, *actions).replayed
    assert _values(cluster, items, 0) == [json(name, 2) for name in items]


@pytest.mark.parametrize("step", range(1, 9))
def test_a_participants_leader_dies(step: int) -> None:
    cluster, items = _prepared_cluster(3)
    victim = cluster.leads(cluster.group_of(items[0]))
    alive = next(node for node in cluster.nodes if node != victim)
    _Interruption(cluster, alive, step, False, lambda: cluster.crash(victim))
    actions = [_add(name) for name in items]
    cluster.begin_write(*actions, node=alive, token=_TOKEN)(lambda _outcome: None)
    cluster.run(50 * MILLISECOND)
    _insist(cluster, alive, *actions)
    assert _values(cluster, items, alive) == [json(name, 2) for name in items]
    cluster.start(victim)
    cluster.settle()


def test_everything_stops_while_items_are_held() -> None:
    """Held items, and the decision, outlive the power of all nodes at once."""
    for step in (4, 5):
        cluster, items = _prepared_cluster(3)
        _Interruption(cluster, 0, step, True, lambda: None)  # its coordinator never hears the answer
        cluster.begin_write(*(_add(name) for name in items))(lambda _outcome: None)
        cluster.run(30 * MILLISECOND)
        assert cluster.pending()
        for node in cluster.nodes:
            cluster.crash(node)
        for node in cluster.nodes:
            cluster.start(node)
        cluster.run_until(cluster.sim.all_ready)
        cluster.settle()
        expected = 1 if step == 4 else 2
        assert _values(cluster, items, 1) == [json(name, expected) for name in items]


def test_leadership_moves_between_prepare_and_commit() -> None:
    cluster, items = _prepared_cluster(3)
    held = cluster.group_of(items[0])
    first = cluster.leads(held)
    _Interruption(cluster, 0, 4, True, lambda: None)  # the third prepare's answer is never heard
    cluster.begin_write(*(_add(name) for name in items))(lambda _outcome: None)
    cluster.run(30 * MILLISECOND)
    cluster.node(first).fail_over([held])
    cluster.run_until(lambda: any(cluster.is_leading(node, held) for node in cluster.living() if node.me != first))
    assert cluster.leader(held).evaluator.holds.by_key  # type: ignore[attr-defined]
    cluster.settle()
    assert _values(cluster, items, 0) == [json(name, 1) for name in items]


def test_a_node_that_was_away_gets_held_items_with_a_snapshot() -> None:
    cluster, items = _prepared_cluster(3)
    held = cluster.group_of(items[0])
    away = next(node for node in cluster.nodes if node != cluster.leads(held))
    cluster.crash(away)
    coordinator = cluster.leads(held)
    cluster.run(3 * SECOND)
    filler = together(cluster, items[0])
    for number in range(400):  # more than is kept of the log for those who lag
        cluster.submit(put(filler + "x" * 500, number), node=coordinator)
    cluster.run(3 * SECOND)
    _Interruption(cluster, coordinator, 4, True, lambda: None)
    cluster.begin_write(*(_add(name) for name in items), node=coordinator)(lambda _outcome: None)
    cluster.run(30 * MILLISECOND)
    cluster.start(away)
    cluster.run_until(lambda: cluster.node(away).snapshots_in.installed > 0)
    cluster.settle()
    assert _values(cluster, items, away) == [json(name, 1) for name in items]


def _asleep(cluster: Cluster, step: int, actions: list[Action], token: Token | None) -> Any:
    """The outcome that the client of node 0 hears when that node stops for five seconds at the `step`-th command."""
    slow = NodeId(0)
    replies: list[Any] = []
    interruption = _Interruption(cluster, slow, step, True, lambda: None)
    interruption.hold = lambda: cluster.sim.pause(slow)
    cluster.begin_write(*actions, token=token)(replies.append)
    cluster.run(5 * SECOND)
    assert interruption.happened
    assert replies == []
    cluster.sim.resume(slow)
    cluster.run_until(lambda: bool(replies))
    return replies[0]


def test_a_coordinator_that_slept_cannot_commit_what_others_have_canceled() -> None:
    cluster, items = _prepared_cluster(3)
    outcome = _asleep(cluster, 4, [_add(name) for name in items], None)  # all is prepared
    assert not isinstance(outcome, TransactionDone)
    cluster.settle()
    assert _values(cluster, items, 1) == [json(name, 1) for name in items]


def test_a_coordinator_that_slept_over_its_decision_does_no_harm() -> None:
    cluster, items = _prepared_cluster(3)
    _asleep(cluster, 5, [_add(name) for name in items], _TOKEN)  # it is committed
    cluster.settle()
    assert _values(cluster, items, 1) == [json(name, 2) for name in items]
    assert _insist(cluster, 1, *(_add(name) for name in items)).replayed


def test_a_one_phase_coordinator_that_slept_before_its_write_is_fenced_off() -> None:
    """The token is free again, somebody has used it, and then the sleeper's write arrives."""
    cluster, (a,) = _prepared_cluster(1)
    items = [a, together(cluster, a)]
    cluster.submit(put(items[1], 1))
    slow, replies = NodeId(0), list[Any]()
    interruption = _Interruption(cluster, slow, 1, True, lambda: None)
    interruption.hold = lambda: cluster.sim.pause(slow)
    actions = [_add(name) for name in items]
    cluster.begin_write(*actions, token=_TOKEN)(replies.append)
    cluster.run(4 * SECOND)
    assert not _insist(cluster, 1, *actions).replayed
    cluster.sim.resume(slow)
    cluster.run_until(lambda: bool(replies))
    cluster.settle()
    assert _values(cluster, items, 1) == [json(name, 2) for name in items]
