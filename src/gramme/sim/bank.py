"""The bank of a simulated cluster: its tables and tellers, what must go on once faults have healed, and its checks.

What is demanded in the end: every account can be read at every node and written in a transaction, so nothing is left
held; no partition keeps a pending row; the history is strictly serializable; every audit adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND
from gramme.node.partition import PartitionReplica
from gramme.node.transactions.ledger import OPEN, OPEN_END, LedgerEvaluator, ledger_row
from gramme.sim.accounts import START, TABLES, Journal, generation_of, keys_of
from gramme.sim.checkers.bank import wrong_audit
from gramme.sim.checkers.history import Outcome
from gramme.sim.checkers.serializability import check
from gramme.sim.client import Client
from gramme.sim.configs import SimConfig
from gramme.sim.tables import Administrator
from gramme.sim.tellers import Teller
from gramme.sim.world import World
from gramme.storage.engine.rows import Space

_AGAIN_NS: Final = 100 * MILLISECOND
_PROOF: Final = "transactions over all accounts"
_PENDING: Final = (bytes((Space.PENDING,)), bytes((Space.PENDING + 1,)))
_Proof = Callable[[Callable[[bool], None]], None]
"""Carries something out and tells whether it was done."""


class Bank:
    """All accounts of a run and who works on them; without tellers it does nothing."""

    def __init__(self, world: World, config: SimConfig, clients: Sequence[Client]) -> None:
        self._world = world
        self.journal = Journal(lambda: world.now_ns, config.accounts)
        self.tellers = [Teller(world, client, self.journal, config.think_ns) for client in clients]

    def create(self, administrator: Administrator, waiting: list[str]) -> None:
        """Have the tables created; their names are in `waiting` until they are there."""
        for table, units in TABLES.items() if self.tellers else ():
            waiting.append(table)
            administrator.create(table, lambda table=table: waiting.remove(table), units)  # type: ignore[misc]

    def start(self) -> None:
        """Let the tellers begin."""
        for teller in self.tellers:
            teller.start()

    def stop(self) -> None:
        """Let them come to an end."""
        for teller in self.tellers:
            teller.stop()

    @property
    def idle(self) -> bool:
        """Whether they have."""
        return all(teller.idle for teller in self.tellers)

    def prove(self, nodes: Sequence[NodeId], waiting: list[str]) -> None:
        """Read all accounts in transactions at each node, write the newest in transactions of each node, read them all
        again. Each step is repeated until it is done, since what faults have left is still being cleared up; in
        `waiting` until then."""
        if self.journal.moved:
            waiting.append(_PROOF)
            self._prove_next(self._proofs(nodes), waiting)

    def _proofs(self, nodes: Sequence[NodeId]) -> Iterator[_Proof]:
        teller = self.tellers[0]
        moved = sorted({int(generation_of(key)[1:]) for key, _ in self.journal.moved})
        generations = [keys_of(generation, self.journal.accounts) for generation in moved]
        audits = [partial(teller.audit, keys, node) for node in nodes for keys in generations]
        newest = generations[-1]
        neighbours = list(zip(newest, newest[1:] + newest[:1], strict=True))
        transfers = [partial(teller.transfer, pair, node) for node in nodes for pair in neighbours]
        yield from (*audits, *transfers, *audits)

    def _prove_next(self, proofs: Iterator[_Proof], waiting: list[str]) -> None:
        proof = next(proofs, None)
        if proof is None:
            waiting.remove(_PROOF)
        else:
            self._attempt(proof, proofs, waiting)

    def _attempt(self, proof: _Proof, proofs: Iterator[_Proof], waiting: list[str]) -> None:
        def done(ok: bool) -> None:
            if ok:
                self._prove_next(proofs, waiting)
            else:
                self._world.after(_AGAIN_NS, lambda: self._attempt(proof, proofs, waiting))

        proof(done)

    def stats(self) -> dict[str, int]:
        """How many transactions there were, and how many of unknown outcome."""
        history = self.journal.history()
        unknown = sum(transaction.outcome is Outcome.UNKNOWN for transaction in history)
        done = sum(transaction.outcome is Outcome.OK for transaction in history)
        return {"transactions": len(history), "transactions_done": done, "transactions_unknown": unknown}

    def wrong_history(self) -> str | None:
        """What the checkers find, or None."""
        anomaly = check(self.journal.history())
        if anomaly is not None:
            return str(anomaly)
        return wrong_audit(self.journal.audits, START, self.journal.moved)


def left_over(replicas: Iterable[PartitionReplica]) -> str | None:
    """The first thing that a transaction has left behind, in words: an item that is held, a row of the ledger that is
    still open. None if there is nothing."""
    for replica in replicas:
        for key, _ in replica.rows.scan(*_PENDING, False):
            return f"group {replica.spec.group} still holds item {key[1:].hex()} for a transaction"
        if isinstance(replica.evaluator, LedgerEvaluator):
            for key, _ in replica.rows.scan(OPEN, OPEN_END, False):
                row = ledger_row(replica.rows.get, key[len(OPEN) :])
                # That of one phase needs nobody any more; it stays open until its partition's marker is dropped.
                if row is None or not (row.one_phase and row.state == "COMMITTED"):
                    return f"group {replica.spec.group} of the ledger has an open row: {row}"
    return None
