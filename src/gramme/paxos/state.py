"""The durable state of one replica, and the log records that carry it.

A replica is what it has promised, the ballot of its log, and its log; everything else can be learnt again. The bodies
of the records are laid out here and nowhere else (integers big-endian):

- CREATE: replicas and descriptor. Record: ballot = the founding ballot, which the empty log is of; or, where the
  configuration is not the founding one, the inviting leader's, with a log of no ballot.
- PROMISE: no body. Record: ballot.
- ACCEPT, LEARN: one encoded entry. Record: slot, ballot, configuration, key id.
- INSTALL: entries (u32 length, bytes)*, which replace whatever followed slot. Record: slot = the slot before, ballot.
- BASE: crc u32, stamp u64, replicas. Record: slot, ballot = promised, configuration.
- CHECKPOINT: log ballot u64, chosen crc u32, chosen stamp u64, replicas and descriptor. Record: slot = chosen,
  ballot = promised, configuration.
- DROP: no body. Record: configuration = the last one that the replica knew (`FOR_GOOD`: the group is no more).
- Replicas: `configuration.pack_replicas`; the number is the record's. Descriptor: opaque bytes of the composing node,
  to the end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from gramme.kernel.errors import Corruption
from gramme.kernel.ids import Ballot, GroupId, NodeId, Slot, make_ballot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import Stamp
from gramme.paxos.chain import check_chain
from gramme.paxos.configuration import Configuration, decode_configuration, founding, pack_replicas, unpack_replicas
from gramme.paxos.entry import ORIGIN, CommandKind, Entry, Mark

_CHECKPOINT: Final = struct.Struct(">QIQ")
_BASE: Final = struct.Struct(">IQ")
_LENGTH: Final = struct.Struct(">I")
FOR_GOOD: Final = 0xFFFFFFFF
"""Above every configuration's number: of a group that was deleted."""


@dataclass(slots=True)
class GroupState:
    """What a replica starts from: recovered by `recovery.fold` and `attach_engine`, or made by `founding_state`."""

    group: GroupId
    configuration: Configuration
    descriptor: bytes
    promised: Ballot
    log_ballot: Ballot
    base: Mark | None = ORIGIN  # None: earlier segments are deleted; the first retained entry will tell
    entries: list[Entry] = field(default_factory=list)
    chosen: Slot = ORIGIN.slot
    applied: Slot = ORIGIN.slot
    floor: Slot = ORIGIN.slot  # slots up to it stood in segments that are deleted: the engine must have them
    founding: bool = False  # created by this process: the first member may lead at once
    amnesiac: bool = False  # damage may hide a promise or an accepted value: takes no part (REPLICATION.md §5)

    def attach_engine(self, applied: Slot, crc: int, stamp: Stamp, configuration: Configuration | None = None) -> None:
        """Join the folded log to the engine, whose rows are those of chosen slots up to `applied`. Call it once after
        `fold`, with zeros for an empty engine; `configuration` is the newest that the rows know to be chosen. It came
        with a snapshot, perhaps: without it this replica would act in one that its log has passed.

        Where the log does not hold the engine's position (a snapshot was switched in and its BASE record was not yet
        durable), the log restarts there, as BASE does. Raises Corruption if slots are missing between engine and log,
        and Invariant if the entries do not form a chain.
        """
        mark = Mark(applied, crc, stamp)
        if configuration is not None:
            self.adopt(configuration)
        if applied < self.floor:
            raise Corruption(
                f"group {self.group}: the log up to slot {self.floor} is deleted, but the engine ends at {applied}"
            )
        self._find_base(mark)
        assert self.base is not None
        self._restart_unless_holding(mark)
        self.applied = applied
        self.chosen = max(self.chosen, applied)
        previous = self.base
        for entry in self.entries:
            check_chain(previous, entry)
            previous = entry.mark
        if self.base.slot > applied:
            raise Corruption(
                f"group {self.group}: the log begins after slot {self.base.slot}, but the engine ends at {applied}"
            )

    def _find_base(self, mark: Mark) -> None:
        if self.base is not None:
            return
        if not self.entries:
            self.base = mark
        elif self.entries[0].slot <= mark.slot:
            first = self.entries.pop(0)
            if first.kind == CommandKind.CONFIG:
                self.adopt(decode_configuration(first.body))
            self.base = first.mark
        elif self.entries[0].slot == mark.slot + 1:
            self.base = mark
        else:
            raise Corruption(
                f"group {self.group}: the log begins with slot {self.entries[0].slot}, "
                f"but the engine ends at {mark.slot}"
            )

    def _restart_unless_holding(self, mark: Mark) -> None:
        assert self.base is not None
        index = mark.slot - self.base.slot - 1
        if index >= 0 and (index >= len(self.entries) or self.entries[index].mark != mark):
            self.base = mark
            self.entries = []

    def attach_log(self) -> None:
        """As `attach_engine` for a log replica, which has no rows: its log is all there is of it."""
        if self.base is None:
            # What is trimmed from the log was chosen, and every voter had it: the first retained entry is known by all.
            self._find_base(self.entries[-1].mark if self.entries else ORIGIN)
        assert self.base is not None
        mark = self.base
        for entry in self.entries:
            check_chain(mark, entry)
            mark = entry.mark
        self.chosen = self.applied = max(self.chosen, self.base.slot)
        if self.chosen > mark.slot:
            raise Corruption(f"group {self.group}: slot {self.chosen} is chosen, but the log ends at {mark.slot}")

    def adopt(self, configuration: Configuration) -> None:
        """A configuration is known to be chosen."""
        if configuration.number > self.configuration.number:
            self.configuration = configuration

    def last_slot(self) -> Slot:
        """The last slot that the folded records speak of."""
        return self.entries[-1].slot if self.entries else (self.base.slot if self.base is not None else Slot(0))


def founding_state(group: GroupId, members: Iterable[NodeId], descriptor: bytes = b"") -> GroupState:
    """The state that every first replica of a new group is created with.

    Phase 1 of ballot (1, first member) counts as done: all replicas are born with that promise and an empty log of
    that ballot, so the first member may lead without asking, in the process that created it and only there.
    """
    nodes = tuple(members)
    ballot = make_ballot(1, nodes[0])
    return GroupState(group, founding(nodes), descriptor, ballot, ballot, founding=True)


def joining_state(group: GroupId, configuration: Configuration, ballot: Ballot, descriptor: bytes) -> GroupState:
    """The state of a replica that its group's leader, of `ballot`, invites: it holds nothing, and takes part in no
    lower ballot. `configuration` is chosen and names it as one that does not vote. A node that hosted the group before
    may do so again only under a newer configuration than that replica knew: whatever it forgot it had promised was of
    an earlier incarnation, which nobody counts (`Replica.since`)."""
    return GroupState(group, configuration, descriptor, ballot, Ballot(0))


# --- records ----------------------------------------------------------------------------------------------------------


def create_record(state: GroupState) -> Record:
    """To be appended before the replica's `start`."""
    body = pack_replicas(state.configuration) + state.descriptor
    return Record(RecordKind.CREATE, state.group, Slot(0), state.promised, state.configuration.number, 0, body)


def drop_record(group: GroupId, configuration: int = FOR_GOOD) -> Record:
    """The replica here is gone, with all that it said; `configuration` is the last one it knew."""
    return Record(RecordKind.DROP, group, Slot(0), Ballot(0), configuration, 0, b"")


def promise_record(group: GroupId, ballot: Ballot, configuration: int) -> Record:
    """Phase 1b, or a higher ballot taken over from its leader."""
    return Record(RecordKind.PROMISE, group, Slot(0), ballot, configuration, 0, b"")


def accept_record(group: GroupId, ballot: Ballot, entry: Entry) -> Record:
    """Phase 2b for one slot."""
    return Record(RecordKind.ACCEPT, group, entry.slot, ballot, entry.configuration, entry.key_id, entry.encoded)


def learn_record(group: GroupId, ballot: Ballot, entry: Entry) -> Record:
    """A chosen entry, stored under whatever ballot the log has (docs/decisions/0003-learn-records.md)."""
    return Record(RecordKind.LEARN, group, entry.slot, ballot, entry.configuration, entry.key_id, entry.encoded)


def install_record(group: GroupId, ballot: Ballot, configuration: int, after: Slot, suffix: Iterable[Entry]) -> Record:
    """A whole suffix and the log's new ballot: one record, so that it is durable as one step."""
    body = b"".join(_LENGTH.pack(len(entry.encoded)) + entry.encoded for entry in suffix)
    return Record(RecordKind.INSTALL, group, after, ballot, configuration, 0, body)


def base_record(group: GroupId, promised: Ballot, configuration: Configuration, base: Mark) -> Record:
    """The log restarts after `base`: the rows up to it came with a snapshot and are engine-durable."""
    body = _BASE.pack(base.crc, base.stamp) + pack_replicas(configuration)
    return Record(RecordKind.BASE, group, base.slot, promised, configuration.number, 0, body)


def checkpoint_record(state: GroupState, chosen: Mark) -> Record:
    """Everything but the log's entries, so that older segments may go."""
    replicas = pack_replicas(state.configuration)
    body = _CHECKPOINT.pack(state.log_ballot, chosen.crc, chosen.stamp) + replicas + state.descriptor
    number = state.configuration.number
    return Record(RecordKind.CHECKPOINT, state.group, chosen.slot, state.promised, number, 0, body)


def unpack_checkpoint(record: Record) -> tuple[Ballot, Mark, Configuration, bytes]:
    """Log ballot, chosen mark, configuration and descriptor of a CHECKPOINT."""
    try:
        log_ballot, crc, stamp = _CHECKPOINT.unpack_from(record.body)
    except struct.error as error:
        raise Corruption(f"checkpoint of group {record.group} does not decode: {error}") from error
    configuration, descriptor = unpack_replicas(record.configuration, record.body, _CHECKPOINT.size)
    return Ballot(log_ballot), Mark(record.slot, crc, Stamp(stamp)), configuration, descriptor


def unpack_base(record: Record) -> tuple[Mark, Configuration | None]:
    """The mark and the configuration of a BASE record (which has none in logs of before there were several)."""
    try:
        crc, stamp = _BASE.unpack_from(record.body)
    except struct.error as error:
        raise Corruption(f"snapshot base of group {record.group} does not decode: {error}") from error
    mark = Mark(record.slot, crc, Stamp(stamp))
    if len(record.body) == _BASE.size:
        return mark, None
    return mark, unpack_replicas(record.configuration, record.body, _BASE.size)[0]


def unpack_install(body: bytes) -> Iterator[bytes]:
    """The encoded entries of an INSTALL. Raises Corruption if lengths and body disagree."""
    offset = 0
    while offset < len(body):
        if offset + _LENGTH.size > len(body):
            raise Corruption("an installed suffix ends inside a length")
        (length,) = _LENGTH.unpack_from(body, offset)
        offset += _LENGTH.size
        if offset + length > len(body):
            raise Corruption("an installed suffix ends inside an entry")
        yield body[offset : offset + length]
        offset += length
