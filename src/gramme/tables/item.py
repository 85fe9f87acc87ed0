"""Items at rest: canonical wire JSON behind a small binary header.

Owns the stored value of an item row (REPLICATION.md §7): `header | canonical JSON`. The header carries what
transactions, expiry, global tables and encryption need without a new format; the JSON is what GetItem answers,
byte for byte. Canonical means: key attributes first (hash, range), the others in the order given, numbers in normal
form, no white space. Rule: a reader slices, it does not decode.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import astuple

from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.time import Stamp
from gramme.tables.descriptor import KeySchema
from gramme.tables.requests import Item

FORMAT: Final = 1
TOMBSTONE: Final = 1  # flag: the item was deleted; kept where a reader of stamps needs it, without JSON
MAX_ITEM_BYTES: Final = 400 * 1024

# format u8, stamp u64, origin region u16, key id u32, size u32, expiry u64, flags u8; big-endian
_HEADER: Final = Struct(">BQHIIQB")
HEADER_BYTES: Final = _HEADER.size
_SIZE: Final = Struct(">I")
_SIZE_AT: Final = 15
_STAMP: Final = Struct(">Q")
_STAMP_AT: Final = 1

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode


class StoredHeader(NamedTuple):
    """The decoded header. `expiry_s` is seconds since the epoch, 0 for never; `key_id` 0 is 'not encrypted'."""

    stamp: Stamp
    size: int  # DynamoDB item size in bytes
    region: int = 0
    key_id: int = 0
    expiry_s: int = 0
    flags: int = 0


def encode_stored(
    item_json: bytes, size: int, stamp: int, *, region: int = 0, key_id: int = 0, expiry_s: int = 0, flags: int = 0
) -> bytes:
    """The stored value of an item of DynamoDB size `size` written at `stamp`."""
    return _HEADER.pack(FORMAT, stamp, region, key_id, size, expiry_s, flags) + item_json


def encode_tombstone(stamp: int, *, region: int = 0) -> bytes:
    """The stored value of a deleted item, for tables whose readers compare stamps."""
    return _HEADER.pack(FORMAT, stamp, region, 0, 0, 0, TOMBSTONE)


def decode_header(stored: bytes) -> StoredHeader:
    """The header of a stored value. Raises Corruption if it is cut, Incompatible if its format is unknown."""
    if len(stored) < HEADER_BYTES:
        raise Corruption(f"a stored item of {len(stored)} bytes is shorter than its header of {HEADER_BYTES}")
    version, stamp, region, key_id, size, expiry_s, flags = _HEADER.unpack_from(stored)
    if version != FORMAT:
        raise Incompatible(f"a stored item has format {version}; this release reads {FORMAT}")
    return StoredHeader(Stamp(stamp), size, region, key_id, expiry_s, flags)


def item_json(stored: bytes) -> bytes:
    """The canonical JSON of a stored value (empty for a tombstone). Raises Incompatible for an unknown format."""
    if stored[0] != FORMAT:
        raise Incompatible(f"a stored item has format {stored[0]}; this release reads {FORMAT}")
    return stored[HEADER_BYTES:]


def json_and_size(stored: bytes) -> tuple[bytes, int]:
    """`item_json` and `stored_size`."""
    if stored[0] != FORMAT:
        raise Incompatible(f"a stored item has format {stored[0]}; this release reads {FORMAT}")
    return stored[HEADER_BYTES:], _SIZE.unpack_from(stored, _SIZE_AT)[0]


sizes_of: Final = Struct(f">{_SIZE_AT}xI").unpack_from
"""(`stored_size`,) of a stored value, without a function of Python: for loops over rows."""


def stored_size(stored: bytes) -> int:
    """DynamoDB item size in bytes, out of the header."""
    size: int = _SIZE.unpack_from(stored, _SIZE_AT)[0]
    return size


def stored_stamp(stored: bytes) -> Stamp:
    """The stamp of the write that stored the value."""
    stamp: int = _STAMP.unpack_from(stored, _STAMP_AT)[0]
    return Stamp(stamp)


def restamped(stored: bytes, stamp: int) -> bytes:
    """The stored value with another stamp."""
    return b"".join((stored[:_STAMP_AT], _STAMP.pack(stamp), stored[_STAMP_AT + _STAMP.size :]))


def is_tombstone(stored: bytes) -> bool:
    """Whether the stored value says 'deleted'. Readers treat it as no item."""
    return stored[HEADER_BYTES - 1] & TOMBSTONE != 0


def encode_item(item: Item, names: tuple[str, ...]) -> bytes:
    """Canonical JSON of a normalised item whose key attributes are `names` (all present), e.g. `KeySchema.names`."""
    for name, expected in zip(item, names, strict=False):
        if name != expected:
            break
    else:
        return _encode(item)  # the keys stand first already
    ordered = {name: item[name] for name in names}
    ordered.update(item)  # a key present keeps its place
    return _encode(ordered)


def encode_attributes(attributes: Item) -> bytes:
    """JSON of some attributes in the order given (ReturnValues, projections)."""
    return _encode(attributes)


def decode_item(json: bytes) -> Item:
    """The attributes of canonical JSON. Raises Corruption if it is none (it was checked when it was written)."""
    try:
        return _decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corruption(f"a stored item is not canonical JSON: {error}") from error


def key_attributes(json: bytes, names: tuple[str, ...]) -> Item:
    """The attributes `names` of canonical JSON, which has them all; the others are passed over without making objects
    of them. Raises Corruption."""
    try:
        return dict(zip(names, astuple(_decoder_of(names)(json)), strict=True))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corruption(f"a stored item is not canonical JSON, or has not its key: {error}") from error


def key_json(json: bytes, names: tuple[str, ...]) -> bytes:
    """JSON of the attributes `names` of canonical JSON, which has them all: cut out where they stand in front, as a
    table's keys do. Raises Corruption."""
    found = _front_of(names)(json)
    return encode_attributes(key_attributes(json, names)) if found is None else found[0] + b"}"


_KEY_VALUE: Final = rb':\{"[SNB]":"[^"\\]*(?:\\.[^"\\]*)*"\}'


@lru_cache(512)
def _front_of(names: tuple[str, ...]) -> Callable[[bytes], re.Match[bytes] | None]:
    members = b",".join([re.escape(_encode(name)) + _KEY_VALUE for name in names])
    return re.compile(rb"\{" + members + b"(?=[,}])").match


@lru_cache(512)
def _decoder_of(names: tuple[str, ...]) -> Callable[[bytes], Any]:
    fields = [(f"attribute{at}", dict[str, Any]) for at in range(len(names))]
    renamed = {field: name for (field, _), name in zip(fields, names, strict=True)}
    return msgspec.json.Decoder(msgspec.defstruct("KeyAttributes", fields, rename=renamed)).decode


def key_of(item: Item, key: KeySchema) -> Item:
    """The primary key's attributes of an item, hash first: a LastEvaluatedKey, or the key of an UpdateItem."""
    return {name: item[name] for name in key.names}
