"""Tokens of the expression language, with their places for error messages.

Owns the cutting of text into tokens, shared by all five kinds of expression. Rule: any text has tokens; a character
that begins none is a token of its own kind, so that the parser reports it in the service's words (`token`, `near`).
Source: AWS developer guide, "Using expressions in DynamoDB"; the texts as DynamoDB answers them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Kind(Enum):
    """What a token is. Keywords are identifiers; each grammar knows its own."""

    IDENTIFIER = auto()
    NAME = auto()  # #placeholder
    VALUE = auto()  # :placeholder
    INTEGER = auto()  # no leading zeros: `01` is two tokens
    SYMBOL = auto()
    UNKNOWN = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it stands in its text."""

    kind: Kind
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"(?P<IDENTIFIER>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<NAME>#[A-Za-z0-9_]+)"
    r"|(?P<VALUE>:[A-Za-z0-9_]+)"
    r"|(?P<INTEGER>0|[1-9][0-9]*)"
    r"|(?P<SYMBOL><>|<=|>=|[()\[\],.=<>+-])"
    r"|(?P<SPACE>[ \t\r\n]+)"
    r"|(?P<UNKNOWN>.)",
    re.DOTALL,
)
_KINDS: Final = {kind.name: kind for kind in Kind}


def tokenize(text: str) -> list[Token]:
    """All tokens of `text`, and one of kind END after them."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        name = match.lastgroup
        if name is not None and name != "SPACE":
            tokens.append(Token(_KINDS[name], match.group(), match.start(), match.end()))
    tokens.append(Token(Kind.END, "<EOF>", len(text), len(text)))
    return tokens
