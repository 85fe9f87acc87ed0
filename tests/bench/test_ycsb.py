"""What is drawn: the distributions of keys, the mixes of operations, and that a seed says it all."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from gramme.bench import ycsb
from gramme.bench.dataset import ObjectRequests, Shape, TableRequests
from gramme.bench.prepared import Prepared
from gramme.bench.ycsb import WORKLOADS, ZIPFIAN_CONSTANT, Distribution, keys, prepare

_RECORDS = 1_000
_DRAWS = 40_000


def _requests(group: int = 1) -> TableRequests:
    return TableRequests("http://127.0.0.1:1", "t", Shape(records=_RECORDS, group=group))


def _drawn(distribution: Distribution, seed: int = 1) -> Counter[int]:
    draw = keys(distribution, _RECORDS, seed)
    return Counter(draw(0) for _ in range(_DRAWS))


def _body(request: bytes) -> dict[str, object]:
    head, _, content = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(content)}".encode() in head
    body: dict[str, object] = json.loads(content)
    return body


def test_uniform_keys_are_all_drawn_about_equally() -> None:
    counts = _drawn("uniform")
    assert set(counts) == set(range(_RECORDS))
    mean = _DRAWS / _RECORDS
    assert sum((count - mean) ** 2 / mean for count in counts.values()) < 1.3 * _RECORDS  # chi-squared


def test_zipfian_keys_follow_the_law_and_are_scattered() -> None:
    counts = _drawn("zipfian")
    weights = [(rank + 1) ** -ZIPFIAN_CONSTANT for rank in range(_RECORDS)]
    shares = [count / _DRAWS for _, count in counts.most_common(10)]
    for share, weight in zip(shares, weights, strict=False):
        assert abs(share - weight / sum(weights)) < 0.01
    hottest = [number for number, _ in counts.most_common(10)]
    assert max(hottest) - min(hottest) > _RECORDS // 4
    assert hottest[0] == _drawn("zipfian", seed=2).most_common(1)[0][0], "the same items are hot in every round"


def test_the_latest_keys_are_the_newest_and_move_with_the_inserts() -> None:
    draw = keys("latest", _RECORDS, 1)
    assert Counter(draw(0) for _ in range(1_000)).most_common(1)[0][0] == _RECORDS - 1
    inserted = 500
    drawn = Counter(draw(inserted) for _ in range(1_000))
    (newest, _), *_ = drawn.most_common(1)
    assert _RECORDS < newest < _RECORDS + inserted
    assert max(drawn) == newest


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_says_everything_and_the_shares_are_kept(name: str) -> None:
    workload = WORKLOADS[name]
    requests = _requests(workload.group)
    first, again, other = (prepare(workload, requests, seed, 4_000) for seed in (7, 7, 8))
    assert first == again
    assert first.order != other.order or first.requests != other.requests
    kinds = Counter(first.requests[index].kind for index in first.order)
    for operation, share in workload.shares.items():
        assert abs(kinds[operation.removesuffix("-eventually")] / 4_000 - share) < 0.05


def _inserted(prepared: Prepared) -> list[str]:
    bodies = [_body(prepared.requests[index].data) for index in prepared.order
              if prepared.requests[index].kind == "insert"]  # fmt: skip
    return [body["Item"]["pk"]["S"] for body in bodies]  # type: ignore[index]


def test_what_is_inserted_is_new_in_every_round() -> None:
    rounds = [prepare(WORKLOADS["d"], _requests(), seed, 2_000, first_insert=2_000 * seed) for seed in range(3)]
    inserted = [key for one in rounds for key in _inserted(one)]
    assert len(inserted) > 200
    assert len(set(inserted)) == len(inserted)
    assert all(int(key.removeprefix("user")) >= _RECORDS for key in inserted)


@pytest.mark.parametrize("name", ["update", "a", "f"])
def test_updates_change_what_is_stored(name: str) -> None:
    """Also when the list starts again; only chance repeats one of 500 values."""
    prepared = prepare(WORKLOADS[name], _requests(), 3, 2_000)
    stored: dict[str, str] = {}
    changes = [_set(stored, data) for _ in range(3) for data in _updates(prepared)]
    assert len(changes) > 2_000
    assert changes.count(False) < len(changes) / 50


def _updates(prepared: Prepared) -> Iterator[bytes]:
    for index in prepared.order:
        request = prepared.requests[index]
        data = prepared.requests[request.then].data if request.then >= 0 else request.data
        if b"DynamoDB_20120810.UpdateItem" in data:
            yield data


def _set(stored: dict[str, str], data: bytes) -> bool:
    """Whether the update changes `stored`, where it is carried out."""
    body = _body(data)
    field = str((body["Key"], body["UpdateExpression"]))
    before, stored[field] = stored.get(field), str(body["ExpressionAttributeValues"])
    return before != stored[field]


def test_a_read_modify_write_reads_and_then_writes_the_same_item() -> None:
    prepared = prepare(WORKLOADS["f"], _requests(), 1, 500)
    chains = [request for request in prepared.requests if request.then >= 0]
    assert chains
    for request in chains:
        write = prepared.requests[request.then]
        assert b"DynamoDB_20120810.GetItem" in request.data
        assert b"DynamoDB_20120810.UpdateItem" in write.data
        assert _body(request.data)["Key"] == _body(write.data)["Key"]
        assert write.then < 0


def test_an_item_has_the_size_that_dynamodb_counts() -> None:
    for shape, number in itertools.product((Shape(), Shape(fields=1), Shape(group=10, fields=40)), (0, 9_999, 123_456)):
        item = shape.item(number)
        assert sum(len(name) + len(value["S"]) for name, value in item.items()) == 900
        assert item != shape.item(number, 1)
        assert shape.key(number).items() <= item.items()


def test_objects_have_no_scan() -> None:
    objects = ObjectRequests("http://127.0.0.1:1", "b", Shape(records=_RECORDS))
    assert prepare(WORKLOADS["a"], objects, 1, 100).order
    with pytest.raises(ValueError, match="objects have no scan"):
        prepare(WORKLOADS["e"], objects, 1, 100)


def test_query_asks_for_a_whole_collection() -> None:
    prepared = prepare(WORKLOADS["query"], _requests(10), 1, 100)
    for request in prepared.requests:
        body = _body(request.data)
        assert body["Limit"] == 10
        assert body["ExpressionAttributeValues"][":s"] == {"S": "000000"}  # type: ignore[index]
    assert ycsb.in_order(ObjectRequests("http://h", "b", Shape(records=5))).order == [0, 1, 2, 3, 4]
