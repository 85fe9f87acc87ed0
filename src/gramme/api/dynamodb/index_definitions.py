"""Definitions of secondary indexes in CreateTable and UpdateTable: from their members to `Index` values.

Rule: everything that can be judged from the request alone is refused here, with the service's texts; what depends on
the table as it is then belongs to `gramme.tables.index_changes`. Sources: API reference, CreateTable and
GlobalSecondaryIndexUpdate; AWS developer guide, "Constraints" and "Multi-attribute keys"; recorded messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gramme.api.dynamodb.errors import ApiError, validation
from gramme.api.dynamodb.shapes import (
    TABLE_NAME,
    IntegerShape,
    ListShape,
    Member,
    StringShape,
    StructureShape,
)
from gramme.tables.catalog import IndexUnits
from gramme.tables.descriptor import Index, KeySchema
from gramme.tables.index_changes import (
    MAX_GLOBAL,
    MAX_LOCAL,
    MAX_PROJECTED,
    needless_units,
    no_units,
    too_many_projected,
)

_INVALID: Final = "One or more parameter values were invalid: "
_MAX_PARTS: Final = 4
_MAX_UNITS: Final = 1_000_000_000_000

# --- shapes of the members

_STRING: Final = StringShape()
_LONG: Final = IntegerShape("Long", 64)
_NAME: Final = Member("IndexName", _STRING, required=True, minimum=3, maximum=255, pattern=TABLE_NAME)
_KEYS: Final = Member(
    "KeySchema",
    ListShape(
        StructureShape(
            "KeySchemaElement",
            (
                Member("AttributeName", _STRING, required=True, minimum=1, maximum=255),
                Member("KeyType", _STRING, required=True, enum=("HASH", "RANGE")),
            ),
            in_list=True,
        )
    ),
    required=True,
    minimum=1,
    maximum=2 * _MAX_PARTS,
)
_PROJECTION: Final = Member(
    "Projection",
    StructureShape(
        "Projection",
        (
            Member("ProjectionType", _STRING, enum=("ALL", "INCLUDE", "KEYS_ONLY")),
            Member("NonKeyAttributes", ListShape(_STRING), minimum=1, maximum=20),
        ),
    ),
    required=True,
)
THROUGHPUT: Final = Member(
    "ProvisionedThroughput",
    StructureShape(
        "ProvisionedThroughput",
        (
            Member("WriteCapacityUnits", _LONG, required=True, minimum=1),
            Member("ReadCapacityUnits", _LONG, required=True, minimum=1),
        ),
    ),
)
STORED_THROUGHPUT: Final = (
    Member(
        "OnDemandThroughput",
        StructureShape(
            "OnDemandThroughput", (Member("MaxReadRequestUnits", _LONG), Member("MaxWriteRequestUnits", _LONG))
        ),
    ),
    Member(
        "WarmThroughput",
        StructureShape(
            "WarmThroughput",
            (Member("ReadUnitsPerSecond", _LONG, minimum=1), Member("WriteUnitsPerSecond", _LONG, minimum=1)),
        ),
    ),
)

LOCAL_INDEXES: Final = Member(
    "LocalSecondaryIndexes",
    ListShape(StructureShape("LocalSecondaryIndex", (_NAME, _KEYS, _PROJECTION), in_list=True)),
)
GLOBAL_INDEXES: Final = Member(
    "GlobalSecondaryIndexes",
    ListShape(
        StructureShape(
            "GlobalSecondaryIndex", (_NAME, _KEYS, _PROJECTION, THROUGHPUT, *STORED_THROUGHPUT), in_list=True
        )
    ),
)
INDEX_UPDATES: Final = Member(
    "GlobalSecondaryIndexUpdates",
    ListShape(
        StructureShape(
            "GlobalSecondaryIndexUpdate",
            (
                Member(
                    "Create",
                    StructureShape(
                        "CreateGlobalSecondaryIndexAction", (_NAME, _KEYS, _PROJECTION, THROUGHPUT, *STORED_THROUGHPUT)
                    ),
                ),
                Member(
                    "Update",
                    StructureShape("UpdateGlobalSecondaryIndexAction", (_NAME, THROUGHPUT, *STORED_THROUGHPUT)),
                ),
                Member("Delete", StructureShape("DeleteGlobalSecondaryIndexAction", (_NAME,))),
            ),
            in_list=True,
        )
    ),
)

# --- CreateTable


def created_indexes(
    body: Mapping[str, Any], key: KeySchema, definitions: Mapping[str, str], on_demand: bool
) -> tuple[Index, ...]:
    """The indexes of CreateTable, local ones first, without numbers and partitions. Raises ApiError."""
    local, shared = body.get("LocalSecondaryIndexes"), body.get("GlobalSecondaryIndexes")
    for member, given in (("LocalSecondaryIndexes", local), ("GlobalSecondaryIndexes", shared)):
        if given is not None and not given:
            raise validation(f"{_INVALID}List of {member} is empty")
    if local and key.range_name is None:
        raise validation(
            f"{_INVALID}Table KeySchema does not have a range key, which is required when specifying a "
            "LocalSecondaryIndex"
        )
    if len(local or ()) > MAX_LOCAL:
        raise validation(f"{_INVALID}Number of LocalSecondaryIndexes exceeds per-table limit of {MAX_LOCAL}")
    if len(shared or ()) > MAX_GLOBAL:
        raise validation(f"{_INVALID}GlobalSecondaryIndex count exceeds the per-table limit of {MAX_GLOBAL}")
    indexes = [_local_index(entry, key, definitions) for entry in local or ()]
    indexes += [global_index(entry, definitions, on_demand) for entry in shared or ()]
    names: dict[str, None] = {}
    for index in indexes:
        if index.name in names:
            raise validation(f"{_INVALID}Duplicate index name: {index.name}")
        names[index.name] = None
    if sum(len(index.included) for index in indexes) > MAX_PROJECTED:
        raise validation(too_many_projected(MAX_PROJECTED))
    return tuple(indexes)


def _local_index(entry: Mapping[str, Any], key: KeySchema, definitions: Mapping[str, str]) -> Index:
    name = entry["IndexName"]
    hashes, ranges = _key_parts(entry, definitions)
    if not ranges:
        raise validation(f"{_INVALID}Index KeySchema does not have a range key for index: {name}")
    if len(hashes) > 1 or len(ranges) > 1:
        raise validation(f"{_INVALID}Index KeySchema has too many key attributes for index: {name}")
    if hashes[0][0] != key.hash_name:
        raise validation(
            f"{_INVALID}Index KeySchema does not have the same leading hash key as table KeySchema for index: {name}. "
            f"index hash key: {hashes[0][0]}, table hash key: {key.hash_name}"
        )
    projection, included = _projection(entry)
    return Index(name=name, kind="LOCAL", hash=hashes, range=ranges, projection=projection, included=included)


def global_index(entry: Mapping[str, Any], definitions: Mapping[str, str], on_demand: bool) -> Index:
    """A global index without number and partitions. Raises ApiError."""
    name = entry["IndexName"]
    hashes, ranges = _key_parts(entry, definitions)
    if len(hashes) > _MAX_PARTS or len(ranges) > _MAX_PARTS:
        raise validation(
            f"{_INVALID}Index KeySchema has more than {_MAX_PARTS} attributes of one key type for index: {name}"
        )
    projection, included = _projection(entry)
    throughput = entry.get("ProvisionedThroughput")
    if on_demand and throughput is not None:
        raise validation(needless_units(name))
    if not on_demand and throughput is None:
        raise validation(no_units(name))
    reads, writes = _units(throughput)
    return Index(
        name=name,
        kind="GLOBAL",
        hash=hashes,
        range=ranges,
        projection=projection,
        included=included,
        read_units=reads or 0,
        write_units=writes or 0,
        settings=_settings(entry),
    )


def _key_parts(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Any, Any]:
    """The HASH and the RANGE attributes with their types."""
    schema = entry["KeySchema"]
    names = [element["AttributeName"] for element in schema]
    if any(name not in definitions for name in names):
        raise validation(
            f"{_INVALID}Some index key attributes are not defined in AttributeDefinitions. "
            f"Keys: [{', '.join(names)}], AttributeDefinitions: [{', '.join(definitions)}]"
        )
    kinds = [element["KeyType"] for element in schema]
    if kinds[0] != "HASH":
        raise validation("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if len(names) == 2 and names[0] == names[1]:
        raise validation("Both the Hash Key and the Range Key element in the KeySchema have the same name")
    if len(dict.fromkeys(names)) != len(names):
        raise validation("Invalid KeySchema: An attribute is named twice")
    if kinds != sorted(kinds):
        raise validation("Invalid KeySchema: HASH key attributes must stand before RANGE key attributes")
    pairs = [(name, definitions[name]) for name in names]
    count = kinds.count("HASH")
    return tuple(pairs[:count]), tuple(pairs[count:])


def _projection(entry: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    projection = entry["Projection"]
    kind, included = projection.get("ProjectionType"), projection.get("NonKeyAttributes")
    if kind is None:
        raise validation(f"{_INVALID}Unknown ProjectionType: null")
    if kind == "INCLUDE" and not included:
        raise validation(f"{_INVALID}ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
    if kind != "INCLUDE" and included is not None:
        raise validation(f"{_INVALID}ProjectionType is {kind}, but NonKeyAttributes is specified")
    return kind, tuple(included or ())


def _units(throughput: Mapping[str, int] | None) -> tuple[int | None, int | None]:
    if throughput is None:
        return None, None
    for member in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if throughput[member] > _MAX_UNITS:
            raise validation(f"Given value {throughput[member]} for {member} is out of bounds")
    return throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {member.name: entry[member.name] for member in STORED_THROUGHPUT if entry.get(member.name) is not None}


def check_definitions_used(key: KeySchema, indexes: tuple[Index, ...], defined: list[str]) -> None:
    """Every attribute that is defined must be a key of the table or of an index. Raises ApiError."""
    used = dict.fromkeys((*key.names, *(name for index in indexes for name in index.key_names)))
    if all(name in used for name in defined):
        return
    if not indexes:
        raise validation(
            f"{_INVALID}Number of attributes in KeySchema does not exactly match number of attributes defined in "
            "AttributeDefinitions"
        )
    raise validation(
        f"{_INVALID}Some AttributeDefinitions are not used. AttributeDefinitions: [{', '.join(defined)}], keys used: "
        f"[{', '.join(used)}]"
    )


# --- UpdateTable


def index_updates(
    body: Mapping[str, Any], on_demand: bool | None
) -> tuple[Index | None, str | None, tuple[IndexUnits, ...]]:
    """What GlobalSecondaryIndexUpdates asks for: an index to add, one to drop, and changes of throughput.

    `on_demand` None: as the table is, which only the catalog knows. Raises ApiError.
    """
    definitions = {entry["AttributeName"]: entry["AttributeType"] for entry in body.get("AttributeDefinitions") or ()}
    add: list[Index] = []
    drop: list[str] = []
    resize: list[IndexUnits] = []
    for update in body.get("GlobalSecondaryIndexUpdates") or ():
        actions = [action for action in ("Create", "Update", "Delete") if update.get(action) is not None]
        if len(actions) != 1:
            raise validation(
                f"{_INVALID}One of GlobalSecondaryIndexUpdate's Update, Create, Delete must be specified, and only one"
            )
        entry = update[actions[0]]
        if actions[0] == "Create":
            implied = entry.get("ProvisionedThroughput") is None if on_demand is None else on_demand
            add.append(global_index(entry, definitions, implied))
        elif actions[0] == "Delete":
            drop.append(entry["IndexName"])
        else:
            resize.append(IndexUnits(entry["IndexName"], *_units(entry.get("ProvisionedThroughput")), _settings(entry)))
    named = [index.name for index in add] + drop + [units.name for units in resize]
    if len(dict.fromkeys(named)) != len(named):
        raise validation("Only one global secondary index update per index is allowed simultaneously.")
    if len(add) + len(drop) > 1:
        raise ApiError(
            "LimitExceededException",
            "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
        )
    return (add[0] if add else None), (drop[0] if drop else None), tuple(resize)
