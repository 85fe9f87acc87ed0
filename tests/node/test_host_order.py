"""The host's turns, and the order in which it carries out what steps of machines give."""

from __future__ import annotations

from typing import Any

from tests.node.lone_host import LoneHost

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, GroupId, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import Instant

_GROUP = GroupId(7)
_PEER = NodeId(1)


def _record(slot: int) -> Record:
    return Record(RecordKind.ACCEPT, _GROUP, Slot(slot), Ballot(1), 0, 0, b"entry")


class _Machine:
    """Puts out the slots of durable events. What it hears of an odd one makes it ask for the next."""

    def __init__(self, lone: LoneHost) -> None:
        self._lone = lone
        self.out: list[int] = []

    def durable(self, event: Any) -> None:
        more = [event + 1] if event % 2 else []
        self._lone.host.execute(Effects(durable_events=more, outputs=[event]), self)

    def output(self, output: Any) -> None:
        self.out.append(output)

    def end_turn(self, now: Instant) -> Effects | None:
        return None


def _one_job(effects: Effects) -> list[int]:
    """What is put out when the records of `effects` are durable."""
    lone = LoneHost()
    machine = _Machine(lone)
    lone.host.execute(effects, machine)
    lone.run(0)
    (job,) = lone.jobs
    assert machine.out == []
    job()
    return machine.out


def test_what_a_durable_event_gives_follows_the_outputs_of_the_step_that_asked_for_it() -> None:
    """A machine that hears that slot 1 is durable puts it out and asks to hear of slot 2, which went to the disk with
    the same job: it is told at once, and slot 2 must still come behind slot 1."""
    assert _one_job(Effects(records=[_record(1), _record(2)], durable_events=[1])) == [1, 2]


def test_durable_events_are_told_in_the_order_in_which_they_were_asked_for() -> None:
    """That of slot 2 is asked for when slot 3's waits already, in the same Effects."""
    assert _one_job(Effects(records=[_record(1), _record(2), _record(3)], durable_events=[1, 4])) == [1, 4, 2]


class _Reacting(_Machine):
    """Whose node asks for more while it is told the first of two outputs."""

    def output(self, output: Any) -> None:
        super().output(output)
        if output == 10:
            self._lone.host.execute(Effects(durable_events=[20]), self)


def test_no_step_begins_while_another_ones_outputs_are_handed_on() -> None:
    lone = LoneHost()
    machine = _Reacting(lone)
    lone.host.execute(Effects(outputs=[10, 12]), machine)
    assert machine.out == [10, 12, 20]


def _three_turns(lone: LoneHost) -> list[int]:
    """Each brings a record and a message for a peer. Returns how many records each log job began with."""
    began: list[int] = []

    def arrive(slot: int) -> None:
        lone.host.execute(Effects(records=[_record(slot)], sends=[(_PEER, slot)]), lone)
        if lone.jobs and not began:
            began.append(slot - 1)
        if slot < 3:
            lone.call_soon(lambda: arrive(slot + 1))

    arrive(1)
    lone.run(lone.now)
    assert len(lone.jobs) == 1
    return began


def test_where_there_are_others_the_next_turn_shares_the_job_and_the_frame() -> None:
    lone = LoneHost()
    lone.host.execute(Effects(sends=[(_PEER, 0)]), lone)
    lone.run(0)
    assert lone.sent == [0]
    assert _three_turns(lone) == [2]
    assert lone.sent == [0, 1, 2, 3]


def test_a_node_alone_begins_its_job_at_the_end_of_the_turn() -> None:
    assert _three_turns(LoneHost()) == [1]
