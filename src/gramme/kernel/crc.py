"""CRC-32C (Castagnoli), the one checksum of the house."""

from __future__ import annotations

from crc32c import crc32c as _crc32c


def crc32c(data: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """CRC-32C of `data`, continued from `seed` (the CRC of what precedes it)."""
    return _crc32c(data, seed)
