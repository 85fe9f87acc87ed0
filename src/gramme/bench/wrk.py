"""Load from wrk (Debian package): a closed loop that costs little beside the server.

Owns the script and the reading of its answer. The script only picks the next of the requests that were prepared for it
(a file); latencies are as wrk measures them, at full load over keep-alive connections.
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

from gramme.bench.errors import CannotMeasure
from gramme.bench.prepared import Prepared

CONNECTIONS: Final = 16
_MEMORY: Final = Path("/dev/shm")  # the disk is under test
_MARK: Final = "BENCH "

SCRIPT: Final = """\
local requests, order, count, at = {}, {}, 0, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for i = 0, file:read("*n") - 1 do
    local length = file:read("*n")
    file:read(1)
    requests[i] = file:read(length)
  end
  count = file:read("*n")
  for i = 0, count - 1 do
    order[i] = file:read("*n")
  end
  file:close()
end

function request()
  local now = order[at]
  at = at + 1
  if at == count then at = 0 end
  return requests[now]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    'BENCH {"requests":%d,"micros":%d,"failed":%d,"mean":%.1f,"p50":%d,"p99":%d,"p999":%d,"max":%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout, latency.mean,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
"""


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk found: `requests` that were answered. Latencies are in microseconds."""

    per_s: float
    p50_us: int
    p99_us: int
    p999_us: int
    max_us: int
    failed: int
    requests: int = 0  # this and the mean are not in older records
    mean_us: float = 0.0


def run(url: str, prepared: Prepared, seconds: float, connections: int = CONNECTIONS) -> Load:
    """One thread of wrk on `connections` connections. Raises CannotMeasure if wrk is missing or fails, ValueError for
    requests that wait for one another: wrk does not say which connection a request is for."""
    if any(request.then >= 0 for request in prepared.requests):
        raise ValueError("wrk cannot send a request once another one is answered")
    with tempfile.TemporaryDirectory(prefix="gramme-wrk-", dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        script, file = Path(directory) / "load.lua", Path(directory) / "requests"
        script.write_text(SCRIPT, encoding="utf-8")
        _write(prepared, file)
        command = [find(), "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(script), url]
        finished = subprocess.run([*command, "--", str(file)], capture_output=True, text=True, check=False)
    for line in finished.stdout.splitlines():
        if line.startswith(_MARK):
            found = json.loads(line.removeprefix(_MARK))
            return Load(
                per_s=found["requests"] / (found["micros"] / 1e6),
                requests=found["requests"],
                mean_us=found["mean"],
                p50_us=found["p50"],
                p99_us=found["p99"],
                p999_us=found["p999"],
                max_us=found["max"],
                failed=found["failed"],
            )
    raise CannotMeasure(f"wrk ended with {finished.returncode}:\n{finished.stdout}{finished.stderr}")


def _write(prepared: Prepared, file: Path) -> None:
    with file.open("wb") as out:
        out.write(b"%d\n" % len(prepared.requests))
        for request in prepared.requests:
            out.write(b"%d\n%s\n" % (len(request.data), request.data))
        out.write(b"%d\n%s\n" % (len(prepared.order), b"\n".join(b"%d" % index for index in prepared.order)))


def find() -> str:
    """The path of wrk; installs the Debian package where that can be done. Raises CannotMeasure."""
    if not shutil.which("wrk") and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "-q", "wrk"], check=False, capture_output=True)
    found = shutil.which("wrk")
    if found is None:
        raise CannotMeasure("wrk is needed to make load; on Debian and Ubuntu: apt-get install wrk")
    return found
