"""The node's shared log and ordered engine, without files or sockets: those come in through ports."""
