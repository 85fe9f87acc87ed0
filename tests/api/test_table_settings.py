"""UpdateTable, tags and time to live: what is changed, described, refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.api.caller import HASH_TABLE, RANGE_TABLE, Caller

from gramme.api.dynamodb.settings import ApiSettings
from gramme.kernel.time import MILLISECOND, SECOND

_INVALID = "One or more parameter values were invalid: "
_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/users"
_DAY = 86_400 * SECOND


def _units(reads: int, writes: int) -> dict[str, Any]:
    return {"ProvisionedThroughput": {"ReadCapacityUnits": reads, "WriteCapacityUnits": writes}}


def _update(caller: Caller, name: str, **members: Any) -> dict[str, Any]:
    answer = caller.call("UpdateTable", {"TableName": name, **members})["TableDescription"]
    assert answer["TableStatus"] == "UPDATING"
    described: dict[str, Any] = caller.call("DescribeTable", {"TableName": name})["Table"]
    assert described["TableStatus"] == "ACTIVE"
    return described


def _ready() -> Caller:
    caller = Caller()
    caller.create_tables()  # users: on demand, events: provisioned (5, 6)
    return caller


def test_throughput_is_raised_and_lowered() -> None:
    caller = _ready()
    now = caller.backend.clock.timestamp() / 1e9
    raised = _update(caller, "events", **_units(7, 6))["ProvisionedThroughput"]
    assert (raised["ReadCapacityUnits"], raised["WriteCapacityUnits"]) == (7, 6)
    assert raised["LastIncreaseDateTime"] == now
    assert "LastDecreaseDateTime" not in raised
    lowered = _update(caller, "events", **_units(7, 5))["ProvisionedThroughput"]
    assert (lowered["NumberOfDecreasesToday"], lowered["LastDecreaseDateTime"]) == (1, now)
    assert _update(caller, "events", **_units(6, 5))["ProvisionedThroughput"]["NumberOfDecreasesToday"] == 2
    caller.backend.clock.now += _DAY
    described = caller.call("DescribeTable", {"TableName": "events"})["Table"]
    assert described["ProvisionedThroughput"]["NumberOfDecreasesToday"] == 0
    assert _update(caller, "events", **_units(5, 5))["ProvisionedThroughput"]["NumberOfDecreasesToday"] == 1


def test_billing_mode_changes_both_ways() -> None:
    caller = _ready()
    caller.backend.clock.now += 60 * SECOND
    now = caller.backend.clock.timestamp() / 1e9
    on_demand = _update(caller, "events", BillingMode="PAY_PER_REQUEST")
    assert on_demand["BillingModeSummary"] == {
        "BillingMode": "PAY_PER_REQUEST",
        "LastUpdateToPayPerRequestDateTime": now,
    }
    assert on_demand["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
    assert on_demand["WarmThroughput"]["ReadUnitsPerSecond"] == 12_000
    back = _update(caller, "events", BillingMode="PROVISIONED", **_units(3, 4))
    assert back["BillingModeSummary"]["BillingMode"] == "PROVISIONED"
    assert back["ProvisionedThroughput"]["WriteCapacityUnits"] == 4
    assert back["WarmThroughput"] == {"ReadUnitsPerSecond": 3, "WriteUnitsPerSecond": 4, "Status": "ACTIVE"}
    # the mode that the table has already is no error
    assert _update(caller, "events", BillingMode="PROVISIONED")["ProvisionedThroughput"]["ReadCapacityUnits"] == 3
    assert _update(caller, "users", BillingMode="PAY_PER_REQUEST")["TableId"]


def test_settings_are_changed_one_by_one() -> None:
    caller = _ready()
    _update(caller, "users", OnDemandThroughput={"MaxReadRequestUnits": 10, "MaxWriteRequestUnits": 20})
    described = _update(caller, "users", OnDemandThroughput={"MaxReadRequestUnits": -1})
    assert described["OnDemandThroughput"] == {"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": 20}
    described = _update(caller, "users", WarmThroughput={"WriteUnitsPerSecond": 5_000})
    assert described["WarmThroughput"]["WriteUnitsPerSecond"] == 5_000
    described = _update(caller, "users", TableClass="STANDARD_INFREQUENT_ACCESS", DeletionProtectionEnabled=True)
    assert described["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert described["TableClassSummary"]["LastUpdateDateTime"] == caller.backend.clock.timestamp() / 1e9
    assert "protected against deletion" in caller.invalid("DeleteTable", {"TableName": "users"})
    _update(caller, "users", DeletionProtectionEnabled=False)
    caller.call("DeleteTable", {"TableName": "users"})


@pytest.mark.parametrize(
    ("name", "members", "text"),
    [
        ("events", {}, "At least one of ProvisionedThroughput, BillingMode, "),
        (
            "events",
            {"AttributeDefinitions": HASH_TABLE["AttributeDefinitions"]},
            "At least one of ProvisionedThroughput",
        ),
        ("events", _units(5, 6), "The provisioned throughput for the table will not change. "),
        ("events", {**_units(5, 6), "BillingMode": "PROVISIONED"}, "The provisioned throughput for the table will not"),
        (
            "users",
            {"OnDemandThroughput": {"MaxReadRequestUnits": 0}},
            "Given value 0 for MaxReadRequestUnits is out of",
        ),
        ("events", {**_units(9, 9), "BillingMode": "PAY_PER_REQUEST"}, f"{_INVALID}Neither ReadCapacityUnits nor"),
        ("users", _units(9, 9), f"{_INVALID}Neither ReadCapacityUnits nor"),
        ("users", {"BillingMode": "PROVISIONED"}, f"{_INVALID}ReadCapacityUnits and WriteCapacityUnits must both"),
        ("events", _units(0, 1), "1 validation error detected: Value '0' at 'provisionedThroughput.readCapacityUnits'"),
        ("events", _units(10**12 + 1, 1), "Given value 1000000000001 for ReadCapacityUnits is out of bounds"),
        ("events", {"OnDemandThroughput": {"MaxReadRequestUnits": 1}}, f"{_INVALID}OnDemandThroughput cannot be"),
        ("users", {"WarmThroughput": {"ReadUnitsPerSecond": 11_999}}, f"{_INVALID}Requested ReadUnitsPerSecond for"),
        (
            "events",
            {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "N"}], **_units(9, 9)},
            f"{_INVALID}Attribute pk is of type S and cannot become N",
        ),
        ("users", {"SSESpecification": {"Enabled": True}}, f"{_INVALID}SSESpecification is not supported yet"),
        ("users", {"ReplicaUpdates": []}, f"{_INVALID}ReplicaUpdates is not supported yet"),
        ("users", {"MultiRegionConsistency": "STRONG"}, f"{_INVALID}MultiRegionConsistency is not supported yet"),
    ],
)
def test_refused_changes_leave_the_table_alone(name: str, members: dict[str, Any], text: str) -> None:
    caller = _ready()
    before = caller.backend.tables[name]
    assert caller.invalid("UpdateTable", {"TableName": name, **members}).startswith(text)
    assert caller.backend.tables[name] is before


def test_changes_of_missing_or_busy_tables() -> None:
    caller = _ready()
    for operation, body in (
        ("UpdateTable", {"BillingMode": "PAY_PER_REQUEST"}),
        ("UpdateTimeToLive", {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": "a"}}),
        ("DescribeTimeToLive", {}),
    ):
        assert caller.refuse(operation, {"TableName": "missing", **body}) == (
            "ResourceNotFoundException",
            "Requested resource not found: Table: missing not found",
        )
    import msgspec

    caller.backend.tables["users"] = msgspec.structs.replace(caller.backend.tables["users"], status="CREATING")
    assert caller.refuse("UpdateTable", {"TableName": "users", "BillingMode": "PAY_PER_REQUEST"}) == (
        "ResourceInUseException",
        "Attempt to change a resource which is still in use: Table is being created: users",
    )


def test_control_plane_delay_shows_updating() -> None:
    caller = Caller(ApiSettings(control_plane_delay_ms=500))
    caller.create_tables()
    caller.backend.clock.now += 600 * MILLISECOND
    caller.call("UpdateTable", {"TableName": "events", **_units(9, 9)})
    assert caller.call("DescribeTable", {"TableName": "events"})["Table"]["TableStatus"] == "UPDATING"
    caller.backend.clock.now += 500 * MILLISECOND
    assert caller.call("DescribeTable", {"TableName": "events"})["Table"]["TableStatus"] == "ACTIVE"


# --- tags


def _tags(caller: Caller) -> dict[str, str]:
    listed = caller.call("ListTagsOfResource", {"ResourceArn": _ARN})["Tags"]
    return {tag["Key"]: tag["Value"] for tag in listed}


def _tag(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"ResourceArn": _ARN, "Tags": [{"Key": key, "Value": value} for key, value in pairs]}


def test_tags_are_set_replaced_and_removed() -> None:
    caller = Caller()
    caller.call("CreateTable", {**HASH_TABLE, "Tags": [{"Key": "team", "Value": "a"}]})
    assert caller.raw("TagResource", json.dumps(_tag(("team", "b"), ("env", ""))).encode()).whole_body() == b""
    assert _tags(caller) == {"team": "b", "env": ""}
    body = json.dumps({"ResourceArn": _ARN, "TagKeys": ["team", "unknown"]}).encode()
    assert caller.raw("UntagResource", body).status == 200
    assert _tags(caller) == {"env": ""}


def test_refused_tags() -> None:
    caller = _ready()
    assert caller.invalid("TagResource", {**_tag(("k", "v")), "ResourceArn": "nonsense"}) == (
        "Invalid TableArn: Invalid ResourceArn provided as input nonsense"
    )
    assert caller.refuse("ListTagsOfResource", {"ResourceArn": _ARN.replace("123456789012", "0" * 12)})[0] == (
        "AccessDeniedException"
    )
    missing = _ARN.replace("users", "missing")
    assert caller.refuse("ListTagsOfResource", {"ResourceArn": missing}) == (
        "ResourceNotFoundException",
        f"Requested resource not found: ResourcArn: {missing} not found",
    )
    assert caller.invalid("TagResource", _tag()) == "Atleast one Tag needs to be provided as Input."
    assert caller.invalid("UntagResource", {"ResourceArn": _ARN, "TagKeys": []}) == (
        "Atleast one Tag Key needs to be provided as Input."
    )
    assert "Duplicate tag key: k" in caller.invalid("TagResource", _tag(("k", "v"), ("k", "w")))
    assert "50" in caller.invalid("TagResource", _tag(*((str(index), "") for index in range(51))))
    assert "NextToken" in caller.invalid("ListTagsOfResource", {"ResourceArn": _ARN, "NextToken": "x"})
    assert _tags(caller) == {}


# --- time to live


def _expiry(enabled: bool, attribute: str = "ttl") -> dict[str, Any]:
    return {"TableName": "users", "TimeToLiveSpecification": {"Enabled": enabled, "AttributeName": attribute}}


def test_time_to_live_is_set_described_and_cleared() -> None:
    caller = _ready()
    whole = {"TableName": "users"}
    assert caller.call("DescribeTimeToLive", whole) == {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    assert caller.invalid("UpdateTimeToLive", _expiry(False)) == "TimeToLive is already disabled"
    assert caller.call("UpdateTimeToLive", _expiry(True)) == {
        "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "ttl"}
    }
    assert caller.call("DescribeTimeToLive", whole) == {
        "TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    }
    assert caller.invalid("UpdateTimeToLive", _expiry(True)) == "TimeToLive is already enabled"
    assert caller.invalid("UpdateTimeToLive", _expiry(True, "other")) == (
        "TimeToLive is active on a different AttributeName: current AttributeName is ttl"
    )
    caller.call("UpdateTimeToLive", _expiry(False))
    assert caller.call("DescribeTimeToLive", whole) == {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    assert "timeToLiveSpecification.attributeName" in caller.invalid("UpdateTimeToLive", _expiry(True, ""))


# --- unsupported = "ignore"


def test_unsupported_members_are_ignored_with_a_line_in_the_log_where_the_operator_wants_that() -> None:
    caller = Caller(ApiSettings(unsupported="ignore"))
    caller.call("CreateTable", {**RANGE_TABLE, "SSESpecification": {"Enabled": True}, "ResourcePolicy": "{}"})
    assert "SSEDescription" not in caller.call("DescribeTable", {"TableName": "events"})["Table"]
    assert [line for line, _ in caller.log] == [
        "CreateTable: ResourcePolicy is not supported yet and is ignored",
        "CreateTable: SSESpecification is not supported yet and is ignored",
    ]
