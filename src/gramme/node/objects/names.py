"""Which names of objects there are: walks over the ring for those who maintain a cluster, and who is asked in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Instant
from gramme.node.driver import Driver
from gramme.node.host import Host
from gramme.objects.config import ObjectConfig
from gramme.objects.coordinator import Answered
from gramme.objects.listing import Listing, NamesAt, Page
from gramme.objects.messages import Listed
from gramme.objects.store import ObjectStore, Section


class ObjectNames:
    """See the module; `objects.listing` on the host."""

    def __init__(
        self,
        host: Host,
        me: NodeId,
        store: ObjectStore,
        config: Callable[[], ObjectConfig],
        reachable: Callable[[NodeId], bool],
    ) -> None:
        self._me = me
        self._config = config
        self._reachable = reachable
        self._listing = Listing(store, self._walk, host.ports.rng, host.ports.clock.timestamp)
        self._driver = Driver(host, self._listing, self._answered)
        self._waiting: dict[int, Callable[[Listed], None]] = {}

    def step(self, source: NodeId, message: Any) -> None:
        """Somebody asks for names, or answers."""
        self._driver.step(source, message)

    def lost(self, node: NodeId) -> None:
        """Nothing is heard of `node`: a walk that waits for it has no answer."""
        self._driver.carry_out(self._listing.lost(node))

    @property
    def waiting(self) -> int:
        """Requests without an answer yet."""
        return len(self._waiting)

    def _answered(self, answered: Answered) -> None:
        on_listed = self._waiting.pop(answered.id, None)
        if on_listed is not None:
            assert isinstance(answered.outcome, Listed)
            on_listed(answered.outcome)

    def every(
        self, type_: bytes, bucket: bytes | None, deadline: Instant, on_names: Callable[[list[bytes] | None], None]
    ) -> None:
        """See `api.objects.backend.ObjectBackend`."""
        id_, effects = self._listing.submit(type_, bucket, deadline)
        self._waiting[id_] = lambda listed: on_names(listed.names)
        self._driver.carry_out(effects)

    def page(
        self,
        type_: bytes,
        bucket: bytes | None,
        at: NamesAt,
        deadline: Instant,
        on_page: Callable[[Page | None], None],
    ) -> None:
        """See `api.objects.backend.ObjectBackend`."""
        section = self._section_from(at.section)
        if section is None:
            on_page(([], None))
            return
        node = self._keeper(section)
        if node is None:
            on_page(None)
            return

        def listed(page: Listed) -> None:
            behind = Section(section.partition, section.n + 1)
            following = NamesAt(section, page.after) if page.after else NamesAt(behind)
            on_page(None if page.names is None else (page.names, following))

        after = at.after if section == at.section else b""
        id_, effects = self._listing.page((section, node), type_, bucket, after, deadline)
        self._waiting[id_] = listed
        self._driver.carry_out(effects)

    def _section_from(self, first: Section) -> Section | None:
        """The first section of the ring that is not before `first`."""
        counts = self._config().replica_counts()
        n = next((n for n in counts if n >= first.n), None)
        found = Section(first.partition, n) if n is not None else Section(first.partition + 1, counts[0])
        return found if found.partition < self._config().ring.partitions else None

    def _keeper(self, section: Section) -> NodeId | None:
        """A primary of a section that can be asked, this node rather than another."""
        primaries = self._config().ring.primaries(*section)
        if self._me in primaries:
            return self._me
        return next((node for node in primaries if self._reachable(node)), None)

    def _walk(self) -> list[tuple[Section, NodeId]] | None:
        """Whom to ask for the names of each section; None if nobody is left for one."""
        plan: list[tuple[Section, NodeId]] = []
        for n in self._config().replica_counts():
            for partition in range(self._config().ring.partitions):
                section = Section(partition, n)
                node = self._keeper(section)
                if node is None:
                    return None
                plan.append((section, node))
        return plan
