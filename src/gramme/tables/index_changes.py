"""What UpdateTable makes of a table's secondary indexes. Pure, like `gramme.tables.table_changes`, which calls it.

Rule: one index at a time comes or goes; meanwhile the table is UPDATING, and the catalog's control loop brings the new
state about (`gramme.node.catalog.schema_service`). Source: API reference, UpdateTable (GlobalSecondaryIndexUpdates).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from gramme.tables.catalog import IndexUnits, UpdateTable
from gramme.tables.descriptor import Index, TableDescriptor
from gramme.tables.requests import Refused

MAX_GLOBAL: Final = 20
MAX_LOCAL: Final = 5
MAX_PROJECTED: Final = 100
"""NonKeyAttributes of all indexes of a table together."""

_INVALID: Final = "One or more parameter values were invalid: "


def indexes_changed(table: TableDescriptor, request: UpdateTable) -> TableDescriptor | Refused:
    """The descriptor after the index parts of `request`; a new index has no partitions yet."""
    on_demand = (request.billing_mode or table.billing_mode) == "PAY_PER_REQUEST"
    for units in request.resize:
        resized = _resized(table, units, on_demand)
        if isinstance(resized, Refused):
            return resized
        table = resized
    if request.billing_mode is not None:
        switched = _switched(table, on_demand)
        if isinstance(switched, Refused):
            return switched
        table = switched
    if request.add is not None:
        return _added(table, request.add, request.attribute_definitions, on_demand)
    if request.drop is not None:
        return _dropped(table, request.drop)
    return table


def missing_index(table: TableDescriptor, request: UpdateTable) -> bool:
    """Whether `request` names a global index that the table does not have."""
    names = [units.name for units in request.resize] + ([] if request.drop is None else [request.drop])
    return any((index := table.index(name)) is None or index.kind == "LOCAL" for name in names)


def _switched(table: TableDescriptor, on_demand: bool) -> TableDescriptor | Refused:
    """The indexes under the billing mode that the table has from now on."""
    if on_demand:
        return replace(table, indexes=tuple(replace(index, read_units=0, write_units=0) for index in table.indexes))
    for index in table.indexes:
        if index.kind == "GLOBAL" and not index.read_units:
            return Refused(no_units(index.name))
    return table


def no_units(name: str) -> str:
    """The text for a global index without throughput in a provisioned table."""
    return f"{_INVALID}ProvisionedThroughput must be specified for index: {name}"


def needless_units(name: str) -> str:
    """The text for a global index with throughput in a table on demand."""
    return (
        f"{_INVALID}ProvisionedThroughput should not be specified for index: {name} when BillingMode is PAY_PER_REQUEST"
    )


def _resized(table: TableDescriptor, units: IndexUnits, on_demand: bool) -> TableDescriptor | Refused:
    index = table.index(units.name)
    assert index is not None  # see `missing_index`
    if units.read_units is not None and on_demand:
        return Refused(
            f"{_INVALID}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: {index.name} when "
            "BillingMode is PAY_PER_REQUEST"
        )
    if units.read_units is not None and (units.read_units, units.write_units) == (index.read_units, index.write_units):
        return Refused(
            f"The provisioned throughput for the index {index.name} will not change. The requested value equals the "
            f"current value. Current ReadCapacityUnits provisioned for the index: {index.read_units}. Requested "
            f"ReadCapacityUnits: {units.read_units}. Current WriteCapacityUnits provisioned for the index: "
            f"{index.write_units}. Requested WriteCapacityUnits: {units.write_units}. Refer to the Amazon DynamoDB "
            "Developer Guide for current limits and how to request higher limits."
        )
    changed = replace(
        index,
        read_units=index.read_units if units.read_units is None else units.read_units,
        write_units=index.write_units if units.write_units is None else units.write_units,
        settings={**index.settings, **units.settings},
    )
    return _with(table, index, changed)


def _added(
    table: TableDescriptor, index: Index, definitions: tuple[tuple[str, str], ...], on_demand: bool
) -> TableDescriptor | Refused:
    if bool(index.read_units) == on_demand:
        return Refused(needless_units(index.name) if on_demand else no_units(index.name))
    if table.index(index.name) is not None:
        return Refused("Attempting to create an index which already exists")
    if sum(i.kind == "GLOBAL" for i in table.indexes) >= MAX_GLOBAL:
        return Refused(f"{_INVALID}GlobalSecondaryIndex count exceeds the per-table limit of {MAX_GLOBAL}")
    if len(index.included) + sum(len(i.included) for i in table.indexes) > MAX_PROJECTED:
        return Refused(too_many_projected(MAX_PROJECTED))
    known = dict(table.attribute_definitions)
    for name, kind in definitions:
        if known.setdefault(name, kind) != kind:
            return Refused(f"{_INVALID}Attribute {name} is of type {known[name]} and cannot become {kind}")
    number = table.next_index
    new = replace(index, number=number, status="CREATING", backfill=True)
    used = {*table.key.names, *new.key_names, *(name for i in table.indexes for name in i.key_names)}
    return replace(
        table,
        status="UPDATING",
        indexes=(*table.indexes, new),
        next_index=number + 1,
        attribute_definitions=tuple((name, kind) for name, kind in known.items() if name in used),
    )


def too_many_projected(limit: int) -> str:
    """The text for more NonKeyAttributes than a table may have."""
    return f"{_INVALID}Number of projected attributes exceeds the per-table limit of {limit}"


def _dropped(table: TableDescriptor, name: str) -> TableDescriptor | Refused:
    index = table.index(name)
    assert index is not None  # see `missing_index`
    return replace(_with(table, index, replace(index, status="DELETING")), status="UPDATING")


def _with(table: TableDescriptor, old: Index, new: Index) -> TableDescriptor:
    return replace(table, indexes=tuple(new if index is old else index for index in table.indexes))


def schema_settled(
    table: TableDescriptor, version: int, made: tuple[int, ...], gone: tuple[int, ...]
) -> TableDescriptor:
    """The descriptor when all partitions have the schema of `version`, the indexes with the numbers `made` serve and
    those of `gone` have left no partition."""
    kept = tuple(
        replace(index, status="ACTIVE") if index.number in made else index
        for index in table.indexes
        if index.number not in gone
    )
    used = {*table.key.names, *(name for index in kept for name in index.key_names)}
    working = any(index.status in ("CREATING", "DELETING") for index in kept) or table.schema_version > version
    return replace(
        table,
        version=table.version + 1,
        status="UPDATING" if working else "ACTIVE",
        configured=version,
        indexes=kept,
        attribute_definitions=tuple(d for d in table.attribute_definitions if d[0] in used),
    )
