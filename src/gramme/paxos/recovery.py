"""Recovery: what the node's log says about each of its replicas, folded in log order.

Segments whose slots are engine-durable get deleted, so the first record of a group may be a CHECKPOINT, and its entries
may begin anywhere up to the engine's applied slot: a jump in the slots forgets what came before, and
`GroupState.attach_engine` proves afterwards that nothing is missing.
"""

from __future__ import annotations

from collections.abc import Iterable

from gramme.kernel.errors import Corruption
from gramme.kernel.ids import Ballot, GroupId, Lsn, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.paxos.chain import decode_entry
from gramme.paxos.configuration import Configuration, unpack_replicas
from gramme.paxos.entry import Entry
from gramme.paxos.state import GroupState, unpack_base, unpack_checkpoint, unpack_install


def fold(records: Iterable[tuple[Lsn, Record]]) -> dict[GroupId, GroupState]:
    """The state of every replica that was created here and not dropped. Records of other kinds are passed over, and
    those of a group whose replica was dropped, until one is created under a newer configuration than that one knew.

    Raises Corruption if a record does not decode.
    """
    groups: dict[GroupId, GroupState] = {}
    dropped: dict[GroupId, int] = {}
    for _, record in records:
        group = record.group
        if record.kind == RecordKind.CREATE:
            if record.configuration > dropped.get(group, -1):
                dropped.pop(group, None)
                groups[group] = _created(record)
        elif record.kind == RecordKind.DROP:
            state = groups.get(group)
            if state is None or state.configuration.number <= record.configuration:
                groups.pop(group, None)
                dropped[group] = record.configuration
        elif _is_known(record, dropped) and (handler := _HANDLERS.get(record.kind)) is not None:
            state = groups.get(group)
            if state is None:
                state = groups[group] = _unintroduced(record)
            handler(state, record)
    return {group: state for group, state in groups.items() if state.configuration.replicas}


def _is_known(record: Record, dropped: dict[GroupId, int]) -> bool:
    """Whether `record` is of a replica that was not dropped; its CREATE may be in a deleted segment."""
    known = dropped.get(record.group)
    if known is not None and record.kind == RecordKind.CHECKPOINT and record.configuration > known:
        del dropped[record.group]
        known = None
    return known is None


def _unintroduced(record: Record) -> GroupState:
    """A group whose CREATE is in a deleted segment: its CHECKPOINT follows and names the replicas. If it never does,
    the group's DROP is in a deleted segment too."""
    return GroupState(record.group, Configuration(-1, ()), b"", Ballot(0), Ballot(0), base=None)


def _created(record: Record) -> GroupState:
    configuration, descriptor = unpack_replicas(record.configuration, record.body)
    log_ballot = Ballot(0) if configuration.number else record.ballot
    return GroupState(record.group, configuration, descriptor, record.ballot, log_ballot)


def _promise(state: GroupState, record: Record) -> None:
    state.promised = max(state.promised, record.ballot)


def _accept(state: GroupState, record: Record) -> None:
    _put(state, _entry(record))


def _learn(state: GroupState, record: Record) -> None:
    """As the acceptor did: keep an equal entry, cut at a different one."""
    _promise(state, record)
    _put(state, _entry(record))


def _install(state: GroupState, record: Record) -> None:
    _promise(state, record)
    state.log_ballot = record.ballot
    _cut_after(state, record.slot)
    for encoded in unpack_install(record.body):
        _put(state, decode_entry(encoded))


def _base(state: GroupState, record: Record) -> None:
    _promise(state, record)
    mark, configuration = unpack_base(record)
    if configuration is not None:
        state.adopt(configuration)
    state.chosen = max(state.chosen, mark.slot)
    if not any(entry.mark == mark for entry in state.entries):
        state.base = mark
        state.entries = []


def _checkpoint(state: GroupState, record: Record) -> None:
    log_ballot, chosen, configuration, descriptor = unpack_checkpoint(record)
    _promise(state, record)
    state.log_ballot = max(state.log_ballot, log_ballot)
    state.chosen = max(state.chosen, chosen.slot)
    if not state.configuration.replicas:
        state.descriptor = descriptor
    state.adopt(configuration)
    if state.base is None and not state.entries:
        state.base = chosen


def _entry(record: Record) -> Entry:
    entry = decode_entry(record.body)
    if entry.slot != record.slot:
        raise Corruption(f"group {record.group}: the entry is of slot {entry.slot}, the record of slot {record.slot}")
    return entry


def _put(state: GroupState, entry: Entry) -> None:
    last = state.last_slot()
    if entry.slot <= last:
        first = state.entries[0].slot if state.entries else Slot(last + 1)
        if entry.slot >= first and state.entries[entry.slot - first].encoded == entry.encoded:
            return
        _cut_after(state, Slot(entry.slot - 1))
    elif entry.slot > last + 1:
        _forget_through(state, Slot(entry.slot - 1))
    state.entries.append(entry)


def _cut_after(state: GroupState, slot: Slot) -> None:
    """Drop the entries after `slot`; a slot outside the folded entries leaves none and an unknown base."""
    if state.base is not None and slot == state.base.slot:
        state.entries = []
    elif state.entries and state.entries[0].slot <= slot <= state.entries[-1].slot:
        del state.entries[slot - state.entries[0].slot + 1 :]
    elif slot != state.last_slot():
        _forget_through(state, slot)


def _forget_through(state: GroupState, slot: Slot) -> None:
    """What the log said up to `slot` was in deleted segments: the engine must have it."""
    state.base = None
    state.entries = []
    state.floor = max(state.floor, slot)


_HANDLERS = {
    RecordKind.PROMISE: _promise,
    RecordKind.ACCEPT: _accept,
    RecordKind.LEARN: _learn,
    RecordKind.INSTALL: _install,
    RecordKind.BASE: _base,
    RecordKind.CHECKPOINT: _checkpoint,
}
