"""The operations that this release serves, by the name in `X-Amz-Target`, and those of the service that it does not.

Source: the DynamoDB and DynamoDB Streams service models (botocore 1.44.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from gramme.api.dynamodb import (
    account,
    batch_get_item,
    batch_write_item,
    create_table,
    delete_item,
    delete_table,
    describe_table,
    get_item,
    list_tables,
    models,
    put_item,
    query,
    scan,
    update_item,
)
from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.shapes import InputShape


class Operation(NamedTuple):
    """The input of an operation and the function that begins it, with an input that has been checked."""

    shape: InputShape
    start: Callable[[Call], None]


OPERATIONS: Final[dict[str, Operation]] = {
    "BatchGetItem": Operation(models.BATCH_GET_ITEM, batch_get_item.start),
    "BatchWriteItem": Operation(models.BATCH_WRITE_ITEM, batch_write_item.start),
    "CreateTable": Operation(models.CREATE_TABLE, create_table.start),
    "DeleteItem": Operation(models.DELETE_ITEM, delete_item.start),
    "DeleteTable": Operation(models.DELETE_TABLE, delete_table.start),
    "DescribeEndpoints": Operation(models.NO_INPUT_ENDPOINTS, account.describe_endpoints),
    "DescribeLimits": Operation(models.NO_INPUT_LIMITS, account.describe_limits),
    "DescribeTable": Operation(models.DESCRIBE_TABLE, describe_table.start),
    "GetItem": Operation(models.GET_ITEM, get_item.start),
    "ListTables": Operation(models.LIST_TABLES, list_tables.start),
    "PutItem": Operation(models.PUT_ITEM, put_item.start),
    "Query": Operation(models.QUERY, query.start),
    "Scan": Operation(models.SCAN, scan.start),
    "UpdateItem": Operation(models.UPDATE_ITEM, update_item.start),
}

UNSERVED: Final = frozenset(
    {
        "BatchExecuteStatement",
        "CancelBulkOperation",
        "CreateBackup",
        "CreateGlobalTable",
        "DeleteBackup",
        "DeleteResourcePolicy",
        "DescribeBackup",
        "DescribeBulkOperation",
        "DescribeContinuousBackups",
        "DescribeContributorInsights",
        "DescribeExport",
        "DescribeGlobalTable",
        "DescribeGlobalTableSettings",
        "DescribeImport",
        "DescribeKinesisStreamingDestination",
        "DescribeStream",
        "DescribeTableReplicaAutoScaling",
        "DescribeTimeToLive",
        "DisableKinesisStreamingDestination",
        "EnableKinesisStreamingDestination",
        "ExecuteStatement",
        "ExecuteTransaction",
        "ExportTableToPointInTime",
        "GetRecords",
        "GetResourcePolicy",
        "GetShardIterator",
        "ImportTable",
        "ListBackups",
        "ListBulkOperations",
        "ListContributorInsights",
        "ListExports",
        "ListGlobalTables",
        "ListImports",
        "ListStreams",
        "ListTagsOfResource",
        "PutResourcePolicy",
        "RestoreTableFromBackup",
        "RestoreTableToPointInTime",
        "SearchVectors",
        "StartBulkPutItems",
        "TagResource",
        "TransactGetItems",
        "TransactWriteItems",
        "UntagResource",
        "UpdateContinuousBackups",
        "UpdateContributorInsights",
        "UpdateGlobalTable",
        "UpdateGlobalTableSettings",
        "UpdateKinesisStreamingDestination",
        "UpdateTable",
        "UpdateTableReplicaAutoScaling",
        "UpdateTimeToLive",
    }
)
