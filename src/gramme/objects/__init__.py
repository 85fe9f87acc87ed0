"""Dynamo's objects: versions, coordinators, hints, Merkle trees, merge types, as state machines without I/O."""
