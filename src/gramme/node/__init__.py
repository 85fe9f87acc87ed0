"""Composes the machines into a node: the one executor of effects, router, catalog, partitions."""
