"""The host's order of durability where some records are not hurried: held, but never overtaken, and not for ever."""

from __future__ import annotations

from tests.node.lone_host import LoneHost

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, GroupId, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.node.host import HELD_BYTES, HELD_RECORDS, HOLD_NS


def _record(size: int = 10) -> Record:
    return Record(RecordKind.OBJECT, GroupId(0), Slot(0), Ballot(0), 0, 0, bytes(size))


def test_unhurried_records_wait_for_their_time() -> None:
    world = LoneHost()
    world.execute(Effects(records=[_record()], sends=[(NodeId(1), "kept")], unhurried=True))
    assert world.sent == ["kept"]
    world.run(HOLD_NS - 1)
    assert not world.jobs
    world.run(HOLD_NS)
    assert len(world.jobs) == 1


def test_hurried_records_take_them_along() -> None:
    world = LoneHost()
    world.execute(Effects(records=[_record()], unhurried=True))
    world.execute(Effects(records=[_record()]))
    assert len(world.jobs) == 1
    world.jobs.pop()()
    assert world.host.log.durable_lsn == world.host.log.last_lsn == 2
    world.run(2 * HOLD_NS)
    assert not world.jobs  # nothing is left that waits


def test_who_waits_for_what_was_appended_so_far_waits_for_held_records_too() -> None:
    world = LoneHost()
    world.execute(Effects(records=[_record()], unhurried=True))
    world.execute(Effects(sends_durable=[(NodeId(1), "durable")]))
    assert len(world.jobs) == 1
    assert world.sent == []
    world.jobs.pop()()
    world.run(0)
    assert world.sent == ["durable"]


def test_while_the_disk_is_busy_nothing_is_forgotten() -> None:
    world = LoneHost()
    world.execute(Effects(records=[_record()], durable_events=["first"]))
    world.execute(Effects(records=[_record()], unhurried=True))
    world.execute(Effects(durable_events=["second"]))
    assert len(world.jobs) == 1
    world.jobs.pop()()
    assert world.sent == ["first"]
    world.jobs.pop()()
    assert world.sent == ["first", "second"]


def test_a_thousand_records_or_four_megabytes_do_not_wait() -> None:
    world = LoneHost()
    for _ in range(HELD_RECORDS - 1):
        world.execute(Effects(records=[_record()], unhurried=True))
    assert not world.jobs
    world.execute(Effects(records=[_record()], unhurried=True))
    assert len(world.jobs) == 1
    world.jobs.pop()()
    world.execute(Effects(records=[_record(HELD_BYTES)], unhurried=True))
    assert len(world.jobs) == 1


def test_effects_of_which_one_is_hurried_are_hurried_together() -> None:
    both = Effects(records=[_record()], unhurried=True)
    both.merge(Effects(records=[_record()]))
    assert not both.unhurried
