"""AWS Signature Version 4 for requests with a body and no query: what DynamoDB endpoints check.

Source: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

_SERVICE = "dynamodb"


class Credentials(NamedTuple):
    """Whose name a request is made in. `token` only for temporary credentials."""

    key: str
    secret: str
    token: str | None = None

    @staticmethod
    def of_environment(environment: Mapping[str, str] | None = None) -> Credentials:
        """As AWS_ACCESS_KEY_ID and its companions say; without them, names that local endpoints accept."""
        values = os.environ if environment is None else environment
        return Credentials(
            values.get("AWS_ACCESS_KEY_ID", "local"),
            values.get("AWS_SECRET_ACCESS_KEY", "local"),
            values.get("AWS_SESSION_TOKEN"),
        )


def sign(
    headers: Mapping[str, str], body: bytes, credentials: Credentials, region: str, now: datetime
) -> dict[str, str]:
    """`headers` (with Host) of a `POST /`, and those that sign it at the time `now` (UTC)."""
    signed = {name.lower(): value.strip() for name, value in headers.items()}
    signed["x-amz-date"] = now.strftime("%Y%m%dT%H%M%SZ")
    if credentials.token is not None:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    day = now.strftime("%Y%m%d")
    scope = f"{day}/{region}/{_SERVICE}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{signed['x-amz-date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret}".encode()
    for part in (day, region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed
