"""Five real processes keep objects through a minute of kills, pauses, cuts and changes of the ring; then they agree,
and nobody has read.

With w=1 every put is accepted somewhere, always (row A21). What was acknowledged is there in the end, or was seen by
what is; replicas are compared by the roots of their trees, so that no read repairs what the background should. Who
judges is the simulator's checker (`gramme.sim.checkers.objects`).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from rich.console import Console
from rich.table import Table
from tests.integration.links import Links
from tests.integration.support import RawAnswer, eventually

from gramme.kernel.ids import NodeId
from gramme.objects.merge_types import Counter, Set, Typed
from gramme.objects.state import State
from gramme.objects.versions import NO_VECTOR, Dot, Sibling, Value, Versions, make_actor
from gramme.runtime.cluster import LocalCluster
from gramme.sim.checkers.objects import COUNTERS, LAST_WRITE, SETS, SIBLINGS, ObjectHistory, Write, wrong_object
from gramme.testing.processes import free_port

pytestmark = pytest.mark.seconds(75)

NODES: Final = 5
STORM_S: Final = 60.0
WORKERS: Final = 5
KEYS: Final = 6
ATTEMPT_S: Final = 4.0
CONVERGENCE_S: Final = 60.0
_PATHS: Final = {
    SIBLINGS: "/buckets/carts/keys/", LAST_WRITE: "/buckets/latest/keys/", COUNTERS: "/buckets/counts/counters/",
    SETS: "/types/sets/buckets/sets/datatypes/",
}  # fmt: skip
_VALUE: Final = re.compile(rb"<([\w.]+)>")
_JSON: Final = {"Content-Type": "application/json"}
_TEXT: Final = {"Content-Type": "text/plain"}


class Storm:
    """Five nodes, each of which reaches the others through proxies."""

    def __init__(self, directory: Path) -> None:
        self._local = LocalCluster(directory)
        nodes = range(NODES)
        self.port = free_port((0, *(base + node for base in (1, 100, 200, 300) for node in nodes)))
        self._local.found(NODES, self.port)
        self.links = Links([self.port + 300 + node for node in nodes])

    def __enter__(self) -> Storm:
        self.links.__enter__()
        for node in range(NODES):
            file = self._local.directory / "nodes" / str(node) / "node.toml"
            text = file.read_text()
            for address, proxy in self.links.addresses(node).items():
                text = text.replace(f'"{address}"', f'"{proxy}"')
            file.write_text(text)
            self.start(node)
        self.wait_ready()
        return self

    def __exit__(self, *_error: object) -> None:
        self._local.down()
        self.links.__exit__()

    def start(self, node: int) -> None:
        self._local.start(node, os.environ)

    def wait_ready(self) -> None:
        self._local.wait_ready(list(range(NODES)))

    def kill(self, node: int) -> None:
        self._local.kill(node)

    def pause(self, node: int) -> None:
        self._local.pause(node)

    def resume(self, node: int) -> None:
        self._local.resume(node)

    def sections(self, node: int) -> dict[str, Any]:
        """See `Objects.sections`."""
        found: dict[str, Any] = self._get(self.port + 200 + node, "/objects/sections").json
        return found

    def _get(self, port: int, path: str) -> RawAnswer:
        return call(port, "GET", path, b"", {}, 20.0)

    def administer(self, node: int, path: str, body: object) -> RawAnswer:
        return call(self.port + 200 + node, "POST", path, msgspec.json.encode(body), _JSON, 10.0)

    def ask(self, node: int, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> RawAnswer:
        return call(self.port + 100 + node, method, path, body, headers, ATTEMPT_S)

    def difference(self) -> str | None:
        """What keeps the replicas from being identical, each where it should be and nowhere else."""
        copies: dict[str, dict[int, str]] = {}
        shown_by = [self.sections(node) for node in range(NODES)]
        if len({shown["ring_version"] for shown in shown_by}) > 1:
            return "nodes know different rings"
        for node, shown in enumerate(shown_by):
            if shown["hinted"]:
                return f"node {node} keeps hints for {shown['hinted']}"
            for section, root in shown["roots"].items():
                copies.setdefault(section, {})[node] = root
        for section, roots in copies.items():
            if len(roots) != int(section.split("/")[1]) or len(set(roots.values())) > 1:
                return f"section {section} is kept as {roots}"
        return None if copies else "nothing is kept"


def call(port: int, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> RawAnswer:
    """One request. Raises `OSError` or `http.client.HTTPException` where there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        return RawAnswer(answer.status, dict(answer.getheaders()), answer.read())


class Worker(threading.Thread):
    """One client. It asks one node after the other until one has done what it wants."""

    def __init__(self, storm: Storm, history: ObjectHistory, number: int, over: threading.Event) -> None:
        super().__init__(name=f"worker {number}")
        self._storm = storm
        self._history = history
        self._number = number
        self._over = over
        self._rng = random.Random(number)
        self._seen: dict[tuple[str, str], tuple[str, tuple[str, ...], tuple[str, ...]]] = {}
        self.refused: list[str] = []
        self.seconds: dict[int, list[float]] = {1: [], 2: []}  # of acknowledged writes by w
        self.wrong: list[str] = []

    def run(self) -> None:
        count = 0
        while not self._over.wait(self._rng.random() * 0.04):
            count += 1
            bucket = self._rng.choice((SIBLINGS, SIBLINGS, SIBLINGS, LAST_WRITE, COUNTERS, SETS))
            key = f"k{self._rng.randrange(KEYS)}"
            if bucket in (SIBLINGS, SETS) and self._rng.random() < 0.4:
                self._read(bucket, key)
            else:
                self._write(Write(bucket, key, f"c{self._number}.{count}", "put"))

    def _read(self, bucket: str, key: str) -> None:
        r = self._rng.choice((1, 2))
        answer = self._ask("GET", f"{_PATHS[bucket]}{key}?r={r}", b"", {"Accept": "multipart/mixed"}, (200, 300, 404))
        self._history.reads += 1
        if answer is None:
            if r == 1:
                self.refused.append(f"get of {bucket}/{key} with r=1")
        elif bucket == SETS:
            if answer.status == 200 and "context" in answer.json:
                self._seen[bucket, key] = answer.json["context"], tuple(answer.json["value"]), ()
        elif "X-Riak-Vclock" in answer.headers:
            deleted = "X-Riak-Deleted" in answer.headers or b"X-Riak-Deleted" in answer.body
            deletions = self._history.deletions(bucket, key) if deleted else ()
            values = tuple(value.decode() for value in _VALUE.findall(answer.body))
            self._seen[bucket, key] = answer.headers["X-Riak-Vclock"], values, deletions

    def _write(self, write: Write) -> None:
        method, headers, body = self._what(write)
        w = self._rng.choice((1, 2))
        self._history.writes.append(write)
        since = time.monotonic()
        path = f"{_PATHS[write.bucket]}{write.key}?w={w}"
        answer = self._ask(method, path, body, headers, (204,), again=write.bucket != COUNTERS)
        write.acknowledged = answer is not None
        if answer is not None:
            self.seconds[w].append(time.monotonic() - since)
        elif w == 1 and write.bucket != COUNTERS and write.kind != "remove":  # of what nobody near has: 503
            self.refused.append(f"{write.kind} of {write.bucket}/{write.key} with w=1")

    def _what(self, write: Write) -> tuple[str, dict[str, str], bytes]:
        """Method, headers and body; `write` learns what it is."""
        seen = self._seen.get((write.bucket, write.key))
        body = b"<" + write.id.encode() + b">"
        if write.bucket == COUNTERS:
            write.kind = "increment"
            return "POST", _TEXT, b"1"
        if write.bucket == SETS:
            if seen is not None and seen[1] and self._rng.random() < 0.3:
                gone = self._rng.choice(seen[1])
                write.kind, write.seen = "remove", (gone,)
                return "POST", _JSON, msgspec.json.encode({"remove": gone, "context": seen[0]})
            write.kind = "add"
            return "POST", _JSON, msgspec.json.encode({"add": write.id})
        if write.bucket == SIBLINGS and seen is not None and self._rng.random() < 0.8:
            write.seen, write.maybe_seen = seen[1], seen[2]
            if self._rng.random() < 0.15:
                write.kind = "delete"
                return "DELETE", {"X-Riak-Vclock": seen[0]}, b""
            return "PUT", {**_TEXT, "X-Riak-Vclock": seen[0]}, body
        return "PUT", _TEXT, body

    def _ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], good: tuple[int, ...], again: bool = True
    ) -> RawAnswer | None:
        """The first good answer; None if no node gives one. Without `again` only a node that does not run is passed
        over: an increment whose outcome is unknown is not sent twice."""
        nodes = list(range(NODES))
        self._rng.shuffle(nodes)
        for node in nodes:
            try:
                answer = self._storm.ask(node, method, path, body, headers)
            except ConnectionRefusedError:
                continue
            except (OSError, http.client.HTTPException):
                if again:
                    continue
                return None
            if answer.status in good:
                return answer
            if answer.status != 503:
                self.wrong.append(f"{method} {path}: {answer.status} {answer.body!r}")
            if not again:
                return None
        return None


class RingKeeper(threading.Thread):
    """Has one node after the other leave the ring and join it again, asking whichever node answers."""

    def __init__(self, storm: Storm, over: threading.Event) -> None:
        super().__init__(name="ring keeper")
        self._storm = storm
        self._over = over
        self.committed = 0

    def run(self) -> None:
        outside: list[int] = []
        while not self._over.wait(2):
            change = {"join": outside} if outside else {"leave": [self.committed % NODES]}
            if self._commit(change):
                self.committed += 1
                outside = change.get("leave", [])
                self._over.wait(5)

    def _commit(self, change: Mapping[str, list[int]]) -> bool:
        for node in range(NODES):
            with contextlib.suppress(OSError, http.client.HTTPException):
                plan = self._storm.administer(node, "/ring/plan", change)
                if plan.status == 200:
                    return self._storm.administer(node, "/ring/commit", {"plan": plan.json["plan"]}).status == 200
        return False


def _trouble(storm: Storm, rng: random.Random, keeper: RingKeeper) -> dict[str, int]:
    """One fault after the other, each over before the next, until time is over and the ring has changed; how many of
    each."""
    done = {"kill": 0, "pause": 0, "cut": 0}
    until = time.monotonic() + STORM_S
    while time.monotonic() < until or not keeper.committed:
        assert time.monotonic() < until + CONVERGENCE_S, "no change of the ring was committed"
        node, kind = rng.randrange(NODES), rng.choice(list(done))
        done[kind] += 1
        if kind == "kill":
            storm.kill(node)
            time.sleep(rng.random())
            storm.start(node)
            time.sleep(2)
        elif kind == "pause":
            storm.pause(node)
            time.sleep(0.5 + 2 * rng.random())
            storm.resume(node)
        else:
            storm.links.isolate(node)
            time.sleep(1 + 3 * rng.random())
            storm.links.heal(node)
        time.sleep(rng.random())
    return done


def _final(storm: Storm, history: ObjectHistory) -> dict[tuple[str, str], State]:
    """What is left of every object that was written."""
    return {place: state for place in history.by_key() if (state := _left(storm, *place)) is not None}


def _left(storm: Storm, bucket: str, key: str) -> State | None:
    """One object, as the checker takes it: values with dots of no meaning."""
    answer = storm.ask(0, "GET", f"{_PATHS[bucket]}{key}?r=1", b"", {"Accept": "multipart/mixed"})
    actor = make_actor(NodeId(0), 1)
    if bucket == COUNTERS:
        return Typed(NO_VECTOR, Counter({Dot(actor, 1): int(answer.body)})) if answer.status == 200 else None
    if bucket == SETS:
        elements = answer.json.get("value", ()) if answer.status == 200 else ()
        return Typed(NO_VECTOR, Set({element.encode(): (Dot(actor, 1),) for element in elements}))
    values = [Value(b"<" + value + b">") for value in _VALUE.findall(answer.body)]
    if "X-Riak-Deleted" in answer.headers or b"X-Riak-Deleted" in answer.body:
        values.append(Value(b"", deleted=True))
    return Versions(NO_VECTOR, tuple(Sibling(Dot(actor, n), value) for n, value in enumerate(values)))


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    with Storm(tmp_path / "cluster") as storm:
        storm.ask(0, "PUT", "/types/sets/props", msgspec.json.encode({"props": {"datatype": "set"}}), _JSON)
        latest = msgspec.json.encode({"props": {"last_write_wins": True}})
        assert storm.ask(0, "PUT", "/buckets/latest/props", latest, _JSON).status == 204
        eventually(
            "every node knows the settings of buckets",
            lambda: all(
                storm.ask(node, "GET", "/types/sets/props", b"", {}).status == 200
                and storm.ask(node, "GET", "/buckets/latest/props", b"", {}).json["props"]["last_write_wins"]
                for node in range(NODES)
            ),
        )
        yield storm


def test_a_minute_of_kills_pauses_cuts_and_rings_that_change(storm: Storm) -> None:
    history, over = ObjectHistory(), threading.Event()
    workers = [Worker(storm, history, number, over) for number in range(WORKERS)]
    keeper = RingKeeper(storm, over)
    for thread in (*workers, keeper):
        thread.start()
    try:
        faults = _trouble(storm, random.Random(5), keeper)
    finally:
        over.set()
        for thread in (*workers, keeper):
            thread.join()
    storm.wait_ready()
    healed = time.monotonic()
    while (difference := storm.difference()) is not None:
        assert time.monotonic() < healed + CONVERGENCE_S, difference
        time.sleep(0.2)
    _report(workers, history, {**faults, "change of the ring": keeper.committed}, time.monotonic() - healed)
    assert [text for worker in workers for text in worker.wrong] == []
    assert [text for worker in workers for text in worker.refused] == [], "w=1 and r=1 are answered while a node lives"
    assert wrong_object(history, _final(storm, history)) is None
    assert storm.difference() is None


def _report(workers: list[Worker], history: ObjectHistory, faults: Mapping[str, int], converged_s: float) -> None:
    table = Table(title="Objects in a storm")
    for column in ("what", "count", "median ms", "99 % ms"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for w in (1, 2):
        times = sorted(seconds for worker in workers for seconds in worker.seconds[w])
        shown = [f"{1000 * times[int(len(times) * part)]:.0f}" for part in (0.5, 0.99)]
        table.add_row(f"writes acknowledged, w={w}", str(len(times)), *shown)
    refused = sum(len(worker.refused) for worker in workers)
    table.add_row("reads", str(history.reads))
    table.add_row("writes without a good answer", str(sum(not write.acknowledged for write in history.writes)))
    table.add_row("refused although one was enough", str(refused))
    for kind, count in faults.items():
        table.add_row(f"faults: {kind}", str(count))
    table.add_row("seconds until all replicas were equal", f"{converged_s:.1f}")
    Console().print(table)
