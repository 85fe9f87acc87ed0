"""Pages of a partition's rows: read from the engine, or cut out of what was read lately.

Owns the walk over rows, and when what it has shown is kept: the items of one partition key, as far as they were read,
until one of them is written (`gramme.storage.engine.kept`). A page is the same either way, and of the same moment: what
is kept is what is applied.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.errors import Invariant
from gramme.node.changes.item_changes import ITEMS, ITEMS_END, LOCAL
from gramme.node.evaluator import Read, ReadLately, Scan
from gramme.tables.descriptor import KeySchema
from gramme.tables.item import HEADER_BYTES, decode_item, item_json, sizes_of, stored_size
from gramme.tables.keys import HASH_BYTES, key_of
from gramme.tables.requests import READ_UNIT_BYTES, Page, ScanRange
from gramme.tables.stretch import Stretch, stretch_read

STRETCH_BYTES: Final = 128 << 10
"""Of one partition key's items, as much is kept."""


def read_page(request: ScanRange, get: Read, scan: Scan, lately: ReadLately | None) -> Page:
    """The page that `request` asks for. Without `lately` nothing is kept, and nothing that is kept is looked at."""
    start, end = request.start, request.end
    shared = start[:HASH_BYTES]
    if lately is None or request.index or len(shared) < HASH_BYTES or end[:HASH_BYTES] != shared or start > end:
        return _walk(request, get, scan)[0]
    shared = ITEMS + shared
    known: Stretch | None = lately.find(shared)
    if known is not None:
        page = known.page(request)
        if page is not None:
            return page
    page, rows, sizes = _walk(request, get, scan)
    shown = stretch_read(request, page, [row[1:] for row in rows], sizes)
    if known is not None:
        whole = known.joined(shown)
        size = whole.size_bytes
        if size <= STRETCH_BYTES:
            lately.keep(shared, whole, size)
            return page
    size = shown.size_bytes
    if size <= STRETCH_BYTES:
        lately.keep(shared, shown, size)
    return page


def page_range(request: ScanRange) -> tuple[bytes, bytes]:
    """The rows that `request` walks: [start, end)."""
    if request.index:
        prefix = LOCAL + bytes((request.index,))
        top = LOCAL + bytes((request.index + 1,))
    else:
        prefix, top = ITEMS, ITEMS_END
    return prefix + request.start, prefix + request.end if request.end else top


def _walk(request: ScanRange, get: Read, scan: Scan) -> tuple[Page, list[bytes], list[int]]:
    """Rows until `limit` or `max_bytes` is reached; the row that crosses the byte bound is still part of the page. With
    the keys of the rows, and the size up to and with each."""
    items: list[bytes] = []
    rows: list[bytes] = []
    sizes: list[int] = []
    last_key: bytes | None = None
    size = fetched = 0
    start, end = page_range(request)
    fetch, max_bytes = request.fetch, request.max_bytes
    left = -1 if request.limit is None else request.limit
    for row, stored in scan(start, end, request.reverse):
        size += sizes_of(stored)[0]
        if fetch is not None:
            stored = _item_of(fetch, stored, get)
            fetched += -(-stored_size(stored) // READ_UNIT_BYTES)
        items.append(stored[HEADER_BYTES:])
        rows.append(row)
        sizes.append(size)
        left -= 1
        if left == 0 or size + fetched * READ_UNIT_BYTES >= max_bytes:
            last_key = row[len(start) - len(request.start) :]
            break
    return Page(items, last_key, size, fetched), rows, sizes


def _item_of(schema: KeySchema, entry: bytes, get: Read) -> bytes:
    """The stored item that an entry of a local index is of."""
    stored = get(ITEMS + key_of(schema, decode_item(item_json(entry))))
    if stored is None:
        raise Invariant("a local index has an entry without its item")
    return stored
