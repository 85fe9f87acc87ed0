"""Ports of tests that run beside each other."""

from __future__ import annotations

import pytest

from gramme.testing import processes


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_workers_draw_ports_from_ranges_apart_with_room_for_a_cluster_s(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(workers))
    last = processes._LOWEST - 1
    for number in range(workers):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        ports = processes._own_ports()
        assert last < ports[0]
        last = ports[-1] + processes._OFFSETS_BELOW
    assert last <= processes._HIGHEST


def test_without_workers_every_port_may_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    assert processes._own_ports()[0] == processes._LOWEST


def test_more_workers_than_there_is_room_for_still_have_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "200")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw199")
    assert len(processes._own_ports()) > 10
