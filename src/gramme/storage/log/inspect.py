"""What a stopped node's log holds, for people: the pure half of `gramme data check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gramme.kernel.ids import ClusterId, GroupId, Lsn, Slot
from gramme.kernel.record import RecordKind
from gramme.storage.log.recovery import Damage, Torn, recover


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One segment: how many records count in it and which LSNs, how far it is filled, whose entries it holds."""

    number: int
    records: int
    first_lsn: Lsn
    last_lsn: Lsn
    used_bytes: int
    kinds: dict[RecordKind, int]
    groups: dict[GroupId, int]
    """Records of each group (0: the node's own), by group id."""
    highest_slots: dict[GroupId, Slot]
    damage: list[Damage]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole log. `sound` is false only when records are lost: a healed copy or a torn tail lost nothing."""

    cluster: ClusterId | None
    segments: list[SegmentReport]
    last_lsn: Lsn
    damaged: list[Damage]
    healed: list[Damage]
    torn: Torn | None

    @property
    def sound(self) -> bool:
        """Whether every record that may have been acknowledged is there."""
        return not self.damaged

    def lines(self) -> list[str]:
        """The report as text, a line each."""
        cluster = self.cluster.hex() if self.cluster else "unknown"
        out = [f"log of cluster {cluster}: {len(self.segments)} segments, last LSN {self.last_lsn}"]
        for segment in self.segments:
            lsns = f"LSN {segment.first_lsn} to {segment.last_lsn}" if segment.records else "empty"
            kinds = ", ".join(f"{count} {kind.name}" for kind, count in segment.kinds.items())
            out.append(f"  segment {segment.number}: {lsns}, {segment.used_bytes} bytes, {kinds or 'no records'}")
            for group, count in segment.groups.items():
                out.append(f"    group {group}: {count} records, highest slot {segment.highest_slots[group]}")
        out += [f"  DAMAGED {damage}" for damage in self.damaged]
        out += [f"  healed {damage}" for damage in self.healed]
        if self.torn:
            out.append(f"  torn tail cut: segment {self.torn.segment}, offset {self.torn.offset}, LSN {self.torn.lsn}")
        out.append("  sound" if self.sound else f"  NOT SOUND: {len(self.damaged)} places are damaged")
        return out


def inspect(segments: Iterable[tuple[int, bytes]]) -> Report:
    """Read the log as recovery would, changing nothing. Raises `Incompatible` as recovery does."""
    recovery = recover(segments)
    kinds: dict[int, Counter[RecordKind]] = {stats.number: Counter() for stats in recovery.segments}
    groups: dict[int, Counter[GroupId]] = {stats.number: Counter() for stats in recovery.segments}
    slots: dict[int, dict[GroupId, Slot]] = {stats.number: {} for stats in recovery.segments}
    for number, _, record in recovery.located():
        kinds[number][record.kind] += 1
        groups[number][record.group] += 1
        slots[number][record.group] = max(record.slot, slots[number].get(record.group, Slot(0)))
    reports = [
        SegmentReport(
            number=stats.number,
            records=sum(kinds[stats.number].values()),
            first_lsn=stats.first_lsn,
            last_lsn=stats.last_lsn,
            used_bytes=stats.size_bytes,
            kinds=dict(sorted(kinds[stats.number].items())),
            groups=dict(sorted(groups[stats.number].items())),
            highest_slots=slots[stats.number],
            damage=[damage for damage in recovery.damaged if damage.segment == stats.number],
        )
        for stats in recovery.segments
    ]
    return Report(recovery.cluster, reports, recovery.last_lsn, recovery.damaged, recovery.healed, recovery.torn)
