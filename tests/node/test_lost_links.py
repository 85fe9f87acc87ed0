"""A node whose link broke is not asked first, so that no request waits until failure detection has found out more."""

from __future__ import annotations

from tests.node.lone_host import LoneHost

from gramme.kernel.ids import BootId, ClusterId, NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.node.members import Members
from gramme.node.objects.node_objects import Objects
from gramme.node.ports import Member, NodeSettings
from gramme.objects.messages import Keep, Put
from gramme.objects.quorums import WriteQuorum
from gramme.objects.state import Name
from gramme.objects.versions import Value

_ME = NodeId(0)
_CLUSTER = ClusterId(bytes(16))


class _Node:
    """The objects of node 0 of five; the others never answer."""

    def __init__(self) -> None:
        self.world = LoneHost()
        members = tuple(Member(NodeId(n), f"node{n}", f"host{n}", f"zone{n % 3}") for n in range(5))
        settings = NodeSettings(me=_ME, cluster=_CLUSTER, boot=BootId(bytes(16)), members=members, objects=True)
        self.objects = Objects(
            self.world.host, settings, Members(settings, None), _CLUSTER, lambda _node: True, lambda *_: None, dict
        )  # fmt: skip
        self.objects.recover([], damaged=())
        self.objects.start()
        self.world.run(0)
        while self.world.jobs:
            self.world.jobs.pop(0)()
        assert self.objects.ready

    def asked(self, key: int) -> list[NodeId]:
        """Who is asked first to keep a write of this key."""
        self.world.run(self.world.now)  # what is still to be sent of earlier ones
        self.world.frames.clear()
        put = Put(Name(b"default", b"b", b"%d" % key), WriteQuorum(3, 3), Value(b"v"))
        self.objects.submit(put, Instant(self.world.now + SECOND), lambda _outcome: None)
        self.world.run(self.world.now)
        return [node for node, message in self.world.frames if isinstance(message, Keep)]


def test_another_node_stands_in_until_the_link_is_back() -> None:
    node = _Node()
    key = next(key for key in range(100) if NodeId(1) in node.asked(key))
    node.objects.disconnected(NodeId(1))
    asked = node.asked(key)
    assert len(asked) == 2
    assert NodeId(1) not in asked
    node.objects.connected(NodeId(1))
    assert NodeId(1) in node.asked(key)


def test_after_a_while_failure_detection_alone_decides() -> None:
    node = _Node()
    key = next(key for key in range(100) if NodeId(1) in node.asked(key))
    node.objects.disconnected(NodeId(1))
    node.world.run(node.world.now + 4 * SECOND)
    assert NodeId(1) in node.asked(key)
