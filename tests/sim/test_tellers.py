"""The bank's clients and checkers find nothing on a store that is serial by construction, and the fault of broken ones.

The store is the in-memory backend of the unit tests under the real API, behind an endpoint that delays, loses and
doubles what it carries: no cluster, so what is tested is the workload itself.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from tests.api.memory_backend import MemoryBackend

from gramme.api.dynamodb.service import DynamoDbApi
from gramme.api.http import HttpRequest, HttpResponse
from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.sim.bank import Bank
from gramme.sim.client import Client
from gramme.sim.configs import CONFIGS
from gramme.sim.tables import Administrator
from gramme.sim.workload import Recorder
from gramme.sim.world import World
from gramme.tables.requests import Conflict, Found
from gramme.tables.transactions import (
    ItemsRead,
    ReadOutcome,
    ReadTransaction,
    TransactionCanceled,
    WriteOutcome,
    WriteTransaction,
)

pytestmark = pytest.mark.seconds(7)

CONFIG = CONFIGS["bank"]


class OneStore:
    """A store behind an unreliable way: whatever arrives is done at that moment."""

    nodes = (NodeId(0), NodeId(1))

    def __init__(self, world: World, backend: MemoryBackend) -> None:
        self._world = world
        self._rng = world.randomness("way")
        backend.clock = world_clock(world)  # type: ignore[assignment]
        self._api = DynamoDbApi(backend, backend.clock, world.randomness("api"))

    def request(self, node: NodeId, request: HttpRequest, on_response: Callable[[HttpResponse | None], None]) -> None:
        """Only what carries a token may be lost, or done twice: the store knows no other way to tell a repetition."""
        rng, is_safe = self._rng, b"ClientRequestToken" in request.body
        lost_before, lost_after = (is_safe and rng.random() < 0.1 for _ in range(2))
        for copy in range(2 if is_safe and rng.random() < 0.1 else 1):

            def respond(response: HttpResponse, copy: int = copy) -> None:
                if not copy:
                    heard = None if lost_after else response
                    self._world.after(rng.randrange(4 * MILLISECOND), lambda: on_response(heard))

            if lost_before and not copy:
                self._world.after(rng.randrange(4 * MILLISECOND), lambda: on_response(None))
            else:
                delay_ns = rng.randrange(400 * MILLISECOND if copy else 4 * MILLISECOND)
                self._world.after(delay_ns, lambda respond=respond: self._api.handle(request, respond))  # type: ignore[misc]


class world_clock:  # noqa: N801 - a clock made from a world
    def __init__(self, world: World) -> None:
        self._world = world

    def instant(self) -> Instant:
        return Instant(self._world.now_ns)

    def timestamp(self) -> Any:
        return 1_790_000_000 * SECOND + self._world.now_ns


class Torn(MemoryBackend):
    """Of a transaction now and then only one action is done."""

    rng = Random(1)

    def _transact(self, request: WriteTransaction) -> WriteOutcome:
        if len(request.actions) > 2 and self.rng.random() < 0.05:
            super()._transact(request._replace(actions=request.actions[:1], token=None))
            return TransactionCanceled((Conflict(),) * len(request.actions))
        return super()._transact(request)


class Forgetful(MemoryBackend):
    """No token is remembered."""

    def _transact(self, request: WriteTransaction) -> WriteOutcome:
        return super()._transact(request._replace(token=None))


class OneRound(MemoryBackend):
    """What a transaction reads of its first item is what it was some writes ago."""

    def __init__(self) -> None:
        super().__init__()
        self.old: dict[bytes, Found] = {}
        self.count = 0

    def _read(self, request: ReadTransaction) -> ReadOutcome:
        outcome = super()._read(request)
        assert isinstance(outcome, ItemsRead)
        self.count += 1
        first = request.keys[0][1]
        found, *rest = outcome.items
        if self.count % 10 == 0 and first in self.old:
            found = self.old[first]
        self.old[first] = outcome.items[0]
        return ItemsRead((found, *rest))


class Lossy(MemoryBackend):
    """What was acknowledged is gone now and then."""

    rng = Random(1)

    def _transact(self, request: WriteTransaction) -> WriteOutcome:
        before = {table: dict(rows) for table, rows in self.rows.items()}
        outcome = super()._transact(request)
        if self.rng.random() < 0.03:
            self.rows = before
        return outcome


def run(seed: int, backend: MemoryBackend) -> str | None:
    """Six seconds of tellers; what the checkers say."""
    world = World(seed)
    store = OneStore(world, backend)
    bank = Bank(world, CONFIG, [Client(world, store, number) for number in range(4)])
    admin = Administrator(world, Client(world, store, 9), CONFIG, Recorder(world))
    waiting: list[str] = []
    bank.create(admin, waiting)
    world.run(2 * SECOND, lambda: not waiting)
    bank.start()
    world.run(8 * SECOND)
    bank.stop()
    world.run(30 * SECOND, lambda: bank.idle)
    bank.prove(store.nodes, waiting)
    world.run(60 * SECOND, lambda: not waiting)
    assert not waiting
    stats = bank.stats()
    assert stats["transactions_done"] > 300, stats
    return bank.wrong_history()


@pytest.mark.parametrize("seed", range(3))
def test_finds_nothing_where_there_is_nothing(seed: int) -> None:
    assert run(seed, MemoryBackend()) is None


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (Torn, ("G1a", "duplicate")),
        (Forgetful, ("duplicate",)),
        (OneRound, ("G-single", "G2")),
        (Lossy, ("G0", "G-single", "G1c", "G2", "incompatible")),
    ],
)
def test_finds_what_is_broken(backend: type[MemoryBackend], words: tuple[str, ...]) -> None:
    found = [run(seed, backend()) for seed in range(2)]
    assert all(story is not None and story.startswith(words) for story in found), found
