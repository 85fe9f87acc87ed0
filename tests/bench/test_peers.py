"""Other servers: started, awaited, stopped; and left out by name when they are not there or fail."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from bench.peer_runs import OURS, Endpoint, _Trial
from bench.peers import Peer, started, why_not

from bench import alone, peers
from gramme.bench.errors import CannotMeasure
from gramme.bench.prepared import Prepared, Request
from gramme.bench.wrk import find


def _peer(*command: str, files: tuple[Path, ...] = (), must_be_alone: bool = False) -> Peer:
    def whole(port: int, _data: Path) -> list[str]:
        return [sys.executable, *command, str(port)]

    return Peer("a server", "memory", files, whole, lambda: "1", must_be_alone)


def test_what_is_not_installed_says_how_it_would_be(tmp_path: Path) -> None:
    assert why_not(_peer()) is None
    assert why_not(_peer(files=(tmp_path / "nothing",))) == "not installed (make peers)"


def test_who_listens_everywhere_needs_a_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, reason in ((True, None), (False, "listens on all addresses, and this network has others than loopback")):
        monkeypatch.setattr(peers, "is_alone", lambda there=there: there)
        assert why_not(_peer(must_be_alone=True)) == reason
    monkeypatch.undo()
    assert isinstance(alone.is_alone(), bool)


def test_a_server_is_awaited_and_stopped(tmp_path: Path) -> None:
    with started(_peer("-m", "http.server", "--bind", "127.0.0.1"), tmp_path) as url:
        assert urllib.request.urlopen(url).status == 200
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_a_server_that_ends_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CannotMeasure, match="a server does not answer"), started(_peer("-c", "pass"), tmp_path):
        pass


def test_a_peer_that_fails_is_left_out_from_then_on(tmp_path: Path) -> None:
    try:
        find()
    except CannotMeasure:
        pytest.skip("wrk is not installed")
    load = {"get": Prepared([Request("read", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")], [0])}
    refused = {"get": Prepared([Request("read", b"GET /no HTTP/1.1\r\nHost: h\r\n\r\n")], [0])}
    missing: dict[str, str] = {}
    with started(_peer("-m", "http.server", "--bind", "127.0.0.1"), tmp_path) as url:
        ours, good, bad = (
            Endpoint(name, "", "", {1: url}, requests)
            for name, requests in ((OURS, load), ("good", load), ("bad", refused))
        )
        trial = _Trial(ours, [good, bad], missing, lambda _line: None)
        found = {contest.peer: contest.pairs for contest in trial.column("get", 1, 1)}
    assert missing.keys() == {"bad"}
    assert len(found["good"]) == 1
    assert not found["bad"]
