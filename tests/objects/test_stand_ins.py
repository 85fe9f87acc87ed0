"""Stand-ins: what they number while they keep writes for others never claims what they no longer have."""

from __future__ import annotations

import pytest
from tests.objects.cluster import Cluster
from tests.sim import planted_objects as planted

from gramme.kernel.effects import Effects
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Timestamp
from gramme.objects.dots import BLOCK, DotSource
from gramme.objects.messages import Put, Stored
from gramme.objects.quorums import WriteQuorum
from gramme.objects.state import Name, State
from gramme.objects.store import Section
from gramme.objects.versions import NO_VECTOR, Dot, Seen, Value, Vector, Versions, merge

_NAME = Name(b"default", b"carts", b"of-anna")
_W1 = WriteQuorum(3, 1, dw=1)


def _heard(dot: Dot) -> Vector:
    return (Seen(dot.actor, dot.counter, Timestamp(0)),)


def _texts(state: State | None) -> set[str]:
    assert isinstance(state, Versions)
    return {sibling.value.body.decode() for sibling in state.siblings}


class _Story:
    """Five nodes, of which some hear each other: every message between others is lost."""

    def __init__(self) -> None:
        self.cluster = Cluster(5)
        place = self.cluster.machines[0].replica.store.place(_NAME)
        order = self.cluster.ring.preference_list(place.section.partition, 3)
        self.first, self.second, self.third, self.stand_in = order[:4]

    def hears(self, *ways: tuple[NodeId, NodeId]) -> None:
        """Only these pairs hear each other, and every node knows that."""
        nodes = [machine.node for machine in self.cluster.machines]
        both = {*ways, *((b, a) for a, b in ways)}
        self.cluster.cut = {(a, b) for a in nodes for b in nodes if a != b and (a, b) not in both}

    def put(self, node: NodeId, text: str, up: set[NodeId]) -> None:
        self.cluster.believed_up = up
        assert isinstance(self.cluster.ask(node, Put(_NAME, _W1, Value(text.encode()))), Stored)
        self.cluster.run(3 * SECOND)

    def hand_off(self, node: NodeId, to: NodeId) -> None:
        self.cluster.believed_up = {node, to}
        machine = self.cluster.machines[node]
        machine.execute(machine.handoff.tick(self.cluster.now))
        self.cluster.run(SECOND)
        assert machine.replica.store.hint(to, _NAME) is None

    def play(self) -> None:
        """The stand-in numbers `a` and `b`, hands both off, hears `a` again, and numbers `d`."""
        x = self.stand_in
        self.hears((x, self.second))
        self.put(x, "a", {x})  # the second primary hears it
        self.hears()
        self.put(x, "b", {x})  # nobody does
        self.hears((x, self.first))
        self.hand_off(x, self.first)
        assert _texts(self.cluster.known(_NAME)[self.first]) == {"a", "b"}
        self.hears((x, self.second))
        self.put(self.second, "c", {self.second, x})  # the stand-in keeps `a` and `c` for the first
        self.hears()
        self.put(x, "d", {x})
        self.hears((x, self.first))
        self.hand_off(x, self.first)


def test_a_stand_in_that_hears_back_a_part_of_what_it_handed_off_swallows_nothing() -> None:
    """`d` was once numbered by the actor of `a` and `b`, so that it claimed to have seen `b` and replaced it."""
    story = _Story()
    story.play()
    assert _texts(story.cluster.known(_NAME)[story.first]) == {"a", "b", "c", "d"}


def test_the_planted_fault_swallows_a_write() -> None:
    story = _Story()
    with planted.go_on_with_any_actor():
        story.play()
    assert "b" not in _texts(story.cluster.known(_NAME)[story.first])


def test_a_stand_in_goes_on_with_its_actor_while_it_keeps_what_that_wrote() -> None:
    """One entry of the vector for each outage, not one for each write: else truncation would soon forget the rest."""
    story = _Story()
    x = story.stand_in
    story.hears()
    for number in range(5):
        story.put(x, f"v{number}", {x})
    kept = story.cluster.machines[x].replica.store.hint(story.first, _NAME)
    assert isinstance(kept, Versions)
    assert len(kept.siblings) == 5
    assert len(kept.seen) == 1


def test_a_row_does_not_go_on_with_an_actor_of_a_stand_in() -> None:
    """A node may become a primary of what it stood in for, and hear a part of it first."""
    source = DotSource(NodeId(1), 0, clean=True)
    source.reserved(BLOCK)
    stood_in = source.stand_in_dot(NO_VECTOR, None)
    heard = _heard(stood_in)
    assert source.dot(heard).actor != stood_in.actor
    assert source.stand_in_dot(heard, stood_in.actor).actor == stood_in.actor


def test_after_a_section_was_left_nothing_goes_on_with_an_actor_from_before() -> None:
    """What comes back of it first may be less than was there."""
    story = _Story()
    story.cluster.cut = set()
    machine = story.cluster.machines[story.first]
    place = machine.replica.store.place(_NAME)
    story.put(story.first, "a", {node.node for node in story.cluster.machines})
    before = story.cluster.known(_NAME)[story.second]
    assert before is not None
    story.put(story.first, "b", {story.first})
    out = Effects()
    machine.replica.leave(Section(*place.section), out)
    machine.replica.keep(_NAME, before, story.first, out)
    machine.execute(out)
    story.put(story.first, "c", {story.first})
    mine, whole = story.cluster.known(_NAME)[story.first], story.cluster.known(_NAME)[story.second]
    assert isinstance(mine, Versions)
    assert isinstance(whole, Versions)
    assert {"a", "b", "c"} <= _texts(merge(mine, whole))


@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_trusts_no_less_than_is_known(clean: bool) -> None:
    source = DotSource(NodeId(1), 0, clean=True)
    source.reserved(BLOCK)
    dot = source.dot(NO_VECTOR)
    source.distrust()
    heard = _heard(dot)
    assert source.dot(heard).actor != dot.actor
    again = DotSource(NodeId(1), BLOCK, clean, source.trusted_from)
    again.reserved(2 * BLOCK)
    assert again.dot(heard).actor != dot.actor
