"""A cursor over the tokens of a statement, and the values that stand in it.

    literal = string | ["+" | "-"] number | TRUE | FALSE | NULL | "[" literals "]" | "{" "name": literal, … "}"
            | "<<" strings or numbers ">>"

Owns the values of a statement (`Statement.values`). Rule: a literal is normalised when it is parsed and never changed
afterwards. Source: AWS developer guide, "PartiQL data types for DynamoDB".
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, TypeVar

from gramme.kernel.errors import InvalidInput
from gramme.tables.expression.nodes import Value
from gramme.tables.partiql.errors import InvalidStatement
from gramme.tables.partiql.lexer import Kind, Token, is_name, malformed, place, tokenize
from gramme.tables.partiql.nodes import Parameter
from gramme.tables.requests import AttributeValue
from gramme.tables.values import MAX_LEVELS, normalise_value

TOO_DEEP: Final = "Nesting Levels have exceeded supported limits"

_LITERALS: Final[dict[str, AttributeValue]] = {"true": {"BOOL": True}, "false": {"BOOL": False}, "null": {"NULL": True}}
_BAG: Final = "Unsupported data type in Bag. DynamoDB only supports either numbers or strings in bags"

_T = TypeVar("_T")


class ValueParser:
    """A cursor over the tokens of one statement. Raises InvalidStatement."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokenize(text)
        self._at = 0
        self.values: dict[str, AttributeValue | Parameter] = {}
        self.parameters = 0

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

    def next_token(self) -> Token:
        """The token behind the cursor's."""
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def at_symbol(self, symbol: str) -> bool:
        """Whether this symbol is under the cursor."""
        return self.token.kind is Kind.SYMBOL and self.token.text == symbol

    def take_symbol(self, symbol: str) -> bool:
        """Take the token under the cursor if it is this symbol."""
        found = self.at_symbol(symbol)
        self._at += found
        return found

    def expect_symbol(self, symbol: str) -> None:
        """Take this symbol or refuse the statement."""
        if not self.take_symbol(symbol):
            self.malformed()

    def at_word(self, *words: str) -> bool:
        """Whether one of these words is under the cursor."""
        return self.token.word in words and self.token.kind is Kind.WORD

    def take_word(self, word: str) -> bool:
        """Take the token under the cursor if it is this word, in any case."""
        found = self.at_word(word)
        self._at += found
        return found

    def expect_word(self, word: str) -> None:
        """Take this word or refuse the statement."""
        if not self.take_word(word):
            self.malformed()

    # --- faults

    def malformed(self) -> NoReturn:
        """Refuse a statement that breaks the grammar."""
        raise malformed(self.text)

    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        """Refuse the statement; the message ends with the place of `token`."""
        raise InvalidStatement(message if token is None else message + place(self.text, token))

    # --- values

    def constant(self, value: AttributeValue) -> Value:
        """A placeholder for a literal. Raises InvalidStatement for one that no attribute can hold."""
        return self._value(self.normal(value))

    def normal(self, value: AttributeValue) -> AttributeValue:
        try:
            return normalise_value(value)[0]
        except InvalidInput as error:
            raise InvalidStatement(str(error)) from None

    def _value(self, content: AttributeValue | Parameter) -> Value:
        placeholder = f":{len(self.values)}"
        self.values[placeholder] = content
        return Value(placeholder)

    def read_item_value(self) -> Value:
        """A value of a top-level attribute: a literal or a parameter."""
        if self.token.kind is not Kind.PARAMETER:
            return self.constant(self.read_literal(1, "root"))
        self.advance()
        return self.parameter()

    def parameter(self) -> Value:
        self.parameters += 1
        return self._value(Parameter(self.parameters - 1))

    def read_literal(self, level: int, where: str) -> AttributeValue:
        """A literal in wire form, not yet normalised. `where`: the way to it, for messages."""
        if level > MAX_LEVELS:
            self.fail(TOO_DEEP)
        token = self.token
        if token.kind is Kind.SYMBOL and token.text in ("[", "{", "<<"):
            self.advance()
            if token.text == "[":
                return {"L": self._read_list(level, where)}
            return {"M": self.read_members(level, where)} if token.text == "{" else self._read_bag()
        if token.kind is Kind.SYMBOL and token.text in ("+", "-"):
            self.advance()
            number = self.advance()
            if number.kind is not Kind.NUMBER:
                self._unsupported(token, where)
            return {"N": token.text.strip("+") + number.text}
        self.advance()
        if token.kind is Kind.STRING:
            return {"S": token.text}
        if token.kind is Kind.NUMBER:
            return {"N": token.text}
        if token.kind is not Kind.WORD or token.word not in _LITERALS:
            self._unsupported(token, where)
        return dict(_LITERALS[token.word])

    def _unsupported(self, token: Token, where: str) -> NoReturn:
        key = f" under key {where}" if where else ""
        if token.kind is Kind.ION:
            self.fail(f"Ion Literals are not supported{key}", token)
        if token.kind is Kind.PARAMETER:
            self.fail(f"Unsupported data type: Parameter{key}", token)
        if where and (is_name(token) or self.token.text == "("):
            self.fail(f"Unsupported data type: {token.text}{key}", token)
        if where and token.word == "missing":
            self.fail(f"Unsupported data type: MISSING{key}", token)
        self.malformed()

    def _read_list(self, level: int, where: str) -> list[AttributeValue]:
        elements: list[AttributeValue] = []
        while not self.take_symbol("]"):
            if elements:
                self.expect_symbol(",")
            elements.append(self.read_literal(level + 1, f"{where or 'root'}.{len(elements)}"))
        return elements

    def read_members(self, level: int, where: str) -> dict[str, Any]:
        """The members of a map behind its opening brace, and the closing one."""
        members: dict[str, Any] = {}
        while not self.take_symbol("}"):
            if members:
                self.expect_symbol(",")
            name = self.read_key(members, where or "root")
            members[name] = self.read_literal(level + 1, f"{where or 'root'}.{name}")
        return members

    def read_key(self, members: dict[str, _T], where: str) -> str:
        """The name of a member and its colon."""
        token = self.advance()
        if token.kind is not Kind.STRING:
            kind = {Kind.PARAMETER: "Parameter", Kind.NUMBER: "Literal"}.get(token.kind)
            kind = "VariableReference" if is_name(token) else kind
            if kind is None:
                self.malformed()
            self.fail(f"Tuple keys must be of type String. Actual type: {kind} under {where}", token)
        if token.text in members:
            self.fail(f"Duplicate keys in tuple. Key: {token.text} under {where}", token)
        self.expect_symbol(":")
        return token.text

    def _read_bag(self) -> AttributeValue:
        """A set behind its opening brackets, and the closing ones."""
        opening = self._tokens[self._at - 1]
        members: list[str] = []
        kind = ""
        while not self.take_symbol(">>"):
            if members:
                self.expect_symbol(",")
            sign = "-" if self.take_symbol("-") else ""
            token = self.advance()
            found = {Kind.STRING: "SS", Kind.NUMBER: "NS"}.get(token.kind)
            if found is None or (kind and found != kind) or (sign and found != "NS"):
                if token.kind in (Kind.END, Kind.SYMBOL):
                    self.malformed()
                self.fail(_BAG, token)
            kind = found
            members.append(sign + token.text)
        if not members:
            self.fail("Empty bags are not supported", opening)
        return {kind: members}
