"""Damage to a simulated log disk, for good: a bit, a sector, or the end of the newest segment.

Rule: only what recovery can know of. What no durable mark testifies for yet may be lost without a word
(docs/decisions/0002-torn-tail.md); to lose that is no fault of the node, so it is put back.
"""

from __future__ import annotations

from random import Random

from gramme.kernel.record import RecordKind
from gramme.node.applied_rows import read_applied
from gramme.node.extents import read_extent
from gramme.sim.disk import SECTOR_BYTES, SimLogDisk
from gramme.storage.engine.memory import MemoryEngine
from gramme.storage.log.recovery import Damage, recover


def rot(disk: SimLogDisk, engine: MemoryEngine, rng: Random, tail: bool) -> bool:
    """Damage records of the newest two segments; with `tail`, the end of the newest for sure. Returns whether there is
    damage now."""
    segments = [segment for segment in disk.stored() if len(disk.marked_records(segment)) > SECTOR_BYTES]
    if not segments:
        return False
    before = disk.contents()
    segment = segments[-1 - rng.randrange(min(2, len(segments)))]
    records = disk.marked_records(segment)
    offset = records[rng.randrange(len(records) - SECTOR_BYTES)]
    match 2 if tail else rng.randrange(3):
        case 0:
            disk.flip(segment, offset, rng.randrange(8))
        case 1:
            disk.wipe(segment, offset)
        case _ if segments[-1] == disk.stored()[-1]:
            disk.truncate(segments[-1], disk.marked_records(segments[-1])[-1 - rng.randrange(SECTOR_BYTES)])
        case _:
            return False
    if _is_silent(before, disk.contents(), engine):
        disk.restore(before)
        return False
    return True


def _is_silent(before: dict[int, bytes], after: dict[int, bytes], engine: MemoryEngine) -> bool:
    """Whether damage takes records of a group of which nothing else that is missing tells.

    For the last job before a crash no durable mark testifies yet, so its loss passes for a torn write: that window is
    accepted (docs/decisions/0002-torn-tail.md). An entry that the engine has says nothing of what else is lost.
    """
    sound, damaged = recover(before.items()), recover(after.items())
    kept = dict(damaged.records)
    lost = [(lsn, record) for lsn, record in sound.records if lsn not in kept]
    told = [damage for damage in damaged.damaged if not _is_applied(damage, engine)]
    if any(damage.identifier is None for damage in told):
        return False
    groups = {damage.identifier.group for damage in told if damage.identifier is not None}
    known = {lsn for damage in damaged.damaged for lsn in range(damage.lsn, damage.lsn + max(1, damage.records))}
    return any(lsn not in known and record.group and record.group not in groups for lsn, record in lost)


def _is_applied(damage: Damage, engine: MemoryEngine) -> bool:
    identifier = damage.identifier
    if identifier is None or identifier.kind not in (RecordKind.ACCEPT, RecordKind.LEARN):
        return False
    return identifier.slot <= read_applied(engine, read_extent(engine, identifier.group)).slot
