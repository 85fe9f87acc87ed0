"""Simulated clients who read ranges: the operations of `workload`, and Query, page by page.

A client takes one page after the other, each from the LastEvaluatedKey of the one before, while others write the same
rows. Each page that was answered must be one by itself, and is written down as the reads that it is
(`checkers.pages`). When nothing is written any more, all ranges are read page by page at every node, strongly and
eventually, and must be what the replicas hold: there an eventual page can be judged by its values, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from gramme.kernel.ids import GroupId, NodeId
from gramme.node.partition import PartitionReplica
from gramme.sim.checkers.history import Item, Operation
from gramme.sim.checkers.pages import PageRead, reads_of, wrong_page, wrong_whole
from gramme.sim.client import Answer, Client
from gramme.sim.configs import SimConfig
from gramme.sim.index_rows import items_of
from gramme.sim.ranges import Range, some_range, whole_range
from gramme.sim.result import NotKept, Violated
from gramme.sim.workload import Recorder, Worker, item_of
from gramme.sim.world import World

_PAGES: Final = 0.5  # share of Query among the operations
_GOES_ON: Final = 0.8  # probability that a client takes the next page
_PROOF_LIMIT: Final = 5

OnRows = Callable[[list[tuple[str, Item]] | None], None]


class RangeReader(Worker):
    """One client's endless loop. `pages` are those that were answered, `marks` what coverage is to know of them."""

    def __init__(
        self, world: World, client: Client, config: SimConfig, recorder: Recorder, table: str, key_prefix: str
    ) -> None:
        super().__init__(world, client, config, recorder, table, key_prefix)
        self.pages: list[PageRead] = []
        self.marks: set[str] = set()

    def reads(self) -> Iterator[Operation]:
        """All reads of single items that the pages are."""
        for page in self.pages:
            yield from reads_of(page)

    def _operate(self) -> None:
        if self._rng.random() < _PAGES:
            wanted = some_range(self._rng, self._some_key().partition("/")[0])
            self._walk(wanted, None, self._goes_on, lambda _rows: self._rest())
        else:
            super()._operate()

    def _goes_on(self) -> bool:
        return self.running and self._rng.random() < _GOES_ON

    def _walk(self, wanted: Range, node: NodeId | None, goes_on: Callable[[], bool], on_end: OnRows) -> None:
        """Read `wanted` page by page, at `node` if one is given, as long as there is more and `goes_on` says so; tells
        all rows that were shown, or None once a page was not answered."""
        rows: list[tuple[str, Item]] = []

        def take(page: PageRead | None) -> None:
            if page is None:
                on_end(None)
                return
            rows.extend(page.rows)
            if page.last is None or not goes_on():
                on_end(rows)
                return
            self._world.after(self._rng.randrange(self._think_ns), partial(go_on, page, self._own(page.last)))

        def go_on(page: PageRead, behind: str) -> None:
            if any(self._recorder.written_ns.get(key, 0) > page.return_ns for key in page.keys):
                self.marks.add("rows of a range are written between two of its pages")
            self._page(wanted, behind, node, take)

        self._page(wanted, None, node, take)

    def _page(
        self, wanted: Range, behind: str | None, node: NodeId | None, on_page: Callable[[PageRead | None], None]
    ) -> None:
        invoke_ns = self._world.now_ns

        def done(answer: Answer) -> None:
            self._check_table(answer)
            page = None if answer.body is None else self._page_of(answer.body, wanted, behind, invoke_ns)
            if page is not None:
                self._take_down(page)
            on_page(page)

        self._client.call("Query", wanted.body(self._table, behind), done, node)

    def _page_of(self, body: dict[str, Any], wanted: Range, behind: str | None, invoke_ns: int) -> PageRead:
        last = body.get("LastEvaluatedKey")
        return PageRead(
            client=self._client.number,
            keys=tuple(self._key_prefix + key for key in wanted.left(behind)),
            limit=wanted.limit,
            consistent=wanted.consistent,
            invoke_ns=invoke_ns,
            return_ns=self._world.now_ns,
            rows=tuple((self._called(item), item_of(item) or Item()) for item in body["Items"]),
            counts=(body["Count"], body["ScannedCount"]),
            last=None if last is None else self._called(last),
        )

    def _take_down(self, page: PageRead) -> None:
        wrong = wrong_page(page)
        if wrong is not None:
            raise Violated(wrong)
        self.pages.append(page)
        for key, seen in page.rows:
            if seen.value is not None:
                self._last_seen[self._own(key)] = seen.value

    def _called(self, item: dict[str, Any]) -> str:
        """What histories call an item."""
        return f"{self._key_prefix}{item['pk']['S']}/{item['sk']['S']}"

    def _own(self, key: str) -> str:
        """What clients call an item that histories call `key`."""
        return key.removeprefix(self._key_prefix)

    def prove(self, node: NodeId, replicas: Mapping[GroupId, PartitionReplica], waiting: list[str]) -> None:
        """Nothing is written: read all ranges by way of `node`, each way, and compare them with what one replica of
        each group holds. In `waiting` until it is done. Raises Violated, NotKept, some time."""
        items = items_of(replicas, self._table)
        stored = {self._called(item): item_of(item) or Item() for item in items}
        for partition_key in dict.fromkeys(key.partition("/")[0] for key in self.keys):
            for backward in (False, True):
                for consistent in (False, True):
                    wanted = whole_range(partition_key, _PROOF_LIMIT, backward, consistent)
                    what = f"pages of {partition_key} at node {node}, {backward=}, {consistent=}"
                    waiting.append(what)
                    self._walk(wanted, node, lambda: True, self._prover(what, wanted, stored, waiting))

    def _prover(self, what: str, wanted: Range, stored: Mapping[str, Item], waiting: list[str]) -> OnRows:
        def ended(rows: list[tuple[str, Item]] | None) -> None:
            if rows is None:
                raise NotKept(f"{what}: no answer although all faults had healed")
            wrong = wrong_whole(rows, tuple(self._key_prefix + key for key in wanted.keys), stored)
            if wrong is not None:
                raise Violated(f"{what}: {wrong}")
            waiting.remove(what)

        return ended
