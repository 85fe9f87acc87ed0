"""Labels of streams, and what UpdateTable and UpdateTimeToLive make of a descriptor that partitions must know of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gramme.kernel.time import MILLISECOND, Timestamp
from gramme.tables.catalog import SetTimeToLive, StreamChange, TagTable, UpdateTable
from gramme.tables.descriptor import KeySchema, TableDescriptor, TableStream
from gramme.tables.index_changes import schema_settled
from gramme.tables.indexes import PartitionSchema, decode_schema, encode_schema, schema_of
from gramme.tables.requests import Refused
from gramme.tables.streams import new_label
from gramme.tables.table_changes import changed

NOW = Timestamp(1_795_201_387_123_456_789)
TABLE = TableDescriptor(
    name="t", table_id="id", version=4, status="ACTIVE", created=NOW, key=KeySchema("pk", "S"),
    attribute_definitions=(("pk", "S"),), billing_mode="PAY_PER_REQUEST", read_units=0, write_units=0, partitions=(),
    schema_version=1, configured=1,
)  # fmt: skip


def test_a_label_is_a_time_in_milliseconds() -> None:
    assert new_label(NOW, "") == "2026-11-20T19:03:07.123"
    assert new_label(Timestamp(1_795_201_387_000_000_000), "") == "2026-11-20T19:03:07.000"


@given(st.lists(st.integers(0, 4_000_000_000_000), min_size=2, max_size=20))
def test_labels_grow_whatever_the_clock_says(times_ms: list[int]) -> None:
    label = ""
    for ms in times_ms:
        label, before = new_label(Timestamp(ms * MILLISECOND), label), label
        assert label > before
        assert len(label) == 23


def test_a_stream_is_turned_on_and_off_and_partitions_have_to_know() -> None:
    on = changed(TABLE, UpdateTable("t", stream=StreamChange("NEW_IMAGE")), NOW)
    assert isinstance(on, TableDescriptor)
    assert (on.status, on.schema_version, on.configured) == ("UPDATING", 5, 1)
    assert on.stream == TableStream("2026-11-20T19:03:07.123", "NEW_IMAGE")
    assert schema_of(on) == PartitionSchema(5, TABLE.key, (), on.latest_stream)
    active = schema_settled(on, 5, (), ())
    assert (active.status, active.version, active.configured) == ("ACTIVE", 6, 5)
    assert isinstance(changed(active, UpdateTable("t", stream=StreamChange("KEYS_ONLY")), NOW), Refused)
    off = changed(active, UpdateTable("t", stream=StreamChange(None)), NOW)
    assert isinstance(off, TableDescriptor)
    assert (off.status, off.schema_version, off.stream, off.latest_stream) == ("UPDATING", 7, None, on.latest_stream)
    assert isinstance(changed(replace(off, status="ACTIVE"), UpdateTable("t", stream=StreamChange(None)), NOW), Refused)
    again = changed(replace(off, status="ACTIVE"), UpdateTable("t", stream=StreamChange("KEYS_ONLY")), NOW)
    assert isinstance(again, TableDescriptor)
    assert again.latest_stream > on.latest_stream


def test_a_label_is_later_than_those_of_earlier_tables_of_the_name() -> None:
    latest = "2026-11-20T19:03:09.000"
    on = changed(TABLE, UpdateTable("t", stream=StreamChange("NEW_IMAGE")), NOW, latest)
    assert isinstance(on, TableDescriptor)
    assert on.latest_stream == "2026-11-20T19:03:09.001"


def test_partitions_have_to_know_of_expiry_and_the_table_stays_active() -> None:
    expiring = changed(TABLE, SetTimeToLive("t", True, "when"), NOW)
    assert isinstance(expiring, TableDescriptor)
    assert (expiring.status, expiring.schema_version, expiring.expiry) == ("ACTIVE", 5, "when")
    assert decode_schema(encode_schema(schema_of(expiring))).expiry == "when"


def test_partitions_need_not_know_of_tags_and_throughput() -> None:
    for request in (TagTable("t", (("a", "b"),)), UpdateTable("t", settings={"DeletionProtectionEnabled": True})):
        after = changed(TABLE, request, NOW)
        assert isinstance(after, TableDescriptor)
        assert (after.version, after.schema_version, after.status) == (5, 1, "ACTIVE")


def test_a_deleted_tables_schema_is_its_seal_and_newer_than_any_other() -> None:
    schema = schema_of(replace(TABLE, status="DELETING", version=6, schema_version=5))
    assert (schema.sealed, schema.version, schema.stream, schema.expiry) == (True, 6, None, None)
