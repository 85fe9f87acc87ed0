"""What the API asks of the node beneath it (`Backend`), and of the process around it (`TestControls`).

Owns the two protocols only; `gramme.node.router` implements the first, `gramme.runtime` the second. Rule: every
`on_reply` is called exactly once, on the event loop, at once or later, and no later than shortly after `deadline`.
Source: issue 2, "Answers under trouble".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gramme.kernel.ids import CommandId
from gramme.kernel.time import Instant
from gramme.tables.catalog import CatalogReply, CatalogRequest
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.requests import Failed, ReadRequest, Reply, Request
from gramme.tables.streams import Changes, ReadChanges
from gramme.tables.transactions import ReadOutcome, ReadTransaction, WriteOutcome, WriteTransaction


class Backend(Protocol):
    """The router of a node, which knows the partition map and finds leaders."""

    def table(self, name: str) -> TableDescriptor | None:
        """The cached descriptor of a table, without I/O; None says nothing about whether the table exists."""

    def lookup(self, name: str, deadline: Instant, on_reply: Callable[[TableDescriptor | Failed], None]) -> None:
        """Ask the catalog for the newest descriptor and cache it; Failed(NO_TABLE) if there is no such table."""

    def read_here(self, table: TableDescriptor, key: bytes, request: ReadRequest) -> Reply | None:
        """The answer of this node's own replica of the partition that holds the encoded `key`, if that one may answer
        `request` now: the common case, for which nothing is allocated. None: `submit` it."""

    def submit(
        self,
        table: TableDescriptor,
        key: bytes,
        request: Request,
        command_id: CommandId | None,
        deadline: Instant,
        on_reply: Callable[[Reply], None],
        repeated: bool = False,
    ) -> None:
        """Send one request to the partition of `table` that holds the encoded `key`.

        Leader changes and stale maps are handled inside, until `deadline`. A write is applied at most once per
        `command_id` (None: the router draws one); `repeated` says that the client has sent it before. Failed(NO_TABLE)
        if this incarnation (TableId) of the table is gone.
        """

    def catalog(self, request: CatalogRequest, deadline: Instant, on_reply: Callable[[CatalogReply], None]) -> None:
        """Have the catalog's leader evaluate `request`."""

    def read_changes(
        self, place: Partition, request: ReadChanges, deadline: Instant, on_reply: Callable[[Changes | Failed], None]
    ) -> None:
        """Read records of the shard that partition `place` wrote: at any replica that has heard its leader lately, as
        far as they are applied there, or at the leader if `consistent`. Failed(NO_TABLE) if the partition is gone,
        and with it every stream that it was part of."""

    def transact_write(
        self, request: WriteTransaction, deadline: Instant, on_reply: Callable[[WriteOutcome], None]
    ) -> None:
        """Do all of `request` or nothing, and answer when every later read shows it. Failed(UNKNOWN) where nobody
        could tell the outcome by `deadline`: the same token tells it later. Failed(NO_TABLE) if an incarnation
        (TableId) of one of its tables is gone; nothing was done then."""

    def transact_get(
        self, request: ReadTransaction, deadline: Instant, on_reply: Callable[[ReadOutcome], None]
    ) -> None:
        """Read all items of `request` as of one moment between call and answer."""

    def addresses(self, zone: str | None) -> list[str]:
        """Addresses (without port, as clients reach them) of the live nodes of `zone`, or of all zones."""


class ControlRefused(Exception):
    """A test control that cannot be carried out; the text says why. Answered with HTTP 400."""


class TestControls(Protocol):
    """Hooks of `--test-controls`; each calls `done(None)` when carried out, or `done(reason)` when it cannot be.

    They may also raise `ControlRefused` at once, before anything has changed.
    """

    def clock(self, advance_ms: int, done: Callable[[str | None], None]) -> None:
        """Move wall time forward by `advance_ms` (>= 0); monotonic time, and so leases, stay."""

    def fail_over(self, table: str, groups: list[int] | None, done: Callable[[str | None], None]) -> None:
        """Hand over every partition of `table` that this node leads; with `groups`, only those."""

    def throttle(self, table: str, rate: float, reason: str, index: str, done: Callable[[str | None], None]) -> None:
        """Refuse a share `rate` (0 to 1; 0 ends it) of the reads or writes that this node is sent for `table`, as
        `reason` says (`TableReadProvisionedThroughputExceeded`, …); `index` is the name in a reason about an index."""

    def unprocessed(self, table: str, rate: float, done: Callable[[str | None], None]) -> None:
        """Leave a share `rate` (0 to 1; 0 ends it) of the parts of batches on `table` undone."""

    def stale(self, table: str, index: str, lag_ms: int, done: Callable[[str | None], None]) -> None:
        """Have this node's replicas answer eventual reads of `table`, or of its local index `index`, as of `lag_ms` ago
        (0 ends it), or have them feed the global index `index` so much later."""

    def reset(self, done: Callable[[str | None], None]) -> None:
        """Drop all tables; end all throttling and lagging."""

    def snapshot(self, name: str, done: Callable[[str | None], None]) -> None:
        """Keep the present contents under `name`, replacing an earlier snapshot of that name."""

    def restore(self, name: str, done: Callable[[str | None], None]) -> None:
        """Return to the contents kept under `name`."""
