"""What a write of one item comes to: the decisions of `evaluate`.

They stand apart because they are Structs, which must not be compiled (docs/decisions/0105), and `evaluate` is.
"""

from __future__ import annotations

import msgspec

from gramme.tables.requests import ConditionFailed, Refused, Written


class Put(msgspec.Struct, frozen=True, gc=False):
    """Store `item` (canonical JSON) of DynamoDB size `size` under the request's key, then answer."""

    item: bytes
    size: int
    reply: Written


class Remove(msgspec.Struct, frozen=True, gc=False):
    """Delete the row under the request's key, then answer. The row exists."""

    reply: Written


class Nothing(msgspec.Struct, frozen=True, gc=False):
    """The write succeeds and changes nothing: there is no row to delete, or the update gives the stored bytes again."""

    reply: Written


class Fail(msgspec.Struct, frozen=True, gc=False):
    """The write is not done; the stored item stays as it is."""

    reply: ConditionFailed | Refused


Decision = Put | Remove | Nothing | Fail
