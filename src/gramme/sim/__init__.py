"""The same ports, seeded: a whole cluster in one process under virtual time."""
