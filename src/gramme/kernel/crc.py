"""CRC-32C (Castagnoli), the one checksum of the house: `crc32c(data, seed)` continues from `seed`, the CRC of what
precedes `data` (0: nothing does). It is the library's own function: a wrapper would cost more than the checksum."""

from __future__ import annotations

from crc32c import crc32c

__all__ = ["crc32c"]
