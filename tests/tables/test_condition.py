"""Conditions: the evaluator against a slow, obvious one; texts that must not break the parser; its limits."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tables import slow_conditions
from tests.tables.strategies import NAMES, items

from gramme.tables.expression.condition import compile_condition
from gramme.tables.expression.errors import InvalidExpression
from gramme.tables.expression.request import prepare

_ALIASES = {f"#{name}": name for name in NAMES}


@settings(max_examples=300)
@given(slow_conditions.trees, items())
def test_the_evaluator_agrees_with_the_slow_one(tree: slow_conditions.Tree, item: dict[str, Any]) -> None:
    values: dict[str, Any] = {}
    text = slow_conditions.render(tree, values)
    condition = compile_condition("ConditionExpression", text, _ALIASES)
    try:
        condition.check(values)
    except InvalidExpression as refused:  # bounds of BETWEEN in the wrong order are refused, not evaluated
        assert "The BETWEEN operator requires" in str(refused)  # noqa: PT017
        return
    assert condition.holds(item, values) == slow_conditions.holds(tree, item)


_WORDS = [
    "a", "b", "name", "#a", "#x", ":v", ":w", "(", ")", "((", "))", "[0]", "[", "]", ".", ",", "=", "<>", "<", ">=",
    "+", "-", "AND", "or", "NOT", "BETWEEN", "in", "size(", "attribute_exists(", "begins_with(", "contains(", "foo(",
    "SET", "REMOVE", "ADD", "DELETE", "if_not_exists(", "list_append(", "1", "01", "é", "!", '"', "\n", "99999999999",
]  # fmt: skip


@settings(max_examples=700)
@given(
    st.lists(st.sampled_from(_WORDS), min_size=1, max_size=14).map(" ".join),
    st.sampled_from(["update", "condition", "key_condition", "filter", "projection"]),
)
def test_any_text_is_parsed_or_refused(text: str, member: str) -> None:
    arguments: dict[str, Any] = {member: text}
    names, values = {"#a": "a"}, {":v": {"N": "1"}, ":w": {"S": "x"}}
    with suppress(InvalidExpression):
        prepared = prepare(names=names, values=values, **arguments)
        assert getattr(prepared, member) is not None


@pytest.mark.parametrize(
    "text",
    ["(" * 4000, "(" * 1999 + "a" + ")" * 1999, "NOT " * 1000 + "a = b", "size(" * 600 + "a" + ")" * 600, "a." * 2000],
)
def test_deep_nesting_is_refused_not_recursed_into(text: str) -> None:
    with pytest.raises(InvalidExpression):
        compile_condition("FilterExpression", text, None).check({})


def test_the_deepest_conditions_that_are_allowed_evaluate() -> None:
    text = "(" * 149 + "a = :v" + " AND b = :v)" * 149
    condition = compile_condition("FilterExpression", text, None)
    assert condition.holds({"a": {"S": "x"}, "b": {"S": "x"}}, {":v": {"S": "x"}})
    assert not condition.holds({"a": {"S": "x"}}, {":v": {"S": "x"}})


@pytest.mark.parametrize(("operators", "allowed"), [(299, True), (300, True), (301, False)])
def test_operators_are_limited(operators: int, allowed: bool) -> None:
    comparisons = operators // 2 + 1  # n comparisons and n - 1 ORs; NOT makes it even
    text = " OR ".join(["a=:v"] * comparisons)
    if operators % 2 == 0:
        text = " OR ".join(["NOT a=:v"] + ["a=:v"] * (comparisons - 2))
    condition = compile_condition("FilterExpression", text, None)
    values = {":v": {"N": "1"}}
    if allowed:
        condition.check(values)
        assert condition.holds({"a": {"N": "1"}}, values)
    else:
        with pytest.raises(InvalidExpression, match="too many operators; operator count: 301"):
            condition.check(values)


@pytest.mark.parametrize(("size", "allowed"), [(4096, True), (4097, False)])
def test_text_is_limited_in_bytes(size: int, allowed: bool) -> None:
    text = "a=:v".ljust(size)
    if allowed:
        compile_condition("FilterExpression", text, None).check({":v": {"N": "1"}})
    else:
        with pytest.raises(InvalidExpression, match="maximum allowed size; expression size: 4097"):
            compile_condition("FilterExpression", text, None)


@pytest.mark.parametrize(("count", "allowed"), [(100, True), (101, False)])
def test_operands_of_in_are_limited(count: int, allowed: bool) -> None:
    condition = compile_condition("FilterExpression", f"a IN ({', '.join([':v'] * count)})", None)
    if allowed:
        condition.check({":v": {"N": "1"}})
    else:
        with pytest.raises(
            InvalidExpression, match="IN operator is provided with too many operands; number of operands: 101"
        ):
            condition.check({":v": {"N": "1"}})
