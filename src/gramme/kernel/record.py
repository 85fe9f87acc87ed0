"""A record of a node's shared log: what a machine asks to be made durable.

The framing (LSN, CRC-32C, the second copy of the identifier) belongs to `gramme.storage.log`; a machine only
says *what* must survive. Source: REPLICATION.md §5.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from gramme.kernel.ids import Ballot, GroupId, Slot


class RecordKind(IntEnum):
    """What a record means to the machine that wrote it. Numbers are on disk: append, never renumber."""

    BOOT = 1  # node: this process's boot id (body), the last 16 are announced to peers
    PEER_BOOT = 2  # node: the last boot id and durable LSN seen of a peer
    CREATE = 3  # group: created here; body = configuration, range, initial ballot
    DROP = 4  # group: dropped on a positive tombstone
    PROMISE = 5  # group: promised `ballot`
    ACCEPT = 6  # group: accepted one entry at `slot` in `ballot` (= log_ballot)
    INSTALL = 7  # group: adopted a whole log suffix after `slot`, log_ballot := `ballot`, atomically
    LEARN = 8  # group: a chosen entry at `slot`, taken from a leader while log_ballot differs
    BASE = 9  # group: state up to `slot` now comes from a snapshot; the log restarts after it
    CHECKPOINT = 10  # group: promised, log_ballot, configuration, chosen mark, repeated when a segment is begun
    NODE_CHECKPOINT = 11  # node: identity repeated when a segment is begun
    OBJECT = 12  # objects: reserved
    AMNESIA = 14  # group: damage may have hidden a vote; this replica takes no part, whatever later records say
    FOUND = 13  # node: cluster id, node id and founding configuration


class Record(msgspec.Struct, frozen=True, gc=False):
    """One log record without its framing: a Struct, because every write makes one (decision 0110).

    `slot` is 0 and `ballot` 0 where a kind has none. `key_id` names the encryption key of `body` (0: not encrypted).
    """

    kind: RecordKind
    group: GroupId
    slot: Slot
    ballot: Ballot
    configuration: int
    key_id: int
    body: bytes
