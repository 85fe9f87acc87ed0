"""Identity and founding (REPLICATION.md §8): a stale, copied or emptied directory is refused, an honest one never."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.ids import BootId, ClusterId, Lsn, NodeId
from gramme.membership.identity import (
    ANNOUNCED_BOOTS,
    Accept,
    Found,
    Founded,
    Hello,
    PeerMemory,
    Refuse,
    Resume,
    check,
    founding,
    may_take_part,
    next_boots,
)

CLUSTER, OTHER = ClusterId(b"c" * 16), ClusterId(b"o" * 16)
NODE = NodeId(2)


def boot(number: int) -> BootId:
    return BootId(number.to_bytes(16, "big"))


def hello(*numbers: int, lsn: int = 100) -> Hello:
    return Hello(NODE, CLUSTER, tuple(boot(number) for number in numbers), Lsn(lsn))


def reason(outcome: Accept | Refuse) -> str:
    assert isinstance(outcome, Refuse)
    return outcome.reason


def test_a_stranger_is_accepted_and_remembered() -> None:
    assert check(None, hello(1, 2)) == Accept(PeerMemory(boot(2), Lsn(100)))


def test_a_restart_is_accepted_and_remembered_anew() -> None:
    assert check(PeerMemory(boot(1), Lsn(100)), hello(1, 2)) == Accept(PeerMemory(boot(2), Lsn(100)))


def test_nothing_new_need_not_be_made_durable_again() -> None:
    assert check(PeerMemory(boot(2), Lsn(100)), hello(1, 2)) == Accept(None)


def test_an_emptied_directory_is_refused() -> None:
    assert "gramme cluster remove" in reason(check(PeerMemory(boot(1), Lsn(100)), hello(9, lsn=1)))


def test_a_copy_made_before_the_last_boot_seen_is_refused() -> None:
    assert "does not know of its own boot" in reason(check(PeerMemory(boot(3), Lsn(100)), hello(1, 2, 9)))


def test_a_log_that_lost_what_was_acknowledged_is_refused() -> None:
    remembered = PeerMemory(boot(1), Lsn(100))
    assert "had acknowledged 100" in reason(check(remembered, hello(1, 2, lsn=99)))
    assert isinstance(check(remembered, hello(1, 2, lsn=100)), Accept)


def test_two_processes_with_one_identity_are_refused() -> None:
    assert "still answers" in reason(check(PeerMemory(boot(2), Lsn(1)), hello(1, 2, 3), answering=boot(2)))
    assert isinstance(check(PeerMemory(boot(2), Lsn(1)), hello(1, 2, 3), answering=boot(3)), Accept)


def test_another_cluster_is_refused_before_anything_else() -> None:
    assert "cluster" in reason(check(None, hello(1), cluster=OTHER))
    assert isinstance(check(None, hello(1), cluster=CLUSTER), Accept)


@pytest.mark.parametrize("boots", [(), tuple(boot(i) for i in range(ANNOUNCED_BOOTS + 1)), (BootId(b"short"),)])
def test_a_malformed_announcement_is_refused(boots: tuple[BootId, ...]) -> None:
    assert "boots" in reason(check(None, dataclasses.replace(hello(1), boots=boots)))


@given(st.lists(st.integers(0, ANNOUNCED_BOOTS - 2), max_size=30))
def test_an_honest_node_is_never_refused_while_its_peer_misses_few_enough_boots(gaps: list[int]) -> None:
    """The peer misses some restarts between hellos, but the last boot that it saw is still announced."""
    boots: tuple[BootId, ...] = ()
    memory: PeerMemory | None = None
    number, lsn = 0, 0
    for missed in gaps:
        for _ in range(missed + 1):
            number += 1
            boots = next_boots(boots, boot(number))
        lsn += 3
        outcome = check(memory, Hello(NODE, CLUSTER, boots, Lsn(lsn)))
        assert isinstance(outcome, Accept)
        memory = outcome.memory or memory
        assert memory == PeerMemory(boot(number), Lsn(lsn))


@given(copied_at=st.integers(1, 10), boots_after=st.integers(1, 10), boots_of_copy=st.integers(0, 30))
def test_a_copy_is_refused_however_often_it_restarts(copied_at: int, boots_after: int, boots_of_copy: int) -> None:
    """The original went on and was seen after the copy was taken: the copy cannot know of that boot."""
    boots: tuple[BootId, ...] = ()
    for number in range(copied_at):
        boots = next_boots(boots, boot(number))
    memory = PeerMemory(boot(copied_at + boots_after - 1), Lsn(50))
    for number in range(boots_of_copy):
        boots = next_boots(boots, boot(1_000 + number))
    if boots_of_copy == 0:
        boots = next_boots(boots, boot(999))
    assert "does not know" in reason(check(memory, Hello(NODE, CLUSTER, boots, Lsn(10**6))))


LIST = (NodeId(0), NodeId(1), NodeId(2))


def test_empty_named_nodes_found() -> None:
    assert founding((NodeId(2), NodeId(0), NodeId(1)), NODE, CLUSTER, empty=True, founded=None) == Found(LIST)


def test_nothing_else_founds() -> None:
    unnamed = founding(LIST, NodeId(3), CLUSTER, empty=True, founded=None)
    assert isinstance(unnamed, Refuse)
    assert "does not name node 3" in unnamed.reason
    damaged = founding(LIST, NODE, CLUSTER, empty=False, founded=None)
    assert isinstance(damaged, Refuse)
    assert "damaged" in damaged.reason
    assert isinstance(founding((), NODE, CLUSTER, empty=True, founded=None), Refuse)


def test_a_founded_directory_resumes_as_itself_only() -> None:
    record = Founded(NODE, CLUSTER, LIST)
    assert founding(LIST, NODE, CLUSTER, empty=False, founded=record) == Resume(LIST)
    assert founding((), NODE, CLUSTER, empty=False, founded=record) == Resume(LIST)
    assert isinstance(founding(LIST, NodeId(1), CLUSTER, empty=False, founded=record), Refuse)
    assert isinstance(founding(LIST, NODE, OTHER, empty=False, founded=record), Refuse)


def test_an_empty_founder_takes_part_only_when_every_other_one_has_accepted_it() -> None:
    found = Found(LIST)
    assert not may_take_part(found, NODE, ())
    assert not may_take_part(found, NODE, (NodeId(0),))
    assert not may_take_part(found, NODE, (NODE, NodeId(1)))
    assert may_take_part(found, NODE, (NodeId(1), NodeId(0)))
    assert may_take_part(Found((NODE,)), NODE, ())
    assert may_take_part(Resume(LIST), NODE, ())
