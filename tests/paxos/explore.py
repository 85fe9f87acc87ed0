"""Exhaustive search of small worlds: every order of delivery, loss, and crashes between step, sync and send.

Breadth-first over the production classes. Time stands still (timers never fire; leases are searched in `world.py` and
told in `test_lease.py`), so what is explored is the log protocol: campaigns, proposals and crashes are moves of the
adversary, each with a budget. A step and the sync of its records are one move, unless the adversary makes the disk lag:
then only what may leave before the sync leaves, until a sync or a crash. Losing a message is never delivering it.

What is checked does not trust the replicas: `chosen` is worked out from what is durable on a quorum, of the
configurations that stand in what is chosen.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.errors import GrammeError
from gramme.kernel.ids import Ballot, BootId, CommandId, GroupId, Lsn, NodeId, Slot
from gramme.kernel.record import Record
from gramme.kernel.time import Instant, Stamp, Timestamp
from gramme.paxos.chain import decode_entry
from gramme.paxos.configuration import Configuration, Replica, decode_configuration
from gramme.paxos.entry import Command, CommandKind, Entry
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import Accepted, Amnesiac, Behind, Nack, Promise, Release, Suffix
from gramme.paxos.outputs import Chosen
from gramme.paxos.recovery import fold
from gramme.paxos.replica import GroupReplica
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import GroupState, create_record, founding_state, joining_state

GROUP = GroupId(1)
NOW = Instant(0)
_SETTINGS = PaxosSettings(chunk_bytes=1 << 12)


class Violation(Exception):
    """Agreement is broken; `trace` says how."""

    def __init__(self, what: str, trace: list[str]) -> None:
        super().__init__("\n".join([what, *trace]))


class Fixed:
    """Randomness that is none: timers do not fire here."""

    def random(self) -> float:
        """See `Randomness`."""
        return 0.0

    def randrange(self, stop: int, /) -> int:
        """See `Randomness`."""
        return 0

    def randbytes(self, n: int, /) -> bytes:
        """See `Randomness`."""
        return bytes(n)


@dataclass(frozen=True, slots=True)
class Budget:
    """How often the adversary may do what."""

    campaigns: int = 2
    proposals: int = 2
    crashes: int = 1
    lags: int = 1
    damages: int = 0


Change = tuple[str, NodeId, NodeId]
"""A planned change of the configuration: "swap" (to whom the vote goes, and from whom), or with one node named twice
"renew" (it must be made anew), "promote" or "leave"."""

Packet = tuple[NodeId, NodeId, Any]


class Member(NamedTuple):
    """A node: its replica, its disk, and a value that is equal when they behave equally."""

    replica: GroupReplica
    disk: tuple[Record, ...]
    unsynced: tuple[Effects, ...]
    durable: GroupState
    key: Any


class State(NamedTuple):
    """A world. `network` holds (source, target, message); `chosen` is the history of what a quorum has held."""

    members: tuple[Member, ...]
    network: tuple[Packet, ...]  # oldest first, without doubles
    budget: Budget
    chosen: tuple[bytes, ...]
    founded: Configuration
    plan: tuple[Change, ...] = ()  # what leaders may still change, in this order

    def spend(self, **spent: int) -> State:
        """The same world with less left of the budget."""
        left = {name: getattr(self.budget, name) - number for name, number in spent.items()}
        return self._replace(budget=replace(self.budget, **left))

    def key(self) -> Any:
        """Equal for worlds with the same future and the same past to answer for."""
        members = tuple(member.key for member in self.members)
        return members, frozenset(self.network), self.budget, self.chosen, self.plan


@dataclass(slots=True)
class Search:
    """Result of `explore`."""

    states: int = 0
    moves: int = 0
    leaders: dict[int, bool] = field(default_factory=dict)
    longest_chosen: int = 0

    def note(self, state: State) -> None:
        """One more world."""
        self.states += 1
        self.longest_chosen = max(self.longest_chosen, len(state.chosen))
        for member in state.members:
            if member.replica.serving:
                self.leaders[member.replica.ballot] = True


def explore(start: State, limit: int) -> Search:
    """Visit every reachable world (at most `limit`). Raises Violation at the first that breaks agreement."""
    search = Search(states=1)
    parents: dict[Any, tuple[Any, str] | None] = {start.key(): None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        here = state.key()
        for what, move in _moves(state):
            search.moves += 1
            after = move()
            if isinstance(after, str):
                raise Violation(after, [*_trace(parents, here), str(what)])
            key = after.key()
            if key not in parents:
                parents[key] = (here, str(what))
                search.note(after)
                if search.states >= limit:
                    return search
                queue.append(after)
    return search


def walk(start: State, rng: random.Random, steps: int) -> State:
    """One random path. Raises Violation if it breaks agreement. Campaigns and crashes are rarer than deliveries."""
    state, trace = start, []
    for _ in range(steps):
        moves = list(_moves(state))
        if not moves:
            break
        weights = [1 if what[0] is not _DELIVER else 6 for what, _ in moves]
        what, move = rng.choices(moves, weights)[0]
        trace.append(str(what))
        after = move()
        if isinstance(after, str):
            raise Violation(after, trace)
        state = after
    return state


def _trace(parents: dict[Any, tuple[Any, str] | None], key: Any) -> list[str]:
    moves = []
    while (parent := parents[key]) is not None:
        key, move = parent
        moves.append(move)
    return moves[::-1]


_DELIVER = "deliver"
Move = tuple[tuple[Any, ...], Callable[[], "State | str"]]


def _moves(state: State) -> Iterator[Move]:
    """Everything that may happen next."""
    budget = state.budget
    for packet in state.network:
        source, target, message = packet
        rest = state._replace(network=tuple(other for other in state.network if other is not packet))
        event = partial(GroupReplica.step, source=source, message=message, now=NOW)
        yield from _synced_or_not((_DELIVER, *packet), rest, target, event)
    for member in state.members:
        node = member.replica.me
        if member.unsynced:
            yield ("sync", node), partial(_step, state, node, None)
        if budget.crashes:
            yield ("crash", node), partial(_crash, state.spend(crashes=1), node)
            if budget.damages:
                yield ("damage", node), partial(_crash, state.spend(crashes=1, damages=1), node, damaged=True)
        if budget.campaigns and member.replica.leader is None:
            event = partial(GroupReplica.campaign_now, now=NOW)
            yield from _synced_or_not(("campaign", node), state.spend(campaigns=1), node, event)
        if budget.proposals and member.replica.serving:
            event = partial(_propose, left=budget.proposals)
            yield from _synced_or_not(("propose", node), state.spend(proposals=1), node, event)
        if member.replica.serving:
            yield from _reconfigured(state, member.replica)


def _reconfigured(state: State, replica: GroupReplica) -> Iterator[Move]:
    """The next planned change, and what a leader does for a replica that must be made anew."""
    leader, now = replica.leader, replica.configuration
    assert leader is not None
    after = _planned(now, state.plan[0]) if state.plan else None
    if after is not None and not leader.refusal(after):
        event = partial(GroupReplica.reconfigure, after=after, wall=Timestamp(0), now=NOW)
        rest = state._replace(plan=state.plan[1:])
        yield from _synced_or_not(("reconfigure", replica.me, *state.plan[0]), rest, replica.me, event)
    for mine in now.replicas:
        node, held = mine.node, state.members[mine.node].replica
        if held.amnesiac and held.configuration.number < mine.since:
            yield ("host", replica.me, node), partial(_host, state, node, now, replica.ballot)


def _planned(now: Configuration, change: Change) -> Configuration:
    what, node, other = change
    if what == "swap":
        return now.next(promote=node, mute=other)
    if what == "promote":
        return now.next(promote=node)
    return now.next(remove=node) if what == "leave" else now.next(renew=node)


def _host(state: State, node: NodeId, configuration: Configuration, ballot: Ballot) -> State | str:
    """`node` follows the invitation of the leader of `ballot`: nothing of its former incarnation is left."""
    invited = joining_state(GROUP, configuration, ballot, b"")
    replica = GroupReplica(GROUP, node, invited, state.members[node].replica.leases, _SETTINGS, Fixed())
    replica.start(NOW)
    joined = _member(replica, (create_record(invited),), ())
    return state._replace(members=(*state.members[:node], joined, *state.members[node + 1 :]))


def _synced_or_not(what: tuple[Any, ...], state: State, node: NodeId, event: Any) -> Iterator[Move]:
    if state.members[node].unsynced:
        yield what, partial(_step, state, node, event, synced=False)
        return
    yield what, partial(_step, state, node, event)
    if state.budget.lags and state.budget.crashes:
        yield (f"{what[0]}, not synced", *what[1:]), partial(_step, state.spend(lags=1), node, event, synced=False)


def _propose(replica: GroupReplica, left: int) -> Effects:
    """A command that names what it was proposed behind."""
    log = replica.acceptor.log
    name = CommandId(bytes([left, replica.me, *replica.ballot.to_bytes(8, "big")]).ljust(16, b"\1"))
    behind = log.entries[-1].command_id
    _, effects = replica.propose(Command(CommandKind.MUTATIONS, name, behind), Timestamp(0), NOW)
    effects.merge(replica.flush(NOW))
    return effects


def _step(state: State, node: NodeId, event: Any, synced: bool = True) -> State | str:
    """Let `event` happen at `node` (None: only the sync), carry its effects out, and check the world."""
    member = state.members[node]
    replica = _clone(member.replica)
    sent: list[Packet] = []
    disk = list(member.disk)
    waiting = list(member.unsynced)
    reported: list[Entry] = []
    try:
        fresh = [] if event is None else [event(replica)]
        while fresh or (synced and waiting):
            for effects in fresh:
                sent += [(node, target, message) for target, message in effects.sends]
                for output in effects.outputs:
                    if isinstance(output, Chosen):
                        reported += output.entries
            waiting += fresh
            fresh = []
            if synced:
                effects = waiting.pop(0)
                disk += effects.records
                sent += [(node, target, message) for target, message in effects.sends_durable]
                fresh = [replica.on_durable(durable, NOW) for durable in effects.durable_events]
    except (GrammeError, AssertionError) as error:
        return f"node {node} stops: {error}"
    after = _member(replica, tuple(disk), tuple(waiting))
    members = (*state.members[:node], after, *state.members[node + 1 :])
    network = [*state.network, *(packet for packet in sent if packet[1] != node and packet not in state.network)]
    return _judge(state._replace(members=members, network=_still_matters(members, network)), reported)


def _still_matters(members: tuple[Member, ...], network: Sequence[Packet]) -> tuple[Packet, ...]:
    """Packets whose delivery could change anything. Refusals only end attempts, as silence does; answers to a role
    that its target has left are ignored. Both count as lost."""
    kept: dict[Packet, bool] = {}
    for packet in network:
        message = packet[2]
        if isinstance(message, _HARMLESS):
            continue
        if isinstance(message, _TO_ROLES):
            replica = members[packet[1]].replica
            role = replica.leader if isinstance(message, _TO_LEADERS) else replica.campaign
            if role is None or role.ballot != message.ballot:
                continue
        kept[packet] = True
    return tuple(kept)


_HARMLESS = (Nack, Release, Amnesiac)
_TO_LEADERS = (Accepted, Behind)
_TO_ROLES = (Accepted, Behind, Promise, Suffix)


def _crash(state: State, node: NodeId, damaged: bool = False) -> State | str:
    """A new process on what is durable. What it would say first is lost. `damaged`: it may have forgotten a vote."""
    disk = state.members[node].disk
    recovered = fold((Lsn(index), record) for index, record in enumerate(disk))[GROUP]
    recovered.attach_engine(Slot(0), 0, Stamp(0))
    recovered.amnesiac = damaged or state.members[node].replica.amnesiac
    replica = GroupReplica(GROUP, node, recovered, state.members[node].replica.leases, _SETTINGS, Fixed())
    replica.start(NOW)
    members = (*state.members[:node], _member(replica, disk, ()), *state.members[node + 1 :])
    return state._replace(members=members)


def _judge(state: State, reported: list[Entry]) -> State | str:
    """Extend the history by what a quorum durably holds in one ballot; nothing in it may ever change."""
    chosen = list(state.chosen)
    members = state.members  # a damaged one too: what it acknowledged before may be counted after
    for ballot in sorted({member.durable.log_ballot: True for member in members}):
        held = {member.replica.me: member.durable.entries for member in members if member.durable.log_ballot == ballot}
        wrong = _agrees(state.founded, chosen, held)
        if wrong is not None:
            return wrong
    for member in members:
        if member.replica.serving and member.replica.acceptor.is_log:
            return f"node {member.replica.me} leads with a log and no rows"
    overcounted = _overcounted(members)
    if overcounted is not None:
        return overcounted
    for entry in reported:
        if entry.slot > len(chosen) or chosen[entry.slot - 1] != entry.encoded:
            return f"slot {entry.slot} is reported as chosen, and is not"
    return state._replace(chosen=tuple(chosen))


def _overcounted(members: tuple[Member, ...]) -> str | None:
    """No leader believes of anybody that it holds more of the leader's log than it durably does."""
    for member in members:
        for peer in () if member.replica.leader is None else member.replica.leader.peers:
            durable, ballot = members[peer.node].durable, member.replica.ballot
            held = len(durable.entries) if durable.log_ballot == ballot else 0
            if durable.log_ballot <= ballot and peer.match > held:
                return f"node {peer.node} holds slots up to {held}, and node {member.replica.me} counts {peer.match}"
    return None


def _agrees(founded: Configuration, chosen: list[bytes], held: dict[NodeId, list[Entry]]) -> str | None:
    """Extend `chosen` by what the logs of one ballot show to be chosen: each slot by a quorum of the configuration
    before it, that of a configuration by a quorum of this one too."""
    electorate = founded
    longest: list[Entry] = max(held.values(), key=lambda log: len(log))
    for slot, entry in enumerate(longest, 1):
        holders = [node for node, log in held.items() if len(log) >= slot]
        after = decode_configuration(entry.body) if entry.kind == CommandKind.CONFIG else electorate
        known = slot <= len(chosen) and chosen[slot - 1] == entry.encoded  # by an earlier ballot, perhaps
        if not known and not (_is_quorum(electorate, holders) and _is_quorum(after, holders)):
            return None
        electorate = after
        wrong = _disagrees(chosen, entry)
        if wrong is not None:
            return wrong
    return None


def _is_quorum(electorate: Configuration, holders: list[NodeId]) -> bool:
    return sum(1 for node in electorate.voters if node in holders) >= electorate.quorum


def _disagrees(chosen: list[bytes], entry: Entry) -> str | None:
    if entry.slot <= len(chosen):
        same = chosen[entry.slot - 1] == entry.encoded
        return None if same else f"slot {entry.slot}: two different entries are chosen"
    if chosen and entry.kind == CommandKind.MUTATIONS:
        behind = decode_entry(chosen[-1]).command_id
        if behind != entry.body:
            return f"slot {entry.slot}: chosen behind an entry that its proposer did not see"
    chosen.append(entry.encoded)
    return None


# --- values of replicas -----------------------------------------------------------------------------------------------


def founded(members: int, budget: Budget, proposals: int = 0, plan: tuple[Change, ...] = (), logs: int = 0) -> State:
    """A world whose founding leader serves and has chosen its barrier; followers have the barrier but not the mark.
    `proposals` commands stand in the leader's log alone, their Accepts under way. Besides the `members`, which vote,
    there are `logs` log replicas that do not; leaders may change the configuration by `plan`."""
    nodes = [NodeId(number) for number in range(members + logs)]
    replicas = tuple(Replica(node, log=node >= members, votes=node < members) for node in nodes)
    state = State((), (), budget, (), Configuration(0, replicas), plan)
    for node in nodes:
        leases = LeaseTable(node, BootId(bytes(16)), (), _SETTINGS, NOW, Fixed())
        first = founding_state(GROUP, nodes)
        first.configuration = state.founded
        replica = GroupReplica(GROUP, node, first, leases, _SETTINGS, Fixed())
        state = state._replace(members=(*state.members, _member(replica, (create_record(first),), ())))
    begun: State | str = state
    for node in nodes:
        assert isinstance(begun, State)
        begun = _step(begun, node, lambda replica: replica.start(NOW))
    assert isinstance(begun, State)
    state = _deliver_all(begun)
    for number in range(proposals):
        proposed = _step(state, nodes[0], lambda replica, number=number: _propose(replica, 100 + number))
        assert isinstance(proposed, State)
        state = proposed
    return state


def _deliver_all(state: State) -> State:
    while state.network:
        source, target, message = state.network[0]
        event = partial(GroupReplica.step, source=source, message=message, now=NOW)
        after = _step(state._replace(network=state.network[1:]), target, event)
        assert isinstance(after, State), after
        state = after
    return state


def _member(replica: GroupReplica, disk: tuple[Record, ...], unsynced: tuple[Effects, ...]) -> Member:
    durable = fold((Lsn(index), record) for index, record in enumerate(disk))[GROUP]
    on_disk = (durable.promised, durable.log_ballot, tuple(entry.crc for entry in durable.entries))
    return Member(replica, disk, unsynced, durable, (on_disk, _key(replica), repr(unsynced)))


def _key(replica: GroupReplica) -> Any:
    """Everything that matters to what the replica does next while time stands still."""
    acceptor, leader, campaign = replica.acceptor, replica.leader, replica.campaign
    key: list[Any] = [
        acceptor.promised,
        acceptor.log_ballot,
        acceptor.log.last.crc,
        acceptor.chosen,
        acceptor.emitted,
        acceptor.durable_slot,
        acceptor.durable_ballot,
        replica.highest_round,
        replica.founding,
        replica.amnesiac,
        acceptor.number,
        tuple(acceptor.configurations),
    ]
    if leader is not None:
        key += [leader.ballot, leader.serving]
        for peer in leader.peers:
            key += [
                peer.node,
                peer.since,
                peer.amnesiac,
                peer.mode,
                peer.match,
                peer.next,
                peer.chosen,
                peer.joined,
                peer._last_rewind,
                peer._tried_mark,
            ]
    if campaign is not None:
        key += [campaign.ballot, campaign.phase, campaign.best, campaign._fetched]
        key += sorted(campaign.promises)
        key += [tuple(each.number for each in campaign._electorates), tuple(sorted(campaign._asked))]
    return tuple(key)


def _clone(replica: GroupReplica) -> GroupReplica:
    """An independent copy (shared: immutable values, settings, the lease table, which nothing changes here)."""
    twin = copy.copy(replica)
    acceptor = twin.acceptor = copy.copy(replica.acceptor)
    twin.freshness = copy.copy(replica.freshness)
    twin.timer = copy.copy(replica.timer)
    twin.timer._acceptor = acceptor
    acceptor.log = copy.copy(acceptor.log)
    acceptor.log.entries = list(acceptor.log.entries)
    acceptor.configurations = list(acceptor.configurations)
    if replica.leader is not None:
        leader = twin.leader = copy.copy(replica.leader)
        leader._acceptor = acceptor
        leader.peers = [copy.copy(peer) for peer in leader.peers]
        leader._by_node = {peer.node: peer for peer in leader.peers}
        leader._voting = [leader._by_node[peer.node] for peer in leader._voting]
        for peer in leader.peers:
            peer._acceptor = acceptor
            peer._unacked = deque(peer._unacked)
            peer._base = leader._base_for_logs if peer.is_log else None
    if replica.campaign is not None:
        campaign = twin.campaign = copy.copy(replica.campaign)
        campaign._acceptor = acceptor
        campaign.promises = dict(campaign.promises)
        campaign.suffix = list(campaign.suffix)
        campaign._refusals = dict(campaign._refusals)
        campaign._deaf = dict(campaign._deaf)
        campaign._asked = dict(campaign._asked)
    return twin
