"""What a replica keeps under one name: versions of an opaque value, or the state of a merge type.

Owns names and the one operation that all machines of this room are built on: to *join* what two replicas know. Whatever
arrives late, twice or out of order is joined again, with no effect.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from gramme.kernel.errors import Corruption, InvalidInput
from gramme.objects.merge_types import Typed, join
from gramme.objects.versions import NO_VECTOR, Vector, Versions, last_write, merge
from gramme.placement.ring import place_of

MAX_BUCKET_BYTES: Final = 255
MAX_KEY_BYTES: Final = 4096
DEFAULT_TYPE: Final = b"default"


class Name(NamedTuple):
    """An object: type of its bucket, bucket, key; raw bytes as the client gave them."""

    type: bytes
    bucket: bytes
    key: bytes

    @property
    def place(self) -> bytes:
        """Type and bucket as one string: what the key is hashed with."""
        return place_of(self.type, self.bucket)


def check_name(name: Name) -> None:
    """Raise InvalidInput for an empty or an oversized part."""
    for what, part, limit in (
        ("bucket type", name.type, MAX_BUCKET_BYTES),
        ("bucket", name.bucket, MAX_BUCKET_BYTES),
        ("key", name.key, MAX_KEY_BYTES),
    ):
        if not 1 <= len(part) <= limit:
            raise InvalidInput(f"the {what} has {len(part)} bytes; it must have 1 to {limit}")


def encode_name(name: Name) -> bytes:
    """As it stands in rows: type and bucket with their lengths in front, so that a bucket is a prefix; then the key."""
    return name.place + name.key


def decode_name(encoded: bytes) -> Name:
    """The inverse of `encode_name`. Raises Corruption if it is too short."""
    at = 1 + encoded[0] if encoded else 0
    end = at + 1 + encoded[at] if at and at < len(encoded) else 0
    if not end or end > len(encoded):
        raise Corruption("the name of an object is cut short")
    return Name(encoded[1:at], encoded[at + 1 : end], encoded[end:])


State = Versions | Typed


def seen(state: State | None) -> Vector:
    """The version vector of a state."""
    return NO_VECTOR if state is None else state.seen


def joined(one: State | None, other: State, last_write_wins: bool = False) -> State:
    """What a replica knows that knew `one` and hears `other`. Of states of different kinds (a bucket
    that was given another type) one stays, the same everywhere. Commutative, associative, idempotent."""
    match one, other:
        case (Versions(), Versions()):
            merged = merge(one, other)
            return last_write(merged) if last_write_wins else merged
        case (Typed(), Typed()) if type(one.store) is type(other.store):
            return join(one, other)
        case (Typed(), Typed()):
            return max(one, other, key=lambda typed: type(typed.store).__name__)
        case (Typed(), _):
            return one
    return last_write(other) if last_write_wins and isinstance(other, Versions) else other


def is_news(known: State | None, heard: State) -> bool:
    """Whether who knows `known` would know more after hearing `heard`. To who knows nothing it is none that nothing is
    left of the key (`Versions.bare`)."""
    if known is None and isinstance(heard, Versions) and heard.bare:
        return False
    return joined(known, heard) != known


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """One of the two."""

    versions: Versions | None = None
    typed: Typed | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Stored).decode
_decode_vector: Final = msgspec.msgpack.Decoder(Vector).decode
_BARE: Final = b"\0"  # begins no array


def encode_state(state: State) -> bytes:
    """As it is stored and sent; equal states encode equally, so hashes may be compared."""
    if isinstance(state, Typed):
        return _encode(_Stored(typed=state))
    return _BARE + _encode(state.seen) if state.bare else _encode(_Stored(versions=state))


def is_bare(stored: bytes) -> bool:
    """Whether an encoded state is a vector without values, which nobody need hear of."""
    return stored[:1] == _BARE


def decode_state(stored: bytes) -> State:
    """The inverse of `encode_state`. Raises Corruption."""
    try:
        if is_bare(stored):
            return Versions(_decode_vector(stored[1:]))
        both = _decode(stored)
    except msgspec.DecodeError as error:
        raise Corruption(f"an object's state does not decode: {error}") from error
    state = both.versions if both.versions is not None else both.typed
    if state is None:
        raise Corruption("an object's state is empty")
    return state
