"""The grammar of what stands in a statement: paths, values, operands and conditions.

    or = and {OR and};  and = not {AND not};  not = {NOT} test
    test = operand [comparator operand | [NOT] BETWEEN operand AND operand | [NOT] IN (operand, …) | IS [NOT] word]
    operand = term {("+" | "-" | …) term};  term = ["+" | "-"] primary
    primary = path | literal | "?" | function "(" operand {"," operand} ")" | "(" or ")"

Owns the way from tokens to the trees of the expression language, whose own parser judges operands and values later
(`translation`). Precedence climbing, so that a level of parentheses costs few levels of Python's stack; their number is
bounded. Source: AWS developer guide, "PartiQL operators", "PartiQL functions", "PartiQL data types for DynamoDB".
"""

from __future__ import annotations

from typing import Final

from gramme.tables.expression.grammar import MAX_LIST_INDEX
from gramme.tables.expression.nodes import (
    And,
    Arithmetic,
    Between,
    Call,
    Compare,
    ConditionNode,
    In,
    Not,
    Operand,
    Or,
    Path,
    Step,
    Value,
)
from gramme.tables.partiql.lexer import Kind, is_name
from gramme.tables.partiql.literals import TOO_DEEP, ValueParser

MAX_DEPTH: Final = 64
"""Levels of parentheses, function calls and lists of operands."""

_CONDITIONS: Final = {
    "attribute_exists": True,
    "attribute_not_exists": True,
    "attribute_type": True,
    "begins_with": True,
    "contains": True,
    "size": False,
    "if_not_exists": False,
    "list_append": False,
    "set_add": False,
    "set_delete": False,
}
"""The functions, and whether they are conditions."""
_OPERATORS: Final = {"+": 1, "-": 1, "||": 1, "*": 2, "/": 2, "%": 2}
_COMPARATORS: Final = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TYPES: Final = {
    "string": "S",
    "int": "N",
    "integer": "N",
    "decimal": "N",
    "numeric": "N",
    "float": "N",
    "bool": "BOOL",
    "boolean": "BOOL",
    "list": "L",
    "struct": "M",
    "tuple": "M",
}
_IN: Final = (
    "IN operator must have a left hand argument of type Variable Reference and right hand argument of type Seq with at "
    "least one member"
)
_MISSING: Final = "MISSING must be compared using IS operator"

Node = Operand | ConditionNode


def is_condition(node: Node) -> bool:
    """Whether a node is true or false; all others are operands."""
    if isinstance(node, Call):
        return _CONDITIONS[node.name]
    return isinstance(node, Compare | Between | In | And | Or | Not)


class ExpressionParser(ValueParser):
    """Conditions, operands and paths. Raises InvalidStatement."""

    # --- conditions

    def read_condition(self) -> ConditionNode:
        """The condition of a WHERE clause."""
        node = self.read_expression(0)
        if not is_condition(node):
            self.fail("WHERE clause must contain an expression that resolves to a boolean")
        return node  # type: ignore[return-value]

    def read_expression(self, depth: int) -> Node:
        """Operands and conditions alike: what the place wants is up to the caller."""
        alternatives: list[Node] = []
        while True:
            factors = [self._read_test(depth)]
            while self.take_word("and"):
                factors.append(self._read_test(depth))
            alternatives.append(self._joined(And, factors))
            if not self.take_word("or"):
                return self._joined(Or, alternatives)

    def _joined(self, kind: type[And] | type[Or], nodes: list[Node]) -> Node:
        if len(nodes) == 1:
            return nodes[0]
        terms: list[ConditionNode] = []
        for node in nodes:
            if not is_condition(node):
                self.fail("The arguments to AND/OR must be Expressions")
            terms += node.terms if isinstance(node, kind) else [node]  # type: ignore[list-item]
        return kind(tuple(terms))

    def _read_test(self, depth: int) -> Node:
        negations = 0
        while self.take_word("not"):
            negations += 1
        node = self._finish_test(self._read_sum(depth, 0), depth)
        if negations and not is_condition(node):
            self.fail("The argument to NOT must be an Expression")
        return Not(node) if negations % 2 else node  # type: ignore[arg-type]

    def _finish_test(self, left: Node, depth: int) -> Node:
        operator = _COMPARATORS.get(self.token.text) if self.token.kind is Kind.SYMBOL else None
        if operator is not None:
            self.advance()
            right = self._read_sum(depth, 0)
            for one, other in ((left, right), (right, left)):
                if is_condition(one) and operator in ("=", "<>"):
                    return self._compared(operator, one, other)
            return Compare(operator, self._operand(left), self._operand(right))
        if self.take_word("is"):
            return self._read_is(left)
        negated = self.at_word("not") and self.next_token().word in ("between", "in", "like")
        self._at += negated
        test: ConditionNode
        if self.take_word("between"):
            low = self._operand(self._read_sum(depth, 0))
            self.expect_word("and")
            test = Between(self._operand(left), low, self._operand(self._read_sum(depth, 0)))
        elif self.take_word("in"):
            test = In(self._operand(left), self._read_choices(depth + 1))
        elif self.at_word("like"):
            self.fail("Unsupported operator in Condition Expression. Operator: like")
        else:
            return left
        return Not(test) if negated else test

    def _compared(self, operator: str, test: Node, literal: Node) -> ConditionNode:
        """`contains(a, 'b') = FALSE`."""
        content = self.values[literal.placeholder] if isinstance(literal, Value) else None
        if not isinstance(content, dict) or "BOOL" not in content:
            self.malformed()
        wanted = content["BOOL"] == (operator == "=")
        return test if wanted else Not(test)  # type: ignore[arg-type, return-value]

    def _read_choices(self, depth: int) -> tuple[Operand, ...]:
        token = self.advance()
        closing = {"(": ")", "[": "]", "<<": ">>"}.get(token.text) if token.kind is Kind.SYMBOL else None
        if closing is None or self.at_word("select"):
            self.fail(_IN)
        if self.take_symbol(closing):
            if closing == ")":
                self.malformed()
            self.fail(_IN)
        choices = [self._operand(self._read_nested(depth))]
        while self.take_symbol(","):
            choices.append(self._operand(self._read_nested(depth)))
        self.expect_symbol(closing)
        return tuple(choices)

    def _read_is(self, left: Node) -> ConditionNode:
        negated = self.take_word("not")
        token = self.advance()
        if not isinstance(left, Path | Value):
            self.fail("The left hand side argument to IS must be a Variable Reference, Literal, or Path")
        if token.kind is not Kind.WORD:
            self.malformed()
        if token.word == "missing":
            return Call("attribute_exists" if negated else "attribute_not_exists", (left,))
        if token.word == "null":
            return Compare("<>" if negated else "=", left, self.constant({"NULL": True}))
        if token.word not in _TYPES:
            self.malformed()
        test = Call("attribute_type", (left, self.constant({"S": _TYPES[token.word]})))
        return Not(test) if negated else test

    def _operand(self, node: Node) -> Operand:
        """`node` where a condition's operand must stand."""
        if isinstance(node, Arithmetic):
            self.fail(f"Unsupported operator in Condition Expression. Operator: {node.operator}")
        if not isinstance(node, Path | Value | Call) or is_condition(node):
            self.malformed()
        return node

    # --- operands

    def read_operand(self, depth: int = 0) -> Operand:
        """A value of SET, or an argument: a sum at the most."""
        node = self._read_sum(depth, 0)
        if is_condition(node):
            self.malformed()
        return node  # type: ignore[return-value]

    def _read_nested(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.fail(TOO_DEEP)
        return self._read_sum(depth, 0)

    def _read_sum(self, depth: int, weakest: int) -> Node:
        """A sum of operators that bind stronger than `weakest`."""
        left = self._read_term(depth)
        while self.token.kind is Kind.SYMBOL:
            operator = self.token.text
            strength = _OPERATORS.get(operator, 0)
            if strength <= weakest:
                break
            self.advance()
            right = self._read_sum(depth, strength)
            if is_condition(left) or is_condition(right):
                self.malformed()
            left = Arithmetic(operator, left, right)  # type: ignore[arg-type]
        return left

    def _read_term(self, depth: int) -> Node:
        sign = self.token.text if self.token.kind is Kind.SYMBOL and self.token.text in ("+", "-") else ""
        if not sign:
            return self._read_primary(depth)
        self.advance()
        node = self._read_primary(depth)
        literal = self.values.get(node.placeholder) if isinstance(node, Value) else None
        if not isinstance(node, Value) or not isinstance(literal, dict) or "N" not in literal:
            self.fail(
                "Incorrect number of operands for operator or function; operator or function: "
                f"{sign}, number of operands: 1"
            )
        if sign == "-":
            self.values[node.placeholder] = self.normal({"N": _negated(literal["N"])})
        return node

    def _read_primary(self, depth: int) -> Node:
        token = self.token
        if token.kind is Kind.PARAMETER:
            self.advance()
            return self.parameter()
        if token.kind is Kind.SYMBOL and token.text == "(":
            return self._read_group(depth + 1)
        if token.kind is Kind.WORD and self._is_call():
            return self._read_call(depth + 1)
        if is_name(token):
            return self.read_path()
        if self.at_word("missing"):
            self.fail(_MISSING)
        if self.at_word("case", "cast", "coalesce", "nullif", "date", "time", "exists", "select"):
            self.fail("Unsupported token in expression: " + token.text.upper(), token)
        return self.constant(self.read_literal(1, ""))

    def _read_group(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.fail(TOO_DEEP)
        self.advance()
        if self.at_word("select"):
            self.fail("Unsupported token in expression: SELECT", self.token)
        node = self.read_expression(depth)
        self.expect_symbol(")")
        return node

    def _is_call(self) -> bool:
        following = self.next_token()
        if following.kind is not Kind.SYMBOL or following.text != "(":
            return False
        if self.token.word in _CONDITIONS:
            return True
        if is_name(self.token):
            self.fail(f"Unrecognized function: {self.token.text}")
        return False

    def _read_call(self, depth: int) -> Call:
        if depth > MAX_DEPTH:
            self.fail(TOO_DEEP)
        name = self.advance()
        self.expect_symbol("(")
        arguments = [self.read_operand(depth)]
        while self.take_symbol(","):
            arguments.append(self.read_operand(depth))
        self.expect_symbol(")")
        return Call(name.word, tuple(arguments))

    # --- paths

    def read_name(self) -> str:
        """A name of a table, index or attribute."""
        if not is_name(self.token):
            self.malformed()
        return self.advance().text

    def read_path(self) -> Path:
        """A document path: `a.b[0]."c d"['e']`."""
        steps: list[Step] = [self.read_name()]
        while True:
            if self.take_symbol("."):
                if self.at_symbol("*"):
                    self.fail("Changing item's hierarchy while reading isn't supported")
                steps.append(self.read_name())
            elif self.take_symbol("["):
                steps.append(self._read_step())
                self.expect_symbol("]")
            else:
                break
        if "" in steps:
            self.fail("Path component cannot be an empty string")
        return Path(tuple(steps))

    def _read_step(self) -> Step:
        if self.token.kind is Kind.STRING:
            return self.advance().text
        sign = "-" if self.take_symbol("-") else ""
        token = self.advance()
        if token.kind is not Kind.NUMBER:
            self.malformed()
        if not token.text.isdigit():
            self.fail("Unexpected path component", token)
        if sign or len(token.text) > 10 or int(token.text) > MAX_LIST_INDEX:
            self.fail(f"List index is not within the allowable range; index: [{sign}{token.text}]", token)
        return int(token.text)


def _negated(number: str) -> str:
    return number[1:] if number.startswith("-") else "-" + number
