"""What all nodes must agree on about objects: the ring, and how buckets are kept.

Owns the values. They are committed in the catalog and handed on as whole, numbered copies; each node keeps its newest
one in its log and works with it alone, so that reading and writing objects, and restarting, need no quorum of anything
(REPLICATION.md §8). A bucket that nobody has configured has its type's settings, a type that nobody has configured the
defaults.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.kernel.errors import Corruption, InvalidInput
from gramme.kernel.ids import NodeId
from gramme.objects.expiry import MAX_EXPIRY_S
from gramme.objects.merge_types import KINDS, Kind
from gramme.objects.quorums import MAX_N, Count, resolve
from gramme.objects.state import DEFAULT_TYPE, Name
from gramme.objects.store import Keeping
from gramme.placement.ring import Ring

DEFAULT_N: Final = 3
FOUNDED_VERSION: Final = 1
"""Of the configuration that every founder works out for itself from the founding members."""


class BucketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the objects of a bucket are kept. `former_n`: numbers of replicas that it had before."""

    n: int = DEFAULT_N
    r: Count = "quorum"
    w: Count = "quorum"
    pr: Count = 0
    pw: Count = 0
    dw: Count = "quorum"
    allow_mult: bool = True
    last_write_wins: bool = False
    notfound_ok: bool = True
    basic_quorum: bool = False
    datatype: Kind | None = None  # of all its values; None: opaque objects
    # One copy of a write is made durable soon, the others a while later (row A42). Not encoded where it was never set:
    # what nodes of before have written stays as it is, byte for byte.
    buffered: bool | msgspec.UnsetType = msgspec.UNSET
    expiry_s: int | msgspec.UnsetType = msgspec.UNSET  # after which a value written without its own expires; 0: never
    former_n: tuple[int, ...] = ()

    @property
    def lifetime_s(self) -> int:
        """After how many seconds a value expires; 0: never."""
        return 0 if self.expiry_s is msgspec.UNSET else self.expiry_s


DEFAULTS: Final = BucketSettings()


def check_settings(settings: BucketSettings) -> None:
    """Raise InvalidInput for what cannot be kept."""
    if not 1 <= settings.n <= MAX_N:
        raise InvalidInput(f"n_val {settings.n} is out of range: 1 to {MAX_N}")
    for name, count in (
        ("r", settings.r),
        ("w", settings.w),
        ("pr", settings.pr),
        ("pw", settings.pw),
        ("dw", settings.dw),
    ):
        if count == "default":
            raise InvalidInput(f"{name} of a bucket cannot be 'default': that is what it defines")
        resolve(name, count, count, settings.n)
    if settings.buffered is True and resolve("dw", settings.dw, settings.dw, settings.n) > 1:
        raise InvalidInput("a buffered bucket has one durable copy: its dw must be 0 or 1")
    if settings.datatype is not None and settings.datatype not in KINDS:
        raise InvalidInput(f"datatype '{settings.datatype}' is unknown: {', '.join(KINDS)}")
    if not 0 <= settings.lifetime_s <= MAX_EXPIRY_S:
        raise InvalidInput(f"default_time_to_live is out of range: 0 (never) to {MAX_EXPIRY_S} seconds")
    if settings.datatype is not None and settings.lifetime_s:
        raise InvalidInput("values of a datatype do not expire")
    if settings.datatype is not None and (settings.last_write_wins or not settings.allow_mult):
        raise InvalidInput("a datatype needs allow_mult, and neither of its writes wins over the other")


class ObjectConfig(msgspec.Struct, frozen=True):
    """One version of all of it. `types` by name, `buckets` by `Name.place`.

    While the ring changes there is an `other` one beside it, which is written too (`gramme.objects.ring_phases`).
    `joining` and `leaving` are staged: nothing follows from them until a plan is committed.
    """

    version: int
    ring: Ring
    types: dict[bytes, BucketSettings] = {}
    buckets: dict[bytes, BucketSettings] = {}
    other: Ring | None = None
    joining: tuple[NodeId, ...] = ()
    leaving: tuple[NodeId, ...] = ()

    def knows(self, type_: bytes) -> bool:
        """Whether there is such a bucket type."""
        return type_ == DEFAULT_TYPE or type_ in self.types

    def settings(self, name: Name) -> BucketSettings:
        """Those of the bucket of `name`."""
        found = self.buckets.get(name.place)
        return found if found is not None else self.types.get(name.type, DEFAULTS)

    def keeping(self, name: Name) -> Keeping:
        """What a replica must know of them."""
        settings = self.settings(name)
        last_write_wins = settings.last_write_wins or not settings.allow_mult
        return Keeping(settings.n, last_write_wins, settings.former_n, settings.buffered is True)

    def replica_counts(self) -> tuple[int, ...]:
        """Every n that any object may be kept with, ascending."""
        counts = {DEFAULT_N: None}
        for settings in (*self.types.values(), *self.buckets.values()):
            counts |= dict.fromkeys((settings.n, *settings.former_n))
        return tuple(sorted(counts))


def with_bucket(config: ObjectConfig, place: Name, settings: BucketSettings | None) -> ObjectConfig:
    """The next version, in which the bucket of `place` has `settings` (None: its type's again).

    Its objects are found under the numbers of replicas that it had before. Raises InvalidInput as `check_settings`, and
    for another datatype than it has, which is not that of what is stored."""
    before = config.settings(place)
    after = config.types.get(place.type, DEFAULTS) if settings is None else settings
    check_settings(after)
    if after.datatype != before.datatype:
        raise InvalidInput("the datatype of a bucket cannot be changed")
    former = tuple(dict.fromkeys((*before.former_n, before.n)))
    kept = msgspec.structs.replace(after, former_n=tuple(n for n in former if n != after.n))
    buckets = dict(config.buckets)
    if settings is None and not kept.former_n:
        buckets.pop(place.place, None)
    else:
        buckets[place.place] = kept
    return msgspec.structs.replace(config, version=config.version + 1, buckets=buckets)


def with_type(config: ObjectConfig, type_: bytes, settings: BucketSettings) -> ObjectConfig:
    """The next version, with a new bucket type. Raises InvalidInput as `check_settings`, and if it exists: a type is
    made once and does not change.

    A replica that has not heard of the type yet keeps its objects under the default n: they are found there."""
    check_settings(settings)
    if config.knows(type_):
        raise InvalidInput("the bucket type exists already")
    former = () if settings.n == DEFAULT_N else (DEFAULT_N,)
    made = msgspec.structs.replace(settings, former_n=former)
    return msgspec.structs.replace(config, version=config.version + 1, types={**config.types, type_: made})


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(ObjectConfig)


def encode_config(config: ObjectConfig) -> bytes:
    """As it is committed, kept and sent."""
    return _encode(config)


def decode_config(encoded: bytes) -> ObjectConfig:
    """The inverse. Raises Corruption."""
    try:
        return _decoder.decode(encoded)
    except msgspec.DecodeError as error:
        raise Corruption(f"the configuration of objects does not decode: {error}") from error
