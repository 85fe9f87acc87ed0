"""The log and the engine of a node of objects: the log keeps what the engine may still lose, and an engine that is
behind delays a start and fails none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gramme.api.http import HttpRequest, HttpResponse
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.world import World

_ALONE = replace(CONFIGS["objects-quiet"], nodes=1)
_NODE = NodeId(0)


class _Machine:
    """One node and its clients."""

    def __init__(self) -> None:
        self.world = World(1)
        self.cluster = SimCluster(self.world, _ALONE)
        self.start()

    def start(self) -> None:
        self.cluster.start(_NODE)
        self.pass_time(2)

    def pass_time(self, seconds: int) -> None:
        self.world.run(self.world.now_ns + seconds * SECOND)

    def ask(self, method: str, key: str, body: bytes = b"") -> tuple[int, bytes]:
        answers: list[HttpResponse | None] = []
        request = HttpRequest(method, f"/buckets/b/keys/{key}", "", {b"content-type": b"text/plain"}, body)
        self.cluster.request_object(_NODE, request, answers.append)
        self.pass_time(1)
        (answer,) = answers
        assert answer is not None
        return answer.status, answer.whole_body()

    @property
    def segments(self) -> list[int]:
        return self.cluster.machines[_NODE].log_disk.stored()


@pytest.mark.parametrize("flushes", [True, False], ids=["flushed", "never flushed"])
def test_segments_go_only_when_the_engine_has_what_is_in_them(flushes: bool) -> None:
    machine = _Machine()
    if not flushes:
        machine.cluster.machines[_NODE].engine._schedule = lambda _callback: None
    written = {f"k{number}": bytes((number,)) * 8_000 for number in range(12)}
    for key, value in written.items():
        assert machine.ask("PUT", key, value)[0] == 204
    machine.pass_time(60)
    assert (0 in machine.segments or 1 in machine.segments) is not flushes, machine.segments
    machine.cluster.crash(_NODE, power=True)
    machine.start()
    assert {key: machine.ask("GET", key) for key in written} == {key: (200, value) for key, value in written.items()}


def test_a_node_whose_engine_is_behind_starts_and_serves_when_it_has_caught_up() -> None:
    machine = _Machine()
    for number in range(5):
        assert machine.ask("PUT", f"k{number}", b"%d" % number)[0] == 204
    machine.cluster.crash(_NODE, power=True)
    machine.cluster.machines[_NODE].engine = machine.cluster.machines[_NODE].new_engine()
    machine.cluster.stall_engine(_NODE, True)
    machine.start()
    node = machine.cluster.machines[_NODE].node
    assert node is not None
    assert (node.objects.replaying, node.objects.ready) == (True, False)
    machine.pass_time(60)
    assert {0, 1} & set(machine.segments), "its log may not be cut while the engine lacks what is in it"
    machine.cluster.stall_engine(_NODE, False)
    machine.pass_time(1)
    assert [machine.ask("GET", f"k{number}")[1] for number in range(5)] == [b"%d" % number for number in range(5)]


def test_a_node_that_stopped_in_order_trusts_its_actors_unless_the_engine_is_another_one() -> None:
    machine = _Machine()
    trusted = []
    for lost in (False, False, True):
        assert machine.ask("PUT", "k", b"v")[0] == 204
        machine.cluster.drain(_NODE)
        machine.pass_time(5)
        if lost:
            machine.cluster.lose_rows(_NODE)
        machine.start()
        node = machine.cluster.machines[_NODE].node
        assert node is not None
        trusted.append(node.objects.dots.trusted_from)
    assert trusted[0] == trusted[1] < trusted[2]
