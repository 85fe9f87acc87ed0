"""Load from wrk (Debian package), with a Lua script that has every request ready before the clock starts.

Owns the script and the reading of its answer. The generator must cost little beside the server: the script only picks
the next of its prepared requests. Latencies are as wrk measures them, at full load over keep-alive connections.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

ITEMS: Final = 10_000
ITEM_BYTES: Final = 900
CONNECTIONS: Final = 16
_MARK: Final = "BENCH "
_VARIANTS: Final = 2  # of each item, so that no put stores what is stored already
_KEY: Final = "key-%06d"
_DATA_BYTES: Final = ITEM_BYTES - len("pk") - len(_KEY % 0) - len("data")

_SCRIPT: Final = """\
local requests, count, at = {}, 0, 0

function init(args)
  local headers = {
    ["Content-Type"] = "application/x-amz-json-1.0",
    ["X-Amz-Target"] = "DynamoDB_20120810.%(operation)s",
    ["Authorization"] = "AWS4-HMAC-SHA256 Credential=bench/20261120/us-east-1/dynamodb/aws4_request",
  }
  for variant = 0, %(variants)d - 1 do
    for i = 0, %(items)d - 1 do
      local key = string.format("%(key)s", i)
      local data = string.rep(string.char(97 + (i + variant) %% 26), %(data_bytes)d)
      requests[count] = wrk.format("POST", "/", headers, %(body)s)
      count = count + 1
    end
  end
end

function request()
  at = (at + 7919) %% count
  return requests[at]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '%(mark)s{"requests":%%d,"micros":%%d,"failed":%%d,"p50":%%d,"p99":%%d,"p999":%%d,"max":%%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
"""

_GET: Final = """'{"TableName":"%s","Key":{"pk":{"S":"' .. key .. '"}},"ConsistentRead":%s}'"""
_PUT: Final = """'{"TableName":"%s","Item":{"pk":{"S":"' .. key .. '"},"data":{"S":"' .. data .. '"}}}'"""


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk found. Latencies are in microseconds."""

    per_s: float
    p50_us: int
    p99_us: int
    p999_us: int
    max_us: int
    failed: int


def key(number: int) -> str:
    """Partition key of item `number`."""
    return _KEY % number


def item(number: int) -> dict[str, dict[str, str]]:
    """Item `number` of `ITEM_BYTES` bytes, as DynamoDB counts them."""
    return {"pk": {"S": key(number)}, "data": {"S": chr(97 + number % 26) * _DATA_BYTES}}


def script(operation: str, table: str, *, consistent: bool = True) -> str:
    """The Lua script for `operation`, GetItem or PutItem."""
    if operation == "GetItem":
        body, variants = _GET % (table, "true" if consistent else "false"), 1
    elif operation == "PutItem":
        body, variants = _PUT % table, _VARIANTS
    else:
        raise ValueError(f"no script for {operation}")
    return _SCRIPT % {
        "operation": operation, "variants": variants, "items": ITEMS, "key": _KEY, "data_bytes": _DATA_BYTES,
        "body": body, "mark": _MARK,
    }  # fmt: skip


def run(url: str, lua: str, seconds: float, connections: int = CONNECTIONS) -> Load:
    """One thread of wrk on `connections` connections. Raises `RuntimeError` if wrk is missing or fails."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "load.lua"
        file.write_text(lua, encoding="utf-8")
        command = [find(), "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(file), url]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in finished.stdout.splitlines():
        if line.startswith(_MARK):
            found = json.loads(line.removeprefix(_MARK))
            return Load(
                per_s=found["requests"] / (found["micros"] / 1e6),
                p50_us=found["p50"],
                p99_us=found["p99"],
                p999_us=found["p999"],
                max_us=found["max"],
                failed=found["failed"],
            )
    raise RuntimeError(f"wrk ended with {finished.returncode}:\n{finished.stdout}{finished.stderr}")


def find() -> str:
    """The path of wrk; installs the Debian package where that can be done. Raises `RuntimeError`."""
    if not shutil.which("wrk") and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "-q", "wrk"], check=False, capture_output=True)
    found = shutil.which("wrk")
    if found is None:
        raise RuntimeError("wrk is needed to make load; on Debian and Ubuntu: apt-get install wrk")
    return found
