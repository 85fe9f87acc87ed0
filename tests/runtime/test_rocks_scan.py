"""Scans of RocksDB keep their upper bound for as long as they last."""

from __future__ import annotations

from pathlib import Path

import pytest

from gramme.runtime.rocks import RocksEngine
from gramme.storage.engine.contract import Batch


@pytest.mark.parametrize("reverse", [False, True])
def test_the_upper_bound_outlives_the_call_that_set_it(tmp_path: Path, reverse: bool) -> None:
    """rocksdict's iterator points into the options object; once that was collected, a scan of groups found tables."""
    engine = RocksEngine(tmp_path / "engine", lambda callback: callback(), lambda error: None)
    batch = Batch()
    for key in (b"catalog:g/1", b"catalog:n", b"catalog:t/Music"):
        batch.put(key, b"")
    engine.write(batch)
    for _ in range(200):
        rows = engine.scan(b"catalog:g/", b"catalog:g0", reverse=reverse)
        overwritten = [bytes((255,)) * size for size in range(8, 64)]  # takes the freed memory, were it freed
        assert list(rows) == [(b"catalog:g/1", b"")]
        assert overwritten
    engine.close()
