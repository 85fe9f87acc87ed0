"""What nodes say to each other about objects. Frozen, tagged, array-like: new fields go at the end, with a default.

States travel encoded (`gramme.objects.state`): whoever only keeps or passes one on need not look into it.
"""

from __future__ import annotations

import msgspec

from gramme.kernel.ids import NO_NODE, NodeId
from gramme.objects.merge_types import Kind, Operation
from gramme.objects.quorums import ReadQuorum, WriteQuorum
from gramme.objects.state import Name
from gramme.objects.store import Section
from gramme.objects.transfer_messages import RING_MESSAGES, TRANSFER_MESSAGES
from gramme.objects.versions import NO_VECTOR, Value, Vector


class _Wire(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


# --- between a client's node and a coordinator


class Get(_Wire, tag="ObjGet", frozen=True):
    """Read what the replicas of `name` know."""

    name: Name
    quorum: ReadQuorum


class Put(_Wire, tag="ObjPut", frozen=True):
    """Write `value`, which replaces what `context` has seen; or have `operation` done to a value of merge type `kind`.
    `blind`: the bucket keeps the last write only, so the write replaces whatever its coordinator knows."""

    name: Name
    quorum: WriteQuorum
    value: Value | None = None
    kind: Kind | None = None
    operation: Operation | None = None
    context: Vector = NO_VECTOR
    blind: bool = False
    prefer: NodeId = NO_NODE  # the coordinator that the client would like best (row A16)


class Got(_Wire, tag="ObjGot", frozen=True):
    """Answer to `Get`: the merged state, None if nobody knows the name; `fastest`: the primary that answered first."""

    state: bytes | None
    fastest: NodeId = NO_NODE


class Stored(_Wire, tag="ObjStored", frozen=True):
    """Answer to `Put`: what the coordinator knows now."""

    state: bytes


class Unmet(_Wire, tag="ObjUnmet", frozen=True):
    """A quorum was not reached in time: of `needed` answers of `kind` ("W", "PW", "DW", "R", "PR") `have` came. A write
    may be stored here and there all the same, and be read later."""

    kind: str
    have: int
    needed: int


class Invalid(_Wire, tag="ObjInvalid", frozen=True):
    """The request cannot be done to what is stored (another type, a number out of range); nothing was written."""

    reason: str


class Busy(_Wire, tag="ObjBusy", frozen=True):
    """Nothing was done: a bounded queue, the disk or the free-space reserve says no. Another node may say yes."""

    reason: str


Request = Get | Put
Outcome = Got | Stored | Unmet | Invalid | Busy


class Coordinate(_Wire, tag="ObjCoordinate", frozen=True):
    """Coordinate this request: the sender keeps no replica of the object. It is not sent on again (row A13)."""

    id: int
    request: Request
    deadline_ns: int  # what is left of the client's patience


class Coordinated(_Wire, tag="ObjCoordinated", frozen=True):
    """The answer to `Coordinate`."""

    id: int
    outcome: Outcome


# --- between a coordinator and replicas


class Fetch(_Wire, tag="ObjFetch", frozen=True):
    """What do you know of `name`, as a replica or as somebody's stand-in?"""

    id: int
    name: Name


class Fetched(_Wire, tag="ObjFetched", frozen=True):
    """The answer to `Fetch`; None: nothing."""

    id: int
    state: bytes | None


class Keep(_Wire, tag="ObjKeep", frozen=True):
    """Join `state` to what you know of `name`; if `stands_for` names a node, keep it as a hint for that one instead.
    Answered with `Kept`, at once if not `durable`, else when it is fsynced."""

    id: int
    name: Name
    state: bytes
    stands_for: NodeId = NO_NODE
    durable: bool = True


class Kept(_Wire, tag="ObjKept", frozen=True):
    """`Keep` is done: in memory and in the log's queue, and with `durable` on the disk."""

    id: int
    durable: bool


class NotKept(_Wire, tag="ObjNotKept", frozen=True):
    """`Keep` is refused, for want of room or because the engine is behind."""

    id: int


# --- between replicas, in the background


class HandOff(_Wire, tag="ObjHandOff", frozen=True):
    """What the sender kept for you while you could not be reached."""

    id: int
    name: Name
    state: bytes


class HandedOff(_Wire, tag="ObjHandedOff", frozen=True):
    """It is durable here: the hint may go. `refused`: it is not; try later."""

    id: int
    refused: bool = False


class CompareRoots(_Wire, tag="ObjCompareRoots", frozen=True):
    """Roots of the sender's trees of the sections that sender and receiver keep, in the sender's view of the ring; what
    is not listed is empty. Answered for those that differ."""

    roots: list[tuple[Section, bytes]]


class RootsDiffer(_Wire, tag="ObjRootsDiffer", frozen=True):
    """The level below the root, packed (`merkle.pack`)."""

    section: Section
    branches: bytes


class CompareLeaves(_Wire, tag="ObjCompareLeaves", frozen=True):
    """The buckets' hashes below one branch that differs, packed."""

    section: Section
    branch: int
    leaves: bytes


class LeavesDiffer(_Wire, tag="ObjLeavesDiffer", frozen=True):
    """These buckets differ."""

    section: Section
    buckets: list[int]


class CompareBucket(_Wire, tag="ObjCompareBucket", frozen=True):
    """Names in one bucket that differs, and the hash of what the sender knows of each."""

    section: Section
    bucket: int
    items: list[tuple[Name, bytes]]


class Exchange(_Wire, tag="ObjExchange", frozen=True):
    """States to be joined, and names of which the sender would like to know what the receiver does."""

    states: list[tuple[Name, bytes]]
    wanted: list[Name] = []


class AskHeld(_Wire, tag="ObjAskHeld", frozen=True):
    """What do you hold of these names? With each a digest of the sender's row. `version`: of its configuration."""

    id: int
    version: int
    items: list[tuple[Name, bytes]]


class Held(_Wire, tag="ObjHeld", frozen=True):
    """The answer, durable: one `reaping.Holding` for each name."""

    id: int
    holdings: bytes


# --- lists


class ListNames(_Wire, tag="ObjListNames", frozen=True):
    """Names in one section behind the cursor `after`: keys of `bucket`, or, if that is None, buckets of the type."""

    id: int
    section: Section
    bucket_type: bytes
    bucket: bytes | None
    after: bytes = b""


class NamesListed(_Wire, tag="ObjNamesListed", frozen=True):
    """One page; `after` is where the next one begins, b"" behind the last."""

    id: int
    section: Section
    names: list[bytes]
    after: bytes = b""


class Listed(_Wire, tag="ObjListed", frozen=True):
    """The outcome of a walk: all names in order, None if it could not be finished. Of a page: its names, and where the
    section's next one begins."""

    names: list[bytes] | None
    after: bytes = b""


REAPING_MESSAGES = (AskHeld, Held)
LISTING_MESSAGES = (ListNames, NamesListed)
COORDINATOR_MESSAGES = (Coordinate, Coordinated, Fetch, Fetched, Keep, Kept, NotKept)
HANDOFF_MESSAGES = (HandOff, HandedOff)
BACKGROUND_MESSAGES = (CompareRoots, RootsDiffer, CompareLeaves, LeavesDiffer, CompareBucket, Exchange)
MESSAGES = (
    *COORDINATOR_MESSAGES, *HANDOFF_MESSAGES, *BACKGROUND_MESSAGES, *REAPING_MESSAGES, *LISTING_MESSAGES,
    *TRANSFER_MESSAGES, *RING_MESSAGES,
)  # fmt: skip
