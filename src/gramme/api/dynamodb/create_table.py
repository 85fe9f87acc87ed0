"""CreateTable: the checks that need several members, then the catalog's command.

Answered when every partition has a leader; the answer says CREATING as the service's does (issue 2, item 2). Source:
API reference, CreateTable.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from gramme.api.dynamodb.call import Call, guarded
from gramme.api.dynamodb.errors import table_in_use, validation
from gramme.api.dynamodb.index_definitions import check_definitions_used, created_indexes
from gramme.api.dynamodb.streams.specification import stream_change
from gramme.api.dynamodb.table_description import describe
from gramme.api.dynamodb.tags import check_tags
from gramme.tables.catalog import CatalogReply, CreateTable, TableInUse, TableReply
from gramme.tables.descriptor import KeySchema
from gramme.tables.requests import Failed
from gramme.tables.table_changes import BOTH_UNITS, INVALID, MAX_TAGS, NO_UNITS

_INVALID: Final = INVALID
_MAX_UNITS: Final = 1_000_000_000_000
_STORED: Final = ("Tags", "TableClass", "DeletionProtectionEnabled", "OnDemandThroughput", "WarmThroughput")


def start(call: Call) -> None:
    """Begin CreateTable."""
    body = call.body
    call.refuse_enabled("SSESpecification", "Enabled")
    mode, reads, writes = _billing(body)
    key = _key_schema(body)
    definitions = tuple((entry["AttributeName"], entry["AttributeType"]) for entry in body["AttributeDefinitions"])
    indexes = created_indexes(body, key, dict(definitions), mode == "PAY_PER_REQUEST")
    check_definitions_used(key, indexes, [name for name, _ in definitions])
    stream = stream_change(body)
    _check_tags(body.get("Tags") or [])
    check_on_demand(body.get("OnDemandThroughput"))
    call.table_name = name = call.env.settings.table_name(body["TableName"])
    stored = {member: body[member] for member in _STORED if body.get(member) is not None}
    command = CreateTable(
        name, key, definitions, mode, reads, writes, stored, indexes, stream=None if stream is None else stream.view
    )
    call.env.backend.catalog(command, call.deadline, _on_reply(call))


def _answered(call: Call, reply: CatalogReply) -> None:
    if isinstance(reply, TableReply):
        call.answer(
            [b'{"TableDescription":', describe(reply, "CREATING", call.env.settings, call.env.clock.timestamp()), b"}"]
        )
    elif isinstance(reply, TableInUse):
        raise table_in_use(reply.name, "ACTIVE")
    elif isinstance(reply, Failed):
        raise call.failure(reply)
    else:
        raise TypeError(f"unexpected catalog reply {type(reply).__name__}")


_on_reply: Final = guarded(_answered)


def _billing(body: dict[str, Any]) -> tuple[Literal["PROVISIONED", "PAY_PER_REQUEST"], int, int]:
    throughput = body.get("ProvisionedThroughput")
    if body.get("BillingMode") == "PAY_PER_REQUEST":
        if throughput is not None:
            raise validation(NO_UNITS)
        return "PAY_PER_REQUEST", 0, 0
    if throughput is None:
        raise validation(BOTH_UNITS)
    check_throughput(throughput)
    return "PROVISIONED", throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]


def check_throughput(throughput: dict[str, Any]) -> None:
    """Refuse units beyond what the service can count. Raises ApiError."""
    for member in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if throughput[member] > _MAX_UNITS:
            raise validation(f"Given value {throughput[member]} for {member} is out of bounds")


def check_on_demand(maximum: dict[str, Any] | None) -> None:
    """Refuse an OnDemandThroughput whose limits are neither positive nor -1, which lifts a limit. Raises ApiError."""
    for member, units in (maximum or {}).items():
        if units == 0 or units < -1 or units > _MAX_UNITS:
            raise validation(f"Given value {units} for {member} is out of bounds")


def _check_tags(tags: list[dict[str, Any]]) -> None:
    if len(tags) > MAX_TAGS:
        raise validation(f"Too many tags: a table can have {MAX_TAGS}")
    check_tags(tags)


def _key_schema(body: dict[str, Any]) -> KeySchema:
    definitions = {entry["AttributeName"]: entry["AttributeType"] for entry in body["AttributeDefinitions"]}
    schema = body["KeySchema"]
    names = [entry["AttributeName"] for entry in schema]
    defined = [entry["AttributeName"] for entry in body["AttributeDefinitions"]]
    if len(definitions) != len(defined):
        repeated = next(name for name in defined if defined.count(name) > 1)
        raise validation(f"{_INVALID}Duplicate AttributeName in AttributeDefinitions: {repeated}")
    if len(names) > len(defined):
        raise validation("Invalid KeySchema: Some index key attribute have no definition")
    if any(name not in definitions for name in names):
        raise validation(
            f"{_INVALID}Some index key attributes are not defined in AttributeDefinitions. "
            f"Keys: [{', '.join(names)}], AttributeDefinitions: [{', '.join(defined)}]"
        )
    if len(names) == 2 and names[0] == names[1]:
        raise validation("Both the Hash Key and the Range Key element in the KeySchema have the same name")
    if schema[0]["KeyType"] != "HASH":
        raise validation("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if len(schema) == 2 and schema[1]["KeyType"] != "RANGE":
        raise validation("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
    if len(names) == 1:
        return KeySchema(names[0], definitions[names[0]])
    return KeySchema(names[0], definitions[names[0]], names[1], definitions[names[1]])
