"""What an engine must hold: numbered batches drawn from a seed, and the plain dict they add up to."""

from __future__ import annotations

from random import Random

from gramme.storage.engine.contract import Batch, View

APPLIED = b"applied"
TOP = b"\xff"


def one(key: bytes, value: bytes | None) -> Batch:
    """A write of one key; None deletes it."""
    batch = Batch()
    if value is None:
        batch.delete(key)
    else:
        batch.put(key, value)
    return batch


def batch_of(seed: int, number: int) -> Batch:
    """Batch `number` (1 …) of a run: some puts, deletes and range deletes, and the number itself in APPLIED."""
    rng = Random(seed * 1_000_003 + number)
    batch = Batch()
    for _ in range(rng.randrange(1, 6)):
        random_operation(rng, batch)
    batch.put(APPLIED, b"%d" % number)
    return batch


def random_key(rng: Random) -> bytes:
    return b"k%02d" % rng.randrange(60) + b"\x00" * rng.randrange(2)


def random_operation(rng: Random, batch: Batch) -> None:
    kind = rng.randrange(10)
    if kind < 7:
        batch.put(random_key(rng), rng.randbytes(rng.choice([0, 1, 30, 400])))
    elif kind < 9:
        batch.delete(random_key(rng))
    else:
        start = random_key(rng)
        batch.delete_range(start, rng.choice([start + b"\xff", random_key(rng)]))


def apply(model: dict[bytes, bytes], batch: Batch) -> None:
    for key, value, end in batch.ops:
        if value is not None:
            model[key] = value
        elif end is None:
            model.pop(key, None)
        else:
            for inside in [other for other in model if key <= other < end]:
                del model[inside]


def state_after(seed: int, count: int) -> dict[bytes, bytes]:
    model: dict[bytes, bytes] = {}
    for number in range(1, count + 1):
        apply(model, batch_of(seed, number))
    return model


def assert_prefix(engine: View, seed: int, at_least: int) -> int:
    """The engine holds exactly the first n batches of the run for some n >= `at_least`; returns n."""
    rows = list(engine.scan(b"", TOP))
    assert rows == sorted(rows)
    applied = int(engine.get(APPLIED) or 0)
    assert applied >= at_least, f"batch {at_least} was flushed, but only {applied} are there"
    assert dict(rows) == state_after(seed, applied), f"not the first {applied} batches"
    return applied
