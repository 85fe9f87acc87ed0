"""The catalog leader's control loop for streams that are over: disabled, or their table deleted, 24 hours ago.

Such a stream is forgotten by a command to the catalog, which also replaces the groups of a deleted table by tombstones
once no stream needs them; members drop them when they reconcile. Everything else in a stream's life is part of its
table's (`gramme.node.catalog.schema_service`, `gramme.node.catalog.service`). Source: API reference, DynamoDB Streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.ids import CommandId
from gramme.kernel.time import SECOND, Timestamp
from gramme.node.alarm import Alarm
from gramme.node.catalog.commands import ForgetStreams
from gramme.node.catalog.streams import FORGET_AFTER_NS, all_streams, is_over
from gramme.node.host import Host
from gramme.node.partition import PartitionReplica

_TICK_NS: Final = SECOND


class StreamService:
    """Works only while this node leads the catalog: `look_again` begins, `follow` ends it.

    Between looks it compares two numbers once a second, and nothing at all where no stream is closed.
    """

    def __init__(self, host: Host, partition: Callable[[], PartitionReplica | None]) -> None:
        self._host = host
        self._partition = partition
        self._due: Timestamp | None = None  # wall time at which the next stream is over
        self._forgetting: dict[str, None] = {}  # names about which the catalog is being told
        self._alarm = Alarm(host, self._tick)

    def look_again(self) -> None:
        """A stream was closed, or leadership of the catalog began."""
        partition = self._partition()
        if partition is None or not partition.leading:
            return
        closed = [stream.closed for stream in all_streams(partition.rows.scan) if stream.closed is not None]
        self._due = Timestamp(min(closed) + FORGET_AFTER_NS) if closed else None
        self._arm()

    def follow(self) -> None:
        """Another node leads the catalog and does this."""
        self._due = None

    def _arm(self) -> None:
        if self._due is not None:
            self._alarm.arm(_TICK_NS)

    def _tick(self) -> None:
        if self._due is None:
            return
        if self._host.ports.clock.timestamp() >= self._due:
            self._forget()
        self._arm()

    def _forget(self) -> None:
        partition = self._partition()
        if partition is None:
            return
        now = self._host.ports.clock.timestamp()
        for name in dict.fromkeys(stream.table for stream in all_streams(partition.rows.scan) if is_over(stream, now)):
            if name not in self._forgetting:
                self._forgetting[name] = None
                command_id = CommandId(self._host.ports.rng.randbytes(16))
                partition.submit(ForgetStreams(name), command_id, self._on_forgotten(name))

    def _on_forgotten(self, name: str) -> Callable[[Any], None]:
        def done(_reply: Any) -> None:
            """Whatever the answer: what is left is found by the next look."""
            self._forgetting.pop(name, None)
            if not self._host.stopped:
                self.look_again()

        return done
