"""Recovery of the shared log: a flipped bit anywhere is told and never served; a torn tail is not damage, a cut synced
tail is (REPLICATION.md §5, docs/decisions/0002-torn-tail.md)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

import msgspec
import pytest
from tests.storage.log_files import CLUSTER, SMALL, Bench, Files, entry, keep_sectors, random_records, sectors

from gramme.kernel.errors import Incompatible
from gramme.kernel.ids import Ballot, ClusterId, GroupId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.storage.log.inspect import inspect
from gramme.storage.log.layout import HEADER_AT, IDENTIFIERS_AT, MARK_AT, read_header
from gramme.storage.log.recovery import Recovery, recover
from gramme.storage.log.shared import LogSettings, SharedLog

RECORDS_AT = IDENTIFIERS_AT + 64 * 32


def lsns(recovery: Recovery) -> list[int]:
    return [lsn for lsn, _ in recovery.records]


def damaged_lsns(recovery: Recovery) -> set[int]:
    return {lsn for damage in recovery.damaged for lsn in range(damage.lsn, damage.lsn + damage.records)}


def marked_log(*records: Record) -> tuple[Bench, list[tuple[int, Record]]]:
    """A log gone idle, a job to each record, and what it recovers to."""
    bench = Bench()
    for record in records:
        bench.write(record)
    bench.mark()
    recovery = bench.files.recover()
    assert (recovery.damaged, recovery.healed, recovery.torn) == ([], [], None)
    return bench, list(recovery.records)


def assert_told(recovery: Recovery, original: Sequence[tuple[int, Record]]) -> None:
    """Nothing is served that was not written, and what is not served is called damaged."""
    assert set(recovery.records) <= set(original)
    assert damaged_lsns(recovery) == {lsn for lsn, _ in original} - set(lsns(recovery))
    assert recovery.torn is None
    assert recovery.last_lsn == original[-1][0]


def test_an_empty_directory_holds_nothing() -> None:
    recovery = recover([], CLUSTER)
    assert (recovery.records, recovery.last_lsn, recovery.next_lsn, recovery.next_segment) == ([], 0, 1, 1)
    assert recovery.torn is None


def test_a_bit_flipped_at_any_byte_is_told_and_never_served() -> None:
    bench, original = marked_log(*(entry(n, bytes([n]) * (30 * n)) for n in range(1, 5)))
    content = bench.files.content[1]
    used = [*range(68), *range(12288, 12288 + 68), *range(MARK_AT[1], MARK_AT[1] + 20)]
    used += range(IDENTIFIERS_AT, IDENTIFIERS_AT + 64 * len(original))
    used += range(RECORDS_AT, len(content))
    assert content[MARK_AT[1]]
    assert len(content) > RECORDS_AT + 600
    for at in used:
        bit = 1 << at % 8
        content[at] ^= bit
        recovery = bench.files.recover()
        content[at] ^= bit
        assert_told(recovery, original)
        assert recovery.damaged or recovery.healed, f"a bit flipped at byte {at} went unseen"


def test_a_bit_flipped_where_nothing_was_written_changes_nothing() -> None:
    bench, original = marked_log(entry(1))
    for at in (100, 5000, 13000, IDENTIFIERS_AT + 64 * 5 + 3, IDENTIFIERS_AT + 64 * 32 - 1):
        bench.files.content[1][at] ^= 4
        recovery = bench.files.recover()
        assert recovery.records == original
        assert not recovery.damaged


def test_damage_names_group_slot_file_and_offset() -> None:
    bench, original = marked_log(entry(1, b"a" * 50), entry(2, b"b" * 50, group=12), entry(3, b"c" * 50))
    at = bench.files.content[1].index(b"b" * 50)
    bench.files.content[1][at + 7] ^= 1
    recovery = bench.files.recover()
    (damage,) = recovery.damaged
    assert damage.identifier is not None
    assert (damage.identifier.group, damage.identifier.slot, damage.records) == (12, 2, 1)
    assert str(damage) == (
        f"segment 1, offset {at - 64}, 1 records from LSN 3, ACCEPT of group 12, slot 2: the record fails its CRC-32C"
    )
    assert lsns(recovery) == [lsn for lsn, _ in original if lsn != 3]


def test_a_record_is_served_from_whichever_identifier_is_good() -> None:
    for at in (IDENTIFIERS_AT + 64, RECORDS_AT + 64 + 4):
        bench, original = marked_log(entry(1), entry(2))
        bench.files.content[1][at] ^= 1
        recovery = bench.files.recover()
        assert recovery.records == original
        assert [damage.lsn for damage in recovery.healed] == [2]


def test_with_both_identifiers_bad_the_damage_is_of_unknown_owner_and_what_follows_is_served() -> None:
    bench, original = marked_log(entry(1), entry(2), entry(3))
    bench.files.content[1][IDENTIFIERS_AT + 64] ^= 1
    bench.files.content[1][RECORDS_AT + 64 + 4] ^= 1
    recovery = bench.files.recover()
    (damage,) = recovery.damaged
    assert (damage.lsn, damage.records, damage.identifier) == (2, 1, None)
    assert_told(recovery, original)
    assert lsns(recovery) == [1, 3, 4]


def test_one_copy_of_the_header_is_enough_and_without_both_all_is_damaged() -> None:
    bench, original = marked_log(entry(1), entry(2))
    bench.files.content[1][HEADER_AT[0] + 20] ^= 1
    recovery = bench.files.recover()
    assert recovery.records == original
    assert [damage.reason for damage in recovery.healed] == ["a copy of the segment's header is bad"]
    bench.files.content[1][HEADER_AT[1] + 20] ^= 1
    recovery = bench.files.recover()
    assert not recovery.records
    assert_told(recovery, original)
    assert recovery.damaged[0].reason == "both copies of the segment's header are bad"


def test_a_synced_tail_that_was_cut_is_damage_wherever_it_was_cut() -> None:
    """REPLICATION.md §5, planted: cut a synced tail."""
    bench, original = marked_log(*(entry(n, b"x" * 40) for n in range(1, 6)))
    content = bytes(bench.files.content[1])
    for size in range(RECORDS_AT, len(content)):
        recovery = recover([(1, content[:size])], CLUSTER)
        assert_told(recovery, original)
        assert recovery.damaged


def test_a_synced_tail_that_was_zeroed_with_its_identifiers_is_damage() -> None:
    bench, original = marked_log(*(entry(n, b"x" * 40) for n in range(1, 6)))
    content = bench.files.content[1]
    at = RECORDS_AT + 3 * 104
    content[at:] = bytes(len(content) - at)
    content[IDENTIFIERS_AT + 3 * 64 : RECORDS_AT] = bytes(RECORDS_AT - IDENTIFIERS_AT - 3 * 64)
    recovery = bench.files.recover()
    assert_told(recovery, original)
    assert recovery.damaged[0].reason == "nothing is left of what was durable here"


def test_the_next_job_marks_the_one_before_it() -> None:
    """Without an idle mark: the second job's records say that the first was durable."""
    bench = Bench()
    bench.write(entry(1, b"x" * 600))
    bench.write(entry(2, b"y" * 600))
    content = bench.files.content[1]
    content[content.index(b"x" * 600)] ^= 1
    assert damaged_lsns(bench.files.recover()) == {1}
    content[content.index(b"x" * 599) - 1] ^= 1
    content[content.index(b"y" * 600)] ^= 1
    recovery = bench.files.recover()
    assert not recovery.damaged
    assert recovery.torn is not None
    assert recovery.torn.lsn == 3


def test_any_set_of_sectors_of_the_last_job_may_be_missing_without_damage() -> None:
    bench = Bench()
    bench.write(entry(1, b"one" * 50))
    bench.write(entry(2, b"two" * 50))
    before, durable = bench.files.copy(), 3
    bench.files.put(bench.job(entry(3, b"3" * 500), entry(4, b"4" * 700), entry(5, b"5" * 900)).writes)
    whole = bench.files.recover().records
    touched = sectors_changed(before, bench.files)
    assert len(touched) >= 6
    for choice in itertools.product([False, True], repeat=len(touched)):
        torn = keep_sectors(before, bench.files, [place for place, keep in zip(touched, choice, strict=True) if keep])
        assert_torn(torn, whole, durable)


def sectors_changed(before: Files, after: Files) -> list[tuple[int, int]]:
    writes = [(number, 0, bytes(data)) for number, data in after.content.items()]
    changed = []
    for number, sector in sectors(writes):  # type: ignore[arg-type]
        at = sector * 512
        if before.content.get(number, b"")[at : at + 512] != after.content[number][at : at + 512]:
            changed.append((number, sector))
    return changed


def assert_torn(files: Files, whole: Sequence[tuple[int, Record]], durable: int) -> Recovery:
    """Recovery gives a prefix of `whole` with all that was durable, calls nothing damage, and goes on from there: the
    same prefix, then what is written next, and nothing of what was cut, whatever happens to that next job."""
    recovery = files.recover()
    assert not recovery.damaged
    assert recovery.last_lsn >= durable
    assert recovery.records == whole[: len(recovery.records)]
    assert len(recovery.records) >= durable
    again = Bench(recovery=recovery)
    again.files = files
    torn_once_more = files.copy()
    job = again.write(entry(77, b"next"))
    torn_once_more.put(job.writes[:1])
    second = files.recover()
    assert not second.damaged
    assert second.torn is None
    assert second.records[:-2] == recovery.records
    assert second.records[-2][1] == entry(77, b"next")
    assert second.records[-2][0] == recovery.next_lsn
    third = torn_once_more.recover()
    assert not third.damaged
    assert third.records == recovery.records
    assert third.next_segment == recovery.next_segment + 1
    return recovery


def test_a_job_torn_over_a_roll_and_two_jobs_in_flight_are_no_damage() -> None:
    for seed in range(300):
        rng = Random(seed)
        bench = Bench()
        for record in random_records(rng, rng.randrange(1, 40)):
            bench.write(record)
        before, durable = bench.files.copy(), bench.log.durable_lsn
        for _ in range(rng.randrange(1, 3)):
            bench.files.put(bench.job(*random_records(rng, rng.randrange(1, 60))).writes)
        whole = bench.files.recover().records
        touched = sectors_changed(before, bench.files)
        kept = [place for place in touched if rng.random() < rng.choice([0.1, 0.5, 0.9])]
        assert_torn(keep_sectors(before, bench.files, kept), whole, durable)


def test_an_lsn_that_was_cut_is_not_used_again() -> None:
    bench = Bench()
    bench.write(entry(1))
    before = bench.files.copy()
    job = bench.job(entry(2, b"lost"), entry(3, b"lost"), entry(4, b"lost"))
    before.put(job.writes[-1:])  # the identifiers made it, the records did not
    recovery = before.recover()
    assert (recovery.last_lsn, recovery.next_lsn) == (2, 6)
    assert recovery.torn is not None
    assert recovery.torn.lsn == 3
    again = Bench(recovery=recovery)
    again.files = before
    again.files.put(again.job(entry(9)).writes[:2])  # only the new segment's header survives
    second = before.recover()
    assert (second.last_lsn, second.next_lsn) == (2, 6)
    assert second.records == recovery.records


def test_a_later_jobs_mark_turns_a_hole_before_it_into_damage() -> None:
    bench = Bench()
    bench.write(entry(1))
    first = bench.job(entry(2, b"lost" * 200))
    bench.log.on_durable(first)  # a disk that lies: it acknowledged and kept nothing
    bench.files.put(bench.job(entry(3, b"kept")).writes)
    recovery = bench.files.recover()
    assert damaged_lsns(recovery) == {3}
    assert [record.body for _, record in recovery.records][-1] == b"kept"


def test_a_missing_segment_between_others_is_damage() -> None:
    bench, original = marked_log(*(entry(n, bytes(3000)) for n in range(1, 20)))
    assert sorted(bench.files.content) == [1, 2, 3, 4, 5]
    del bench.files.content[3]
    assert_told(bench.files.recover(), original)


def test_the_oldest_segments_may_be_gone() -> None:
    bench, original = marked_log(*(entry(n, bytes(3000)) for n in range(1, 20)))
    del bench.files.content[1]
    del bench.files.content[2]
    recovery = bench.files.recover()
    assert not recovery.damaged
    assert recovery.records == original[-len(recovery.records) :]


def test_an_oldest_segment_that_lost_its_headers_is_damage_if_its_records_count() -> None:
    bench, original = marked_log(*(entry(n, bytes(3000)) for n in range(1, 20)))
    for at in HEADER_AT:
        bench.files.content[1][at] ^= 1
    recovery = bench.files.recover()
    assert recovery.damaged[0].segment == 1
    assert_told(recovery, original)


def test_damage_is_told_again_at_every_start_until_its_segment_is_gone() -> None:
    bench, _ = marked_log(entry(1), entry(2, b"b" * 50))
    bench.files.content[1][-1] ^= 1
    recovery = bench.files.recover()
    assert damaged_lsns(recovery) == {3}
    again = Bench(recovery=recovery)
    again.files = bench.files
    again.write(entry(3))
    assert damaged_lsns(again.files.recover()) == {3}


def test_another_clusters_segments_are_refused() -> None:
    bench, _ = marked_log(entry(1))
    with pytest.raises(Incompatible, match="log segment 1 is of cluster 30313233"):
        recover([(1, bytes(bench.files.content[1]))], ClusterId(b"another cluster!"))
    assert recover([(1, bytes(bench.files.content[1]))]).cluster == CLUSTER


def test_a_segment_under_another_number_is_not_believed() -> None:
    bench, _ = marked_log(entry(1))
    assert read_header(2, bytes(bench.files.content[1])) == (None, 0)
    assert not recover([(2, bytes(bench.files.content[1]))], CLUSTER).records


@pytest.mark.plain
def test_a_newer_format_and_an_unknown_kind_of_record_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("gramme.storage.log.layout.FORMAT_VERSION", 2)
        newer = Bench()
        newer.write(entry(1))
    with pytest.raises(Incompatible, match="log segment 1 has format 2; this release reads format 1 only"):
        newer.files.recover()
    unknown = Bench()
    unknown.write(msgspec.structs.replace(entry(1), kind=200))
    with pytest.raises(Incompatible, match="a record of kind 200"):
        unknown.files.recover()


def test_large_logs_recover_to_what_was_appended() -> None:
    rng = Random(5)
    records = random_records(rng, 3000, 2000)
    bench = Bench(LogSettings(segment_bytes=1 << 20))
    for start in range(0, len(records), 50):
        bench.write(*records[start : start + 50])
    recovery = bench.files.recover()
    assert [record for _, record in recovery.records if record.group] == records
    assert lsns(recovery) == list(range(1, len(recovery.records) + 1))
    assert [stats.slots for stats in recovery.segments] == [{}] * len(recovery.segments)


def test_the_report_counts_segments_groups_and_damage() -> None:
    bench, _ = marked_log(entry(1, b"a" * 90), entry(2, b"b" * 90), entry(9, b"c" * 90, group=8))
    report = inspect([(1, bytes(bench.files.content[1]))])
    assert report.sound
    (segment,) = report.segments
    assert (segment.records, segment.first_lsn, segment.last_lsn) == (4, 1, 4)
    assert (segment.groups, segment.highest_slots) == ({0: 1, 7: 2, 8: 1}, {0: 0, 7: 2, 8: 9})
    assert segment.used_bytes == len(bench.files.content[1])
    content = bench.files.content[1]
    content[content.index(b"b" * 90)] ^= 1
    report = inspect([(1, bytes(content))])
    assert not report.sound
    assert any("DAMAGED segment 1" in line and "group 7, slot 2" in line for line in report.lines())
    assert report.lines()[-1] == "  NOT SOUND: 1 places are damaged"


def test_settings_may_change_between_starts() -> None:
    bench = Bench()
    bench.write(entry(1))
    again = Bench(LogSettings(segment_bytes=1 << 17), recovery=bench.files.recover())
    again.files = bench.files
    again.write(*[entry(n) for n in range(2, 200)])
    assert [record.slot for _, record in again.files.recover().records if record.slot] == list(range(1, 200))
    assert SMALL.capacity == 32


def test_a_first_segment_that_can_say_nothing_any_more_is_damage() -> None:
    """Headers, marks and identifiers all gone: taken for a deleted segment, it would hide promises."""
    files: dict[int, bytearray] = {}
    log = SharedLog(ClusterId(b"c" * 16), LogSettings(segment_bytes=65_536), list)
    for ballot in range(1, 101):
        log.append([Record(RecordKind.PROMISE, GroupId(5), Slot(0), Ballot(ballot), 0, 0, b"x" * 900)])
        job = log.take()
        assert job is not None
        for segment, offset, data in job.writes:
            file = files.setdefault(segment, bytearray(1 << 17))
            file[offset : offset + len(data)] = data
        log.on_durable(job)
    assert len(files) > 1
    for offset in range(0, 65_536, 16):
        files[1][offset] ^= 1
    damaged = recover((number, bytes(data)) for number, data in sorted(files.items())).damaged
    assert [(damage.segment, damage.identifier) for damage in damaged] == [(1, None)]
    files[1] = bytearray(1 << 17)  # a spare that was taken and never written: nothing was there
    assert not recover((number, bytes(data)) for number, data in sorted(files.items())).damaged
