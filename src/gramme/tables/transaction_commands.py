"""What a coordinator, a recoverer and a partition say to each other about transactions: commands and their answers.

Owns the wire terms only. To partitions of tables go Prepare, Finish, WriteAll, Inquire and DropMarkers; to partitions
of the ledger go Begin, Decide, Recover, Settle, Close and Forget. Rule: every command may arrive late or twice and says
by itself whom it is about (`tx`: 16 random bytes, new for each attempt), so that what is out of date changes nothing.
Source: USENIX ATC 2023, sections 4.1 to 4.4; docs/decisions/0040.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.kernel.ids import GroupId, NodeId
from gramme.tables.requests import ReadVersions, VersionsRead, Written
from gramme.tables.transactions import Action, Reason, TokenMismatch, TransactionDone


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    pass


# --- to a partition of a table


class Prepare(_Wire, tag="Prepare", frozen=True):
    """Check `actions` and hold their items for the transaction `tx` with the timestamp `stamp` (wall nanoseconds),
    whose row in the ledger is `id`. Answer: Prepared or NotPrepared."""

    tx: bytes
    stamp: int
    id: bytes
    actions: list[Action]


class Finish(_Wire, tag="Finish", frozen=True):
    """Make what `tx` has prepared here final, or let go of it. Changes nothing where it holds nothing. Answer:
    Settled, when that is applied."""

    tx: bytes
    commit: bool


class WriteAll(_Wire, tag="WriteAll", frozen=True):
    """All of `actions` or none, at once: of a transaction whose items all live here. With `tx`, it leaves a marker by
    which its outcome is known as long as the ledger's row says that it runs; refused (NotPrepared) if `stamp` is not
    above the partition's floor. Answer: TransactionDone or NotPrepared."""

    actions: list[Action]
    tx: bytes = b""
    stamp: int = 0


class Inquire(_Wire, tag="Inquire", frozen=True):
    """What became of the WriteAlls of these transactions (tx, stamp)? With `fence`, those that have not arrived never
    take effect. Answer: Inquired."""

    txs: list[tuple[bytes, int]]
    fence: bool


class DropMarkers(_Wire, tag="DropMarkers", frozen=True):
    """The ledger knows the outcomes of `txs`. `floor`: the highest of their stamps; a WriteAll as old as that, or
    older, is refused from now on, so that none of them is done a second time. Answer: Settled."""

    txs: list[bytes]
    floor: int


class Prepared(_Wire, tag="Prepared", frozen=True):
    """The items are held. For each action its sizes and index units."""

    parts: tuple[Written, ...]


class NotPrepared(_Wire, tag="NotPrepared", frozen=True):
    """Nothing was done. For each action its reason, None where it could have been done; or, with no reasons at all, the
    timestamp is too old and must be above `stamp`."""

    reasons: tuple[Reason | None, ...]
    stamp: int = 0


class Settled(_Wire, tag="Settled", frozen=True):
    """It is as the command wanted it, whoever did it; or, not `whole`, a part of it is, and the rest is to be asked for
    again."""

    whole: bool = True


class Outcome(_Wire, frozen=True):
    """`done`: the WriteAll was committed, so. Else it has not arrived; `fenced`: and never takes effect."""

    done: TransactionDone | None
    fenced: bool = False


class Inquired(_Wire, tag="Inquired", frozen=True):
    """Answer to Inquire, in its order."""

    outcomes: tuple[Outcome, ...]


# --- to a partition of the ledger


class Participant(_Wire, frozen=True):
    """A partition that a transaction touches."""

    group: GroupId
    replicas: tuple[NodeId, ...]


class Begin(_Wire, tag="Begin", frozen=True):
    """The transaction `tx` begins under the key `id`. `digest` is b"" where there is no token; then the row is deleted
    as soon as all participants have finished. Answer: Begun, TokenMismatch, Running or Replay."""

    id: bytes
    tx: bytes
    digest: bytes
    stamp: int
    one_phase: bool
    participants: tuple[Participant, ...]


class Decide(_Wire, tag="Decide", frozen=True):
    """Commit `tx`, if it is still running, with the outcome `done`; or, with None, cancel it: its row is deleted
    (presumed abort). Answer: Decided."""

    id: bytes
    tx: bytes
    done: TransactionDone | None


class Recover(_Wire, tag="Recover", frozen=True):
    """From one who has waited long enough for `tx`: decide it now. One that runs is canceled, unless it is of one
    phase: of those, only the sweep of the ledger knows to ask. Answer: Verdict."""

    id: bytes
    tx: bytes


class Settle(_Wire, tag="Settle", frozen=True):
    """From the ledger leader's sweep: the outcomes of one-phase transactions (id, tx, done), as their partitions have
    told; None: fenced. Answer: Settled."""

    rows: tuple[tuple[bytes, bytes, TransactionDone | None], ...]


class Close(_Wire, tag="Close", frozen=True):
    """All participants of these committed transactions (id, tx) have finished, or need no marker any more: a token's
    time begins, if it has not. Answer: Settled."""

    rows: tuple[tuple[bytes, bytes], ...]


class Forget(_Wire, tag="Forget", frozen=True):
    """From the ledger leader's sweep: delete these rows (id, wall time of closing). Answer: Settled."""

    rows: tuple[tuple[bytes, int], ...]


class Begun(_Wire, tag="Begun", frozen=True):
    """The ledger's row says that the transaction runs."""


class Running(_Wire, tag="Running", frozen=True):
    """Another attempt under the same token runs, since `age_ns` as the ledger's leader sees it."""

    tx: bytes
    age_ns: int
    stamp: int
    one_phase: bool
    participants: tuple[Participant, ...]


class Replay(_Wire, tag="Replay", frozen=True):
    """An earlier attempt under the same token was committed. `participants`: those that may not have finished yet."""

    tx: bytes
    done: TransactionDone
    participants: tuple[Participant, ...]


class Decided(_Wire, tag="Decided", frozen=True):
    """Whether the transaction is committed."""

    commit: bool


class Verdict(_Wire, tag="Verdict", frozen=True):
    """Whether the transaction is committed, and who takes part in it (nobody: the row is gone, so it was canceled).
    `later`: it is not decided yet."""

    commit: bool
    participants: tuple[Participant, ...]
    later: bool = False


PartitionTransaction = Prepare | Finish | WriteAll | Inquire | DropMarkers
LedgerCommand = Begin | Decide | Recover | Settle | Close | Forget
TransactionCommand = PartitionTransaction | LedgerCommand | ReadVersions
TransactionReply = (
    Prepared
    | NotPrepared
    | Settled
    | Inquired
    | VersionsRead
    | Begun
    | TokenMismatch
    | Running
    | Replay
    | Decided
    | Verdict
    | TransactionDone
)

LEDGER: Final = "$ledger"
"""The ledger's name in the catalog: no client can give a table such a name."""
