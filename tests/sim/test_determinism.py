"""A seed fixes everything: the same trace twice, in another process, under another hash seed (REPLICATION.md §10)."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from gramme.sim.configs import config_of
from gramme.sim.main import run
from gramme.sim.run import simulate

pytestmark = pytest.mark.seconds(10)

_CODE = "import sys; from gramme.sim.main import run; sys.exit(run(int(sys.argv[1]), sys.argv[2]))"


def in_another_process(seed: int, config: str, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(seed), config],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_same_seed_gives_the_same_trace_here_elsewhere_and_under_other_hash_seeds() -> None:
    for seed, config in ((4, "default"), (9, "tables")):
        here = simulate(seed, config_of(config, seed))
        assert here.violation == ""
        lines = {in_another_process(seed, config, hash_seed) for hash_seed in ("0", "1234567")}
        assert lines == {f"seed {seed} ok, trace hash {here.trace_hash}\n"}


def test_different_seeds_and_configurations_give_different_traces() -> None:
    results = [simulate(seed, config_of(config, seed)) for seed in (1, 2) for config in ("quiet", "single")]
    assert [result.violation for result in results] == [""] * 4
    assert len({result.trace_hash for result in results}) == 4


def test_several_runs_over_processes_print_one_line_each_in_order() -> None:
    written: list[str] = []
    assert run(20, "quiet", runs=3, jobs=2, write=written.append) == 0
    assert [re.sub("[0-9a-f]{16}", "HASH", line) for line in written[:3]] == [
        f"seed {seed} ok, trace hash HASH\n" for seed in (20, 21, 22)
    ]
    again: list[str] = []
    assert run(20, "quiet", runs=3, write=again.append) == 0
    assert written == again, "the summary depends on how the runs were spread over processes"
    totals = r"3 runs of 1 configurations, 0\.\d\d simulated hours, \d+ distinct coverage marks, 0 failed\n"
    assert re.fullmatch(totals, again[3])
    assert "configuration      3 quiet\n" in again
    assert "mark      3 a follower says that it lacks something\n" in again


def test_an_unknown_configuration_is_refused_with_the_names_that_exist() -> None:
    written: list[str] = []
    assert run(1, "nonsense", write=written.append) == 2
    assert "no simulation configuration 'nonsense'; there are default, quiet" in written[0]


def test_without_a_seed_one_is_drawn() -> None:
    """`gramme sim` alone once failed to add 1 to no seed."""
    command = [sys.executable, "-m", "gramme.runtime.cli", "sim", "--config", "quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert " ok, trace hash " in done.stdout
