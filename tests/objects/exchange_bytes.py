"""What it costs two replicas to become equal: `python -m tests.objects.exchange_bytes` prints bytes by differences (row
A23). Three nodes with 2,000 objects of 1 KB each; the third has missed some of the last writes, and no hint tells it.
"""

from __future__ import annotations

import msgspec
from tests.objects.cluster import PARTITIONS, Cluster

from gramme.kernel.time import SECOND
from gramme.objects.messages import BACKGROUND_MESSAGES
from gramme.objects.state import Name
from gramme.objects.store import Section
from gramme.objects.versions import Dot, Seen, Sibling, Value, Versions, make_actor

_OBJECTS = 2_000
_BODY = b"x" * 1_000


def _state(cluster: Cluster, number: int) -> Versions:
    actor = make_actor(cluster.machines[0].node, 1)
    dot = Dot(actor, number + 2)
    return Versions((Seen(actor, number + 2, cluster.wall),), (Sibling(dot, Value(_BODY)),))


def measure(missing: int) -> tuple[int, int]:
    """Bytes and messages sent until the three nodes are equal."""
    cluster = Cluster(3)
    for number in range(_OBJECTS):
        name, state = Name(b"default", b"b", b"k%d" % number), _state(cluster, number)
        for machine in cluster.machines if number >= missing else cluster.machines[:2]:
            machine.write_here(name, state)
    cluster.run(SECOND)
    cluster.sent.clear()
    cluster.background = True
    while not _equal(cluster):
        cluster.run(SECOND)
    sent = [message for message in cluster.sent if isinstance(message, BACKGROUND_MESSAGES)]
    return sum(len(msgspec.msgpack.encode(message)) for message in sent), len(sent)


def _equal(cluster: Cluster) -> bool:
    stores = [machine.replica.store for machine in cluster.machines]
    return all(len({store.tree(Section(p, 3)).root() for store in stores}) == 1 for p in range(PARTITIONS))


def main() -> None:
    """Print the table."""
    print("| objects missing at one of three | messages | bytes | bytes for each |\n|---|---|---|---|")
    for missing in (1, 10, 100, 1_000):
        size, messages = measure(missing)
        print(f"| {missing:,} of {_OBJECTS:,} | {messages:,} | {size:,} | {size / missing:,.0f} |")


if __name__ == "__main__":
    main()
