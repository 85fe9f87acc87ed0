"""The Python client and `gramme objects` against real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.support import eventually

from gramme.client.errors import ServiceError
from gramme.client.objects import ObjectClient, Siblings, Value, union
from gramme.testing import Cluster, Server


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
