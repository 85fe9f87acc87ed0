"""Signatures are those that botocore makes."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from gramme.client.signing import Credentials, sign


@pytest.mark.parametrize("token", [None, "session/token=="])
def test_signatures_are_botocores(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"TableName":"t"}'
    headers = {
        "Host": "dynamodb.eu-west-1.amazonaws.com",
        "X-Amz-Target": "DynamoDB_20120810.DescribeTable",
        "Content-Type": "application/x-amz-json-1.0",
    }
    now = datetime.datetime(2026, 11, 21, 1, 2, 3, tzinfo=datetime.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: now, raising=False)
    request: Any = AWSRequest("POST", "https://dynamodb.eu-west-1.amazonaws.com/", headers=dict(headers), data=body)
    SigV4Auth(BotoCredentials("KEY", "SECRET", token), "dynamodb", "eu-west-1").add_auth(request)
    at = datetime.datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    signed = sign(headers, body, Credentials("KEY", "SECRET", token), "eu-west-1", at)
    assert signed["authorization"] == request.headers["Authorization"]
    assert signed.get("x-amz-security-token") == token


def test_credentials_of_the_environment() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert Credentials.of_environment(environment) == ("a", "b", "c")
    assert Credentials.of_environment({}).key
