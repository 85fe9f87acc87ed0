"""A simulated reader of a table's streams, and somebody who turns them off and on.

The reader follows every shard from its beginning, asking any node that runs, through all faults: at each time it may be
answered by another replica, which is behind or ahead of the one before. What it got is what the checker judges
(`gramme.sim.checkers.streams`), together with what the replicas hold in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from gramme.kernel.ids import CATALOG_GROUP, GroupId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.catalog.model import all_tables, table_row
from gramme.node.catalog.streams import all_streams
from gramme.node.changes.change_log import read_changes, read_log
from gramme.node.changes.item_changes import ITEMS, ITEMS_END
from gramme.node.mutation import CHANGES, CHANGES_END
from gramme.node.node import Node
from gramme.node.partition import PartitionReplica
from gramme.node.table_evaluator import TableEvaluator
from gramme.sim.checkers.streams import Record, ShardStory, broken_story, wrong_replay
from gramme.sim.cluster import SimCluster
from gramme.sim.world import World
from gramme.tables.catalog import DescribeTable, StreamChange, TableReply, UpdateTable
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.item import decode_item, item_json
from gramme.tables.keys import key_of
from gramme.tables.streams import Change, Changes, ListStreams, Position, ReadChanges, StreamDescriptor, StreamList

_PATIENCE_NS: Final = SECOND
_POLL_NS: Final = 40 * MILLISECOND

Replicas = Mapping[GroupId, PartitionReplica]


class _Shard:
    """Where the reader is in one shard."""

    def __init__(self, stream: StreamDescriptor, place: Partition) -> None:
        self.stream = stream
        self.place = place
        self.at = Position(0, 0)
        self.story = ShardStory(f"{stream.label} of group {place.group}")
        self.asked = 0  # numbers the questions: an answer to any but the last is late
        self.waiting = False


class StreamReader:
    """See the module. `wrong` says what was wrong with an answer, once one was."""

    def __init__(self, world: World, cluster: SimCluster, table: str) -> None:
        self._world = world
        self._cluster = cluster
        self._table = table
        self._rng = world.randomness("streams")
        self._shards: dict[tuple[str, GroupId], _Shard] = {}
        self._switching = False
        self.idle = True
        self.wrong = ""
        self.incarnations = 0

    # --- turning it on and off ----------------------------------------------------------------------------------------

    def turn(self, on: bool, done: Callable[[], None]) -> None:
        """Turn the stream on or off, persistently, and wait until the table is ACTIVE."""
        change = StreamChange("NEW_AND_OLD_IMAGES" if on else None)
        look = partial(self._look, on, done)
        self._catalog(UpdateTable(self._table, stream=change), self._once(lambda _reply: look(), look))

    def _look(self, on: bool, done: Callable[[], None]) -> None:
        """Whatever was said of the change, if anything: the table tells."""

        def described(reply: Any) -> None:
            if not isinstance(reply, TableReply) or reply.table.status != "ACTIVE":
                self._later(partial(self._look, on, done))
            elif (reply.table.stream is not None) is on:
                self.incarnations += 1
                done()
            else:
                self._later(partial(self.turn, on, done))

        self._catalog(DescribeTable(self._table), self._once(described, lambda: described(None)))

    def churn(self) -> None:
        """Turn the stream off and on again, until `stop`; in the end it is on."""
        self._switching = True

        def off() -> None:
            if self._switching:
                self.idle = False
                self.turn(False, lambda: self._later(on))

        def on() -> None:
            self.turn(True, rest)

        def rest() -> None:
            self.idle = True
            self._world.after(self._rng.randrange(2 * SECOND), off)

        self._world.after(self._rng.randrange(2 * SECOND), off)

    def stop(self) -> None:
        """Turn nothing off any more; reading goes on. `idle` tells when the last change is done."""
        self._switching = False

    # --- reading ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read."""
        self._find()
        self._poll()

    def _find(self) -> None:
        """Look for new streams, again and again."""

        def found(reply: Any) -> None:
            if isinstance(reply, StreamList):
                self._follow(reply.streams)
            self._world.after(200 * MILLISECOND, self._find)

        self._catalog(ListStreams(self._table, None, 1_000), self._once(found, lambda: found(None)))

    def _follow(self, streams: Iterable[StreamDescriptor]) -> None:
        for stream in streams:
            for place in stream.partitions:
                if (stream.label, place.group) not in self._shards:
                    self._shards[stream.label, place.group] = _Shard(stream, place)

    def _poll(self) -> None:
        waiting = [shard for shard in self._shards.values() if not shard.waiting]
        if waiting:
            self._ask(waiting[self._rng.randrange(len(waiting))])
        self._world.after(_POLL_NS // (1 + len(self._shards)), self._poll)

    def _ask(self, shard: _Shard) -> None:
        node = self._some_node()
        if node is None:
            return
        shard.asked += 1
        shard.waiting = True
        number = shard.asked
        consistent = self._rng.random() < 0.2
        limit = self._rng.randrange(6)
        request = ReadChanges(shard.stream.label, shard.at, limit, consistent=consistent)
        deadline = Instant(node.host.now() + _PATIENCE_NS)
        node.router.read_changes(shard.place, request, deadline, partial(self._answered, shard, number, request))
        self._world.after(2 * _PATIENCE_NS, partial(self._given_up, shard, number))

    def _given_up(self, shard: _Shard, number: int) -> None:
        """The node that was asked is no more."""
        if shard.waiting and shard.asked == number:
            shard.waiting = False

    def _answered(self, shard: _Shard, number: int, request: ReadChanges, reply: Any) -> None:
        if shard.asked != number or not shard.waiting:
            return
        shard.waiting = False
        if not isinstance(reply, Changes) or not request.limit:
            return
        if _order(reply.oldest) > _order(shard.at) and reply.oldest.slot > reply.first + 1:
            shard.story.trimmed_before.append(len(shard.story.records))
        if any(_order(record.at) < _order(request.start) for record in reply.records):
            self.wrong = self.wrong or f"a reader of {shard.story.name} asked from {request.start} on and got less"
        shard.story.records += [_record(shard.stream, record) for record in reply.records]
        shard.at = reply.next

    # --- in the end ---------------------------------------------------------------------------------------------------

    def caught_up(self, replicas: Replicas) -> bool:
        """Whether the reader is at the end of every shard that these replicas have, and there is one at least."""
        self._follow(s for s in all_streams(replicas[CATALOG_GROUP].rows.scan) if s.table == self._table)
        return bool(self._shards) and all(
            _order(shard.at) >= _order(_bounds(shard, replicas).end) for shard in self._shards.values()
        )

    def violation(self, replicas: Replicas, from_birth: bool, expires: bool) -> str | None:
        """The first thing that is wrong with the streams, or None. `replicas`: one of each group, all alike now;
        `expires`: records may be old enough to be gone."""
        if self.wrong:
            return self.wrong
        for shard in self._shards.values():
            held = _held(shard, replicas)
            got = shard.story.records
            if not expires and shard.story.trimmed_before:
                return f"a reader of {shard.story.name} was told that records are gone before their time"
            if held != got[len(got) - len(held) if expires else 0 :]:
                return f"shard {shard.story.name} holds other records than a reader got: {_difference(held, got)}"
            wrong = broken_story(shard.story, from_birth)
            if wrong is not None:
                return wrong
        table = table_row(replicas[CATALOG_GROUP].rows.get, self._table)
        if table is None or table.stream is None:
            return None  # a change to it was late
        newest = table.stream.label
        stories = [shard.story for (label, _), shard in self._shards.items() if label == newest]
        return wrong_replay(stories, _items(table, replicas), from_birth)

    # --- small things -------------------------------------------------------------------------------------------------

    def _some_node(self) -> Node | None:
        running = [machine.node for machine in self._cluster.machines if machine.node is not None]
        return running[self._rng.randrange(len(running))] if running else None

    def _catalog(self, request: Any, on_reply: Callable[[Any], None]) -> None:
        node = self._some_node()
        if node is not None:
            node.router.catalog(request, Instant(node.host.now() + _PATIENCE_NS), on_reply)

    def _once(self, action: Callable[[Any], None], otherwise: Callable[[], None]) -> Callable[[Any], None]:
        """`action` with the first answer; `otherwise` if there is none in good time, as when the node has died."""
        settled = False

        def answered(reply: Any) -> None:
            nonlocal settled
            if not settled:
                settled = True
                action(reply)

        def late() -> None:
            nonlocal settled
            if not settled:
                settled = True
                otherwise()

        self._world.after(2 * _PATIENCE_NS, late)
        return answered

    def _later(self, action: Callable[[], None]) -> None:
        self._world.after(20 * MILLISECOND + self._rng.randrange(100 * MILLISECOND), action)


def _items(table: TableDescriptor, replicas: Replicas) -> dict[bytes, bytes]:
    return {
        row[1:]: item_json(stored)
        for place in table.partitions
        for row, stored in replicas[place.group].rows.scan(ITEMS, ITEMS_END, False)
    }


def stray_records(replicas: Replicas) -> str | None:
    """Change records that nobody needs once everything is quiet; None if there are none."""
    for table in all_tables(replicas[CATALOG_GROUP].rows.scan):
        for place in table.all_partitions:
            replica = replicas[place.group]
            evaluator = replica.evaluator
            if not isinstance(evaluator, TableEvaluator):
                continue  # the ledger of transactions has no change log
            shards = read_log(replica.rows.get, evaluator.schema(replica.rows.get)).shards
            if not shards and next(replica.rows.scan(CHANGES, CHANGES_END, False), None) is not None:
                return f"group {place.group} of {table.name} keeps change records"
    return None


def _bounds(shard: _Shard, replicas: Replicas) -> Changes:
    return _read(shard, replicas, 0)


def _held(shard: _Shard, replicas: Replicas) -> list[Record]:
    return [_record(shard.stream, change) for change in _read(shard, replicas, 1 << 30).records]


def _read(shard: _Shard, replicas: Replicas, limit: int) -> Changes:
    replica = replicas[shard.place.group]
    evaluator = replica.evaluator
    assert isinstance(evaluator, TableEvaluator)
    request = ReadChanges(shard.stream.label, Position(0, 0), limit, max_bytes=1 << 40)
    return read_changes(request, evaluator.schema(replica.rows.get), replica.rows.get, replica.rows.scan)


def _record(stream: StreamDescriptor, change: Change) -> Record:
    image = change.new if change.new is not None else change.old
    assert image is not None
    return Record(_order(change.at), key_of(stream.key, decode_item(image)), change.old, change.new)


def _order(position: Position) -> tuple[int, int]:
    return position.slot, position.index


def _difference(held: list[Record], got: list[Record]) -> str:
    places = {record.at for record in got}
    missing = [record.at for record in held if record.at not in places]
    return f"{len(held)} held, {len(got)} got, missing {missing[:5]}"
