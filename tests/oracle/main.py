"""`make oracle`: a Hypothesis state machine drives DynamoDB Local and the embedded node and compares every answer.

    python -m tests.oracle.main [--examples N] [--collect]

`--collect` prints all kinds of differences with their counts instead of shrinking the first one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.oracle import requests, tables
from tests.oracle.compare import difference, only_removes
from tests.oracle.servers import Endpoint, local, ours
from tests.oracle.statements import statements

_STEPS = 30
_LOOKS, _LOOK_S = 60, 0.05  # at a global index that is behind its table


class Pair:
    """The two endpoints; `same` sends a request to both and compares."""

    def __init__(self, mine: Endpoint, oracle: Endpoint) -> None:
        self._mine = mine
        self._oracle = oracle
        self.compared = 0

    def fresh_tables(self) -> None:
        """Both with empty tables."""
        for endpoint in (self._mine, self._oracle):
            for name in tables.NAMES:
                endpoint.call("DeleteTable", {"TableName": name})
            for table in requests.TABLES:
                endpoint.call("DeleteTable", {"TableName": table["TableName"]})
                while endpoint.call("CreateTable", table)[0] != 200:
                    endpoint.call("DeleteTable", {"TableName": table["TableName"]})

    def difference(self, operation: str, body: dict[str, Any]) -> str | None:
        """What differs between the two answers, with both of them; None if nothing does."""
        if only_removes(operation, body) and not self._mine.call("GetItem", _read_of(body))[1].get("Item"):
            return None
        mine, theirs = self._mine.call(operation, body), self._oracle.call(operation, body)
        self.compared += 1
        what = difference(operation, body, mine, theirs)
        patience = _LOOKS if body.get("IndexName") == requests.GLOBAL else 0
        while what is not None and patience:
            patience -= 1
            time.sleep(_LOOK_S)
            mine = self._mine.call(operation, body)
            what = difference(operation, body, mine, theirs)
        if what is None:
            return None
        return f"{what}: {operation} {json.dumps(body)}\n  ours:  {mine}\n  local: {theirs}"


def _read_of(body: dict[str, Any]) -> dict[str, Any]:
    return {"TableName": body["TableName"], "Key": body["Key"], "ConsistentRead": True}


def machine(pair: Pair) -> type[RuleBasedStateMachine]:
    """The state machine over `pair`."""

    class Comparison(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            pair.fresh_tables()

        @rule(request=requests.writes())
        def write(self, request: requests.Request) -> None:
            found = pair.difference(*request)
            assert found is None, found

        @rule(request=st.one_of(requests.batches(), requests.indexed()))
        def batch_or_index(self, request: requests.Request) -> None:
            found = pair.difference(*request)
            assert found is None, found

        @rule(request=requests.transactions())
        def transact(self, request: requests.Request) -> None:
            found = pair.difference(*request)
            assert found is None, found

        @rule(request=statements())
        def execute(self, request: requests.Request) -> None:
            found = pair.difference(*request)
            assert found is None, found

        @rule(request=requests.reads())
        def read(self, request: requests.Request) -> None:
            found = pair.difference(*request)
            assert found is None, found

        @rule(request=tables.requests())
        def administer(self, request: requests.Request) -> None:
            found = pair.difference(*request)
            assert found is None, found

    return Comparison


def collect(pair: Pair, examples: int) -> Counter[str]:
    """Differences by kind; the first of each kind is printed."""
    kinds: Counter[str] = Counter()
    pair.fresh_tables()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.one_of(
            requests.writes(),
            requests.transactions(),
            requests.batches(),
            requests.indexed(),
            requests.reads(),
            statements(),
            tables.requests(),
        )
    )
    def run(request: requests.Request) -> None:
        found = pair.difference(*request)
        if found is not None:
            texts = [line.partition("essage': ")[2][:70] or "success" for line in found.splitlines()[1:]]
            kind = f"{found.partition(' {')[0]} | {' | '.join(texts)}"
            kinds[kind] += 1
            if kinds[kind] == 1:
                print(found, flush=True)

    run()
    return kinds


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--collect", action="store_true")
    arguments = parser.parse_args()
    with local() as oracle, ours() as mine:
        pair = Pair(mine, oracle)
        if arguments.collect:
            for kind, count in collect(pair, arguments.examples).most_common():
                print(f"{count:5} {kind}")
        else:
            bounds = settings(
                max_examples=arguments.examples, stateful_step_count=_STEPS, deadline=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            run_state_machine_as_test(machine(pair), settings=bounds)
        print(f"{pair.compared} answers compared")


if __name__ == "__main__":
    main()
