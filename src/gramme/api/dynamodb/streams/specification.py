"""StreamSpecification of CreateTable and UpdateTable, and what descriptions say of a table's stream.

Whether a stream can be turned on or off is judged by the catalog, against the table as it is then. Source: API
reference, StreamSpecification; texts of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.dynamodb.streams.names import stream_arn
from gramme.tables.catalog import StreamChange
from gramme.tables.descriptor import TableDescriptor


def stream_change(body: Mapping[str, Any]) -> StreamChange | None:
    """What the request asks for; None if it says nothing about streams. Raises ApiError."""
    wanted = body.get("StreamSpecification")
    if wanted is None:
        return None
    view = wanted.get("StreamViewType")
    if wanted["StreamEnabled"] and view is None:
        raise validation("Invalid StreamViewType: Stream ViewType must not be null or empty when enabling streams.")
    if not wanted["StreamEnabled"] and view is not None:
        raise validation("Invalid StreamViewType: Stream StreamEnabled was false but a StreamViewType was present.")
    return StreamChange(view)


def describe_stream_of(table: TableDescriptor, settings: ApiSettings) -> dict[str, Any]:
    """Members of a TableDescription: the stream that is on, and the latest one, which may be off by now."""
    described: dict[str, Any] = {}
    if table.stream is not None:
        described["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": table.stream.view}
    if table.latest_stream:
        described["LatestStreamLabel"] = table.latest_stream
        described["LatestStreamArn"] = stream_arn(settings, table.name, table.latest_stream)
    return described
