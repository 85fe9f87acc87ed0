"""What a write of one item changes physically: its row, entries of local indexes, the record for those who consume it.

Pure. Plain writes and transactions share it: one item's decision (`gramme.tables.evaluate`) becomes a `Change`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.kernel.errors import InvalidInput
from gramme.kernel.time import Stamp
from gramme.node.evaluator import Answer, Change, Read
from gramme.node.mutation import ChangeRecord
from gramme.node.totals import Growth
from gramme.storage.engine.rows import Space
from gramme.tables.compare import equal
from gramme.tables.decisions import Put, Remove
from gramme.tables.indexes import (
    MAX_COLLECTION_BYTES,
    PartitionSchema,
    Replacement,
    check_index_keys,
    collection_key,
    replacements,
)
from gramme.tables.item import decode_item, encode_stored, is_tombstone, item_json
from gramme.tables.requests import CollectionFull, Item, Refused, Written

ITEMS: Final = bytes((Space.ITEMS,))
ITEMS_END: Final = bytes((Space.ITEMS + 1,))
LOCAL: Final = bytes((Space.LOCAL_INDEX,))

Image = tuple[Item, bytes]
"""An item and its JSON."""


DELETED_ROW: Final = bytes((Space.TRANSACTIONS,)) + b"deleted"
"""The highest stamp under which an item of the partition was deleted, or seen absent by a transaction (8 bytes, big
endian): the version of every absent item. USENIX ATC 2023, section 4.2, has it instead of tombstones."""


def item_change(
    schema: PartitionSchema,
    key: bytes,
    stored: bytes | None,
    decision: Put | Remove,
    stamp: Stamp,
    read: Read,
    prepared: bool = False,
    service: bool = False,
) -> Change | Answer:
    """What `decision` on the item under `key`, now `stored`, changes; or why its indexes do not take it.

    `prepared`: it was accepted before and must not be refused any more; what the indexes do not take they pass over,
    as they do with items that are older than they are. `service`: nobody asked for it, the item has expired.
    """
    if type(decision) is Put:
        json: bytes | None = decision.item
        puts = [(ITEMS + key, encode_stored(decision.item, decision.size, stamp))]
        change = Change(puts, [], decision.reply, (), _growth(decision.reply))
    else:
        json = None
        puts = [(DELETED_ROW, stamp.to_bytes(8, "big"))]
        change = Change(puts, [ITEMS + key], decision.reply, (), _growth(decision.reply))
    if not schema.indexes and schema.stream is None:
        return change
    return _with_consumers(schema, key, stored, json, change, stamp, read, prepared, service)


def refused_keys(schema: PartitionSchema, item: Item, row: bytes, updated: bool = False) -> Answer | None:
    """Why the indexes do not take an item to be written under `row`, None if they do. `updated`: `item` is what an
    update changed of it."""
    try:
        check_index_keys(schema.indexes, item, updated)
    except InvalidInput as error:
        return Answer(Refused(str(error)), (row,))
    return None


def _growth(reply: Written) -> tuple[Growth, ...]:
    """What an item write adds to the partition's totals."""
    old, new = reply.old_size, reply.new_size
    return () if old == new else ((0, (new > 0) - (old > 0), new - old),)


def _with_consumers(
    schema: PartitionSchema, key: bytes, stored: bytes | None, json: bytes | None, change: Change, stamp: Stamp,
    read: Read, prepared: bool, service: bool,
) -> Change | Answer:  # fmt: skip
    """Add to `change` what the write does to indexes and stream: rows of local indexes, a change record for global ones
    and the stream."""
    new: Image | None = None if json is None else (decode_item(json), json)
    old: Image | None = None
    if stored is not None and not is_tombstone(stored):
        old_json = item_json(stored)
        old = (decode_item(old_json), old_json)
    if new is not None and not prepared:
        # What an update leaves as it was may be older than an index, which then passes over it.
        before: Item = {} if old is None else old[0]
        touched = {name: value for name, value in new[0].items() if before.get(name) != value}
        refused = refused_keys(schema, touched, ITEMS + key, updated=True)
        if refused is not None:
            return refused
    changed = replacements(schema, key, old, new)
    local = [replacement for replacement in changed if replacement.by.kind == "LOCAL"]
    _local_rows(local, change, stamp)
    total = None
    if any(index.kind == "LOCAL" for index in schema.indexes):
        row = LOCAL + collection_key(schema.key, new[0] if new is not None else _image(old)[0])
        total, allowed = _collection(local, change.reply, row, change, read)
        if not (allowed or prepared):
            return Answer(CollectionFull(), (ITEMS + key, row))
    units = tuple((replacement.by.name, replacement.units) for replacement in changed)
    reply = msgspec.structs.replace(change.reply, indexes=units, collection_bytes=total)
    recorded = len(local) != len(changed) or (schema.stream is not None and not _same(old, new))
    records = (ChangeRecord(key, old and old[1], json, service),) if recorded else ()
    change.grown = (*change.grown, *(_index_growth(replacement) for replacement in local))
    change.reply, change.changes = reply, records
    return change


def _same(old: Image | None, new: Image | None) -> bool:
    """Whether a stream has nothing to tell of the write. Canonical JSON still has an order of attributes and of the
    elements of sets, as they were given."""
    if old is None or new is None or len(old[1]) != len(new[1]):
        return False
    return old[1] == new[1] or equal({"M": old[0]}, {"M": new[0]})


def _index_growth(replacement: Replacement) -> Growth:
    by, old, new = replacement
    size = (0 if new is None else new.size) - (0 if old is None else old.size)
    return by.number, (new is not None) - (old is not None), size


def _image(image: Image | None) -> Image:
    assert image is not None  # a change has an old or a new item
    return image


def _local_rows(changed: list[Replacement], change: Change, stamp: Stamp) -> None:
    for _, old, new in changed:
        if old is not None and (new is None or new.key != old.key):
            change.deletes.append(LOCAL + old.key)
        if new is not None:
            change.puts.append((LOCAL + new.key, encode_stored(new.json, new.size, stamp)))


def _collection(local: list[Replacement], reply: Written, row: bytes, change: Change, read: Read) -> tuple[int, bool]:
    """Count the collection's bytes on; False where it grows past its limit."""
    stored = read(row)
    before = 0 if stored is None else int.from_bytes(stored, "big")
    total = before + reply.new_size - reply.old_size
    for _, old, new in local:
        total += (0 if new is None else new.size) - (0 if old is None else old.size)
    allowed = total <= before or total <= MAX_COLLECTION_BYTES
    if total <= 0:
        change.deletes.append(row)
    else:
        change.puts.append((row, total.to_bytes(8, "big")))
    return max(0, total), allowed
