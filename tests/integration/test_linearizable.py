"""Three processes, concurrent boto3 clients, kills and pauses for a minute: is the history linearizable?

The check that matters most (issue 2, "How it is known to be right"): a strong read never goes back in time, no
acknowledged write is lost, a condition never passes on a state that was not there, a write that an SDK sent again took
effect once. The faults are drawn from a seed that is printed; real processes do not replay exactly.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.integration.recorded import TABLE, Recorder, item_of
from tests.integration.support import create_table, eventually

from gramme.sim.checkers.history import Kind, Outcome
from gramme.sim.checkers.linearizability import check
from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(65)

FAULTS_FOR_S = 60.0
PATIENCE_S = 60.0
OPERATIONS = 1_000
CLIENTS = 8


class Faults:
    """Hurts one node after another, at most one at a time (a quorum lives), and all three at once in between."""

    def __init__(self, three: Cluster, seed: int) -> None:
        self._three = three
        self._rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._next: list[Callable[[], None]] = []

    def run(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Faults until `seconds` are over and every node is back; all three are killed at once halfway. On a slow
        machine for longer: until each fault was met and the clients have had `enough`."""
        end = time.monotonic() + seconds
        all_at = time.monotonic() + seconds / 2
        while time.monotonic() < end or not (self._met() and enough()):
            assert time.monotonic() < end + PATIENCE_S, f"faults: {dict(self.done)}"
            time.sleep(self._rng.uniform(0.2, 1.5))
            if not self.done["all killed"] and time.monotonic() > all_at:
                self._all()
            else:
                self._drawn()()

    def _met(self) -> bool:
        return self.done["killed"] >= 3 and self.done["paused"] >= 1 and self.done["all killed"] == 1

    def _drawn(self) -> Callable[[], None]:
        """Each of four in an order that is drawn, then again: none is left out by chance."""
        if not self._next:
            self._next = self._rng.sample((self._kill, self._kill, self._pause, self._stop), 4)
        return self._next.pop()

    def _victim(self) -> int:
        """A leader of the table more often than not: that is where a fault hurts."""
        leaders = [node for node in self._three.leaders(TABLE) if node is not None]
        return self._rng.choice(leaders) if leaders and self._rng.random() < 0.7 else self._rng.randrange(3)

    def _kill(self) -> None:
        node = self._victim()
        self._three.kill(node)
        time.sleep(self._rng.uniform(0, 2.5))
        self._three.start(node)
        self.done["killed"] += 1

    def _stop(self) -> None:
        node = self._victim()
        self._three.stop(node)
        self._three.start(node)
        self.done["stopped"] += 1

    def _pause(self) -> None:
        """Past the lease: others lead when it wakes up, and it must notice before it answers."""
        node = self._victim()
        self._three.pause(node)
        time.sleep(self._rng.uniform(0.1, 4.0))
        self._three.resume(node)
        self.done["paused"] += 1

    def _all(self) -> None:
        self._three.kill(0, 1, 2)
        self._three.start_all()
        self.done["all killed"] += 1


def test_a_minute_of_kills_and_pauses_is_linearizable(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    with cluster(3) as three:
        create_table(three.client(), TABLE)
        recorder = Recorder(lambda _client: three.client(), CLIENTS, keys=6, key_life_s=4.0, seed=seed)
        faults = Faults(three, seed)
        recorder.start()
        try:
            faults.run(FAULTS_FOR_S, lambda: len(recorder.history) > 2 * OPERATIONS)
        finally:
            recorder.stop()
        outcomes = Counter(operation.outcome for operation in recorder.history)
        print(f"seed {seed}: {dict(outcomes)}; faults: {dict(faults.done)}; errors: {Counter(recorder.errors)}")
        (tmp_path / "history.json").write_bytes(msgspec.json.encode(recorder.history))  # to look into a failure
        violation = check(recorder.history)
        assert violation is None, f"seed {seed}: {violation}"
        # The history says something: most operations were answered, of every kind.
        assert outcomes[Outcome.OK] > OPERATIONS
        assert outcomes[Outcome.UNKNOWN] < outcomes[Outcome.OK] / 20
        assert {operation.kind for operation in recorder.history if operation.outcome is Outcome.OK} > {
            Kind.GET, Kind.PUT, Kind.ADD, Kind.REPLACE, Kind.INSERT,
        }  # fmt: skip
        _replicas_agree(three)


def _replicas_agree(three: Cluster) -> None:
    """Every node alone gives the same items, by eventual reads that it serves itself, once all have applied all."""

    def caught_up() -> bool:
        status = three.status()
        partitions = [partition for table in status.tables for partition in table.partitions]
        return all(p.leader is not None and not any(r.lag_slots for r in p.replicas) for p in partitions)

    def contents(node: int) -> dict[str, object]:
        client = three.client(endpoint_url=three.node_url(node))
        pages = client.get_paginator("scan").paginate(TableName=TABLE)
        return {item["pk"]["S"]: item_of(item) for page in pages for item in page["Items"]}

    eventually("every replica has applied everything", caught_up)
    first = contents(0)
    assert first
    for node in (1, 2):
        assert contents(node) == first, f"node {node} has other items than node 0"
