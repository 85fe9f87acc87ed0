"""Operations on what does not exist here: backups, exports, imports, global tables, insights, policies.

Rule: answer what is true of a database without them: lists are empty, descriptions say that nothing is enabled, and a
thing that is asked for by name is not found, with the error of its own operation. What would change something is
refused by name. Source: issue 3, "The rest of the API answers truthfully until its own issue"; API reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.control import described
from gramme.api.dynamodb.errors import ApiError, table_not_found, validation
from gramme.tables.catalog import TableReply

_encode: Final = msgspec.json.Encoder().encode

Start = Callable[[Call], None]


def empty(member: str, page_token: str | None = None) -> Start:
    """A list with nothing in it. No page token was ever given out, so one that is sent is refused."""
    answer = _encode({member: []})

    def start(call: Call) -> None:
        if page_token is not None and call.body.get(page_token) is not None:
            raise validation(f"Invalid {page_token}: there is nothing to go on from")
        call.answer(answer)

    return start


def list_of_table(member: str, page_token: str) -> Start:
    """As `empty`, but a table that is named must exist."""
    whole = empty(member, page_token)

    def start(call: Call) -> None:
        if call.body.get("TableName") is None:
            whole(call)
        else:
            described(call, call.body["TableName"], lambda call, reply: whole(call))

    return start


def not_found(member: str, error: str, text: str) -> Start:
    """A thing asked for by the name or ARN in `member` (which `text` shows) does not exist."""

    def start(call: Call) -> None:
        raise ApiError(error, text.format(call.body[member]))

    return start


def of_table(answer: Callable[[Call, TableReply], Any], missing: Callable[[str], ApiError] = table_not_found) -> Start:
    """A description of something of a table that exists."""

    def start(call: Call) -> None:
        def answered(call: Call, reply: TableReply) -> None:
            call.answer(_encode(answer(call, reply)))

        described(call, call.body["TableName"], answered, missing)

    return start


def _backups(call: Call, reply: TableReply) -> Any:
    recovery = {"PointInTimeRecoveryStatus": "DISABLED"}
    status = {"ContinuousBackupsStatus": "DISABLED", "PointInTimeRecoveryDescription": recovery}
    return {"ContinuousBackupsDescription": status}


def _insights(call: Call, reply: TableReply) -> Any:
    answer = {"TableName": reply.table.name, "ContributorInsightsStatus": "DISABLED"}
    if call.body.get("IndexName") is not None:
        answer["IndexName"] = call.body["IndexName"]
    return answer


def _streaming(call: Call, reply: TableReply) -> Any:
    return {"TableName": reply.table.name, "KinesisDataStreamDestinations": []}


def _auto_scaling(call: Call, reply: TableReply) -> Any:
    description = {"TableName": reply.table.name, "TableStatus": reply.table.status, "Replicas": []}
    return {"TableAutoScalingDescription": description}


def _no_such_table(name: str) -> ApiError:
    return ApiError("TableNotFoundException", f"Table not found: {name}")


describe_continuous_backups: Final = of_table(_backups, _no_such_table)
describe_contributor_insights: Final = of_table(_insights)
describe_kinesis_streaming: Final = of_table(_streaming)
describe_replica_auto_scaling: Final = of_table(_auto_scaling)


def update_continuous_backups(call: Call) -> None:
    """Begin UpdateContinuousBackups: switching off what is off succeeds, switching it on is refused."""
    call.refuse_enabled("PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled")
    describe_continuous_backups(call)


def get_resource_policy(call: Call) -> None:
    """Begin GetResourcePolicy: the table exists, its policy does not."""
    arn = call.body["ResourceArn"]
    if not arn.startswith("arn:"):
        raise validation(f"Invalid ResourceArn provided as input {arn}")

    def answered(call: Call, reply: TableReply) -> None:
        raise ApiError(
            "PolicyNotFoundException", f"Resource-based policy not found for the provided ResourceArn: {arn}"
        )

    text = f"Requested resource not found: ResourcArn: {arn} not found"
    described(call, arn, answered, lambda name: ApiError("ResourceNotFoundException", text))
