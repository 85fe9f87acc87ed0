"""The bank's arithmetic, what a journal makes of its operations, and wires that wait for a step of a transaction."""

from __future__ import annotations

from gramme.kernel.ids import CommandId, GroupId, NodeId
from gramme.node.messages import Forward, Forwarded
from gramme.sim.accounts import START, Journal, account, demanding, keys_of, table_of
from gramme.sim.checkers.bank import Account, Audit, wrong_audit
from gramme.sim.checkers.history import Outcome
from gramme.sim.tripwires import STAGES, Tripwires
from gramme.sim.world import World
from gramme.tables.requests import GetItem
from gramme.tables.transaction_commands import Decide, Decided, Finish, Settled

MOVED = {("a", "m1"): -5, ("b", "m1"): 5}


def audit(a: Account, b: Account, total: int | None = 2 * START) -> str | None:
    return wrong_audit([Audit(7, (a, b), total)], START, MOVED)


def test_an_account_holds_what_its_list_says() -> None:
    whole = (Account("a", ("m1",), START - 5), Account("b", ("m1",), START + 5))
    assert audit(*whole) is None
    assert audit(Account("a", (), START), Account("b", (), START)) is None
    assert "a holds 100 after [m1], which make it 95" in (audit(Account("a", ("m1",), START), whole[1]) or "")


def test_all_accounts_together_hold_what_they_held() -> None:
    half = (Account("a", ("m1",), START - 5), Account("b", (), START))
    assert "all accounts together hold 195, not 200: a 95, b 100" in (audit(*half) or "")
    assert audit(*half, total=None) is None  # not all of them were read


def test_a_journal_knows_the_total_only_where_a_whole_generation_was_read() -> None:
    now = [0]
    journal = Journal(lambda: now[0], 2)
    seen = [Account(key, (), START) for key in keys_of(3, 2)]
    first = journal.begin(1)
    journal.end(first, Outcome.OK, seen)
    second = journal.begin(1, {"g3.0": ()}, {"g3.0": -1, "g3.1": 1})
    now[0] = 9
    journal.end(second, Outcome.UNKNOWN, seen[:1])
    third = journal.begin(2)
    assert [entry.total for entry in journal.audits] == [2 * START, None]
    read, written, still_open = journal.history()
    assert (read.return_ns, written.return_ns, still_open.outcome) == (0, None, Outcome.UNKNOWN)
    assert written.appends == {"g3.0": ("m2",), "g3.1": ("m2",)}
    assert journal.moved == {("g3.0", "m2"): -1, ("g3.1", "m2"): 1}
    assert third == 3


def test_accounts_lie_in_several_tables_and_begin_absent() -> None:
    assert {table_of(key) for key in keys_of(0, 5)} == {"giro", "vault"}
    assert account("g0.1", None) == Account("g0.1", (), START)
    item = {"pk": {"S": "g0.1"}, "l": {"L": [{"S": "m1"}]}, "n": {"N": "95"}}
    assert account("g0.1", item) == Account("g0.1", ("m1",), 95)
    assert demanding(account("g0.1", None)) == {"ConditionExpression": "attribute_not_exists(pk)"}
    assert demanding(account("g0.1", item))["ExpressionAttributeValues"] == {":seen": {"L": [{"S": "m1"}]}}


def forward(request: object) -> Forward:
    return Forward(1, GroupId(20), CommandId(bytes(16)), request)  # type: ignore[arg-type]


def test_a_wire_counts_the_messages_of_its_stage_and_may_lose_the_last() -> None:
    world, done = World(1), list[str]()
    wires = Tripwires(world)
    stage = next(number for number, types in enumerate(STAGES) if Decide in types)
    decide, finish = forward(Decide(b"i", b"t", None)), forward(Finish(b"t", True))
    wires.lay(NodeId(1), stage, 2, True, lambda: done.append("fell"))
    assert wires.lets_go(NodeId(0), [decide, decide])  # another node
    assert wires.lets_go(NodeId(1), [decide, finish, forward(GetItem(b"k", True)), Forwarded(1, Settled())])
    assert not wires.lets_go(NodeId(1), [Forwarded(1, Decided(True))])
    assert wires.lets_go(NodeId(1), [decide])
    assert done == []
    world.run(0)
    assert done == ["fell"]


def test_a_wire_that_is_cleared_does_nothing() -> None:
    world, done = World(1), list[str]()
    wires = Tripwires(world)
    wires.lay(NodeId(1), 2, 1, False, lambda: done.append("fell"))
    wires.clear()
    assert wires.lets_go(NodeId(1), [forward(Decide(b"i", b"t", None))])
    world.run(0)
    assert done == []
