"""Values whose time is over: what readers are shown, and what replicas keep of them.

A value carries the wall-clock time at which it expires, stamped once, by the node that took the write, so that all
replicas agree on it. From then on readers are not shown it. Later, when it has expired by everybody's clock
(`grace`), each replica for itself puts the trace of a deletion in its place, under the same dot: its body is gone,
what it had replaced stays replaced, and where the last write wins it still wins over what is older. From there it goes
the way of every deletion (`gramme.objects.reaping`).

Merging takes that trace over the value itself (`versions.merge`), so it does not matter that replicas sweep at
different times: none brings the value back.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.kernel.time import SECOND, Timestamp
from gramme.objects.state import State
from gramme.objects.versions import Sibling, Value, Versions

MAX_EXPIRY_S: Final = 10 * 366 * 24 * 3_600
"""A value lives ten years at most; more is taken for a mistake (milliseconds)."""

GRACE_NS: Final = 60 * SECOND
"""Clocks of a cluster are taken to be closer together than this. If they are not, a value is shown for less long than
it was meant to be; nothing else goes wrong."""


def expiry(now: Timestamp, seconds: int) -> Timestamp:
    """When a value written `now` expires that lives for `seconds`; 0: never."""
    return Timestamp(now + seconds * SECOND if seconds else 0)


def is_over(value: Value, now: Timestamp) -> bool:
    """Whether the time of `value` is over."""
    return 0 < value.expires <= now


def shown(versions: Versions, now: Timestamp) -> Versions:
    """What a reader is shown: without the values whose time is over, or what is left of them."""
    if not any(sibling.value.expires for sibling in versions.siblings):
        return versions
    return Versions(versions.seen, tuple(sibling for sibling in versions.siblings if not is_over(sibling.value, now)))


def without_expired(state: State, over: Timestamp) -> State:
    """What a replica keeps: values that expired by `over` have left a deletion. `state` itself if there are none."""
    if not isinstance(state, Versions) or not any(_is_due(sibling.value, over) for sibling in state.siblings):
        return state
    return Versions(
        state.seen,
        tuple(
            Sibling(sibling.dot, _trace(sibling.value)) if _is_due(sibling.value, over) else sibling
            for sibling in state.siblings
        ),
    )


def _is_due(value: Value, over: Timestamp) -> bool:
    return not value.deleted and is_over(value, over)


def _trace(value: Value) -> Value:
    return msgspec.structs.replace(value, body=b"", content_type=Value(b"").content_type, meta=(), deleted=True)
