"""The memory engine's map against a plain dict, with chunks so small that they split and vanish."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.storage.engine import sorted_map
from gramme.storage.engine.sorted_map import Snapshot, SortedMap

keys = st.binary(max_size=2) | st.sampled_from([b"k%d" % number for number in range(30)])
steps = st.one_of(
    st.tuples(st.just("put"), keys, st.binary(max_size=3)),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("delete_range"), keys, keys),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("thaw"), st.integers(0, 20)),
)


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_map, "CHUNK", 4)
        yield


def rows_of(snapshot: Snapshot, reverse: bool = False) -> list[tuple[bytes, bytes]]:
    return list(snapshot.scan(b"", b"\xff" * 3, reverse=reverse))


def size_of(model: dict[bytes, bytes]) -> int:
    return sum(len(key) + len(value) for key, value in model.items())


@settings(max_examples=300)
@given(st.lists(steps, max_size=80), keys, keys)
def test_the_map_agrees_with_a_dict_and_snapshots_never_change(
    script: list[tuple[Any, ...]], start: bytes, end: bytes
) -> None:
    rows, model = SortedMap(), dict[bytes, bytes]()
    kept: list[tuple[Snapshot, dict[bytes, bytes]]] = []
    for word, *operands in script:
        if word == "snapshot":
            kept.append((rows.snapshot(), dict(model)))
        elif word == "thaw":
            if kept:
                snapshot, was = kept[operands[0] % len(kept)]
                rows, model = snapshot.thaw(), dict(was)
        elif word == "put":
            rows.put(*operands)
            model[operands[0]] = operands[1]
        elif word == "delete":
            rows.delete(*operands)
            model.pop(operands[0], None)
        else:
            rows.delete_range(*operands)
            model = {key: value for key, value in model.items() if not operands[0] <= key < operands[1]}
    assert all(rows.get(key) == model.get(key) for key in [*model, start, end])
    assert rows.size_bytes == size_of(model)
    kept.append((rows.snapshot(), model))
    for snapshot, was in kept:
        assert rows_of(snapshot) == sorted(was.items())
        assert rows_of(snapshot, reverse=True) == sorted(was.items(), reverse=True)
        inside = sorted((key, value) for key, value in was.items() if start <= key < end)
        assert list(snapshot.scan(start, end)) == inside
        assert list(snapshot.scan(start, end, reverse=True)) == inside[::-1]
        assert snapshot.size_bytes == size_of(was)


def test_two_maps_thawed_from_one_snapshot_do_not_see_each_other() -> None:
    origin = SortedMap()
    for number in range(50):
        origin.put(b"k%02d" % number, b"0")
    snapshot = origin.snapshot()
    left, right = snapshot.thaw(), snapshot.thaw()
    left.put(b"k10", b"left")
    right.delete_range(b"k05", b"k45")
    origin.put(b"k10", b"origin")
    assert (left.get(b"k10"), right.get(b"k10"), origin.get(b"k10")) == (b"left", None, b"origin")
    assert rows_of(snapshot) == [(b"k%02d" % number, b"0") for number in range(50)]
