"""A node's part of the object store: the machines of `gramme.objects`, composed on the host."""
