"""Tokens of a statement, with their places.

Owns the cutting of a statement's text. Rules: strings stand in single quotes, quoted names in double ones, and the
quote itself is doubled inside; `--` begins a comment to the end of the line, `/*` one to `*/`; what begins no token
makes the statement malformed. Source: the PartiQL specification, section 14 ("PartiQL lexical grammar"); AWS developer
guide, "PartiQL data types for DynamoDB".
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

import msgspec

from gramme.tables.partiql.errors import NoStatement
from gramme.tables.partiql.words import RESERVED


class Kind(Enum):
    """What a token is."""

    WORD = auto()  # a name, or a word of the language
    QUOTED = auto()  # a name in double quotes
    STRING = auto()
    NUMBER = auto()  # without a sign
    PARAMETER = auto()  # ?
    SYMBOL = auto()
    ION = auto()  # `…`
    END = auto()


class Token(msgspec.Struct, frozen=True, gc=False):
    """A token and where it stands. `text`: a name or a string without its quotes, anything else as written."""

    kind: Kind
    text: str
    start: int
    end: int
    word: str = ""  # of WORD: in lower case


_TOKEN: Final = re.compile(
    r"(?P<SPACE>(?:[ \t\r\n\f\v]+|--[^\n]*|/\*.*?\*/)+)"
    r"|(?P<OPEN>/\*)"  # a comment without an end: known at once, not tried again at each place
    r"|(?P<WORD>[A-Za-z_$][A-Za-z0-9_$]*)"
    r'|(?P<QUOTED>"(?:[^"]|"")*")'
    r"|(?P<STRING>'(?:[^']|'')*')"
    r"|(?P<NUMBER>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<PARAMETER>\?)"
    r"|(?P<SYMBOL><<|>>|<>|<=|>=|!=|\|\||[()\[\]{},.:;=<>+\-*/%])"
    r"|(?P<ION>`[^`]*`)",
    re.DOTALL,
)
_KINDS: Final = {kind.name: kind for kind in Kind}


def malformed(text: str) -> NoStatement:
    """The whole statement breaks the grammar."""
    return NoStatement(f"Statement wasn't well formed, can't be processed: {text}")


def tokenize(text: str) -> list[Token]:
    """All tokens of a statement, and one of kind END after them. Raises NoStatement."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        name = None if match is None else match.lastgroup
        if match is None or name is None or name == "OPEN":
            raise malformed(text)
        at = match.end()
        if name != "SPACE":
            tokens.append(_token(_KINDS[name], match))
    tokens.append(Token(Kind.END, "", len(text), len(text)))
    return tokens


def _token(kind: Kind, match: re.Match[str]) -> Token:
    text = match.group()
    if kind is Kind.WORD:
        return Token(kind, text, match.start(), match.end(), text.lower())
    if kind is Kind.QUOTED:
        text = text[1:-1].replace('""', '"')
    elif kind is Kind.STRING:
        text = text[1:-1].replace("''", "'")
    return Token(kind, text, match.start(), match.end())


def is_name(token: Token) -> bool:
    """Whether a token may name a table or an attribute."""
    return token.kind is Kind.QUOTED or (token.kind is Kind.WORD and token.word not in RESERVED)


def place(text: str, token: Token) -> str:
    """` at LINE:COLUMN:LENGTH`, as messages end."""
    line = text.count("\n", 0, token.start) + 1
    column = token.start - (text.rfind("\n", 0, token.start) + 1) + 1
    return f" at {line}:{column}:{token.end - token.start}"
