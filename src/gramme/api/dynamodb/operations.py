"""The operations that this release serves, by the name in `X-Amz-Target`, and those of the service that it does not.

Source: the DynamoDB and DynamoDB Streams service models (botocore 1.44.5).
"""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb import (
    account,
    batch_execute_statement,
    batch_get_item,
    batch_write_item,
    create_table,
    delete_item,
    delete_table,
    describe_table,
    execute_statement,
    execute_transaction,
    get_item,
    list_tables,
    models,
    partiql_models,
    put_item,
    query,
    scan,
    tags,
    time_to_live,
    transact_get_items,
    transact_write_items,
    transaction_models,
    unbuilt,
    update_item,
    update_table,
)
from gramme.api.dynamodb.dispatch import Operation
from gramme.api.dynamodb.streams import describe_stream, get_records, get_shard_iterator, list_streams
from gramme.api.dynamodb.streams import models as stream_models
from gramme.api.dynamodb.unbuilt import not_found

_NO_GLOBAL_TABLE: Final = not_found(
    "GlobalTableName",
    "GlobalTableNotFoundException",
    "Global table not found: Global table with name: '{}' does not exist.",
)

OPERATIONS: Final[dict[str, Operation]] = {
    "BatchExecuteStatement": Operation(partiql_models.BATCH_EXECUTE_STATEMENT, batch_execute_statement.start),
    "BatchGetItem": Operation(models.BATCH_GET_ITEM, batch_get_item.start),
    "BatchWriteItem": Operation(models.BATCH_WRITE_ITEM, batch_write_item.start),
    "CreateTable": Operation(models.CREATE_TABLE, create_table.start),
    "DeleteItem": Operation(models.DELETE_ITEM, delete_item.start),
    "DeleteTable": Operation(models.DELETE_TABLE, delete_table.start),
    "DescribeEndpoints": Operation(models.NO_INPUT_ENDPOINTS, account.describe_endpoints),
    "DescribeLimits": Operation(models.NO_INPUT_LIMITS, account.describe_limits),
    "DescribeTable": Operation(models.DESCRIBE_TABLE, describe_table.start),
    "ExecuteStatement": Operation(partiql_models.EXECUTE_STATEMENT, execute_statement.start),
    "ExecuteTransaction": Operation(partiql_models.EXECUTE_TRANSACTION, execute_transaction.start),
    "GetItem": Operation(models.GET_ITEM, get_item.start),
    "ListTables": Operation(models.LIST_TABLES, list_tables.start),
    "PutItem": Operation(models.PUT_ITEM, put_item.start),
    "Query": Operation(models.QUERY, query.start),
    "Scan": Operation(models.SCAN, scan.start),
    "TagResource": Operation(models.TAG_RESOURCE, tags.tag),
    "UntagResource": Operation(models.UNTAG_RESOURCE, tags.untag),
    "ListTagsOfResource": Operation(models.LIST_TAGS, tags.list_tags),
    "TransactGetItems": Operation(transaction_models.TRANSACT_GET_ITEMS, transact_get_items.start),
    "TransactWriteItems": Operation(transaction_models.TRANSACT_WRITE_ITEMS, transact_write_items.start),
    "UpdateItem": Operation(models.UPDATE_ITEM, update_item.start),
    "UpdateTable": Operation(models.UPDATE_TABLE, update_table.start),
    "UpdateTimeToLive": Operation(models.UPDATE_TIME_TO_LIVE, time_to_live.update),
    "DescribeTimeToLive": Operation(models.DESCRIBE_TIME_TO_LIVE, time_to_live.describe),
    # What does not exist here, answered truthfully.
    "DescribeBackup": Operation(
        models.DESCRIBE_BACKUP, not_found("BackupArn", "BackupNotFoundException", "Backup not found: {}")
    ),
    "DescribeBulkOperation": Operation(
        models.DESCRIBE_BULK_OPERATION,
        not_found("BulkOperationArn", "ResourceNotFoundException", "Requested resource not found: {}"),
    ),
    "DescribeContinuousBackups": Operation(models.DESCRIBE_CONTINUOUS_BACKUPS, unbuilt.describe_continuous_backups),
    "DescribeContributorInsights": Operation(
        models.DESCRIBE_CONTRIBUTOR_INSIGHTS, unbuilt.describe_contributor_insights
    ),
    "DescribeExport": Operation(
        models.DESCRIBE_EXPORT, not_found("ExportArn", "ExportNotFoundException", "Export not found: {}")
    ),
    "DescribeGlobalTable": Operation(models.DESCRIBE_GLOBAL_TABLE, _NO_GLOBAL_TABLE),
    "DescribeGlobalTableSettings": Operation(models.DESCRIBE_GLOBAL_TABLE_SETTINGS, _NO_GLOBAL_TABLE),
    "DescribeImport": Operation(
        models.DESCRIBE_IMPORT, not_found("ImportArn", "ImportNotFoundException", "Import not found: {}")
    ),
    "DescribeKinesisStreamingDestination": Operation(models.DESCRIBE_KINESIS, unbuilt.describe_kinesis_streaming),
    "DescribeTableReplicaAutoScaling": Operation(models.DESCRIBE_AUTO_SCALING, unbuilt.describe_replica_auto_scaling),
    "GetResourcePolicy": Operation(models.GET_RESOURCE_POLICY, unbuilt.get_resource_policy),
    "ListBackups": Operation(models.LIST_BACKUPS, unbuilt.list_of_table("BackupSummaries", "ExclusiveStartBackupArn")),
    "ListBulkOperations": Operation(
        models.LIST_BULK_OPERATIONS, unbuilt.empty("BulkOperationsSummaryList", "NextToken")
    ),
    "ListContributorInsights": Operation(
        models.LIST_CONTRIBUTOR_INSIGHTS, unbuilt.list_of_table("ContributorInsightsSummaries", "NextToken")
    ),
    "ListExports": Operation(models.LIST_EXPORTS, unbuilt.empty("ExportSummaries", "NextToken")),
    "ListGlobalTables": Operation(models.LIST_GLOBAL_TABLES, unbuilt.empty("GlobalTables")),
    "ListImports": Operation(models.LIST_IMPORTS, unbuilt.empty("ImportSummaryList", "NextToken")),
    "UpdateContinuousBackups": Operation(models.UPDATE_CONTINUOUS_BACKUPS, unbuilt.update_continuous_backups),
}

STREAM_OPERATIONS: Final[dict[str, Operation]] = {
    "DescribeStream": Operation(stream_models.DESCRIBE_STREAM, describe_stream.start),
    "GetRecords": Operation(stream_models.GET_RECORDS, get_records.start),
    "GetShardIterator": Operation(stream_models.GET_SHARD_ITERATOR, get_shard_iterator.start),
    "ListStreams": Operation(stream_models.LIST_STREAMS, list_streams.start),
}
"""Under the target prefix of DynamoDB Streams."""

UNSERVED: Final = frozenset(
    {
        "CancelBulkOperation",
        "CreateBackup",
        "CreateGlobalTable",
        "DeleteBackup",
        "DeleteResourcePolicy",
        "DisableKinesisStreamingDestination",
        "EnableKinesisStreamingDestination",
        "ExportTableToPointInTime",
        "ImportTable",
        "PutResourcePolicy",
        "RestoreTableFromBackup",
        "RestoreTableToPointInTime",
        "SearchVectors",
        "StartBulkPutItems",
        "UpdateContributorInsights",
        "UpdateGlobalTable",
        "UpdateGlobalTableSettings",
        "UpdateKinesisStreamingDestination",
        "UpdateTableReplicaAutoScaling",
    }
)
