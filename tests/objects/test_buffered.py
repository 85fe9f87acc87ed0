"""Buffered writes (row A42): answered from memory, one copy durable soon, the others later; what a crash takes."""

from __future__ import annotations

import pytest
from tests.objects.cluster import Cluster

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.host import HOLD_NS
from gramme.objects.config import BucketSettings, ObjectConfig, check_settings, decode_config, encode_config
from gramme.objects.messages import HandOff, Put, Stored
from gramme.objects.quorums import Count, WriteQuorum
from gramme.objects.state import Name, encode_state
from gramme.objects.versions import Value

_W2 = WriteQuorum(3, 2, dw=0)
_BUCKET = b"sessions"
_SOON_NS = 10 * MILLISECOND


def _name(key: str) -> Name:
    return Name(b"default", _BUCKET, key.encode())


def _put(key: str, quorum: WriteQuorum = _W2) -> Put:
    return Put(_name(key), quorum, Value(key.encode()))


def _cluster(background: bool = False) -> Cluster:
    cluster = Cluster(5, background=background)
    cluster.buffered = (_BUCKET,)
    return cluster


def _holders(cluster: Cluster, key: str) -> list[int]:
    return [node for node, state in enumerate(cluster.known(_name(key))) if state is not None]


def _written(cluster: Cluster, key: str) -> int:
    """Write at a primary, which coordinates; returns it."""
    coordinator = cluster.primaries(_name(key))[0]
    assert isinstance(cluster.ask(coordinator, _put(key)), Stored)
    return coordinator


def _power_cut(cluster: Cluster) -> None:
    everyone = range(len(cluster.machines))
    cluster.crash(*everyone)
    cluster.start(*everyone)


def test_a_power_cut_soon_after_leaves_the_coordinators_copy_from_which_the_others_are_filled() -> None:
    cluster = _cluster(background=True)
    coordinator = _written(cluster, "a")
    cluster.run(_SOON_NS)
    assert sorted(_holders(cluster, "a")) == sorted(cluster.primaries(_name("a")))
    _power_cut(cluster)
    assert _holders(cluster, "a") == [coordinator]
    cluster.run(30 * SECOND)
    assert sorted(_holders(cluster, "a")) == sorted(cluster.primaries(_name("a")))


def test_after_a_while_every_copy_survives() -> None:
    cluster = _cluster()
    _written(cluster, "a")
    cluster.run(HOLD_NS + _SOON_NS)
    _power_cut(cluster)
    assert sorted(_holders(cluster, "a")) == sorted(cluster.primaries(_name("a")))


def test_without_the_buffer_every_copy_is_durable_soon_whoever_waits_for_it() -> None:
    cluster = Cluster(5)
    _written(cluster, "a")
    cluster.run(_SOON_NS)
    _power_cut(cluster)
    assert sorted(_holders(cluster, "a")) == sorted(cluster.primaries(_name("a")))


def test_a_request_that_asks_for_more_fsyncs_gets_them_in_a_buffered_bucket_too() -> None:
    cluster = _cluster()
    coordinator = cluster.primaries(_name("a"))[0]
    assert isinstance(cluster.ask(coordinator, _put("a", WriteQuorum(3, 3, dw=3))), Stored)
    _power_cut(cluster)
    assert sorted(_holders(cluster, "a")) == sorted(cluster.primaries(_name("a")))


def test_what_is_said_to_be_durable_is_so_although_it_was_heard_before_and_only_buffered() -> None:
    """Else a hint would be deleted for a copy that is in memory alone."""
    cluster = _cluster()
    coordinator = _written(cluster, "a")
    replica = next(node for node in cluster.primaries(_name("a")) if node != coordinator)
    state = cluster.known(_name("a"))[coordinator]
    assert state is not None
    cluster.machines[replica].deliver(NodeId(coordinator), HandOff(1, _name("a"), encode_state(state)))
    confirmed = len(cluster.sent)
    cluster.run(_SOON_NS)
    assert len(cluster.sent) > confirmed
    cluster.crash(replica)
    cluster.start(replica)
    assert replica in _holders(cluster, "a")


def test_a_buffered_bucket_promises_no_more_than_one_durable_copy() -> None:
    few: tuple[Count, ...] = (0, 1, "one")
    many: tuple[Count, ...] = (2, "quorum", "all")
    for dw in few:
        check_settings(BucketSettings(buffered=True, dw=dw))
    for dw in many:
        with pytest.raises(InvalidInput, match="buffered"):
            check_settings(BucketSettings(buffered=True, dw=dw))


def test_settings_of_before_are_encoded_as_before() -> None:
    ring = Cluster(3).ring
    plain, buffered = (
        encode_config(ObjectConfig(1, ring, {b"t": settings}))
        for settings in (BucketSettings(), BucketSettings(buffered=True, dw=1))
    )
    assert b"buffered" not in plain
    assert decode_config(buffered).keeping(Name(b"t", b"b", b"k")).buffered
    assert not decode_config(plain).keeping(Name(b"t", b"b", b"k")).buffered
