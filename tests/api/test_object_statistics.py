"""What `/stats` says of the last minute, and whose load is out of balance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gramme.api.objects.statistics import Recent, _distribution
from gramme.kernel.ids import NodeId
from gramme.placement.zones import NodePlace
from gramme.runtime.object_metrics import load_shares, out_of_balance


@given(st.lists(st.integers(0, 63), min_size=1, max_size=200))
def test_small_numbers_are_counted_exactly(values: list[int]) -> None:
    recent = Recent()
    for value in values:
        recent.observe(value, 0)
    said = _distribution("x", recent.counts(0))
    assert said["x_mean"] == sum(values) // len(values)
    ordered = sorted(values)
    for shown, share in (("median", 50), ("95", 95), ("99", 99), ("100", 100)):
        assert said[f"x_{shown}"] == ordered[-(-len(values) * share // 100) - 1]


@given(st.integers(0, 1 << 50))
def test_large_numbers_keep_their_first_bits(value: int) -> None:
    recent = Recent()
    recent.observe(value, 0)
    ((counted, often),) = recent.counts(0)
    assert often == 1
    assert value * 31 // 32 <= counted <= value


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    recent = Recent()
    recent.observe(1, 10)
    recent.observe(1, 11)
    recent.observe(2, 11)
    assert recent.counts(11) == [(1, 2), (2, 1)]
    assert recent.counts(12) == [(1, 1), (2, 1)]
    assert recent.counts(13) == []
    recent.observe(3, 20)
    assert recent.counts(20) == [(3, 1)]
    assert recent.counts(99) == []
    assert _distribution("x", [])["x_99"] == 0


def test_a_node_is_out_of_balance_beyond_fifteen_per_cent_of_its_due() -> None:
    def place(node: int, weight: int) -> NodePlace:
        return NodePlace(NodeId(node), f"host{node}", "z", weight)

    even = [place(node, 1) for node in range(4)]
    assert load_shares(even, {}) == {}
    loads = {NodeId(0): 114, NodeId(1): 100, NodeId(2): 86, NodeId(3): 100}
    assert out_of_balance(load_shares(even, loads)) == 0
    assert out_of_balance(load_shares(even, {**loads, NodeId(0): 160})) == 2  # 160 and 86 of a mean of 111.5
    heavy = [place(0, 2), place(1, 1)]
    assert load_shares(heavy, {NodeId(0): 200, NodeId(1): 100}) == {NodeId(0): 1.0, NodeId(1): 1.0}
    assert load_shares(heavy, {NodeId(1): 50, NodeId(9): 1_000}) == {NodeId(0): 0.0, NodeId(1): 3.0}
