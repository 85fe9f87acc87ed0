"""Updates: the editor against a slow, obvious one, and what it must leave alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from tests.tables import slow_updates
from tests.tables.strategies import items

from gramme.kernel.errors import InvalidInput
from gramme.tables.expression.update import InvalidUpdate, compile_update


@settings(max_examples=400)
@given(slow_updates.updates, items())
def test_the_editor_agrees_with_the_slow_one(actions: list[slow_updates.Action], item: dict[str, Any]) -> None:
    values: dict[str, Any] = {}
    update = compile_update("UpdateExpression", slow_updates.render(actions, values), None)
    update.check(values)
    before, values_before = copy.deepcopy(item), copy.deepcopy(values)
    try:
        expected: dict[str, Any] | None = slow_updates.apply(actions, item)
    except slow_updates.Refusal:
        expected = None
    if expected is None:
        with pytest.raises(InvalidInput):
            update.apply(item, values)
    else:
        assert update.apply(item, values) == expected
    assert item == before
    assert values == values_before


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(levels - 1):
        value = {"M": {"a": value}}
    return value


def test_an_update_cannot_nest_deeper_than_a_put() -> None:
    update = compile_update("UpdateExpression", "SET a.a = :v", None)
    assert update.apply({"a": {"M": {}}}, {":v": _nested(31)}) == {"a": {"M": {"a": _nested(31)}}}
    with pytest.raises(InvalidUpdate, match="Nesting Levels have exceeded supported limits"):
        update.apply({"a": {"M": {}}}, {":v": _nested(32)})


@pytest.mark.parametrize(
    ("text", "creates"),
    [
        ("REMOVE a", False),
        ("DELETE a :v", False),
        ("REMOVE a DELETE b :v", False),
        ("ADD a :v", True),
        ("SET a=b", True),
    ],
)
def test_only_set_and_add_create_an_item(text: str, creates: bool) -> None:
    assert compile_update("UpdateExpression", text, None).creates() is creates
