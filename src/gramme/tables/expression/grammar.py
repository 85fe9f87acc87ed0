"""What the grammars of all expressions share: reading tokens, paths and placeholders, and collecting faults.

Owns the order in which an expression's faults are reported, because the service has one: syntax first; then the faults
of the text itself (`Early`); then undefined placeholders, operand counts and operand types (checks), which may depend
on the values of the request and so run again for each one; then limits. A tree is built once per text and names.
Source: the service's answers, as DynamoDB Local and the public conformance suites record them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final, NoReturn

from gramme.tables.expression.errors import InvalidExpression
from gramme.tables.expression.lexer import Kind, Token, tokenize
from gramme.tables.expression.nodes import Call, Operand, Path, Step, Value, Values
from gramme.tables.expression.reserved import is_reserved

MAX_EXPRESSION_BYTES: Final = 4096
MAX_OPERATORS: Final = 300
MAX_PATH_LEVELS: Final = 32
MAX_LIST_INDEX: Final = 2**31 - 1
MAX_CALL_DEPTH: Final = 50  # far above any expression that is not refused for other reasons; bounds the recursion

Check = Callable[[Values], None]
"""A test of one request's values against the tree; raises InvalidExpression."""


GENERATED_KINDS: Final = frozenset({"Expected", "AttributeUpdates", "QueryFilter", "ScanFilter", "AttributesToGet"})
"""Members whose text was made from legacy parameters (`gramme.tables.legacy`): their size is bounded there."""

STATEMENT: Final = "Statement"
"""The kind of a text that was made from a PartiQL statement (`gramme.tables.partiql`): the limits of expressions apply
except that on their size (the statement has one of its own), and its faults are told without a prefix."""

KEYWORDS: Final = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"})
"""Words that no expression takes for a name, whatever its kind: the service has one grammar for all."""


class Early(IntEnum):
    """Faults of the text itself: all of one kind are reported before the next kind, the first in the text first."""

    PARENTHESES = 0
    WORD = 1  # reserved words, unknown and misused functions, list indexes out of range
    SECTION = 2


class Parser:
    """A cursor over tokens. Subclasses are the grammars; one instance parses one text once."""

    def __init__(self, kind: str, text: str, names: Mapping[str, str] | None) -> None:
        """`kind` is the member's name for messages, e.g. `ConditionExpression`. Raises InvalidExpression."""
        self.of_statement = kind == STATEMENT
        self._prefix = "" if self.of_statement else f"Invalid {kind}: "
        if not text:
            self.fail("The expression can not be empty;")
        size = len(text.encode("utf-8", "surrogatepass"))
        self.generated = kind in GENERATED_KINDS
        if size > MAX_EXPRESSION_BYTES and not self.generated and not self.of_statement:
            self.fail(f"Expression size has exceeded the maximum allowed size; expression size: {size}")
        self._text = text
        self._tokens = tokenize(text)
        self._at = 0
        self._names = names or {}
        self._operators = 0
        self.faulty = False  # whether one of the checks refuses whatever the values are
        self._early: list[tuple[Early, int, str]] = []
        self.limits: list[Check] = []  # checks that come after all others
        self.used_names: dict[str, None] = {}  # ordered sets
        self.used_values: dict[str, None] = {}

    # --- tokens

    @property
    def token(self) -> Token:
        """The token under the cursor."""
        return self._tokens[self._at]

    def advance(self) -> Token:
        """Take the token under the cursor; END stays."""
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def peek_symbol(self, symbol: str) -> bool:
        """Whether the next token is this symbol."""
        return self.token.kind is Kind.SYMBOL and self.token.text == symbol

    def take_symbol(self, symbol: str) -> bool:
        """Take the next token if it is this symbol."""
        if self.peek_symbol(symbol):
            self._at += 1
            return True
        return False

    def expect_symbol(self, symbol: str) -> None:
        """Take this symbol or fail."""
        if not self.take_symbol(symbol):
            self.syntax_error()

    def peek_keyword(self, keyword: str) -> bool:
        """Whether the next token is this keyword, in any case."""
        return self.token.kind is Kind.IDENTIFIER and self.token.text.upper() == keyword

    def take_keyword(self, keyword: str) -> bool:
        """Take the next token if it is this keyword."""
        if self.peek_keyword(keyword):
            self._at += 1
            return True
        return False

    def at_call(self) -> bool:
        """Whether a function's name and its opening parenthesis come next."""
        if self.token.kind is not Kind.IDENTIFIER or self.token.text.upper() in KEYWORDS:
            return False
        following = self._tokens[self._at + 1]  # END at the latest
        return following.kind is Kind.SYMBOL and following.text == "("

    # --- faults

    def fail(self, message: str) -> NoReturn:
        """Refuse the expression with the member's prefix."""
        raise InvalidExpression(self._prefix + message)

    def syntax_error(self) -> NoReturn:
        """Refuse the token under the cursor, quoting it and its neighbours."""
        start = self._tokens[self._at - 1].start if self._at else 0
        following = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        end = following.end if following.kind is not Kind.END or self.token.kind is Kind.END else self.token.end
        near = self._text[start:end]
        self.fail(f'Syntax error; token: "{self.token.text}", near: "{near}"')

    def note(self, fault: Early, place: int, message: str) -> None:
        """Remember a fault at an offset of the text; parsing goes on, because a syntax error comes before it."""
        self._early.append((fault, place, message))

    def failing(self, message: str) -> Check:
        """A check that refuses whatever the values are; the tree is then of no use."""
        self.faulty = True

        def check(_values: Values) -> None:
            self.fail(message)

        return check

    def count_operator(self) -> None:
        """Count one operator or function towards the limit."""
        self._operators += 1
        if self._operators == MAX_OPERATORS + 1 and not self.generated:
            message = f"The expression contains too many operators; operator count: {self._operators}"
            self.limits.append(self.failing(message))

    def finish(self) -> None:
        """At the end of the text: refuse what follows, then the first early fault."""
        if self.token.kind is not Kind.END:
            self.syntax_error()
        if self._early:
            self.fail(min(self._early)[2])

    # --- what all grammars have

    def read_path(self, undefined: Callable[[Check], None]) -> Path:
        """A document path. An undefined `#name` is handed to `undefined` as a check that always fails."""
        steps: list[Step] = [self._read_name(undefined)]
        while True:
            if self.take_symbol("."):
                steps.append(self._read_name(undefined))
            elif self.take_symbol("["):
                steps.append(self._read_index())
                self.expect_symbol("]")
            else:
                break
        if len(steps) > MAX_PATH_LEVELS:
            message = f"The document path has too many nesting levels; nesting levels: {len(steps)}"
            self.limits.append(self.failing(message))
        return Path(tuple(steps))

    def _read_name(self, undefined: Callable[[Check], None]) -> str:
        token = self.token
        if token.kind is Kind.NAME:
            self._at += 1
            self.used_names[token.text] = None
            name = self._names.get(token.text)
            if name is None:
                message = "An expression attribute name used in the document path is not defined; attribute name: "
                undefined(self.failing(message + token.text))
                return token.text
            return name
        if token.kind is not Kind.IDENTIFIER or token.text.upper() in KEYWORDS:
            self.syntax_error()
        self._at += 1
        if is_reserved(token.text):
            message = f"Attribute name is a reserved keyword; reserved keyword: {token.text}"
            self.note(Early.WORD, token.start, message)
        return token.text

    def _read_index(self) -> int:
        token = self.token
        if token.kind is not Kind.INTEGER:
            self.syntax_error()
        self._at += 1
        if len(token.text) > 10 or int(token.text) > MAX_LIST_INDEX:
            message = f"List index is not within the allowable range; index: [{token.text}]"
            self.note(Early.WORD, token.start, message)
            return 0
        return int(token.text)

    def read_value(self) -> tuple[Value, Check]:
        """A value placeholder, and the check that the request defines it."""
        token = self.token
        if token.kind is not Kind.VALUE:
            self.syntax_error()
        self._at += 1
        self.used_values[token.text] = None
        placeholder = token.text

        def defined(values: Values) -> None:
            if placeholder not in values:
                message = "An expression attribute value used in expression is not defined; attribute value: "
                self.fail(message + placeholder)

        return Value(placeholder), defined


class OperandParser(Parser):
    """A grammar with operands: values, paths, and calls of functions, in parentheses or without.

    What differs between grammars (`read_call`, `note_reference`) they supply. No `ABC`: docs/decisions/0105.
    """

    def read_operand(self, depth: int) -> Operand:
        """An operand within `depth` calls."""
        parentheses = 0
        while self.take_symbol("("):
            parentheses += 1
        if parentheses > 1:
            self.note_redundant_parentheses()
        operand = self.read_bare_operand(depth)
        for _ in range(parentheses):
            self.expect_symbol(")")
        return operand

    def read_bare_operand(self, depth: int) -> Operand:
        """One without parentheses around it."""
        if self.token.kind is Kind.VALUE:
            value, defined = self.read_value()
            self.note_reference(defined)
            return value
        if self.at_call():
            return self.read_call(depth)
        return self.read_path(self.note_reference)

    def note_redundant_parentheses(self) -> None:
        """There is a pair too many in front of the token under the cursor."""
        self.note(Early.PARENTHESES, self.token.start, "The expression has redundant parentheses;")

    def read_call(self, depth: int) -> Call:
        """A call within `depth` others."""
        raise NotImplementedError

    def note_reference(self, check: Check) -> None:
        """Remember the check that a name or a value is defined."""
        raise NotImplementedError
