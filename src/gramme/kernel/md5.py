"""MD5, which spreads keys and names commands here and protects nothing.

Python's own implementation where the interpreter has it: on the few bytes of a key OpenSSL spends four times as long
on setting itself up as on hashing, and a strict (FIPS) OpenSSL refuses MD5.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import md5
else:
    try:
        from _md5 import md5
    except ImportError:
        from hashlib import md5 as _openssl

        md5 = partial(_openssl, usedforsecurity=False)

__all__ = ["md5"]
