"""A build does what its sources do: the same answers to strange requests, the same traces of simulated clusters; and
real nodes run it.

All other tests run the sources, whether or not there is a build. Skipped where nothing is compiled (`make compile`), or
not from these sources. Each side runs in a process of its own.
By hand, with more of both: `python -m tests.runtime.test_compiled_like_plain --runs 200 --requests 500000`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.integration.support import create_table

from gramme.runtime.compiled import DIRECTORY, MANIFEST, VARIABLE, Build, refusal_of
from gramme.testing import cluster

_ROOT = Path(__file__).parents[2]
_ANSWERS = """
import hashlib, re, sys
from gramme.runtime import compiled
compiled.use_if_demanded()
from tests.fuzz.target import fuzz
digest = hashlib.sha256()
uuid = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # tables of the target get random ones
shown = lambda a: uuid.sub(b"", b"%d %b %b" % (a.status, a.lines, a.whole_body()))
seed, count = map(int, sys.argv[1:])
statuses = fuzz(seed, count, lambda a: digest.update(shown(a)))
print(digest.hexdigest(), sorted(statuses.items()))
"""


def _is_built() -> bool:
    try:
        build = msgspec.json.decode((DIRECTORY / MANIFEST).read_bytes(), type=Build)
    except (OSError, msgspec.MsgspecError):
        return False
    return not refusal_of(build, DIRECTORY, {})


def _both(*command: str) -> list[str]:
    """What `python command` prints, plain and compiled."""
    printed: list[str] = []
    for wish in ("0", "1"):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{_ROOT / 'src'}{os.pathsep}{_ROOT}",
            VARIABLE: wish,
            "PYTHONHASHSEED": "0",
        }
        done = subprocess.run(
            [sys.executable, *command], env=environment, cwd=_ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{VARIABLE}={wish}: {done.stdout}{done.stderr}"
        printed.append(done.stdout)
    return printed


def _same_answers(seed: int, count: int) -> bool:
    plain, compiled = _both("-c", _ANSWERS, str(seed), str(count))
    return plain == compiled


def _same_traces(seed: int, runs: int) -> bool:
    plain, compiled = _both("-m", "gramme.runtime.cli", "sim", "--seed", str(seed), "--runs", str(runs))
    assert plain.count(" ok, trace hash ") == runs
    return plain == compiled


pytestmark = pytest.mark.skipif(not _is_built(), reason="there is no build of these sources (make compile)")


def test_strange_requests_get_the_same_answers() -> None:
    assert _same_answers(1, 10_000)


def test_simulated_clusters_leave_the_same_traces() -> None:
    assert _same_traces(1, 3)


def test_a_cluster_of_it_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    with cluster(3) as three:
        assert all(node.compiled for node in three.status().nodes)
        client = three.client()
        create_table(client, "table")
        for number in range(60):
            if number in (20, 40):
                three.kill(number // 20)
            elif number in (30, 50):
                three.start(number // 20)
            client.put_item(TableName="table", Item={"pk": {"S": str(number)}})
        three.kill(0, 1, 2)
        three.start_all()
        found = client.scan(TableName="table", ConsistentRead=True)["Items"]
        assert sorted(int(item["pk"]["S"]) for item in found) == list(range(60))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--requests", type=int, default=500_000)
    arguments = parser.parse_args()
    same = _same_answers(arguments.seed, arguments.requests)
    print(f"{arguments.requests} requests: {'the same' if same else 'OTHER'} answers", flush=True)
    alike = _same_traces(arguments.seed, arguments.runs)
    print(f"{arguments.runs} runs: {'the same' if alike else 'OTHER'} traces")
    sys.exit(not (same and alike))


if __name__ == "__main__":
    main()
