"""The grammar of statements, and the cache of what was parsed.

    SELECT columns FROM table["." index] [WHERE condition] [ORDER BY name [ASC | DESC], …]
    INSERT INTO table VALUE {"name": value, …}
    UPDATE table (SET path "=" operand, … | REMOVE path) … [WHERE condition] [RETURNING (ALL | MODIFIED) (OLD | NEW) *]
    DELETE FROM table [WHERE condition] [RETURNING ALL OLD *]
    EXISTS "(" select ")"

One statement, with or without a semicolon. Clauses of SQL that the service knows and refuses are refused in its words.
Source: AWS developer guide, "PartiQL select/insert/update/delete statements for DynamoDB"; texts as DynamoDB Local
answers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from gramme.tables.expression.nodes import Action, AddAction, Call, DeleteAction, Path, RemoveAction, SetAction, Value
from gramme.tables.expression.request import CACHE_ENTRIES, CACHED_TEXT
from gramme.tables.partiql.errors import NoStatement
from gramme.tables.partiql.expressions import ExpressionParser
from gramme.tables.partiql.lexer import Kind, is_name
from gramme.tables.partiql.nodes import (
    Body,
    Column,
    Delete,
    Exists,
    Insert,
    Order,
    Parameter,
    Select,
    Statement,
    Update,
)
from gramme.tables.requests import ReturnValues

MAX_STATEMENT_CHARS: Final = 8192

_TABLE: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_RETURNING: Final = {
    ("all", "old"): ReturnValues.ALL_OLD,
    ("all", "new"): ReturnValues.ALL_NEW,
    ("modified", "old"): ReturnValues.UPDATED_OLD,
    ("modified", "new"): ReturnValues.UPDATED_NEW,
}
_DEFINITIONS: Final = {
    ("create", "table"): "CreateTable",
    ("create", "index"): "CreateIndex",
    ("drop", "table"): "DropTable",
    ("drop", "index"): "DropIndex",
}
_SET_FUNCTIONS: Final = ("set_add", "set_delete")


def parse_statement(text: str) -> Statement:
    """The tree of a statement, from the cache where it was parsed before. Raises InvalidStatement."""
    return _parse_cached(text) if len(text) <= CACHED_TEXT else _parse(text)


def _parse(text: str) -> Statement:
    parser = _StatementParser(text)
    body = parser.read_statement()
    return Statement(body, parser.values, parser.parameters)


_parse_cached: Final = lru_cache(CACHE_ENTRIES)(_parse)
"""Parsing is a pure function, so the cache is no state that an outcome could depend on. Refused texts are not kept."""


class _StatementParser(ExpressionParser):
    def read_statement(self) -> Body:
        if self.at_word("create", "drop"):
            definition = _DEFINITIONS.get((self.token.word, self.next_token().word))
            if definition is not None:
                raise NoStatement(f"Unsupported operation: {definition}")
        if self.at_word("exists"):
            body: Body = self._read_exists()
        elif self.take_word("select"):
            body = self._read_select()
        elif self.take_word("insert"):
            body = self._read_insert()
        elif self.take_word("update"):
            body = self._read_update()
        elif self.take_word("delete"):
            body = self._read_delete()
        elif is_name(self.token) and self.next_token().kind is Kind.END:
            raise NoStatement("Unsupported operation: VariableReference")
        else:
            self.malformed()
        self.take_symbol(";")
        if self.token.kind is not Kind.END:
            self.malformed()
        return body

    # --- tables

    def _read_source(self) -> tuple[str, str | None]:
        """`table` or `table.index`."""
        if self.token.kind is Kind.STRING or self.at_symbol("[") or self.at_symbol("<<"):
            self.fail("Unexpected from source")
        table = self.read_name()
        index = None
        if self.take_symbol("."):
            index = self.read_name()
        if self.at_symbol("."):
            self.fail("A path may contain at most 2 components in the FROM clause")
        if self.at_word("as") or is_name(self.token):
            self.fail("Aliasing is not supported")
        if _TABLE.fullmatch(table) is None:
            self.fail(
                "Table name should be within the length [3, 255] and only contain 'a-z', 'A-Z', '0-9', '-', '_', '.'."
            )
        return table, index

    def _read_table(self, fault: str) -> str:
        table, index = self._read_source()
        if index is not None:
            self.fail(fault)
        return table

    # --- SELECT

    def _read_exists(self) -> Exists:
        self.expect_word("exists")
        self.expect_symbol("(")
        self.expect_word("select")
        select = self._read_select()
        self.expect_symbol(")")
        return Exists(select)

    def _read_select(self) -> Select:
        columns = self._read_columns()
        self.expect_word("from")
        table, index = self._read_source()
        if self.at_symbol(",") or self.at_word("join", "inner", "left", "right", "full", "cross"):
            self.fail("Only select from a single table or index is supported.")
        where = self.read_condition() if self.take_word("where") else None
        for clause in ("group", "having"):
            if self.at_word(clause):
                self.fail(f"Unsupported clause: {'GROUP BY' if clause == 'group' else 'HAVING'}")
        order = self._read_order() if self.take_word("order") else ()
        for clause in ("limit", "offset"):
            if self.take_word(clause):
                self.fail(f"Unsupported clause: {clause.upper()}", self.token)
        return Select(table, index, columns, where, order)

    def _read_columns(self) -> tuple[Column, ...] | None:
        if self.at_word("distinct", "all"):
            self.fail(f"Unsupported token in expression: {self.token.text.upper()}")
        if self.at_word("value", "pivot"):
            self.fail("Select projection doesn't support value or pivot keywords")
        if self.take_symbol("*"):
            return None
        columns = [self._read_column()]
        while self.take_symbol(","):
            columns.append(self._read_column())
        seen: set[str] = set()
        for column in columns:
            if column.name in seen:
                self.fail(f"Duplicate identifiers in select clause: {column.name}")
            seen.add(column.name)
        return tuple(columns)

    def _read_column(self) -> Column:
        token = self.token
        if token.kind in (Kind.STRING, Kind.NUMBER, Kind.PARAMETER):
            self.fail("Unexpected path component", token)
        if token.kind is Kind.WORD and self.next_token().text == "(" and self.next_token().kind is Kind.SYMBOL:
            self.fail("Unexpected path component", token)
        path = self.read_path()
        if self.at_word("as") or is_name(self.token):
            self.fail("Aliasing is not supported")
        return Column(_column_name(path), path)

    def _read_order(self) -> tuple[Order, ...]:
        self.expect_word("by")
        order: list[Order] = []
        while True:
            path = self.read_path()
            if len(path.steps) > 1:
                self.fail("Argument to ORDER BY must be of type VariableReference. Type: PATH")
            descending = self.take_word("desc")
            if not descending:
                self.take_word("asc")
            order.append(Order(str(path.steps[0]), descending))
            if not self.take_symbol(","):
                return tuple(order)

    # --- INSERT

    def _read_insert(self) -> Insert:
        self.expect_word("into")
        table = self._read_table("FROM clause may only contain a single table name in data manipulation statements")
        if self.at_symbol("<<"):
            raise NoStatement("Unsupported operation: InsertOp")
        self.expect_word("value")
        if not self.at_symbol("{"):
            self.fail(
                "Unsupported format in item expression. Please use struct format {...} to express item values for "
                "insert statement.",
                self.token,
            )
        self.advance()
        attributes: dict[str, Value] = {}
        while not self.take_symbol("}"):
            if attributes:
                self.expect_symbol(",")
            name = self.read_key(attributes, "root")
            attributes[name] = self.read_item_value()
        if self.at_word("returning"):
            self.fail("RETURNING is not supported in INSERT")
        return Insert(table, tuple(attributes.items()))

    # --- UPDATE and DELETE

    def _read_update(self) -> Update:
        table = self._read_table("This operation is not supported on an index")
        actions: list[Action] = []
        while True:
            if self.take_word("set"):
                actions.append(self._read_set())
                while self.take_symbol(","):
                    actions.append(self._read_set())
            elif self.take_word("remove"):
                actions.append(RemoveAction(self.read_path()))
            else:
                break
        if not actions:
            self.malformed()
        where = self.read_condition() if self.take_word("where") else None
        returning = self._read_returning()
        return Update(table, tuple(actions), where, ReturnValues.NONE if returning is None else _RETURNING[returning])

    def _read_set(self) -> Action:
        path = self.read_path()
        self.expect_symbol("=")
        value = self.read_operand()
        if not isinstance(value, Call) or value.name not in _SET_FUNCTIONS:
            return SetAction(path, value)
        function = value.name.upper()
        if len(value.arguments) != 2:
            self.fail(
                "Incorrect number of operands for operator or function; operator or function: "
                f"{value.name}, number of operands: {len(value.arguments)}"
            )
        target, members = value.arguments
        if target != path:
            self.fail(f"The first argument to {function} must equal the assignment value")
        content = self.values[members.placeholder] if isinstance(members, Value) else None
        is_set = isinstance(content, Parameter) or (content is not None and not {"SS", "NS", "BS"}.isdisjoint(content))
        if not isinstance(members, Value) or not is_set:
            self.fail(f"The second argument to {function} must be a value with type SET")
        return AddAction(path, members) if value.name == "set_add" else DeleteAction(path, members)

    def _read_delete(self) -> Delete:
        self.expect_word("from")
        table = self._read_table("This operation is not supported on an index")
        where = self.read_condition() if self.take_word("where") else None
        returning = self._read_returning()
        if returning is not None and returning != ("all", "old"):
            self.fail(
                f"Invalid returning clause: RETURNING {' '.join(returning).upper()} *. Only RETURNING ALL OLD * is "
                "allowed in DELETE statements."
            )
        return Delete(table, where, ReturnValues.NONE if returning is None else ReturnValues.ALL_OLD)

    def _read_returning(self) -> tuple[str, str] | None:
        if not self.take_word("returning"):
            return None
        returning = self.advance().word, self.advance().word
        if returning not in _RETURNING:
            self.malformed()
        if self.token.kind is Kind.END:
            self.malformed()
        if not self.take_symbol("*"):
            self.fail("Expected '*' after ( MODIFIED | ALL ) ( NEW | OLD ) in RETURNING clause")
        if self.at_symbol(","):
            self.fail("Invalid syntax with multiple returning elements in RETURNING clause")
        return returning


def _column_name(path: Path) -> str:
    """Under which name the value at `path` is answered: its last member, with the list indexes behind it."""
    name = ""
    for step in path.steps:
        name = f"{name}[{step}]" if isinstance(step, int) else step
    return name
