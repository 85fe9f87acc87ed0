"""Clients of objects: each does one thing after the other through the HTTP API of some node, and writes it down.

Rule: an attempt is never repeated, so what was tried is known; and with w=1 (or r=1) no node that lives may refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from gramme.api.http import HttpRequest, HttpResponse
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.objects.state import Name
from gramme.sim.checkers.objects import COUNTERS, LAST_WRITE, SETS, SIBLINGS, ObjectHistory, Write
from gramme.sim.client_loop import ClientLoop
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import SimConfig
from gramme.sim.faults import FaultKind
from gramme.sim.world import World

SET_TYPE: Final = "sets"
_PATIENCE_NS: Final = 5 * SECOND // 2
_TIMEOUT: Final = "timeout=3000"  # longer than that, so that what is refused in time is not refused for being late
_VALUE: Final = re.compile(rb"<([\w.]+)>")
_UNKNOWN_TYPE: Final = b"Unknown bucket type: "
_PATHS: Final = {
    SIBLINGS: "/buckets/carts/keys/", LAST_WRITE: "/buckets/latest/keys/", COUNTERS: "/buckets/counts/counters/",
    SETS: f"/types/{SET_TYPE}/buckets/sets/datatypes/",
}  # fmt: skip
_JSON: Final = {b"content-type": b"application/json"}
_OnResponse = Callable[[HttpResponse | None], None]


def name_of(bucket: str, key: str) -> Name:
    """The object of a bucket of this workload."""
    return Name(SET_TYPE.encode() if bucket == SETS else b"default", bucket.encode(), key.encode())


class Refused(AssertionError):
    """An answer that a right request must never get."""


class _Asked(NamedTuple):
    """A request: of which node, for a quorum of how many, when; `may_fail`: an increment that is sent on to one node
    at most, so that it may be unknown what became of it, a removal of what nobody near has, or a read at a node that
    has left the ring."""

    node: NodeId
    needed: int
    at_ns: int
    may_fail: bool = False


class _Seen(NamedTuple):
    """What a client has read of one object."""

    context: bytes
    values: tuple[str, ...]
    deletions: tuple[str, ...]


class Shopper(ClientLoop):
    """One client's endless loop."""

    def __init__(
        self, world: World, cluster: SimCluster, config: SimConfig, history: ObjectHistory, number: int
    ) -> None:
        super().__init__(world, world.randomness("shopper", number), config.think_ns)
        self._cluster = cluster
        self._config = config
        self._history = history
        self._number = number
        self._count = 0
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._must_answer = FaultKind.DRAIN not in config.faults  # a node that stops may refuse
        room_runs_out = {FaultKind.FULL_DISK, FaultKind.STALL_ENGINE} & config.faults.keys()
        self._stays_primary = not room_runs_out and not config.ring_changes
        self._disks_lose = bool({FaultKind.ROT, FaultKind.LOSE_ROWS, FaultKind.BURN} & config.faults.keys())

    def _operate(self) -> None:
        rng = self._rng
        bucket = (SIBLINGS, SIBLINGS, SIBLINGS, LAST_WRITE, COUNTERS, SETS)[rng.randrange(6)]
        key = f"k{rng.randrange(self._config.keys)}"
        node = self._cluster.nodes[rng.randrange(len(self._cluster.nodes))]
        if bucket in (SIBLINGS, SETS) and rng.random() < 0.4:
            self._read(bucket, key, node)
        else:
            self._write(bucket, key, node)

    # --- reads --------------------------------------------------------------------------------------------------------

    def _read(self, bucket: str, key: str, node: NodeId) -> None:
        needed = (1, 1, 2, 3)[self._rng.randrange(4)]
        asked = _Asked(node, needed, self._world.now_ns, may_fail=self._is_outside(node))
        self._history.reads += 1

        def answered(response: HttpResponse | None) -> None:
            lonely = asked.may_fail or self._is_outside(node)
            if response is not None and self._fits(response, asked._replace(may_fail=lonely), (200, 300, 304, 404)):
                seen = self._what_was_read(bucket, key, response)
                if seen is not None:
                    self._seen[bucket, key] = seen
                    if self._config.deletes_what_it_reads and bucket == SIBLINGS and seen.values:
                        self._write(bucket, key, node, delete=True)
                        return
            self._rest()

        headers = {b"accept": b"multipart/mixed"}
        self._ask(
            node, HttpRequest("GET", _PATHS[bucket] + key, f"r={asked.needed}&{_TIMEOUT}", headers, b""), answered
        )

    def _is_outside(self, node: NodeId) -> bool:
        """Whether `node` has left the ring, as it knows it: it keeps nothing that it could answer a read with alone."""
        production = self._cluster.machines[node].node
        members = () if production is None else production.objects.config.ring.members
        return bool(members) and all(place.node != node for place in members)

    def _what_was_read(self, bucket: str, key: str, response: HttpResponse) -> _Seen | None:
        body = response.whole_body()
        if response.status == 404 and body.startswith(_UNKNOWN_TYPE):
            return None
        if bucket == SETS:
            document: dict[str, Any] = msgspec.json.decode(body)
            context = document.get("context")
            return None if context is None else _Seen(context.encode(), tuple(document["value"]), ())
        headers = dict(response.headers)
        vclock = headers.get(b"X-Riak-Vclock")
        if vclock is None:
            return None
        deleted = b"X-Riak-Deleted" in headers or b"X-Riak-Deleted" in body
        values = tuple(value.decode() for value in _VALUE.findall(body))
        return _Seen(vclock, values, self._history.deletions(bucket, key) if deleted else ())

    # --- writes -------------------------------------------------------------------------------------------------------

    def _write(self, bucket: str, key: str, node: NodeId, delete: bool = False) -> None:
        self._count += 1
        rng = self._rng
        write = Write(bucket, key, f"c{self._number}.{self._count}", "put", once=self._is_done_here(bucket, key, node))
        seen = self._seen.get((bucket, key))
        headers: dict[bytes, bytes] = {b"content-type": b"text/plain"}
        if self._config.padding_bytes:
            headers[b"x-riak-meta-padding"] = b"p" * rng.randrange(2 * self._config.padding_bytes)
        method, body = "PUT", b"<" + write.id.encode() + b">"
        match bucket:
            case "counts":
                write.kind, method, body = "increment", "POST", b"1"
            case "sets":
                method, headers = "POST", dict(_JSON)
                body = msgspec.json.encode({"add": write.id})
                if seen is not None and seen.values and rng.random() < 0.3:
                    write.kind, gone = "remove", seen.values[rng.randrange(len(seen.values))]
                    write.seen = (gone,)
                    body = msgspec.json.encode({"remove": gone, "context": seen.context.decode()})
                else:
                    write.kind = "add"
            case "carts" if seen is not None and (delete or rng.random() < 0.7):
                headers[b"x-riak-vclock"] = seen.context
                write.seen, write.maybe_seen = seen.values, seen.deletions
                if delete or rng.random() < 0.15:
                    write.kind, method, body = "delete", "DELETE", b""
                    write.forgettable = self._config.deletes_what_it_reads
        may_fail = write.kind == "remove" or (bucket == COUNTERS and not write.once)
        asked = _Asked(node, (1, 1, 2, 3)[rng.randrange(4)], self._world.now_ns, may_fail)
        request = HttpRequest(method, _PATHS[bucket] + key, f"w={asked.needed}&{_TIMEOUT}", headers, body)
        self._history.writes.append(write)

        def written(response: HttpResponse | None) -> None:
            done = response is not None and self._fits(response, asked, (204,))
            write.acknowledged = done and (asked.needed > 1 or not self._disks_lose)
            self._rest()

        self._ask(node, request, written)

    def _is_done_here(self, bucket: str, key: str, node: NodeId) -> bool:
        """Whether `node` coordinates a write of this object itself, so that it is done once or not at all: it is a
        primary, stays one, and will not run out of room."""
        production = self._cluster.machines[node].node
        if production is None or not production.objects.ready or not self._stays_primary:
            return False
        objects = production.objects
        section = objects.store.place(name_of(bucket, key)).section
        return node in objects.config.ring.primaries(*section)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _fits(self, response: HttpResponse, asked: _Asked, good: tuple[int, ...]) -> bool:
        """Whether the request was done. Only quorums of more than one may fail, or where the node itself has no room
        (row A21); and a node that has lost its settings may call a type unknown until it hears of them again."""
        if response.status in good:
            return True
        body = response.whole_body()
        if response.status == 404 and body.startswith(_UNKNOWN_TYPE) and self._cluster.machines[asked.node].damaged:
            return False
        must_answer = (
            self._must_answer and not asked.may_fail and not self._cluster.lacked_room(asked.node, asked.at_ns)
        )
        if response.status != 503 or (asked.needed == 1 and must_answer):
            raise Refused(f"with a quorum of {asked.needed} the answer was {response.status} {body.decode()}")
        return False

    def _ask(self, node: NodeId, request: HttpRequest, on_response: _OnResponse) -> None:
        waiting = [on_response]

        def end(response: HttpResponse | None) -> None:
            if waiting:
                if response is not None:
                    self._world.note(request.method, response.status, response.whole_body())
                waiting.pop()(response)

        self._cluster.request_object(node, request, end)
        self._world.after(_PATIENCE_NS, lambda: end(None))
