"""Who listens to whom, and what of it a crash must not undo (REPLICATION.md §8): found by simulation, told by hand."""

from __future__ import annotations

from typing import Any

from tests.node.three import N0, N1, N2, Three

from gramme.kernel.ids import BootId, NodeId
from gramme.node.introductions import Introductions
from gramme.node.messages import Hello, HelloAck, WhoAreYou


def _to(three: Three, source: NodeId, target: NodeId) -> list[Any]:
    """What `source` is about to send to `target` in this turn."""
    return list(three.node(source).host._outbox.get(target, []))


def _restarted(three: Three, node: NodeId) -> Introductions:
    """A new process on `node`, which has heard nobody yet: nothing reaches it."""
    for peer in three.cluster.nodes:
        if peer != node:
            three.cluster.cut(peer, node)
    three.crash(node)
    three.cluster.start(node)
    three.until(lambda: three.node(node).introductions.started, "its boot is durable")
    return three.node(node).introductions


def test_a_hello_that_a_later_one_has_overtaken_refuses_nobody() -> None:
    """Simulation (five, seed 531): it names a durable LSN below the one that is remembered, of the same boot."""
    three = Three()
    introductions = _restarted(three, N0)
    remembered = three.node(N0).memory.peers[N1]
    boots = three.node(N1).memory.boots
    assert boots[-1] == remembered.boot
    introductions.on_hello(N1, remembered.boot, Hello(boots, remembered.durable_lsn - 1))
    three.until(lambda: introductions.accepted(N1, remembered.boot), "it is listened to")
    assert three.node(N0).memory.peers[N1].durable_lsn == remembered.durable_lsn, "what is remembered never goes back"


def test_a_boot_is_announced_only_when_it_is_durable_also_to_a_peer_that_asks() -> None:
    """Simulation (disks, seed 31): a peer would durably remember a boot that a crash makes its own node forget, and
    would refuse that node from then on."""
    three = Three()
    three.crash(N2)
    three.cluster.start(N2)
    node = three.node(N2)
    node.introductions.on_who_are_you(N0)
    assert not any(isinstance(message, Hello) for message in _to(three, N2, N0))
    three.until(lambda: node.introductions.started, "its boot is durable")
    node.introductions.on_who_are_you(N0)
    assert any(isinstance(message, Hello) for message in _to(three, N2, N0))


def test_a_refusal_reaches_a_node_that_does_not_listen_to_its_sender() -> None:
    """Simulation (rot, seed 37): a node with a cut log went on beside one peer, since it read nothing of the others."""
    three = Three()
    introductions = _restarted(three, N2)
    machine = three.cluster.machines[N2]
    machine.damaged = True
    node = three.node(N2)
    assert not introductions.accepted(N0, three.node(N0).boot)
    node.on_messages(N0, three.node(N0).boot, [HelloAck(node.boot, "it has lost a boot")])
    assert machine.beyond_repair
    assert "it has lost a boot" in node.refusal


def test_two_nodes_that_do_not_know_each_other_do_not_ask_for_ever() -> None:
    """Who is asked introduces itself, whoever asks; the question is not the answer to the question."""
    three = Three()
    _restarted(three, N2)
    node, boot = three.node(N2), three.node(N0).boot
    three.run(1)
    node.on_messages(N0, boot, [WhoAreYou()])
    assert [type(message) for message in _to(three, N2, N0)] == [Hello]
    node.host._outbox.clear()
    node.on_messages(N0, boot, [HelloAck(BootId(b"?" * 16))])
    assert not _to(three, N2, N0)
