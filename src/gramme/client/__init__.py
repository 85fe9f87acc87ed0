"""Client programs: what runs beside a cluster and talks to it, or to any other DynamoDB endpoint, over HTTP.

Rule: nothing here knows the inside of a node; a program of this room works against every endpoint that speaks the wire
protocol. Threads, sockets and clocks are welcome here, because no simulation runs it.
"""
