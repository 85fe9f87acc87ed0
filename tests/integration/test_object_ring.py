"""What a node tells clients of the ring: enough to find an object's coordinator without asking, and corrections."""

from __future__ import annotations

from functools import partial

from tests.integration.support import eventually
from tests.integration.test_objects import TEXT, call

from gramme.kernel.ids import NodeId
from gramme.placement.ring import Ring, place_of, position_of
from gramme.placement.zones import NodePlace
from gramme.testing import cluster


def ring_of(url: str) -> tuple[Ring, dict[NodeId, str]]:
    """The ring that a node shows, and where each node's objects are."""
    shown = call(url, "GET", "/ring").json
    members = tuple(NodePlace(NodeId(node["node"]), node["host"], node["zone"]) for node in shown["nodes"])
    ring = Ring(shown["version"], tuple(map(NodeId, shown["owners"])), members)
    return ring, {NodeId(node["node"]): node["objects"] for node in shown["nodes"]}


def everybody_known(url: str) -> bool:
    return all(ring_of(url)[1].values())


def test_every_node_shows_the_same_ring_and_who_is_asked_wrongly_names_the_primaries() -> None:
    with cluster(4) as four:
        urls = [four.objects_url(node) for node in range(4)]
        for url in urls:
            eventually("gossip has brought all addresses", partial(everybody_known, url))
        assert len({call(url, "GET", "/ring").body for url in urls}) == 1
        ring, addresses = ring_of(urls[0])
        assert addresses == {NodeId(node): url for node, url in enumerate(urls)}
        key_path = "/types/default/buckets/b/keys/k"
        preference = ring.preference_list(ring.partition_of(position_of(place_of(b"default", b"b"), b"k")), 3)
        _check_corrections(addresses, key_path, preference)
        _check_a_bucket_of_another_n(addresses, preference)


def _check_corrections(addresses: dict[NodeId, str], path: str, preference: tuple[NodeId, ...]) -> None:
    aware = {**TEXT, "X-Gramme-Ring": "1"}
    for node in preference[:3]:
        stored = call(addresses[node], "PUT", path, b"x", aware)
        assert (stored.status, stored.headers["X-Gramme-Ring"]) == (204, "1")
        assert "X-Gramme-Primaries" not in stored.headers
    astray = call(addresses[preference[3]], "PUT", path, b"x", aware)
    assert astray.status == 204
    assert astray.headers["X-Gramme-Primaries"] == ",".join(map(str, preference[:3]))
    read = call(addresses[preference[0]], "GET", path, headers=aware)
    assert int(read.headers["X-Gramme-Coordinator"]) in preference[:3]
    foreign = call(addresses[preference[3]], "GET", path)  # Riak's clients hear nothing of this
    assert not {"X-Gramme-Primaries", "X-Gramme-Coordinator"} & foreign.headers.keys()


def _check_a_bucket_of_another_n(addresses: dict[NodeId, str], preference: tuple[NodeId, ...]) -> None:
    path = "/buckets/b/props"
    assert call(addresses[preference[0]], "PUT", path, b'{"props": {"n_val": 1}}').status == 204

    def corrected() -> bool:
        aware = {"X-Gramme-Ring": "1"}
        answer = call(addresses[preference[1]], "GET", "/buckets/b/keys/k", headers=aware)
        return answer.headers.get("X-Gramme-Primaries") == str(preference[0])

    eventually("the other node has heard of it", corrected)


def test_a_ring_that_is_known_is_not_sent_again() -> None:
    with cluster(1) as one:
        url = one.objects_url(0)
        first = call(url, "GET", "/ring")
        again = call(url, "GET", "/ring", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert call(url, "GET", "/ring", headers={"If-None-Match": '"0.0"'}).status == 200
        assert call(url, "PUT", "/ring").status == 405
        assert call(url, "GET", "/nothing/here").headers["X-Gramme-Ring"] == "1"
