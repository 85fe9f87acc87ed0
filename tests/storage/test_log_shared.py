"""The shared log's positions, jobs, rolls and marks (REPLICATION.md §5)."""

from __future__ import annotations

import pytest
from tests.storage.log_files import CLUSTER, SMALL, Bench, Files, checkpoint, entry

from gramme.kernel.errors import InvalidInput
from gramme.kernel.record import Record, RecordKind
from gramme.storage.log.layout import IDENTIFIERS_AT, MARK_AT, MAX_BODY_BYTES
from gramme.storage.log.shared import LogSettings, SharedLog

RECORDS_AT = IDENTIFIERS_AT + 64 * 32


def test_lsns_count_records_and_a_job_makes_all_of_them_durable() -> None:
    log = SharedLog(CLUSTER, SMALL, list)
    assert log.take() is None
    assert log.append([entry(1), entry(2)]) == 2
    assert log.append([]) == 2
    assert log.append(iter([entry(3)])) == 3
    assert (log.last_lsn, log.durable_lsn) == (3, 0)
    job = log.take()
    assert job is not None
    assert job.last_lsn == 3
    assert log.take() is None
    log.append([entry(4)])
    log.on_durable(job)
    assert (log.last_lsn, log.durable_lsn) == (4, 3)


def test_a_job_writes_the_records_first_and_their_identifiers_elsewhere() -> None:
    bench = Bench()
    first = bench.write(entry(1, b"x" * 100))
    assert [write.offset for write in first.writes] == [0, 12288, RECORDS_AT, IDENTIFIERS_AT]
    second = bench.write(entry(2, b"y" * 10), entry(3, b"z" * 20))
    records, identifiers = second.writes
    at = RECORDS_AT + 64 + 100 + 64 + len(b"node")
    assert (records.offset, identifiers.offset) == (at, IDENTIFIERS_AT + 2 * 64)
    assert records.data[:64] == identifiers.data[:64]
    assert records.data[64 + 10 : 128 + 10] == identifiers.data[64:]


def test_what_is_unwritten_is_counted_and_past_the_bound_the_log_is_full() -> None:
    log = SharedLog(CLUSTER, LogSettings(32768, 32, max_unwritten_bytes=300), list)
    log.append([entry(1, b"x" * 100)])
    assert (log.unwritten_bytes, log.full) == (164, False)
    log.append([entry(2, b"x" * 100)])
    assert (log.unwritten_bytes, log.full) == (328, True)
    log.take()
    assert (log.unwritten_bytes, log.full) == (0, False)


def test_a_body_over_the_limit_is_refused_and_nothing_is_appended() -> None:
    log = SharedLog(CLUSTER, SMALL, list)
    with pytest.raises(InvalidInput, match="33554433 bytes, the limit is 33554432"):
        log.append([entry(1), entry(2, bytes(MAX_BODY_BYTES + 1))])
    assert log.last_lsn == 0
    assert log.take() is None


def test_a_segment_without_room_is_refused_by_name_and_limit() -> None:
    with pytest.raises(InvalidInput, match="segment_bytes is 4096, the least is 32768"):
        LogSettings(segment_bytes=4096)


def test_a_segment_rolls_when_its_bytes_are_used_up() -> None:
    bench = Bench()
    for slot in range(1, 8):
        bench.write(entry(slot, bytes(4000)))
    assert [stats.number for stats in bench.log.segment_stats()] == [1, 2, 3]
    assert all(len(data) <= 32768 for data in bench.files.content.values())
    assert [record.slot for _, record in bench.files.recover().records if record.slot] == list(range(1, 8))


def test_a_segment_rolls_when_its_identifiers_are_used_up() -> None:
    bench = Bench()
    bench.write(*[entry(slot) for slot in range(1, 71)])
    # 70 entries and one checkpoint, 32 to a segment, in one job.
    assert [stats.records for stats in bench.log.segment_stats()] == [32, 32, 7]
    assert [record.slot for _, record in bench.files.recover().records if record.slot] == list(range(1, 71))


def test_a_segment_grows_to_hold_one_record_larger_than_itself() -> None:
    bench = Bench()
    large = entry(2, bytes(range(256)) * 400)
    bench.write(entry(1), large, entry(3))
    assert [record for _, record in bench.files.recover().records if record.slot == 2] == [large]
    assert [stats.records for stats in bench.log.segment_stats()] == [1, 1, 2]


def test_a_new_segment_gets_its_checkpoint_behind_the_records_of_the_job_that_began_it() -> None:
    """The machines' state includes records that are being appended: a checkpoint before them, kept while they were
    torn off, would speak of what was lost."""
    promised = 0
    spoken: list[int] = []

    def speak() -> list[Record]:
        spoken.append(promised)
        return [entry(0, b"%d" % promised, kind=RecordKind.CHECKPOINT)]

    log, files = SharedLog(CLUSTER, SMALL, speak), Files()
    for promised in range(1, 41):
        log.append([entry(0, b"%d" % promised, kind=RecordKind.PROMISE)])
        if promised % 10 == 0:
            job = log.take()
            assert job is not None
            files.put(job.writes)
            log.on_durable(job)
    assert spoken == [10, 40]
    seen = 0
    for _, record in files.recover().records:
        if record.kind is RecordKind.CHECKPOINT:
            assert int(record.body) == seen
        seen = int(record.body)
    assert seen == 40


def test_a_checkpoint_that_begins_a_segment_itself_is_not_repeated_for_it() -> None:
    log = SharedLog(CLUSTER, SMALL, lambda: [entry(0, kind=RecordKind.CHECKPOINT) for _ in range(50)])
    log.append([entry(1)])
    job = log.take()
    assert job is not None
    assert job.last_lsn == 51
    log.append([entry(2)])
    assert log.take() is not None
    assert log.last_lsn == 52


def test_an_idle_log_marks_what_is_durable_once_in_turn_at_two_places() -> None:
    bench = Bench()
    assert bench.log.take_mark() is None
    places = []
    for slot in range(1, 5):
        bench.write(entry(slot))
        mark = bench.log.take_mark()
        assert mark is not None
        places.append(mark.offset)
        assert bench.log.take_mark() is None
    assert sorted(set(places)) == list(MARK_AT)
    assert places[:2] == places[2:]


def test_no_mark_is_taken_while_records_wait_to_carry_it() -> None:
    bench = Bench()
    bench.write(entry(1))
    bench.log.append([entry(2)])
    assert bench.log.take_mark() is None


def test_a_recovered_log_goes_on_in_a_new_segment_with_new_lsns() -> None:
    bench = Bench()
    bench.write(entry(1), entry(2))
    recovery = bench.files.recover()
    again = Bench(recovery=recovery)
    again.files = bench.files
    assert again.log.durable_lsn == again.log.last_lsn == 3
    job = again.write(entry(3))
    assert sorted({write.segment for write in job.writes}) == [2]
    records = bench.files.recover().records
    assert [lsn for lsn, _ in records] == [1, 2, 3, 4, 5]
    assert records[3][1] == entry(3)
    assert records[4][1] == checkpoint()[0]
