"""Multi-Paxos for one replication group, as state machines without I/O (REPLICATION.md §1–§4)."""
