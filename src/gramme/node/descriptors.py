"""What a node knows of tables: descriptors as the catalog gave them, and the questions to it that are under way.

Rule: a descriptor is used without a question only if no change of its table by version `version` of the catalog is
missing in it (`Reconciled` names what changed), or, *unconfirmed*, as long as the catalog cannot be asked. So none that
is outdated lives longer than it takes this node to hear that the catalog has changed. Partitions are authoritative:
until then a descriptor of a table that is gone costs a question.

At most one question for a table is under way. Who comes while it is may not be told what was read before he came, for
he may know of a later change (a table whose creation was answered): he waits for the next question, asked once for all
who came meanwhile. Unless all he lacked was a descriptor, and one of a table that serves was found: that one is then
what this node knows, so he would be given it had he come a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

from gramme.kernel.time import Instant
from gramme.tables.catalog import CatalogReply, TableReply
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import Failed, FailureKind

_MOST_OUTDATED: Final = 10_000
"""Names of tables that others deleted are never asked for again: past so many, the oldest are forgotten."""
_SERVED: Final = ("ACTIVE", "UPDATING")
_THROTTLED: Final = Failed(FailureKind.THROTTLED, "too many requests wait for what the catalog says of tables")

Found = TableDescriptor | Failed
Ask = Callable[[str, Instant, Callable[[CatalogReply], None]], None]


class _Waiter(NamedTuple):
    deadline: Instant
    on_reply: Callable[[Found], None]
    lacking: bool  # any descriptor of a table that serves will do


class _Question:
    """One DescribeTable under way, for `asked`; `late` came since. `doubted`: the table changed since, so the answer
    may be what it was before."""

    __slots__ = ("asked", "deadline", "doubted", "late")

    def __init__(self, asked: list[_Waiter]) -> None:
        self.asked = asked
        self.deadline = min(waiter.deadline for waiter in asked)
        self.late: list[_Waiter] = []
        self.doubted = False


class Descriptors:
    """The tables that this node knows by name. `known` is never replaced: the router reads it for every request."""

    def __init__(
        self, ask: Ask, now: Callable[[], Instant], limit: int, on_found: Callable[[TableDescriptor], None]
    ) -> None:
        """`ask` has the catalog describe a table. So many requests may wait for questions of others (`limit`).
        `on_found` hears of every descriptor that becomes known."""
        self._ask = ask
        self._now = now
        self._limit = limit
        self._on_found = on_found
        self.known: dict[str, TableDescriptor] = {}
        self.version = -1
        """No change by this version of the catalog is missing in what is known; -1: nothing is known."""
        self.waiting = 0
        """Requests that wait for a question which was not asked for them alone."""
        self._outdated: dict[str, TableDescriptor] = {}  # better than nothing while the catalog cannot be asked
        self._unconfirmed: dict[str, None] = {}  # those that are in use because it could not be asked
        self._questions: dict[str, _Question] = {}

    # --- what is not known any more -------------------------------------------------------------------------------

    def changed(self, version: int, names: Iterable[str] | None) -> None:
        """The catalog is at `version`, and since `self.version` or before that only these tables changed (None: any
        may have). Whoever said so before a later word of the kind was heard adds nothing to it."""
        if version > self.version:
            self.version = version
            self._outdate(self._all() if names is None else names)
        self.confirm()

    def confirm(self) -> None:
        """The catalog's leader answers: ask it anew for the tables that are in use because it could not be asked. It
        may have changed before that, so that no other change would tell that they are gone."""
        if self._unconfirmed:
            self._outdate(list(self._unconfirmed))
            self._unconfirmed.clear()

    def forget_all(self) -> None:
        """Ask anew for every table, as soon as somebody names it."""
        self._outdate(self._all())
        self._unconfirmed.clear()

    def dropped(self, name: str) -> None:
        """This node has the table deleted: it is not to be served from, not even while nobody can be asked."""
        self.known.pop(name, None)
        self._outdated.pop(name, None)

    def _all(self) -> list[str]:
        return [*self.known, *(name for name in self._questions if name not in self.known)]

    def _outdate(self, names: Iterable[str]) -> None:
        for name in names:
            question = self._questions.get(name)
            if question is not None:
                question.doubted = True
            table = self.known.pop(name, None)
            if table is not None and table.status in _SERVED:
                self._outdated.pop(name, None)
                self._outdated[name] = table
        while len(self._outdated) > _MOST_OUTDATED:
            del self._outdated[next(iter(self._outdated))]

    # --- questions ------------------------------------------------------------------------------------------------

    def lookup(self, name: str, deadline: Instant, on_reply: Callable[[Found], None]) -> None:
        """See `Backend`: the catalog is asked before anybody hears that a table does not exist. A catalog that cannot
        be asked takes nothing away: an eventual read of a minority still finds its table."""
        known = self.known.get(name)
        waiter = _Waiter(deadline, on_reply, known is None or known.status not in _SERVED)
        question = self._questions.get(name)
        if question is None:
            self._begin(name, [waiter])
        elif self.waiting >= self._limit:
            on_reply(_THROTTLED)
        else:
            self.waiting += 1
            question.late.append(waiter)

    def _begin(self, name: str, asked: list[_Waiter]) -> None:
        question = self._questions[name] = _Question(asked)
        self.waiting += len(asked) - 1
        self._ask(name, question.deadline, partial(self._answered, name, question))

    def _answered(self, name: str, question: _Question, reply: CatalogReply) -> None:
        del self._questions[name]
        found = self._taken(name, reply, question.doubted)
        serves = isinstance(found, TableDescriptor) and found.status in _SERVED and not question.doubted
        told, again = self._sorted(question, found)
        for waiter in question.late:
            (told if waiter.lacking and serves else again).append(waiter)
        self.waiting -= len(question.asked) - 1 + len(question.late)
        if again:
            self._begin(name, again)
        for waiter in told:
            waiter.on_reply(found)

    def _sorted(self, question: _Question, found: Found) -> tuple[list[_Waiter], list[_Waiter]]:
        """Of those for whom it was asked: who is told, and who has more time than the first one of them had."""
        now = self._now()
        if not isinstance(found, Failed) or found.kind is FailureKind.NO_TABLE or now < question.deadline:
            return list(question.asked), []
        told = [waiter for waiter in question.asked if waiter.deadline <= now]
        return told, [waiter for waiter in question.asked if waiter.deadline > now]

    def _taken(self, name: str, reply: Any, doubted: bool) -> Found:
        """What the catalog's answer, or that there was none, means for who asked and for what is known."""
        known, outdated = self.known.pop(name, None), self._outdated.pop(name, None)
        table = known or outdated
        if isinstance(reply, TableReply):
            self._unconfirmed.pop(name, None)
            self.known[name] = reply.table
            if doubted:  # it was so after the question began: good for who asked, not for who comes
                self._outdate((name,))
            else:
                self._on_found(reply.table)
            return reply.table
        if isinstance(reply, Failed):
            if reply.kind is not FailureKind.NO_TABLE and table is not None:
                self.known[name] = table
                self._unconfirmed[name] = None
                return table
            return reply
        return Failed(FailureKind.NO_TABLE)
