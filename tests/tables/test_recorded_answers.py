"""Five hundred expressions against the answers that Amazon's DynamoDB Local gave to them, values and errors alike.

`recorded_answers.jsonl` holds [kind, text, placeholders, answer] by line. What Local answers in another way than the
service itself is left out; `docs/design/tables.md` lists it.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gramme.kernel.errors import InvalidInput
from gramme.tables.decisions import Fail
from gramme.tables.descriptor import KeySchema
from gramme.tables.evaluate import evaluate
from gramme.tables.expression.key_condition import key_range
from gramme.tables.expression.request import prepare
from gramme.tables.item import encode_item, encode_stored
from gramme.tables.requests import Condition, Item, ReturnValues, UpdateItem

_CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "recorded_answers.jsonl").read_text(encoding="utf-8").splitlines()
]
_COMMON: Item = {
    "pk": {"S": "k"},
    "s": {"S": "hé😀"},
    "n": {"N": "5"},
    "l": {"L": [{"S": "a"}, {"S": "b"}]},
    "m": {"M": {"x": {"N": "1"}}},
    "ss": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2"]},
    "t": {"BOOL": True},
}
_CONDITION_ITEM: Item = {**_COMMON, "b": {"B": "AAEC"}, "z": {"NULL": True}}
_UPDATE_ITEMS: dict[str, Item] = {
    "update": _COMMON,
    "update 2": {**_COMMON, "m": {"M": {"x": {"N": "1"}, "q": {"N": "2"}}}},
}
_PROJECTION_ITEM: Item = {
    "pk": {"S": "k"},
    "l": {"L": [{"S": "a"}, {"M": {"x": {"N": "1"}, "y": {"N": "2"}}}, {"S": "c"}]},
    "m": {"M": {"x": {"N": "1"}, "y": {"M": {"w": {"S": "w"}, "v": {"L": [{"N": "1"}, {"N": "2"}]}}}}},
    "s": {"S": "t"},
}
_KEY = KeySchema("pk", "S", "sk", "N")


def _answer(kind: str, text: str, placeholders: dict[str, Any] | None) -> dict[str, Any]:
    if kind == "condition":
        parsed = prepare(filter=text, values=placeholders).filter
        assert parsed is not None
        return {"holds": parsed.holds(_CONDITION_ITEM, placeholders or {})}
    if kind == "key condition":
        condition = prepare(key_condition=text, values=placeholders).key_condition
        assert condition is not None
        key_range(condition.terms(), placeholders or {}, _KEY)
        return {"allowed": True}
    if kind == "projection":
        projection = prepare(projection=text, names=placeholders).projection
        assert projection is not None
        return {"item": projection.apply(_PROJECTION_ITEM)}
    prepare(update=text, values=placeholders)
    stored = encode_stored(encode_item(_UPDATE_ITEMS[kind], ("pk",)), 0, 1)
    request = UpdateItem(b"k", {"pk": {"S": "k"}}, text, Condition(None, None, placeholders), ReturnValues.UPDATED_NEW)
    decision = evaluate(request, stored)
    if isinstance(decision, Fail):
        return {"error": getattr(decision.reply, "message", "")}
    returned = decision.reply.attributes
    return {"updated": None if returned is None else json.loads(returned)}


@pytest.mark.parametrize("kind", ["condition", "key condition", "projection", "update", "update 2"])
def test_answers_are_those_of_dynamodb_local(kind: str) -> None:
    cases = [case for case in _CASES if case[0] == kind]
    assert len(cases) > 30
    differences = []
    for _, text, placeholders, recorded in cases:
        try:
            answer = _answer(kind, text, copy.deepcopy(placeholders))
        except InvalidInput as error:
            answer = {"error": str(error)}
        if answer != recorded:
            differences.append((text, placeholders, recorded, answer))
    assert not differences
