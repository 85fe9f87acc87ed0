"""The specification, in its smallest model and with one planted fault (`make spec` checks the others; issue 6)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.specs import tlc
from tests.specs.judging import run
from tests.specs.models import BY_HAND, PLANTED, SMALLEST
from tests.specs.storms import SHORT

pytestmark = pytest.mark.seconds(6)

needs_java = pytest.mark.skipif(tlc.java() is None, reason="TLC needs Java 11 or newer, and there is none on the PATH")


@needs_java
def test_the_smallest_model_holds() -> None:
    """Two ballots over one slot at three replicas: all states."""
    outcome = tlc.check(SMALLEST, workers=1)
    assert outcome.meets(SMALLEST), outcome.output[-2000:]
    assert outcome.distinct > 1000


@needs_java
def test_a_promise_that_is_forgotten_is_found() -> None:
    """A specification that cannot fail is none."""
    model = next(model for model in PLANTED if model.name == "forget_promise")
    outcome = tlc.check(model, workers=1)
    assert outcome.meets(model), outcome.output[-2000:]


@needs_java
def test_what_replicas_do_in_storms_is_a_behaviour_of_the_specification() -> None:
    """The production classes against the specification: every step of every replica, crashes included."""
    outcome = run(SHORT)
    assert SHORT.is_judged_well(outcome), outcome.output[-2000:]
    assert outcome.distinct > 1000, "events"


@needs_java
def test_what_a_forgetful_replica_does_is_refused() -> None:
    """A trace check that cannot fail is none."""
    storms = replace(SHORT, mutant="forget_a_promise")
    outcome = run(storms)
    assert storms.is_judged_well(outcome), outcome.output[-2000:]


def test_every_fault_that_can_be_planted_is_in_a_model() -> None:
    """Nothing is switched on that no module reads, and the other way round."""
    text = "".join(path.read_text() for path in tlc.SPECS.glob("*.tla"))
    read = set(re.findall(r'Plant\("(\w+)"\)', text))
    named = {model.name for model in (*PLANTED, *BY_HAND) if model.violates}
    assert read == named - {"serve_before_barrier"}  # that one is Barrier = FALSE
