"""The catalog: which tables, partitions, nodes and streams there are, and the control loops that make it come true."""
