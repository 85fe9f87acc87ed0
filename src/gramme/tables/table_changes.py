"""What UpdateTable, TagResource, UntagResource and UpdateTimeToLive make of a table's descriptor.

Pure: the catalog's leader calls it with the newest descriptor, so that a change is judged against the state that it
changes. Rule: the new descriptor's version is one higher; a change that is refused leaves no trace. Sources: API
reference, UpdateTable, TagResource, UpdateTimeToLive; texts as the service's emulators have recorded them.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from gramme.kernel.errors import Invariant
from gramme.kernel.time import SECOND, Timestamp
from gramme.tables.catalog import SetTimeToLive, TableChange, TagTable, UpdateTable
from gramme.tables.descriptor import TableDescriptor, TableHistory, TableStream
from gramme.tables.index_changes import indexes_changed
from gramme.tables.requests import Refused
from gramme.tables.streams import new_label

MAX_TAGS: Final = 50
ON_DEMAND_READS: Final = 12_000
ON_DEMAND_WRITES: Final = 4_000
"""What an on-demand table can serve at once, unless it was warmed further (units per second)."""

INVALID: Final = "One or more parameter values were invalid: "
BOTH_UNITS: Final = (
    f"{INVALID}ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"
)
NO_UNITS: Final = (
    f"{INVALID}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"
)
STREAM_IS_ON: Final = "Table already has an enabled stream: TableName: {}"
STREAM_IS_OFF: Final = "Table has no stream to disable: TableName: {}"
_DAY_NS: Final = 86_400 * SECOND


def changed(
    table: TableDescriptor, request: TableChange, now: Timestamp, latest_stream: str = ""
) -> TableDescriptor | Refused:
    """The descriptor after `request`, or why it is not allowed. A new stream's label is later than `latest_stream`,
    that of the last one which a table of this name had."""
    match request:
        case UpdateTable():
            return _updated(table, request, now, latest_stream)
        case TagTable():
            return _tagged(table, request)
        case SetTimeToLive():
            return _expiring(table, request)
    raise Invariant(f"not a change of a table: {type(request).__name__}")


def warm_throughput(table: TableDescriptor) -> dict[str, int]:
    """What the table can serve at once, in units per second: as warmed, at least what its mode gives."""
    on_demand = table.billing_mode == "PAY_PER_REQUEST"
    warm = {
        "ReadUnitsPerSecond": ON_DEMAND_READS if on_demand else table.read_units,
        "WriteUnitsPerSecond": ON_DEMAND_WRITES if on_demand else table.write_units,
    }
    warm.update(table.settings.get("WarmThroughput", {}))
    return warm


# --- UpdateTable


def _updated(
    table: TableDescriptor, request: UpdateTable, now: Timestamp, latest_stream: str
) -> TableDescriptor | Refused:
    after = indexes_changed(table, request)
    if not isinstance(after, Refused):
        after = _streaming(after, request, now, latest_stream)
    if isinstance(after, Refused):
        return after
    refusal = _billing_fault(table, request) or _definitions_fault(after, request) or _settings_fault(table, request)
    if refusal is not None:
        return Refused(refusal)
    mode = request.billing_mode or table.billing_mode
    reads, writes = table.read_units, table.write_units
    if mode == "PAY_PER_REQUEST":
        reads = writes = 0
    elif request.read_units is not None and request.write_units is not None:
        reads, writes = request.read_units, request.write_units
    version = table.version + 1
    return replace(
        after,
        version=version,
        schema_version=version if after.status == "UPDATING" else table.schema_version,
        billing_mode=mode,
        read_units=reads,
        write_units=writes,
        settings=_merged(table.settings, request.settings),
        history=_history(table, request, now),
    )


def _streaming(table: TableDescriptor, request: UpdateTable, now: Timestamp, latest: str) -> TableDescriptor | Refused:
    """A stream that is turned on, or off; the table is UPDATING until every partition knows."""
    if request.stream is None:
        return table
    if request.stream.view is None:
        if table.stream is None:
            return Refused(STREAM_IS_OFF.format(table.name))
        return replace(table, status="UPDATING", stream=None)
    if table.stream is not None:
        return Refused(STREAM_IS_ON.format(table.name))
    label = new_label(now, max(latest, table.latest_stream))
    return replace(table, status="UPDATING", stream=TableStream(label, request.stream.view), latest_stream=label)


def _billing_fault(table: TableDescriptor, request: UpdateTable) -> str | None:
    mode = request.billing_mode or table.billing_mode
    given = request.read_units is not None
    if mode == "PAY_PER_REQUEST":
        return NO_UNITS if given else None
    if not given:
        return BOTH_UNITS if table.billing_mode == "PAY_PER_REQUEST" else None
    same = (request.read_units, request.write_units) == (table.read_units, table.write_units)
    if same and table.billing_mode == "PROVISIONED":
        return (
            "The provisioned throughput for the table will not change. The requested value equals the current value. "
            f"Current ReadCapacityUnits provisioned for the table: {table.read_units}. Requested ReadCapacityUnits: "
            f"{request.read_units}. Current WriteCapacityUnits provisioned for the table: {table.write_units}. "
            f"Requested WriteCapacityUnits: {request.write_units}. Refer to the Amazon DynamoDB Developer Guide for "
            "current limits and how to request higher limits."
        )
    return None


def _definitions_fault(table: TableDescriptor, request: UpdateTable) -> str | None:
    """Definitions that are given again must be the table's own: the types of keys never change."""
    known = dict(table.attribute_definitions)
    for name, kind in request.attribute_definitions:
        if known.get(name) != kind:
            return (
                f"{INVALID}Number of attributes in KeySchema does not exactly match number of attributes defined in "
                "AttributeDefinitions"
                if name not in known
                else f"{INVALID}Attribute {name} is of type {known[name]} and cannot become {kind}"
            )
    return None


def _settings_fault(table: TableDescriptor, request: UpdateTable) -> str | None:
    mode = request.billing_mode or table.billing_mode
    if "OnDemandThroughput" in request.settings and mode == "PROVISIONED":
        return f"{INVALID}OnDemandThroughput cannot be specified when BillingMode is PROVISIONED"
    current = warm_throughput(table)
    for member, units in request.settings.get("WarmThroughput", {}).items():
        if units < current[member]:
            return (
                f"{INVALID}Requested {member} for WarmThroughput for table is lower than current WarmThroughput, "
                "decreasing WarmThroughput is not supported"
            )
    return None


def _merged(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = {**settings, **given}
    for member in ("OnDemandThroughput", "WarmThroughput"):
        if member in given and member in settings:
            merged[member] = {**settings[member], **given[member]}
    return merged


def _history(table: TableDescriptor, request: UpdateTable, now: Timestamp) -> TableHistory:
    history = replace(table.history, updated=now)
    if "TableClass" in request.settings:
        history = replace(history, class_changed=now)
    if request.billing_mode == "PAY_PER_REQUEST" and table.billing_mode == "PROVISIONED":
        return replace(history, on_demand=now)
    if request.read_units is None or request.write_units is None or table.billing_mode != "PROVISIONED":
        return history
    if request.read_units > table.read_units or request.write_units > table.write_units:
        history = replace(history, increased=now)
    if request.read_units < table.read_units or request.write_units < table.write_units:
        history = replace(history, decreased=now, decreases=1 + decreases_today(table.history, now))
    return history


def decreases_today(history: TableHistory, now: Timestamp) -> int:
    """How often throughput was lowered on the present day (UTC)."""
    return history.decreases if history.decreased // _DAY_NS == now // _DAY_NS else 0


# --- tags and expiry


def _tagged(table: TableDescriptor, request: TagTable) -> TableDescriptor | Refused:
    tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in table.settings.get("Tags", ())}
    tags.update(request.put)
    for key in request.remove:
        tags.pop(key, None)
    if len(tags) > MAX_TAGS:
        return Refused(f"Too many tags: a table can have {MAX_TAGS}")
    stored = [{"Key": key, "Value": value} for key, value in tags.items()]
    return replace(table, version=table.version + 1, settings={**table.settings, "Tags": stored})


def _expiring(table: TableDescriptor, request: SetTimeToLive) -> TableDescriptor | Refused:
    current = table.settings.get("TimeToLive")  # the attribute's name while expiry is on
    if not request.enabled and current is None:
        return Refused("TimeToLive is already disabled")
    if current is not None and request.attribute != current:
        return Refused(f"TimeToLive is active on a different AttributeName: current AttributeName is {current}")
    if request.enabled and current is not None:
        return Refused("TimeToLive is already enabled")
    settings = {member: value for member, value in table.settings.items() if member != "TimeToLive"}
    if request.enabled:
        settings["TimeToLive"] = request.attribute
    version = table.version + 1
    return replace(table, version=version, schema_version=version, settings=settings)
