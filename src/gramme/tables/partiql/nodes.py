"""The syntax trees of statements: frozen, without the parameters of a request.

Conditions and values are trees of the expression language (`gramme.tables.expression.nodes`): each literal and each
`?` is a value placeholder `:0`, `:1`, … in the order of the text, and `Statement.values` says what stands there. So one
tree serves every request with the same text and lives in a cache.
"""

from __future__ import annotations

from dataclasses import dataclass

from gramme.tables.expression.nodes import Action, ConditionNode, Path, Value
from gramme.tables.requests import AttributeValue, ReturnValues


@dataclass(frozen=True, slots=True)
class Parameter:
    """The n-th `?` of a statement, from 0."""

    number: int


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a SELECT: the value at `path`, answered under `name`."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Order:
    """One attribute of ORDER BY."""

    name: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Select:
    """`SELECT columns FROM table.index WHERE … ORDER BY …`; `columns` None is `*`."""

    table: str
    index: str | None
    columns: tuple[Column, ...] | None
    where: ConditionNode | None
    order: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """`EXISTS(SELECT …)`: a condition check of a transaction."""

    select: Select

    @property
    def table(self) -> str:
        """The table of the statement inside."""
        return self.select.table


@dataclass(frozen=True, slots=True)
class Insert:
    """`INSERT INTO table VALUE {…}`."""

    table: str
    attributes: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Update:
    """`UPDATE table SET … REMOVE … WHERE … RETURNING …`; actions in the order of the text."""

    table: str
    actions: tuple[Action, ...]
    where: ConditionNode | None
    returning: ReturnValues


@dataclass(frozen=True, slots=True)
class Delete:
    """`DELETE FROM table WHERE … RETURNING …`."""

    table: str
    where: ConditionNode | None
    returning: ReturnValues


Write = Insert | Update | Delete
Body = Select | Exists | Insert | Update | Delete


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed statement. `values`: by placeholder, a literal (normalised, not to be changed) or a parameter."""

    body: Body
    values: dict[str, AttributeValue | Parameter]
    parameters: int

    @property
    def is_read(self) -> bool:
        """Whether it belongs into a batch or transaction of reads."""
        return isinstance(self.body, Select)
