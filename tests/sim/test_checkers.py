"""Convergence and staleness: each complaint, and silence where there is nothing to complain of."""

from __future__ import annotations

from typing import Any

import msgspec

from gramme.kernel.ids import GroupId, NodeId
from gramme.sim.checkers.convergence import ReplicaState, divergence
from gramme.sim.checkers.history import Item, Kind, Operation, Outcome
from gramme.sim.checkers.staleness import stale_read


def replica(node: int, slot: int = 7, crc: int = 1, rows: bytes = b"rows", group: int = 16) -> ReplicaState:
    return ReplicaState(GroupId(group), NodeId(node), (NodeId(0), NodeId(1), NodeId(2)), slot, crc, rows)


ALL = [NodeId(0), NodeId(1), NodeId(2)]


def test_equal_replicas_have_converged() -> None:
    assert divergence([replica(n, group=g) for n in range(3) for g in (16, 17)], ALL) is None


def test_each_difference_is_named() -> None:
    good = [replica(0), replica(1)]
    assert "is hosted by [0, 1], its members are [0, 1, 2]" in (divergence(good, ALL) or "")
    assert divergence(good, [NodeId(1), NodeId(0)]) is None
    assert "node 0 has applied 7, node 2 8" in (divergence([*good, replica(2, slot=8)], ALL) or "")
    assert "nodes 0 and 2 differ" in (divergence([*good, replica(2, crc=2)], ALL) or "")
    assert "nodes 0 and 2 differ" in (divergence([*good, replica(2, rows=b"other")], ALL) or "")


def write(start: int, end: int | None, value: str, **more: Any) -> Operation:
    outcome = Outcome.UNKNOWN if end is None else Outcome.OK
    return Operation(
        client=0, key="k", kind=Kind.PUT, invoke_ns=start, return_ns=end, outcome=outcome, value=value, **more
    )


def peek(start: int, end: int, value: str | None) -> Operation:
    seen = None if value is None else Item(value)
    return Operation(client=1, key="k", kind=Kind.PEEK, invoke_ns=start, return_ns=end, outcome=Outcome.OK, seen=seen)


def test_an_eventual_read_may_be_old_within_the_lag_but_not_beyond_it() -> None:
    history = [write(0, 10, "a"), write(20, 30, "b")]
    assert stale_read([*history, peek(120, 121, "a")], 100) is None
    assert stale_read([*history, peek(130, 131, "a")], 100) is None
    assert "after it was gone" in (stale_read([*history, peek(131, 132, "a")], 100) or "")
    assert stale_read([*history, peek(131, 132, "a")], None) is None
    assert stale_read([*history, peek(131, 132, "b")], 100) is None


def test_a_write_that_overlapped_its_successor_may_have_come_after_it() -> None:
    assert stale_read([write(0, 25, "a"), write(20, 30, "b"), peek(500, 501, "a")], 100) is None
    assert stale_read([write(0, None, "a"), write(20, 30, "b"), peek(500, 501, "a")], 100) is None


def test_a_value_that_nobody_wrote_or_only_later_is_a_fault_at_any_lag() -> None:
    assert "nobody had written" in (stale_read([peek(5, 6, "ghost")], None) or "")
    assert "nobody had written" in (stale_read([peek(5, 6, "a"), write(7, 8, "a")], None) or "")
    assert stale_read([peek(5, 8, "a"), write(7, 9, "a")], None) is None
    failed = msgspec.structs.replace(write(0, 1, "a"), outcome=Outcome.FAILED, kind=Kind.INSERT)
    assert "nobody had written" in (stale_read([failed, peek(5, 6, "a")], None) or "")


def test_a_history_is_plain_json() -> None:
    history = [write(0, 10, "a"), write(1, None, "b"), peek(2, 3, "a")]
    encoded = msgspec.json.encode(history)
    assert msgspec.json.decode(encoded, type=list[Operation]) == history
