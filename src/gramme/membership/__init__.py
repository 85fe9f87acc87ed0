"""Gossip and failure detection, as state machines."""
