"""Whom an object client asks, and what it sends again: the decisions alone, with nodes that are a function."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from itertools import product

import pytest

from gramme.client.connections import Reply
from gramme.client.errors import ServiceError, Unreachable
from gramme.client.objects.operations import BucketOperations
from gramme.client.objects.routing import (
    MOST_REFUSALS,
    RING_AGAIN_S,
    RING_S,
    SILENT_S,
    Ask,
    Outcome,
    Request,
    Routing,
    Silence,
    Subject,
)
from gramme.client.objects.values import Found, Value
from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.placement.ring import Ring, founded, place_of, position_of
from gramme.placement.zones import NodePlace

NODES = 5
SUBJECT = Subject(place_of(b"default", b"b"), b"k")
PUT = Request("PUT", "/buckets/b/keys/k", b"x", subject=SUBJECT)
GET = Request("GET", "/buckets/b/keys/k", subject=SUBJECT)
CHANGE = Request("POST", "/types/t/buckets/b/datatypes/k", b"{}", again=False, subject=SUBJECT)
NOT_CONNECTED = Silence(ConnectionRefusedError(), sent=False)
CUT = Silence(ConnectionResetError(), sent=True)
STORED = Reply(204, {"x-gramme-ring": "1"}, b"")
BUSY = Reply(503, {"x-gramme-ring": "1"}, b"too many requests are waiting\n")


def url(node: int) -> str:
    return f"http://node{node}:8100"


def ring_of(nodes: int = NODES) -> Ring:
    return founded([NodePlace(NodeId(node), f"host{node}", "z") for node in range(nodes)])


def document(ring: Ring) -> Reply:
    nodes = [{"node": m.node, "host": m.host, "zone": m.zone, "objects": url(m.node)} for m in ring.members]
    body = {"version": ring.version, "hash": "md5", "n_val": 3, "owners": ring.owners, "nodes": nodes, "later": 1}
    return Reply(200, {"etag": f'"{ring.version}"'}, json.dumps(body).encode())


class World:
    """A client, its clock, and nodes that answer as `node` says."""

    def __init__(self, *seeds: int, partition_aware: bool = True) -> None:
        self.clock = 0.0
        self.ring: Reply | Silence = document(ring_of())
        self.node: Callable[[Ask], Outcome] = lambda _: STORED
        self.asked: list[Ask] = []
        self.routing = Routing([url(s) for s in seeds or (0,)], partition_aware, 30.0, lambda: self.clock)

    def ask(self, request: Request) -> Reply:
        steps = self.routing.carry_out(request)
        outcome = None
        try:
            while True:
                ask = steps.send(outcome)  # type: ignore[arg-type]
                self.asked.append(ask)
                outcome = self.ring if ask.path == "/ring" else self.node(ask)
        except StopIteration as done:
            reply: Reply = done.value
            return reply

    def order_of(self, request: Request, node: Callable[[Ask], Outcome]) -> list[str]:
        """The nodes that `request` went to."""
        self.asked.clear()
        self.node = node
        with contextlib.suppress(ServiceError, Unreachable):
            self.ask(request)
        return [ask.url for ask in self.asked if ask.path != "/ring"]


def preference(nodes: int = NODES, n: int = 3) -> list[str]:
    ring = ring_of(nodes)
    partition = ring.partition_of(position_of(SUBJECT.place, SUBJECT.key))
    return [url(node) for node in ring.preference_list(partition, n)]


def answering(outcome: Outcome) -> World:
    """A world where every node does the same."""
    world = World()
    world.node = lambda _: outcome
    return world


def silent(urls: Iterable[str], how: Silence) -> Callable[[Ask], Outcome]:
    down = list(urls)
    return lambda ask: how if ask.url in down else STORED


def test_a_request_goes_straight_to_the_first_primary() -> None:
    world = World(4)
    assert world.order_of(PUT, lambda _: STORED) == preference()[:1]
    assert world.asked[0].path == "/ring"
    assert world.asked[1].headers["X-Gramme-Ring"] == "1"


def test_the_node_that_a_read_named_is_preferred_if_it_is_a_primary() -> None:
    world = World()
    nodes = [int(each.removeprefix("http://node").removesuffix(":8100")) for each in preference()]
    for named in nodes:
        first = world.order_of(PUT._replace(coordinator=named), lambda _: STORED)[0]
        assert first == (url(named) if named in nodes[:3] else url(nodes[0]))
    assert world.order_of(PUT._replace(coordinator=99), lambda _: STORED) == [url(nodes[0])]


@pytest.mark.parametrize("down", list(product((False, True), repeat=NODES)))
@pytest.mark.parametrize("how", [NOT_CONNECTED, CUT])
def test_whoever_is_down_the_first_of_the_list_that_is_up_answers(down: tuple[bool, ...], how: Silence) -> None:
    world = World()
    listed = preference()
    gone = [each for each, is_down in zip(listed, down, strict=True) if is_down]
    up = [each for each in listed if each not in gone]
    first = world.order_of(PUT, silent(gone, how))
    again = world.order_of(GET, silent(gone, how))
    if up:
        assert first == listed[: listed.index(up[0]) + 1]
        assert again == up[:1]  # nobody who is silent is asked first
    else:
        assert first == [*listed, listed[0]]
        assert set(again) == set(listed)


def test_what_may_not_be_done_twice_goes_on_only_where_nothing_was_sent() -> None:
    listed = preference()
    assert World().order_of(CHANGE, silent(listed[:2], NOT_CONNECTED)) == listed[:3]
    world = World()
    assert world.order_of(CHANGE, silent(listed[:2], CUT)) == listed[:1]
    with pytest.raises(Unreachable):
        answering(CUT).ask(CHANGE)
    assert World().order_of(CHANGE, lambda _: BUSY) == listed[:1]


def test_refusals_are_taken_to_other_replicas_but_not_to_all() -> None:
    assert World().order_of(PUT, lambda _: BUSY) == preference()[:MOST_REFUSALS]
    with pytest.raises(ServiceError, match="too many requests"):
        answering(BUSY).ask(PUT)
    wrong = Reply(400, {}, b"w-value 9 is out of range\n")
    assert World().order_of(PUT, lambda _: wrong) == preference()[:1]
    missing = Reply(404, {}, b"not found\n")
    assert answering(missing).ask(GET) is missing


def test_a_bucket_type_that_one_node_does_not_know_yet_may_be_known_to_another() -> None:
    unknown = Reply(404, {}, b"Unknown bucket type: t\n")
    listed = preference()
    assert World().order_of(CHANGE, lambda ask: unknown if ask.url != listed[3] else STORED) == listed[:4]
    assert answering(unknown).ask(CHANGE) is unknown


def test_a_silent_node_is_asked_first_again_after_a_while() -> None:
    world = World()
    listed = preference()
    world.order_of(PUT, silent(listed[:1], CUT))
    assert world.order_of(PUT, lambda _: STORED) == [listed[1]]
    world.clock += SILENT_S
    assert world.order_of(PUT, lambda _: STORED) == [listed[0]]


def test_a_silent_node_that_answers_is_silent_no_more() -> None:
    world = World()
    listed = preference()
    world.order_of(PUT, silent(listed[:2], CUT))
    assert world.order_of(PUT, silent(listed[2:], CUT)) == [*listed[2:], listed[0]]  # asked last, it answers
    second = int(listed[1].removeprefix("http://node").removesuffix(":8100"))
    assert world.order_of(PUT._replace(coordinator=second), lambda _: STORED) == [listed[0]]


def test_a_ring_that_could_not_be_fetched_is_asked_for_again_soon() -> None:
    world = World(0, 1, 2)
    world.ring = CUT
    polls = []
    for step in range(5):
        world.asked.clear()
        world.ask(PUT)
        polls.append(sum(ask.path == "/ring" for ask in world.asked))
        world.clock += RING_AGAIN_S if step == 1 else RING_AGAIN_S / 10
    assert polls == [2, 0, 2, 0, 0]


def test_the_ring_is_fetched_every_ten_seconds_from_one_node_after_the_other() -> None:
    world = World()
    polled = []
    for _ in range(60):
        world.ask(PUT)
        world.clock += RING_S / 4
    polled = [ask for ask in world.asked if ask.path == "/ring"]
    assert len(polled) == 15
    assert {ask.url for ask in polled} == {url(node) for node in range(NODES)}
    assert all(ask.headers == {"If-None-Match": '"1"'} for ask in polled[1:])


def test_an_answer_of_a_newer_ring_has_it_fetched_before_the_next_request() -> None:
    world = World()
    world.ask(PUT)
    changed = ring_of(3)
    world.ring = document(Ring(7, changed.owners, changed.members))
    assert world.order_of(PUT, lambda _: STORED._replace(headers={"x-gramme-ring": "7"})) == preference()[:1]
    assert world.order_of(PUT, lambda _: STORED) == preference(3)[:1]
    assert world.asked[0].path == "/ring"
    older = STORED._replace(headers={"x-gramme-ring": "6"})  # a node that has not heard of it yet
    world.order_of(PUT, lambda _: older)
    world.ring = document(ring_of())
    world.clock += RING_S
    world.order_of(PUT, lambda _: older)
    assert world.asked[0].path == "/ring"
    assert world.routing.ring is not None
    assert world.routing.ring.version == 7  # an older ring is not taken


def test_who_is_named_as_primaries_teaches_the_buckets_n() -> None:
    world = World()
    listed = preference(n=1)
    down = silent(listed[:1], NOT_CONNECTED)
    corrected = STORED._replace(headers={"x-gramme-ring": "1", "x-gramme-primaries": listed[0][-6]})
    world.order_of(PUT, lambda ask: corrected if ask.url != listed[0] else down(ask))
    world.clock += SILENT_S
    named = int(preference()[1].removeprefix("http://node").removesuffix(":8100"))
    assert world.order_of(PUT._replace(coordinator=named), lambda _: STORED) == [listed[0]]  # no primary of n=1


@pytest.mark.parametrize("ring", [NOT_CONNECTED, CUT, Reply(404, {}, b"not found\n"), Reply(200, {}, b"<html>")])
def test_without_a_ring_requests_go_to_the_node_that_answered_last(ring: Reply | Silence) -> None:
    world = World(0, 1, 2)
    world.ring = ring
    assert world.order_of(PUT, silent([url(0)], NOT_CONNECTED))[-1] in (url(1), url(2))
    last = world.routing.order(PUT)[0]
    assert world.order_of(GET, lambda _: STORED) == [last]


def test_without_partition_awareness_nobody_asks_for_a_ring() -> None:
    world = World(0, 1, partition_aware=False)
    for _ in range(3):
        assert world.order_of(PUT, lambda _: STORED) == [url(0)]
        world.clock += RING_S
        assert [ask.headers for ask in world.asked] == [{}]
    assert world.order_of(PUT, silent([url(0)], CUT)) == [url(0), url(1)]
    world.clock += SILENT_S
    assert world.order_of(PUT, lambda _: STORED) == [url(1)]  # it stays with the node that answered last
    assert set(world.order_of(PUT, lambda _: CUT)) == {url(0), url(1)}


def test_a_client_needs_a_url() -> None:
    with pytest.raises(InvalidInput):
        Routing([], True, 1.0, lambda: 0.0)


# --- what is asked


@pytest.mark.parametrize(
    "value",
    [
        Value(b"", "text/plain\r\nX-Riak-Vclock: x"),
        Value(b"", meta={"a": "b\nc"}),
        Value(b"", meta={"a: b\r\n": "c"}),
        Value(b"", meta={"": "c"}),
        Value(b"", meta={"a": "\N{SNOWMAN}"}),
    ],
)
def test_what_no_header_can_carry_is_refused_before_anything_is_sent(value: Value) -> None:
    with pytest.raises(InvalidInput):
        next(BucketOperations("b", "default", None, False).put("k", value, "", {}))


@pytest.mark.parametrize("name", ["", "x" * 256, "\N{SNOWMAN}" * 86])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        BucketOperations(name, "default", None, False)


def test_a_write_brings_what_was_seen_and_whom_to_ask() -> None:
    bucket = BucketOperations("b", "default", None, False)
    request = next(bucket.put("k", Value(b"x"), Found((), "seen", 2), {"w": 1}))
    assert (request.headers["X-Riak-Vclock"], request.coordinator) == ("seen", 2)
    assert (request.path, request.subject) == ("/buckets/b/keys/k?w=1", SUBJECT)
