"""The inputs of the operations that this release serves, as data for `shapes`.

Rule: every member of the service's model is either listed (and used, or stored), or named in `refused`. The order of
members is the order in which the service reports several violations; enum sets print in the order given here.
Source: the DynamoDB service model 2012-08-10 (botocore), and the service's recorded messages.
"""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.index_definitions import (
    GLOBAL_INDEXES,
    INDEX_UPDATES,
    LOCAL_INDEXES,
    STORED_THROUGHPUT,
    THROUGHPUT,
)
from gramme.api.dynamodb.legacy_shapes import (
    ATTRIBUTE_UPDATES,
    EXPECTED,
    KEY_CONDITIONS,
    QUERY_FILTER,
    SCAN_FILTER,
)
from gramme.api.dynamodb.shapes import (
    ITEM_TABLE_NAME,
    TABLE_NAME,
    TABLE_TABLE_NAME,
    AttributeMapShape,
    BooleanShape,
    InputShape,
    IntegerShape,
    ListShape,
    MapShape,
    Member,
    StringShape,
    StructureShape,
)

_STRING: Final = StringShape()
_BOOLEAN: Final = BooleanShape()
_INTEGER: Final = IntegerShape()
_LONG: Final = IntegerShape("Long", 64)
_ATTRIBUTES: Final = AttributeMapShape()
_NAMES: Final = MapShape(_STRING, "java.lang.String")
_STRINGS: Final = ListShape(_STRING)

_NUMBER: Final = IntegerShape("Double", 64)  # a time in seconds

_TABLE: Final = Member("TableName", _STRING)
_CAPACITY: Final = Member("ReturnConsumedCapacity", _STRING, enum=("INDEXES", "TOTAL", "NONE"))
_METRICS: Final = Member("ReturnItemCollectionMetrics", _STRING, enum=("SIZE", "NONE"))
_RETURN: Final = Member("ReturnValues", _STRING, enum=("ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"))
_RETURN_ON_FAILURE: Final = Member("ReturnValuesOnConditionCheckFailure", _STRING, enum=("ALL_OLD", "NONE"))
_EXPRESSION_NAMES: Final = Member("ExpressionAttributeNames", _NAMES)
_EXPRESSION_VALUES: Final = Member("ExpressionAttributeValues", _ATTRIBUTES)
_CONDITION: Final = Member("ConditionExpression", _STRING)
_PROJECTION: Final = Member("ProjectionExpression", _STRING)
_FILTER: Final = Member("FilterExpression", _STRING)
_CONSISTENT: Final = Member("ConsistentRead", _BOOLEAN)
_ATTRIBUTES_TO_GET: Final = Member("AttributesToGet", _STRINGS, minimum=1, maximum=255)
_INDEX: Final = Member("IndexName", _STRING, minimum=3, maximum=255, pattern=TABLE_NAME)
_SELECT: Final = Member(
    "Select", _STRING, enum=("SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES")
)
_START_KEY: Final = Member("ExclusiveStartKey", _ATTRIBUTES)
_OPERATOR: Final = Member("ConditionalOperator", _STRING, enum=("OR", "AND"))


def _arn(member: str) -> Member:
    return Member(member, _STRING, required=True, minimum=37, maximum=1024)


GET_ITEM: Final = InputShape(
    "GetItem",
    (
        _CAPACITY,
        _ATTRIBUTES_TO_GET,
        _TABLE,
        Member("Key", _ATTRIBUTES, required=True),
        _CONSISTENT,
        _PROJECTION,
        _EXPRESSION_NAMES,
    ),
    ITEM_TABLE_NAME,
)

PUT_ITEM: Final = InputShape(
    "PutItem",
    (
        _CAPACITY,
        _TABLE,
        Member("Item", _ATTRIBUTES, required=True),
        _OPERATOR,
        EXPECTED,
        _RETURN,
        _METRICS,
        _RETURN_ON_FAILURE,
        _CONDITION,
        _EXPRESSION_VALUES,
        _EXPRESSION_NAMES,
    ),
    ITEM_TABLE_NAME,
)

DELETE_ITEM: Final = InputShape(
    "DeleteItem",
    (
        _CAPACITY,
        _TABLE,
        Member("Key", _ATTRIBUTES, required=True),
        _OPERATOR,
        EXPECTED,
        _RETURN,
        _METRICS,
        _RETURN_ON_FAILURE,
        _CONDITION,
        _EXPRESSION_VALUES,
        _EXPRESSION_NAMES,
    ),
    ITEM_TABLE_NAME,
)

UPDATE_ITEM: Final = InputShape(
    "UpdateItem",
    (
        _CAPACITY,
        _TABLE,
        Member("Key", _ATTRIBUTES, required=True),
        _OPERATOR,
        EXPECTED,
        ATTRIBUTE_UPDATES,
        _RETURN,
        _METRICS,
        _RETURN_ON_FAILURE,
        Member("UpdateExpression", _STRING),
        _CONDITION,
        _EXPRESSION_VALUES,
        _EXPRESSION_NAMES,
    ),
    ITEM_TABLE_NAME,
)

QUERY: Final = InputShape(
    "Query",
    (
        _SELECT,
        _INDEX,
        _CAPACITY,
        QUERY_FILTER,
        _TABLE,
        _OPERATOR,
        _ATTRIBUTES_TO_GET,
        Member("Limit", _INTEGER, minimum=1, label="Limit", shows_value=False),
        _START_KEY,
        _CONSISTENT,
        Member("ScanIndexForward", _BOOLEAN),
        KEY_CONDITIONS,
        Member("KeyConditionExpression", _STRING),
        _FILTER,
        _PROJECTION,
        _EXPRESSION_VALUES,
        _EXPRESSION_NAMES,
    ),
    ITEM_TABLE_NAME,
)

SCAN: Final = InputShape(
    "Scan",
    (
        _SELECT,
        _INDEX,
        Member("TotalSegments", _INTEGER, minimum=1, maximum=1_000_000),
        _CAPACITY,
        _TABLE,
        _OPERATOR,
        SCAN_FILTER,
        Member("Segment", _INTEGER, minimum=0, maximum=999_999),
        Member("Limit", _INTEGER, minimum=1),
        _ATTRIBUTES_TO_GET,
        _START_KEY,
        _CONSISTENT,
        _FILTER,
        _PROJECTION,
        _EXPRESSION_VALUES,
        _EXPRESSION_NAMES,
    ),
    ITEM_TABLE_NAME,
)

_KEYS_AND_ATTRIBUTES: Final = StructureShape(
    "KeysAndAttributes",
    (
        Member("Keys", ListShape(_ATTRIBUTES), required=True, minimum=1),
        _ATTRIBUTES_TO_GET,
        _CONSISTENT,
        _PROJECTION,
        _EXPRESSION_NAMES,
    ),
    in_list=True,
)

BATCH_GET_ITEM: Final = InputShape(
    "BatchGetItem",
    (
        _CAPACITY,
        Member(
            "RequestItems",
            MapShape(_KEYS_AND_ATTRIBUTES, "com.amazonaws.dynamodb.v20120810.KeysAndAttributes"),
            required=True,
        ),
    ),
)

WRITE_REQUEST: Final = StructureShape(
    "WriteRequest",
    (
        Member("PutRequest", StructureShape("PutRequest", (Member("Item", _ATTRIBUTES, required=True),))),
        Member("DeleteRequest", StructureShape("DeleteRequest", (Member("Key", _ATTRIBUTES, required=True),))),
    ),
    in_list=True,
)

BATCH_WRITE_ITEM: Final = InputShape(
    "BatchWriteItem",
    (
        _CAPACITY,
        _METRICS,
        Member(
            "RequestItems",
            MapShape(ListShape(WRITE_REQUEST), "java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>"),
            required=True,
        ),
    ),
)

_KEY_SCHEMA: Final = ListShape(
    StructureShape(
        "KeySchemaElement",
        (
            Member("AttributeName", _STRING, required=True, minimum=1, maximum=255),
            Member("KeyType", _STRING, required=True, enum=("HASH", "RANGE")),
        ),
        in_list=True,
    )
)

_ATTRIBUTE_DEFINITIONS: Final = ListShape(
    StructureShape(
        "AttributeDefinition",
        (
            Member("AttributeName", _STRING, required=True, minimum=1, maximum=255),
            Member("AttributeType", _STRING, required=True, enum=("B", "N", "S")),
        ),
        in_list=True,
    )
)
_BILLING_MODE: Final = Member("BillingMode", _STRING, enum=("PROVISIONED", "PAY_PER_REQUEST"))
_TAGS: Final = ListShape(
    StructureShape(
        "Tag",
        (
            Member("Key", _STRING, required=True, minimum=1, maximum=128),
            Member("Value", _STRING, required=True, minimum=0, maximum=256),
        ),
        in_list=True,
    )
)
_SETTINGS: Final = (
    Member("TableClass", _STRING, enum=("STANDARD", "STANDARD_INFREQUENT_ACCESS")),
    Member("DeletionProtectionEnabled", _BOOLEAN),
    *STORED_THROUGHPUT,
    Member(
        "StreamSpecification",
        StructureShape(
            "StreamSpecification",
            (
                Member("StreamEnabled", _BOOLEAN, required=True),
                Member("StreamViewType", _STRING, enum=("NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY")),
            ),
        ),
    ),
    Member("SSESpecification", StructureShape("SSESpecification", (Member("Enabled", _BOOLEAN),))),
)

CREATE_TABLE: Final = InputShape(
    "CreateTable",
    (
        Member("AttributeDefinitions", _ATTRIBUTE_DEFINITIONS, required=True),
        _TABLE,
        _BILLING_MODE,
        THROUGHPUT,
        Member("KeySchema", _KEY_SCHEMA, required=True, minimum=1, maximum=2),
        LOCAL_INDEXES,
        GLOBAL_INDEXES,
        Member("Tags", _TAGS),
        *_SETTINGS,
    ),
    TABLE_TABLE_NAME,
    refused=(
        "ResourcePolicy",
        "GlobalTableSourceArn",
        "GlobalTableSettingsReplicationMode",
        "VectorIndexes",
    ),
)

UPDATE_TABLE: Final = InputShape(
    "UpdateTable",
    (
        Member("AttributeDefinitions", _ATTRIBUTE_DEFINITIONS),
        _TABLE,
        _BILLING_MODE,
        THROUGHPUT,
        INDEX_UPDATES,
        *_SETTINGS,
    ),
    TABLE_TABLE_NAME,
    refused=(
        "ReplicaUpdates",
        "MultiRegionConsistency",
        "GlobalTableWitnessUpdates",
        "GlobalTableSettingsReplicationMode",
        "DisassociationProtectionEnabled",
        "VectorIndexUpdates",
    ),
)

DESCRIBE_TABLE: Final = InputShape("DescribeTable", (_TABLE,), TABLE_TABLE_NAME)
DELETE_TABLE: Final = InputShape("DeleteTable", (_TABLE,), TABLE_TABLE_NAME)

LIST_TABLES: Final = InputShape(
    "ListTables",
    (
        Member("Limit", _INTEGER, minimum=1, maximum=100),
        Member("ExclusiveStartTableName", _STRING, minimum=3, maximum=255, pattern=TABLE_NAME),
    ),
)

_RESOURCE_ARN: Final = Member("ResourceArn", _STRING, required=True, minimum=1, maximum=1283)

TAG_RESOURCE: Final = InputShape("TagResource", (_RESOURCE_ARN, Member("Tags", _TAGS, required=True)))
UNTAG_RESOURCE: Final = InputShape("UntagResource", (_RESOURCE_ARN, Member("TagKeys", _STRINGS, required=True)))
LIST_TAGS: Final = InputShape("ListTagsOfResource", (_RESOURCE_ARN, Member("NextToken", _STRING)))

UPDATE_TIME_TO_LIVE: Final = InputShape(
    "UpdateTimeToLive",
    (
        _TABLE,
        Member(
            "TimeToLiveSpecification",
            StructureShape(
                "TimeToLiveSpecification",
                (
                    Member("Enabled", _BOOLEAN, required=True),
                    Member("AttributeName", _STRING, required=True, minimum=1, maximum=255),
                ),
            ),
            required=True,
        ),
    ),
    TABLE_TABLE_NAME,
)
DESCRIBE_TIME_TO_LIVE: Final = InputShape("DescribeTimeToLive", (_TABLE,), TABLE_TABLE_NAME)

# --- operations on what does not exist here (`unbuilt`)

DESCRIBE_CONTINUOUS_BACKUPS: Final = InputShape("DescribeContinuousBackups", (_TABLE,), TABLE_TABLE_NAME)
UPDATE_CONTINUOUS_BACKUPS: Final = InputShape(
    "UpdateContinuousBackups",
    (
        _TABLE,
        Member(
            "PointInTimeRecoverySpecification",
            StructureShape(
                "PointInTimeRecoverySpecification",
                (
                    Member("PointInTimeRecoveryEnabled", _BOOLEAN, required=True),
                    Member("RecoveryPeriodInDays", _INTEGER, minimum=1, maximum=35),
                ),
            ),
            required=True,
        ),
    ),
    TABLE_TABLE_NAME,
)
DESCRIBE_CONTRIBUTOR_INSIGHTS: Final = InputShape("DescribeContributorInsights", (_TABLE, _INDEX), TABLE_TABLE_NAME)
DESCRIBE_KINESIS: Final = InputShape("DescribeKinesisStreamingDestination", (_TABLE,), TABLE_TABLE_NAME)
DESCRIBE_AUTO_SCALING: Final = InputShape("DescribeTableReplicaAutoScaling", (_TABLE,), TABLE_TABLE_NAME)
GET_RESOURCE_POLICY: Final = InputShape("GetResourcePolicy", (_RESOURCE_ARN,))

_GLOBAL_NAME: Final = Member("GlobalTableName", _STRING, required=True, minimum=3, maximum=255, pattern=TABLE_NAME)

DESCRIBE_BACKUP: Final = InputShape("DescribeBackup", (_arn("BackupArn"),))
DESCRIBE_EXPORT: Final = InputShape("DescribeExport", (_arn("ExportArn"),))
DESCRIBE_IMPORT: Final = InputShape("DescribeImport", (_arn("ImportArn"),))
DESCRIBE_BULK_OPERATION: Final = InputShape("DescribeBulkOperation", (_arn("BulkOperationArn"),))
DESCRIBE_GLOBAL_TABLE: Final = InputShape("DescribeGlobalTable", (_GLOBAL_NAME,))
DESCRIBE_GLOBAL_TABLE_SETTINGS: Final = InputShape("DescribeGlobalTableSettings", (_GLOBAL_NAME,))

_TABLE_ARN: Final = Member("TableArn", _STRING, minimum=1, maximum=1024)
_TOKEN: Final = Member("NextToken", _STRING)
_MAX_25: Final = Member("MaxResults", _INTEGER, minimum=1, maximum=25)

LIST_BACKUPS: Final = InputShape(
    "ListBackups",
    (
        Member("TableName", _STRING, minimum=1, maximum=1024),
        Member("Limit", _INTEGER, minimum=1, maximum=100),
        Member("TimeRangeLowerBound", _NUMBER),
        Member("TimeRangeUpperBound", _NUMBER),
        Member("ExclusiveStartBackupArn", _STRING, minimum=37, maximum=1024),
        Member("BackupType", _STRING, enum=("USER", "SYSTEM", "AWS_BACKUP", "ALL")),
    ),
)
LIST_EXPORTS: Final = InputShape("ListExports", (_TABLE_ARN, _MAX_25, _TOKEN))
LIST_IMPORTS: Final = InputShape(
    "ListImports", (_TABLE_ARN, Member("PageSize", _INTEGER, minimum=1, maximum=25), _TOKEN)
)
LIST_GLOBAL_TABLES: Final = InputShape(
    "ListGlobalTables",
    (
        Member("ExclusiveStartGlobalTableName", _STRING, minimum=3, maximum=255, pattern=TABLE_NAME),
        Member("Limit", _INTEGER, minimum=1),
        Member("RegionName", _STRING),
    ),
)
LIST_CONTRIBUTOR_INSIGHTS: Final = InputShape(
    "ListContributorInsights",
    (Member("TableName", _STRING, minimum=1, maximum=1024), _TOKEN, Member("MaxResults", _INTEGER, maximum=100)),
)
LIST_BULK_OPERATIONS: Final = InputShape("ListBulkOperations", (_MAX_25, _TOKEN))

NO_INPUT_LIMITS: Final = InputShape("DescribeLimits", ())
NO_INPUT_ENDPOINTS: Final = InputShape("DescribeEndpoints", ())
