"""DescribeLimits and DescribeEndpoints: constants of the account and the endpoint, no I/O."""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.api.dynamodb.call import Call

MAX_ACCOUNT_UNITS: Final = 80_000
MAX_TABLE_UNITS: Final = 40_000
_CACHE_MINUTES: Final = 1440

_encode: Final = msgspec.json.Encoder().encode


def describe_limits(call: Call) -> None:
    """The service's default quotas; nothing here enforces them."""
    call.answer(
        _encode(
            {
                "AccountMaxReadCapacityUnits": MAX_ACCOUNT_UNITS,
                "AccountMaxWriteCapacityUnits": MAX_ACCOUNT_UNITS,
                "TableMaxReadCapacityUnits": MAX_TABLE_UNITS,
                "TableMaxWriteCapacityUnits": MAX_TABLE_UNITS,
            }
        )
    )


def describe_endpoints(call: Call) -> None:
    """The endpoint that the client used already: its own Host."""
    host = call.request.headers.get(b"host", b"localhost").decode("latin-1")
    call.answer(_encode({"Endpoints": [{"Address": host, "CachePeriodInMinutes": _CACHE_MINUTES}]}))
