"""Readers, followers and subscribers against an embedded node, over HTTP: what they see is what was written."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.support import eventually

import gramme.testing
from gramme.client.endpoint import Endpoint
from gramme.client.errors import ServiceError, Unreachable
from gramme.client.streams import handlers
from gramme.client.streams.reader import HORIZON, LATEST, Record, ShardReader
from gramme.client.streams.stream import required_stream, shards_of
from gramme.client.streams.subscriber import Options, Subscriber
from gramme.client.streams.tail import Tail
from gramme.kernel.errors import InvalidInput
from gramme.testing import Server

pytestmark = pytest.mark.seconds(9)

TABLE = "things"
QUARTER_MS = 16 * 60 * 1_000
DAY_MS = 25 * 3600 * 1_000


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    with gramme.testing.server() as server:
        yield server


class Things:
    """The table, its writer, and who reads it."""

    def __init__(self, node: Server) -> None:
        self.node = node
        self.client = node.client()
        self.endpoint = Endpoint(node.endpoint_url)
        self.warnings: list[str] = []
        self.written: dict[str, list[int]] = {}
        self.number = 0

    def put(self, count: int, **more: Any) -> None:
        for _ in range(count):
            key = f"k{self.number % 7}"
            item = {"pk": {"S": key}, "n": {"N": str(self.number)}, **more}
            self.client.put_item(TableName=TABLE, Item=item)
            self.written.setdefault(key, []).append(self.number)
            self.number += 1

    def switch(self, on: bool) -> None:
        view = {"StreamViewType": "NEW_IMAGE"} if on else {}
        self.client.update_table(TableName=TABLE, StreamSpecification={"StreamEnabled": on, **view})
        eventually("the table is ACTIVE", lambda: self._status() == "ACTIVE")

    def _status(self) -> str:
        status: str = self.client.describe_table(TableName=TABLE)["Table"]["TableStatus"]
        return status

    @contextlib.contextmanager
    def subscriber(self, handler: handlers.Handler, **options: Any) -> Iterator[Subscriber]:
        """Runs in a thread of its own; ready when this yields."""
        settings = Options(**{"poll_s": 0.02, "lease_s": 1.0, "attempts": 2, **options})
        made = Subscriber(self.endpoint, TABLE, handler, settings, self.warnings.append)
        ready = threading.Event()
        refused: list[InvalidInput] = []

        def run() -> None:
            try:
                made.run(ready.set)
            except InvalidInput as error:
                refused.append(error)
                ready.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert ready.wait(30)
            if refused:
                raise refused[0]
            yield made
        finally:
            made.stop()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def things(node: Server) -> Things:
    node.reset()
    made = Things(node)
    made.client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    return made


class Seen:
    """A handler that notes what it is given."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.numbers: dict[str, list[int]] = {}
        self.pause_s = 0.0

    def __call__(self, records: list[Record]) -> None:
        time.sleep(self.pause_s)
        with self._lock:
            for record in records:
                image = record["dynamodb"]["NewImage"]
                self.numbers.setdefault(image["pk"]["S"], []).append(int(image["n"]["N"]))

    @property
    def count(self) -> int:
        with self._lock:
            return sum(map(len, self.numbers.values()))


def follow(things: Things, start: str) -> tuple[list[Record], Callable[[], None]]:
    """A tail in a thread: what it has found, and how to end it."""
    stop = threading.Event()
    tail = Tail(things.endpoint, TABLE, start, poll_s=0.01, stop=stop, warn=things.warnings.append)
    tail.open()
    found: list[Record] = []

    def run() -> None:
        for record in tail.records():
            found.append(record)  # one by one: the test looks at it meanwhile

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()

    return found, end


def by_key(records: list[Record]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for record in records:
        image = record["dynamodb"]["NewImage"]
        numbers.setdefault(image["pk"]["S"], []).append(int(image["n"]["N"]))
    return numbers


# --- tail


def test_a_follower_sees_every_change_in_order_through_a_change_of_streams(things: Things) -> None:
    things.put(10)
    old, end_old = follow(things, HORIZON)
    things.written, before = {}, dict(things.written)
    new, end_new = follow(things, LATEST)
    things.put(20)
    things.switch(on=False)
    things.switch(on=True)
    things.put(15)
    eventually("both have seen all", lambda: len(old) >= 45 and len(new) >= 35)
    end_old()
    end_new()
    assert by_key(new) == things.written
    assert by_key(old) == {key: before.get(key, []) + things.written[key] for key in things.written}
    assert things.warnings == []


def test_what_cannot_be_followed(things: Things) -> None:
    with pytest.raises(InvalidInput, match="there is no table nothing"):
        required_stream(things.endpoint, "nothing")
    things.switch(on=False)
    with pytest.raises(InvalidInput, match="has no stream"):
        required_stream(things.endpoint, TABLE)


# --- reading one shard


def test_a_reader_outlives_its_iterators(things: Things) -> None:
    things.put(5)
    arn = required_stream(things.endpoint, TABLE)
    readers = [
        ShardReader(things.endpoint, shard, HORIZON, things.warnings.append)
        for shard in shards_of(things.endpoint, arn)
    ]
    found = [record for reader in readers for record in reader.read(100).records]
    assert len(found) == 5
    things.put(3)
    things.node.advance_clock(QUARTER_MS)
    for _ in range(2):  # the first finds that its iterator has expired
        found += [record for reader in readers for record in reader.read(100).records]
    assert by_key(found) == things.written
    assert things.warnings == []


def test_a_reader_says_what_it_lost(things: Things) -> None:
    things.put(5)
    arn = required_stream(things.endpoint, TABLE)
    shards = shards_of(things.endpoint, arn)
    readers = [ShardReader(things.endpoint, shard, HORIZON, things.warnings.append) for shard in shards]
    first = [reader.read(1) for reader in readers]
    busy = [i for i, batch in enumerate(first) if batch.records]
    things.node.advance_clock(DAY_MS)
    eventually("the records are trimmed", lambda: _trimmed(things, busy[0], shards))
    things.put(7)
    for _ in range(4):
        found = [record for i in busy for record in readers[i].read(100).records]
        if found:
            break
    assert any("trimmed before they were read" in line for line in things.warnings)


def _trimmed(things: Things, index: int, shards: Any) -> bool:
    reader = ShardReader(things.endpoint, shards[index], HORIZON, lambda _: None)
    return not reader.read(10).records


# --- subscribers


def test_every_change_is_handled_in_order(things: Things) -> None:
    seen = Seen()
    with things.subscriber(seen):
        things.put(60)
        eventually("all are handled", lambda: seen.count >= 60)
    assert seen.numbers == things.written
    things.put(30)  # nobody is there
    with things.subscriber(seen):
        eventually("the rest is handled", lambda: seen.count >= 90)
    assert seen.numbers == things.written
    assert things.warnings == []


def test_two_share_the_shards_and_hand_over_without_doing_anything_twice(things: Things) -> None:
    one, two = Seen(), Seen()
    options = {"start": HORIZON, "name": "shared", "lease_s": 4.0}  # no pause of this machine may end a lease
    with things.subscriber(one, **options):
        things.put(40)
        eventually("the first has begun", lambda: one.count > 0)
        with things.subscriber(two, **options):
            eventually("each owns two", lambda: _owners(things, "shared") == [2, 2])
            things.put(60)
            eventually("all are handled", lambda: one.count + two.count >= 100)
        things.put(40)
        eventually("the first handles the rest", lambda: one.count + two.count >= 140)
    assert two.count > 0
    together = {key: sorted(one.numbers.get(key, []) + two.numbers.get(key, [])) for key in things.written}
    assert together == things.written
    for seen in (one, two):
        assert all(numbers == sorted(numbers) for numbers in seen.numbers.values())


def _owners(things: Things, name: str) -> list[int]:
    rows = things.client.scan(TableName=f"{TABLE}.{name}.leases", ConsistentRead=True)["Items"]
    owners = [row["owner"]["S"] for row in rows if "owner" in row]
    return sorted(owners.count(owner) for owner in dict.fromkeys(owners))


def test_a_subscription_goes_on_with_the_next_stream(things: Things) -> None:
    seen = Seen()
    with things.subscriber(seen):
        things.put(20)
        things.switch(on=False)
        things.switch(on=True)
        things.put(20)
        eventually("both streams are handled", lambda: seen.count >= 40)
    assert seen.numbers == things.written


def test_a_subscription_ends_what_is_left_of_a_stream_that_is_off(things: Things) -> None:
    seen = Seen()
    with things.subscriber(seen):
        things.put(5)
        eventually("the first are handled", lambda: seen.count >= 5)
    things.put(15)
    things.switch(on=False)
    with pytest.raises(InvalidInput, match="has no stream"), things.subscriber(seen, name="too-late"):
        pass
    with things.subscriber(seen):
        eventually("the rest is handled", lambda: seen.count >= 20)
        eventually("all shards are done", lambda: _checkpoints(things) == {"SHARD_END"})
    assert seen.numbers == things.written


def _checkpoints(things: Things) -> set[str]:
    rows = things.client.scan(TableName=f"{TABLE}.default.leases", ConsistentRead=True)["Items"]
    return {row["checkpoint"]["S"] for row in rows if "checkpoint" in row}


def test_latest_means_what_comes_after_the_subscription_began(things: Things) -> None:
    things.put(10)
    things.written.clear()
    seen = Seen()
    seen.pause_s = 0.2
    with things.subscriber(seen):
        pass  # its leases stand where LATEST was, though it handled nothing
    things.put(10)
    with things.subscriber(seen):
        eventually("what came in between is handled", lambda: seen.count >= 10)
    assert seen.numbers == things.written


def test_what_cannot_be_handled_is_put_aside(things: Things) -> None:
    seen = Seen()

    def handle(records: list[Record]) -> None:
        if any("poison" in record["dynamodb"]["NewImage"] for record in records):
            raise ValueError("poison")
        seen(records)

    with things.subscriber(handle):
        things.put(10)
        things.put(1, poison={"BOOL": True})
        things.put(10)
        eventually("the others are handled", lambda: seen.count >= 20)
        dead = eventually("one is put aside", lambda: _dead(things))
    assert [json.loads(row["record"]["S"])["dynamodb"]["NewImage"]["n"] for row in dead] == [{"N": "10"}]
    assert dead[0]["error"]["S"] == "ValueError('poison')"
    assert seen.count == 20


def _dead(things: Things) -> list[Any]:
    rows: list[Any] = things.client.scan(TableName=f"{TABLE}.default.dead")["Items"]
    return rows


def test_batches_are_posted(things: Things) -> None:
    posted: list[Record] = []
    answers = iter([500])  # then 200

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = next(answers, 200)
            self.send_response(status)
            self.end_headers()
            if status == 200:
                posted.extend(body["Records"])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever).start()
        with things.subscriber(handlers.post(f"http://127.0.0.1:{server.server_address[1]}/hook?x=1"), attempts=5):
            things.put(20)
            eventually("all are posted", lambda: len(posted) >= 20)
        server.shutdown()
    assert by_key(posted) == things.written


# --- the endpoint


def test_errors_of_an_endpoint(things: Things) -> None:
    with pytest.raises(ServiceError, match="ResourceNotFoundException: Requested resource not found: Table: nothing"):
        things.endpoint.call("DescribeTable", {"TableName": "nothing"})
    for url in ("127.0.0.1:8000", "ftp://x", "http://x/path"):
        with pytest.raises(InvalidInput):
            Endpoint(url)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Unreachable):
        Endpoint("http://127.0.0.1:1", stop=stopped).call("ListTables", {})


def test_handlers_that_cannot_be_loaded() -> None:
    for name in ("nothing", "no.such.module:f", "json:nothing", "json:__doc__"):
        with pytest.raises(InvalidInput):
            handlers.function(name)
    assert handlers.function("json:dumps") is json.dumps
    with pytest.raises(InvalidInput):
        handlers.post("not a url")


# --- the command


@contextlib.contextmanager
def command(things: Things, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "gramme.runtime.cli", "streams", *arguments, "--endpoint", things.node.endpoint_url]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_command_follows_a_table_until_it_is_told_to_stop(things: Things) -> None:
    things.put(2)
    with command(things, "tail", TABLE, "--json") as new, command(things, "tail", TABLE, "--from", "horizon") as all_:
        assert new.stdout is not None
        assert new.stderr is not None
        assert all_.stdout is not None
        assert new.stderr.readline() == f"following {TABLE}\n"
        things.put(3)
        records = [json.loads(new.stdout.readline()) for _ in range(3)]
        assert sorted(int(record["dynamodb"]["NewImage"]["n"]["N"]) for record in records) == [2, 3, 4]
        lines = sorted(all_.stdout.readline().split(" ", 3)[1:] for _ in range(5))
        assert lines[0] == ["INSERT", '{"Keys":{"pk":{"S":"k0"}},"NewImage":{"pk":{"S":"k0"},"n":{"N":"0"}}}\n']
        all_.stdout.close()  # as `| head` does
        new.terminate()
        assert new.wait(10) == 0
        things.put(1)
        assert all_.wait(10) == 0


def test_commands_that_cannot_begin(things: Things) -> None:
    for arguments, code, text in (
        (("tail", "nothing"), 1, "gramme: there is no table nothing\n"),
        (("subscribe", "nothing", "--call", "json:dumps"), 1, "gramme: there is no table nothing\n"),
        (("subscribe", TABLE, "--call", "no.such:function"), 1, "gramme: cannot load no.such:function: "),
        (("subscribe", TABLE), 2, "one of --call and --post is needed, and only one"),
    ):
        with command(things, *arguments) as process:
            _, errors = process.communicate(timeout=20)
        assert process.returncode == code
        assert text in errors
