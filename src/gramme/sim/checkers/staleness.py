"""Eventual reads: what they may return.

An eventual read returns a value that some write put there, never one from the future. Where the network was sound, it
is also not older than the allowed lag: a value is certainly gone once a write that was invoked after the value's own
write returned has itself returned; from then on it may be seen for `max_lag_ns`, and no longer. Likewise for nothing:
an item is certainly there once a write that leaves one has returned, as long as nobody has begun to delete it since.
"""

from __future__ import annotations

from collections.abc import Sequence

from gramme.sim.checkers.history import Kind, Operation, Outcome

_LEAVE_AN_ITEM = (Kind.PUT, Kind.INSERT, Kind.REPLACE, Kind.ADD)
_OVERWRITES = (Kind.PUT, Kind.INSERT, Kind.REPLACE, Kind.DELETE)


def stale_read(history: Sequence[Operation], max_lag_ns: int | None) -> str | None:
    """What is wrong with the first bad eventual read, or None. `max_lag_ns` None: only existence is checked."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        if operation.outcome is not Outcome.REFUSED:
            by_key.setdefault(operation.key, []).append(operation)
    for operations in by_key.values():
        writes = (o for o in operations if o.value is not None and o.outcome is not Outcome.FAILED)
        writers: dict[str | None, Operation] = {o.value: o for o in writes}
        overwrites = [o for o in operations if o.kind in _OVERWRITES and o.outcome is Outcome.OK]
        births = [o for o in operations if o.kind in _LEAVE_AN_ITEM and o.outcome is Outcome.OK]
        deletions = [o for o in operations if o.kind is Kind.DELETE]
        for read in operations:
            if read.kind is Kind.PEEK and read.outcome is Outcome.OK:
                if read.seen is not None:
                    fault = _fault(read, writers, overwrites, max_lag_ns)
                else:
                    fault = _missed(read, births, deletions, max_lag_ns)
                if fault is not None:
                    return fault
    return None


def _fault(
    read: Operation, writers: dict[str | None, Operation], overwrites: list[Operation], max_lag_ns: int | None
) -> str | None:
    assert read.seen is not None
    if read.seen.value is None:
        return None
    write = writers.get(read.seen.value)
    if write is None or write.invoke_ns > (read.return_ns or 0):
        return f"an eventual read of {read.key} saw {read.seen.value}, which nobody had written: {read}"
    if max_lag_ns is None or write.outcome is not Outcome.OK or write.return_ns is None:
        return None
    for later in overwrites:
        gone_ns = later.return_ns
        if gone_ns is not None and later.invoke_ns > write.return_ns and gone_ns + max_lag_ns < read.invoke_ns:
            lag_ns = read.invoke_ns - gone_ns
            return f"an eventual read of {read.key} saw {read.seen.value}, {lag_ns / 1e9:.3f} s after it was gone"
    return None


def _missed(read: Operation, births: list[Operation], deletions: list[Operation], max_lag_ns: int | None) -> str | None:
    """`read` saw nothing."""
    if max_lag_ns is None or read.return_ns is None:
        return None
    tried = [deletion for deletion in deletions if deletion.invoke_ns <= read.return_ns]
    for birth in births:
        there_ns = birth.return_ns
        if there_ns is None or there_ns + max_lag_ns >= read.invoke_ns:
            continue
        if all(deletion.return_ns is not None and deletion.return_ns < birth.invoke_ns for deletion in tried):
            lag_ns = read.invoke_ns - there_ns
            return f"an eventual read of {read.key} saw nothing, {lag_ns / 1e9:.3f} s after an item was there: {birth}"
    return None
