"""The catalog's row of which tables changed lately, so that nodes need not doubt what they know of all the others.

Pure: reads the row, says what it becomes. Rule: every change of the catalog writes it beside the counters, whoever
leads, with the names whose `t/NAME` row it puts or deletes; each name stands there once, with the version that touched
it last. Past `MOST_NAMES` those that changed longest ago are left out, and `since` tells from which version on nothing
is missing. A row that is not of the catalog's present version says nothing: a release that did not write it has led in
between.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.node.evaluator import Read
from gramme.storage.engine.rows import Space

MOST_NAMES: Final = 128
"""A few kilobytes with usual names, written with every change of the catalog. Nodes ask every two seconds: to one that
finds more missing, so many tables changed within that time, or it was away."""

_CHANGED: Final = bytes((Space.CATALOG,)) + b"v"


class ChangedTables(msgspec.Struct, frozen=True):
    """Names of tables that changed after version `since` and until `version`, with the version that did, ascending."""

    version: int
    since: int
    tables: tuple[tuple[int, str], ...] = ()


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(ChangedTables).decode


def noted(read: Read, version: int, names: list[str]) -> tuple[bytes, bytes]:
    """The row after the change that makes the catalog's version `version` and touches the tables `names`."""
    stored = read(_CHANGED)
    before = None if stored is None else _unpack(stored)
    if before is None or before.version != version - 1:
        before = ChangedTables(version - 1, version - 1)
    tables = [entry for entry in before.tables if entry[1] not in names]
    tables += [(version, name) for name in dict.fromkeys(names)]
    left_out = tables[:-MOST_NAMES]
    since = left_out[-1][0] if left_out else before.since
    return _CHANGED, _pack(ChangedTables(version, since, tuple(tables[-MOST_NAMES:])))


def changed_since(read: Read, now: int, version: int) -> tuple[str, ...] | None:
    """The tables that changed after `version` in a catalog that is at version `now`; None: more than are known."""
    stored = read(_CHANGED)
    row = None if stored is None else _unpack(stored)
    if row is None or row.version != now or version < row.since:
        return None
    return tuple(name for changed, name in row.tables if changed > version)
