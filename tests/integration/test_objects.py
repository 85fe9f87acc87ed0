"""Objects over HTTP, with real processes: what Riak's clients rely on, and what a cut or a crash must not take away."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesParser
from typing import Any

import pytest
from tests.integration.support import RawAnswer, eventually

from gramme.testing import Cluster, Server

pytestmark = pytest.mark.seconds(28)

TEXT = {"Content-Type": "text/plain"}


def call(url: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> RawAnswer:
    """One request."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body or None, dict(headers or {}))
        answer = connection.getresponse()
        return RawAnswer(answer.status, dict(answer.getheaders()), answer.read())


class Bucket:
    """A bucket at one node."""

    def __init__(self, url: str, name: str, type_: str = "") -> None:
        self.url = url
        self.path = (f"/types/{type_}" if type_ else "") + f"/buckets/{name}"

    def get(self, key: str, query: str = "", **headers: str) -> RawAnswer:
        return call(self.url, "GET", f"{self.path}/keys/{key}{query}", headers=headers)

    def put(self, key: str, body: bytes, query: str = "", **headers: str) -> RawAnswer:
        return call(self.url, "PUT", f"{self.path}/keys/{key}{query}", body, {**TEXT, **headers})

    def delete(self, key: str, query: str = "", **headers: str) -> RawAnswer:
        return call(self.url, "DELETE", f"{self.path}/keys/{key}{query}", headers=headers)

    def props(self) -> dict[str, Any]:
        props: dict[str, Any] = call(self.url, "GET", f"{self.path}/props").json["props"]
        return props

    def set_props(self, **props: Any) -> RawAnswer:
        return call(self.url, "PUT", f"{self.path}/props", json.dumps({"props": props}).encode())


def hinted_nodes(cluster: Cluster, node: int) -> int:
    """For how many nodes `node` keeps something."""
    url = f"http://127.0.0.1:{cluster.admin_port(node)}"
    found: int = call(url, "GET", "/cluster").json["objects"]["hinted_nodes"]
    return found


def metrics(cluster: Cluster, node: int) -> dict[str, float]:
    """What `node` tells Prometheus, by name and labels."""
    lines = call(f"http://127.0.0.1:{cluster.admin_port(node)}", "GET", "/metrics").body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(number) for name, _, number in pairs}


def vclock(answer: RawAnswer) -> dict[str, str]:
    """The header with which a client says what it has seen."""
    return {"X-Riak-Vclock": answer.headers["X-Riak-Vclock"]}


# --- one node: the HTTP API


@pytest.fixture
def url(node: Server) -> str:
    return node.objects_url


def test_a_value_that_expires_is_gone_when_its_time_is_over(url: str) -> None:
    bucket = Bucket(url, "sessions")
    assert bucket.put("short", b"v", **{"X-Gramme-Expires-In": "1"}).status == 204
    assert bucket.put("long", b"v", **{"X-Gramme-Expires-In": "3600"}).status == 204
    at = int(bucket.get("long").headers["X-Gramme-Expires-At"])
    assert 3590 < at - time.time() <= 3601
    assert bucket.put("both", b"short", **{"X-Gramme-Expires-In": "1"}).status == 204
    assert bucket.put("both", b"stays").status == 204
    eventually("a value expires", lambda: bucket.get("short").status == 404)
    gone = bucket.get("short")
    assert gone.headers["X-Riak-Deleted"] == "true"
    eventually("a sibling expires", lambda: bucket.get("both").body == b"stays")
    keys = call(url, "GET", f"{bucket.path}/keys?keys=true").json["keys"]
    assert sorted(keys) == ["both", "long"]
    assert bucket.put("short", b"again", **vclock(gone)).status == 204
    assert bucket.get("short").body == b"again"
    assert "X-Gramme-Expires-At" not in bucket.get("short").headers


def test_a_bucket_whose_values_expire(url: str) -> None:
    bucket = Bucket(url, "cache")
    assert bucket.set_props(default_time_to_live=7200).status == 204
    assert bucket.props()["default_time_to_live"] == 7200
    bucket.put("k", b"v")
    assert 7190 < int(bucket.get("k").headers["X-Gramme-Expires-At"]) - time.time() <= 7201
    bucket.put("k", b"v", **vclock(bucket.get("k")), **{"X-Gramme-Expires-In": "5"})
    assert int(bucket.get("k").headers["X-Gramme-Expires-At"]) - time.time() <= 6
    for wrong in ("0", "-1", "1.5", "soon", "999999999"):
        refused = bucket.put("k", b"v", **{"X-Gramme-Expires-In": wrong})
        assert (refused.status, b"X-Gramme-Expires-In must be 1 to" in refused.body) == (400, True)
    for wrong_props in ({"default_time_to_live": -1}, {"default_time_to_live": "x"}):
        assert bucket.set_props(**wrong_props).status == 400
    counter = f"{Bucket(url, 'hits').path}/counters/k"
    assert call(url, "POST", counter, b"1", {"X-Gramme-Expires-In": "5"}).status == 400
    typed = json.dumps({"props": {"datatype": "set", "default_time_to_live": 5}}).encode()
    assert call(url, "PUT", "/types/mortal/props", typed).status == 400


def test_what_clients_ask_first(url: str) -> None:
    resources = call(url, "GET", "/").json
    assert resources["riak_kv_wm_buckets"] == "/buckets"
    assert resources["riak_kv_wm_bucket_type"] == "/types"
    ping = call(url, "GET", "/ping")
    assert (ping.status, ping.body) == (200, b"OK")
    assert call(url, "GET", "/stats").json["riak_kv_version"]
    assert call(url, "GET", "/nothing/here").status == 404
    for path in ("/", "/ping", "/stats", "/ring", "/buckets"):
        refused = call(url, "DELETE", path)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_who_keeps_a_key_is_shown_as_riak_does(three: Cluster) -> None:
    for path in ("/buckets/b/keys/k", "/types/default/buckets/b/keys/k"):
        listed = call(three.objects_url(1), "GET", f"{path}/preflist").json["preflist"]
        assert sorted(each["node"] for each in listed) == ["0", "1", "2"]
        assert {(each["partition"], each["primary"]) for each in listed} == {(listed[0]["partition"], True)}
    assert call(three.objects_url(1), "PUT", "/buckets/b/keys/k/preflist", b"x", TEXT).status == 404


def test_a_counter_on_its_own_needs_siblings(url: str) -> None:
    bucket = Bucket(url, "no-siblings")
    assert bucket.set_props(allow_mult=False).status == 204
    refused = call(url, "POST", f"{bucket.path}/counters/k", b"1")
    assert (refused.status, refused.body) == (409, b"Counters require bucket property 'allow_mult=true'\n")
    assert call(url, "GET", f"{bucket.path}/counters/k").status == 404


def test_rw_of_old_clients_is_not_dropped_silently(url: str) -> None:
    bucket = Bucket(url, "rw")
    assert bucket.set_props(rw="one").status == 400
    assert bucket.set_props(**{**bucket.props(), "w": "one", "rw": "one"}).status == 204
    assert bucket.props()["rw"] == "one"


def test_an_object_comes_back_with_its_type_and_metadata(url: str) -> None:
    bucket = Bucket(url, "plain")
    assert bucket.get("k").status == 404
    stored = bucket.put("k", b"\x00\xffbytes", **{"Content-Type": "image/png", "X-Riak-Meta-Color": "blue"})
    assert (stored.status, stored.body) == (204, b"")
    answer = bucket.get("k")
    assert (answer.status, answer.body) == (200, b"\x00\xffbytes")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Riak-Meta-color"] == "blue"
    assert answer.headers["ETag"].startswith('"')
    assert "GMT" in answer.headers["Last-Modified"]
    head = call(url, "HEAD", f"{bucket.path}/keys/k")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])


def test_a_key_is_drawn_for_a_post(url: str) -> None:
    made = call(url, "POST", "/buckets/drawn/keys", b"x", TEXT)
    assert made.status == 201
    location = made.headers["Location"]
    assert location.startswith("/buckets/drawn/keys/")
    assert call(url, "GET", location).body == b"x"


def test_a_write_with_the_context_replaces_and_one_without_makes_a_sibling(url: str) -> None:
    bucket = Bucket(url, "siblings")
    bucket.put("k", b"one")
    seen = vclock(bucket.get("k"))
    assert bucket.put("k", b"two", **seen).status == 204
    assert bucket.get("k").body == b"two"
    both = bucket.put("k", b"three", "?returnbody=true", **seen)  # seen is of "one"
    assert both.status == 300
    lines = both.body.decode().split("\n")
    assert lines[0] == "Siblings:"
    tags = [line for line in lines[1:] if line]
    assert len(tags) == 2
    assert {bucket.get("k", f"?vtag={tag}").body for tag in tags} == {b"two", b"three"}
    multipart = bucket.get("k", Accept="multipart/mixed")
    assert multipart.status == 300
    head = f"Content-Type: {multipart.headers['Content-Type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + multipart.body).get_payload()
    assert {part.get_payload(decode=True) for part in parts} == {b"two", b"three"}  # type: ignore[union-attr]
    resolved = bucket.put("k", b"resolved", "?returnbody=true", **vclock(multipart))
    assert (resolved.status, resolved.body) == (200, b"resolved")


def test_reads_and_their_siblings_are_counted(url: str) -> None:
    bucket = Bucket(url, "counted")
    before = call(url, "GET", "/stats").json
    for n in range(7):
        bucket.put("k", b"%d" % n)
    bucket.get("k")
    bucket.get("k", "?r=9")  # refused: nothing was read
    after = call(url, "GET", "/stats").json
    assert after["node_puts_total"] - before["node_puts_total"] == 7
    assert after["node_gets_total"] - before["node_gets_total"] == 1
    assert after["node_get_fsm_siblings_100"] >= 7
    assert 0 < after["node_put_fsm_time_median"] <= after["node_put_fsm_time_100"]
    assert after["vnode_puts_total"] > before["vnode_puts_total"]


def test_a_deletion_leaves_word_of_itself_and_spares_what_it_has_not_seen(url: str) -> None:
    bucket = Bucket(url, "deleted")
    assert bucket.delete("k").status == 404
    bucket.put("k", b"one")
    assert bucket.delete("k").status == 204
    gone = bucket.get("k")
    assert (gone.status, gone.headers["X-Riak-Deleted"]) == (404, "true")
    assert bucket.put("k", b"again", **vclock(gone)).status == 204
    seen = vclock(bucket.get("k"))
    bucket.put("k", b"meanwhile", **seen)
    bucket.delete("k", **seen)
    left = bucket.get("k")
    assert left.status == 300  # the deletion and the write that it had not seen


@pytest.mark.parametrize("context", ["AAAA", "not base64!", "a" * 5000, ""])
def test_a_foreign_or_damaged_context_is_refused(url: str, context: str) -> None:
    bucket = Bucket(url, "contexts")
    refused = bucket.put("k", b"x", **{"X-Riak-Vclock": context})
    assert refused.status == 400
    bucket.put("other", b"x")
    assert bucket.put("k", b"x", **vclock(bucket.get("other"))).status == 400
    assert bucket.get("k").status == 404


def test_conditional_requests(url: str) -> None:
    bucket = Bucket(url, "conditions")
    assert bucket.put("k", b"one", **{"If-Match": "*"}).status == 412
    assert bucket.put("k", b"one", **{"If-None-Match": "*"}).status == 204
    assert bucket.put("k", b"two", **{"If-None-Match": "*"}).status == 412
    answer = bucket.get("k")
    tag, date = answer.headers["ETag"], answer.headers["Last-Modified"]
    assert bucket.get("k", **{"If-None-Match": tag}).status == 304
    assert bucket.get("k", **{"If-Modified-Since": date}).status == 304
    assert bucket.get("k", **{"If-None-Match": '"else"'}).body == b"one"
    assert bucket.put("k", b"two", **vclock(answer), **{"If-Match": '"else"'}).status == 412
    assert bucket.put("k", b"two", **vclock(answer), **{"If-Match": tag}).status == 204
    assert bucket.put("k", b"x", **{"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status == 412


def test_properties_of_a_bucket(url: str) -> None:
    bucket = Bucket(url, "props")
    before = bucket.props()
    assert (before["n_val"], before["allow_mult"], before["r"], before["w"]) == (3, True, "quorum", "quorum")
    assert bucket.set_props(allow_mult=False, n_val=5, w="all").status == 204
    after = bucket.props()
    assert (after["n_val"], after["allow_mult"], after["w"]) == (5, False, "all")
    bucket.put("k", b"one")
    bucket.put("k", b"two")
    assert (bucket.get("k").status, bucket.get("k").body) == (200, b"two")
    assert call(url, "DELETE", f"{bucket.path}/props").status == 204
    assert bucket.props() == before
    assert bucket.get("k").body == b"two"  # found where the former n had put it


@pytest.mark.parametrize(
    ("props", "text"),
    [
        ({"n_val": 0}, "n_val 0 is out of range"),
        ({"n_val": "3"}, "n_val must be an integer"),
        ({"r": 9}, "r-value 9 is out of range"),
        ({"allow_mult": "yes"}, "allow_mult must be true or false"),
        ({"search_index": "x"}, "search_index is not supported"),
    ],
)
def test_properties_that_cannot_be_are_refused(url: str, props: dict[str, Any], text: str) -> None:
    refused = Bucket(url, "refused").set_props(**props)
    assert refused.status == 400
    assert text in refused.body.decode()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("?r=4", "r-value 4 is out of range: 1 to 3"),
        ("?r=none", "r query parameter must be an integer or one of"),
        ("?pr=-1", "pr query parameter"),
        ("?timeout=0", "timeout must be"),
        ("?notfound_ok=maybe", "notfound_ok query parameter must be true or false"),
    ],
)
def test_parameters_that_cannot_be_are_refused(url: str, query: str, text: str) -> None:
    refused = Bucket(url, "refused").get("k", query)
    assert refused.status == 400
    assert text in refused.body.decode()


def test_what_is_missing_or_too_large_is_refused(url: str) -> None:
    bucket = Bucket(url, "refused")
    untyped = call(url, "PUT", f"{bucket.path}/keys/k", b"x")
    assert (untyped.status, b"Content-Type" in untyped.body) == (400, True)
    assert bucket.put("k" * 5000, b"x").status == 400
    assert bucket.put("k", b"x" * (9 << 20)).status == 413
    assert call(url, "PATCH", f"{bucket.path}/keys/k").status == 405


def test_names_may_hold_anything(url: str) -> None:
    bucket = Bucket(url, "a%2Fb%20c")
    assert bucket.put("%C3%A4%2F%3F", b"escaped").status == 204
    assert bucket.get("%C3%A4%2F%3F").body == b"escaped"
    assert call(url, "GET", f"{bucket.path}/keys?keys=true").json == {"keys": ["ä/?"]}


def streamed(url: str, path: str, what: str) -> list[str]:
    """The names of a list that comes as one JSON document behind the other."""
    answer = call(url, "GET", path)
    assert (answer.status, answer.headers["Transfer-Encoding"]) == (200, "chunked")
    text, names, at = answer.body.decode(), list[str](), 0
    while at < len(text):
        document, at = json.JSONDecoder().raw_decode(text, at)
        assert document[what]
        names += document[what]
    return names


def test_lists_of_keys_and_buckets(url: str) -> None:
    bucket = Bucket(url, "listed")
    for n in range(25):
        bucket.put(f"k{n:02}", b"x")
    bucket.delete("k07")
    keys = call(url, "GET", f"{bucket.path}/keys?keys=true").json["keys"]
    assert keys == [f"k{n:02}" for n in range(25) if n != 7]
    assert sorted(streamed(url, f"{bucket.path}/keys?keys=stream", "keys")) == keys
    assert call(url, "GET", "/buckets/nothing-there/keys?keys=stream").json == {"keys": []}
    buckets = streamed(url, "/buckets?buckets=stream", "buckets")
    assert sorted(buckets) == call(url, "GET", "/buckets?buckets=true").json["buckets"]
    assert "listed" in call(url, "GET", "/buckets?buckets=true").json["buckets"]
    assert call(url, "GET", "/buckets").status == 400


# --- three nodes


def test_every_node_serves_every_object(three: Cluster) -> None:
    for n in range(12):
        assert Bucket(three.objects_url(n % 3), "spread").put(f"k{n}", b"v%d" % n).status == 204
    for n in range(12):
        assert Bucket(three.objects_url((n + 1) % 3), "spread").get(f"k{n}").body == b"v%d" % n
    Bucket(three.objects_url(0), "spread").set_props(last_write_wins=True)
    eventually(
        "all nodes know the property",
        lambda: all(Bucket(three.objects_url(n), "spread").props()["last_write_wins"] for n in range(3)),
    )


def test_writes_go_on_while_nodes_are_down_and_reach_them_when_they_are_back(three: Cluster) -> None:
    """Rows A21 and A22: with w=1 one node is enough; nobody reads, and all the same every replica gets it."""
    three.kill(1, 2)
    before = metrics(three, 0)
    alone = Bucket(three.objects_url(0), "alone")
    for n in range(20):
        assert alone.put(f"k{n}", b"written alone", "?w=1").status == 204
        assert alone.get(f"k{n}", "?r=1").body == b"written alone"
    unmet = alone.put("two", b"x", "?w=2&timeout=1500")
    assert (unmet.status, unmet.body) == (503, b"W-value unsatisfied: 1/2\n")
    assert alone.get("k0", "?pr=2&timeout=1500").body == b"PR-value unsatisfied: 1/2\n"
    eventually("hints are kept", lambda: hinted_nodes(three, 0) == 2)
    time.sleep(1.5)  # the last write lingers for a second before its hints are kept
    kept = metrics(three, 0)
    assert kept["gramme_objects_hints"] == 42  # each write's, of both nodes; that of the refused one too
    for status, count in (("204", 20), ("503", 1)):
        name = f'gramme_objects_responses_total{{operation="put",status="{status}"}}'
        assert kept[name] - before.get(name, 0) == count
    three.start_all()
    others = [Bucket(three.objects_url(n), "alone") for n in (1, 2)]
    eventually("hints are delivered", lambda: sum(hinted_nodes(three, n) for n in range(3)) == 0)
    delivered = metrics(three, 0)
    assert delivered["gramme_objects_hints"] == 0
    assert delivered["gramme_objects_hints_delivered_total"] >= 42
    assert delivered["gramme_objects_handed_off_bytes_total"] > 42 * len("written alone")
    three.kill(0)
    for bucket in others:
        assert all(bucket.get(f"k{n}", "?r=2").body == b"written alone" for n in range(20))
    three.start_all()


def test_a_list_is_streamed_from_whoever_is_there_and_refused_where_a_part_is_missing(three: Cluster) -> None:
    bucket = Bucket(three.objects_url(0), "streamed")
    expected = sorted(f"k{n}" for n in range(60))
    for key in expected:
        assert bucket.put(key, b"x", "?w=3&dw=0").status == 204
    path = f"{bucket.path}/keys?keys=stream"
    assert sorted(streamed(bucket.url, path, "keys")) == expected
    three.kill(1)
    eventually("the list is whole", lambda: sorted(streamed(bucket.url, path, "keys")) == expected)
    one = Bucket(three.objects_url(0), "streamed-one")
    # From now on there are sections that one node alone keeps; the catalog may just be changing its leader.
    eventually("the setting is taken", lambda: one.set_props(n_val=1).status == 204)
    refused = eventually("nobody is left for a part", lambda: refusal(one.url, path))
    assert refused.body == b"a part of the ring cannot be reached\n"
    three.start_all()


def refusal(url: str, path: str) -> RawAnswer | None:
    """A list that is refused, at its beginning or in its middle."""
    try:
        answer = call(url, "GET", path)
    except (http.client.IncompleteRead, ConnectionResetError):
        return None
    return answer if answer.status == 503 else None


def test_what_was_acknowledged_survives_the_death_of_all_nodes(three: Cluster) -> None:
    buckets = [Bucket(three.objects_url(n), "durable") for n in range(3)]

    def write(n: int) -> str | None:
        return f"k{n}" if buckets[n % 3].put(f"k{n}", b"v%d" % n).status == 204 else None

    with ThreadPoolExecutor(8) as pool:
        stored = [key for key in pool.map(write, range(150)) if key is not None]
    three.kill(0, 1, 2)
    three.start_all()
    assert len(stored) > 100
    assert all(buckets[1].get(key).body == b"v" + key[1:].encode() for key in stored)


def test_concurrent_writers_lose_nothing(three: Cluster) -> None:
    """Each writer adds a sibling without having read: all of them are there, at every node."""

    def write(n: int) -> int:
        return Bucket(three.objects_url(n % 3), "carts").put("anna", b"item%d" % n).status

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(write, range(12))) == [204] * 12
    answer = Bucket(three.objects_url(0), "carts").get("anna", "?r=3", Accept="multipart/mixed")
    assert answer.body.count(b"item") == 12


# --- bucket types


def make_type(cluster: Cluster, type_: str, **props: Any) -> None:
    """Make a bucket type at node 0, and wait until every node knows it."""
    path = f"/types/{type_}/props"
    made = call(cluster.objects_url(0), "PUT", path, json.dumps({"props": props}).encode())
    assert (made.status, made.body) == (204, b"")
    urls = [cluster.objects_url(n) for n in range(3)]
    eventually("all nodes know the type", lambda: all(call(url, "GET", path).status == 200 for url in urls))


class Values:
    """Values of a merge type."""

    def __init__(self, cluster: Cluster, type_: str) -> None:
        self._urls = [cluster.objects_url(n) for n in range(3)]
        self._path = f"/types/{type_}/buckets/values/datatypes"

    def read(self, node: int, key: str, query: str = "") -> Any:
        return call(self._urls[node], "GET", f"{self._path}/{key}{query}").json

    def change(self, node: int, key: str, operation: Any, query: str = "") -> RawAnswer:
        return call(self._urls[node], "POST", f"{self._path}/{key}{query}", json.dumps(operation).encode())


def test_a_bucket_type_is_made_once_and_known_at_every_node(three: Cluster) -> None:
    url = three.objects_url(0)
    assert call(url, "GET", "/types/five/props").status == 404
    unknown = Bucket(url, "b", "five").put("k", b"x")
    assert (unknown.status, unknown.body) == (404, b"Unknown bucket type: five\n")
    make_type(three, "five", n_val=5, allow_mult=False)
    again = call(url, "PUT", "/types/five/props", b'{"props":{}}')
    assert (again.status, again.body) == (400, b"the bucket type exists already\n")
    bucket = Bucket(three.objects_url(1), "b", "five")
    assert (bucket.props()["n_val"], bucket.props()["allow_mult"]) == (5, False)
    bucket.put("k", b"one")
    bucket.put("k", b"two")
    assert Bucket(three.objects_url(2), "b", "five").get("k").body == b"two"
    assert Bucket(url, "b").get("k").status == 404  # another type, another bucket


@pytest.mark.parametrize(
    ("type_", "props", "text"),
    [
        ("default", {}, "exists already"),
        ("t", {"datatype": "hll"}, "datatype 'hll' is unknown"),
        ("t", {"datatype": 1}, "datatype must be a string"),
        ("t", {"datatype": "set", "allow_mult": False}, "a datatype needs allow_mult"),
        ("t" * 256, {}, "the bucket type has 256 bytes"),
    ],
)
def test_types_that_cannot_be_are_refused(url: str, type_: str, props: dict[str, Any], text: str) -> None:
    refused = call(url, "PUT", f"/types/{type_}/props", json.dumps({"props": props}).encode())
    assert refused.status == 400
    assert text in refused.body.decode()
    assert call(url, "GET", "/types/t/props").status == 404


def test_a_bucket_keeps_the_datatype_of_its_type(url: str) -> None:
    refused = Bucket(url, "typed").set_props(datatype="set")
    assert (refused.status, refused.body) == (400, b"the datatype of a bucket cannot be changed\n")


def test_sets_counters_and_maps_join_what_was_done_at_different_nodes(three: Cluster) -> None:
    for kind in ("set", "counter", "map"):
        make_type(three, f"{kind}s", datatype=kind)
    sets, counters, maps = (Values(three, f"{kind}s") for kind in ("set", "counter", "map"))
    assert sets.change(0, "s", {"add_all": ["a", "b"]}).status == 204
    seen = sets.read(1, "s")
    assert (seen["type"], seen["value"]) == ("set", ["a", "b"])
    assert sets.change(1, "s", {"add": "a"}).status == 204  # nobody who removes has seen this addition
    assert sets.change(2, "s", {"remove_all": ["a", "b"], "context": seen["context"]}).status == 204
    assert sets.read(0, "s", "?r=3")["value"] == ["a"]
    assert sets.change(0, "s", {"remove": "a"}).status == 400

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda n: counters.change(n % 3, "c", {"increment": n}).status, range(12)))
    assert done == [204] * 12
    assert counters.change(0, "c", -6, "?returnbody=true").status == 200
    assert counters.read(1, "c", "?r=3") == {"type": "counter", "value": 60}

    change = {"update": {"name_register": "anna", "tags_set": {"add": "x"}, "logins_counter": 1, "up_flag": "enable"}}
    assert maps.change(0, "m", change).status == 204
    seen = maps.read(2, "m")
    assert seen["value"] == {"name_register": "anna", "tags_set": ["x"], "logins_counter": 1, "up_flag": True}
    assert maps.change(1, "m", {"remove": ["tags_set"], "context": seen["context"]}).status == 204
    assert "tags_set" not in maps.read(0, "m", "?r=3")["value"]


def test_counters_on_their_own(url: str) -> None:
    path = "/buckets/numbers/counters/hits"
    assert call(url, "GET", path).status == 404
    assert call(url, "POST", path, b"5").status == 204
    assert call(url, "POST", f"{path}?returnvalue=true", b"-2").body == b"3"
    assert call(url, "GET", path).body == b"3"
    for refused in (b"", b"x", b"--1", b"1.5", b"9223372036854775808"):
        assert call(url, "POST", path, refused).status == 400
    assert call(url, "POST", f"{path}?returnvalue=maybe", b"1").status == 400
    assert call(url, "GET", path).body == b"3"  # what is refused changes nothing


def test_a_bucket_may_be_buffered_with_one_durable_copy(url: str) -> None:
    bucket = Bucket(url, "buffered")
    assert "buffered" not in bucket.props()
    refused = bucket.set_props(buffered=True)
    assert (refused.status, refused.body) == (400, b"a buffered bucket has one durable copy: its dw must be 0 or 1\n")
    assert bucket.set_props(buffered="yes", dw=0).status == 400
    assert bucket.set_props(buffered=True, dw=0).status == 204
    assert bucket.props()["buffered"] is True
    assert bucket.put("k", b"v").status == 204
    assert bucket.get("k").body == b"v"
    assert bucket.set_props(buffered=False, dw="quorum").status == 204
    assert "buffered" not in bucket.props()
