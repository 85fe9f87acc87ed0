"""The shopping cart of the Dynamo paper (SOSP 2007, §4.4) on a cluster of three nodes of its own.

Two sides change one cart without hearing of each other: first node 0 works alone, then the two others without it. When
all are back, both sides' additions are there. What one side removed comes back in a cart that is merged by union, as
the paper says; in the same cart as an add-wins set it stays removed.

    .venv/bin/python examples/cart.py
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from gramme.client.errors import ServiceError
from gramme.client.objects import Bucket, ObjectClient, Value, union
from gramme.testing import Cluster, cluster

CUSTOMER = "anna"
SETS = "cart-sets"
PATIENCE_S = 30.0


class Carts:
    """Both kinds of cart, as the customers of some nodes see them: reads and writes of as many replicas as there are
    nodes at these URLs. One is enough."""

    def __init__(self, *urls: str) -> None:
        self._replicas = len(urls)
        client = ObjectClient(*urls)
        self._by_union = client.bucket("carts", resolve=union)
        self._sets = client.bucket("carts", type_=SETS)

    def add(self, item: str) -> None:
        """Put `item` into both carts."""
        self._by_union.modify(CUSTOMER, lambda cart: _cart(_items(cart) | {item}), r=self._replicas, w=self._replicas)
        self._sets.change(CUSTOMER, {"add": item}, w=self._replicas)

    def remove(self, item: str) -> None:
        """Take `item` out of both carts."""
        self._by_union.modify(CUSTOMER, lambda cart: _cart(_items(cart) - {item}), r=self._replicas, w=self._replicas)
        seen = self._sets.typed(CUSTOMER, r=self._replicas)
        self._sets.change(CUSTOMER, {"remove": item}, seen.context, w=self._replicas)

    def show(self, who: str) -> None:
        """Print both."""
        siblings = len(self._by_union.get(CUSTOMER, r=self._replicas).values)
        merged = _items(self._by_union.read(CUSTOMER, r=self._replicas))
        typed = self._sets.typed(CUSTOMER, r=self._replicas).value or []
        print(f"{who}: by union ({siblings} version{'s' * (siblings > 1)}): {_line(merged)}", flush=True)
        print(f"{who}: add-wins set: {_line(typed)}", flush=True)

    def know_the_type(self) -> None:
        """Return when the node has heard of the type."""
        deadline = time.monotonic() + PATIENCE_S
        while not _known(self._sets):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the bucket type {SETS} did not reach all nodes")
            time.sleep(0.05)


def _known(bucket: Bucket) -> bool:
    try:
        bucket.props()
    except ServiceError:
        return False
    return True


def _items(cart: Value | None) -> set[str]:
    return set() if cart is None else set(json.loads(cart.body))


def _cart(items: Iterable[str]) -> Value:
    return Value(json.dumps(sorted(items)).encode(), "application/json")


def _line(items: Iterable[str]) -> str:
    return ", ".join(sorted(items))


def shop(nodes: Cluster) -> None:
    """The story."""
    urls = [nodes.objects_url(node) for node in range(3)]
    ObjectClient(urls[0]).make_type(SETS, {"datatype": "set"})
    for url in urls:
        Carts(url).know_the_type()
    everybody = Carts(*urls)
    for item in ("book", "pen"):
        everybody.add(item)
    everybody.show("all nodes")

    nodes.kill(1, 2)
    alone = Carts(urls[0])
    alone.add("lamp")
    alone.show("node 0 alone, adds lamp")

    nodes.kill(0)
    for node in (1, 2):
        nodes.start(node, wait=False)
    nodes.wait_ready([1, 2])
    others = Carts(urls[1], urls[2])
    others.add("chair")
    others.remove("pen")
    others.show("nodes 1 and 2, add chair and remove pen")

    nodes.start(0)
    everybody.show("all nodes again")


def main() -> None:
    """Start a cluster, go shopping, stop it."""
    with cluster(3) as nodes:
        shop(nodes)


if __name__ == "__main__":
    main()
