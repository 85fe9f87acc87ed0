"""What nodes say to each other while sections of objects change hands. As `gramme.objects.messages`.

Every `Lacking` leaves only when all that its sender had heard until then is durable: "I lack nothing of these" is a
promise on which the asker may drop its own copy.
"""

from __future__ import annotations

import msgspec

from gramme.objects.state import Name
from gramme.objects.store import Section


class _Wire(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class Offer(_Wire, tag="ObjOffer", frozen=True):
    """I keep something of `section` that you should have: the level below the root of my tree (`merkle.pack`)."""

    id: int
    section: Section
    branches: bytes


class OfferLeaves(_Wire, tag="ObjOfferLeaves", frozen=True):
    """The buckets' hashes below some branches, packed."""

    id: int
    section: Section
    branches: list[tuple[int, bytes]]


class OfferNames(_Wire, tag="ObjOfferNames", frozen=True):
    """Names in some buckets, and the hash of what the sender knows of each."""

    id: int
    section: Section
    buckets: list[int]
    items: list[tuple[Name, bytes]]


class Deliver(_Wire, tag="ObjDeliver", frozen=True):
    """States that the receiver lacks."""

    id: int
    section: Section
    states: list[tuple[Name, bytes]]


class Lacking(_Wire, tag="ObjLacking", frozen=True):
    """Of what was offered the sender lacks these: branches, buckets, or indexes of items. After `Deliver`: none.
    `refused`: it has no room now; offer again later."""

    id: int
    which: list[int] = []
    refused: bool = False


class SizesAsked(_Wire, tag="ObjSizesAsked", frozen=True):
    """How much do you keep, and what is your weight?"""

    id: int


class SectionSize(_Wire, frozen=True):
    """Of one section at one node: objects, and bytes of their states; exact, or worked out from a sample."""

    section: Section
    objects: int
    size: int
    exact: bool


class SizesAre(_Wire, tag="ObjSizesAre", frozen=True):
    """The answer."""

    id: int
    weight: int
    sizes: list[SectionSize]


class Progress(_Wire, frozen=True):
    """How far a node is with what it owes others. `tasks` are pairs of a section and a node that must have it;
    `bytes_left` is an estimate, too high where the other has much of it already; `rate` is bytes a second at most."""

    done: int = 0
    tasks: int = 0
    bytes_moved: int = 0
    bytes_left: int = 0
    rate: int = 0
    spare: int = 0  # sections kept that are not this node's


class RingReport(_Wire, tag="ObjRingReport", frozen=True):
    """The sender works with the configuration of this version, durably, in which the ring is at step (ring, other), and
    has `filled` what it has to in that step."""

    config: int
    ring: int
    other: int
    filled: bool
    progress: Progress


class ConfigurationIs(_Wire, tag="ObjConfigurationIs", frozen=True):
    """A newer configuration than the receiver says that it has; it was committed in the catalog."""

    config: bytes


TRANSFER_MESSAGES = (Offer, OfferLeaves, OfferNames, Deliver, Lacking)
RING_MESSAGES = (SizesAsked, SizesAre, RingReport, ConfigurationIs)
