"""What is known of one key stays within what a log record holds, and no value is dropped for that."""

from __future__ import annotations

import pytest
from tests.objects.cluster import Cluster

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Timestamp
from gramme.objects import bounds
from gramme.objects.bounds import MAX_SIBLINGS, MAX_STATE_BYTES, MAX_WRITTEN_BYTES, check_written
from gramme.objects.merge_types import ChangeSet
from gramme.objects.messages import Get, Got, Invalid, Keep, Put, Stored
from gramme.objects.quorums import ReadQuorum, WriteQuorum
from gramme.objects.replica import Joined, decode_entry
from gramme.objects.state import Name, encode_state
from gramme.objects.versions import Dot, Seen, Sibling, Value, Vector, Versions, make_actor
from gramme.storage.log.layout import MAX_BODY_BYTES

_NAME = Name(b"default", b"carts", b"of-anna")
_W1, _R3 = WriteQuorum(3, 1, dw=1), ReadQuorum(3, 3)


def _known(count: int, body: bytes = b"v", node: int = 9) -> Versions:
    actor = make_actor(NodeId(node), 1)
    siblings = tuple(Sibling(Dot(actor, n), Value(body)) for n in range(1, count + 1))
    return Versions((Seen(actor, count, Timestamp(0)),), siblings)


def _put(cluster: Cluster, node: int, body: bytes, context: Vector = ()) -> object:
    return cluster.ask(node, Put(_NAME, _W1, Value(body), context=context))


def test_what_may_be_kept_fits_a_log_record_with_its_name() -> None:
    assert MAX_WRITTEN_BYTES < MAX_STATE_BYTES < MAX_BODY_BYTES - (64 << 10)


def test_a_write_that_would_add_one_sibling_too_many_is_refused_and_one_that_merges_is_not() -> None:
    cluster = Cluster(3)
    first = cluster.primaries(_NAME)[0]
    full = _known(MAX_SIBLINGS)
    for machine in cluster.machines:
        machine.write_here(_NAME, full)
    refused = _put(cluster, first, b"one more")
    assert isinstance(refused, Invalid)
    assert f"{MAX_SIBLINGS + 1} siblings, the limit is {MAX_SIBLINGS}" in refused.reason
    assert cluster.known(_NAME) == [full] * 3
    assert isinstance(_put(cluster, first, b"merged", full.seen), Stored)
    outcome = cluster.ask(first, Get(_NAME, _R3))
    assert isinstance(outcome, Got)
    assert outcome.state is not None
    assert cluster.texts(cluster.decoded(outcome.state)) == ["merged"]


def test_what_is_more_than_the_limit_already_may_become_less() -> None:
    check_written(_known(MAX_SIBLINGS + 5), _known(MAX_SIBLINGS + 5))
    with pytest.raises(InvalidInput):
        check_written(_known(MAX_SIBLINGS), _known(MAX_SIBLINGS + 1))
    half = bytes(MAX_WRITTEN_BYTES // 2)
    check_written(_known(1, half), _known(2, half))
    with pytest.raises(InvalidInput, match="with its siblings, the limit is"):
        check_written(_known(2, half), _known(3, half))
    check_written(_known(4, half), _known(3, half))


def test_values_of_merge_types_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_WRITTEN_BYTES", 500)
    cluster = Cluster(3)
    outcomes = [cluster.ask(0, Put(_NAME, _W1, kind="set", operation=ChangeSet((b"%d" % n * 100,)))) for n in range(8)]
    assert isinstance(outcomes[0], Stored)
    assert isinstance(outcomes[-1], Invalid)


def test_replicas_that_took_too_much_apart_keep_it_apart_until_a_client_has_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is lost, nothing larger than a record is logged, and the client's own merge makes them equal."""
    monkeypatch.setattr("gramme.objects.replica.MAX_STATE_BYTES", 3_000)
    cluster = Cluster(3, background=True)
    first, second, third = cluster.primaries(_NAME)
    states = {node: _known(2, bytes([node]) * 1_000, node=50 + node) for node in (first, second, third)}
    for node, state in states.items():
        cluster.machines[node].write_here(_NAME, state)
    cluster.run(40 * SECOND)
    assert all(cluster.known(_NAME)[node] == state for node, state in states.items())
    assert any(machine.replica.oversized for machine in cluster.machines)
    outcome = cluster.ask(first, Get(_NAME, _R3))
    assert isinstance(outcome, Got)
    assert outcome.state is not None
    seen = cluster.decoded(outcome.state)
    assert isinstance(seen, Versions)
    assert len(seen.siblings) == 6
    assert isinstance(_put(cluster, first, b"merged", seen.seen), Stored)
    cluster.run(40 * SECOND)
    assert [cluster.texts(state) for state in cluster.known(_NAME) if state is not None] == [["merged"]] * 3
    bodies = [decode_entry(body) for machine in cluster.machines for body in machine.log]
    assert all(len(entry.state) <= 3_000 for entry in bodies if isinstance(entry, Joined))


def test_a_hint_is_bounded_as_a_row_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gramme.objects.replica.MAX_STATE_BYTES", 3_000)
    cluster = Cluster(5)
    keeper = next(m for m in cluster.machines if m.node not in cluster.primaries(_NAME))
    owner = cluster.primaries(_NAME)[0]
    for node in (1, 2):
        keeper.deliver(owner, Keep(1, _NAME, encode_state(_known(2, b"x" * 1_000, node)), stands_for=owner))
    assert keeper.replica.store.hint(owner, _NAME) == _known(2, b"x" * 1_000, 1)
    assert keeper.replica.oversized == 1
