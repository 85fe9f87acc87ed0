"""Whole simulated nodes against the specification (`make spec` takes more runs; issue 6)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.specs import tlc
from tests.specs.judging import run
from tests.specs.sims import SHORT, Sims, watching

from gramme.kernel.time import SECOND
from gramme.sim.configs import CONFIGS
from gramme.sim.run import simulate

needs_java = pytest.mark.skipif(tlc.java() is None, reason="TLC needs Java 11 or newer, and there is none on the PATH")


@needs_java
def test_what_whole_nodes_do_is_a_behaviour_of_the_specification() -> None:
    """The catalog's group and the table's, through crashes, log replicas and replicas that are made anew."""
    outcome = run(SHORT)
    assert SHORT.is_judged_well(outcome), outcome.output[-2000:]
    assert outcome.distinct > 500, "events"


@needs_java
def test_what_a_forgetful_node_does_is_refused() -> None:
    """A trace check that cannot fail is none."""
    sims = Sims("one", (7,), mutant="forget_a_promise", config="stale", safety_ns=4 * SECOND)
    outcome = run(sims)
    assert sims.is_judged_well(outcome), outcome.output[-2000:]


def test_what_a_crash_took_is_not_in_the_trace() -> None:
    """A run in which power was lost before records were durable."""
    config = replace(CONFIGS["blackouts"], clients=3, safety_ns=3 * SECOND)
    with watching() as watch:
        simulate(2, config)
    taken = [event for recorder in watch.recorders.values() for event in recorder.events if event.taken_back]
    assert taken
    assert all(event.kind != "crash" for event in taken)


def test_a_run_that_is_watched_goes_as_it_would() -> None:
    """The recorder sees everything and changes nothing."""
    config = replace(CONFIGS["four"], safety_ns=2 * SECOND)
    alone = simulate(3, config)
    with watching() as watch:
        watched = simulate(3, config)
    assert watched.trace_hash == alone.trace_hash
    assert len(watch.traces()) >= 2, "groups"
