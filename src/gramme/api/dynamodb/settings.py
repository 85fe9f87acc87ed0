"""What an operator sets about the API, and what it is known by: region, account, ARNs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from gramme.api.dynamodb.errors import access_denied, table_not_found, validation

_ARN: Final = re.compile(r"arn:aws:dynamodb:([a-z0-9-]+):([0-9]+):table/([a-zA-Z0-9_.-]{1,255})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Settings of the tables endpoint. Times in milliseconds.

    `cors_origins` are the origins that browsers may call from; `*` is every one. `control_plane_delay_ms` shows the
    status CREATING on purpose for that long. `unsupported` members of requests are refused by name, or ignored with a
    line in the log.
    """

    region: str = "us-east-1"
    account_id: str = "123456789012"
    cors_origins: tuple[str, ...] = ("*",)
    request_deadline_ms: int = 5_000
    control_plane_delay_ms: int = 0
    unsupported: Literal["refuse", "ignore"] = "refuse"

    def table_arn(self, name: str) -> str:
        """The ARN of a table."""
        return f"arn:aws:dynamodb:{self.region}:{self.account_id}:table/{name}"

    def table_name(self, name_or_arn: str) -> str:
        """The name in a TableName, which may be an ARN.

        Raises ApiError: AccessDeniedException for another account's, ResourceNotFoundException for another region's,
        ValidationException if it is no table's ARN.
        """
        if not name_or_arn.startswith("arn:"):
            return name_or_arn
        match = _ARN.fullmatch(name_or_arn)
        if match is None:
            raise validation(f"Invalid table ARN: {name_or_arn[:1024]}")
        region, account, name = match.groups()
        if account != self.account_id:
            raise access_denied(f"The resource {name_or_arn} belongs to another account")
        if region != self.region:
            raise table_not_found()
        return name
