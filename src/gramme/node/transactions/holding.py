"""A partition's part in transactions: which items are held, what prepare, commit, cancel and one-phase writes change.

Pure, like the evaluator that calls it. A held item has a row in space PENDING (under the item's key) from its prepare
until its commit or cancel; the item itself stays as it was. Space TRANSACTIONS keeps the highest stamp of a deletion
(`gramme.node.changes.item_changes.DELETED_ROW`), the markers of one-phase transactions, and the floor below which these
are refused.

Rules. (1) An item is held by one transaction at a time, and nobody else changes it meanwhile. (2) Whatever a
transaction touches carries its stamp afterwards, items that were only checked too, and the partition's deletions for
what is absent; a prepare must be newer than that. So the versions of an item strictly grow, and a prepare that comes
after its transaction's commit is refused. (3) What was prepared cannot fail to be committed. Source: USENIX ATC 2023,
section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from gramme.kernel.errors import Invariant
from gramme.kernel.time import Stamp, Timestamp
from gramme.node.changes.item_changes import DELETED_ROW, ITEMS, item_change, refused_keys
from gramme.node.evaluator import Answer, Change, Context, Read
from gramme.node.mutation import ChangeRecord
from gramme.node.totals import Growth
from gramme.paxos.entry import CommandKind
from gramme.storage.engine.rows import Space
from gramme.tables.decisions import Decision, Fail, Put, Remove
from gramme.tables.evaluate import evaluate
from gramme.tables.indexes import PartitionSchema
from gramme.tables.item import decode_item, is_tombstone, item_json, restamped, stored_size, stored_stamp
from gramme.tables.requests import (
    ConditionFailed,
    Conflict,
    DeleteItem,
    Found,
    PutItem,
    ReadVersions,
    Refused,
    Version,
    VersionsRead,
    Written,
)
from gramme.tables.transaction_commands import (
    DropMarkers,
    Finish,
    Inquire,
    Inquired,
    NotPrepared,
    Outcome,
    PartitionTransaction,
    Prepare,
    Prepared,
    Settled,
    WriteAll,
)
from gramme.tables.transactions import (
    MAX_BYTES,
    OVERSIZED,
    Action,
    ConditionCheck,
    Reason,
    TransactionDone,
    oversized,
)

PENDING: Final = bytes((Space.PENDING,))
PENDING_END: Final = bytes((Space.PENDING + 1,))
_TRANSACTIONS: Final = bytes((Space.TRANSACTIONS,))
_FLOOR_ROW: Final = _TRANSACTIONS + b"floor"
_MARKER: Final = _TRANSACTIONS + b"marker/"  # + tx

MAX_CHANGE_BYTES: Final = 24 << 20
"""What a transaction may write in one partition, with all images of its items: a log record holds 32 MB."""

MAX_SHOWN_BYTES: Final = 16 << 20
"""Of items that conditions did not hold of, in one answer."""

STEP_BYTES: Final = 512 << 10
"""How much of a transaction is prepared or committed in one step of the loop, about (DESIGN.md, section 10)."""

CONFLICT: Final = Conflict()
_SETTLED: Final = Settled()


class PendingRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Value of a row in space PENDING. `touch`: the item is only checked; else it becomes `item`, or is deleted."""

    tx: bytes
    stamp: Stamp
    id: bytes  # the transaction's key in the ledger
    touch: bool
    item: bytes | None
    size: int


class _Marker(msgspec.Struct, frozen=True, array_like=True, gc=False):
    stamp: int
    done: TransactionDone


_pack: Final = msgspec.msgpack.Encoder().encode
decode_pending: Final = msgspec.msgpack.Decoder(PendingRow).decode
_decode_marker: Final = msgspec.msgpack.Decoder(_Marker).decode


class Hold(NamedTuple):
    """Who holds an item: the transaction, and its key in the ledger."""

    tx: bytes
    id: bytes


class Holds:
    """The items that transactions hold here, in the newest state (what is in flight included); kept by the leader."""

    __slots__ = ("_keys", "by_key")

    def __init__(self) -> None:
        self.by_key: dict[bytes, Hold] = {}
        self._keys: dict[bytes, dict[bytes, None]] = {}  # by transaction

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin anew with what stands in space PENDING."""
        self.by_key.clear()
        self._keys.clear()
        for key, value in rows:
            self._add(key[1:], value)

    def proposed(self, change: Change) -> None:
        """`change` is in flight."""
        for row, value in change.puts:
            if row[0] == Space.PENDING:
                self._add(row[1:], value)
        for row in change.deletes:
            if row[0] == Space.PENDING:
                hold = self.by_key.pop(row[1:])
                keys = self._keys[hold.tx]
                del keys[row[1:]]
                if not keys:
                    del self._keys[hold.tx]

    def _add(self, key: bytes, value: bytes) -> None:
        row = decode_pending(value)
        self.by_key[key] = Hold(row.tx, row.id)
        self._keys.setdefault(row.tx, {})[key] = None

    def keys_of(self, tx: bytes) -> tuple[bytes, ...]:
        """The items that `tx` holds."""
        return tuple(self._keys.get(tx, ()))

    def transactions(self) -> dict[bytes, bytes]:
        """Transactions that hold something, with their keys in the ledger."""
        return {hold.tx: hold.id for hold in self.by_key.values()}


class _Staged:
    """Changes of several items that become one mutation: each sees those before it, and each row is written once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._rows: dict[bytes, bytes | None] = {}
        self._seen: dict[bytes, None] = {}
        self._records: list[ChangeRecord] = []
        self._grown: list[Growth] = []
        self._images = 0

    def read(self, key: bytes) -> bytes | None:
        if key in self._rows:
            return self._rows[key]
        self._seen[key] = None
        return self._read(key)

    def saw(self, key: bytes) -> None:
        """What follows depends on this row too."""
        self._seen[key] = None

    def take(self, change: Change) -> None:
        for key, value in change.puts:
            if key == DELETED_ROW:
                self.deleted(int.from_bytes(value, "big"))
            else:
                self._rows[key] = value
        for key in change.deletes:
            self._rows[key] = None
        self._records += change.changes
        self._grown += change.grown

    def put(self, key: bytes, value: bytes) -> None:
        self._rows[key] = value

    def delete(self, key: bytes) -> None:
        self._rows[key] = None

    def deleted(self, stamp: int) -> None:
        """Something absent carries `stamp`."""
        self._rows[DELETED_ROW] = max(stamp, deleted_stamp(self.read)).to_bytes(8, "big")

    def shows(self, *images: bytes | None) -> None:
        """A change record may have to carry these, even if nobody consumes changes yet."""
        self._images += sum(len(image) for image in images if image is not None)

    def size_bytes(self) -> int:
        """At least what the mutation and its change records take up."""
        return self._images + sum(len(key) + len(value or b"") for key, value in self._rows.items())

    def change(self, reply: object, kind: CommandKind = CommandKind.MUTATIONS) -> Change:
        puts = [(key, value) for key, value in self._rows.items() if value is not None]
        deletes = [key for key, value in self._rows.items() if value is None]
        return Change(puts, deletes, reply, tuple(self._records), tuple(self._grown), kind=kind)

    def answer(self, reply: object) -> Answer:
        return Answer(reply, tuple(self._seen))


def deleted_stamp(read: Read) -> int:
    """The version of every absent item of the partition."""
    stored = read(DELETED_ROW)
    return 0 if stored is None else int.from_bytes(stored, "big")


def transact(
    request: PartitionTransaction, schema: PartitionSchema, holds: Holds, read: Read, context: Context
) -> Change | Answer:
    """What a transaction's command changes in this partition."""
    return _HANDLERS[type(request)](request, schema, holds, _Staged(read), context)


def read_versions(request: ReadVersions, get: Read) -> VersionsRead:
    """Items and versions out of applied rows, in one step."""
    absent = deleted_stamp(get)
    items = []
    left = MAX_BYTES  # more than that is refused by its size alone
    for key in request.keys:
        stored = get(ITEMS + key)
        held = get(PENDING + key) is not None
        if stored is None or is_tombstone(stored):
            items.append(Version(Found(None, 0), absent, held))
        else:
            left -= stored_size(stored)
            json = item_json(stored) if request.bodies and left >= 0 else None
            items.append(Version(Found(json, stored_size(stored)), stored_stamp(stored), held))
    return VersionsRead(tuple(items))


# --- judging actions


class _Judged(NamedTuple):
    """What an action does: its row as it is, the decision (None: only a new stamp), and its part of the reply."""

    stored: bytes | None
    decision: Put | Remove | None
    part: Written


def _judge(
    action: Action, tx: bytes, schema: PartitionSchema, holds: Holds, staged: _Staged, stamp: Stamp
) -> _Judged | Reason:
    """Judge `action` on what `staged` shows; if it can be done, its changes under `stamp` are staged."""
    key = action.key
    staged.saw(PENDING + key)
    hold = holds.by_key.get(key)
    if hold is not None and hold.tx != tx:
        return CONFLICT
    if schema.indexes and type(action) is PutItem:
        refused = refused_keys(schema, decode_item(action.item), ITEMS + key)
        if refused is not None:
            reason: Reason = refused.reply
            return reason
    stored = staged.read(ITEMS + key)
    decision = _decide(action, stored)
    if type(decision) is Fail:
        return decision.reply
    if type(action) is ConditionCheck or not isinstance(decision, Put | Remove):
        size = 0 if stored is None else stored_size(stored)
        _touch(staged, key, stored, stamp)
        return _Judged(stored, None, Written(None, size, size))
    change = item_change(schema, key, stored, decision, stamp, staged.read)
    if isinstance(change, Answer):
        refusal: Reason = change.reply
        return refusal
    staged.take(change)
    staged.shows(stored, decision.item if isinstance(decision, Put) else None)
    return _Judged(stored, decision, change.reply)


def _judge_all(
    request: Prepare | WriteAll, schema: PartitionSchema, holds: Holds, staged: _Staged, stamp: Stamp
) -> list[_Judged] | NotPrepared:
    """Each action on what those before it have staged; or why nothing of the request may happen."""
    reasons: list[Reason | None] = []
    every: list[_Judged] = []
    parts: list[Written] = []
    for action in request.actions:
        judged = _judge(action, request.tx, schema, holds, staged, stamp)
        if not isinstance(judged, _Judged):
            reasons.append(judged)
            continue
        reasons.append(None)
        every.append(judged)
        parts.append(judged.part)
        refused = oversized(parts)
        if refused is not None:
            return _refuse(request, refused)
    if any(reason is not None for reason in reasons):
        return _not_prepared(reasons)
    refused = _unloggable(staged)
    return every if refused is None else _refuse(request, refused)


def _decide(action: Action, stored: bytes | None) -> Decision:
    """A check is a deletion under the same condition that is not carried out."""
    if type(action) is ConditionCheck:
        action = DeleteItem(action.key, action.condition, return_on_failure=action.return_on_failure)
    assert not isinstance(action, ConditionCheck)
    return evaluate(action, stored)


def _refuse(request: Prepare | WriteAll, refused: Refused) -> NotPrepared:
    return NotPrepared((refused,) * len(request.actions))


def _unloggable(staged: _Staged) -> Refused | None:
    """Why this is too much for one record of the log: an item far below its 400 KB may be megabytes of JSON, and each
    local index has a copy."""
    size = staged.size_bytes()
    return Refused(f"{OVERSIZED}{size}") if size > MAX_CHANGE_BYTES else None


def _not_prepared(reasons: list[Reason | None]) -> NotPrepared:
    """With as many of the present items as fit into an answer."""
    shown = 0
    for at, reason in enumerate(reasons):
        if isinstance(reason, ConditionFailed) and reason.item is not None:
            shown += len(reason.item)
            if shown > MAX_SHOWN_BYTES:
                reasons[at] = ConditionFailed(None, reason.size)
    return NotPrepared(tuple(reasons))


def _touch(staged: _Staged, key: bytes, stored: bytes | None, stamp: int) -> None:
    """The item stays as it is, and cannot be prepared any more by what is older than `stamp`."""
    if stored is None:
        staged.deleted(stamp)
    else:
        staged.put(ITEMS + key, restamped(stored, stamp))


# --- commands


def _prepare(
    request: Prepare, schema: PartitionSchema, holds: Holds, staged: _Staged, context: Context
) -> Change | Answer:
    absent = deleted_stamp(staged.read)  # before anything is staged
    judged = _judge_all(request, schema, holds, staged, Stamp(request.stamp))
    if isinstance(judged, NotPrepared):
        return staged.answer(judged)
    newest = max((absent if each.stored is None else stored_stamp(each.stored) for each in judged), default=0)
    if request.stamp <= newest:
        return staged.answer(NotPrepared((), newest))
    rows = [
        (PENDING + action.key, _pack(_pending(request, each.decision)))
        for action, each in zip(request.actions, judged, strict=True)
    ]
    prepared = Prepared(tuple(each.part for each in judged))
    return Change(rows, [], prepared, kind=CommandKind.PREPARE, floor=Timestamp(request.stamp))


def _pending(request: Prepare, decision: Put | Remove | None) -> PendingRow:
    new = decision if type(decision) is Put else None
    item, size = (None, 0) if new is None else (new.item, new.size)
    return PendingRow(request.tx, Stamp(request.stamp), request.id, decision is None, item, size)


def _finish(
    request: Finish, schema: PartitionSchema, holds: Holds, staged: _Staged, context: Context
) -> Change | Answer:
    """Without held items it still takes a slot: who hears `Settled` may forget the transaction, so what an earlier,
    unfinished attempt of the same has put in flight must be chosen first."""
    size = 0
    for key in holds.keys_of(request.tx):
        if size >= STEP_BYTES:
            return staged.change(Settled(whole=False), CommandKind.COMMIT)
        if request.commit:
            size += _commit(key, schema, staged)
        staged.delete(PENDING + key)
    return staged.change(_SETTLED, CommandKind.COMMIT if request.commit else CommandKind.CANCEL)


def _commit(key: bytes, schema: PartitionSchema, staged: _Staged) -> int:
    """Stage what was prepared for one item; the size of the item before and after."""
    row = staged.read(PENDING + key)
    if row is None:
        raise Invariant("a held item has no pending row")
    pending = decode_pending(row)
    stored = staged.read(ITEMS + key)
    old_size = 0 if stored is None else stored_size(stored)
    if pending.touch or (pending.item is None and stored is None):
        _touch(staged, key, stored, pending.stamp)
        return old_size
    reply = Written(None, old_size, pending.size)
    decision = Remove(reply) if pending.item is None else Put(pending.item, pending.size, reply)
    change = item_change(schema, key, stored, decision, pending.stamp, staged.read, prepared=True)
    assert isinstance(change, Change)
    staged.take(change)
    return old_size + pending.size


def _write_all(
    request: WriteAll, schema: PartitionSchema, holds: Holds, staged: _Staged, context: Context
) -> Change | Answer:
    if request.tx:
        marker = staged.read(_MARKER + request.tx)
        if marker is not None:
            return staged.answer(_decode_marker(marker).done)
        floor = _floor(staged.read)
        if request.stamp <= floor:
            return staged.answer(NotPrepared((), floor))
    judged = _judge_all(request, schema, holds, staged, context.stamp)
    if isinstance(judged, NotPrepared):
        return staged.answer(judged)
    done = TransactionDone(tuple(each.part for each in judged))
    if request.tx:
        staged.put(_MARKER + request.tx, _pack(_Marker(request.stamp, done)))
    return staged.change(done)


def _inquire(
    request: Inquire, schema: PartitionSchema, holds: Holds, staged: _Staged, context: Context
) -> Change | Answer:
    floor = above = _floor(staged.read)
    outcomes: list[Outcome] = []
    for tx, stamp in request.txs:
        marker = staged.read(_MARKER + tx)
        if marker is not None:
            outcomes.append(Outcome(_decode_marker(marker).done))
            continue
        if request.fence:
            above = max(above, stamp)
        outcomes.append(Outcome(None, fenced=stamp <= above))
    if above == floor:
        return staged.answer(Inquired(tuple(outcomes)))
    staged.put(_FLOOR_ROW, above.to_bytes(8, "big"))
    return staged.change(Inquired(tuple(outcomes)))


def _drop_markers(
    request: DropMarkers, schema: PartitionSchema, holds: Holds, staged: _Staged, context: Context
) -> Change | Answer:
    for tx in request.txs:
        staged.delete(_MARKER + tx)
    staged.put(_FLOOR_ROW, max(request.floor, _floor(staged.read)).to_bytes(8, "big"))
    return staged.change(_SETTLED)


def _floor(read: Read) -> int:
    stored = read(_FLOOR_ROW)
    return 0 if stored is None else int.from_bytes(stored, "big")


_Handler = Callable[..., Change | Answer]
_HANDLERS: Final[dict[type, _Handler]] = {
    Prepare: _prepare,
    Finish: _finish,
    WriteAll: _write_all,
    Inquire: _inquire,
    DropMarkers: _drop_markers,
}
PARTITION_TRANSACTIONS: Final = frozenset(_HANDLERS)
