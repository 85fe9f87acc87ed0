"""While a cluster is simulated, nothing may ask the real machine for time, randomness or threads (REPLICATION.md §10).

The lint forbids those imports below `runtime`; this catches what a library does on our behalf, and functions reached
some other way. Only the simulating thread is watched: a progress bar beside it may look at the clock.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final


class AmbientAccess(RuntimeError):
    """Simulated code reached past its ports; the text says for what."""


_FORBIDDEN: Final[tuple[tuple[Any, str], ...]] = (
    (time, "time"),
    (time, "time_ns"),
    (time, "monotonic"),
    (time, "monotonic_ns"),
    (time, "perf_counter"),
    (time, "perf_counter_ns"),
    (time, "clock_gettime"),
    (time, "clock_gettime_ns"),
    (time, "sleep"),
    (os, "urandom"),
    (uuid, "uuid1"),
    (uuid, "uuid4"),
    (random, "random"),
    (random, "randrange"),
    (random, "randint"),
    (random, "choice"),
    (random, "shuffle"),
    (random, "uniform"),
    (random, "getrandbits"),
    (random, "randbytes"),
    (threading.Thread, "start"),
)


@contextmanager
def forbid_ambient() -> Iterator[None]:
    """Make every such call of the current thread raise `AmbientAccess` until the block ends."""
    thread = threading.get_ident()
    originals = [(owner, name, getattr(owner, name)) for owner, name in _FORBIDDEN]
    try:
        for owner, name, original in originals:
            setattr(owner, name, _refusing(f"{owner.__name__}.{name}", original, thread))
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _refusing(what: str, original: Callable[..., Any], thread: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            raise AmbientAccess(f"simulated code called {what}: time, randomness and threads come in through ports")
        return original(*args, **kwargs)

    return call
