"""What a flush of the engine lets go of in memory goes in small steps, with time for requests between them."""

from __future__ import annotations

import itertools

from tests.node.three import N0, PUT, Three

from gramme.kernel.time import MILLISECOND, SECOND

_WRITES = 1_800
_FEW = 1_024
_STEP = 64
_PAUSE_MS = 4


def test_many_entries_are_freed_a_few_at_a_time_with_pauses() -> None:
    """All at once, or one step in each turn of the loop, held a nearly busy node up for half a second."""
    three = Three(flush_interval_ns=3_600 * SECOND, flush_bytes=1 << 40)
    table = three.create()
    replies = [three.begin(N0, table, PUT) for _ in range(_WRITES)]
    three.until(lambda: all(replies), "every write is answered")
    three.run(SECOND)  # the followers have said that they have everything
    replica = three.replica(N0, table.partitions[0].group).replica
    kept = [len(replica.retained)]
    assert kept[0] >= _WRITES
    three.node(N0).flusher.flush()
    while kept[-1]:
        three.run(MILLISECOND)
        kept.append(len(replica.retained))
    freed = [before - after for before, after in itertools.pairwise(kept) if before > _FEW + _STEP]
    when = [millisecond for millisecond, some in enumerate(freed) if some]
    assert max(freed) <= _STEP
    assert all(later - earlier >= _PAUSE_MS for earlier, later in itertools.pairwise(when))
    assert len(kept) <= (_WRITES - _FEW) / _STEP * (_PAUSE_MS + 1) + when[0] + 100  # and no slower than that
