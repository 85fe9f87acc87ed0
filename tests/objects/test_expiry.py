"""Values whose time is over: all replicas come to the same, whoever sweeps first, and nothing comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.objects.cluster import AGE_NS, PARTITIONS, Cluster

from gramme.kernel.effects import Effects
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Timestamp
from gramme.objects.expiry import expiry, shown, without_expired
from gramme.objects.messages import Exchange, Put, Stored
from gramme.objects.quorums import WriteQuorum
from gramme.objects.state import Name
from gramme.objects.store import Section
from gramme.objects.versions import (
    NO_VECTOR,
    NOTHING,
    Dot,
    Value,
    Versions,
    last_write,
    make_actor,
    merge,
    write,
)

_NAME = Name(b"default", b"sessions", b"of-anna")
_ALL = WriteQuorum(3, 3, dw=3)
_AT = Timestamp(0)


def _written(node: int, text: str, modified: int = 0, expires: int = 0, before: Versions = NOTHING) -> Versions:
    dot = Dot(make_actor(NodeId(node), 1), len(before.siblings) + 1)
    value = Value(text.encode(), modified=Timestamp(modified), expires=Timestamp(expires))
    return write(before, NO_VECTOR, dot, value, _AT)


def test_what_readers_are_shown() -> None:
    both = merge(_written(1, "mortal", expires=10), _written(2, "stays"))
    assert len(shown(both, Timestamp(9)).siblings) == 2
    assert [s.value.body for s in shown(both, Timestamp(10)).siblings] == [b"stays"]
    assert shown(both, Timestamp(10)).seen == both.seen
    alone = shown(_written(1, "mortal", expires=10), Timestamp(10))
    assert alone.deleted
    swept = without_expired(both, Timestamp(10))
    assert isinstance(swept, Versions)
    assert shown(swept, Timestamp(10)) == shown(both, Timestamp(10))


def test_what_is_swept_has_no_body_and_keeps_its_write_and_its_time() -> None:
    state = _written(1, "mortal", modified=7, expires=10)
    assert without_expired(state, Timestamp(9)) is state
    swept = without_expired(state, Timestamp(10))
    assert isinstance(swept, Versions)
    (sibling,) = swept.siblings
    assert sibling.dot == state.siblings[0].dot
    assert (sibling.value.body, sibling.value.deleted, sibling.value.modified) == (b"", True, 7)
    assert without_expired(swept, Timestamp(99)) is swept


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 20)), max_size=5), st.lists(st.booleans(), max_size=5))
def test_it_does_not_matter_who_sweeps_before_joining(writes: list[tuple[int, int]], sweeps: list[bool]) -> None:
    states = [_written(n, f"v{n}", modified=n, expires=expires) for n, expires in dict(writes).items()]
    swept = [
        without_expired(s, Timestamp(10)) if do else s for s, do in zip(states, [*sweeps, *[False] * 5], strict=False)
    ]
    one = other = NOTHING
    for left, right in zip(states, reversed(swept), strict=True):
        assert isinstance(right, Versions)
        one, other = merge(one, left), merge(other, right)
    assert merge(one, other) == merge(other, one)
    assert without_expired(merge(one, other), Timestamp(10)) == without_expired(one, Timestamp(10))
    assert shown(merge(one, other), Timestamp(10)) == shown(one, Timestamp(10))


def test_where_the_last_write_wins_an_expired_one_still_wins_over_older_ones() -> None:
    swept = without_expired(_written(1, "newer", modified=9, expires=10), Timestamp(10))
    assert isinstance(swept, Versions)
    assert last_write(merge(swept, _written(2, "older", modified=5))) == last_write(
        merge(_written(2, "older", modified=5), swept)
    )
    assert last_write(merge(swept, _written(2, "older", modified=5))).deleted


def _put(cluster: Cluster, text: str, seconds: int = 0, quorum: WriteQuorum = _ALL) -> None:
    value = Value(text.encode(), modified=cluster.wall, expires=expiry(cluster.wall, seconds))
    assert isinstance(cluster.ask(cluster.primaries(_NAME)[0], Put(_NAME, quorum, value)), Stored)


def _bodies(cluster: Cluster) -> list[bytes]:
    return [s.value.body for state in cluster.known(_NAME) if isinstance(state, Versions) for s in state.siblings]


def test_replicas_sweep_what_has_expired_and_forget_it() -> None:
    cluster = Cluster(5, background=True)
    cluster.reaping = True
    _put(cluster, "session", 2)
    cluster.run(SECOND)
    assert _bodies(cluster) == [b"session"] * 3
    cluster.run(2 * AGE_NS)
    assert b"session" not in _bodies(cluster)
    cluster.run(4 * AGE_NS)
    assert all(not machine.replica.store.rows(_NAME) for machine in cluster.machines)


def test_who_has_swept_and_who_has_not_are_made_equal_without_sending_what_has_expired() -> None:
    cluster = Cluster(3, background=True)
    _put(cluster, "session" * 1000, 2)
    first = cluster.machines[cluster.primaries(_NAME)[0]]
    cluster.background = False
    cluster.run(2 * SECOND + AGE_NS)
    state = cluster.known(_NAME)[first.node]
    assert state is not None
    out = Effects()
    first.replica.lapse(_NAME, state, out)
    first.execute(out)
    assert len(set(map(str, cluster.known(_NAME)))) == 2
    cluster.background = True
    cluster.sent.clear()
    cluster.run(30 * SECOND)
    assert _bodies(cluster) == [b""] * 3
    roots = {m.replica.store.tree(Section(p, 3)).root() for m in cluster.machines for p in range(PARTITIONS)}
    assert len(roots - {0}) == 1
    sent = [state for message in cluster.sent if isinstance(message, Exchange) for _, state in message.states]
    assert all(len(state) < 1000 for state in sent)


def test_what_an_expired_value_had_replaced_does_not_come_back() -> None:
    """A replica was away while the value was written and while it expired."""
    cluster = Cluster(5, background=True)
    cluster.reaping = True
    _put(cluster, "old")
    away = cluster.primaries(_NAME)[2]
    seen = cluster.known(_NAME)[away]
    assert seen is not None
    cluster.crash(away)
    value = Value(b"mortal", modified=cluster.wall, expires=expiry(cluster.wall, 1))
    put = Put(_NAME, WriteQuorum(3, 2, dw=2), value, context=seen.seen)
    assert isinstance(cluster.ask(cluster.primaries(_NAME)[0], put), Stored)
    cluster.run(6 * AGE_NS)
    cluster.start(away)
    cluster.run(60 * SECOND)
    assert b"old" not in _bodies(cluster)
    assert all(not machine.replica.store.rows(_NAME) for machine in cluster.machines)
