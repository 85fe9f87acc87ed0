"""The Python client and `gramme objects` against real processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import permutations

import pytest
from tests.integration.support import eventually
from tests.integration.test_object_ring import everybody_known
from tests.integration.test_objects import call

from gramme.client.errors import ServiceError
from gramme.client.objects import AsyncObjectClient, Bucket, ObjectClient, Siblings, Value, last_write_wins, union
from gramme.testing import Cluster, Server

pytestmark = pytest.mark.seconds(26)


@pytest.fixture
def client(node: Server) -> ObjectClient:
    return ObjectClient(node.objects_url)


def items(value: Value | None) -> set[str]:
    """A set of strings, as `union` merges it."""
    return set(json.loads(value.body)) if value is not None else set()


def with_item(item: str, value: Value | None) -> Value:
    return Value(json.dumps(sorted(items(value) | {item})).encode(), "application/json")


def test_values_come_back_as_they_were_written(client: ObjectClient) -> None:
    bucket = client.bucket("a/b c")
    assert bucket.read("k/1") is None
    for body in (b"", b"\x00\r\n--\xff", bytes(range(256)) * 300):
        value = Value(body, "image/png", {"color": "blue"})
        bucket.put("k/1", value, bucket.get("k/1").context)
        assert bucket.read("k/1") == value
    assert bucket.keys() == ["k/1"]
    assert "a/b c" in client.buckets()
    assert bucket.delete("k/1")
    assert not bucket.delete("k/1")
    assert bucket.get("k/1").values == ()
    assert bucket.get("k/1").context != ""


def test_siblings_are_never_dropped_silently(client: ObjectClient) -> None:
    bucket = client.bucket("siblings")
    bodies = {b"one", b"\r\n\r\ntwo\n", b"\xff\r\n"}
    for body in bodies:
        bucket.put("k", Value(body))
    found = bucket.get("k")
    assert {value.body for value in found.values} == bodies
    with pytest.raises(Siblings, match="3 siblings"):
        bucket.read("k")
    longest = client.bucket("siblings", resolve=lambda siblings: max(siblings, key=lambda value: len(value.body)))
    assert longest.read("k") == Value(b"\r\n\r\ntwo\n")
    longest.modify("k", lambda value: Value(value.body + b"!" if value is not None else b""))
    assert [value.body for value in bucket.get("k").values] == [b"\r\n\r\ntwo\n!"]


def test_what_the_service_refuses_is_an_error_with_its_words(client: ObjectClient) -> None:
    with pytest.raises(ServiceError, match="r-value 9 is out of range") as refused:
        client.bucket("b").get("k", r=9)
    assert refused.value.status == 400
    unknown = client.bucket("b", type_="nobody-made-it")
    for ask in (unknown.get, unknown.read, unknown.delete, unknown.typed):
        with pytest.raises(ServiceError, match="Unknown bucket type: nobody-made-it"):
            ask("k")
    with pytest.raises(ServiceError, match="Unknown bucket type"):
        unknown.put("k", Value(b"x"))


def test_merge_types(client: ObjectClient) -> None:
    client.make_type("client-sets", {"datatype": "set"})
    bucket = client.bucket("b", type_="client-sets")
    assert bucket.typed("k") == (None, None)
    bucket.change("k", {"add_all": ["a", "b"]})
    seen = bucket.typed("k")
    bucket.change("k", {"remove": "a"}, seen.context)
    assert bucket.typed("k").value == ["b"]
    assert bucket.props()["datatype"] == "set"


def test_no_addition_is_lost_by_concurrent_changes_nor_by_a_dead_node(three: Cluster) -> None:
    urls = [three.objects_url(n) for n in range(3)]
    clients = [ObjectClient(*urls[n:], *urls[:n]).bucket("carts", resolve=union) for n in range(3)]

    def add(n: int) -> None:
        clients[n % 3].modify("anna", lambda cart: with_item(f"item{n}", cart))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(12)))
    three.kill(0)
    add(12)  # this client prefers the node that is gone
    assert items(clients[1].read("anna", r=2)) == {f"item{n}" for n in range(13)}
    three.start_all()
    eventually("all nodes answer", lambda: clients[2].read("anna", r=3))


def forwarded(cluster: Cluster) -> int:
    """Writes that a node sent on to another one."""
    nodes = [call(f"http://127.0.0.1:{cluster.admin_port(n)}", "GET", "/cluster").json for n in range(3)]
    return sum(int(node["objects"]["forwarded"]) for node in nodes)


def test_writes_go_straight_to_a_coordinator(three: Cluster) -> None:
    url = three.objects_url(0)
    eventually("gossip has brought all addresses", partial(everybody_known, url))
    for partition_aware in (True, False):
        bucket = ObjectClient(url, partition_aware=partition_aware).bucket(f"aware-{partition_aware}")
        bucket.set_props({"n_val": 1})  # so that two of three nodes are no primaries
        wait_for_props(three, bucket_name=f"aware-{partition_aware}")
        before = forwarded(three)
        for n in range(30):
            bucket.put(f"k{n}", Value(b"x"))
            assert bucket.get(f"k{n}").values == (Value(b"x"),)
        if partition_aware:
            assert forwarded(three) == before
        else:
            assert forwarded(three) > before


def wait_for_props(cluster: Cluster, bucket_name: str) -> None:
    """Return when every node has heard that the bucket has n=1."""
    for n in range(3):
        one = ObjectClient(cluster.objects_url(n), partition_aware=False).bucket(bucket_name)
        eventually("the bucket has its n", partial(keeps_one, one))


def keeps_one(bucket: Bucket) -> bool:
    return bool(bucket.props()["n_val"] == 1)


def test_a_counter_counts_once_over_a_nodes_restart(three: Cluster) -> None:
    urls = [three.objects_url(n) for n in range(3)]
    client = ObjectClient(*urls)
    client.make_type("restart-counters", {"datatype": "counter"})
    bucket = client.bucket("b", type_="restart-counters")
    for url in urls:
        one = ObjectClient(url, partition_aware=False).bucket("b", type_="restart-counters")
        eventually("the node knows the type", partial(known, one))
    keys = [f"k{n}" for n in range(12)]
    for restarted in (None, 0, 1):
        if restarted is not None:  # the client's connections to it are dead, and it must notice before it sends
            three.kill(restarted)
            three.start(restarted)
        for key in keys:
            bucket.change(key, {"increment": 1})
    assert [bucket.typed(key, r=3).value for key in keys] == [3] * len(keys)


def known(bucket: Bucket) -> bool:
    try:
        bucket.props()
    except ServiceError:
        return False
    return True


def test_siblings_that_are_deletions_are_the_readers_choice(client: ObjectClient) -> None:
    bucket = client.bucket("deletions")
    bucket.put("k", Value(b"first"))
    seen = bucket.get("k")
    bucket.put("k", Value(b"second"), seen)
    bucket.delete("k", seen)  # has not seen the second
    found = bucket.get("k")
    assert [value.body for value in found.values] == [b"second"]
    assert [value.deleted for value in found.deletions] == [True]
    assert bucket.read("k") == Value(b"second")
    gone = client.bucket("deletions", deletions=True, resolve=lambda siblings: max(siblings, key=lambda v: v.deleted))
    assert gone.read("k") is None
    with pytest.raises(Siblings):
        client.bucket("deletions", deletions=True).read("k")


def test_the_last_write_may_win_at_the_reader(client: ObjectClient) -> None:
    bucket = client.bucket("last", resolve=last_write_wins)
    for body in (b"one", b"two"):
        bucket.put("k", Value(body))
    assert [value.modified > 0 for value in bucket.get("k").values] == [True, True]
    winner = bucket.read("k")
    assert winner in (Value(b"one"), Value(b"two"))
    assert bucket.read("k") == winner
    by_time = [Value(b"b", modified=1.0), Value(b"a", modified=2.0), Value(b"", modified=1.5, deleted=True)]
    assert {last_write_wins(order).body for order in permutations(by_time)} == {b"a"}


# --- asyncio


def test_the_asynchronous_client_says_the_same(node: Server) -> None:
    async def use() -> None:
        async with AsyncObjectClient(node.objects_url) as client:
            bucket = client.bucket("async a/b", resolve=union)
            assert await bucket.read("k") is None
            value = Value(bytes(range(256)) * 2000, "image/png", {"color": "blue"})
            await bucket.put("k", value)
            found = await bucket.get("k")
            assert found.values == (value,)
            assert await bucket.keys() == ["k"]
            assert "async a/b" in await client.buckets()
            assert await bucket.delete("k", found)
            assert not await bucket.delete("k")
            await bucket.set_props({"w": "all"})
            assert (await bucket.props())["w"] == "all"
            await client.make_type("async-sets", {"datatype": "set"})
            tags = client.bucket("tags", type_="async-sets")
            assert await tags.typed("k") == (None, None)
            await tags.change("k", {"add_all": ["a", "b"]})
            await tags.change("k", {"remove": "a"}, (await tags.typed("k")).context)
            assert (await tags.typed("k")).value == ["b"]
            with pytest.raises(ServiceError, match="r-value 9 is out of range"):
                await bucket.get("k", r=9)
            unread = client.bucket("unread")
            await asyncio.gather(*(unread.put("k", Value(b"%d" % n)) for n in range(3)))
            with pytest.raises(Siblings, match="3 siblings"):
                await unread.read("k")

    asyncio.run(use())


def test_the_asynchronous_client_loses_no_addition_to_a_dead_node(three: Cluster) -> None:
    async def use() -> set[str]:
        async with AsyncObjectClient(*(three.objects_url(n) for n in range(3))) as client:
            bucket = client.bucket("async-carts", resolve=union)

            async def add(n: int) -> None:
                await bucket.modify(f"cart{n % 6}", lambda cart: with_item(f"item{n}", cart))

            await asyncio.gather(*(add(n) for n in range(60)))
            three.kill(2)
            await asyncio.gather(*(add(n) for n in range(60, 90)))
            carts = [await bucket.read(f"cart{n}", r=2) for n in range(6)]
            return {item for cart in carts for item in items(cart)}

    assert asyncio.run(use()) == {f"item{n}" for n in range(90)}
    three.start_all()


def test_a_cancelled_request_leaves_no_answer_to_the_next_one(node: Server) -> None:
    async def use() -> None:
        async with AsyncObjectClient(node.objects_url) as client:
            bucket = client.bucket("cancelled")
            bodies = {f"k{n}": b"%d" % n * 100_000 for n in range(8)}
            for key, body in bodies.items():
                await bucket.put(key, Value(body))
            for turn in range(40):
                reading = asyncio.create_task(bucket.get(f"k{turn % 8}"))
                for _ in range(turn % 10):
                    await asyncio.sleep(0)
                reading.cancel()
                key = f"k{(turn + 1) % 8}"
                assert [value.body for value in (await bucket.get(key)).values] == [bodies[key]]

    asyncio.run(use())


# --- the command line


def run(url: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "gramme.runtime.cli", "objects", *arguments, "--endpoint", url]
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=60, check=False, env={**os.environ, "COLUMNS": "100"}
    )


def test_the_command_line(node: Server) -> None:
    url = node.objects_url
    assert run(url, "put", "cli", "k", "one").returncode == 0
    got = run(url, "get", "cli", "k")
    assert (got.returncode, got.stdout) == (0, b"one")
    run(url, "put", "cli", "k", "--replace", stdin=b"\x00two")
    assert run(url, "get", "cli", "k").stdout == b"\x00two"
    run(url, "put", "cli", "k", "three")
    table = run(url, "get", "cli", "k").stdout.decode()
    assert "2 siblings" in table
    assert "three" in table
    context = json.loads(run(url, "get", "cli", "k", "--json").stdout)["context"]
    run(url, "put", "cli", "k", "four", "--context", context)
    assert run(url, "list", "cli").stdout == b"k\n"
    assert run(url, "del", "cli", "k").returncode == 0
    gone = run(url, "get", "cli", "k")
    assert (gone.returncode, gone.stdout, gone.stderr) == (1, b"", b"gramme: not found\n")
    assert run(url, "props", "cli", "w=all", "allow_mult=false").returncode == 0
    shown = run(url, "props", "cli").stdout.decode().splitlines()
    assert {"w=all", "allow_mult=false", "n_val=3"} <= set(shown)
    assert run(url, "type", "create", "cli-maps", "--datatype", "map", "n_val=2").returncode == 0
    again = run(url, "type", "create", "cli-maps")
    assert (again.returncode, again.stderr) == (1, b"gramme: 400 Bad Request: the bucket type exists already\n")
    assert b"datatype=map\n" in run(url, "props", "b", "--type", "cli-maps").stdout
