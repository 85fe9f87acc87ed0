"""`make fuzz`: millions of requests; prints what came of them, fails on the first bad answer.

    python -m tests.fuzz.main [--count 2000000] [--seed N] [--jobs J]

A request that does not come back within a minute ends the process with the stack that hangs. Memory is watched: after
the first tenth of the requests the process may grow by no more than `_MAY_GROW_BYTES`.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import random
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.target import fuzz

_CHUNK = 10_000
_HANG_S = 60 * 5  # for a chunk, which takes seconds
_MAY_GROW_BYTES = 200 << 20


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _work(seed: int, count: int) -> Counter[int]:
    statuses: Counter[int] = Counter()
    settled = 0
    for chunk, start in enumerate(range(0, count, _CHUNK)):
        faulthandler.dump_traceback_later(_HANG_S, exit=True)
        statuses += fuzz(seed + chunk, min(_CHUNK, count - start))
        if start <= count // 10:
            settled = _resident_bytes()
        elif _resident_bytes() > settled + _MAY_GROW_BYTES:
            raise SystemExit(f"memory grew from {settled >> 20} MB to {_resident_bytes() >> 20} MB")
    faulthandler.cancel_dump_traceback_later()
    return statuses


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.count} requests, {arguments.jobs} processes", flush=True)
    started = time.monotonic()
    share = -(-arguments.count // arguments.jobs)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        seeds = [(arguments.seed + (job << 20), share) for job in range(arguments.jobs)]
        total: Counter[int] = sum(pool.starmap(_work, seeds, chunksize=1), Counter())
    seconds = time.monotonic() - started
    print(f"{sum(total.values())} requests in {seconds:.0f} s: {dict(sorted(total.items()))}; none of them a 500")


if __name__ == "__main__":
    main()
