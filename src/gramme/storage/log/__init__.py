"""The shared log of a node: framing, segments, recovery (REPLICATION.md §5)."""
