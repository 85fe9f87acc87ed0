"""Large requests in steps: the same answers as in one go, with other requests served in between."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.caller import Caller, event, headers_of

from gramme.api import tasks
from gramme.api.dynamodb.call import Environment
from gramme.api.dynamodb.large import LARGE_BYTES, STEP_BYTES, Budget, decode
from gramme.api.dynamodb.service import DynamoDbApi
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.http import HttpRequest, HttpResponse


class Loop:
    """What was put off, in order."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def turn(self) -> bool:
        if not self.waiting:
            return False
        self.waiting.popleft()()
        return True


class Stepping(Caller):
    """A caller whose API puts the rest of large work off to `loop`."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        rng = random.Random(1)
        log = lambda *line: self.log.append(line)  # noqa: E731
        self.api = DynamoDbApi(self.backend, self.backend.clock, rng, None, log, self.loop.waiting.append)

    def stepped(self, operation: str, body: bytes, between: Callable[[], None] = lambda: None) -> tuple[int, Any, int]:
        """Status, answer and number of pauses of one call; `between` runs in every pause."""
        answers: list[HttpResponse] = []
        self.api.handle(HttpRequest("POST", "/", "", headers_of(operation), body), answers.append)
        turns = 0
        while not answers:
            between()
            assert self.loop.turn()
            turns += 1
        while self.loop.turn():  # what was large is freed in steps, too
            pass
        assert len(answers) == 1
        return answers[0].status, json.loads(answers[0].whole_body()), turns


@pytest.fixture
def caller() -> Stepping:
    caller = Stepping()
    caller.create_tables()
    return caller


def _batch(count: int, attributes: int) -> dict[str, Any]:
    items = [event("big", i, **{f"a{j}": {"N": f"{j}.0"} for j in range(attributes)}) for i in range(count)]
    return {"RequestItems": {"events": [{"PutRequest": {"Item": item}} for item in items]}}


def test_a_large_batch_is_written_in_steps_and_others_are_served_between(caller: Stepping) -> None:
    body = json.dumps(_batch(25, 4000)).encode()
    assert len(body) > 10 * STEP_BYTES
    served: list[int] = []

    def between() -> None:
        caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": str(len(served))}}})
        served.append(len(caller.backend.rows))

    status, answer, turns = caller.stepped("BatchWriteItem", body, between)
    assert (status, answer) == (200, {"UnprocessedItems": {}})
    assert turns == len(served) > len(body) // STEP_BYTES
    found = caller.call("GetItem", {"TableName": "events", "Key": event("big", 24)})["Item"]
    assert len(found) == 4002
    assert found["a3999"] == {"N": "3999"}  # normalised like any other


def test_a_large_transaction_is_read_checked_and_hashed_in_steps(caller: Stepping) -> None:
    attributes = {f"a{j}": {"N": f"{j}.0"} for j in range(1500)}
    puts = [{"Put": {"TableName": "events", "Item": event("big", i, **attributes)}} for i in range(100)]
    body = json.dumps({"TransactItems": puts, "ClientRequestToken": "t"}).encode()
    assert len(body) > 10 * STEP_BYTES
    status, answer, turns = caller.stepped("TransactWriteItems", body)
    assert (status, answer) == (200, {})
    assert turns > len(body) // STEP_BYTES
    assert caller.call(
        "TransactGetItems", {"TransactItems": [{"Get": {"TableName": "events", "Key": event("big", 99)}}]}
    )["Responses"][0]["Item"]["a1499"] == {"N": "1499"}


def test_long_expressions_are_parsed_in_steps(caller: Stepping) -> None:
    text = "SET " + ", ".join(f"a{j} = :v" for j in range(150))
    updates = [
        {
            "Update": {
                "TableName": "events",
                "Key": event("e", i),
                "UpdateExpression": f"{text}, b{i} = :v",
                "ExpressionAttributeValues": {":v": {"N": "1"}},
            }
        }
        for i in range(50)
    ]
    body = json.dumps({"TransactItems": updates}).encode()
    assert len(body) < LARGE_BYTES
    status, _, turns = caller.stepped("TransactWriteItems", body)
    assert (status, turns > 10) == (200, True)


def test_a_large_page_is_read_and_filtered_in_steps(caller: Stepping) -> None:
    for start in range(0, 500, 25):
        items = [event("p", start + i, t={"S": "x" * 1000}) for i in range(25)]
        writes = [{"PutRequest": {"Item": item}} for item in items]
        caller.call("BatchWriteItem", {"RequestItems": {"events": writes}})
    body = {
        "TableName": "events", "FilterExpression": "sk < :n", "ExpressionAttributeValues": {":n": {"N": "10"}}
    }  # fmt: skip
    status, answer, turns = caller.stepped("Scan", json.dumps(body).encode())
    assert (status, answer["Count"], answer["ScannedCount"]) == (200, 10, 500)
    assert turns >= 7  # half a megabyte
    assert "LastEvaluatedKey" not in answer


@pytest.mark.parametrize(
    "spoil",
    [
        lambda batch: batch["RequestItems"]["events"][-1]["PutRequest"]["Item"].update(bad={"N": "x"}),
        lambda batch: batch["RequestItems"]["events"][-1]["PutRequest"]["Item"].update(bad={"S": 1}),
        lambda batch: batch["RequestItems"]["events"][-1]["PutRequest"]["Item"].pop("sk"),
        lambda batch: batch["RequestItems"]["events"][0].pop("PutRequest"),
        lambda batch: batch["RequestItems"]["events"].append(batch["RequestItems"]["events"][0]),
        lambda batch: batch["RequestItems"].update(events="x" * LARGE_BYTES),
        lambda batch: batch["RequestItems"]["events"].append([1]),
        lambda batch: batch.update(RequestItems=["x" * LARGE_BYTES]),
        lambda batch: batch["RequestItems"].update(nowhere=batch["RequestItems"].pop("events")),
    ],
)
def test_faults_are_those_of_a_request_in_one_go(caller: Stepping, spoil: Callable[[dict[str, Any]], None]) -> None:
    batch = _batch(5, 3000)
    spoil(batch)
    body = json.dumps(batch).encode()
    assert len(body) > LARGE_BYTES
    whole = Caller()
    whole.create_tables()
    answer = whole.raw("BatchWriteItem", body)
    assert answer.status == 400
    status, stepped, turns = caller.stepped("BatchWriteItem", body)
    assert (status, stepped) == (400, json.loads(answer.whole_body()))
    assert turns > 0
    assert not any(caller.backend.rows.values())


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem"])
def test_an_item_with_many_attributes_is_stored_as_it_would_be_at_once(caller: Stepping, operation: str) -> None:
    item = event("one", 1, **{f"a{j}": {"N": f"0{j}"} for j in range(9000)})
    body: dict[str, Any] = {"TableName": "events", "Item": item}
    if operation == "UpdateItem":
        body = {"TableName": "events", "Key": event("one", 1), "UpdateExpression": "SET m = :m"}
        body["ExpressionAttributeValues"] = {":m": {"M": item}}
    status, answer, turns = caller.stepped(operation, json.dumps(body).encode())
    assert (status, answer, turns > 0) == (200, {}, True)
    found = caller.call("GetItem", {"TableName": "events", "Key": event("one", 1)})["Item"]
    found = found if operation == "PutItem" else found["m"]["M"]
    assert found == {**item, **{f"a{j}": {"N": str(j)} for j in range(9000)}}


@pytest.mark.parametrize(
    "body", [b"{" + b" " * LARGE_BYTES, b'{"a":"' + b"\xff" * LARGE_BYTES + b'"}', b"[" * LARGE_BYTES]
)
def test_what_is_no_json_is_refused(caller: Stepping, body: bytes) -> None:
    answer = caller.raw("PutItem", body)
    assert answer.status == 400
    assert b"SerializationException" in answer.whole_body()
    assert caller.log == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(_JSON, st.integers(0, 3), st.sampled_from([None, 1]))
def test_decoding_in_parts_gives_what_decoding_gives(value: Any, copies: int, indent: int | None) -> None:
    padded = {"a": value, "b": [value, "x" * (copies * STEP_BYTES)], "": {"c": [[value] * 3, "y" * STEP_BYTES]}}
    raw = json.dumps(padded, indent=indent).encode()
    decoded: list[Any] = []
    clock = Caller().backend.clock

    async def run() -> None:
        env = Environment(Caller().backend, clock, random.Random(1), ApiSettings(), lambda *_line: None)
        decoded.append(await decode(raw, Budget(env)))

    def failed(error: Exception) -> None:
        raise error

    tasks.run(run(), failed)
    assert decoded == [msgspec.json.decode(raw)]
